//! `ZSCAN`.

use shoal_proto::{
    error::Result,
    number,
    resp::{Args, Reply},
};

use crate::{
    command::{
        collection_scan::{self, CollectionScan},
        element::element,
    },
    store::Db,
    value::Zset,
};

pub(super) fn zscan(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cursor = collection_scan::cursor(args.at(2))?;
    let Some(zset) = db.get::<Zset>(args.at(1))? else {
        collection_scan::nothing(out);
        return Ok(());
    };
    let scan = CollectionScan::parse(args)?;
    let mark = out.mark();
    let mut written = 0;
    let mut text = itoa::Buffer::new();
    let cursor = scan.run(cursor, |cursor, seen| {
        zset.scan(cursor, |member, score| {
            *seen += 1;
            if !scan.wants(member.text(&mut text)) {
                return;
            }
            element(out, member);
            written += 1;
            if scan.values {
                out.bulk(score_text(zset, score).as_bytes());
                written += 1;
            }
        })
    });
    collection_scan::finish(out, mark, cursor, written);
    Ok(())
}

/// A score as `ZSCAN` writes it: as it is stored in the small form, with 17 digits in the large one.
fn score_text(zset: &Zset, score: f64) -> String {
    match zset {
        Zset::Packed(_) => number::format_f64(score),
        Zset::Large(_) => seventeen_digits(score),
    }
}

/// Formats as C's `%.17g`.
fn seventeen_digits(value: f64) -> String {
    if value.is_infinite() {
        return number::format_f64(value);
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes an integer exponent");
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(16 - exponent).expect("the exponent is at most 16");
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without zeros at the end of the fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::seventeen_digits;

    #[test]
    fn as_c_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-15.0, "-15"),
            (0.1, "0.10000000000000001"),
            (1.5, "1.5"),
            (3.3, "3.2999999999999998"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345680000.0, "1.2345678901234568e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(value), text);
        }
    }
}
