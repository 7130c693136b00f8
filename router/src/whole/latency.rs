//! `LATENCY LATEST`, `HISTORY` and `HISTOGRAM` of several nodes.

use std::collections::BTreeMap;

use shoal_proto::resp::{Reply, frame, reply::header};

/// For each event the newest sample of any node, and the worst time that any node saw.
pub(super) fn latest(replies: &[&[u8]], out: &mut Vec<u8>) {
    let mut events: BTreeMap<&[u8], [i64; 3]> = BTreeMap::new();
    for event in replies.iter().flat_map(|r| frame::elements(r)) {
        let fields: Vec<&[u8]> = frame::elements(event).collect();
        let [name, time, last, worst, ..] = fields[..] else { continue };
        let (Some(name), Some(time), Some(last), Some(worst)) =
            (frame::text(name), frame::integer(time), frame::integer(last), frame::integer(worst))
        else {
            continue;
        };
        let known = events.entry(name).or_insert([time, last, worst]);
        if time > known[0] {
            (known[0], known[1]) = (time, last);
        }
        known[2] = known[2].max(worst);
    }
    header(out, b'*', events.len() as i64);
    for (name, numbers) in events {
        header(out, b'*', 4);
        header(out, b'$', name.len() as i64);
        out.extend_from_slice(name);
        out.extend_from_slice(b"\r\n");
        numbers.iter().for_each(|n| header(out, b':', *n));
    }
}

/// All samples by time.
pub(super) fn history(replies: &[&[u8]], out: &mut Vec<u8>) {
    let mut samples: Vec<&[u8]> = replies.iter().flat_map(|r| frame::elements(r)).collect();
    samples.sort_by_key(|sample| frame::elements(sample).next().and_then(frame::integer).unwrap_or(0));
    header(out, b'*', samples.len() as i64);
    samples.iter().for_each(|sample| out.extend_from_slice(sample));
}

/// Calls of a command, and by upper bound in microseconds how many took no longer.
#[derive(Default)]
struct Histogram {
    calls: i64,
    buckets: BTreeMap<i64, i64>,
}

/// Calls and buckets added up. Buckets are cumulative: a node without a bucket contributes its next lower one.
pub(super) fn histogram(replies: &[&[u8]], out: &mut Reply<'_>) {
    let mut commands: BTreeMap<&[u8], Vec<Histogram>> = BTreeMap::new();
    for reply in replies {
        let fields: Vec<&[u8]> = frame::elements(reply).collect();
        for pair in fields.chunks_exact(2) {
            if let Some(name) = frame::text(pair[0]) {
                commands.entry(name).or_default().push(read(pair[1]));
            }
        }
    }
    out.map(commands.len());
    for (name, nodes) in commands {
        let mut bounds: Vec<i64> = nodes.iter().flat_map(|n| n.buckets.keys().copied()).collect();
        bounds.sort_unstable();
        bounds.dedup();
        out.bulk(name);
        out.map(2);
        out.bulk(b"calls");
        out.int(nodes.iter().map(|n| n.calls).sum());
        out.bulk(b"histogram_usec");
        out.map(bounds.len());
        for bound in bounds {
            out.int(bound);
            out.int(
                nodes.iter().filter_map(|n| n.buckets.range(..=bound).next_back()).map(|(_, c)| *c).sum(),
            );
        }
    }
}

fn read(reply: &[u8]) -> Histogram {
    let mut histogram = Histogram::default();
    let fields: Vec<&[u8]> = frame::elements(reply).collect();
    for pair in fields.chunks_exact(2) {
        if frame::text(pair[0]) == Some(b"calls") {
            histogram.calls = frame::integer(pair[1]).unwrap_or(0);
        } else {
            let numbers: Vec<i64> = frame::elements(pair[1]).filter_map(frame::integer).collect();
            histogram.buckets.extend(numbers.chunks_exact(2).map(|b| (b[0], b[1])));
        }
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::super::tests::finished;

    #[test]
    fn events_are_merged() {
        let one = "*1\r\n*4\r\n$3\r\ncmd\r\n:10\r\n:5\r\n:50\r\n";
        let two = "*1\r\n*4\r\n$3\r\ncmd\r\n:20\r\n:6\r\n:7\r\n";
        assert_eq!(finished("LATENCY LATEST", &[one, two]), "*1\r\n*4\r\n$3\r\ncmd\r\n:20\r\n:6\r\n:50\r\n");
        let (one, two) = ("*1\r\n*2\r\n:9\r\n:1\r\n", "*1\r\n*2\r\n:3\r\n:2\r\n");
        assert_eq!(
            finished("LATENCY HISTORY cmd", &[one, two]),
            "*2\r\n*2\r\n:3\r\n:2\r\n*2\r\n:9\r\n:1\r\n"
        );
    }

    #[test]
    fn cumulative_buckets_add_up() {
        let node = |calls: u32, buckets: &str, n: u32| {
            format!(
                "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:{calls}\r\n$14\r\nhistogram_usec\r\n*{n}\r\n{buckets}"
            )
        };
        let one = node(3, ":1\r\n:2\r\n:4\r\n:3\r\n", 4);
        let two = node(1, ":2\r\n:1\r\n", 2);
        let both = node(4, ":1\r\n:2\r\n:2\r\n:3\r\n:4\r\n:4\r\n", 6);
        assert_eq!(finished("LATENCY HISTOGRAM", &[&one, &two]), both);
    }
}
