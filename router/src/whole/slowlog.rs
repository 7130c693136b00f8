//! `SLOWLOG GET`: the nodes' entries, newest first.

use shoal_proto::{
    number,
    resp::{Args, frame, reply::header},
};

/// How many entries `SLOWLOG GET` returns when it is not told.
const DEFAULT_COUNT: usize = 10;

/// Writes the newest entries of all nodes, as many as one server would return.
pub(super) fn get(args: Args<'_>, replies: &[&[u8]], out: &mut Vec<u8>) {
    let count = match args.get(2).and_then(number::parse_i64) {
        None => DEFAULT_COUNT,
        Some(-1) => usize::MAX,
        Some(n) => usize::try_from(n).unwrap_or(DEFAULT_COUNT),
    };
    let mut entries: Vec<&[u8]> = replies.iter().flat_map(|r| frame::elements(r)).collect();
    // An entry's second field is the second of Unix time at which the command ran.
    let time = |entry: &[u8]| frame::elements(entry).nth(1).and_then(frame::integer).unwrap_or(0);
    entries.sort_by_key(|entry| std::cmp::Reverse(time(entry)));
    entries.truncate(count);
    header(out, b'*', entries.len() as i64);
    entries.iter().for_each(|entry| out.extend_from_slice(entry));
}

#[cfg(test)]
mod tests {
    use super::super::tests::finished;

    #[test]
    fn newest_first() {
        let entry = |id: u32, time: u32| format!("*4\r\n:{id}\r\n:{time}\r\n:9\r\n*1\r\n$1\r\nx\r\n");
        let one = format!("*2\r\n{}{}", entry(2, 50), entry(1, 10));
        let two = format!("*1\r\n{}", entry(7, 20));
        let all = finished("SLOWLOG GET -1", &[&one, &two]);
        assert_eq!(all, format!("*3\r\n{}{}{}", entry(2, 50), entry(7, 20), entry(1, 10)));
        assert_eq!(finished("SLOWLOG GET 1", &[&one, &two]), format!("*1\r\n{}", entry(2, 50)));
    }
}
