//! Sending in a cluster: each request goes to a connection of the node that owns its key.
//!
//! Every node has a lane: the thread's connections to it and the requests that wait for room on one of them. A
//! request that a node sends elsewhere is sent again with the time it was due at first, so its latency holds the
//! whole detour. Nothing is dropped on the way: a request is on a connection, pending in a lane, or parked for a
//! moment because its node cannot be reached or wants it later.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Generator, LOOK_UP, Pace, Plan};
use crate::cluster::Layout;
use crate::cluster::redirect::Redirect;
use crate::connection::{ASIDE, Connection, Waiting};
use crate::error::Error;
use crate::requests::About;

/// How long a request rests that cannot be sent now, in nanoseconds.
const REST: u64 = 5_000_000;
/// The most requests of an open loop that wait for room; beyond it they stay undrawn, which costs no memory. Their
/// due times do not change by it.
const MAX_HELD: usize = 1 << 16;
/// What a request sent by ASK is preceded by.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A request on its way to a connection.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    about: About,
    /// When it was due; none if that is when it is sent.
    since: Option<u64>,
    asking: bool,
}

/// The way to one node.
#[derive(Debug, Default)]
struct Lane {
    connections: Vec<usize>,
    /// Connections with room, each at most once.
    free: VecDeque<usize>,
    /// How many of the connections broke and are not back.
    down: usize,
    pending: VecDeque<Held>,
}

impl Lane {
    fn is_dead(&self) -> bool {
        self.down == self.connections.len()
    }
}

/// What a thread knows of the cluster.
#[derive(Debug)]
pub(super) struct Routed {
    layout: Layout,
    lanes: Vec<Lane>,
    /// Requests in all lanes' `pending`.
    pending: usize,
    /// Requests that rest, and until when; in order.
    parked: VecDeque<(u64, Held)>,
    /// Closed loop: how many requests may be made.
    spare: u64,
    draft: Vec<u8>,
    turned: Vec<(Redirect, Held)>,
    /// Connections with something to write, each at most once.
    dirty: Vec<usize>,
    marks: Vec<Marks>,
    rotation: usize,
}

/// In which lists a connection is.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    free: bool,
    dirty: bool,
    down: bool,
}

impl Routed {
    /// Knows `nodes` nodes and the connections of the plan, of which those in `down` could not be opened.
    pub(super) fn new(layout: Layout, plan: &Plan, nodes: usize, down: &[usize]) -> Self {
        let mut lanes: Vec<Lane> = std::iter::repeat_with(Lane::default).take(nodes).collect();
        let mut marks = vec![Marks { free: true, ..Marks::default() }; plan.connections.len()];
        for index in down {
            marks[*index] = Marks { down: true, ..Marks::default() };
            lanes[plan.connections[*index]].down += 1;
        }
        for (index, place) in plan.connections.iter().enumerate() {
            lanes[*place].connections.push(index);
            if marks[index].free {
                lanes[*place].free.push_back(index);
            }
        }
        Self {
            layout,
            lanes,
            pending: 0,
            parked: VecDeque::new(),
            spare: plan.connections.len() as u64 * plan.pipeline as u64,
            draft: Vec::new(),
            turned: Vec::new(),
            dirty: Vec::new(),
            marks,
            rotation: 0,
        }
    }

    /// How many requests are made and not on a connection.
    pub(super) fn held(&self) -> usize {
        self.pending + self.parked.len()
    }

    /// When those were due, and what they are; the ones of a closed loop that were never sent are not due.
    pub(super) fn held_since(&self) -> impl Iterator<Item = (u64, About)> + '_ {
        let pending = self.lanes.iter().flat_map(|lane| &lane.pending);
        let held = pending.chain(self.parked.iter().map(|(_, held)| held));
        held.filter_map(|held| held.since.map(|since| (since, held.about)))
    }

    /// The node to send to: the slot's owner, or any. While an owner cannot be reached the others know best.
    fn home(&mut self, slot: Option<u16>) -> usize {
        let owner = match slot {
            Some(slot) => self.layout.owner(slot),
            None => {
                self.rotation += 1;
                self.rotation % self.lanes.len()
            }
        };
        let others = (0..self.lanes.len()).map(|step| (owner + step) % self.lanes.len());
        others.clone().find(|place| !self.lanes[*place].is_dead()).unwrap_or(owner)
    }

    fn mark_dirty(&mut self, index: usize) {
        if !std::mem::replace(&mut self.marks[index].dirty, true) {
            self.dirty.push(index);
        }
    }
}

