//! From the text of a script to its steps.

use shoal_proto::resp::inline;

use super::expect::{Expect, Kind};
use crate::Frame;

/// One thing to do, with the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A request and the replies it must get.
    Request {
        /// The line of the request.
        line: usize,
        /// Its arguments.
        args: Vec<Vec<u8>>,
        /// What must come back, with their lines.
        replies: Vec<(usize, Expect)>,
    },
    /// RESP2 or RESP3 from here on.
    Speak(usize, u8),
    /// A setting for the rest of the file.
    Config(usize, String, String),
    /// The rest is not for these targets.
    Skip(Vec<String>, String),
    /// The rest is for these targets only.
    Only(Vec<String>, String),
}

/// A parsed file.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// A line of a reply: its number, its depth, its text.
type ReplyLine<'a> = (usize, usize, &'a str);

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut steps = Vec::new();
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line)).peekable();
        while let Some((number, line)) = lines.next() {
            let fail = |what: &str| (number, format!("{what}: {line}"));
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(directive) = line.strip_prefix('@') {
                steps.push(parse_directive(number, directive).ok_or_else(|| fail("unknown directive"))?);
                continue;
            }
            let request = line.strip_prefix('>').ok_or_else(|| fail("neither `>`, `<`, `@` nor `#`"))?;
            let args = inline::split(request.as_bytes()).filter(|args| !args.is_empty());
            let args = args.ok_or_else(|| fail("no request, or quotes that do not balance"))?;
            let mut replies = Vec::new();
            while let Some((number, line)) = lines.next_if(|(_, l)| l.starts_with('<') || is_gap(l)) {
                if let Some(reply) = line.strip_prefix('<') {
                    replies.push(reply_line(number, reply)?);
                }
            }
            let replies = parse_replies(&replies)?;
            if replies.is_empty() {
                return Err(fail("a request without a reply"));
            }
            steps.push(Step::Request { line: number, args, replies });
        }
        Ok(Self { steps })
    }
}

/// Comments and empty lines may stand between a request and its reply.
fn is_gap(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

fn parse_directive(line: usize, text: &str) -> Option<Step> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let targets = || -> Option<(Vec<String>, String)> {
        let (targets, reason) = rest.trim().split_once(' ')?;
        Some((targets.split(',').map(str::to_owned).collect(), reason.trim().to_owned()))
    };
    Some(match name.trim() {
        "resp2" => Step::Speak(line, 2),
        "resp3" => Step::Speak(line, 3),
        "skip" => targets().map(|(targets, reason)| Step::Skip(targets, reason))?,
        "only" => targets().map(|(targets, reason)| Step::Only(targets, reason))?,
        "config" => {
            let (name, value) = rest.trim().split_once(' ')?;
            let value = inline::split(value.as_bytes())?.into_iter().next()?;
            Step::Config(line, name.to_owned(), String::from_utf8(value).ok()?)
        }
        _ => return None,
    })
}

fn reply_line(number: usize, text: &str) -> Result<ReplyLine<'_>, (usize, String)> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let rest = text.trim_start_matches(' ');
    let indent = text.len() - rest.len();
    if indent % 2 == 1 {
        return Err((number, "replies are indented by two spaces per level".to_owned()));
    }
    // A simple string or an error may end in a space.
    let keep = rest.starts_with(['+', '-']);
    Ok((number, indent / 2, if keep { rest } else { rest.trim_end() }))
}

fn parse_replies(lines: &[ReplyLine<'_>]) -> Result<Vec<(usize, Expect)>, (usize, String)> {
    let mut replies = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let number = lines[at].0;
        replies.push((number, parse_reply(lines, &mut at, 0)?));
    }
    Ok(replies)
}

