//! Why the load tester could not do what was asked; each text is one sentence for the person at the terminal.

use std::io;
use std::path::PathBuf;

/// A failure that ends the program. Errors of the server under test are not here: they are results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// A workload, template or trace that is not understood.
    #[error("{file}:{line}: {message}")]
    File {
        /// The file, or the name of the built-in workload.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// No server answered at the start.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The target as given.
        address: String,
        /// The operating system's word.
        source: io::Error,
    },
    /// The server refused the opening commands (HELLO, AUTH, SELECT).
    #[error("{address} refused {command}: {answer}")]
    Refused {
        /// The target as given.
        address: String,
        /// The command's name.
        command: String,
        /// The server's error.
        answer: String,
    },
    /// The server sent bytes that are not RESP.
    #[error("{address} does not speak RESP: {message}")]
    Protocol {
        /// The target as given.
        address: String,
        /// What was wrong.
        message: String,
    },
    /// The operating system refused something the generator needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The operating system's word.
        source: io::Error,
    },
    /// A generator thread ended with a panic; the message is already on the terminal.
    #[error("a generator thread failed")]
    Thread,
}

/// What a parser says was expected, and how people say it.
const WORDS: &[(&str, &str)] = &[
    ("expected u64", "it must be a whole number that is not negative"),
    ("expected u32", "it must be a whole number from 0 to 4294967295"),
    ("expected f64", "it must be a number"),
    ("expected a boolean", "it must be true or false"),
    ("expected a sequence", "it must be a list in [ ]"),
];

/// A parser's message on one line and in plain words.
pub fn in_plain_words(message: &str) -> String {
    let mut text = message.split_whitespace().collect::<Vec<_>>().join(" ");
    for (expected, words) in WORDS {
        text = text.replace(expected, words);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsers_are_translated() {
        for (message, words) in [
            (
                "invalid type: string \"x\", expected u64",
                "invalid type: string \"x\", it must be a whole number that is not negative",
            ),
            ("unknown field `a`,\n expected `b`", "unknown field `a`, expected `b`"),
            (
                "invalid value: integer `5000000000`, expected u32",
                "invalid value: integer `5000000000`, it must be a whole number from 0 to 4294967295",
            ),
        ] {
            assert_eq!(in_plain_words(message), words);
        }
    }
}
