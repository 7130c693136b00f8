//! What is believed of what a packet says about who there is. Packets are not signed: they may be damaged, or made by anybody.
//!
//! foca takes any newer identity of a node for true, and the newest of them wins for ever: one damaged byte would make a healthy
//! process a former one, which nobody answers any more. So of a member that is known, packets may tell that it was suspected or is down (which it
//! can refute), or that it came back a few times since; that it is another process, or elsewhere, it has to say itself when it is asked over TCP.

use foca::{Header, Member, Message};

use super::{Dropped, Identity, MAX_BOOT};

/// How often a member may have come back (`renew`) since it was last heard of.
const MOST_RENEWALS: u16 = 64;

/// Members that may be known to be down before one that is not known has to say itself that it is there: whoever makes packets up could
/// make any number of them up, and none is forgotten.
pub(super) const MOST_DOWN: usize = 64;

/// What to do with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It may be so.
    Take,
    /// It would take the place of what is known, or is one too many: to be asked itself.
    Ask,
    /// It says about ourselves what we know better.
    Drop,
}

/// What to do with `new`, when `known` is what is known of its node, if anything, and `me` are we.
pub(super) fn judge(me: &Identity, known: Option<&Identity>, new: &Identity) -> Trust {
    let order = |identity: &Identity| (identity.boot, identity.renew);
    if new.node == me.node {
        return if new == me || order(new) < order(me) { Trust::Take } else { Trust::Drop };
    }
    let Some(known) = known else { return Trust::Take };
    let renewed = Identity { renew: new.renew, ..known.clone() };
    let soon = new.renew.saturating_sub(known.renew) <= MOST_RENEWALS;
    if order(new) < order(known) || (*new == renewed && soon) { Trust::Take } else { Trust::Ask }
}

/// Whether an identity can be anybody's.
pub(super) fn is_sound(identity: &Identity) -> bool {
    let ip = identity.ip;
    let broadcast = matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    identity.gossip_port != 0
        && !(ip.is_unspecified() || ip.is_multicast() || broadcast)
        && (1..=MAX_BOOT).contains(&identity.boot)
}

/// A packet without what is not believed.
#[derive(Debug)]
pub(super) struct Screened {
    /// What is left of it, if that is less than all.
    pub(super) packet: Option<Vec<u8>>,
    /// Who is to be asked.
    pub(super) ask: Vec<Identity>,
    /// How many updates were left out.
    pub(super) left_out: u64,
}

/// Looks through a packet that begins with `header`, before anything of it is believed.
///
/// # Errors
/// It is not a packet, or names what cannot be.
pub(super) fn screen(
    packet: &[u8],
    header: &Header<Identity>,
    judge: impl Fn(&Identity) -> Trust,
) -> Result<Screened, Dropped> {
    let named = match &header.message {
        Message::PingReq { target, .. } | Message::IndirectAck { target, .. } => Some(target),
        Message::IndirectPing { origin, .. } | Message::ForwardedAck { origin, .. } => Some(origin),
        _ => None,
    };
    if ![Some(&header.src), Some(&header.dst), named].into_iter().flatten().all(is_sound) {
        return Err(Dropped::Malformed);
    }
    let mut screened = Screened { packet: None, ask: Vec::new(), left_out: 0 };
    let (_, body) = postcard::take_from_bytes::<Header<Identity>>(packet).map_err(|_| Dropped::Malformed)?;
    let Some((count, mut rest)) = body.split_first_chunk::<2>() else { return Ok(screened) };
    let mut kept = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (update, behind) =
            postcard::take_from_bytes::<Member<Identity>>(rest).map_err(|_| Dropped::Malformed)?;
        let bytes = &rest[..rest.len() - behind.len()];
        rest = behind;
        if !is_sound(update.id()) {
            return Err(Dropped::Malformed);
        }
        match judge(update.id()) {
            Trust::Take => kept.push(bytes),
            Trust::Ask => screened.ask.push(update.id().clone()),
            Trust::Drop => {}
        }
    }
    if !rest.is_empty() {
        return Err(Dropped::Malformed);
    }
    screened.left_out = u64::from(u16::from_be_bytes(*count)) - kept.len() as u64;
    if screened.left_out > 0 {
        let mut whole = packet[..packet.len() - body.len()].to_vec();
        whole.extend_from_slice(&(kept.len() as u16).to_be_bytes());
        kept.into_iter().for_each(|bytes| whole.extend_from_slice(bytes));
        screened.packet = Some(whole);
    }
    Ok(screened)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::member::Role;

    fn identity() -> Identity {
        Identity {
            node: 7,
            boot: 1_760_000_000_000,
            renew: 3,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            gossip_port: 1000,
            resp_port: 2000,
            role: Role::Node,
            weight: 100,
            version: 3,
        }
    }

    #[test]
    fn of_whom_we_know_only_small_steps_are_believed() {
        let (known, me) = (identity(), Identity { node: 1, ..identity() });
        let judge = |new: Identity| judge(&me, Some(&known), &new);
        assert_eq!(judge(known.clone()), Trust::Take);
        assert_eq!(judge(Identity { renew: 4, ..known.clone() }), Trust::Take);
        assert_eq!(judge(Identity { renew: 2, ..known.clone() }), Trust::Take, "it changes nothing");
        assert_eq!(judge(Identity { boot: 5, gossip_port: 9, ..known.clone() }), Trust::Take);
        for absurd in [
            Identity { renew: 3 + MOST_RENEWALS + 1, ..known.clone() },
            Identity { renew: u16::MAX, ..known.clone() },
            Identity { boot: known.boot + 1, ..known.clone() },
            Identity { boot: MAX_BOOT, renew: 0, ..known.clone() },
            Identity { gossip_port: 1001, ..known.clone() },
            Identity { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), renew: 4, ..known.clone() },
            Identity { weight: 1, ..known.clone() },
        ] {
            assert_eq!(judge(absurd.clone()), Trust::Ask, "{absurd:?}");
        }
        assert_eq!(super::judge(&me, None, &known), Trust::Take);
    }

    #[test]
    fn of_ourselves_we_know_best() {
        let me = identity();
        assert_eq!(judge(&me, None, &me), Trust::Take, "that we are suspected, say");
        assert_eq!(judge(&me, None, &Identity { renew: 2, ..me.clone() }), Trust::Take);
        assert_eq!(judge(&me, None, &Identity { renew: 4, ..me.clone() }), Trust::Drop);
        assert_eq!(judge(&me, None, &Identity { boot: MAX_BOOT, ..me.clone() }), Trust::Drop);
        assert_eq!(judge(&me, None, &Identity { weight: 1, ..me.clone() }), Trust::Drop);
    }

    #[test]
    fn what_nobody_can_be_is_malformed() {
        let good = identity();
        assert!(is_sound(&good) && is_sound(&Identity { boot: MAX_BOOT, ..good.clone() }));
        for bad in [
            Identity { gossip_port: 0, ..good.clone() },
            Identity { boot: 0, ..good.clone() },
            Identity { boot: u64::MAX, ..good.clone() },
            Identity { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..good.clone() },
            Identity { ip: IpAddr::V4(Ipv4Addr::BROADCAST), ..good.clone() },
            Identity { ip: "224.0.0.1".parse().unwrap(), ..good.clone() },
        ] {
            assert!(!is_sound(&bad), "{bad:?}");
        }
    }
}