fn parse_reply(lines: &[ReplyLine<'_>], at: &mut usize, depth: usize) -> Result<Expect, (usize, String)> {
    let Some(&(number, level, text)) = lines.get(*at) else {
        let last = lines.last().map_or(0, |l| l.0);
        return Err((last, "fewer elements than announced".to_owned()));
    };
    let fail = |what: &str| (number, format!("{what}: {text}"));
    if level < depth {
        return Err(fail("fewer elements than announced; here is the next reply"));
    }
    if level > depth {
        return Err(fail("more elements than announced, or indented too far"));
    }
    *at += 1;
    let mut chars = text.chars();
    let sign = chars.next();
    let rest = chars.as_str();
    if let (Some(kind), true) = (aggregate(sign), rest.starts_with(|c: char| c.is_ascii_digit())) {
        let (n, order) = rest.split_once(' ').unwrap_or((rest, ""));
        let n: usize = n.parse().map_err(|_| fail("not a count"))?;
        if !matches!(order.trim(), "" | "unordered") {
            return Err(fail("only `unordered` may follow the count"));
        }
        let n = if kind == Kind::Map { 2 * n } else { n };
        let elements = (0..n).map(|_| parse_reply(lines, at, depth + 1)).collect::<Result<_, _>>()?;
        return Ok(Expect::Elements { kind, unordered: !order.is_empty(), elements });
    }
    parse_scalar(text).ok_or_else(|| fail("not a reply"))
}

fn aggregate(sign: Option<char>) -> Option<Kind> {
    match sign? {
        '*' => Some(Kind::Array),
        '%' => Some(Kind::Map),
        '~' => Some(Kind::Set),
        '>' => Some(Kind::Push),
        _ => None,
    }
}

fn parse_scalar(text: &str) -> Option<Expect> {
    let exactly = |frame| Some(Expect::Exactly(frame));
    match text {
        "nil" => return Some(Expect::Nil),
        "?" => return Some(Expect::Any),
        ":?" => return Some(Expect::IntIn(i64::MIN..=i64::MAX)),
        "\"?\"" => return Some(Expect::AnyBulk),
        "*?" => return Some(Expect::AnyArray),
        "$-1" => return exactly(Frame::NullBulk),
        "*-1" => return exactly(Frame::NullArray),
        "_" => return exactly(Frame::Null),
        "#t" => return exactly(Frame::Bool(true)),
        "#f" => return exactly(Frame::Bool(false)),
        _ => {}
    }
    let bytes = |text: &str| text.as_bytes().to_vec();
    let (sign, rest) = text.split_at_checked(1)?;
    match sign {
        "+" => exactly(Frame::Simple(bytes(rest))),
        "-" => match rest.strip_suffix("...") {
            Some(prefix) => Some(Expect::ErrorPrefix(bytes(prefix))),
            None => exactly(Frame::Error(bytes(rest))),
        },
        ":" => match rest.split_once("..") {
            Some((low, high)) => Some(Expect::IntIn(low.parse().ok()?..=high.parse().ok()?)),
            None => exactly(Frame::Int(rest.parse().ok()?)),
        },
        "," => exactly(Frame::Double(bytes(rest))),
        "(" => exactly(Frame::Big(bytes(rest))),
        "=" => exactly(Frame::Verbatim(b"txt".to_vec(), one_word(rest)?)),
        "\"" | "'" => exactly(Frame::Bulk(one_word(text)?)),
        _ => None,
    }
}

fn one_word(text: &str) -> Option<Vec<u8>> {
    let mut words = inline::split(text.as_bytes())?.into_iter();
    words.next().filter(|_| words.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(text: &str) -> Vec<Expect> {
        let script = Script::parse(&format!("> X\n{text}")).unwrap();
        let Step::Request { replies, .. } = &script.steps[0] else { panic!("not a request") };
        replies.iter().map(|(_, e)| e.clone()).collect()
    }

    #[test]
    fn replies_are_read_and_printed_alike() {
        let text = "< *3\n<   %1\n<     \"a\\x00\"\n<     :1..2\n<   ~2 unordered\n<     ?\n<     \"?\"\n<   nil\n< -ERR ...\n< *0\n< *?\n< :?";
        let printed: Vec<String> = replies(text).iter().map(Expect::to_string).collect();
        assert_eq!(
            printed,
            [
                "*3\n  %1\n    \"a\\x00\"\n    :1..2\n  ~2 unordered\n    ?\n    \"?\"\n  nil",
                "-ERR ...",
                "*0",
                "*?",
                ":?"
            ]
        );
    }

    #[test]
    fn mistakes_name_their_line() {
        let mistakes = [
            ("> SET a 1", 1),
            ("# x\n< +OK", 2),
            ("> A\n< *2\n<   :1\n> B\n< +OK", 3),
            ("> A\n< *1\n<   :1\n<   :2", 4),
            ("> A\n< *2\n<   :1\n< :2", 4),
            ("> A\n<  :1", 2),
            ("> A \"b\n< +OK", 1),
            ("> A\n< huh", 2),
            ("> A\n< \"a\" comment", 2),
            ("@huh", 1),
            ("@skip redis", 1),
        ];
        for (text, line) in mistakes {
            assert_eq!(Script::parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn patterns_match_what_they_say() {
        let yes = [
            ("< nil", "_\r\n"),
            ("< nil", "*-1\r\n"),
            ("< ,1.5", ",1.50\r\n"),
            ("< ,inf", ",inf\r\n"),
            ("< :1..3", ":3\r\n"),
            ("< -ERR a...", "-ERR abc\r\n"),
            ("< *2 unordered\n<   :1\n<   :2", "*2\r\n:2\r\n:1\r\n"),
            ("< %2 unordered\n<   :1\n<   +a\n<   :2\n<   +b", "%2\r\n:2\r\n+b\r\n:1\r\n+a\r\n"),
        ];
        let no = [
            ("< $-1", "*-1\r\n"),
            ("< :1", "$1\r\n1\r\n"),
            ("< :1..3", ":4\r\n"),
            ("< -ERR a", "-ERR ab\r\n"),
            ("< *2\n<   :1\n<   :2", "*2\r\n:2\r\n:1\r\n"),
            ("< *2 unordered\n<   :1\n<   :1", "*2\r\n:2\r\n:1\r\n"),
            ("< ~0", "*0\r\n"),
        ];
        for (pattern, bytes) in yes {
            assert!(replies(pattern)[0].matches(&Frame::parse(bytes.as_bytes()).unwrap()), "{pattern}");
        }
        for (pattern, bytes) in no {
            assert!(!replies(pattern)[0].matches(&Frame::parse(bytes.as_bytes()).unwrap()), "{pattern}");
        }
    }
}