impl Generator {
    /// Sends what is due and what has waited, and returns how long nothing will be.
    pub(super) fn send_routed(&mut self, now: u64) -> Result<Duration, Error> {
        self.unpark(now);
        match self.plan.pace {
            Pace::Closed => self.draw_closed(now),
            Pace::Open(_) => self.draw_due(now),
        }
        self.flush_dirty();
        let Some(routed) = &self.routed else { return Ok(LOOK_UP) };
        let mut next = routed.parked.front().map_or(u64::MAX, |(until, _)| *until);
        if let Some(lane) = self.lanes.first() {
            if !self.may_make(lane.due) {
                return Ok(Duration::from_millis(1));
            }
            if routed.held() < MAX_HELD {
                next = next.min(lane.due);
            }
        }
        self.wake_at(next, now)?;
        Ok(LOOK_UP)
    }

    fn draw_closed(&mut self, now: u64) {
        while self.may_make(now) && self.routed.as_ref().is_some_and(|routed| routed.spare > 0) {
            if let Some(routed) = &mut self.routed {
                routed.spare -= 1;
            }
            self.draw(None, now);
        }
    }

    fn draw_due(&mut self, now: u64) {
        while let Some(due) = self.lanes.first().map(|lane| lane.due).filter(|due| *due <= now)
            && self.may_make(due)
            && self.routed.as_ref().is_some_and(|routed| routed.held() < MAX_HELD)
        {
            if self.draw(Some(due), now) {
                self.tally.lag.saturating_record(now - due);
            } else if self.stood.0 <= due && due < self.stood.1 {
                self.tally.lag.saturating_record(self.stood.1 - due);
            }
            self.lanes[0].advance();
        }
    }

    /// Makes the next request; true if a connection had room for it.
    fn draw(&mut self, since: Option<u64>, now: u64) -> bool {
        let Some(routed) = &mut self.routed else { return false };
        let mut draft = std::mem::take(&mut routed.draft);
        draft.clear();
        self.requests.at(since.unwrap_or(now));
        let about = self.requests.next(&mut draft);
        self.made += 1;
        self.place_by_slot(Held { bytes: draft, about, since, asking: false }, now)
    }

    fn place_by_slot(&mut self, request: Held, now: u64) -> bool {
        let slot = self.requests.slot_of(request.about.command(), &request.bytes);
        let Some(routed) = &mut self.routed else { return false };
        let place = routed.home(slot);
        self.place(place, request, now)
    }

    /// Gives a request to a connection of that node, or keeps it until one has room; true if one had.
    fn place(&mut self, place: usize, request: Held, now: u64) -> bool {
        let Some(routed) = &mut self.routed else { return false };
        while let Some(index) = routed.lanes[place].free.pop_front() {
            let connection = &mut self.connections[index];
            routed.marks[index].free = false;
            if !connection.stands() || !connection.has_room(self.plan.pipeline) {
                continue;
            }
            append(connection, &request, now);
            if connection.has_room(self.plan.pipeline) {
                routed.marks[index].free = true;
                match self.plan.pace {
                    // Batches make for few system calls, turns for short queues.
                    Pace::Closed => routed.lanes[place].free.push_front(index),
                    Pace::Open(_) => routed.lanes[place].free.push_back(index),
                }
            }
            routed.mark_dirty(index);
            routed.draft = request.bytes;
            return true;
        }
        routed.lanes[place].pending.push_back(request);
        routed.pending += 1;
        false
    }

    fn park(&mut self, request: Held, now: u64) {
        if let Some(routed) = &mut self.routed {
            routed.parked.push_back((now + REST, Held { asking: false, ..request }));
        }
    }

