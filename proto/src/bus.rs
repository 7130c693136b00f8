//! Messages that nodes and routers exchange over TCP: joining, who is there, views.
//!
//! Each request is the command `SHOAL <VERB> <version> <blob>`, each reply one bulk string with a blob, or an
//! error. Blobs are postcard. Used by `shoal-net` on both sides; this module only says what is in them.
//!
//! A request is read by the version that it names, see [`version`]. Its answer names none: it may have more
//! at its end than the asker knows, or less.
//! Everything here came over a network: receivers check what they are told before they use it.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::Message;
use crate::member::Identity;
use crate::resp::request::{Args, OwnedArgs};
use crate::slot::SLOTS;
use crate::version::{self, own, understands};
use crate::view::{MAX_MEMBERS, Member, NodeId, View};

pub use crate::version::VERSION;

/// Longest blob in bytes: a view of 1,024 members with a scattered table takes 0.2 MB.
pub const MAX_BLOB: usize = 4 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// [`Join`] -> [`Joined`]: a newcomer asks to be known.
    Join,
    /// [`Hello`] -> [`Members`]: push-pull of members and views.
    Members,
    /// [`Since`] -> [`Latest`]: the view, if newer.
    View,
    /// [`Push`] -> [`Latest`]: here is a newer view.
    Push,
    /// [`Since`] -> [`Latest`], answered when there is a newer view, or after a while.
    Watch,
    /// [`Leave`] -> [`Latest`]: make a view without me.
    Leave,
    /// [`Tell`] -> [`Heard`]: a message of the cluster's own protocol; what follows from it is told the same way.
    Tell,
    /// [`Stream`] -> [`Granted`]: slots follow on this connection, which is no longer one of requests.
    Stream,
}

impl Verb {
    const ALL: [(Verb, &'static str); 8] = [
        (Verb::Join, "JOIN"),
        (Verb::Members, "MEMBERS"),
        (Verb::View, "VIEW"),
        (Verb::Push, "PUSH"),
        (Verb::Watch, "WATCH"),
        (Verb::Leave, "LEAVE"),
        (Verb::Tell, "TELL"),
        (Verb::Stream, "STREAM"),
    ];

    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }

    /// Reads a verb, letters of any case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(verb, _)| *verb)
    }
}

/// A newcomer asks to be known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Join {
    /// Itself; `id.boot` is its clock in milliseconds since 1970.
    pub member: Member,
}

/// What the newcomer needs to take part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// The boot to use: higher than any that was known of this node.
    pub boot: u64,
    /// Who is up, the answering node included.
    pub up: Vec<Identity>,
    /// The current view.
    pub view: View,
    /// Where the newcomer's request came from.
    pub you: IpAddr,
}

/// Who is asking, and what it has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Its cluster; 0 if it has none yet.
    pub cluster: u64,
    /// Epoch of its view; 0 if it has none.
    pub epoch: u64,
    /// Whom it holds to be up, itself included.
    pub up: Vec<Identity>,
}

/// Who is answering, and what it has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Members {
    /// Itself; `id.boot` is 0 while it has not joined.
    pub me: Member,
    /// Drawn at its start: by it a process recognizes itself.
    pub process: u64,
    /// Whether it has been in a view since it booted. If so, and the newest view lacks it, it holds data
    /// that others may have changed since: it must boot anew.
    pub admitted: bool,
    /// Its cluster; 0 if it has none yet.
    pub cluster: u64,
    /// Epoch of its view; 0 if it has none.
    pub epoch: u64,
    /// Whom it holds to be up, itself included.
    pub up: Vec<Identity>,
    /// Its view, if that is newer than the asker's.
    pub view: Option<View>,
}

/// Asks for a view newer than this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Since {
    /// The asker's cluster; 0 to ask for any.
    pub cluster: u64,
    /// The asker's epoch.
    pub epoch: u64,
}

/// The view that is in force where it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latest {
    /// Its cluster.
    pub cluster: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The view, if newer than the asker's or of another cluster.
    pub view: Option<View>,
}

/// A view to install.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Push {
    /// One that was agreed. Ignored unless it is newer than the receiver's.
    pub view: View,
}

/// Asks the leader for a view without the sender.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leave {
    /// Its cluster.
    pub cluster: u64,
    /// Who leaves.
    pub id: NodeId,
}

/// A message from one member to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tell {
    /// Their cluster.
    pub cluster: u64,
    /// Who says it.
    pub from: NodeId,
    /// To whom: a process that was restarted is not the one that is meant.
    pub to: NodeId,
    /// What.
    pub message: Message,
}

/// Slots come from this member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    /// Their cluster.
    pub cluster: u64,
    /// Who sends.
    pub from: NodeId,
    /// Who is meant.
    pub to: NodeId,
}

/// Taken note of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Heard;

/// The stream may begin.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Granted {
    /// What the receiver speaks. The stream is spoken in the lower version of the two: what it holds cannot be left out.
    pub version: u32,
}

