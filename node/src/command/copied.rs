//! Reading a copy: a slot that another node owns and of which this one has a copy in sync (`READONLY`).

use shoal_proto::{
    command::Entry,
    error::Result,
    resp::{Args, Reply},
};

use super::{Handler, Scope, dispatch::Dispatch};
use crate::store::{Located, Store};

impl Dispatch {
    /// Executes a command that only reads, all of whose keys are of `slot`. `leave` says whether the copy may be read, and
    /// is asked under the lock of the slot's shard: what takes the copy away does so under that, after it took the leave away.
    /// Nothing changes: keys that have expired are not there, but only their owner removes them.
    ///
    /// # Errors
    /// What `leave` says; what the handler answers.
    #[cold]
    pub fn run_at_copy(
        &self,
        store: &Store,
        entry: &Entry,
        scope: Scope<'_>,
        (slot, keys): (u16, &[Located<'_>]),
        leave: impl FnOnce(u16) -> Result,
        args: Args<'_>,
        out: &mut Reply<'_>,
    ) -> Result {
        let mark = out.mark();
        let (handler, db) = match self.handler(entry) {
            Handler::AnyKey(handler, wanted) if wanted(args) => {
                super::sort::patterns_in_slot(args)?;
                (handler, store.lock_all(scope.db, scope.now))
            }
            other => {
                let handler = other.on_keys().ok_or_else(|| entry.unsupported())?;
                (handler, store.lock(scope.db, keys, scope.now))
            }
        };
        let mut db = db.of_copy();
        let result = leave(slot).and_then(|()| handler(&mut db, args, out));
        if result.is_err() {
            out.truncate(mark);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::{
        Error,
        command::table,
        resp::{Protocol, request::OwnedArgs},
    };

    use super::*;
    use crate::store::Settings;

    fn scope(now: u64) -> Scope<'static> {
        Scope { db: 0, now, touch: true, within: None, alone: true, waits: None, landed: None }
    }

    fn read(store: &Store, line: &str, now: u64, leave: Result) -> (Result, String) {
        let request = OwnedArgs::new(line.split(' '));
        let entry = table().find(request.args()).unwrap();
        let (dispatch, mut bytes) = (Dispatch::default(), Vec::new());
        let mut out = Reply::new(&mut bytes, Protocol::Resp2);
        let keys = Dispatch::keys(store, entry, request.args());
        let at = (keys[0].slot, keys.as_slice());
        let result = dispatch.run_at_copy(store, entry, scope(now), at, |_| leave, request.args(), &mut out);
        (result, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_has_expired_is_not_there_but_stays() {
        let store = Store::new(Settings::default());
        let (set, mut bytes) = (OwnedArgs::new(["SET", "key", "value", "PXAT", "1000"]), Vec::new());
        let mut out = Reply::new(&mut bytes, Protocol::Resp2);
        Dispatch::default().execute(&store, scope(10), set.args(), &mut out);
        assert_eq!(read(&store, "GET key", 999, Ok(())), (Ok(()), "$5\r\nvalue\r\n".to_owned()));
        assert_eq!(read(&store, "GET key", 2000, Ok(())), (Ok(()), "$-1\r\n".to_owned()));
        assert_eq!(read(&store, "EXISTS key", 2000, Ok(())), (Ok(()), ":0\r\n".to_owned()));
        assert_eq!(store.len(0).0, 1, "only its owner removes it");
        assert_eq!(read(&store, "GET key", 10, Err(Error::Held)), (Err(Error::Held), String::new()));
    }
}
