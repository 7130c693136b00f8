//! Messages to members: small and frequent ones as datagrams, the others over a connection for each peer.
//!
//! Both may get lost, which the protocol copes with; a connection keeps its order while it lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_proto::bus::{self, Heard, Refusal, Request, TELL, Tell, Verb};
use shoal_proto::cluster::Message;
use shoal_proto::member::MAX_DATAGRAM;
use shoal_proto::version;
use shoal_proto::view::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::address::HostPort;
use crate::bus::Connection;

/// Messages that may wait for one peer; more means that it is gone, and they are lost.
const WAITING: usize = 64;

/// How long a peer may take to connect, and to take a message.
const LIMIT: Duration = Duration::from_secs(1);

/// How long a connection is kept that nothing is said on.
const IDLE: Duration = Duration::from_secs(30);

/// Connections to peers. Dropping it ends them.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<NodeId, Peer>);

#[derive(Debug)]
struct Peer {
    messages: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peers {
    /// Sends over the connection to `tell.to`, which is at `address`.
    pub(super) fn tell(&mut self, address: impl FnOnce() -> HostPort, tell: &Tell) {
        self.0.retain(|_, peer| !peer.task.is_finished());
        let peer = self.0.entry(tell.to).or_insert_with(|| {
            let (messages, inbox) = mpsc::channel(WAITING);
            Peer { messages, task: tokio::spawn(deliver(address(), inbox)) }
        });
        // A full queue is a lost message.
        let _ = peer.messages.try_send(bus::request(Verb::Tell, tell));
    }

    /// Keeps only connections to these.
    pub(super) fn keep(&mut self, wanted: impl Fn(NodeId) -> bool) {
        self.0.retain(|id, _| wanted(*id));
    }
}

/// Delivers messages until nothing was said for a while.
async fn deliver(address: HostPort, mut inbox: mpsc::Receiver<Vec<u8>>) {
    let mut connection: Option<Connection> = None;
    while let Ok(Some(request)) = tokio::time::timeout(IDLE, inbox.recv()).await {
        if connection.is_none() {
            for addr in address.resolve().await.unwrap_or_default() {
                connection = connection.or(Connection::open(addr, LIMIT).await.ok());
            }
        }
        let Some(open) = &mut connection else { continue };
        match open.ask::<Heard>(Verb::Tell, &request, LIMIT).await {
            Ok(Heard) | Err(crate::bus::CallError::Refused(_)) => {}
            Err(error) => {
                tracing::debug!(%address, %error, "a message was not delivered");
                connection = None;
            }
        }
    }
}

/// Whether a message goes as a datagram: it is said again soon, or of no use later.
pub(super) fn is_brief(message: &Message) -> bool {
    matches!(
        message,
        Message::LeaseAsk { .. }
            | Message::LeaseGrant { .. }
            | Message::LastCall
            | Message::Present
            | Message::Progress { .. }
    )
}

/// The datagram of a brief message.
pub(super) fn datagram(tell: &Tell) -> Vec<u8> {
    let mut datagram = TELL.to_vec();
    datagram.push(version::own() as u8);
    datagram.extend_from_slice(&bus::encode(tell));
    debug_assert!(datagram.len() <= MAX_DATAGRAM);
    datagram
}

/// Whether it is for the process `me` of this cluster, and not for another one that had its address before.
pub(super) fn is_for(tell: &Tell, cluster: u64, me: NodeId) -> bool {
    tell.cluster == cluster && tell.to == me
}

/// The message in a datagram, if it is one with a message; why not, if that cannot be read.
pub(super) fn parse(datagram: &[u8]) -> Option<Result<Tell, Refusal>> {
    let (version, blob) = datagram.strip_prefix(&TELL)?.split_first()?;
    let request = Request { verb: Verb::Tell, version: u32::from(*version), blob };
    if !version::understands(version::own(), request.version) {
        return Some(Err(Refusal::Version(request.version.to_string())));
    }
    Some(match request.message::<Tell>() {
        Ok(tell) if !is_brief(&tell.message) => Err(Refusal::Malformed(Verb::Tell.name())),
        message => message,
    })
}

#[cfg(test)]
mod tests {
    use shoal_proto::cluster::{Core, Output, lease::LEASE};
    use shoal_proto::member::node_of;
    use shoal_proto::view::{Member, View};

    use super::*;

    const CLUSTER: u64 = 0x5ea1_ab1e_0ddc_0ffe;
    const START: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(200);

    fn id(n: u64) -> NodeId {
        NodeId { node: node_of(&format!("n{n}")), boot: 1_760_000_000_000 + n }
    }

