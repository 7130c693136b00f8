//! Seeded simulation of the cluster's core: nodes, routers and clients on one virtual clock, with everything that can
//! go wrong, and checkers that see all of it.
//!
//! ```text
//! cargo test -p shoal-proto --test simulation                              some thousand runs
//! RUNS=1000000 cargo test --release -p shoal-proto --test simulation       many more, from SEEDS (0) on
//! SEED=123 cargo test -p shoal-proto --test simulation                     one, and what happened in it if it fails
//! KEEP=1 RUNS=10000 cargo test -p shoal-proto --test simulation            all seeds that fail
//! ```
//! With the feature `mutants`, rules are switched off one by one, and each must be missed.
//! With the feature `adjacent`, messages go through their bytes, and half of the processes speak the next version.
//! With OPS, what is printed of a run also has its commands and leases.

mod client;
mod copies;
mod dice;
mod faults;
mod flush;
mod gossip;
mod history;
mod leave;
#[cfg(feature = "mutants")]
mod mutants;
mod oracle;
mod process;
mod strike;
#[cfg(feature = "adjacent")]
mod wire;
mod world;

use faults::{PROFILES, Plan, Profile};
use history::Time;
use world::{SECOND, World};

/// How long after the last fault all must be well, or after an operator had to help. Nine of ten runs are well within two seconds.
const SETTLED: Time = 15 * SECOND;

/// When an operator helps if those who are left can never make a view.
const HELP: Time = 10 * SECOND;

/// How long all must then stay well, without another view, and how long in some runs: members are left out and taken in
/// again within five seconds.
const STILL: Time = 3 * SECOND;
const LONG: Time = 12 * SECOND;

/// What runs were like.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    runs: u64,
    events: u64,
    operations: usize,
    failed: usize,
    views: u64,
    moved: u64,
    births: u64,
    forced: u64,
    looks: u64,
    promoted: u64,
    emptied: usize,
    left_well: u64,
    left_badly: u64,
    given_up: u64,
    lacked: u64,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.operations += other.operations;
        self.failed += other.failed;
        self.views += other.views;
        self.moved += other.moved;
        self.births += other.births;
        self.forced += other.forced;
        self.looks += other.looks;
        self.promoted += other.promoted;
        self.emptied += other.emptied;
        self.left_well += other.left_well;
        self.left_badly += other.left_badly;
        self.given_up += other.given_up;
        self.lacked += other.lacked;
    }
}

/// One run, from its seed alone.
pub(crate) fn run(seed: u64, trace: bool) -> (World, Result<Summary, String>) {
    run_plan(seed, faults::plan(seed), trace)
}

fn run_plan(seed: u64, plan: Plan, trace: bool) -> (World, Result<Summary, String>) {
    let Plan { profile, scale, network, faults, strikes, quiet } = plan;
    let mut world = World::new(seed, scale, network, trace);
    world.planned = profile == Profile::Planned;
    world.covered = profile == Profile::Copies;
    world.schedule(&faults);
    world.strikes = strikes;
    let still = if (seed / PROFILES.len() as u64).is_multiple_of(16) { LONG } else { STILL };
    let result = play(&mut world, quiet, still);
    (world, result)
}

/// Lets all come to rest, and sees that it stays so for this long.
fn settle(world: &mut World, still: Time) -> Result<(), String> {
    let began = world.now;
    let (mut last, mut well_since) = (began + SETTLED, None);
    // When there were so many views, the last times.
    let mut views = Vec::from([world.oracle.views()]);
    loop {
        let next = world.now + SECOND;
        world.run(next)?;
        let changed = views.last() != Some(&world.oracle.views());
        views.push(world.oracle.views());
        let wrong = match world.check_quiet() {
            Ok(()) if changed => Err("another view".to_owned()),
            other => other,
        };
        let Err(wrong) = wrong else {
            let since = *well_since.get_or_insert(world.now);
            if world.now >= since + still {
                return Ok(());
            }
            continue;
        };
        let was_well = well_since.take().is_some();
        if world.now >= began + HELP && world.rescue() {
            last = world.now + SETTLED;
        } else if was_well || world.now >= last {
            let recent = &views[views.len().saturating_sub(6)..];
            let (seconds, more) = (recent.len() - 1, recent[recent.len() - 1] - recent[0]);
            let what = if was_well { "no more at rest" } else { "not at rest" };
            return Err(format!("{what}: {wrong}; {more} views in the last {seconds} s"));
        }
    }
}

fn play(world: &mut World, quiet: Time, still: Time) -> Result<Summary, String> {
    world.run(quiet)?;
    world.calm();
    world.until = world.now + SECOND;
    settle(world, still)?;
    world.check_history()?;
    if (world.planned || world.covered) && world.oracle.births > 0 {
        return Err("slots were lost though nothing happened to all who had them".to_owned());
    }
    Ok(Summary {
        runs: 1,
        events: world.handled,
        operations: world.ops.len(),
        failed: world.ops.iter().filter(|op| op.failed()).count(),
        views: world.oracle.views(),
        moved: world.oracle.gone,
        births: world.oracle.births,
        forced: u64::from(world.oracle.forced),
        looks: world.oracle.looks,
        promoted: world.oracle.promoted,
        emptied: world.wholes.iter().filter(|whole| whole.is_done()).count(),
        left_well: world.left_well,
        left_badly: world.left_badly,
        given_up: world.given_up,
        lacked: world.lacked,
    })
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// How many runs of each profile are made unless RUNS says otherwise.
const RUNS: u64 = 400;

/// Runs seeds of one profile until one fails; then says what happened in it and how to see it again. With KEEP it
/// lists all that fail.
fn check(profile: Profile) {
    let place = PROFILES.iter().position(|p| *p == profile).expect("all are listed") as u64;
    let count = PROFILES.len() as u64;
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("SEEDS").unwrap_or(0);
            first..first + number("RUNS").map_or(RUNS, |all| all.div_ceil(count)) * count
        }
    };
    let (mut total, mut failed) = (Summary::default(), Vec::new());
    for seed in seeds.filter(|seed| seed % count == place) {
        match run(seed, false).1 {
            Ok(summary) => total.add(&summary),
            Err(wrong) if number("KEEP").is_some() => failed.push(format!("{seed}: {}", first_line(&wrong))),
            Err(wrong) => {
                let (world, again) = run(seed, true);
                assert_eq!(again.err(), Some(wrong.clone()), "the same seed, the same run");
                let command = "cargo test -p shoal-proto --test simulation";
                panic!("{}\nseed {seed}: {wrong}\nagain: SEED={seed} {command}", world.trace());
            }
        }
    }
    println!("{profile:?}: {total:?}");
    assert!(failed.is_empty(), "{failed:#?}");
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

#[test]
fn planned_changes_cost_nothing() {
    check(Profile::Planned);
}

#[test]
fn crashes() {
    check(Profile::Crashes);
}

#[test]
fn flaps() {
    check(Profile::Flaps);
}

#[test]
fn partitions() {
    check(Profile::Partitions);
}

#[test]
fn copies_lose_nothing() {
    check(Profile::Copies);
}

#[test]
fn chaos() {
    check(Profile::Chaos);
}
