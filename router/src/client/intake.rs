//! A client's requests: cut out of its bytes, looked up, planned, and handed to the desk.

use std::sync::Arc;

use shoal_net::telemetry;
use shoal_proto::{
    Error,
    command::{Entry, table},
    resp::{Args, Limits, Protocol, ProtocolError, Reply, Request, Scanner},
    session::{ReplyMode, Session},
};

use super::{Client, Wait};
use crate::{
    desk::{Desk, Order},
    plan::Plan,
    shared::{Shared, now_ms},
    upstream::lane,
};

/// What to do after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// Read more.
    Read,
    /// Wait to be resumed, then take the rest.
    Wait,
    /// `CLIENT PAUSE`: take the rest at this time, ms since 1970.
    Pause(u64),
    /// Close when everything is answered and sent.
    Close,
}

/// What became of one request.
enum Fate {
    Done,
    /// Not yet: the same request is looked at again.
    Later(Go),
}

/// The reading half of a client.
pub(crate) struct Intake {
    pub(crate) place: u32,
    pub(crate) generation: u32,
    pub(crate) session: Session,
    scanner: Scanner,
    shared: Arc<Shared>,
}

impl Intake {
    pub(crate) fn new(place: u32, generation: u32, session: Session, shared: Arc<Shared>) -> Self {
        Self { place, generation, session, scanner: Scanner::new(), shared }
    }

    /// How many more bytes the request at hand needs at least.
    pub(crate) fn wanted(&self, have: usize) -> usize {
        self.scanner.wanted(have)
    }

    /// Carries out the requests in `input`. Returns how many bytes were consumed, and how to go on.
    pub(crate) fn take(&mut self, desk: &mut Desk, input: &[u8]) -> (usize, Go) {
        let Desk { clients, crowd, now, .. } = desk;
        crowd.saw(&mut clients[self.place as usize].asked, *now);
        let mut limits = Limits { authenticated: self.session.authenticated(), ..Limits::default() };
        // The scanner is taken out because arguments borrow from it. A request that has to wait is scanned again.
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut at = 0;
        let mut last = None;
        let mut go = Go::Read;
        while at < input.len() {
            if let Some(wait) = must_wait(&mut desk.clients[self.place as usize], &self.shared) {
                go = wait;
                self.scanner = scanner;
                break;
            }
            let request = match scanner.next(&input[at..], &limits) {
                Ok(Some(request)) => request,
                Ok(None) => {
                    self.scanner = scanner;
                    break;
                }
                Err(ProtocolError::WebRequest) => {
                    telemetry::warn_of_web_request(&self.session.record.addr);
                    return (input.len(), Go::Close);
                }
                Err(error) => {
                    desk.tally.protocol_errors += 1;
                    self.error(desk, &Error::owned(format!("ERR Protocol error: {error}")));
                    return (input.len(), Go::Close);
                }
            };
            let (consumed, args) = match request {
                Request::Empty { consumed } => (consumed, None),
                Request::Multibulk { consumed } => {
                    (consumed, Some(Args::new(&input[at..at + consumed], scanner.spans())))
                }
                Request::Inline { consumed } => {
                    (consumed, Some(Args::new(scanner.inline(), scanner.spans())))
                }
            };
            if let Some(args) = args {
                match self.one(desk, args, &mut last) {
                    Fate::Done => {}
                    Fate::Later(later) => {
                        go = later;
                        break;
                    }
                }
            }
            at += consumed;
            limits.authenticated = self.session.authenticated();
            if self.session.closing {
                go = Go::Close;
                at = input.len();
                break;
            }
        }
        if let Some(id) = last {
            self.session.record.saw(id, now_ms());
        }
        (at, go)
    }

    #[inline]
    fn one(&mut self, desk: &mut Desk, args: Args<'_>, last: &mut Option<u16>) -> Fate {
        let entry = match table().find(args) {
            Ok(entry) => entry,
            Err(error) => return self.answer(desk, &error),
        };
        if !self.session.is_free()
            && let Some(answer) = self.session.bar(entry, now_ms())
        {
            return self.not_executed(desk, answer);
        }
        let plan = match self.shared.planner.plan(entry, args) {
            Ok(plan) => plan,
            Err(error) => return self.refuse(desk, entry, &error),
        };
        if self.shared.registry.may_be_paused()
            && !entry.ignores_pause()
            && let Some(until) = self.shared.registry.paused(entry.writes(), now_ms())
        {
            return Fate::Later(Go::Pause(until));
        }
        if plan == Plan::Local {
            return self.local(desk, entry, args, last);
        }
        let client = &mut desk.clients[self.place as usize];
        let (client, generation, lane) = (self.place, self.generation, client.lane);
        let mut order = Order { client, generation, lane, entry, args, muted: false };
        if let Some(wait) = obstacle(desk, &order, plan) {
            desk.clients[self.place as usize].wait = wait;
            return Fate::Later(Go::Wait);
        }
        *last = Some(entry.id);
        desk.tally.requests += 1;
        order.muted = self.session.reply_mode != ReplyMode::On && !self.session.replies();
        let used = match plan {
            Plan::Slot(slot) => Ok(desk.forward(&order, slot)),
            Plan::Any => desk.forward_any(&order),
            Plan::Split { step, merge } => desk.split(&order, step, merge),
            Plan::AllNodes(merge) => {
                let shared = self.shared.clone();
                desk.ask_all(&order, merge, || shared.own_info());
                let client = &mut desk.clients[self.place as usize];
                client.barrier |= !client.tickets.is_empty();
                return Fate::Done;
            }
            Plan::Local => return Fate::Done,
        };
        match used {
            Ok(Some(upstream)) => self.heed(desk, upstream),
            Err(error) if !order.muted => self.error(desk, &error),
            Ok(None) | Err(_) => {}
        }
        Fate::Done
    }

