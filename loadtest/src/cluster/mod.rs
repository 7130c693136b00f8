//! A cluster as its clients see it: which node owns which slot, learned from CLUSTER SLOTS and from redirects.
//!
//! [`Layout::read`] is called once before a run; each generator thread then keeps a map of its own and changes it
//! by what it is told. [`Nodes`] is the list of servers that all threads share: a server's place in it never
//! changes, so figures can be kept by place. Nothing here sends load.

pub mod redirect;
pub mod slot;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::target::{Opening, Target, ask, encode, greet};
use crate::transport::Endpoint;
use slot::SLOTS;

/// The most servers of a run. Redirects to ever new ones must not use up sockets and memory.
pub const MAX_NODES: usize = 1024;

/// The servers of a run; it only grows, and not beyond [`MAX_NODES`].
#[derive(Debug, Default)]
pub struct Nodes(Mutex<Vec<Endpoint>>);

impl Nodes {
    /// These to begin with.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self(Mutex::new(endpoints))
    }

    /// All of them, in their places.
    pub fn all(&self) -> Vec<Endpoint> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The place of the node that `teller` named `host:port`, which is added if it is new; `None` if it has no
    /// address or there are too many already. Secured as the teller is.
    pub fn place(&self, name: &str, teller: &Endpoint) -> Option<usize> {
        let node = teller.called(name)?;
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(place) = all.iter().position(|endpoint| endpoint.address == node.address) {
            return Some(place);
        }
        if all.len() >= MAX_NODES {
            return None;
        }
        all.push(node);
        Some(all.len() - 1)
    }
}

/// Who owns which slot, by places in [`Nodes`].
#[derive(Clone, Debug)]
pub struct Layout {
    owners: Vec<u16>,
}

impl Layout {
    /// Asks the first target that answers; the nodes that own slots are put into the list. Once `stop` is set nobody is
    /// waited for.
    pub fn read(
        targets: &[Target],
        opening: &Opening,
        nodes: &Nodes,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let mut first = None;
        for target in targets {
            match Self::ask(target, opening, nodes, stop) {
                Ok(layout) => return Ok(layout),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Usage("a cluster needs a --target to ask".into())))
    }

    fn ask(target: &Target, opening: &Opening, nodes: &Nodes, stop: &Arc<AtomicBool>) -> Result<Self, Error> {
        let mut socket = greet(target, opening, stop)?;
        let reply = ask(&mut socket, &encode(&["CLUSTER", "SLOTS"]), target)?;
        let refused = |answer: String| Error::Refused {
            address: target.name.clone(),
            command: "CLUSTER SLOTS".into(),
            answer,
        };
        if let Some(text) = reply.strip_prefix(b"-") {
            return Err(refused(String::from_utf8_lossy(text).trim().to_owned()));
        }
        let ranges = ranges(&reply).ok_or_else(|| refused("a reply that is no table of slots".into()))?;
        let teller = target.endpoint();
        let mut owners = vec![0; SLOTS];
        let mut owned = 0;
        for (low, high, name) in ranges {
            let place = nodes.place(&name, &teller);
            let place = place.and_then(|place| u16::try_from(place).ok());
            let place = place.ok_or_else(|| refused(format!("a node '{name}' that has no address")))?;
            owners[usize::from(low)..=usize::from(high)].fill(place);
            owned += usize::from(high - low) + 1;
        }
        if owned == 0 {
            return Err(refused("no node owns a slot".into()));
        }
        Ok(Self { owners })
    }

    /// The owner of a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> usize {
        usize::from(self.owners[usize::from(slot)])
    }

    /// Takes down that a slot has moved.
    pub fn moved(&mut self, slot: u16, to: usize) {
        self.owners[usize::from(slot)] = u16::try_from(to).unwrap_or(u16::MAX);
    }
}

/// A reply, as far as CLUSTER SLOTS needs it.
#[derive(Debug)]
enum Value {
    Number(i64),
    Text(String),
    Other,
    List(Vec<Value>),
}

/// Lists within lists that are read.
const MAX_DEPTH: u32 = 6;

