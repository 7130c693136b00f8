//! When, with what and where figures were measured: what somebody needs who wants to measure them again.
//!
//! Passwords on the command line are not repeated, and the machine's name is not told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::number::counted;

/// Where figures come from; everything is empty if that is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The command line.
    pub invocation: String,
    /// The load tester and its version.
    pub tool: String,
    /// The machine's processors and system.
    pub machine: String,
    /// When counting began, in seconds since 1970.
    pub started_s: u64,
}

impl Origin {
    /// Of a run of this process that was counted for so long and has just ended.
    pub fn new(elapsed: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            invocation: invocation(std::env::args()),
            tool: concat!("shoal-loadtest ", env!("CARGO_PKG_VERSION")).into(),
            machine: format!("{}, Linux {}", counted(cpus as u64, "CPU", "CPUs"), system.trim()),
            started_s: now.saturating_sub(elapsed).as_secs(),
        }
    }

    /// When counting began, as people write it.
    pub fn started(&self) -> Option<String> {
        (self.started_s > 0).then(|| utc(self.started_s))
    }
}

/// The command line as one would type it, without the directory of the program and without passwords.
fn invocation(arguments: impl IntoIterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut secret = false;
    for (index, argument) in arguments.into_iter().enumerate() {
        if index == 0 {
            words.push(argument.rsplit('/').next().unwrap_or_default().to_owned());
        } else if std::mem::take(&mut secret) {
            words.push("***".into());
        } else if let Some((option, _)) = argument.split_once('=').filter(|(option, _)| names_secret(option))
        {
            words.push(format!("{option}=***"));
        } else if let Some(flags) = short_flags_with_a_password(&argument) {
            secret = argument.len() == flags.len();
            words.push(if secret { argument } else { format!("{flags}***") });
        } else {
            secret = names_secret(&argument);
            words.push(quoted(argument));
        }
    }
    words.join(" ")
}

/// The start of `-a`, `-qa` and the like, up to where the password begins.
fn short_flags_with_a_password(argument: &str) -> Option<&str> {
    let flags = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    // Other short options with a value end the cluster: what follows is theirs.
    let at = flags.find(|c: char| !"q3a".contains(c)).unwrap_or(flags.len());
    let a = flags[..at].find('a').or_else(|| flags.starts_with('a').then_some(0))?;
    Some(&argument[..a + 2])
}

fn names_secret(option: &str) -> bool {
    option.starts_with("--") && (option.contains("password") || option.contains("secret"))
}

fn quoted(word: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A time in seconds since 1970 as `2026-11-21 08:40 UTC`.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days, for days from 1970 on: years begin in March, so that leap days end them.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let times = [0, 951_782_400, 1_709_164_800, 1_795_250_400];
        let texts =
            ["1970-01-01 00:00 UTC", "2000-02-29 00:00 UTC", "2024-02-29 00:00 UTC", "2026-11-21 08:40 UTC"];
        assert_eq!(times.map(utc), texts);
        assert_eq!(Origin::default().started(), None);
    }

    #[test]
    fn passwords_are_not_repeated() {
        let line = |text: &str| invocation(text.split('|').map(str::to_owned));
        assert_eq!(line("/bin/x|run|-a|pw|-c|5"), "x run -a *** -c 5");
        assert_eq!(
            line("x|run|--password|pw|--password=pw|-apw"),
            "x run --password *** --password=*** -a***"
        );
        assert_eq!(line("x|--command|SET {key} it's|-w|a"), r"x --command 'SET {key} it'\''s' -w a");
    }
}
