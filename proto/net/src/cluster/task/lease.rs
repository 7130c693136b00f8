//! Leases that go along with gossip, see [`shoal_proto::member::datagram`].

use shoal_proto::cluster::Message;
use shoal_proto::member::{Along, Kind, datagram};
use shoal_proto::view::NodeId;

use super::Task;

/// A lease that is granted to a member to whom gossip is about to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    to: NodeId,
    epoch: u64,
    round: u64,
}

/// Where a grant goes that somebody asked for along with a ping.
#[derive(Debug, Default)]
pub(super) enum Answer {
    /// Nobody did.
    #[default]
    None,
    /// This member did, and was not answered yet.
    Due(NodeId),
    /// It is granted.
    Granted(Grant),
}

impl Task {
    /// What came along with gossip, whose own answer follows.
    pub(super) fn hear_along(&mut self, from: NodeId, along: Along) {
        let (now, epoch) = (self.now(), along.epoch);
        if let Some(round) = along.grant {
            self.core.on_message(now, from, Message::LeaseGrant { epoch, round });
        }
        if let Some(round) = along.ask {
            self.answer = Answer::Due(from);
            self.core.on_message(now, from, Message::LeaseAsk { epoch, round });
        }
        self.carry_out_all();
    }

    /// Keeps a grant for the answer of gossip; whether it is one that is waited for.
    pub(super) fn keep_for_answer(&mut self, to: NodeId, message: &Message) -> bool {
        match (&self.answer, message) {
            (Answer::Due(from), Message::LeaseGrant { epoch, round }) if *from == to => {
                self.answer = Answer::Granted(Grant { to, epoch: *epoch, round: *round });
                true
            }
            _ => false,
        }
    }

    /// Gossip has said what it had to say: a grant that did not go along goes by itself.
    pub(super) fn end_answer(&mut self) {
        if let Answer::Granted(Grant { to, epoch, round }) = std::mem::take(&mut self.answer) {
            self.tell(to, Message::LeaseGrant { epoch, round });
        }
    }

    /// A datagram of gossip with what goes along.
    pub(super) fn with_lease(&mut self, to: NodeId, kind: Kind, packet: Vec<u8>) -> Vec<u8> {
        let along = match kind {
            Kind::Ping => {
                let now = self.now();
                match self.core.ask_along(now, to) {
                    Some(Message::LeaseAsk { epoch, round }) => {
                        Along { epoch, ask: Some(round), grant: None }
                    }
                    _ => return packet,
                }
            }
            Kind::Ack => match self.answer {
                Answer::Granted(grant) if grant.to == to => {
                    self.answer = Answer::None;
                    Along { epoch: grant.epoch, ask: None, grant: Some(grant.round) }
                }
                _ => return packet,
            },
            Kind::Other => return packet,
        };
        datagram::with(&packet, &along)
    }
}
