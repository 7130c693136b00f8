//! Several runs against one server put end to end, as if they were one: what `compare` draws of its rounds.

use crate::run::Outcome;

/// Appends a later run to an earlier one with the same commands, threads and endpoints.
pub fn append(whole: &mut Outcome, later: Outcome) {
    // A round ends on a whole second, so that seconds stay seconds; what a cut one lacks is a gap.
    let offset = whole.seconds.last().map_or(0, |last| last.second + 1);
    let ended = whole.elapsed.max(std::time::Duration::from_secs(offset));
    let share = later.elapsed.as_secs_f64() / (ended + later.elapsed).as_secs_f64().max(1e-9);
    whole.stolen += (later.stolen - whole.stolen) * share;
    whole.elapsed = ended + later.elapsed;
    whole.tally.add(&later.tally);
    whole.seconds.extend(later.seconds.into_iter().map(|mut second| {
        second.second += offset;
        second
    }));
    for (sum, own) in whole.own.iter_mut().zip(&later.own) {
        sum.cpu += own.cpu;
        sum.waited += own.waited;
        sum.wall += own.wall;
    }
    whole.server = match (whole.server, later.server) {
        (Some(mut sum), Some(server)) => {
            sum.cpu += server.cpu;
            sum.switches += server.switches;
            sum.resident = server.resident;
            Some(sum)
        }
        // Figures of some rounds only would be wrong for all of them.
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generator::OwnUsage;
    use crate::run::ServerUsage;
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
            own: vec![OwnUsage { cpu: 10, waited: 1, wall: 100 }],
            server: Some(ServerUsage { cpu: 5, switches: 2, resident: seconds }),
            stolen,
        }
    }

    #[test]
    fn rounds_follow_each_other() {
        let mut whole = outcome(2, 0.0);
        append(&mut whole, outcome(3, 0.5));
        let seconds: Vec<u64> = whole.seconds.iter().map(|second| second.second).collect();
        assert_eq!((seconds, whole.elapsed), (vec![0, 1, 2, 3, 4], Duration::from_secs(5)));
        assert_eq!((whole.tally.answered(), whole.own[0].cpu), (2, 20));
        let server = whole.server.expect("both rounds know their server");
        assert_eq!((server.cpu, server.resident), (10, 3));
        assert!((whole.stolen - 0.3).abs() < 1e-9);
        append(&mut whole, Outcome { server: None, ..outcome(1, 0.0) });
        assert!(whole.server.is_none());
    }
}
