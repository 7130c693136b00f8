//! Everything a worker knows, and what happens to it: requests go out, replies come back, connections and views change.
//!
//! All of it runs on the worker's thread, in the tasks of its sockets; nothing here waits or does I/O.
//! Files: [`send`] towards nodes, [`deliver`] towards clients, [`detour`] for requests that have to go elsewhere.

mod deliver;
mod detour;
mod send;

pub(crate) use send::Order;

use std::{sync::Arc, time::Instant};

use slab::Slab;

use crate::{
    client::{Client, Spares},
    pace::Crowd,
    routing::Routing,
    shared::Shared,
    split::Parts,
    stats::Tally,
    upstream::{LANES, NONE, Node, State, Upstream},
};

/// Output buffers kept for the next clients that need one.
const SPARE_BUFFERS: usize = 64;

/// A buffer that grew beyond this is given back to the system.
const KEEP: usize = 1 << 20;

/// A worker's state.
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) routing: Arc<Routing>,
    /// By a member's place in the view, its place among `nodes`.
    places: Vec<u32>,
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

    /// Installs a view: new requests follow it at once.
    pub(crate) fn adopt(&mut self, routing: Arc<Routing>) {
        self.routing = routing.clone();
        self.nodes.iter_mut().for_each(|(_, node)| node.member = false);
        self.places = routing.members().iter().map(|m| self.node(&m.host, m.resp_port)).collect();
        for place in self.places.clone() {
            self.nodes[place as usize].member = true;
        }
        // What is under way may still be redirected: what comes later must not overtake it.
        for (_, client) in &mut self.clients {
            client.barrier |= !client.tickets.is_empty();
        }
        let mut elsewhere = Vec::new();
        for (place, upstream) in &mut self.upstreams {
            let member = self.nodes[upstream.node as usize].member;
            upstream.retired = if member { None } else { Some(upstream.retired.unwrap_or(self.now)) };
            if !upstream.is_ready() && !upstream.log.is_empty() {
                elsewhere.push(place as u32);
            } else if !member && upstream.log.is_empty() {
                close(upstream);
            }
            self.waiting |= !member;
        }
        for place in elsewhere {
            self.replan(place);
        }
    }

    /// The place of the node at this address.
    pub(crate) fn node(&mut self, host: &str, port: u16) -> u32 {
        match self.nodes.iter().find(|(_, n)| n.port == port && *n.host == *host) {
            Some((place, _)) => place as u32,
            None => {
                let node = Node { host: host.into(), port, member: false, lanes: [NONE; LANES] };
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

    /// Answers requests that waited too long, and ends connections to nodes that left. Returns whether something
    /// still waits.
    pub(crate) fn expire(&mut self) -> bool {
        let patience = self.shared.settings.patience.as_millis() as u32;
        self.waiting = false;
        for place in self.upstreams.iter().map(|(place, _)| place as u32).collect::<Vec<_>>() {
            self.expire_one(place, patience);
        }
        self.waiting
    }

    fn expire_one(&mut self, place: u32, patience: u32) {
        let now = self.now;
        let upstream = &mut self.upstreams[place as usize];
        if let Some(since) = upstream.retired {
            if upstream.log.is_empty() || now.wrapping_sub(since) > patience {
                close(upstream);
            }
            self.waiting = true;
        }
        if upstream.is_ready() {
            return;
        }
        if upstream.retired.is_some() && upstream.log.is_empty() && matches!(upstream.state, State::New) {
            // It has no task that would do so.
            return self.forget(place);
        }
        let mut late = Vec::new();
        while upstream.log.front().is_some_and(|p| now.wrapping_sub(p.at) > patience) {
            late.extend(upstream.log.drop_front());
        }
        upstream.log.trim();
        self.waiting |= !upstream.log.is_empty();
        let waiters = std::mem::take(&mut upstream.waiters);
        if late.is_empty() {
            self.upstreams[place as usize].waiters = waiters;
        } else {
            self.release(&waiters);
        }
        for pending in late {
            self.tally.unreachable += 1;
            self.fail(pending.asker, &detour::UNREACHABLE);
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
