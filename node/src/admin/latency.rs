//! `LATENCY LATEST`, `HISTORY`, `RESET`, `DOCTOR`, `GRAPH`, `HISTOGRAM`.

use shoal_proto::{
    Error,
    command::table,
    error::Result,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help};

pub(super) const HANDLERS: Handlers = &[
    ("latency|latest", latest),
    ("latency|history", history),
    ("latency|reset", reset),
    ("latency|doctor", doctor),
    ("latency|graph", graph),
    ("latency|histogram", histogram),
    ("latency|help", help),
];

fn latest(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let events = cx.shared.latency.all();
    out.array(events.len());
    for (name, (spikes, worst)) in events {
        let (second, ms) = spikes.back().copied().unwrap_or_default();
        out.array(4);
        out.bulk(name.as_bytes());
        out.int(second as i64);
        out.int(ms as i64);
        out.int(worst as i64);
    }
    Ok(())
}

fn history(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let events = cx.shared.latency.all();
    let spikes = events.iter().find(|(name, _)| args.is(2, name)).map(|(_, (spikes, _))| spikes.clone());
    let spikes = spikes.unwrap_or_default();
    out.array(spikes.len());
    for (second, ms) in spikes {
        out.array(2);
        out.int(second as i64);
        out.int(ms as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let names: Vec<&[u8]> = args.from(2).iter().collect();
    out.int(cx.shared.latency.reset(&names) as i64);
    Ok(())
}

fn doctor(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    use std::fmt::Write;
    let events = cx.shared.latency.all();
    let mut text = String::new();
    if cx.shared.config.get("latency-monitor-threshold") == "0" {
        text.push_str(
            "Latency monitoring is off. Turn it on with CONFIG SET latency-monitor-threshold <milliseconds>.\n",
        );
    } else if events.is_empty() {
        text.push_str("No latency spike was seen since the start or the last LATENCY RESET.\n");
    }
    for (name, (spikes, worst)) in events {
        let mean = spikes.iter().map(|(_, ms)| ms).sum::<u64>() / spikes.len().max(1) as u64;
        writeln!(text, "{name}: {} spikes, {mean} ms on average, {worst} ms at worst.", spikes.len())
            .expect("writing to memory cannot fail");
    }
    out.verbatim(&text);
    Ok(())
}

fn graph(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let events = cx.shared.latency.all();
    let Some((name, (spikes, worst))) = events.into_iter().find(|(name, _)| args.is(2, name)) else {
        let event = String::from_utf8_lossy(args.at(2)).into_owned();
        return Err(Error::owned(format!("ERR No samples available for event '{event}'")));
    };
    let low = spikes.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut text =
        format!("{name} - high {worst} ms, low {low} ms (all time high {worst} ms)\n{}\n", "-".repeat(80));
    const LEVELS: [char; 4] = ['_', 'o', 'O', '#'];
    for (_, ms) in spikes.iter().rev().take(80).rev() {
        let level = (ms - low) * 3 / (worst - low).max(1);
        text.push(LEVELS[(level as usize).min(3)]);
    }
    text.push('\n');
    out.verbatim(&text);
    Ok(())
}

/// Calls per command. The cumulative buckets need per-call times, which few of the fast commands are given; what is
/// known is the mean, so each command has one bucket.
fn histogram(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let names: Vec<&[u8]> = args.from(2).iter().collect();
    let wanted = |name: &str| {
        names.is_empty()
            || names.iter().any(|n| {
                n.eq_ignore_ascii_case(name.as_bytes())
                    || name
                        .split_once('|')
                        .is_some_and(|(parent, _)| n.eq_ignore_ascii_case(parent.as_bytes()))
            })
    };
    let called: Vec<_> = table()
        .entries()
        .iter()
        .filter(|e| wanted(&e.name))
        .map(|e| (e, cx.shared.totals.calls(e.id)))
        .filter(|(_, c)| c.calls > 0)
        .collect();
    out.map(called.len());
    for (entry, calls) in called {
        out.bulk(entry.name.as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.int(calls.calls as i64);
        out.bulk(b"histogram_usec");
        out.map(1);
        out.int((calls.mean().ceil() as u64).max(1).next_power_of_two() as i64);
        out.int(calls.calls as i64);
    }
    Ok(())
}