    /// Stops taking requests while a node's connection holds too many, or while there is none and half of what may wait
    /// does: the rest is for other clients.
    #[inline]
    fn heed(&self, desk: &mut Desk, upstream: u32) {
        let settings = &self.shared.settings;
        let crowded = desk.upstreams[upstream as usize].stuck && desk.load().requests > settings.max_held / 2;
        let upstream = &mut desk.upstreams[upstream as usize];
        if crowded || upstream.log.held() > settings.upstream_buffer {
            upstream.waiters.push((self.place, self.generation));
            desk.clients[self.place as usize].wait = Wait::Upstream;
        }
    }

    /// A command that the router answers itself.
    #[cold]
    fn local(
        &mut self,
        desk: &mut Desk,
        entry: &'static Entry,
        args: Args<'_>,
        last: &mut Option<u16>,
    ) -> Fate {
        let client = &mut desk.clients[self.place as usize];
        // What changes the connection waits until it is owed nothing, so that it applies to later commands only.
        if super::local::changes_connection(entry) && !client.tickets.is_empty() {
            client.wait = Wait::Drained;
            return Fate::Later(Go::Wait);
        }
        *last = Some(entry.id);
        if entry.name.starts_with("client|") {
            // CLIENT LIST shows the client that asks as well.
            self.session.record.saw(entry.id, now_ms());
        }
        desk.tally.requests += 1;
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, self.session.protocol);
        let result = super::local::answer(&self.shared, &mut self.session, desk, entry, args, &mut reply);
        if let Err(error) = result {
            reply.truncate(0);
            reply.error(&error);
        }
        let resp3 = self.session.protocol == Protocol::Resp3;
        let client = &mut desk.clients[self.place as usize];
        client.lane = lane(self.session.db, resp3);
        if self.session.replies() {
            client.reply(&out);
            desk.touch_client(self.place);
        }
        Fate::Done
    }

    /// Answers a command that is not executed through the router.
    #[cold]
    fn refuse(&mut self, desk: &mut Desk, entry: &Entry, error: &Error) -> Fate {
        if entry.name == "multi" {
            self.session.refuse_transaction(now_ms());
        }
        self.answer(desk, error)
    }

    /// Answers a command that the session bars.
    #[cold]
    fn not_executed(&mut self, desk: &mut Desk, answer: Result<(), Error>) -> Fate {
        let Err(error) = answer else {
            desk.tally.requests += 1;
            if self.session.replies() {
                desk.clients[self.place as usize].reply(b"+OK\r\n");
                desk.touch_client(self.place);
            }
            return Fate::Done;
        };
        self.answer(desk, &error)
    }

    /// Answers a request with an error, unless the client wants no replies.
    #[cold]
    fn answer(&mut self, desk: &mut Desk, error: &Error) -> Fate {
        desk.tally.requests += 1;
        if self.session.replies() {
            self.error(desk, error);
        }
        Fate::Done
    }

    #[cold]
    fn error(&mut self, desk: &mut Desk, error: &Error) {
        desk.clients[self.place as usize].reply(&crate::merge::error(error));
        desk.touch_client(self.place);
    }
}

/// What a request has to wait for so that it does not overtake an earlier one.
#[inline]
fn obstacle(desk: &mut Desk, order: &Order<'_>, plan: Plan) -> Option<Wait> {
    let client = &desk.clients[order.client as usize];
    match plan {
        // What is under way may be redirected, and reach a node after this.
        Plan::AllNodes(_) if !client.tickets.is_empty() => Some(Wait::Drained),
        _ if client.is_cautious() => desk.obstacle(order, plan),
        _ => None,
    }
}

/// Whether the client's next request has to wait, and for what.
#[inline]
fn must_wait(client: &mut Client, shared: &Shared) -> Option<Go> {
    let settings = &shared.settings;
    if client.wait == Wait::Upstream {
        return Some(Go::Wait);
    }
    if client.barrier {
        if !client.tickets.is_empty() {
            client.wait = Wait::Drained;
            return Some(Go::Wait);
        }
        client.barrier = false;
    }
    if client.tickets.len() >= settings.max_outstanding {
        client.wait = Wait::Fewer;
        return Some(Go::Wait);
    }
    if client.owed() > settings.client_output_soft {
        client.wait = Wait::Output;
        return Some(Go::Wait);
    }
    None
}
