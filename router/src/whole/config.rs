//! `CONFIG GET`: the nodes' settings, which are the same everywhere, except for what the router is not.

use shoal_proto::resp::frame;

/// What differs through a router: it looks like one server.
const OWN: [(&[u8], &[u8]); 1] = [(b"cluster-enabled", b"$2\r\nno\r\n")];

/// Copies a node's reply, pairs of names and values, with the router's own values in it.
pub(super) fn get(reply: &[u8], out: &mut Vec<u8>) {
    let mut elements = frame::elements(reply);
    let header = reply.len() - elements.rest().len();
    out.extend_from_slice(&reply[..header]);
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        let own = frame::text(name).and_then(|name| OWN.iter().find(|(own, _)| *own == name));
        out.extend_from_slice(name);
        out.extend_from_slice(own.map_or(value, |(_, value)| value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::finished;

    #[test]
    fn a_router_is_no_cluster() {
        let node = "*4\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n$2\r\nhz\r\n$2\r\n10\r\n";
        let router = "*4\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n$2\r\nhz\r\n$2\r\n10\r\n";
        assert_eq!(finished("CONFIG GET *", &[node, node]), router);
        let map = "%1\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n";
        assert_eq!(finished("CONFIG GET c*", &[map]), "%1\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n");
        assert_eq!(finished("CONFIG GET x", &["*0\r\n"]), "*0\r\n");
        assert_eq!(finished("CONFIG GET x", &["-ERR x\r\n"]), "-ERR x\r\n");
    }
}
