//! ^C: the first one ends the run early, a second one the program.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::Error;

/// Signals within this time are one: `timeout -s INT` and terminals send it to the program and to its group.
const SAME: Duration = Duration::from_millis(500);

/// What a shell reports of a program that was ended by ^C.
const INTERRUPTED: i32 = 130;

/// Makes ^C end the run early; a second ^C ends the program.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>, Error> {
    let failed = |source| Error::System { what: "cannot catch signals", source };
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut signals) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, told.try_clone().map_err(failed)?).map_err(failed)?;
    }
    // The thread ends with the program.
    std::thread::spawn(move || {
        let mut first = None;
        while signals.read_exact(&mut [0]).is_ok() {
            if is_another(&mut first, Instant::now()) {
                signal_hook::low_level::exit(INTERRUPTED);
            }
        }
    });
    Ok(stop)
}

/// True if a signal that comes now is another one than the first.
fn is_another(first: &mut Option<Instant>, now: Instant) -> bool {
    now.saturating_duration_since(*first.get_or_insert(now)) >= SAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sent_twice_is_one() {
        let (start, mut first) = (Instant::now(), None);
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!is_another(&mut first, at(0)) && !is_another(&mut first, at(0)));
        assert!(!is_another(&mut first, at(499)));
        assert!(is_another(&mut first, at(500)));
    }
}
