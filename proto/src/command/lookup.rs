//! Finding a command by name.

use std::sync::LazyLock;

use super::{Begin, Command, Find, Flags, KeyError, KeyFlags, KeySpec, Route, Status, rows};
use crate::{Error, resp::Args};

/// A command in the table: its description and where it stands.
#[derive(Debug)]
pub struct Entry {
    /// Dense number, for arrays beside the table.
    pub id: u16,
    /// The full name as errors and statistics spell it: `get`, `client|setname`.
    pub name: String,
    /// The description.
    pub command: &'static Command,
    /// The ids of its subcommands.
    pub subcommands: std::ops::Range<u16>,
    /// The container's id, if this is a subcommand.
    pub parent: Option<u16>,
    /// Whether argument 1 is its only key, as for most commands: no specification has to be evaluated then.
    pub one_key: bool,
    /// Whether it works on single values whatever is stored, so that nobody need look at the clock for it: Redis's FAST
    /// commands, and those of constant cost.
    pub quick: bool,
}

/// The table, indexed by name and by number.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// Open addressing over the top-level names by their [`word`].
    names: Box<[Name; BUCKETS]>,
}

/// A place in the index of names.
#[derive(Debug, Clone, Copy)]
struct Name {
    word: u64,
    /// `u16::MAX`: nothing is here.
    id: u16,
    /// The word is the whole name, and a name with the same word is the same name.
    exact: bool,
}

const BUCKETS: usize = 1024;

/// The one table of this process.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(Table::new);
    &TABLE
}

/// The first eight bytes of a name, zeros behind a shorter one, all with the bit set that tells small letters from
/// capitals. Names that consist of letters have the same word if and only if they differ in case alone.
#[inline]
fn word(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    match *name {
        [a, b, c] => bytes = [a, b, c, 0, 0, 0, 0, 0],
        _ => {
            let len = name.len().min(8);
            bytes[..len].copy_from_slice(&name[..len]);
        }
    }
    u64::from_le_bytes(bytes) | 0x2020_2020_2020_2020
}

#[inline]
fn bucket(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % BUCKETS
}

/// Whether a name is told by its word alone.
fn exact(name: &str) -> bool {
    // Behind a shorter name the word has blanks, which stand for zero bytes as well: those are no letters.
    name.len() <= 8 && name.bytes().all(|c| c.is_ascii_lowercase())
}

