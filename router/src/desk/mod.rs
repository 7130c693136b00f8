//! Everything a worker knows, and what happens to it: requests go out, replies come back, connections and views change.
//!
//! All of it runs on the worker's thread, in the tasks of its sockets; nothing here waits or does I/O.
//! Files: [`send`] towards nodes, [`deliver`] towards clients; for requests that cannot take the usual way
//! [`refusal`] (a node says so), [`lost`] (connections), [`views`], [`detour`] (where they queue), [`stray`] (those
//! about the whole cluster), [`deadlines`], [`excuse`] (what is answered in the end).

mod deadlines;
mod deliver;
mod detour;
mod excuse;
mod lost;
mod refusal;
mod send;
mod stray;
mod views;

pub(crate) use send::Order;

use std::{collections::HashSet, sync::Arc, time::Instant};

use shoal_proto::slot::SLOTS;
use slab::Slab;

use crate::{
    client::{Asker, Client, Spares},
    pace::Crowd,
    routing::{NOBODY, Routing},
    shared::Shared,
    split::Parts,
    stats::Tally,
    upstream::{LANES, NONE, Node, State, Upstream},
};

/// Output buffers kept for the next clients that need one.
const SPARE_BUFFERS: usize = 64;

/// A buffer that grew beyond this is given back to the system.
const KEEP: usize = 1 << 20;

/// Most slots that `SHOAL UPSTREAM` lists.
const MOST_SHOWN: usize = 100;

/// A worker's state.
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) routing: Arc<Routing>,
    /// By a member's place in the view, its place among `nodes`.
    places: Vec<u32>,
    /// By slot, the place among `nodes` of the one that requests go to: the owner by the view, or whom a node has named
    /// since; [`NOBODY`] if there is none.
    owners: Vec<u16>,
    /// Counts views; wraps.
    turn: u16,
    /// Slots of clients that are on a detour.
    troubled: HashSet<detour::Trouble>,
    /// Parts of requests about the whole cluster that wait for their node.
    strays: Vec<stray::Stray>,
    /// Requests about the whole cluster, and their lanes, that wait for a view with anybody in it.
    homeless: Vec<(Asker, u8)>,
    /// Others that wait for a newer view.
    outdated: Vec<stray::Outdated>,
    /// What waits in detours and among the strays.
    held: detour::Load,
    pub(crate) nodes: Slab<Node>,
    pub(crate) clients: Slab<Client>,
    pub(crate) upstreams: Slab<Upstream>,
    /// Sockets with something to write.
    pub(crate) dirty_clients: Vec<u32>,
    pub(crate) dirty_upstreams: Vec<u32>,
    /// Ms since the worker started, as of the current batch; wraps.
    pub(crate) now: u32,
    started: Instant,
    /// The clients that asked lately.
    pub(crate) crowd: Crowd,
    /// Number of the last client.
    generation: u32,
    parts: Parts,
    /// Output buffers that no client needs at the moment: few are in use at a time, and the last one used is the
    /// one that is still in the processor's caches.
    buffers: Vec<Vec<u8>>,
    spares: Spares,
    /// Requests wait for a node: deadlines are to be looked after.
    pub(crate) waiting: bool,
    pub(crate) tally: Tally,
}

impl Desk {
    pub(crate) fn new(shared: Arc<Shared>, routing: Arc<Routing>) -> Self {
        let mut desk = Self {
            shared,
            routing: routing.clone(),
            places: Vec::new(),
            owners: vec![NOBODY; usize::from(SLOTS)],
            turn: 0,
            troubled: HashSet::new(),
            strays: Vec::new(),
            homeless: Vec::new(),
            outdated: Vec::new(),
            held: detour::Load::default(),
            nodes: Slab::new(),
            clients: Slab::new(),
            upstreams: Slab::new(),
            dirty_clients: Vec::new(),
            dirty_upstreams: Vec::new(),
            now: 0,
            started: Instant::now(),
            crowd: Crowd::default(),
            generation: 0,
            parts: Parts::default(),
            buffers: Vec::new(),
            spares: Spares::default(),
            waiting: false,
            tally: Tally::default(),
        };
        desk.adopt(routing);
        desk
    }

