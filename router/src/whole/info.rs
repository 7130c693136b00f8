//! `INFO`: one page made of the nodes' pages and of what the router knows of itself.

use std::fmt::Write;

use shoal_proto::{error::Result, resp::frame};

use crate::merge::UNEXPECTED;

/// What the router says of itself instead of what the nodes do: names and values.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Of `INFO`.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Of `CONFIG GET`.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// A section's name and its fields, in order.
type Section<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// The merged page.
///
/// # Errors
/// When a reply is no text.
pub(super) fn merge(replies: &[&[u8]], own: &Own) -> Result<String> {
    let mut pages = Vec::with_capacity(replies.len());
    for reply in replies {
        let text = frame::text(reply).ok_or(UNEXPECTED)?;
        pages.push(sections(std::str::from_utf8(text).map_err(|_| UNEXPECTED)?));
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in pages.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut out = String::new();
    for name in names {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        let _ = write!(out, "# {name}\r\n");
        let same: Vec<&Vec<(&str, &str)>> =
            pages.iter().filter_map(|p| p.iter().find(|(n, _)| *n == name)).map(|(_, f)| f).collect();
        section(name, &same, own, &mut out);
    }
    Ok(out)
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            sections.push((name, Vec::new()));
        } else if let (Some((_, fields)), Some(field)) = (sections.last_mut(), line.split_once(':')) {
            fields.push(field);
        }
    }
    sections
}

fn section(name: &str, nodes: &[&Vec<(&str, &str)>], own: &Own, out: &mut String) {
    let mut fields: Vec<&str> = Vec::new();
    for (field, _) in nodes.iter().copied().flatten() {
        if !fields.contains(field) {
            fields.push(field);
        }
    }
    let all = |field: &str| -> Vec<&str> {
        nodes.iter().filter_map(|n| n.iter().find(|(f, _)| *f == field)).map(|(_, v)| *v).collect()
    };
    for field in fields {
        let values = all(field);
        let value = match own.fields.iter().find(|(f, _)| *f == field) {
            Some((_, value)) => value.clone(),
            None => match field.strip_suffix("_human") {
                Some(bytes) => total(&all(bytes)).map_or_else(|| values[0].to_owned(), |n| human(n as f64)),
                None if field == "mem_fragmentation_ratio" => {
                    fragmentation(&all("used_memory_rss"), &all("mem_fragmentation_bytes"))
                }
                None => merged(name, field, &values),
            },
        };
        let _ = write!(out, "{field}:{value}\r\n");
    }
}

/// One field of several nodes.
fn merged(section: &str, field: &str, values: &[&str]) -> String {
    let add = matches!(section, "Memory" | "Stats" | "CPU") || matches!(field, "blocked_clients");
    let same_everywhere = field.ends_with("_perc") || field.ends_with("_ratio") || field.ends_with("_policy");
    if matches!(section, "Keyspace" | "Commandstats" | "Errorstats") {
        return structured(values);
    }
    if add && !same_everywhere {
        if let Some(total) = total(values) {
            return total.to_string();
        }
        let floats: Option<Vec<f64>> = values.iter().map(|v| v.parse().ok()).collect();
        if let Some(floats) = floats {
            let digits = values[0].split_once('.').map_or(0, |(_, digits)| digits.len());
            return format!("{:.digits$}", floats.iter().sum::<f64>());
        }
    }
    values[0].to_owned()
}

fn total(values: &[&str]) -> Option<i64> {
    let numbers: Option<Vec<i64>> = values.iter().map(|v| v.parse().ok()).collect();
    numbers.filter(|n| !n.is_empty()).map(|n| n.iter().sum())
}

/// What is resident for each byte of what is so for a reason.
fn fragmentation(resident: &[&str], without: &[&str]) -> String {
    match (total(resident), total(without)) {
        (Some(resident), Some(without)) if resident > 0 && without < resident => {
            format!("{:.2}", resident as f64 / (resident - without) as f64)
        }
        _ => "1.00".to_owned(),
    }
}