impl Table {
    fn new() -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for command in rows::GROUPS.iter().flat_map(|group| group.iter()) {
            let id = entries.len() as u16;
            let first = id + 1;
            let last = first + command.subcommands.len() as u16;
            entries.push(Entry {
                id,
                name: command.name.to_owned(),
                command,
                subcommands: first..last,
                parent: None,
                one_key: one_key(command),
                quick: quick(command),
            });
            for sub in command.subcommands {
                let name = format!("{}|{}", command.name, sub.name);
                let here = entries.len() as u16;
                entries.push(Entry {
                    id: here,
                    name,
                    command: sub,
                    subcommands: here..here,
                    parent: Some(id),
                    one_key: one_key(sub),
                    quick: quick(sub),
                });
            }
        }
        let mut names = Box::new([Name { word: 0, id: u16::MAX, exact: false }; BUCKETS]);
        for entry in entries.iter().filter(|e| e.parent.is_none()) {
            let word = word(entry.name.as_bytes());
            let mut at = bucket(word);
            while names[at].id != u16::MAX {
                at = (at + 1) % BUCKETS;
            }
            names[at] = Name { word, id: entry.id, exact: exact(&entry.name) };
        }
        Self { entries, names }
    }

    /// All commands and subcommands, in table order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this number.
    pub fn entry(&self, id: u16) -> &Entry {
        &self.entries[usize::from(id)]
    }

    /// Top-level commands.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.parent.is_none())
    }

    /// A container's subcommands.
    pub fn subcommands(&self, container: &Entry) -> &[Entry] {
        &self.entries[usize::from(container.subcommands.start)..usize::from(container.subcommands.end)]
    }

    /// The top-level command called `name`, in any case.
    #[inline]
    pub fn command(&self, name: &[u8]) -> Option<&Entry> {
        let word = word(name);
        let mut at = bucket(word);
        loop {
            let there = self.names[at];
            if there.id == u16::MAX {
                return None;
            }
            if there.word == word {
                let entry = &self.entries[usize::from(there.id)];
                let same = entry.name.len() == name.len()
                    && (there.exact || entry.name.as_bytes().eq_ignore_ascii_case(name));
                if same {
                    return Some(entry);
                }
            }
            at = (at + 1) % BUCKETS;
        }
    }

    /// The subcommand of `container` called `name`, in any case.
    pub fn subcommand(&self, container: &Entry, name: &[u8]) -> Option<&Entry> {
        self.subcommands(container).iter().find(|e| e.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The entry called `name` in full, as in `get` or `client|setname`, in any case.
    pub fn by_full_name(&self, name: &[u8]) -> Option<&Entry> {
        match memchr::memchr(b'|', name) {
            None => self.command(name),
            Some(at) => self.subcommand(self.command(&name[..at])?, &name[at + 1..]),
        }
    }

    /// The command or subcommand that `args` name, whatever their number; a container alone is itself.
    pub fn resolve(&self, args: Args<'_>) -> Option<&Entry> {
        let entry = self.command(args.get(0)?)?;
        match args.get(1) {
            Some(name) if !entry.command.subcommands.is_empty() => self.subcommand(entry, name),
            _ => Some(entry),
        }
    }

    /// What `args` call, if that is an ordinary command with an acceptable number of arguments. For the rest, which
    /// are containers and mistakes, [`find`](Self::find) is there.
    #[inline]
    pub fn usual(&self, args: Args<'_>) -> Option<&Entry> {
        let entry = self.command(args.get(0)?)?;
        (entry.command.subcommands.is_empty() && entry.command.accepts(args.len())).then_some(entry)
    }

    /// The command or subcommand that `args` call, with its arity checked.
    ///
    /// # Errors
    /// Redis's texts for an unknown command or subcommand and for a wrong number of arguments.
    #[inline]
    pub fn find(&self, args: Args<'_>) -> Result<&Entry, Error> {
        let Some(mut entry) = self.command(args.at(0)) else { return Err(unknown_command(args)) };
        if !entry.command.subcommands.is_empty()
            && let Some(name) = args.get(1)
        {
            entry = self.subcommand(entry, name).ok_or_else(|| unknown_subcommand(entry, name))?;
        }
        if entry.command.accepts(args.len()) {
            Ok(entry)
        } else {
            Err(Error::Arity(entry.name.clone().into()))
        }
    }
}

/// Whether the key specifications come to argument 1 and nothing else.
fn one_key(command: &Command) -> bool {
    matches!(command.keys, [spec] if !spec.flags.intersects(KeyFlags::NOT_KEY | KeyFlags::INCOMPLETE)
        && spec.begin == Begin::Index(1)
        && matches!(spec.find, Find::Range { last: 0, step: 1.., .. }))
}

/// Whether it costs the same whatever is stored.
fn quick(command: &Command) -> bool {
    command.flags.contains(Flags::FAST) || command.complexity == "O(1)"
}

impl Entry {
    /// Whether any key specification exists.
    pub fn has_keys(&self) -> bool {
        self.command.keys.iter().any(|k| !k.flags.contains(KeyFlags::NOT_KEY))
    }

    /// Calls `found` with the argument index of each key.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] when the arguments contradict the specification.
    #[inline]
    pub fn each_key(&self, args: Args<'_>, mut found: impl FnMut(usize)) -> Result<(), KeyError> {
        self.each_key_with_spec(args, |at, _| found(at))
    }

    /// The same, with the specification that led to the key.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] when the arguments contradict the specification.
    #[inline]
    pub fn each_key_with_spec(
        &self,
        args: Args<'_>,
        mut found: impl FnMut(usize, &'static KeySpec),
    ) -> Result<(), KeyError> {
        let specs = self.command.keys;
        for (i, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.flags.contains(KeyFlags::NOT_KEY))
        {
            // `MIGRATE host port "" ..` has its keys behind KEYS instead, and no key in the first place.
            let instead = specs.get(i + 1).is_some_and(|next| next.flags.contains(KeyFlags::INCOMPLETE));
            spec.each(args, |at| {
                if !(instead && args.at(at).is_empty()) {
                    found(at, spec);
                }
            })?;
        }
        Ok(())
    }

    /// What a known command answers that Shoal does not execute.
    pub fn unsupported(&self) -> Error {
        let name = self.name.replace('|', " ").to_ascii_uppercase();
        Error::owned(match self.command.status {
            Status::Never(reason) => format!("ERR {name} is not supported by Shoal: {reason}"),
            _ => format!("ERR {name} is not supported by this version of Shoal yet"),
        })
    }

    /// Whether a router splits it over nodes.
    pub fn splits(&self) -> bool {
        matches!(self.command.route, Route::Split { .. })
    }

    /// Whether it writes.
    pub fn writes(&self) -> bool {
        self.command.flags.contains(Flags::WRITE)
    }

    /// Whether it works during a `CLIENT PAUSE`; if nothing did, nobody could end one.
    pub fn ignores_pause(&self) -> bool {
        self.name.starts_with("client|") || self.name == "reset" || self.name == "quit"
    }
}

/// Redis quotes up to 128 bytes of each part.
fn unknown_command(args: Args<'_>) -> Error {
    let name = String::from_utf8_lossy(&args.at(0)[..args.at(0).len().min(128)]).into_owned();
    let mut rest = String::new();
    for arg in args.from(1).iter() {
        if rest.len() >= 128 {
            break;
        }
        let left = 128 - rest.len();
        rest.push('\'');
        rest.push_str(&String::from_utf8_lossy(&arg[..arg.len().min(left)]));
        rest.push_str("' ");
    }
    Error::owned(format!("ERR unknown command '{name}', with args beginning with: {rest}"))
}

fn unknown_subcommand(container: &Entry, name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]).into_owned();
    Error::owned(format!(
        "ERR unknown subcommand '{name}'. Try {} HELP.",
        container.name.to_ascii_uppercase()
    ))
}
