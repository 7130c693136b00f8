//! `ZRANDMEMBER`.

use shoal_proto::{
    Error,
    error::Result,
    resp::{Args, Reply},
};

use super::{begin, pair};
use crate::{
    command::{
        draw::{self, Draws},
        element::element_or_null,
    },
    store::Db,
    value::Zset,
};

pub(super) fn zrandmember(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(count) = args.get(2) else {
        let zset = db.get::<Zset>(args.at(1))?;
        element_or_null(out, zset.map(|zset| zset.nth(draw::one(&mut rand::rng(), zset.len())).0));
        return Ok(());
    };
    let count = draw::count(count)?;
    let scores = args.is(3, "withscores");
    if args.len() > 4 || args.len() == 4 && !scores {
        return Err(Error::Syntax);
    }
    if scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::text("ERR value is out of range"));
    }
    let Some(zset) = db.get::<Zset>(args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let draws = Draws::new(rand::rng(), zset.len(), count);
    begin(out, draws.remaining(), scores);
    let mark = out.mark();
    zset.pick(draws, |member, score| {
        pair(out, member, score, scores);
        draw::within_limit(out, mark)
    })
}
