//! Options that were given and change nothing: a run that is not what somebody thinks it is must say so.

use std::time::Duration;

use super::load::LoadArguments;
use crate::report::number::micros;
use crate::run::Settings;
use crate::workload::{KEY_PLACES as KEYS, VALUE_PLACES as VALUES};

impl LoadArguments {
    /// A sentence for each option that was given and has no effect. `preload` says that keys are written before.
    pub(super) fn without_effect(&self, settings: &Settings, preload: bool) -> Vec<String> {
        let mut workload = settings.workload.clone();
        if !preload {
            workload.preload = None;
        }
        let mut told = Vec::new();
        for (is_given, option, places, what) in [
            (self.ttl.is_some(), "--ttl", &["ttl"][..], "{ttl} in it, as in SET {key} {value} EX {ttl}"),
            (self.value_size.is_some(), "--value-size", VALUES, "{value} in it"),
            (self.keys.is_some(), "--keys", KEYS, "{key} in it"),
            (self.key_size.is_some(), "--key-size", KEYS, "{key} in it"),
            (self.key_prefix.is_some(), "--key-prefix", KEYS, "{key} in it"),
            (self.distribution.is_some(), "--distribution", KEYS, "{key} in it"),
        ] {
            if is_given && !workload.has_place(places) {
                told.push(format!("{option} has no effect: no command has {what}"));
            }
        }
        if preload && workload.preload.is_some() && !workload.asks_with(KEYS) {
            told.push(
                "--preload has no effect on what is measured: no command has {key} in it, so none asks for what it \
                 writes"
                    .into(),
            );
        }
        if self.grace.is_some() && settings.rates.is_empty() {
            told.push("--grace has no effect: a closed loop waits for no late answers, give a --rate".into());
        }
        if self.warmup.is_some_and(|warmup| !warmup.is_zero()) && self.requests.is_some() {
            told.push("--warmup has no effect: with --requests all are counted".into());
        }
        told.extend(self.steps_too_late(settings));
        told
    }

    /// Says that the run ends before some steps of its rate begin.
    fn steps_too_late(&self, settings: &Settings) -> Option<String> {
        let (_, before) = settings.rates.split_last()?;
        let begin: Duration =
            before.iter().map(|(_, time)| *time).fold(Duration::ZERO, Duration::saturating_add);
        (begin >= settings.duration).then(|| {
            let (end, begin) = (settings.duration.as_secs_f64() * 1e6, begin.as_secs_f64() * 1e6);
            format!(
                "the last step of --rate has no effect: it begins after {}, and the run ends after {} (--duration)",
                micros(begin),
                micros(end)
            )
        })
    }
}
