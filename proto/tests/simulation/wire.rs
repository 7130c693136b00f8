//! Messages as bytes, between processes of two versions.
//!
//! What a process speaks follows from its boot, so that a restart is an update, the undoing of one, or neither. The next version
//! has a field more in every message and record, and who speaks it also says things that the others do not know.

use shoal_proto::bus::{Refusal, Request, Tell, Verb, encode};
use shoal_proto::cluster::Message;
use shoal_proto::version::{VERSION, read, speak};
use shoal_proto::view::NodeId;

use crate::world::World;

/// What a process speaks.
fn version_of(id: NodeId) -> u32 {
    VERSION + ((id.node + id.boot) % 2) as u32
}

impl World {
    /// What `to` understands of what the process `from` says.
    pub(crate) fn over_the_wire(&mut self, from: usize, to: NodeId, message: Message) -> Message {
        let from = self.processes[from].id;
        let (ours, theirs) = (version_of(from), version_of(to));
        speak(ours);
        let said = Tell { cluster: 77, from, to, message };
        let blob = encode(&said);
        // A kind that only the next version has: the head of the message, and something else.
        let news =
            postcard::to_stdvec(&(77u64, from, to, Message::KINDS, 1u8)).expect("numbers can be written");
        speak(theirs);
        // Views here have fewer slots than there are, so the limits of requests do not hold.
        let heard: Option<Tell> = read(&blob, Some(ours));
        if ours > VERSION && theirs == VERSION {
            let request = Request { verb: Verb::Tell, version: ours, blob: &news };
            assert_eq!(request.message::<Tell>().expect_err("it is not known"), Refusal::UnknownKind("TELL"));
        }
        speak(VERSION);
        let heard = heard.unwrap_or_else(|| panic!("{said:?} from {ours} to {theirs} is not understood"));
        assert_eq!(heard.message, said.message);
        heard.message
    }
}