    fn unpark(&mut self, now: u64) {
        while let Some(routed) = &mut self.routed {
            match routed.parked.front() {
                Some((until, _)) if *until <= now => {}
                _ => return,
            }
            if let Some((_, request)) = routed.parked.pop_front() {
                self.place_by_slot(request, now);
            }
        }
    }

    /// Gives a connection what is pending for its node, as far as it has room.
    fn offer(&mut self, index: usize, now: u64) {
        let Some(routed) = &mut self.routed else { return };
        let connection = &mut self.connections[index];
        if !connection.stands() {
            return;
        }
        let lane = &mut routed.lanes[connection.endpoint];
        while connection.has_room(self.plan.pipeline) {
            let Some(request) = lane.pending.pop_front() else { break };
            routed.pending -= 1;
            append(connection, &request, now);
        }
        if connection.has_room(self.plan.pipeline) && !routed.marks[index].free {
            routed.marks[index].free = true;
            lane.free.push_back(index);
        }
        if !connection.is_flushed() {
            routed.mark_dirty(index);
        }
    }

    /// Takes a connection that has come to stand into use.
    pub(super) fn set_usable(&mut self, index: usize) {
        let place = self.connections[index].endpoint;
        if let Some(routed) = &mut self.routed
            && std::mem::replace(&mut routed.marks[index].down, false)
        {
            routed.lanes[place].down -= 1;
        }
        let now = self.now();
        self.offer(index, now);
    }

    /// Takes a broken connection out of use. Once a node has none left, its requests look for another way.
    pub(super) fn on_node_lost(&mut self, index: usize, lost: u64) {
        let now = self.now();
        let place = self.connections[index].endpoint;
        let Some(routed) = &mut self.routed else { return };
        routed.spare += lost;
        if std::mem::replace(&mut routed.marks[index].down, true) {
            return;
        }
        routed.lanes[place].down += 1;
        if routed.lanes[place].is_dead() {
            let pending = std::mem::take(&mut routed.lanes[place].pending);
            routed.pending -= pending.len();
            for request in pending {
                self.park(request, now);
            }
        }
    }

    fn flush_dirty(&mut self) {
        let Some(routed) = &mut self.routed else { return };
        let mut dirty = std::mem::take(&mut routed.dirty);
        for index in dirty.drain(..) {
            if let Some(routed) = &mut self.routed {
                routed.marks[index].dirty = false;
            }
            self.flush(index);
        }
        if let Some(routed) = &mut self.routed {
            dirty.append(&mut routed.dirty);
            routed.dirty = dirty;
        }
    }

    /// Reads answers of a connection, counts them, and sends on what its node sends elsewhere; returns when answers came
    /// that end a request, 0 if none did.
    pub(super) fn on_routed_event(&mut self, index: usize, readable: bool, closing: bool) -> u64 {
        let (now, ended) = if readable { self.receive_routed(index, closing) } else { (0, false) };
        if let Some(started) = self.connections[index].take_connected() {
            self.on_connected(index, started);
        }
        let connection = &self.connections[index];
        if connection.is_open() && connection.left == 0 && connection.waiting.is_empty() {
            self.recycle(index);
        } else if now > 0 {
            self.offer(index, now);
        } else if !connection.is_flushed()
            && let Some(routed) = &mut self.routed
        {
            routed.mark_dirty(index);
        }
        if ended { now } else { 0 }
    }

