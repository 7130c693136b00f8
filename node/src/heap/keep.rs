//! The task that looks after a node's memory.

use std::{sync::Arc, time::Duration};

use super::{Counted, Keeper, NODES, Relaxed, base, resident, trim};
use crate::{server::Shared, store::Store};

/// How often the difference is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is seen between looks whether it grows out of bounds, while what is held changes.
const GLANCE: Duration = Duration::from_millis(50);
/// Bytes of the pool that go back to the system at once, and the pause behind them: a worker on the same core is not to wait.
const PIECE: usize = 1 << 20;
const BETWEEN: Duration = Duration::from_millis(1);
/// Huge pages made at one look, with the same pause behind each: copying one takes up to 10 ms of a core where the system has
/// to find the memory first, and the node has better things to do while it fills.
const HUGE_AT_ONE_LOOK: usize = 4;

/// Looks after the process's memory until the runtime ends. Where several nodes share a process, nobody can tell whose
/// memory is resident, so nothing is held against their limits.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let _counted = Counted::new();
    *shared.store.keeper() = Keeper::new(base());
    let (mut rest, mut since_look, mut held) = (GLANCE, Duration::ZERO, 0);
    loop {
        tokio::time::sleep(rest).await;
        since_look += rest;
        let store = &shared.store;
        let before = std::mem::replace(&mut held, store.held_memory().saturating_sub(store.padding()));
        rest = if held == before { LOOK } else { GLANCE };
        let alone = NODES.load(Relaxed) == 1;
        let limit = if alone { store.settings().maxmemory } else { 0 };
        if since_look < LOOK && !store.became_short() {
            if limit > 0 {
                let mut keeper = store.keeper();
                keeper.glance(resident(), held, limit);
                store.set_padding(keeper.padding());
            }
            continue;
        }
        since_look = Duration::ZERO;
        let mut unneeded = store.unneeded();
        while unneeded > 0 {
            let piece = unneeded.min(PIECE);
            apart(&shared, move |store| store.give_back(piece)).await;
            unneeded = unneeded.saturating_sub(PIECE);
            tokio::time::sleep(BETWEEN).await;
        }
        for _ in 0..HUGE_AT_ONE_LOOK {
            let Some(range) = store.next_huge() else { break };
            apart(&shared, move |store| store.make_huge(range)).await;
            tokio::time::sleep(BETWEEN).await;
        }
        let scattered = store.keeper().is_scattered(resident(), held, store.index_memory());
        if scattered {
            apart(&shared, |store| {
                store.move_index(|| std::thread::sleep(BETWEEN));
                trim();
            })
            .await;
        }
        let mut keeper = store.keeper();
        if keeper.look(resident(), held, limit) {
            store.reclaim().trim();
        }
        store.set_padding(keeper.padding());
    }
}

/// Does what takes milliseconds, on a thread that nobody else waits for: on this one nobody would ask for the lease meanwhile.
/// It allocates nothing else, so that what is moved there lies apart from everything else.
async fn apart(shared: &Arc<Shared>, work: impl FnOnce(&Store) + Send + 'static) {
    let shared = shared.clone();
    // It cannot fail but with the process.
    let _ = tokio::task::spawn_blocking(move || work(&shared.store)).await;
}