    /// Reads the clock; at the start of each batch.
    #[inline]
    pub(crate) fn tick(&mut self) {
        self.now = self.started.elapsed().as_millis() as u32;
    }

    /// Whether nothing waits to be written: then whoever adds something wakes the flusher.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty_clients.is_empty() && self.dirty_upstreams.is_empty()
    }

    /// Takes back the output buffer of a client that was sent everything.
    pub(crate) fn recycle(&mut self, place: u32) {
        let client = &mut self.clients[place as usize];
        if client.out.is_empty() && client.out.capacity() > 0 {
            let buffer = std::mem::take(&mut client.out);
            if buffer.capacity() <= KEEP && self.buffers.len() < SPARE_BUFFERS {
                self.buffers.push(buffer);
            }
        }
    }

    /// Adds a client; returns its place and generation.
    pub(crate) fn admit(&mut self, writer: std::rc::Rc<tokio::net::tcp::OwnedWriteHalf>) -> (u32, u32) {
        self.generation = self.generation.wrapping_add(1);
        let place = self.clients.insert(Client::new(self.generation, writer));
        (place as u32, self.generation)
    }

    /// Forgets a client that is gone, with what it waits for.
    pub(crate) fn dismiss(&mut self, place: u32, generation: u32) {
        if self.client(place, generation).is_none() {
            return;
        }
        for detour in self.clients.remove(place as usize).detours {
            self.troubled.remove(&detour::Trouble { client: place, generation, slot: detour.slot });
            detour.queue().iter().for_each(|held| self.held.remove(held));
        }
    }

    /// Requests that wait for a node that cannot serve them at once.
    pub(crate) fn load(&self) -> detour::Load {
        let waiting = self.upstreams.iter().map(|(_, u)| u).filter(|u| u.stuck);
        waiting.fold(self.held, |sum, u| detour::Load {
            requests: sum.requests + u.log.len(),
            bytes: sum.bytes + u.log.held(),
        })
    }

    /// Whether no more can wait.
    fn is_full(&self) -> bool {
        let (load, settings) = (self.load(), &self.shared.settings);
        load.requests >= settings.max_held || load.bytes >= settings.max_held_bytes
    }

    /// What this worker holds, for people (`SHOAL UPSTREAM`).
    pub(crate) fn troubles(&self) -> String {
        let (load, tally) = (self.load(), &self.tally);
        let elsewhere = (0..SLOTS).filter(|slot| self.is_overridden(*slot)).count();
        let mut text = format!(
            "held={} bytes={} detours={} slots_elsewhere={elsewhere} redirects={} refusals={} retries={} \
             writes_resent={} lost={} gave_up={}\n",
            load.requests,
            load.bytes,
            self.troubled.len(),
            tally.redirects,
            tally.refusals,
            tally.retries,
            tally.reborn,
            tally.lost,
            tally.unreachable,
        );
        let mut slots: std::collections::BTreeMap<u16, (usize, usize, u32)> =
            std::collections::BTreeMap::new();
        for trouble in &self.troubled {
            let client = self.clients.get(trouble.client as usize);
            let detour = client.and_then(|c| c.detours.iter().find(|d| d.slot == trouble.slot));
            let Some(detour) = detour else { continue };
            let oldest = detour.queue().iter().map(|h| self.now.wrapping_sub(h.pending.at)).max();
            let (clients, waiting, longest) = slots.entry(trouble.slot).or_default();
            *clients += 1;
            *waiting += detour.queue().len();
            *longest = (*longest).max(oldest.unwrap_or(0));
        }
        for (slot, (clients, waiting, longest)) in slots.into_iter().take(MOST_SHOWN) {
            text.push_str(&format!("slot={slot} clients={clients} waiting={waiting} longest_ms={longest}\n"));
        }
        text
    }

    /// Whether requests for the slot go elsewhere than the view says.
    fn is_overridden(&self, slot: u16) -> bool {
        let owner = match self.routing.owner(slot) {
            NOBODY => NOBODY,
            member => self.places[usize::from(member)] as u16,
        };
        owner != self.owners[usize::from(slot)]
    }

    /// The client, if it is still the same one.
    #[inline]
    pub(crate) fn client(&mut self, place: u32, generation: u32) -> Option<&mut Client> {
        self.clients.get_mut(place as usize).filter(|c| c.generation == generation)
    }

    #[inline]
    pub(crate) fn touch_client(&mut self, place: u32) {
        let client = &mut self.clients[place as usize];
        if !client.dirty {
            client.dirty = true;
            self.dirty_clients.push(place);
        }
    }

    #[inline]
    pub(crate) fn touch_upstream(&mut self, place: u32) {
        let upstream = &mut self.upstreams[place as usize];
        if !upstream.dirty {
            upstream.dirty = true;
            self.dirty_upstreams.push(place);
        }
    }

    /// Ends a client from outside: nothing more is sent to it.
    pub(crate) fn kill(&mut self, place: u32, generation: u32) {
        if let Some(client) = self.client(place, generation) {
            client.dead = true;
            client.out = Vec::new();
            client.written = 0;
            shut(&client.writer);
            client.resume.notify_one();
        }
    }

    /// The place of the node at this address.
    pub(crate) fn node(&mut self, host: &str, port: u16) -> u32 {
        match self.nodes.iter().find(|(_, n)| n.port == port && *n.host == *host) {
            Some((place, _)) => place as u32,
            None => {
                let (host, lanes) = (host.into(), [NONE; LANES]);
                let node = Node { host, port, member: false, meetings: 0, met: None, lanes };
                self.nodes.insert(node) as u32
            }
        }
    }

    /// The connection to a node for a lane.
    #[inline]
    pub(crate) fn upstream(&mut self, node: u32, lane: u8) -> u32 {
        match self.nodes[node as usize].lanes[usize::from(lane)] {
            NONE => {
                let mut upstream = Upstream::new(node, lane);
                if !self.nodes[node as usize].member {
                    upstream.retired = Some(self.now);
                    self.waiting = true;
                }
                let place = self.upstreams.insert(upstream) as u32;
                self.nodes[node as usize].lanes[usize::from(lane)] = place;
                place
            }
            place => place,
        }
    }

    /// Forgets a connection that ended for good.
    pub(crate) fn forget(&mut self, place: u32) {
        let upstream = self.upstreams.remove(place as usize);
        self.release(&upstream.waiters);
        let node = &mut self.nodes[upstream.node as usize];
        node.lanes[usize::from(upstream.lane)] = NONE;
        if !node.member && node.lanes.iter().all(|l| *l == NONE) {
            self.nodes.remove(upstream.node as usize);
        }
    }

    /// Lets clients go on that waited for room.
    pub(crate) fn release(&mut self, waiters: &[(u32, u32)]) {
        for (place, generation) in waiters {
            if let Some(client) = self.client(*place, *generation) {
                client.wait = crate::client::Wait::Nothing;
                client.resume.notify_one();
            }
        }
    }
}

/// Makes the task that reads this socket see its end.
pub(crate) fn shut(writer: &tokio::net::tcp::OwnedWriteHalf) {
    // A socket that is closed already needs nothing.
    let _ = socket2::SockRef::from(writer.as_ref()).shutdown(std::net::Shutdown::Both);
}

/// Ends a connection; its task finds out and forgets it.
fn close(upstream: &mut Upstream) {
    match &upstream.state {
        State::Ready(writer) => shut(writer),
        State::Down => upstream.wake.notify_one(),
        State::New => {}
    }
}
