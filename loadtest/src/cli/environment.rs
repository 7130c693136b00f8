//! Environment variables in place of options: each option has one, and what is wrong with a value that came from there
//! is told with the variable's name, since nobody sees it on the command line.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;

/// What every variable's name begins with.
const PREFIX: &str = "SHOAL_LOADTEST_";

/// Gives every option of every subcommand a variable.
pub(super) fn for_all(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match (arg.get_long(), arg.get_env()) {
            (Some(long), None) => {
                let name = format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
                // Once per process, and the definition lives as long as that.
                let name: &'static str = name.leak();
                arg.env(name).hide_env(true)
            }
            _ => arg,
        })
    })
}

/// An option whose value a variable gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    variable: String,
    /// The option's name, without dashes.
    long: String,
    value: String,
}

impl Given {
    /// True if a sentence is about this option or its value.
    fn is_in(&self, text: &str) -> bool {
        let is_of_auth = self.long == "password" && text.contains("AUTH");
        is_of_auth || has_word(text, &format!("--{}", self.long)) || has_word(text, &self.value)
    }
}

/// The shortest value that is looked for in a sentence; shorter ones mean nothing there.
const SHORTEST: usize = 2;

/// True if `word` is in `text`, not as a part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '.';
    word.len() >= SHORTEST
        && text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(is_of_word) && !text[at + word.len()..].starts_with(is_of_word)
        })
}

/// The options of the chosen subcommand that came from variables.
pub(super) fn given(definition: &clap::Command, matches: &ArgMatches) -> Vec<Given> {
    let Some((name, matches)) = matches.subcommand() else { return Vec::new() };
    let arguments = definition.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let from_there = |id: &str| matches.value_source(id) == Some(ValueSource::EnvVariable);
    arguments.filter(|arg| from_there(arg.get_id().as_str())).filter_map(of).collect()
}

/// What the variable of an option says, if it is set.
fn of(arg: &clap::Arg) -> Option<Given> {
    let (long, variable) = (arg.get_long()?, arg.get_env()?.to_string_lossy().into_owned());
    let value = std::env::var_os(&variable)?.to_string_lossy().into_owned();
    Some(Given { variable, long: long.to_owned(), value })
}

/// Variables with our prefix that are no option's, as those with a slip of the pen: they have no effect.
pub(super) fn unknown(definition: &clap::Command) -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let ours: Vec<String> = names.filter(|name| name.starts_with(PREFIX)).collect();
    unknown_of(definition, ours)
}

fn unknown_of(definition: &clap::Command, names: Vec<String>) -> Vec<String> {
    let arguments = definition.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<_> = arguments.filter_map(clap::Arg::get_env).collect();
    let is_known = |name: &String| known.iter().any(|known| known.to_string_lossy() == name.as_str());
    names.into_iter().filter(|name| !is_known(name)).collect()
}

/// What is behind an error's sentence if it is about values that came from variables.
pub(super) fn note(text: &str, given: &[Given]) -> String {
    let names: Vec<&str> =
        given.iter().filter(|given| given.is_in(text)).map(|given| given.variable.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (from the environment: {})", names.join(", ")) }
}

/// Adds the variables' names to an error of the command line that does not come from the words on it. `bare` is the
/// definition without variables.
pub(super) fn explain(
    mut error: clap::Error,
    definition: &clap::Command,
    bare: clap::Command,
    words: &[OsString],
) -> clap::Error {
    let text = error.to_string();
    let without = bare.try_get_matches_from(words).err().map(|error| error.to_string());
    let subcommand = words.iter().skip(1).find_map(|word| definition.find_subcommand(word));
    let Some(subcommand) = subcommand.filter(|_| without.as_ref() != Some(&text)) else { return error };
    let all: Vec<Given> = subcommand.get_arguments().filter_map(of).collect();
    let named: Vec<&Given> =
        all.iter().filter(|given| has_word(&text, &format!("--{}", given.long))).collect();
    let tips = if named.is_empty() { all.iter().collect() } else { named };
    let tip = |given: &Given| {
        StyledStr::from(format!("--{} comes from the environment variable {}", given.long, given.variable))
    };
    if !tips.is_empty() {
        let tips = tips.into_iter().map(tip).collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_no_option_are_told() {
        let definition = super::super::definition();
        let names = ["KEY_SIZE", "KEYSIZE", "PASSWORD", "SHOW"].map(|name| format!("{PREFIX}{name}"));
        assert_eq!(unknown_of(&definition, names.to_vec()), ["SHOAL_LOADTEST_KEYSIZE"]);
    }

    #[test]
    fn a_sentence_is_about_what_it_names() {
        let of =
            |long: &str, value: &str| Given { variable: "V".into(), long: long.into(), value: value.into() };
        let text = "there is no workload 'shop', neither a file nor one of the built-in: give --workload";
        assert!(of("workload", "x").is_in(text) && of("x", "shop").is_in(text));
        for other in [of("work", "sho"), of("load", "a"), of("x", ""), of("password", "x")] {
            assert!(!other.is_in(text), "{other:?}");
        }
        assert!(of("password", "secret").is_in("127.0.0.1 refused AUTH: WRONGPASS"));
        assert_eq!(note(text, &[of("seed", "17")]), "");
        assert_eq!(note(text, &[of("x", "shop"), of("seed", "17")]), " (from the environment: V)");
    }
}
