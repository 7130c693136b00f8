//! Several runs against one server put end to end, as if they were one: what `compare` draws of its rounds.

use crate::run::{Outcome, ServerUsage};

/// Appends a later run to an earlier one with the same commands and threads.
pub fn append(whole: &mut Outcome, mut later: Outcome) {
    align(whole, &mut later);
    // A round begins with a second of its own, so that seconds stay seconds; what a cut one lacks is a gap.
    let offset = whole.seconds.last().map_or(0, |last| last.second + 1);
    let begin = whole.seconds.last().map_or(0.0, |last| last.begin_s() + last.length());
    let elapsed = whole.elapsed + later.elapsed;
    let share = later.elapsed.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
    whole.stolen += (later.stolen - whole.stolen) * share;
    whole.elapsed = elapsed;
    whole.tally.add(&later.tally);
    // Times since the start of different runs say nothing together.
    whole.tally.served = None;
    whole.seconds.extend(later.seconds.into_iter().map(|mut second| {
        second.begin_s = Some(begin + second.begin_s());
        second.second += offset;
        second
    }));
    for (sum, own) in whole.own.iter_mut().zip(&later.own) {
        sum.cpu += own.cpu;
        sum.waited += own.waited;
        sum.wall += own.wall;
    }
    whole.server = ServerUsage::both(whole.server, later.server);
    whole.ended.append(&mut later.ended);
    whole.ended.sort_unstable();
    whole.ended.dedup();
}

/// Puts a later run's counts per server into the order of the earlier one, which gets to know the servers it did not
/// know. Without counts in one of the two there are none for both.
pub fn align(whole: &mut Outcome, later: &mut Outcome) {
    if whole.tally.endpoints.is_empty() || later.tally.endpoints.is_empty() {
        for outcome in [whole, later] {
            outcome.tally.endpoints.clear();
            outcome.seconds.iter_mut().for_each(|second| second.endpoints.clear());
        }
        return;
    }
    if whole.endpoints == later.endpoints {
        return;
    }
    let mut places = Vec::new();
    for name in &later.endpoints {
        let known = whole.endpoints.iter().position(|known| known == name);
        places.push(known.unwrap_or(whole.endpoints.len()));
        if known.is_none() {
            whole.endpoints.push(name.clone());
        }
    }
    let counts = std::mem::take(&mut later.tally.endpoints);
    later.tally.want_endpoints(whole.endpoints.len());
    for (place, count) in places.iter().zip(counts) {
        later.tally.endpoints[*place] = count;
    }
    for second in &mut later.seconds {
        let counts = std::mem::replace(&mut second.endpoints, vec![0; whole.endpoints.len()]);
        for (place, count) in places.iter().zip(counts) {
            second.endpoints[*place] = count;
        }
    }
    later.endpoints.clone_from(&whole.endpoints);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generator::OwnUsage;
    use crate::series::Second;
    use crate::tally::Tally;

    fn outcome(seconds: u64, stolen: f64) -> Outcome {
        let mut tally = Tally::new(1);
        tally.commands[0].latency.saturating_record(1000);
        Outcome {
            labels: vec!["GET".into()],
            endpoints: vec!["here".into()],
            tally,
            seconds: (0..seconds).map(|second| Second { second, answered: 1, ..Second::default() }).collect(),
            elapsed: Duration::from_secs(seconds),
            own: vec![OwnUsage { cpu: 10, waited: 1, wall: 100, counted: 100 }],
            server: Some(ServerUsage { cpu: 5, switches: 2, resident: seconds, others: 7 }),
            ended: Vec::new(),
            stolen,
        }
    }

    /// A run of one second in which these servers answered so often.
    fn several(servers: &[(&str, u64)]) -> Outcome {
        let mut outcome = outcome(1, 0.0);
        outcome.endpoints = servers.iter().map(|(name, _)| (*name).to_owned()).collect();
        outcome.tally.want_endpoints(servers.len());
        for (endpoint, (_, count)) in outcome.tally.endpoints.iter_mut().zip(servers) {
            endpoint.latency.saturating_record_n(1000, *count);
        }
        outcome.seconds[0].endpoints = servers.iter().map(|(_, count)| *count).collect();
        outcome
    }

    #[test]
    fn servers_are_told_apart_by_name() {
        let mut whole = several(&[("a", 1), ("b", 2)]);
        append(&mut whole, several(&[("c", 4), ("a", 8)]));
        assert_eq!(whole.endpoints, ["a", "b", "c"]);
        let counts: Vec<u64> = whole.tally.endpoints.iter().map(|endpoint| endpoint.latency.len()).collect();
        assert_eq!(counts, [9, 2, 4]);
        assert_eq!(whole.seconds[1].endpoints, [8, 0, 4]);
        append(&mut whole, outcome(1, 0.0));
        assert!(whole.tally.endpoints.is_empty() && whole.seconds.iter().all(|s| s.endpoints.is_empty()));
    }

    #[test]
    fn rounds_follow_each_other() {
        let mut whole = outcome(2, 0.0);
        append(&mut whole, outcome(3, 0.5));
        let seconds: Vec<u64> = whole.seconds.iter().map(|second| second.second).collect();
        assert_eq!((seconds, whole.elapsed), (vec![0, 1, 2, 3, 4], Duration::from_secs(5)));
        assert_eq!((whole.tally.answered(), whole.own[0].cpu), (2, 20));
        let server = whole.server.expect("both rounds know their server");
        assert_eq!((server.cpu, server.resident, server.others), (10, 3, 14));
        assert!((whole.stolen - 0.3).abs() < 1e-9);
        append(&mut whole, Outcome { server: None, ..outcome(1, 0.0) });
        assert!(whole.server.is_none());
    }

    #[test]
    fn rounds_of_part_seconds_keep_their_rate() {
        let round = || {
            let mut round = outcome(1, 0.0);
            round.elapsed = Duration::from_millis(300);
            round.tally.note_served(300_000_000);
            round
        };
        let mut whole = round();
        append(&mut whole, round());
        assert_eq!((whole.elapsed, whole.tally.served), (Duration::from_millis(600), None));
        assert_eq!(whole.seconds.iter().map(|second| second.second).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_round_begins_where_the_one_before_ended() {
        let round = || {
            let mut round = outcome(2, 0.0);
            (round.seconds[1].length_s, round.ended) = (0.5, vec![7]);
            round
        };
        let mut whole = round();
        append(&mut whole, round());
        append(&mut whole, round());
        let begin: Vec<f64> = whole.seconds.iter().map(Second::begin_s).collect();
        assert_eq!(begin, [0.0, 1.0, 1.5, 2.5, 3.0, 4.0]);
        assert_eq!(whole.ended, [7]);
    }
}
