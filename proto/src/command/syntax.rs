//! The notation of a row's `syntax`, read into the arguments that `COMMAND DOCS` describes.
//!
//! `WORD` is a token, `word` a value, `[..]` optional, `<..>` required, `a | b` a choice, `x [x ...]` one or
//! more, `[x ...]` any number. A token takes the values that follow it (`EX seconds`, `LIMIT offset count`,
//! `TYPE <a | b>`). A choice of lower-case words only is one of tokens (`m | km`).
//!
//! Only rows are parsed, never what a client sends.

use super::{Command, Flags, Group};

/// What an argument is, as `COMMAND DOCS` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is a type's name")]
pub enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    /// The name `COMMAND DOCS` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

/// One argument, or a group of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The word before it; for a pure token the word itself.
    pub token: Option<&'static str>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// The token is repeated too.
    pub multiple_token: bool,
    /// The parts of a block, the alternatives of a choice.
    pub arguments: Vec<Argument>,
}

/// The arguments of a row, or `None` when its brackets do not match.
pub fn parse(command: &Command) -> Option<Vec<Argument>> {
    let mut rest = command.syntax;
    let mut alternatives = nodes(&mut rest)?;
    let nodes = alternatives.pop()?;
    (rest.is_empty() && alternatives.is_empty()).then(|| Reader { command }.arguments(&nodes))
}

/// The notation as a tree.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Word(&'static str),
    Optional(Vec<Vec<Node>>),
    Choice(Vec<Vec<Node>>),
    /// `...`
    Repeat,
}

impl Node {
    fn is_value(&self) -> bool {
        matches!(self, Self::Word(word) if word.starts_with(|c: char| c.is_ascii_lowercase()))
    }

    /// What `[x ...]` repeats.
    fn repeated(&self) -> Option<&[Node]> {
        match self {
            Self::Optional(alternatives) => match alternatives.as_slice() {
                [one] => match one.split_last() {
                    Some((Self::Repeat, inner)) => Some(inner),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}

/// Reads alternatives up to a closing bracket, which stays in `rest`, or the end.
fn nodes(rest: &mut &'static str) -> Option<Vec<Vec<Node>>> {
    let mut alternatives = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(c) = rest.chars().next() else { return Some(alternatives) };
        let node = match c {
            ']' | '>' => return Some(alternatives),
            '|' => {
                *rest = &rest[1..];
                alternatives.push(Vec::new());
                continue;
            }
            '[' => Node::Optional(bracketed(rest, ']')?),
            '<' => Node::Choice(bracketed(rest, '>')?),
            _ => {
                let end = rest.find([' ', '[', ']', '<', '>', '|']).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                *rest = behind;
                if word == "..." { Node::Repeat } else { Node::Word(word) }
            }
        };
        alternatives.last_mut()?.push(node);
    }
}

fn bracketed(rest: &mut &'static str, close: char) -> Option<Vec<Vec<Node>>> {
    *rest = &rest[1..];
    let inner = nodes(rest)?;
    *rest = rest.strip_prefix(close)?;
    Some(inner)
}

struct Reader<'a> {
    command: &'a Command,
}

impl Reader<'_> {
    fn arguments(&self, nodes: &[Node]) -> Vec<Argument> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < nodes.len() {
            let (argument, taken) = self.argument(&nodes[at..]);
            found.push(argument);
            at += taken;
        }
        found
    }

    /// The argument at the head of `nodes`, and how many nodes it takes.
    fn argument(&self, nodes: &[Node]) -> (Argument, usize) {
        if let Some(n) = repetition(nodes) {
            let mut argument = self.group(&nodes[..n]);
            argument.multiple = true;
            argument.multiple_token = argument.token.is_some();
            return (argument, n + 1);
        }
        match &nodes[0] {
            Node::Optional(_) if nodes[0].repeated().is_some() => {
                let mut argument = self.group(nodes[0].repeated().unwrap_or_default());
                (argument.optional, argument.multiple) = (true, true);
                (argument, 1)
            }
            Node::Optional(alternatives) => {
                let mut argument = self.alternatives(alternatives);
                argument.optional = true;
                (argument, 1)
            }
            Node::Choice(alternatives) => (self.alternatives(alternatives), 1),
            Node::Word(word) if nodes[0].is_value() => (self.value(word), 1),
            Node::Word(word) => self.token(word, &nodes[1..]),
            Node::Repeat => (self.value("..."), 1),
        }
    }

