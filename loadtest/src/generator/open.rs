//! Sending of an open loop: what is due goes out when it is due, to the server it is due at.
//!
//! Each server has due times of its own. A request that is due while no connection to its server has room waits for
//! one of these; sent to another server instead, it would hide that its own stands still.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Generator, LOOK_UP, Pace, Plan};
use crate::arrivals::Arrivals;
use crate::connection::Waiting;
use crate::error::Error;
use crate::random::Random;

/// The requests for one server, or for all nodes of a cluster.
#[derive(Debug)]
pub(super) struct Lane {
    /// The server's place among the servers; that of the first one for a cluster.
    pub(super) endpoint: usize,
    pub(super) arrivals: Arrivals,
    /// Not the other lanes': due times must not depend on which of them was asked first.
    random: Random,
    /// The next due time.
    pub(super) due: u64,
    /// Connections with room for another request, each at most once.
    free: VecDeque<usize>,
    /// Something was due and no connection had room.
    pub(super) is_blocked: bool,
    /// When that was last over.
    blocked: u64,
}

impl Lane {
    /// One for each server that the plan has connections to; one for a cluster; none in a closed loop.
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let Pace::Open(arrivals) = &plan.pace else { return Vec::new() };
        let mut endpoints = plan.connections.clone();
        endpoints.sort_unstable();
        endpoints.dedup();
        if plan.layout.is_some() {
            endpoints.truncate(1);
        }
        let lanes = arrivals.dealt(endpoints.len()).into_iter().zip(endpoints).enumerate();
        lanes
            .map(|(number, (arrivals, endpoint))| Self::new(plan, number as u64, endpoint, arrivals))
            .collect()
    }

    fn new(plan: &Plan, number: u64, endpoint: usize, arrivals: Arrivals) -> Self {
        let free = (0..plan.connections.len()).filter(|index| plan.connections[*index] == endpoint).collect();
        let random = Random::part(plan.seed, 0xa221 + (number << 16));
        Self { endpoint, arrivals, random, due: 0, free, is_blocked: false, blocked: 0 }
    }

    /// Goes on to the next due time.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.due = self.arrivals.next(&mut self.random);
    }
}

impl Generator {
    /// Sends what is due and returns how long nothing will be.
    pub(super) fn send_due(&mut self, now: u64) -> Result<Duration, Error> {
        if self.lanes.is_empty() {
            return Ok(LOOK_UP);
        }
        let (mut now, mut next, mut is_more) = (now, u64::MAX, false);
        for place in 0..self.lanes.len() {
            now = self.send_lane(place, now);
            let lane = &self.lanes[place];
            is_more |= self.may_make(lane.due);
            if !lane.is_blocked && self.may_make(lane.due) {
                next = next.min(lane.due);
            }
        }
        if !is_more {
            return Ok(Duration::from_millis(1));
        }
        self.wake_at(next, now)?;
        Ok(LOOK_UP)
    }

    /// Sends what is due at one server; returns the time.
    fn send_lane(&mut self, place: usize, mut now: u64) -> u64 {
        while self.lanes[place].due <= now && self.may_make(self.lanes[place].due) {
            let Some(index) = self.lanes[place].free.pop_front() else {
                self.lanes[place].is_blocked = true;
                return now;
            };
            self.is_free[index] = false;
            if self.connections[index].stands() {
                self.fill(place, index, now);
                self.flush(index);
                now = self.now();
            }
        }
        now
    }

    /// Gives a connection the requests that are due, as many as it has room for.
    fn fill(&mut self, place: usize, index: usize, now: u64) {
        let (lane, connection) = (&mut self.lanes[place], &mut self.connections[index]);
        self.requests.at(lane.due);
        connection.lend(&mut self.spare);
        while lane.due <= now
            && lane.due < self.plan.end
            && self.made < self.plan.limit
            && connection.has_room(self.plan.pipeline)
        {
            let about = self.requests.next(&mut connection.out);
            connection.waiting.push_back(Waiting { since: lane.due, about });
            connection.left -= 1;
            self.made += 1;
            // A request that was due while no connection had room waited for the server, not for us, unless we stood
            // still then.
            if lane.due > lane.blocked {
                self.tally.lag.saturating_record(now - lane.due);
            } else if self.stood.0 <= lane.due && lane.due < self.stood.1 {
                self.tally.lag.saturating_record(self.stood.1 - lane.due);
            }
            lane.advance();
        }
        if connection.has_room(self.plan.pipeline) {
            self.set_free(index);
        }
    }

    /// Lets a connection have what is due at its server.
    pub(super) fn set_free(&mut self, index: usize) {
        let endpoint = self.connections[index].endpoint;
        let now = self.now();
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.endpoint == endpoint) else { return };
        if std::mem::replace(&mut lane.is_blocked, false) {
            lane.blocked = now;
        }
        if !std::mem::replace(&mut self.is_free[index], true) {
            lane.free.push_back(index);
        }
    }
}
