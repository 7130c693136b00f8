//! What a client is told whose request could not be served in time: why, or of a read, if the user prefers that, that its
//! keys are not there.

use shoal_proto::{
    command::{absent, table},
    resp::{Args, Protocol, Reply},
};

use super::{Desk, detour::scan};
use crate::{
    client::Asker,
    settings::WhenDown,
    upstream::log::{Effect, Pending, Way},
};

impl Desk {
    /// Answers a request that was not executed: with `why`, an error, unless it is a read that is to count as a miss.
    pub(super) fn excuse(&mut self, pending: &Pending, request: &[u8], why: &[u8]) {
        match self.miss(pending, request) {
            Some(reply) => {
                self.tally.missed += 1;
                self.deliver(pending.asker, &reply);
            }
            None => self.deliver(pending.asker, why),
        }
    }

    fn miss(&mut self, pending: &Pending, request: &[u8]) -> Option<Vec<u8>> {
        // What is meant for one node is about more than keys.
        let reads = pending.effect != Effect::Write && pending.way != Way::Node;
        if self.shared.settings.when_down == WhenDown::Error || !reads {
            return None;
        }
        let Asker { client, generation, .. } = pending.asker;
        let lane = self.client(client, generation)?.lane;
        let protocol = if lane & 1 == 1 { Protocol::Resp3 } else { Protocol::Resp2 };
        let scanner = scan(request);
        let args = Args::new(request, scanner.spans());
        let mut out = Vec::new();
        absent::reply(table().find(args).ok()?, args, &mut Reply::new(&mut out, protocol)).then_some(out)
    }
}