/// Mark in front of a datagram that carries a [`Tell`] instead of gossip; a byte of version and the message follow.
pub const TELL: [u8; 8] = *b"shoaltel";

/// Why a request cannot be answered. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a request of this protocol.
    #[error("ERR not a SHOAL request: expected SHOAL <verb> <version> <blob>")]
    NotABusRequest,
    /// A verb of a newer version, or a typing error.
    #[error("ERR unknown SHOAL verb")]
    UnknownVerb,
    /// The other side speaks another version.
    #[error("ERR SHOAL version {0} is not spoken here, this process speaks version {own}", own = own())]
    Version(String),
    /// The blob is not what the verb needs.
    #[error("ERR malformed SHOAL {0} message")]
    Malformed(&'static str),
    /// A kind of message that a newer version has. It does not count.
    #[error("ERR unknown kind of SHOAL {0} message")]
    UnknownKind(&'static str),
}

/// A request taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked.
    pub verb: Verb,
    /// What the asker speaks.
    pub version: u32,
    /// The message.
    pub blob: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes apart the arguments of a command, `SHOAL` included.
    ///
    /// # Errors
    /// When they are not a request this version understands.
    pub fn parse(args: Args<'a>) -> Result<Self, Refusal> {
        if args.len() != 4 || !args.is(0, "SHOAL") {
            return Err(Refusal::NotABusRequest);
        }
        Self::of(args.at(1), args.at(2), args.at(3))
    }

    /// The same, taken apart already.
    ///
    /// # Errors
    /// When they are not a request this version understands.
    pub fn of(verb: &[u8], version: &[u8], blob: &'a [u8]) -> Result<Self, Refusal> {
        let version = check_version(version)?;
        let verb = Verb::parse(verb).ok_or(Refusal::UnknownVerb)?;
        Ok(Self { verb, version, blob })
    }

    /// The message.
    ///
    /// # Errors
    /// When the bytes are not one message of this kind, or it breaks a limit.
    pub fn message<T: DeserializeOwned + Check>(&self) -> Result<T, Refusal> {
        match version::read(self.blob, Some(self.version)).filter(T::is_sound) {
            Some(message) => Ok(message),
            None if self.version > own() && T::is_of_unknown_kind(self.blob) => {
                Err(Refusal::UnknownKind(self.verb.name()))
            }
            None => Err(Refusal::Malformed(self.verb.name())),
        }
    }
}

/// The version of a request, if it is understood here.
fn check_version(version: &[u8]) -> Result<u32, Refusal> {
    let number = std::str::from_utf8(version).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    if let Some(number) = number.filter(|number| understands(own(), *number)) {
        return Ok(number);
    }
    let shown = String::from_utf8_lossy(&version[..version.len().min(20)]);
    Err(Refusal::Version(shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()))
}

/// The bytes of a request.
pub fn request(verb: Verb, message: &impl Serialize) -> Vec<u8> {
    let version = own().to_string();
    let blob = encode(message);
    let args: [&[u8]; 4] = [b"SHOAL", verb.name().as_bytes(), version.as_bytes(), &blob];
    OwnedArgs::new(args).args().raw().to_vec()
}

/// A message as a blob.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    version::write(message).expect("our messages hold nothing that postcard cannot write")
}

/// An answer from its blob.
///
/// # Errors
/// When the bytes are not an answer of this kind, or it breaks a limit.
pub fn decode<T: DeserializeOwned + Check>(verb: Verb, blob: &[u8]) -> Result<T, Refusal> {
    version::read(blob, None).filter(T::is_sound).ok_or(Refusal::Malformed(verb.name()))
}

/// Limits that a type does not express.
pub trait Check {
    /// Whether the message keeps them.
    fn is_sound(&self) -> bool;

    /// Whether these bytes are a message of a kind that is not known here.
    fn is_of_unknown_kind(_: &[u8]) -> bool {
        false
    }
}

impl Check for Join {
    fn is_sound(&self) -> bool {
        member_is_sound(&self.member)
    }
}

impl Check for Joined {
    fn is_sound(&self) -> bool {
        self.up.len() <= MAX_MEMBERS && view_is_sound(&self.view)
    }
}

impl Check for Hello {
    fn is_sound(&self) -> bool {
        self.up.len() <= MAX_MEMBERS
    }
}

impl Check for Members {
    fn is_sound(&self) -> bool {
        self.up.len() <= MAX_MEMBERS
            && member_is_sound(&self.me)
            && self.view.as_ref().is_none_or(view_is_sound)
    }
}

impl Check for Since {
    fn is_sound(&self) -> bool {
        true
    }
}

impl Check for Latest {
    fn is_sound(&self) -> bool {
        self.view.as_ref().is_none_or(view_is_sound)
    }
}

impl Check for Push {
    fn is_sound(&self) -> bool {
        view_is_sound(&self.view)
    }
}

impl Check for Leave {
    fn is_sound(&self) -> bool {
        true
    }
}

