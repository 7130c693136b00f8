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