    /// A token with the values behind it.
    fn token(&self, token: &'static str, behind: &[Node]) -> (Argument, usize) {
        if let Some(Node::Choice(alternatives)) = behind.first() {
            let mut argument = self.alternatives(alternatives);
            argument.name = token.to_ascii_lowercase();
            argument.token = Some(token);
            return (argument, 2);
        }
        let mut taken = 0;
        while behind.get(taken).is_some_and(Node::is_value) {
            taken += if repetition(&behind[taken..]) == Some(1) { 2 } else { 1 };
        }
        let mut arguments = self.arguments(&behind[..taken]);
        let argument = match arguments.len() {
            0 => pure_token(token),
            1 => Argument { token: Some(token), ..arguments.remove(0) },
            _ => Argument { token: Some(token), ..block(token.to_ascii_lowercase(), arguments) },
        };
        (argument, taken + 1)
    }

    fn alternatives(&self, alternatives: &[Vec<Node>]) -> Argument {
        let [one] = alternatives else {
            let words = alternatives.iter().map(|a| match a.as_slice() {
                [Node::Word(word)] if a[0].is_value() => Some(pure_token(word)),
                _ => None,
            });
            let arguments: Vec<Argument> = match words.collect() {
                Some(tokens) => tokens,
                None => alternatives.iter().map(|a| self.group(a)).collect(),
            };
            let name = joined(&arguments, "-or-");
            return Argument { kind: Kind::OneOf, ..block(name, arguments) };
        };
        self.group(one)
    }

    /// One argument as it is, several as a block.
    fn group(&self, nodes: &[Node]) -> Argument {
        let mut arguments = self.arguments(nodes);
        if arguments.len() == 1 {
            return arguments.remove(0);
        }
        block(joined(&arguments, "-"), arguments)
    }

    fn value(&self, name: &'static str) -> Argument {
        Argument {
            name: name.to_owned(),
            kind: self.kind(name),
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            arguments: Vec::new(),
        }
    }

    /// The type that a value of this name has everywhere, or in this command.
    fn kind(&self, name: &str) -> Kind {
        let command = self.command;
        match name {
            "key" | "key1" | "key2" | "newkey" | "source" | "destination" if !command.keys.is_empty() => {
                Kind::Key
            }
            "pattern" => Kind::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => Kind::UnixTime,
            "longitude" | "latitude" | "radius" | "width" | "height" | "score" => Kind::Double,
            "timeout" if command.flags.contains(Flags::BLOCKING) && !command.keys.is_empty() => Kind::Double,
            "increment" if command.name.ends_with("float") => Kind::Double,
            "min" | "max" if !command.name.contains("lex") && command.name != "zrangestore" => Kind::Double,
            "start" | "stop" | "end" if command.group != Group::Stream && command.name != "zrange" => {
                Kind::Integer
            }
            "value" if command.group == Group::Bitmap => Kind::Integer,
            "bit" | "bits" | "client-id" | "cluster-bus-port" | "config-epoch" | "count" | "cursor"
            | "db" | "decrement" | "destination-db" | "end-slot" | "entries-added" | "entries-read"
            | "epoch" | "frequency" | "increment" | "index" | "index1" | "index2" | "len" | "limit"
            | "maxage" | "milliseconds" | "min-idle-time" | "min-match-len" | "ms" | "num-matches"
            | "numkeys" | "numlocal" | "numreplicas" | "offset" | "port" | "protover" | "rank"
            | "seconds" | "slot" | "start-slot" | "timeout" | "ttl" | "version" | "weight" => Kind::Integer,
            _ => Kind::String,
        }
    }
}

/// How many nodes from the first are repeated by the node behind them.
fn repetition(nodes: &[Node]) -> Option<usize> {
    (1..nodes.len()).find(|n| nodes[*n].repeated() == Some(&nodes[..*n]))
}

fn pure_token(token: &'static str) -> Argument {
    let name = match token {
        "*" => "auto-id",
        "$" => "last-id",
        "=" => "equal",
        "~" => "approximately",
        "\"\"" => "empty-string",
        word => word,
    };
    Argument { token: Some(token), kind: Kind::PureToken, ..block(name.to_ascii_lowercase(), Vec::new()) }
}

fn block(name: String, arguments: Vec<Argument>) -> Argument {
    Argument {
        name,
        kind: Kind::Block,
        token: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        arguments,
    }
}

/// A name for a group: its parts' names, or the first one's where there are many.
fn joined(arguments: &[Argument], by: &str) -> String {
    let shown = if arguments.len() > 3 { &arguments[..1] } else { arguments };
    let mut name = shown.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(by);
    if shown.len() < arguments.len() {
        name.push_str(by);
        name.push_str("more");
    }
    name
}
