//! `CONFIG GET`: the nodes' settings, which are the same everywhere, except for what the router is not.

use shoal_proto::resp::{frame, reply::header};

use super::Own;

/// Copies a node's reply, pairs of names and values, with the router's own values in it.
pub(super) fn get(reply: &[u8], own: &Own, out: &mut Vec<u8>) {
    let mut elements = frame::elements(reply);
    let count = reply.len() - elements.rest().len();
    out.extend_from_slice(&reply[..count]);
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        out.extend_from_slice(name);
        let name = frame::text(name);
        match own.settings.iter().find(|(own, _)| name == Some(own.as_bytes())) {
            Some((_, value)) => {
                header(out, b'$', value.len() as i64);
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_no_cluster() {
        let settings = vec![("cluster-enabled", "no".to_owned()), ("port", "6379".to_owned())];
        let own = Own { settings, ..Own::default() };
        let got = |reply: &str| {
            let mut out = Vec::new();
            get(reply.as_bytes(), &own, &mut out);
            String::from_utf8(out).unwrap()
        };
        let node =
            "*6\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n$2\r\nhz\r\n$2\r\n10\r\n$4\r\nport\r\n$1\r\n0\r\n";
        let router = "*6\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n$2\r\nhz\r\n$2\r\n10\r\n$4\r\nport\r\n$4\r\n6379\r\n";
        assert_eq!(got(node), router);
        let map = "%1\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n";
        assert_eq!(got(map), "%1\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n");
        assert_eq!(got("*0\r\n"), "*0\r\n");
    }
}
