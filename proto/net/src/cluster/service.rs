//! Answers to peers and routers, from snapshots; what changes anything goes to the task.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shoal_proto::bus::{
    self, Granted, Heard as Delivered, Hello, Join, Joined, Latest, Leave, Members, Push, Refusal, Request,
    Since, Verb,
};
use shoal_proto::member::Health;
use shoal_proto::member::rival::{self, Former, Heard, Verdict};
use shoal_proto::version;
use shoal_proto::view::NodeId;

use tokio::net::TcpStream;

use super::join;
use super::shared::{Command, Shared};
use crate::address::HostPort;
use crate::bus::{CallError, Closed, Service, call};

/// How long a process may take to say who it is, before another one that has its name may join; less than that one waits.
const WHO: Duration = Duration::from_secs(1);

/// How long a watch waits for a newer view before it is answered with the current one.
pub(crate) const WATCH: Duration = Duration::from_secs(30);

impl Service for Shared {
    async fn answer(&self, request: Request<'_>, from: IpAddr) -> Result<Vec<u8>, String> {
        if request.verb == Verb::Watch {
            return self.watch(request).await;
        }
        if request.verb == Verb::Join {
            let join: Join = request.message().map_err(|refusal| refusal.to_string())?;
            self.check_name(join.member.id).await?;
        }
        self.answer_now(request, Some(from))
    }

    fn stream(&self, request: Request<'_>, stream: TcpStream, rest: Vec<u8>) {
        if let Ok(hello) = request.message::<bus::Stream>() {
            self.slots.accept(hello.from, stream, rest);
        }
    }

    fn refused(&self, peer: SocketAddr, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::Version(theirs) => self.refuse_version(peer, theirs),
            Refusal::UnknownVerb | Refusal::UnknownKind(_) => self.count_unknown(),
            Refusal::NotABusRequest | Refusal::Malformed(_) => return true,
        }
        false
    }

    fn closed(&self, why: Closed) {
        let node = self.me.load().name.clone();
        metrics::counter!("shoal_bus_connections_closed_total", "node" => node, "reason" => why.label())
            .increment(1);
    }
}

impl Shared {
    /// Answers everything but watches, without waiting. `from` is none if the question came through the RESP
    /// port, where nothing may be changed.
    pub(super) fn answer_now(&self, request: Request<'_>, from: Option<IpAddr>) -> Result<Vec<u8>, String> {
        let refused = |refusal: Refusal| refusal.to_string();
        match request.verb {
            Verb::Members => {
                let hello: Hello = request.message().map_err(refused)?;
                let answer = bus::encode(&self.members_for(&hello));
                if from.is_some() && hello.cluster != 0 {
                    // Only a hint: if the task is busy, the peer will say it again.
                    let _ = self.commands.try_send(Command::Heard(hello));
                }
                Ok(answer)
            }
            Verb::View | Verb::Watch => {
                let since = request.message().map_err(refused)?;
                Ok(bus::encode(&self.latest(&since)))
            }
            Verb::Join => {
                let join = request.message().map_err(refused)?;
                self.joined(&join, from).map(|joined| bus::encode(&joined))
            }
            Verb::Push => {
                let push: Push = request.message().map_err(refused)?;
                self.same_cluster(push.view.cluster)?;
                let since = Since { cluster: push.view.cluster, epoch: push.view.epoch };
                self.command(Command::View(push.view))?;
                Ok(bus::encode(&self.latest(&since)))
            }
            Verb::Tell => {
                match request.message::<bus::Tell>() {
                    Ok(tell) => {
                        self.same_cluster(tell.cluster)?;
                        self.command(Command::Tell(Box::new(tell)))?;
                    }
                    // Whoever is newer can do without.
                    Err(Refusal::UnknownKind(_)) => self.count_unknown(),
                    Err(refusal) => return Err(refused(refusal)),
                }
                Ok(bus::encode(&Delivered))
            }
            Verb::Stream => {
                let hello: bus::Stream = request.message().map_err(refused)?;
                self.same_cluster(hello.cluster)?;
                if hello.to != self.me.load().id {
                    return Err("ERR this is another process than the one that is meant".to_owned());
                }
                Ok(bus::encode(&Granted { version: version::own() }))
            }
            Verb::Leave => {
                let leave: Leave = request.message().map_err(refused)?;
                self.same_cluster(leave.cluster)?;
                self.command(Command::Leave(leave.id))?;
                let epoch = self.view.load().epoch;
                Ok(bus::encode(&self.latest(&Since { cluster: leave.cluster, epoch })))
            }
        }
    }