    /// Returns when answers came, 0 if none did, and whether one of them ends a request: redirects in a circle do not.
    fn receive_routed(&mut self, index: usize, closing: bool) -> (u64, bool) {
        let Some(routed) = &mut self.routed else { return (0, false) };
        let connection = &mut self.connections[index];
        let (tally, kinds, followed, start) = (&mut self.tally, &self.kinds, &mut self.followed, self.start);
        let (alike, outages) = (&mut self.alike, &mut self.outages);
        alike.begin(connection.endpoint);
        let (mut last, mut answered, mut served) = (0, 0, false);
        let clock = || start.elapsed().as_nanos() as u64;
        let turned = &mut routed.turned;
        let mut read = 0;
        let ended =
            connection.receive(&mut self.buffer, closing, &mut read, clock, |request, reply, now, bytes| {
                last = now;
                if request.about.command() == ASIDE {
                    return;
                }
                if let Some(redirect) = reply.error.and_then(Redirect::parse) {
                    tally.redirects += 1;
                    let since = Some(request.since);
                    let held = Held { bytes: bytes.to_vec(), about: request.about, since, asking: false };
                    return turned.push((redirect, held));
                }
                answered += 1;
                served |= reply.error.is_none();
                alike.add(tally, request, now);
                if let Some(outages) = outages {
                    outages.on_answer(tally, request, reply, now);
                }
                alike.interpret(tally, kinds, followed, request.about, reply);
            });
        alike.record(&mut self.tally);
        connection.asked |= last > 0;
        if served {
            self.tally.note_served(last);
            connection.served = true;
        }
        routed.spare += answered;
        if !self.followed.is_empty() {
            self.follow_up_routed(last);
        }
        self.turn_round(index, last);
        self.tally.received += read;
        if let Err(broken) = ended {
            self.on_broken(index, broken);
        }
        (last, answered > 0)
    }

    /// Sends the commands that follow answers; in a closed loop they take the places of those that were answered.
    fn follow_up_routed(&mut self, now: u64) {
        for about in std::mem::take(&mut self.followed) {
            let mut bytes = Vec::new();
            if let Some(about) = self.requests.follow_up(about, &mut bytes) {
                if let Some(routed) = &mut self.routed {
                    routed.spare = routed.spare.saturating_sub(1);
                }
                self.place_by_slot(Held { bytes, about, since: Some(now), asking: false }, now);
            }
        }
    }

    /// Sends requests on to where the node of connection `index` said.
    fn turn_round(&mut self, index: usize, now: u64) {
        let Some(routed) = &mut self.routed else { return };
        for (redirect, mut request) in std::mem::take(&mut routed.turned) {
            let to = match &redirect {
                Redirect::Moved { to, .. } | Redirect::Ask { to } => to,
                Redirect::TryAgain => {
                    self.park(request, now);
                    continue;
                }
            };
            let told_by = self.connections[index].endpoint;
            let teller = &self.endpoints[told_by];
            let Some(place) = self.plan.nodes.place(to, teller) else {
                let text = format!("redirect to '{to}', which has no address or is one node too many");
                self.tally.count_note(told_by, &text);
                self.park(request, now);
                continue;
            };
            if place == self.connections[index].endpoint {
                // A node that sends elsewhere to itself has not made up its mind; at once it would say the same.
                self.park(request, now);
                continue;
            }
            self.want_lane(place, now);
            let Some(routed) = &mut self.routed else { return };
            match redirect {
                Redirect::Moved { slot, .. } => routed.layout.moved(slot, place),
                _ => request.asking = true,
            }
            if routed.lanes[place].is_dead() {
                self.park(request, now);
            } else {
                self.place(place, request, now);
            }
        }
    }

    /// Connects to a node that was not known, as often as to the others.
    fn want_lane(&mut self, place: usize, now: u64) {
        if place >= self.endpoints.len() {
            self.endpoints = self.plan.nodes.all();
        }
        let count = self.endpoints.len();
        let Some(routed) = &mut self.routed else { return };
        if routed.lanes.len() < count {
            routed.lanes.resize_with(count, Lane::default);
            self.tally.want_endpoints(count);
        }
        if !routed.lanes[place].connections.is_empty() {
            return;
        }
        let most = routed.lanes.iter().map(|lane| lane.connections.len()).max().unwrap_or(1);
        let first = self.connections.len();
        for index in first..first + most {
            self.connections.push(Connection::new(place, true));
            routed.lanes[place].connections.push(index);
            routed.marks.push(Marks::default());
        }
        for index in first..first + most {
            self.connect(index, now);
        }
    }
}

/// Appends a request to what a connection sends.
fn append(connection: &mut Connection, request: &Held, now: u64) {
    if request.asking {
        connection.send(ASKING, Waiting { since: now, about: About::new(ASIDE, 0, 0) });
    }
    connection.send(&request.bytes, Waiting { since: request.since.unwrap_or(now), about: request.about });
    connection.left = connection.left.saturating_sub(1);
}