/// Values like `keys=1,expires=0,avg_ttl=5` or `calls=2,usec=7,usec_per_call=3.50`: counts are added, means are
/// weighted by what they are means of.
fn structured(values: &[&str]) -> String {
    let nodes: Vec<Vec<(&str, f64)>> = values
        .iter()
        .map(|v| {
            v.split(',')
                .filter_map(|p| p.split_once('='))
                .map(|(k, n)| (k, n.parse().unwrap_or(0.0)))
                .collect()
        })
        .collect();
    let get = |node: &[(&str, f64)], key: &str| node.iter().find(|(k, _)| *k == key).map_or(0.0, |(_, n)| *n);
    let weighted = |key: &str, weight: &str| -> f64 {
        let weights: f64 = nodes.iter().map(|n| get(n, weight)).sum();
        let sum: f64 = nodes.iter().map(|n| get(n, key) * get(n, weight)).sum();
        if weights > 0.0 { sum / weights } else { 0.0 }
    };
    let Some(first) = nodes.first().filter(|n| !n.is_empty()) else {
        return values.first().map(|v| (*v).to_owned()).unwrap_or_default();
    };
    let parts: Vec<String> = first
        .iter()
        .map(|(key, _)| match *key {
            "avg_ttl" => format!("avg_ttl={:.0}", weighted("avg_ttl", "expires")),
            "usec_per_call" => format!("usec_per_call={:.2}", weighted("usec_per_call", "calls")),
            key => format!("{key}={:.0}", nodes.iter().map(|n| get(n, key)).sum::<f64>()),
        })
        .collect();
    parts.join(",")
}

/// Bytes as `INFO` writes them for people.
fn human(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024.0 {
        return format!("{bytes:.0}B");
    }
    let mut value = bytes;
    let mut unit = "";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn fragmentation_is_that_of_all_memory() {
        let node = |rss: u64, without: i64| {
            let text = format!(
                "# Memory\r\nused_memory_rss:{rss}\r\nmem_fragmentation_ratio:9.99\r\nmem_fragmentation_bytes:{without}\r\n"
            );
            bulk(&text)
        };
        let own = Own::default();
        let ratio = |a: (u64, i64), b: (u64, i64)| {
            let text = merge(&[&node(a.0, a.1), &node(b.0, b.1)], &own).unwrap();
            text.lines().find_map(|l| l.strip_prefix("mem_fragmentation_ratio:").map(str::to_owned)).unwrap()
        };
        assert_eq!(ratio((300, 100), (100, 100)), "2.00");
        assert_eq!(ratio((100, 0), (100, -100)), "0.67");
        assert_eq!(ratio((0, 0), (0, 0)), "1.00");
        assert_eq!(ratio((100, 100), (100, 100)), "1.00");
    }

    #[test]
    fn one_page_of_many() {
        let one = bulk(
            "# Server\r\ntcp_port:7000\r\nredis_mode:cluster\r\n\r\n# Memory\r\nused_memory:1024\r\n\
             used_memory_human:1.00K\r\nmaxmemory_policy:noeviction\r\n\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=100\r\n",
        );
        let two = bulk(
            "# Server\r\ntcp_port:7001\r\nredis_mode:cluster\r\n\r\n# Memory\r\nused_memory:1024\r\n\
             used_memory_human:1.00K\r\nmaxmemory_policy:noeviction\r\n\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=300\r\n\
             db2:keys=1,expires=0,avg_ttl=0\r\n",
        );
        let own = Own {
            fields: vec![("tcp_port", "6379".to_owned()), ("redis_mode", "standalone".to_owned())],
            ..Own::default()
        };
        assert_eq!(
            merge(&[&one, &two], &own).unwrap(),
            "# Server\r\ntcp_port:6379\r\nredis_mode:standalone\r\n\r\n# Memory\r\nused_memory:2048\r\n\
             used_memory_human:2.00K\r\nmaxmemory_policy:noeviction\r\n\r\n# Keyspace\r\ndb0:keys=5,expires=2,avg_ttl=200\r\n\
             db2:keys=1,expires=0,avg_ttl=0\r\n"
        );
    }

    #[test]
    fn command_statistics_add_up() {
        let values = [
            "calls=2,usec=10,usec_per_call=5.00,rejected_calls=0,failed_calls=1",
            "calls=6,usec=6,usec_per_call=1.00,rejected_calls=1,failed_calls=0",
        ];
        assert_eq!(structured(&values), "calls=8,usec=16,usec_per_call=2.00,rejected_calls=1,failed_calls=1");
        assert_eq!(human(512.0), "512B");
        assert_eq!(human(1024.0 * 1024.0 * 1.5), "1.50M");
    }
}