    fn member(n: u64) -> Member {
        Member {
            id: id(n),
            name: format!("n{n}"),
            host: format!("10.0.0.{n}"),
            resp_port: 7000,
            gossip_port: 17000,
            weight: 100,
            zone: String::new(),
            replication: Default::default(),
        }
    }

    /// One of three voters.
    fn core(n: u64) -> Core {
        let mut core = Core::new(id(n));
        core.on_up(START, (0..3).filter(|m| *m != n).map(id).collect());
        core.learn(START, &View::first(CLUSTER, (0..3).map(member).collect()));
        while core.poll_output().is_some() {}
        core
    }

    /// What it says to another one.
    fn said(core: &mut Core, from: u64, to: u64) -> Vec<Tell> {
        let outputs = std::iter::from_fn(|| core.poll_output());
        let tells = outputs.filter_map(|output| match output {
            Output::Send { to: peer, message } if peer == id(to) && is_brief(&message) => Some(message),
            _ => None,
        });
        tells.map(|message| Tell { cluster: CLUSTER, from: id(from), to: id(to), message }).collect()
    }

    /// As the driver does it.
    fn hear(core: &mut Core, me: u64, now: Duration, bytes: &[u8]) {
        if let Some(Ok(tell)) = parse(bytes)
            && is_for(&tell, CLUSTER, id(me))
        {
            core.on_message(now, tell.from, tell.message);
        }
    }

    /// All that differ from these bytes in one, and all that are shorter.
    fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let changed = (0..bytes.len()).flat_map(move |at| {
            (1..=255).map(move |by| {
                let mut other = bytes.to_vec();
                other[at] ^= by;
                other
            })
        });
        changed.chain((0..bytes.len()).map(|len| bytes[..len].to_vec()))
    }

    /// A member that has asked for its lease some times and got no answer, and its first question.
    fn asking() -> (Core, Tell, Duration) {
        let mut holder = core(0);
        let mut first = None;
        let mut now = START;
        for _ in 0..4 {
            holder.on_timeout(now);
            first = first.or(said(&mut holder, 0, 1).into_iter().next());
            now += STEP;
        }
        assert!(holder.lease() < now);
        (holder, first.expect("it asks"), now - STEP)
    }

    #[test]
    fn late_grants_count_from_the_first_question_however_damaged() {
        let (holder, ask, now) = asking();
        let voter = core(1);
        let answers = |asked: &[u8]| {
            let mut voter = voter.clone();
            hear(&mut voter, 1, START, asked);
            said(&mut voter, 1, 0)
        };
        let [grant] = answers(&datagram(&ask)).try_into().expect("it grants");
        let until = |bytes: &[u8]| {
            let mut holder = holder.clone();
            hear(&mut holder, 0, now, bytes);
            holder.lease()
        };
        let bytes = datagram(&grant);
        assert_eq!(until(&bytes), START + LEASE, "as it is");
        for bytes in damaged(&bytes) {
            assert!(until(&bytes) <= START + LEASE, "{:?} of {grant:?}", parse(&bytes));
        }
        // A damaged question is granted for what it says, at the time of the first, and the answer is as late.
        for asked in damaged(&datagram(&ask)) {
            for grant in answers(&asked) {
                assert!(until(&datagram(&grant)) <= START + LEASE, "{:?}", parse(&asked));
            }
        }
        // From somebody who was there before, to somebody who was, and of a cluster that was.
        let former = |id: NodeId| NodeId { boot: id.boot - 1, ..id };
        for other in [
            Tell { from: former(grant.from), ..grant.clone() },
            Tell { to: former(grant.to), ..grant.clone() },
            Tell { cluster: CLUSTER + 1, ..grant.clone() },
        ] {
            assert!(until(&datagram(&other)) < START, "{other:?}");
        }
    }

    #[test]
    fn nothing_else_that_comes_damaged_is_taken_for_a_grant() {
        let (holder, _, now) = asking();
        let mut other = core(1);
        let mut questions = Vec::new();
        for step in 0..4 {
            other.on_timeout(START + step * STEP);
            questions.extend(said(&mut other, 1, 0));
        }
        assert_eq!(questions.len(), 4);
        let messages = [
            Message::LastCall,
            Message::Present,
            Message::Progress { epoch: 1, moved: 2, left: 3, copying: true, copied: 4, broken: false },
        ];
        let tells = messages.map(|message| Tell { cluster: CLUSTER, from: id(1), to: id(0), message });
        for tell in tells.into_iter().chain(questions) {
            for bytes in damaged(&datagram(&tell)).chain([datagram(&tell)]) {
                let mut holder = holder.clone();
                hear(&mut holder, 0, now, &bytes);
                assert!(holder.lease() < START, "{:?} of {tell:?}", parse(&bytes));
            }
        }
    }
}
