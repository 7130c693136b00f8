//! Blows at the worst moment: a process is hit just when it has said something that matters. What happens at random
//! times seldom hits the milliseconds in which a view is chosen or a slot changes hands.

use shoal_proto::cluster::{Message, Transfer};

use crate::dice::Dice;
use crate::faults::{Fault, Profile};
use crate::history::Time;
use crate::world::{Event, MS, SECOND, World};

/// When a process may be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It has a view that nobody had before.
    Installs,
    /// It promised.
    Promises,
    /// It accepted a view.
    Accepts,
    /// It offered a slot.
    Offers,
    /// It took a slot.
    Takes,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Crash,
    /// It does nothing for a while.
    Pause(Time),
    /// Nothing that it says is heard, what is under way included.
    Mute,
    /// It hears nothing.
    Deaf,
    /// It is cut off, with some others.
    Isolate,
    /// All others hold it for dead.
    Slander(Time),
    /// Its streams break.
    Streams,
}

/// One blow of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    moment: Moment,
    /// How many such moments are let pass before.
    after: u64,
    blow: Blow,
    /// When it ends, if cutting was what it did.
    heal: Option<Time>,
}

/// Draws the blows of a run.
pub(crate) fn draw(profile: Profile, dice: &mut Dice) -> Vec<Strike> {
    // With copies, processes end only when nobody is making a view.
    if matches!(profile, Profile::Planned | Profile::Copies) || dice.permille(500) {
        return Vec::new();
    }
    let count = dice.range(1, 4);
    (0..count).map(|_| one(profile, dice)).collect()
}

fn one(profile: Profile, dice: &mut Dice) -> Strike {
    let long = dice.range(50 * MS, 3 * SECOND);
    let blows: &[Blow] = match profile {
        Profile::Planned | Profile::Crashes | Profile::Copies => &[Blow::Crash],
        Profile::Flaps => &[Blow::Pause(long), Blow::Slander(long), Blow::Streams],
        Profile::Partitions => &[Blow::Mute, Blow::Deaf, Blow::Isolate, Blow::Isolate],
        Profile::Chaos => &[
            Blow::Crash,
            Blow::Pause(long),
            Blow::Mute,
            Blow::Deaf,
            Blow::Isolate,
            Blow::Slander(long),
            Blow::Streams,
        ],
    };
    // A view is there only a few times in a run.
    let moments = [
        Moment::Installs,
        Moment::Installs,
        Moment::Installs,
        Moment::Promises,
        Moment::Accepts,
        Moment::Offers,
        Moment::Takes,
    ];
    Strike {
        moment: *dice.pick(&moments).expect("there are some"),
        after: dice.below(4),
        blow: *dice.pick(blows).expect("there are some"),
        heal: dice.permille(500).then_some(long),
    }
}

/// What moment it is for whoever sends this.
pub(crate) fn of_message(message: &Message) -> Option<Moment> {
    match message {
        Message::Promise { .. } => Some(Moment::Promises),
        Message::Accepted { .. } => Some(Moment::Accepts),
        _ => None,
    }
}

/// The same for what goes through streams.
pub(crate) fn of_transfer(message: Transfer) -> Option<Moment> {
    match message {
        Transfer::Take { .. } => Some(Moment::Offers),
        Transfer::Taken { .. } | Transfer::Follow { .. } => Some(Moment::Takes),
        Transfer::Begin { .. }
        | Transfer::Complete { .. }
        | Transfer::Missing { .. }
        | Transfer::Refused { .. }
        | Transfer::Stop { .. } => None,
    }
}

impl World {
    /// It is such a moment for `p`: the blows that wait for it fall at once, before anything else happens.
    pub(crate) fn moment(&mut self, p: usize, moment: Moment) {
        let mut due = Vec::new();
        self.strikes.retain_mut(|strike| {
            if strike.moment != moment {
                return true;
            }
            let now = strike.after == 0;
            strike.after = strike.after.saturating_sub(1);
            if now {
                due.push(*strike);
            }
            !now
        });
        for strike in due {
            self.after(0, Event::Strike { process: p, blow: strike.blow });
            if let Some(time) = strike.heal {
                self.faults.push(Fault::Heal);
                self.after(time, Event::Fault(self.faults.len() - 1));
            }
        }
    }

    pub(crate) fn strike(&mut self, p: usize, blow: Blow) {
        self.note(|| format!("---- {p} is struck: {blow:?}"));
        if !self.processes[p].alive {
            return;
        }
        let machine = self.processes[p].machine;
        match blow {
            Blow::Crash => {
                if self.may_lose(p) {
                    self.crash(p);
                }
            }
            Blow::Pause(time) => self.processes[p].paused_until = self.now + time,
            Blow::Mute => {
                self.cut[machine].iter_mut().enumerate().for_each(|(to, cut)| *cut |= to != machine)
            }
            Blow::Deaf => {
                self.cut.iter_mut().enumerate().for_each(|(from, row)| row[machine] |= from != machine);
            }
            Blow::Isolate => self.partition_with(Some(machine)),
            Blow::Slander(time) => {
                self.live().into_iter().filter(|q| *q != p).for_each(|q| self.doubt(q, p, time));
            }
            Blow::Streams => {
                let of_p: Vec<usize> = (0..self.streams.len())
                    .filter(|s| self.streams[*s].open && self.streams[*s].ends.contains(&p))
                    .collect();
                of_p.into_iter().for_each(|stream| self.break_stream(stream));
            }
        }
        if matches!(blow, Blow::Mute | Blow::Deaf) {
            self.sever();
        }
    }
}
