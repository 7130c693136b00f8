//! `MEMORY STATS`: one map of all nodes' figures.

use shoal_proto::resp::{Reply, frame};

/// Integers are added; other figures (ratios, nested maps per database) are the first node's, except that ratios are
/// averaged, which is as much as they mean.
pub(super) fn memory(replies: &[&[u8]], out: &mut Reply<'_>) {
    let nodes: Vec<Vec<&[u8]>> = replies.iter().map(|r| frame::elements(r).collect()).collect();
    let Some(first) = nodes.first() else { return out.map(0) };
    out.map(first.len() / 2);
    for pair in first.chunks_exact(2) {
        out.raw().extend_from_slice(pair[0]);
        let same: Vec<&[u8]> = nodes
            .iter()
            .filter_map(|node| node.chunks_exact(2).find(|p| p[0] == pair[0]).map(|p| p[1]))
            .collect();
        let integers: Option<i64> = same.iter().map(|v| frame::integer(v)).sum();
        match integers {
            Some(total) => out.int(total),
            None => match mean(&same) {
                Some(mean) => out.double(mean),
                None => out.raw().extend_from_slice(pair[1]),
            },
        }
    }
}

fn mean(values: &[&[u8]]) -> Option<f64> {
    let numbers: Option<Vec<f64>> =
        values.iter().map(|v| std::str::from_utf8(frame::text(v)?).ok()?.parse().ok()).collect();
    numbers.map(|n| n.iter().sum::<f64>() / n.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::finished;

    #[test]
    fn figures_add_up() {
        let node =
            |n: u32, r: &str| format!("*4\r\n$4\r\npeak\r\n:{n}\r\n$1\r\nf\r\n${}\r\n{r}\r\n", r.len());
        assert_eq!(
            finished("MEMORY STATS", &[&node(1, "1.5"), &node(2, "2.5")]),
            "*4\r\n$4\r\npeak\r\n:3\r\n$1\r\nf\r\n$1\r\n2\r\n"
        );
    }
}
