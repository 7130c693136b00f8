//! The command line: what `shoal-loadtest` can be asked for. Each subcommand has a file of its own.

#[macro_use]
mod output;

mod access;
mod compare;
mod effect;
mod environment;
mod foreign;
mod interrupt;
mod load;
mod replay;
mod report;
mod run;
mod scenario;
mod tls;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use load::duration;

use crate::error::Error;
use crate::report::number::plain;

/// Measures any Redis-compatible server: honest latencies, real workloads, CPU per operation.
#[derive(Debug, Parser)]
#[command(
    name = "shoal-loadtest",
    version,
    max_term_width = 110,
    after_help = "Every option can also be given by an environment variable: SHOAL_LOADTEST_ and its name in capitals, \
                  for example SHOAL_LOADTEST_KEY_SIZE."
)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put load on a server and report what it cost.
    Run(Box<run::RunArguments>),
    /// Put the same load on two or more servers in turns and print the ratios.
    Compare(Box<compare::CompareArguments>),
    /// Write and read from many connections and check every answer (linearizability per key).
    Verify(verify::VerifyArguments),
    /// Replay a recorded trace of a cache and report its hit ratio.
    Replay(replay::ReplayArguments),
    /// Show runs measured earlier: one alone, or several side by side.
    Report(report::ReportArguments),
    /// Start servers, do things to them over time while a load runs, and check what is claimed of its figures.
    Scenario(Box<scenario::ScenarioArguments>),
    /// List the built-in workloads, or print one of them to start from.
    Workloads {
        /// The workload to print.
        name: Option<String>,
    },
    /// Becomes a scenario's server.
    #[command(name = crate::scenario::guard::NAME, hide = true)]
    Guard {
        /// The parent's process id, the network namespace, the program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let definition = definition();
    let parsed = definition.clone().try_get_matches_from(&words);
    let matches = parsed.unwrap_or_else(|error| {
        foreign::explain(environment::explain(error, &definition, Cli::command(), &words)).exit()
    });
    let given = environment::given(&definition, &matches);
    for name in environment::unknown(&definition) {
        eprintln!("{name} has no effect: no option has this environment variable");
    }
    let parsed = Cli::from_arg_matches(&matches);
    output::end(match parsed.unwrap_or_else(|error| error.exit()).action.go() {
        Ok(code) => code,
        Err(error) => {
            let text = plain(&error.to_string());
            eprintln!("shoal-loadtest: {text}{}", environment::note(&text, &given));
            ExitCode::from(2)
        }
    })
}

/// The command line, with an environment variable for every option.
fn definition() -> clap::Command {
    environment::for_all(Cli::command())
}

impl Action {
    fn go(self) -> Result<ExitCode, Error> {
        match self {
            Self::Run(arguments) => run::run(&arguments),
            Self::Compare(arguments) => compare::run(&arguments),
            Self::Verify(arguments) => verify::run(&arguments),
            Self::Replay(arguments) => replay::run(&arguments),
            Self::Report(arguments) => report::run(&arguments),
            Self::Scenario(arguments) => scenario::run(&arguments),
            Self::Workloads { name } => workloads(name.as_deref()),
            Self::Guard { words } => Ok(crate::scenario::guard::main(&words)),
        }
    }
}

fn workloads(name: Option<&str>) -> Result<ExitCode, Error> {
    use crate::workload::{BUILT_IN, Workload};
    match name {
        None => {
            let width = BUILT_IN.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            let mut rows = Vec::new();
            for (name, _) in BUILT_IN {
                rows.push(format!("{name:<width$} {}", Workload::find(name)?.about));
            }
            println!("{}", rows.join("\n"));
        }
        Some(name) => match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            Some((_, text)) => print!("{text}"),
            None => {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                return Err(Error::Usage(format!(
                    "there is no built-in workload '{name}', but there are {}",
                    names.join(", ")
                )));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options that stand for nothing where they are not given.
    const WITHOUT_DEFAULT: &[&str] =
        &["a", "b", "cacert", "cert", "command", "hdr", "html", "json", "key", "requests"];

    #[test]
    fn help_tells_every_default() {
        let mut definition = definition();
        definition.build();
        for subcommand in definition.get_subcommands().filter(|s| s.get_name() != "help") {
            for arg in subcommand.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let Some(long) = arg.get_long().filter(|long| !WITHOUT_DEFAULT.contains(long)) else {
                    continue;
                };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let is_told = !arg.get_default_values().is_empty() || help.contains("[default: ");
                assert!(is_told, "{} --{long}: {help}", subcommand.get_name());
            }
        }
    }

    #[test]
    fn the_defaults_told_are_those_of_the_workload() {
        let (definition, workload) = (definition(), crate::workload::Workload::default());
        let run = definition.find_subcommand("run").unwrap();
        let sizes = |sizes: &crate::sizes::Sizes| sizes.bounds().unwrap().0.to_string();
        for (long, default) in [
            ("keys", workload.keys.to_string()),
            ("key-size", sizes(&workload.key_lengths)),
            ("key-prefix", workload.key_prefix),
            ("value-size", sizes(&workload.sizes)),
            ("distribution", workload.distribution.to_string()),
            ("seed", workload.seed.to_string()),
            ("ratio", format!("{}:{}", workload.commands[0].weight, workload.commands[1].weight)),
        ] {
            let arg = run.get_arguments().find(|arg| arg.get_long() == Some(long)).unwrap();
            let help = arg.get_help().unwrap().to_string();
            let is_told = [",", "]"].iter().any(|end| help.contains(&format!("[default: {default}{end}")));
            assert!(is_told, "--{long}: {help}");
        }
    }

    #[test]
    fn every_option_has_a_variable() {
        let definition = definition();
        definition.clone().debug_assert();
        for subcommand in definition.get_subcommands().filter(|s| s.get_name() != "help") {
            for arg in subcommand.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "help")) {
                assert!(arg.get_env().is_some(), "{} --{:?}", subcommand.get_name(), arg.get_long());
            }
        }
    }
}
