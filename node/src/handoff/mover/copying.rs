//! The copying of slots into one stream, and when each is as good as through.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use shoal_net::cluster::SlotEvent;
use tokio::sync::mpsc;

use super::{
    Mover,
    flow::Flow,
    pace::{Bounds, Pace},
};
use crate::{handoff::Outbox, store::Copied};

/// Bytes copied under one hold of a lock.
const BUDGET: usize = 64 << 10;

/// Pieces are copied for so long before others have their turn.
const SLICE: Duration = Duration::from_micros(500);

/// A slot is as good as through when no more than this is not applied at the target: what is left when clients have to wait.
const LAG: u64 = 64 << 10;

/// How long to wait for a peer to get on before looking again.
const LONG: Duration = Duration::from_secs(1);

/// The longest pause before it is looked again whether the pace allows more.
const LOOK: Duration = Duration::from_millis(250);

/// Bytes that may be under way when replies wait for this stream: what a snapshot adds to the time that they wait.
const WINDOW: u64 = 1 << 20;

/// A slot to be copied.
#[derive(Debug)]
pub(super) struct Job {
    pub slot: u16,
    /// If the copy shall stay: whether replies are to wait for it.
    pub lasting: Option<bool>,
    /// Of [`shoal_proto::cluster::Action::Export`].
    pub copy: u64,
    pub outbox: Arc<Outbox>,
    /// There was no room for the next piece when the peer had got so far.
    pub blocked: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Task {
    Copy(Job),
    /// What a frozen slot has left: the slot, and the freeze's name.
    Drain(u16, u64),
}

/// What was copied and is on its way to being synced: the position at which the next step is due.
#[derive(Debug, Default)]
struct Through {
    /// Nearly there.
    nearly: VecDeque<(u64, Job)>,
    /// Replies wait for these; they are in sync when everything before is applied.
    guarded: VecDeque<(u64, Job)>,
}

impl Through {
    /// Takes the next steps of all that are due. What there is to tell, and slots that have more to be copied by now.
    fn go_on(&mut self, mover: &Mover, outbox: &Arc<Outbox>, told: &mut Vec<SlotEvent>) -> Vec<Job> {
        let mut more = Vec::new();
        while let Some((_, job)) = self.nearly.pop_front_if(|(at, _)| outbox.acked() + LAG >= *at) {
            let Some(wait) = job.lasting else {
                told.push(SlotEvent::Synced { slot: job.slot, copy: job.copy });
                continue;
            };
            match mover.shared.store.guard_tap(job.slot, outbox, wait) {
                Some(position) => self.guarded.push_back((position, job)),
                None => more.push(job),
            }
        }
        while let Some((_, job)) = self.guarded.pop_front_if(|(at, _)| outbox.acked() >= *at) {
            told.push(SlotEvent::Synced { slot: job.slot, copy: job.copy });
        }
        more
    }

