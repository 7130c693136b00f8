//! Where a command's keys are: Redis 7's key specifications, and their evaluation on a request.

use bitflags::bitflags;

use crate::resp::Args;

bitflags! {
    /// What a command does with the keys of one specification.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KeyFlags: u16 {
        /// Read only.
        const RO = 1;
        /// Read and written.
        const RW = 1 << 1;
        /// Overwritten.
        const OW = 1 << 2;
        /// Removed.
        const RM = 1 << 3;
        /// The value is returned or copied.
        const ACCESS = 1 << 4;
        /// The value is changed.
        const UPDATE = 1 << 5;
        /// Something is added to the value.
        const INSERT = 1 << 6;
        /// Something is taken out of the value, or the key deleted.
        const DELETE = 1 << 7;
        /// A name that is not a key (a channel).
        const NOT_KEY = 1 << 8;
        /// The specification may miss keys.
        const INCOMPLETE = 1 << 9;
        /// The flags depend on the arguments.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

impl KeyFlags {
    /// The names as `COMMAND INFO` lists them: what happens to the key in capitals, to its value in small.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.iter_names()
            .map(|(name, _)| if name.len() == 2 { name.to_owned() } else { name.to_ascii_lowercase() })
    }
}

/// Where to begin looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At a fixed argument (1 = the first behind the name; subcommands count).
    Index(i16),
    /// Behind a word, searched from argument `from` (negative: backwards from the end).
    Keyword(&'static str, i16),
    /// Behind the last such word among options, searched from argument `from`, where Redis parses
    /// the options and reports the place as unknown (`SORT .. STORE`).
    Option(&'static str, i16),
    /// Cannot be described.
    Unknown,
}

/// How to go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Every `step`th argument up to `last` (relative to the begin; negative: from the end); `limit` 2
    /// means only the first half of what is left, 3 a third, 0 and 1 everything.
    Range {
        /// Last key, relative to the first, or from the end if negative.
        last: i16,
        /// Distance between keys.
        step: i16,
        /// Divisor of the remaining arguments.
        limit: i16,
    },
    /// A count at `index` (relative to the begin), then that many keys from `first`, every `step`th.
    Count {
        /// Where the count is.
        index: i16,
        /// Where the first key is.
        first: i16,
        /// Distance between keys.
        step: i16,
    },
    /// Cannot be described.
    Unknown,
}

/// One key specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// What the command does with these keys.
    pub flags: KeyFlags,
    /// Where to begin.
    pub begin: Begin,
    /// How to go on.
    pub find: Find,
}

/// Why a request's keys cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The command has no keys.
    #[error("ERR The command has no key arguments")]
    NoKeys,
    /// The arguments contradict the specification (a count that is too large).
    #[error("ERR Invalid arguments specified for command")]
    Invalid,
}

impl KeySpec {
    /// Calls `found` with the argument index of each key of `args`.
    ///
    /// # Errors
    /// When a count is malformed or promises more keys than there are arguments.
    pub fn each(&self, args: Args<'_>, mut found: impl FnMut(usize)) -> Result<(), KeyError> {
        let len = args.len() as i64;
        let begin = match self.begin {
            Begin::Index(i) => i64::from(i),
            Begin::Keyword(word, from) => match search(args, word, from) {
                Some(at) => at as i64 + 1,
                None => return Ok(()),
            },
            Begin::Option(word, from) => {
                let last = (from as usize..args.len().saturating_sub(1)).rev().find(|i| args.is(*i, word));
                if let Some(at) = last {
                    found(at + 1);
                }
                return Ok(());
            }
            Begin::Unknown => return Ok(()),
        };
        if begin >= len {
            return Ok(());
        }
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = match i64::from(last) {
                    last if last >= 0 => begin + last,
                    last if limit <= 1 => len + last,
                    last => begin + (len - begin) / i64::from(limit) + last,
                };
                (begin, last.min(len - 1), i64::from(step))
            }
            Find::Count { index, first, step } => {
                let count = args
                    .get((begin + i64::from(index)) as usize)
                    .and_then(crate::number::parse_i64)
                    .filter(|n| *n >= 0)
                    .ok_or(KeyError::Invalid)?;
                let first = begin + i64::from(first);
                let span = count.checked_sub(1).and_then(|n| n.checked_mul(i64::from(step)));
                let last = span.and_then(|s| s.checked_add(first)).ok_or(KeyError::Invalid)?;
                if last >= len {
                    return Err(KeyError::Invalid);
                }
                (first, last, i64::from(step))
            }
            Find::Unknown => return Ok(()),
        };
        let mut at = first;
        while at <= last {
            found(at as usize);
            at += step;
        }
        Ok(())
    }
}

fn search(args: Args<'_>, word: &str, from: i16) -> Option<usize> {
    if from >= 0 {
        (from as usize..args.len()).find(|i| args.is(*i, word))
    } else {
        let start = args.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=start).rev().find(|i| args.is(*i, word))
    }
}

/// The key positions as clients read them that know no key specifications: first, last and step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The first key's argument; 0 when there is none at a fixed place.
    pub first: i16,
    /// The last key's argument; negative: from the end.
    pub last: i16,
    /// Distance between keys.
    pub step: i16,
    /// Whether there may be keys elsewhere (`movablekeys`).
    pub movable: bool,
}

impl Positions {
    /// What Redis derives from the specifications: one range as it is, or neighbouring ranges of step 1
    /// as one range; all others only make the keys movable.
    pub const fn of(specs: &[KeySpec]) -> Self {
        let mut all = Self { first: 0, last: 0, step: 0, movable: false };
        let mut i = 0;
        while i < specs.len() {
            let spec = &specs[i];
            i += 1;
            let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                all.movable = true;
                continue;
            };
            let alone = specs.len() == 1;
            if !alone && (step != 1 || (all.last != 0 && all.last != first - 1)) {
                all.movable = true;
                continue;
            }
            if spec.flags.contains(KeyFlags::INCOMPLETE) {
                all.movable = true;
            }
            if all.first == 0 {
                all.first = first;
            }
            // Ranges come in order, so the later one ends later; one to the end is always the last.
            all.last = if last >= 0 { first + last } else { last };
            all.step = step;
        }
        all
    }
}