impl Check for Tell {
    fn is_sound(&self) -> bool {
        match &self.message {
            Message::Commit { view } | Message::Accept { view, .. } => view_is_sound(view),
            Message::Promise { accepted: Some((_, view)), .. } => view_is_sound(view),
            Message::Prepare { suspects, .. } => suspects.len() <= MAX_MEMBERS,
            _ => true,
        }
    }

    fn is_of_unknown_kind(blob: &[u8]) -> bool {
        let kind = postcard::take_from_bytes::<(u64, NodeId, NodeId, u32)>(blob).map(|(head, _)| head.3);
        kind.is_ok_and(|kind| kind >= Message::KINDS)
    }
}

impl Check for Stream {
    fn is_sound(&self) -> bool {
        true
    }
}

impl Check for Granted {
    fn is_sound(&self) -> bool {
        true
    }
}

impl Check for Heard {
    fn is_sound(&self) -> bool {
        true
    }
}

/// Tables of views that come over the wire are whole: others index them by slot.
fn view_is_sound(view: &View) -> bool {
    view.check().is_ok() && view.slots() == SLOTS
}

fn member_is_sound(member: &Member) -> bool {
    View::new(0, 0, vec![member.clone()], &[]).check().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::{Limits, Scanner};

    #[test]
    fn requests_survive_the_wire() {
        let bytes = request(Verb::Watch, &Since { cluster: 5, epoch: 9 });
        let mut scanner = Scanner::new();
        assert!(scanner.next(&bytes, &Limits::default()).unwrap().is_some());
        let parsed = Request::parse(Args::new(&bytes, scanner.spans())).unwrap();
        assert_eq!(parsed.verb, Verb::Watch);
        let since: Since = parsed.message().unwrap();
        assert_eq!((since.cluster, since.epoch, parsed.version), (5, 9, VERSION));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_a_reason() {
        let refusal = |args: &[&str]| {
            let owned = OwnedArgs::new(args);
            Request::parse(owned.args()).map(|r| r.verb).unwrap_err().to_string()
        };
        assert_eq!(refusal(&["SHOAL", "JOIN", "3"]), Refusal::NotABusRequest.to_string());
        assert_eq!(refusal(&["GET", "JOIN", "3", ""]), Refusal::NotABusRequest.to_string());
        assert_eq!(refusal(&["SHOAL", "DANCE", "3", ""]), "ERR unknown SHOAL verb");
        assert_eq!(
            refusal(&["SHOAL", "JOIN", "1", ""]),
            "ERR SHOAL version 1 is not spoken here, this process speaks version 3"
        );
        let watch = |version, blob| Request { verb: Verb::Watch, version, blob }.message::<Since>();
        assert_eq!(watch(VERSION, &[1]).unwrap_err().to_string(), "ERR malformed SHOAL WATCH message");
        assert!(watch(VERSION, &[1, 2, 3]).is_err(), "bytes left over");
        assert!(watch(VERSION + 1, &[1, 2, 3]).is_ok(), "a field that this version does not know");
        assert!(watch(VERSION + 1, &[1]).is_err(), "a newer version has all of the older one's fields");
        for version in ["2", "5", "+3", "03x", "", "33333333333"] {
            assert!(refusal(&["SHOAL", "JOIN", version, ""]).contains("is not spoken here"), "{version}");
        }
        assert_eq!(refusal(&["SHOAL", "DANCE", "4", ""]), "ERR unknown SHOAL verb");
    }

    #[test]
    fn kinds_of_a_newer_version_are_told_from_nonsense() {
        let id = NodeId { node: 1, boot: 2 };
        let kind = |kind: u32| postcard::to_stdvec(&(7u64, id, id, kind, [9u8; 4])).unwrap();
        let read = |version, blob: &[u8]| Request { verb: Verb::Tell, version, blob }.message::<Tell>();
        let unknown = kind(Message::KINDS);
        assert_eq!(read(VERSION + 1, &unknown).unwrap_err(), Refusal::UnknownKind("TELL"));
        assert_eq!(read(VERSION, &unknown).unwrap_err(), Refusal::Malformed("TELL"));
        assert_eq!(read(VERSION + 1, &unknown[..4]).unwrap_err(), Refusal::Malformed("TELL"));
        let last = Message::Progress { epoch: 1, moved: 2, left: 3, copying: true, copied: 4, broken: true };
        let tell = encode(&Tell { cluster: 7, from: id, to: id, message: last.clone() });
        assert_eq!(read(VERSION, &tell).unwrap().message, last);
        assert!(!Tell::is_of_unknown_kind(&tell) && u32::from(tell[tell.len() - 7]) == Message::KINDS - 1);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_sound(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(push) = decode::<Push>(Verb::Push, &blob) {
                let _ = push.view.owners();
                let _ = push.view.runs().count();
            }
            let _ = decode::<Members>(Verb::Members, &blob);
            let _ = decode::<Joined>(Verb::Join, &blob);
        }
    }
}