    fn is_empty(&self) -> bool {
        self.nearly.is_empty() && self.guarded.is_empty()
    }
}

/// Copies slots one after the other, and says of each when nearly all of it is applied at the target, or when it is in
/// sync. Ends with its inbox.
pub(super) async fn copy(
    mover: &Mover,
    inbox: &mut mpsc::UnboundedReceiver<Task>,
    outbox: &Arc<Outbox>,
    pacer: &mut Pacer,
) {
    let mut copying = Copying {
        queue: VecDeque::new(),
        through: Through::default(),
        flow: Flow::default(),
        begun: Instant::now(),
        told: Vec::new(),
        telling: None,
        pacer,
        mover,
        outbox,
    };
    loop {
        let seen = outbox.acks().seen();
        copying.go_on();
        // Clients wait for what is to be drained, so it is looked for between any two pieces.
        while let Ok(task) = inbox.try_recv() {
            copying.begin(task).await;
        }
        copying.tell();
        let due = copying.due();
        tokio::select! {
            biased;
            task = inbox.recv() => match task {
                Some(task) => copying.begin(task).await,
                None => return,
            },
            () = heard(&mut copying.telling) => copying.telling = None,
            () = due.wait(outbox, seen) => {
                let since = Instant::now();
                while copying.step() && since.elapsed() < SLICE && inbox.is_empty() {}
                // Others have their turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What the core is being told.
type Telling<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Waits until the core has heard it, if there is anything.
async fn heard(telling: &mut Option<Telling<'_>>) {
    match telling {
        Some(telling) => telling.await,
        None => std::future::pending().await,
    }
}

/// When there is something to do besides tasks.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// The next piece, after a pause.
    In(Duration),
    /// When the peer has got on, or to be looked at then.
    Acked,
    Never,
}

impl Due {
    async fn wait(self, outbox: &Outbox, seen: u64) {
        match self {
            Self::In(Duration::ZERO) => {}
            Self::In(pause) => {
                // Looked at again when somebody has begun to wait for the key.
                let _ = tokio::time::timeout(pause, outbox.hurried()).await;
            }
            Self::Acked => outbox.acks().after(seen, LONG).await,
            Self::Never => std::future::pending().await,
        }
    }
}

/// The slots that are copied into one stream.
struct Copying<'a> {
    /// The first is under way.
    queue: VecDeque<Job>,
    through: Through,
    flow: Flow,
    /// When the stream began.
    begun: Instant,
    /// What the core is to be told when it has heard what it is being told.
    told: Vec<SlotEvent>,
    telling: Option<Telling<'a>>,
    pacer: &'a mut Pacer,
    mover: &'a Mover,
    outbox: &'a Arc<Outbox>,
}

impl<'a> Copying<'a> {
    /// Sees how far the peer has got.
    fn go_on(&mut self) {
        self.flow.acked(self.begun.elapsed(), self.outbox.acked());
        let more = self.through.go_on(self.mover, self.outbox, &mut self.told);
        more.into_iter().rev().for_each(|job| self.queue.push_front(job));
    }

    async fn begin(&mut self, task: Task) {
        match task {
            Task::Copy(job) if Arc::ptr_eq(&job.outbox, self.outbox) => self.queue.push_back(job),
            // Of a stream before this one.
            Task::Copy(_) => {}
            Task::Drain(slot, id) => {
                let mut seen = self.outbox.acks().seen();
                let mut drained = self.drain(slot);
                while matches!(drained, Copied::More | Copied::NoRoom) {
                    // Others that were drained before have nothing to wait for.
                    self.tell_all().await;
                    match drained {
                        Copied::NoRoom => self.outbox.acks().after(seen, LONG).await,
                        _ => tokio::task::yield_now().await,
                    }
                    seen = self.outbox.acks().seen();
                    drained = self.drain(slot);
                }
                if drained == Copied::All {
                    self.told.push(SlotEvent::Frozen { slot, id });
                }
            }
        }
    }

    /// Puts the next piece of what is left of a frozen slot into the stream. Clients wait for it, so nothing holds it back
    /// but a peer that does not keep up.
    fn drain(&mut self, slot: u16) -> Copied {
        if self.outbox.is_waited_for() && self.outbox.lag() > WINDOW {
            return Copied::NoRoom;
        }
        self.mover.shared.store.copy_slot(slot, self.outbox, BUDGET)
    }

    /// Begins to tell the core what there is to tell, in order: what comes up meanwhile is told next. Copying goes on.
    fn tell(&mut self) {
        if self.telling.is_none() && !self.told.is_empty() {
            let (mover, told) = (self.mover, std::mem::take(&mut self.told));
            self.telling = Some(Box::pin(mover.events(told)));
        }
    }

    /// Tells it everything, and waits until it has heard it.
    async fn tell_all(&mut self) {
        while self.telling.is_some() || !self.told.is_empty() {
            self.tell();
            heard(&mut self.telling).await;
            self.telling = None;
        }
    }

    fn due(&mut self) -> Due {
        match self.queue.front() {
            None if self.through.is_empty() => Due::Never,
            None => Due::Acked,
            Some(job) => {
                let most = if self.outbox.is_waited_for() { WINDOW } else { u64::MAX };
                let full = self.outbox.lag() > self.flow.window().min(most);
                let room = job.blocked.is_none_or(|acked| self.outbox.acked() > acked);
                if full || !room { Due::Acked } else { Due::In(self.pause()) }
            }
        }
    }

    /// How long the pace makes the next piece wait.
    fn pause(&mut self) -> Duration {
        let pause = self.pacer.pause(self.mover);
        // Who writes to a key while it is copied in pieces waits for all of them.
        if self.outbox.is_hurried() { Duration::ZERO } else { pause.min(LOOK) }
    }

    /// Copies the next piece, if it is due; whether it was.
    fn step(&mut self) -> bool {
        if !matches!(self.due(), Due::In(Duration::ZERO)) {
            return false;
        }
        let Some(job) = self.queue.front_mut() else { return false };
        let before = self.outbox.appended();
        let copied = self.mover.shared.store.copy_slot(job.slot, self.outbox, BUDGET);
        let after = self.outbox.appended();
        // With whatever changed meanwhile, which is little.
        self.pacer.pace.spend(after - before);
        self.flow.sent(self.begun.elapsed(), after, self.outbox.acked());
        job.blocked = None;
        match copied {
            Copied::More => {}
            Copied::NoRoom => job.blocked = Some(self.outbox.acked()),
            Copied::Nothing => drop(self.queue.pop_front()),
            Copied::All => {
                if let Some(job) = self.queue.pop_front() {
                    self.through.nearly.push_back((after, job));
                }
            }
        }
        true
    }
}

/// The pace of the streams to one peer by the clock and by both ends' commands.
pub(super) struct Pacer {
    pace: Pace,
    start: Instant,
    /// The last window of turns that counted.
    window: u64,
    /// The peer said that commands take long there.
    slow: Arc<AtomicBool>,
    gauge: metrics::Gauge,
}

impl Pacer {
    pub(super) fn new(mover: &Mover, slow: Arc<AtomicBool>, gauge: metrics::Gauge) -> Self {
        let pace = Pace::new(Duration::ZERO, bounds(mover));
        Self { pace, start: Instant::now(), window: 0, slow, gauge }
    }

    /// How long the next piece has to wait.
    fn pause(&mut self, mover: &Mover) -> Duration {
        let now = self.start.elapsed();
        if self.pace.is_due(now) {
            let turns = mover.shared.look_at_turns();
            let ours = turns.slow && turns.window > self.window;
            self.window = turns.window;
            let theirs = self.slow.swap(false, Relaxed);
            self.pace.sample(now, ours || theirs, bounds(mover));
            self.gauge.set(self.pace.rate() as f64);
        }
        self.pace.pause(now)
    }
}

fn bounds(mover: &Mover) -> Bounds {
    let (least, most) = mover.shared.config.handoff_rates();
    Bounds::new(least, most)
}

#[cfg(test)]
mod tests {
    use shoal_proto::{
        resp::{Protocol, Reply, request::OwnedArgs},
        slot::key_slot,
    };

    use super::*;
    use crate::{
        command::Scope,
        config::Config,
        handoff::{LIMIT, Record, record},
        server::{Shared, Wiring},
        store::Expiry,
    };

    /// As slow as can be set.
    const SLOWEST: [(&str, &str); 2] =
        [("cluster-handoff-min-rate", "64kb"), ("cluster-handoff-max-rate", "64kb")];

    /// More than any test here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Source {
        mover: Arc<Mover>,
        outbox: Arc<Outbox>,
        tasks: mpsc::UnboundedSender<Task>,
        inbox: mpsc::UnboundedReceiver<Task>,
        pacer: Pacer,
    }

    fn source(settings: &[(&str, &str)]) -> Source {
        let config = Config::default();
        settings.iter().for_each(|(name, value)| config.set_at_start(name, value).unwrap());
        let shared = Shared::new(config.store_settings(), config, Wiring::none(), false);
        let mover = Mover::new(shared, "source").unwrap();
        let pacer = Pacer::new(&mover, Arc::default(), metrics::Gauge::noop());
        let (tasks, inbox) = mpsc::unbounded_channel();
        Source { mover, outbox: Outbox::new(LIMIT, Arc::default()), tasks, inbox, pacer }
    }

    impl Source {
        /// Puts keys of a kilobyte into the slot and has it listened to.
        fn fill(&self, tag: &str, keys: usize) -> u16 {
            let slot = key_slot(tag.as_bytes());
            for k in 0..keys {
                let key = format!("{tag}{k}");
                let mut db = self.mover.shared.store.lock_slot(0, slot, 1);
                db.set_str(key.as_bytes(), &[7; 1000], Expiry::Never);
            }
            self.mover.shared.store.tap(slot, &self.outbox, false);
            slot
        }

        fn job(&self, slot: u16) -> Task {
            Task::Copy(Job { slot, lasting: None, copy: 1, outbox: self.outbox.clone(), blocked: None })
        }
    }

    /// Takes and acknowledges all that is sent; ends when `seen`, which is shown each record with its slot, says so.
    async fn apply(outbox: &Outbox, mut seen: impl FnMut(u16, Record<'_>) -> bool) {
        let (mut bytes, mut rest, mut acked) = (Vec::new(), Vec::new(), 0);
        loop {
            outbox.filled().await;
            outbox.take(&mut bytes).unwrap();
            rest.extend_from_slice(&bytes);
            let mut at = 0;
            while let Some((slot, said, len)) = record::read(&rest[at..]).unwrap() {
                at += len;
                if seen(slot, said) {
                    return;
                }
            }
            rest.drain(..at);
            acked += at as u64;
            outbox.ack(acked);
        }
    }

    /// However slowly others are copied: its clients wait.
    #[tokio::test]
    async fn a_frozen_slot_waits_for_no_other_slot() {
        let mut source = source(&SLOWEST);
        let (large, frozen) = (source.fill("{a}", 3000), source.fill("{b}", 5));
        source.tasks.send(source.job(large)).unwrap();
        let mut begun = false;
        let (tasks, outbox) = (source.tasks.clone(), source.outbox.clone());
        let through = apply(&outbox, |slot, said| {
            if slot == large && matches!(said, Record::Put(..)) && !std::mem::replace(&mut begun, true) {
                tasks.send(Task::Drain(frozen, 1)).unwrap();
            }
            assert!(said != Record::Through || slot == frozen, "it came first");
            said == Record::Through
        });
        tokio::select! {
            () = copy(&source.mover, &mut source.inbox, &outbox, &mut source.pacer) => panic!("it has an inbox"),
            () = through => {}
        }
    }

    #[tokio::test]
    async fn little_is_under_way_to_a_peer_that_does_not_get_on() {
        let mut source = source(&[]);
        let slot = source.fill("{a}", 5000);
        source.tasks.send(source.job(slot)).unwrap();
        let outbox = source.outbox.clone();
        let looked = async {
            // As often as would do to copy everything.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = copy(&source.mover, &mut source.inbox, &outbox, &mut source.pacer) => panic!("it has an inbox"),
            () = looked => {}
        }
        let lag = outbox.lag();
        assert!(lag > BUDGET as u64 && lag < 4 * BUDGET as u64, "{lag}");
    }

    /// A key of 320 pieces at the slowest pace would take minutes.
    #[tokio::test]
    async fn a_key_that_clients_wait_for_is_copied_at_full_speed() {
        let mut source = source(&SLOWEST);
        let (shared, slot) = (source.mover.shared.clone(), key_slot(b"a"));
        shared.store.lock_slot(0, slot, 1).set_str(b"a", &vec![7; 80 << 20], Expiry::Never);
        shared.store.tap(slot, &source.outbox, false);
        source.tasks.send(source.job(slot)).unwrap();
        let append = || {
            let args = OwnedArgs::new(&[b"APPEND".to_vec(), b"a".to_vec(), b"x".to_vec()]);
            let scope =
                Scope { db: 0, now: 1, touch: true, within: None, alone: true, waits: None, landed: None };
            let mut out = Vec::new();
            shared.dispatch.execute(
                &shared.store,
                scope,
                args.args(),
                &mut Reply::new(&mut out, Protocol::Resp2),
            );
            out
        };
        let (outbox, mut waited) = (source.outbox.clone(), false);
        let through = apply(&outbox, |_, said| {
            if matches!(said, Record::Large(_)) {
                waited = append().starts_with(b"-TRYAGAIN");
            }
            said == Record::Through
        });
        let copied = copy(&source.mover, &mut source.inbox, &outbox, &mut source.pacer);
        tokio::select! {
            () = copied => panic!("it has an inbox"),
            ended = tokio::time::timeout(PATIENCE, through) => assert!(ended.is_ok(), "it is copied slowly"),
        }
        assert!(waited);
        assert!(append().starts_with(b":"), "nobody waits any more");
    }
}
