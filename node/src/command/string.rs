//! Strings.

use shoal_proto::{
    error::Result,
    resp::{Args, Reply},
};

use super::{Family, Handler::Data};
use crate::{store::Db, value::Str};

pub(super) const HANDLERS: Family = &[("get", Data(get))];

fn get(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let value = db.get::<Str>(args.at(1))?;
    out.bulk_or_null(value.map(Str::bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Core;

    #[test]
    fn a_missing_key_is_nil() {
        assert_eq!(Core::new().run("GET nothing"), "$-1\r\n");
    }
}
