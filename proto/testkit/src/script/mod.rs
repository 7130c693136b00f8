//! Text scripts: requests and the replies they must get, as data that any implementation can be held to.
//!
//! The format, one file per session, beginning with empty databases, RESP2 and database 0:
//!
//! ```text
//! # comment
//! > SET a 1                 a request; words are quoted as redis-cli does: "a b\x00" 'c'
//! < +OK                     the reply; further `<` lines of the same depth are further replies
//! ```
//!
//! Replies: `+OK` simple, `"text"` bulk, `:2` integer, `,1.5` double (compared as a number), `#t` boolean,
//! `(123` big number, `="text"` verbatim, `nil` any null (`$-1`, `*-1` and `_` for one of them),
//! `-ERR text` error (a text that ends in `...` is a prefix), `*2` array, `%1` map (key, value, ..), `~2` set,
//! `>3` push. Elements follow on lines of their own, indented by two more spaces; `*3 unordered` takes them in any
//! order. Wildcards: `?` any reply, `:?` any integer, `:90..100` a range, `"?"` any bulk string, `*?` any array.
//!
//! Directives: `@resp3`, `@resp2`; `@config name value` for the rest of the file (undone at its end);
//! `@skip a,b reason` leaves the rest of the file out on these targets; `@only a,b reason` on all others.

mod expect;
mod parse;
mod run;

pub use expect::Expect;
pub use parse::{Script, Step};
pub use run::{Failure, Summary, run_dir, run_script};

/// Where the scripts of this repository are.
pub fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}
