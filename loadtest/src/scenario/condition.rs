//! What a scenario waits for: `redis answers`, `nodes CLUSTER INFO cluster_known_nodes = 6`,
//! `router METRIC shoal_view_epoch >= 3`, `redis DBSIZE = 0`.
//!
//! A condition is looked at from outside, over a connection of its own with a short limit: a server that does not
//! answer makes it false, never an error.

use std::fmt;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::claim::Relation;
use super::command_line::words;
use crate::answer::{self, Answer};
use crate::target::encode;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The admin port of Shoal's programs is so far above the RESP port.
const ADMIN: u16 = 20_000;

/// What must be true of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Answers,
    IsSilent,
    /// A line `name value` of the metrics page, labels left out and added up.
    Metric(String),
    /// A field of a reply such as INFO's.
    Field(Vec<String>, String),
    /// The reply itself.
    Reply(Vec<String>),
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    /// The process it is about, or `nodes`: all of them that run.
    pub subject: String,
    question: Question,
    bound: Option<(Relation, String)>,
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = words(text)?;
        let subject = all.remove(0);
        let new = |question, bound| Ok(Self { text: text.to_owned(), subject, question, bound });
        match all.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["answers"] => return new(Question::Answers, None),
            ["is", "silent"] => return new(Question::IsSilent, None),
            _ => {}
        }
        let wrong = || {
            format!(
                "'{text}' is no condition: write 'PROCESS answers', 'PROCESS is silent', 'PROCESS INFO FIELD = VALUE', \
                 'PROCESS METRIC NAME >= VALUE' or 'PROCESS COMMAND = VALUE'"
            )
        };
        let value = all.pop().ok_or_else(wrong)?;
        let relation = all.pop().and_then(|word| Relation::parse(&word)).ok_or_else(wrong)?;
        let bound = Some((relation, value));
        let upper: Vec<String> = all.iter().map(|word| word.to_uppercase()).collect();
        match upper.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Err(wrong()),
            ["METRIC", _] => new(Question::Metric(all.remove(1)), bound),
            ["METRIC", ..] => Err(wrong()),
            ["INFO", _] | ["INFO", _, _] | ["CLUSTER", "INFO", _] => {
                let field = all.pop().ok_or_else(wrong)?;
                new(Question::Field(all, field), bound)
            }
            _ => new(Question::Reply(all), bound),
        }
    }

    /// Looks whether it holds at a server; if not, says what is the case instead.
    pub fn holds(&self, server: SocketAddr) -> Result<(), String> {
        match &self.question {
            Question::Answers => ask(server, &["PING".into()]).map(drop),
            Question::IsSilent => match ask(server, &["PING".into()]) {
                Ok(_) => Err("it answers".into()),
                Err(_) => Ok(()),
            },
            Question::Metric(name) => {
                let value = metric(&metrics(server)?, name);
                self.compare(value.ok_or_else(|| format!("there is no metric {name}"))?.to_string())
            }
            Question::Field(command, field) => {
                let text = ask(server, command)?;
                let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                self.compare(value.ok_or_else(|| format!("there is no field {field}"))?.trim().to_owned())
            }
            Question::Reply(command) => self.compare(ask(server, command)?),
        }
    }

    fn compare(&self, value: String) -> Result<(), String> {
        let Some((relation, bound)) = &self.bound else { return Ok(()) };
        let holds = match (value.parse::<f64>(), bound.parse::<f64>()) {
            (Ok(value), Ok(bound)) => relation.holds(&value, &bound),
            _ => relation.holds(&value, bound),
        };
        if holds { Ok(()) } else { Err(format!("it is {value}")) }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn connect(server: SocketAddr) -> Result<TcpStream, String> {
    let connect = || {
        let socket = TcpStream::connect_timeout(&server, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    connect().map_err(|error: std::io::Error| error.to_string())
}

/// Sends a command and returns the reply as text. Errors of the server count as no answer, except for PING: a
/// server that wants a password is there.
pub fn ask(server: SocketAddr, command: &[String]) -> Result<String, String> {
    let mut socket = connect(server)?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    socket.write_all(&encode(&words)).map_err(|error| error.to_string())?;
    match answer::read(&mut BufReader::new(socket)) {
        Ok(Answer::Error(text)) if words != ["PING"] || text.starts_with("LOADING") => Err(text),
        Ok(Answer::Error(text) | Answer::Status(text)) => Ok(text),
        Ok(Answer::Number(number)) => Ok(number.to_string()),
        Ok(Answer::Bytes(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(Answer::Nothing) => Ok("nil".into()),
        Err(error) => Err(format!("no answer: {error}")),
    }
}

/// The metrics page of a Shoal program.
fn metrics(server: SocketAddr) -> Result<String, String> {
    let port = server.port().checked_add(ADMIN).ok_or("its admin port is unknown")?;
    let server = SocketAddr::new(server.ip(), port);
    let mut socket = connect(server)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut page = Vec::new();
    socket.take(8 << 20).read_to_end(&mut page).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// A metric's value, added up over its labels.
fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        for text in [
            "redis answers",
            "redis is silent",
            "nodes CLUSTER INFO cluster_known_nodes = 6",
            "redis INFO connected_slaves >= 1",
            "redis INFO replication role = master",
            "node-1 METRIC shoal_keys <= 5",
            "redis DBSIZE = 0",
            "redis GET 'a b' = x",
        ] {
            Condition::parse(text).unwrap_or_else(|error| panic!("{error}"));
        }
        for text in ["redis", "redis works", "redis INFO role", "redis = 5", "redis METRIC a b = 5", ""] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_compared_as_numbers_where_they_are() {
        let condition = Condition::parse("redis DBSIZE >= 9").unwrap();
        assert_eq!(condition.compare("10".into()), Ok(()));
        assert_eq!(condition.compare("8".into()), Err("it is 8".into()));
        let condition = Condition::parse("redis INFO role = master").unwrap();
        assert_eq!(condition.compare("master".into()), Ok(()));
    }

    #[test]
    fn metrics_are_added_up() {
        let page = "# TYPE keys gauge\nkeys{a=\"x\"} 5\nkeys{a=\"y}\"} 2\nkeys_total 9\nplain 4\n";
        assert_eq!(metric(page, "keys"), Some(7.0));
        assert_eq!(metric(page, "plain"), Some(4.0));
        assert_eq!(metric(page, "none"), None);
    }

    #[test]
    fn nobody_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(Condition::parse("x answers").unwrap().holds(address).is_err());
        assert_eq!(Condition::parse("x is silent").unwrap().holds(address), Ok(()));
    }
}