    /// Whether a process may join under its name: not while another one of that name answers.
    ///
    /// # Errors
    /// The error line.
    async fn check_name(&self, asker: NodeId) -> Result<(), String> {
        let (view, members) = (self.view.load_full(), self.members.load_full());
        let up: BTreeSet<NodeId> =
            members.iter().filter(|m| m.health != Health::Down).map(|m| m.identity.id()).collect();
        let of = |id: NodeId| Former {
            id,
            up: up.contains(&id),
            listed: view.place(id).is_some(),
            needed: rival::is_needed(&view, id, &up),
        };
        let known = members.iter().map(|m| m.identity.id()).chain(view.members.iter().map(|m| m.id));
        let Some(former) = rival::living(asker, known.map(of)) else { return Ok(()) };
        let member = view.members.iter().find(|m| m.id == former.id);
        let at: Option<HostPort> = members
            .iter()
            .find(|m| m.identity.id() == former.id)
            .map(|m| m.identity.gossip_addr().into())
            .or_else(|| member.map(|m| HostPort::new(m.host.clone(), m.gossip_port)));
        let Some(at) = at else { return Ok(()) };
        let heard =
            if former.id == self.me.load().id { Heard::Answered(former.id) } else { self.ask_who(&at).await };
        match rival::judge(&former, heard) {
            Verdict::Free => Ok(()),
            Verdict::Unsure if former.needed && !former.up => {
                Err("ERR the process that has this name is silent, and no view can be made without it"
                    .to_owned())
            }
            Verdict::Unsure => Err("ERR the process that has this name may still live, ask again".to_owned()),
            Verdict::Taken => {
                let name = member.map_or_else(|| format!("{:016x}", asker.node), |m| m.name.clone());
                tracing::warn!(node = self.me.load().name, name, %at, "refused a second process of this name");
                Err(format!("{} {}", rival::NAME_IN_USE, join::in_use(&name, &at.to_string())))
            }
        }
    }

    /// Who is there.
    async fn ask_who(&self, at: &HostPort) -> Heard {
        let mut heard = Heard::Silence;
        for addr in at.resolve().await.unwrap_or_default() {
            heard = match call::<Members>(addr, Verb::Members, &self.hello(), WHO).await {
                Ok(members) => return Heard::Answered(members.me.id),
                Err(CallError::Refused(_) | CallError::Malformed) => Heard::Nobody,
                Err(CallError::Timeout(_)) => heard,
                Err(CallError::Io(error)) => match error.kind() {
                    io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::TimedOut => heard,
                    _ => Heard::Nobody,
                },
            };
        }
        heard
    }

    /// A newcomer's boot is higher than any we know of its node, even if its clock went backwards: otherwise the
    /// others would take it for its former self.
    fn joined(&self, join: &Join, from: Option<IpAddr>) -> Result<Joined, String> {
        let view = self.view.load();
        if view.epoch == 0 {
            return Err("ERR this node has not joined a cluster itself yet".to_owned());
        }
        let NodeId { node, boot } = join.member.id;
        let gossiped = self.members.load().iter().map(|m| m.identity.id()).collect::<Vec<_>>();
        let known = gossiped.into_iter().chain(view.members.iter().map(|m| m.id));
        let newest = known.filter(|id| id.node == node).map(|id| id.boot).max();
        Ok(Joined {
            boot: newest.map_or(boot, |known| boot.max(known.saturating_add(1))),
            up: self.up().into_iter().filter(|i| i.node != node).collect(),
            view: view.as_ref().clone(),
            you: from.unwrap_or(self.gossip.ip()),
        })
    }

    fn latest(&self, since: &Since) -> Latest {
        let view = self.view.load();
        let news = view.epoch > since.epoch || (since.cluster != 0 && view.cluster != since.cluster);
        Latest { cluster: view.cluster, epoch: view.epoch, view: news.then(|| view.as_ref().clone()) }
    }

    async fn watch(&self, request: Request<'_>) -> Result<Vec<u8>, String> {
        let since: Since = request.message().map_err(|r| r.to_string())?;
        let mut views = self.views.subscribe();
        let newer = views.wait_for(|view| {
            view.epoch > 0
                && (view.epoch > since.epoch || (since.cluster != 0 && view.cluster != since.cluster))
        });
        // In time or not, the answer is what is in force now.
        let _ = tokio::time::timeout(WATCH, newer).await;
        Ok(bus::encode(&self.latest(&since)))
    }

    fn same_cluster(&self, cluster: u64) -> Result<(), String> {
        let ours = self.view.load().cluster;
        if ours == cluster { Ok(()) } else { Err("ERR this node belongs to another cluster".to_owned()) }
    }

    fn command(&self, command: Command) -> Result<(), String> {
        self.commands.try_send(command).map_err(|_| "ERR this node is busy, ask again".to_owned())
    }
}
