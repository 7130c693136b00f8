//! Command lines of servers: words with places such as `{port}`, quotes, and groups that are left out when a place
//! in them is empty: `shoal-node --listen {address}:{port} [--join {seeds}]`.

use std::path::{Path, PathBuf};

/// What stands in for the places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `{name}`
    pub name: String,
    /// `{number}`: of a node; empty for others.
    pub number: String,
    /// `{address}`
    pub address: String,
    /// `{port}`
    pub port: String,
    /// `{seeds}`: addresses of the nodes that run, without this one, separated by commas.
    pub seeds: String,
    /// `{dir}`: an empty directory of its own.
    pub dir: String,
}

const NAMES: [&str; 6] = ["name", "number", "address", "port", "seeds", "dir"];

impl Places {
    fn get(&self, name: &str) -> &str {
        match name {
            "name" => &self.name,
            "number" => &self.number,
            "address" => &self.address,
            "port" => &self.port,
            "seeds" => &self.seeds,
            _ => &self.dir,
        }
    }
}

/// A word, and the group it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    group: Option<usize>,
}

/// A command line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<Word>,
}

impl CommandLine {
    /// Reads a command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words: Vec<Word> = Vec::new();
        let (mut group, mut groups) = (None, 0);
        for mut word in split(text)? {
            if group.is_none()
                && !word.quoted
                && let Some(rest) = word.text.strip_prefix('[')
            {
                word.text = rest.to_owned();
                group = Some(groups);
                groups += 1;
            }
            let closes = group.is_some() && !word.quoted && word.text.ends_with(']');
            if closes {
                word.text.pop();
            }
            check_places(&word.text)?;
            words.push(Word { text: word.text, group });
            if closes {
                group = None;
            }
        }
        if group.is_some() {
            return Err(format!("the '[' in '{text}' is not closed"));
        }
        if words.first().is_none_or(|word| word.text.is_empty() || word.group.is_some()) {
            return Err("a command must start with a program".into());
        }
        Ok(Self { words })
    }

    /// The program as written.
    pub fn program(&self) -> &str {
        &self.words[0].text
    }

    /// True if the place occurs.
    pub fn has(&self, place: &str) -> bool {
        let place = format!("{{{place}}}");
        self.words.iter().any(|word| word.text.contains(&place))
    }

    /// The words after the program, filled in.
    pub fn arguments(&self, places: &Places) -> Vec<String> {
        let is_empty = |word: &Word| {
            NAMES.iter().any(|name| places.get(name).is_empty() && word.text.contains(&format!("{{{name}}}")))
        };
        let empty: Vec<usize> =
            self.words.iter().filter(|word| is_empty(word)).filter_map(|word| word.group).collect();
        let kept =
            self.words[1..].iter().filter(|word| word.group.is_none_or(|group| !empty.contains(&group)));
        kept.map(|word| {
            let mut text = word.text.clone();
            for name in NAMES {
                text = text.replace(&format!("{{{name}}}"), places.get(name));
            }
            text
        })
        .collect()
    }
}

struct Raw {
    text: String,
    quoted: bool,
}

/// Splits at blanks outside of quotes.
fn split(text: &str) -> Result<Vec<Raw>, String> {
    let mut words: Vec<Raw> = Vec::new();
    let (mut open, mut quote) = (false, None);
    for char in text.chars() {
        match quote {
            Some(mark) if char == mark => quote = None,
            None if char.is_whitespace() => open = false,
            _ => {
                if !open {
                    words.push(Raw { text: String::new(), quoted: false });
                    open = true;
                }
                let Some(word) = words.last_mut() else { continue };
                if quote.is_none() && matches!(char, '"' | '\'') {
                    quote = Some(char);
                    word.quoted = true;
                } else {
                    word.text.push(char);
                }
            }
        }
    }
    match quote {
        Some(mark) => Err(format!("a {mark} in '{text}' is not closed")),
        None => Ok(words),
    }
}

/// Splits a command for a server into words, quotes respected.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = split(text)?.into_iter().map(|word| word.text).collect();
    if words.is_empty() { Err("an empty command".into()) } else { Ok(words) }
}

fn check_places(word: &str) -> Result<(), String> {
    for part in word.split('{').skip(1) {
        let name = part.split('}').next().unwrap_or_default();
        if !NAMES.contains(&name) {
            return Err(format!("unknown place '{{{name}}}'; there are {{{}}}", NAMES.join("}, {")));
        }
    }
    Ok(())
}

/// Finds a program: next to this one, then on the search path, or where the path given leads.
pub fn find_program(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = Path::new(name);
        return match std::path::absolute(path) {
            Ok(path) if path.is_file() => Ok(path),
            _ => Err(format!("there is no program '{name}'")),
        };
    }
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = own.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    let mut found = found.filter(|candidate| candidate.is_file());
    found.next().ok_or_else(|| {
        format!("there is no program '{name}' next to shoal-loadtest or on the search path (PATH)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_quotes_and_groups() {
        let line =
            CommandLine::parse("serve --at {address}:{port} [--join {seeds}] --save \"\" 'a b' [x]").unwrap();
        let mut places =
            Places { address: "::1".into(), port: "70".into(), seeds: "a,b".into(), ..Places::default() };
        assert_eq!(line.program(), "serve");
        let whole = ["--at", "::1:70", "--join", "a,b", "--save", "", "a b", "x"];
        assert_eq!(line.arguments(&places), whole);
        places.seeds.clear();
        assert_eq!(line.arguments(&places), ["--at", "::1:70", "--save", "", "a b", "x"]);
        assert!(line.has("port") && !line.has("dir"));
    }

    #[test]
    fn wrong_lines_are_explained() {
        for (text, part) in [
            ("", "must start with a program"),
            ("[a] b", "must start with a program"),
            ("a {prot}", "unknown place '{prot}'"),
            ("a [b", "is not closed"),
            ("a 'b", "is not closed"),
        ] {
            let error = CommandLine::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn programs_are_found() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert!(find_program("no-such-program").unwrap_err().contains("no program 'no-such-program'"));
        assert!(find_program("/no/such").is_err());
    }
}