/// Reads one value and returns it with what is behind it.
fn value(bytes: &[u8], depth: u32) -> Option<(Value, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = std::str::from_utf8(bytes.get(1..end)?).ok()?.trim_end();
    let mut rest = &bytes[end + 1..];
    let value = match bytes[0] {
        b':' => Value::Number(line.parse().ok()?),
        b'+' => Value::Text(line.to_owned()),
        b'$' if line != "-1" => {
            let length = line.parse::<usize>().ok()?;
            let text = String::from_utf8_lossy(rest.get(..length)?).into_owned();
            rest = rest.get(length + 2..)?;
            Value::Text(text)
        }
        b'*' | b'%' | b'~' if line != "-1" && depth < MAX_DEPTH => {
            let count = line.parse::<usize>().ok()? * if bytes[0] == b'%' { 2 } else { 1 };
            let mut list = Vec::new();
            for _ in 0..count {
                let (element, behind) = self::value(rest, depth + 1)?;
                list.push(element);
                rest = behind;
            }
            Value::List(list)
        }
        _ => Value::Other,
    };
    Some((value, rest))
}

/// First slot, last slot and `host:port` of each range's owner.
fn ranges(reply: &[u8]) -> Option<Vec<(u16, u16, String)>> {
    let (Value::List(rows), _) = value(reply, 0)? else { return None };
    let slot = |number: i64| u16::try_from(number).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let range = |row: Value| {
        let Value::List(row) = row else { return None };
        let [Value::Number(low), Value::Number(high), Value::List(owner), ..] = &row[..] else { return None };
        let (low, high) = (slot(*low)?, slot(*high)?);
        let host = match owner.first()? {
            // `?` stands for a node that does not know its own address.
            Value::Text(host) if host != "?" => host.as_str(),
            _ => "",
        };
        let Value::Number(port) = owner.get(1)? else { return None };
        (low <= high).then(|| (low, high, format!("{host}:{port}")))
    };
    rows.into_iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"*2\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*0\r\n\
        *3\r\n$9\r\n127.0.0.1\r\n:7003\r\n$2\r\nxy\r\n*3\r\n:5461\r\n:16383\r\n*3\r\n$-1\r\n:7001\r\n$2\r\nab\r\n";

    #[test]
    fn owners_are_read() {
        let expected = vec![(0, 5460, "127.0.0.1:7000".to_owned()), (5461, 16383, ":7001".to_owned())];
        assert_eq!(ranges(REPLY), Some(expected));
        assert_eq!(ranges(b"*0\r\n"), Some(Vec::new()));
        for cut in 0..REPLY.len() {
            assert_eq!(ranges(&REPLY[..cut]), None, "{cut}");
        }
        for wrong in
            [&b"+OK\r\n"[..], b"*1\r\n:1\r\n", b"*1\r\n*3\r\n:5\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n"]
        {
            assert_eq!(ranges(wrong), None, "{}", wrong.escape_ascii());
        }
        assert_eq!(ranges(&b"*1\r\n".repeat(10_000)), None);
    }

    #[test]
    fn nodes_keep_their_places() {
        let first = Target::resolve("127.0.0.1:7000").unwrap().endpoint();
        let nodes = Nodes::new(Vec::new());
        assert_eq!(nodes.place("127.0.0.1:7000", &first), Some(0));
        assert_eq!(nodes.place(":7001", &first), Some(1));
        assert_eq!(nodes.place("127.0.0.1:7001", &first), Some(1));
        assert_eq!(nodes.place("[::1]:7001", &first), Some(2));
        assert_eq!(nodes.place("nonsense", &first), None);
        let named = Endpoint { name: "cache".into(), ..first.clone() };
        assert_eq!(nodes.place(":7001", &named), Some(1), "a name that only we know needs no look-up");
        let names: Vec<String> = nodes.all().iter().map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["127.0.0.1:7000", "127.0.0.1:7001", "[::1]:7001"]);
        let wanted = crate::tls::Wanted { insecure: true, ..crate::tls::Wanted::default() };
        let secured = Endpoint { tls: Some(crate::tls::Tls::new(&wanted).unwrap()), ..first.clone() };
        assert_eq!(secured.called("127.0.0.2:7000").unwrap().tls, secured.tls);
        let new: Vec<_> =
            (1..2000).filter_map(|port| nodes.place(&format!("127.0.0.1:{port}"), &first)).collect();
        assert_eq!((new.len() + 3, nodes.all().len()), (MAX_NODES, MAX_NODES));
        assert_eq!(nodes.place(":7001", &first), Some(1), "those that are known stay known");
    }
}
