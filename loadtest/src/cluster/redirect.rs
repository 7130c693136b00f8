//! The error replies by which a node of a cluster says that a request belongs elsewhere or must come again.

/// What a node asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// The slot has moved for good.
    Moved {
        /// The slot.
        slot: u16,
        /// `host:port` of its owner; the host may be empty and then is that of the node that answered.
        to: String,
    },
    /// This one request is to be sent there, behind ASKING.
    Ask {
        /// `host:port`.
        to: String,
    },
    /// The keys of the request are on the move; to be sent again a little later.
    TryAgain,
}

impl Redirect {
    /// Reads an error reply, without its dash; any other error is `None`.
    pub fn parse(error: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(error).ok()?.split(' ');
        match words.next()? {
            "TRYAGAIN" => Some(Self::TryAgain),
            "MOVED" => {
                let slot =
                    words.next()?.parse().ok().filter(|slot| usize::from(*slot) < super::slot::SLOTS)?;
                Some(Self::Moved { slot, to: words.next()?.to_owned() })
            }
            "ASK" => words.nth(1).map(|to| Self::Ask { to: to.to_owned() }),
            _ => None,
        }
    }
}

/// True if an error reply, without its dash, says that another node of a cluster is to be asked.
pub fn leads_elsewhere(error: &str) -> bool {
    matches!(Redirect::parse(error.as_bytes()), Some(Redirect::Moved { .. } | Redirect::Ask { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let moved = Redirect::parse(b"MOVED 3999 127.0.0.1:6381");
        assert_eq!(moved, Some(Redirect::Moved { slot: 3999, to: "127.0.0.1:6381".into() }));
        assert_eq!(Redirect::parse(b"ASK 1 h:2"), Some(Redirect::Ask { to: "h:2".into() }));
        assert_eq!(Redirect::parse(b"TRYAGAIN Multiple keys"), Some(Redirect::TryAgain));
        for other in
            [&b"CLUSTERDOWN x"[..], b"MOVED 16384 h:1", b"MOVED x h:1", b"MOVED 1", b"ERR", b"\xff", b""]
        {
            assert_eq!(Redirect::parse(other), None, "{}", other.escape_ascii());
        }
    }
}
