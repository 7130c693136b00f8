//! A datagram of gossip: a head, what goes along, and the packet.
//!
//! ```text
//! cluster (u64, big-endian) | version (u8) | length of what goes along (u8) | what goes along | foca's packet
//! ```
//! A lease goes along, since asking for one and granting it are a few bytes and gossip sends packets to the same peers
//! all the time. Three nodes that have nothing else to say send no packet for leases alone.

use serde::{Deserialize, Serialize};

use super::Dropped;
use crate::version::{self, own, understands};

/// Bytes of the cluster's number.
const CLUSTER: usize = 8;

/// Bytes in front of what goes along.
pub(super) const HEAD: usize = CLUSTER + 2;

/// Most bytes that go along: three numbers of up to ten bytes, two of them with a byte that says whether they are there, and
/// what a next version may add.
pub(super) const MOST_ALONG: usize = 40;

/// What goes along with a packet, about its sender and its receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Along {
    /// The sender's view.
    pub epoch: u64,
    /// The sender's round for which it asks for a lease.
    pub ask: Option<u64>,
    /// The receiver's round for which it gets one.
    pub grant: Option<u64>,
}

/// A packet as it is sent if nothing goes along.
pub(super) fn wrap(cluster: u64, packet: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(HEAD + packet.len());
    datagram.extend_from_slice(&cluster.to_be_bytes());
    datagram.extend_from_slice(&[own() as u8, 0]);
    datagram.extend_from_slice(packet);
    datagram
}

/// The datagram of [`Output::Send`](super::Output::Send) with something that goes along.
pub fn with(datagram: &[u8], along: &Along) -> Vec<u8> {
    let blob = version::write(along).expect("numbers can be written");
    debug_assert!(blob.len() <= MOST_ALONG && datagram.len() >= HEAD && datagram[HEAD - 1] == 0);
    let mut whole = Vec::with_capacity(datagram.len() + blob.len());
    whole.extend_from_slice(&datagram[..HEAD - 1]);
    whole.push(blob.len() as u8);
    whole.extend_from_slice(&blob);
    whole.extend_from_slice(&datagram[HEAD..]);
    whole
}

/// A datagram taken apart.
pub(super) fn open(cluster: u64, datagram: &[u8]) -> Result<(Option<Along>, &[u8]), Dropped> {
    let Some((head, rest)) = datagram.split_first_chunk::<HEAD>() else { return Err(Dropped::Malformed) };
    if head[..CLUSTER] != cluster.to_be_bytes() {
        return Err(Dropped::OtherCluster);
    }
    let version = u32::from(head[CLUSTER]);
    if !understands(own(), version) {
        return Err(Dropped::Version(version));
    }
    let (along, packet) = rest.split_at_checked(head[HEAD - 1].into()).ok_or(Dropped::Malformed)?;
    if along.is_empty() {
        return Ok((None, packet));
    }
    let along = version::read(along, Some(version)).ok_or(Dropped::Malformed)?;
    Ok((Some(along), packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::VERSION;

    const ALONG: Along = Along { epoch: 300, ask: Some(u64::MAX), grant: None };

    #[test]
    fn what_goes_along_comes_out_and_the_packet_stays_as_it_was() {
        let bare = wrap(7, b"packet");
        assert_eq!(open(7, &bare), Ok((None, &b"packet"[..])));
        let whole = with(&bare, &ALONG);
        assert_eq!(open(7, &whole), Ok((Some(ALONG), &b"packet"[..])));
        assert_eq!(open(8, &whole), Err(Dropped::OtherCluster));
        let most = Along { epoch: u64::MAX, ask: Some(u64::MAX), grant: Some(u64::MAX) };
        assert!(with(&bare, &most).len() <= bare.len() + MOST_ALONG);
    }

    #[test]
    fn what_a_newer_version_adds_is_left_out_and_a_far_one_is_refused() {
        let mut newer = with(&wrap(7, b"packet"), &ALONG);
        newer[CLUSTER] = VERSION as u8 + 1;
        let end = HEAD + usize::from(newer[HEAD - 1]);
        newer.insert(end, 77);
        newer[HEAD - 1] += 1;
        assert_eq!(
            open(7, &[&newer[..CLUSTER], &[VERSION as u8], &newer[CLUSTER + 1..]].concat()),
            Err(Dropped::Malformed)
        );
        assert_eq!(open(7, &newer), Ok((Some(ALONG), &b"packet"[..])));
        newer[CLUSTER] = VERSION as u8 + 2;
        assert_eq!(open(7, &newer), Err(Dropped::Version(VERSION + 2)));
    }

    #[test]
    fn damaged_datagrams_are_dropped_or_opened() {
        let whole = with(&wrap(7, b""), &ALONG);
        for len in 0..whole.len() {
            assert_eq!(open(7, &whole[..len]), Err(Dropped::Malformed), "{len} bytes");
        }
        let mut long = whole;
        long[HEAD - 1] = 255;
        assert_eq!(open(7, &long), Err(Dropped::Malformed));
    }
}
