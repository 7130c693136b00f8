//! The `[[step]]` entries of a scenario: one action each, with what belongs to it.

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Network, OneOrMany, Place, Scenario};
use crate::error::Error;
use crate::scenario::claim::Claim;
use crate::scenario::command_line::words;
use crate::scenario::condition::Condition;
use crate::scenario::step::{Action, Span, Step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileStep {
    name: Option<Spanned<String>>,
    at: Option<Spanned<String>>,
    #[serde(default, rename = "continue")]
    go_on: bool,

    load: Option<Spanned<String>>,
    wait: Option<Spanned<String>>,
    wait_until: Option<Spanned<OneOrMany>>,
    scale: Option<Spanned<u32>>,
    stop: Option<Spanned<String>>,
    kill: Option<Spanned<String>>,
    pause: Option<Spanned<String>>,
    resume: Option<Spanned<String>>,
    start: Option<Spanned<String>>,
    rolling_restart: Option<Spanned<String>>,
    partition: Option<Spanned<Vec<Vec<String>>>>,
    heal: Option<Spanned<bool>>,
    loss: Option<Spanned<String>>,
    delay: Option<Spanned<String>>,
    send: Option<Spanned<String>>,
    assert: Option<Spanned<OneOrMany>>,

    #[serde(rename = "for")]
    time: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    between: Option<Spanned<String>>,
    on: Option<Spanned<OneOrMany>>,
    to: Option<Spanned<String>>,
    of: Option<Spanned<String>>,
    since: Option<Spanned<String>>,
    last: Option<Spanned<String>>,
}

/// How long a server may take to start, stop, or come to a condition, unless the step says so.
const LIMIT: Duration = Duration::from_secs(30);

/// The actions a step may have, for the error message.
const ACTIONS: &str = "load, wait, wait_until, scale, stop, kill, pause, resume, start, rolling_restart, partition, \
                       heal, loss, delay, send, assert";

/// Checks all steps.
pub(super) fn check(
    place: &Place<'_>,
    scenario: &Scenario,
    steps: Vec<Spanned<FileStep>>,
) -> Result<Vec<Step>, Error> {
    let mut checked: Vec<Step> = Vec::new();
    let mut least = Duration::ZERO;
    let mut loaded = false;
    for step in steps {
        let whole = step.span();
        let step = Reader { place, whole, step: step.into_inner() }.read(scenario)?;
        let wrong = |message: String| Error::File { file: place.file.to_owned(), line: step.line, message };
        match (step.at, &step.action) {
            (Some(at), _) if at < least => {
                return Err(wrong(format!(
                    "the steps before take {least:?} at least, so this one cannot be at {at:?}"
                )));
            }
            (_, Action::Load(on)) if *on == loaded => {
                return Err(wrong(format!("the load is {} already", if loaded { "on" } else { "off" })));
            }
            (_, Action::Assert { window: Span::Load, .. }) if !loaded && !has_loaded(&checked) => {
                return Err(wrong(
                    "nothing has been measured yet: no step before has put the load on".into(),
                ));
            }
            (_, Action::Resume { name }) if !is_paused(&checked, name) => {
                return Err(wrong(format!(
                    "'{name}' is not paused here: no step before has paused it without 'for'"
                )));
            }
            _ => {}
        }
        if let Action::Load(on) = step.action {
            loaded = on;
        }
        if let Some(name) = &step.name
            && checked.iter().any(|other| other.name.as_ref() == Some(name))
        {
            return Err(wrong(format!("there is another step called '{name}'")));
        }
        for name in steps_named(&step.action) {
            if !checked.iter().any(|other| other.name.as_deref() == Some(name)) {
                return Err(wrong(format!("no step before this one is called '{name}'")));
            }
        }
        least = least.max(step.at.unwrap_or_default()) + step.action.least();
        checked.push(step);
    }
    if checked.is_empty() {
        return Err(place.wrong(&(0..0), "there is no [[step]]"));
    }
    Ok(checked)
}

/// True if the last of these steps that pauses or resumes a process has paused it.
fn is_paused(steps: &[Step], wanted: &str) -> bool {
    let last = steps.iter().rev().find_map(|step| match &step.action {
        Action::Pause { name, time } if name == wanted => Some(time.is_none()),
        Action::Resume { name } if name == wanted => Some(false),
        _ => None,
    });
    last.unwrap_or(false)
}

fn has_loaded(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.action == Action::Load(true))
}

/// The steps that a step refers to.
fn steps_named(action: &Action) -> Vec<&str> {
    let Action::Assert { claims, window } = action else { return Vec::new() };
    let mut names: Vec<&str> = claims.iter().filter_map(Claim::baseline).collect();
    if let Span::Of(name) | Span::Since(name) = window {
        names.push(name);
    }
    names
}

/// The processes that a step acts on.
pub(super) fn names(action: &Action) -> Vec<&str> {
    match action {
        Action::Stop { name, .. }
        | Action::Kill { name }
        | Action::Pause { name, .. }
        | Action::Resume { name }
        | Action::Start { name, .. }
        | Action::RollingRestart { name, .. } => vec![name],
        Action::Send { to, .. } => vec![to],
        Action::Loss { on, .. } | Action::Delay { on, .. } => on.iter().map(String::as_str).collect(),
        Action::Partition { groups } => groups.iter().flatten().map(String::as_str).collect(),
        Action::WaitUntil { conditions, .. } => conditions.iter().map(|c| c.subject.as_str()).collect(),
        Action::Scale { .. } => vec!["nodes"],
        Action::Load(_) | Action::Wait(_) | Action::Heal | Action::Assert { .. } => Vec::new(),
    }
}

/// One step as it is read.
struct Reader<'a> {
    place: &'a Place<'a>,
    whole: Range<usize>,
    step: FileStep,
}

impl Reader<'_> {
    fn read(mut self, scenario: &Scenario) -> Result<Step, Error> {
        let name = self.step.name.take().map(Spanned::into_inner);
        let at = self.step.at.take().map(|text| self.time(&text)).transpose()?;
        let limit = self.step.timeout.take().map(|text| self.time(&text)).transpose()?.unwrap_or(LIMIT);
        let count = self.actions();
        if count != 1 {
            let message = if count == 0 {
                format!("this step does nothing: give it one of {ACTIONS}")
            } else {
                "a step does one thing: make several steps of it".to_owned()
            };
            return Err(self.place.wrong(&self.whole, message));
        }
        let action = self.action(scenario, limit)?;
        self.nothing_left()?;
        let line = self.place.line(&self.whole);
        Ok(Step { name, line, at, go_on: self.step.go_on, action })
    }

    fn actions(&self) -> usize {
        let step = &self.step;
        let given = [
            step.load.is_some(),
            step.wait.is_some(),
            step.wait_until.is_some(),
            step.scale.is_some(),
            step.stop.is_some(),
            step.kill.is_some(),
            step.pause.is_some(),
            step.resume.is_some(),
            step.start.is_some(),
            step.rolling_restart.is_some(),
            step.partition.is_some(),
            step.heal.is_some(),
            step.loss.is_some(),
            step.delay.is_some(),
            step.send.is_some(),
            step.assert.is_some(),
        ];
        given.into_iter().filter(|given| *given).count()
    }

    fn action(&mut self, scenario: &Scenario, limit: Duration) -> Result<Action, Error> {
        let step = &mut self.step;
        let word = |word: Spanned<String>| word.into_inner();
        if let Some(on) = step.load.take() {
            return match on.get_ref().as_str() {
                "on" => Ok(Action::Load(true)),
                "off" => Ok(Action::Load(false)),
                other => Err(self.place.wrong(&on.span(), format!("'{other}' is neither on nor off"))),
            };
        }
        if let Some(name) = step.stop.take().map(word) {
            return Ok(Action::Stop { name, limit });
        }
        if let Some(name) = step.kill.take().map(word) {
            return Ok(Action::Kill { name });
        }
        if let Some(name) = step.resume.take().map(word) {
            return Ok(Action::Resume { name });
        }
        if let Some(name) = step.start.take().map(word) {
            return Ok(Action::Start { name, limit });
        }
        if let Some(name) = step.pause.take().map(word) {
            let span = step.time.as_ref().map_or(self.whole.clone(), Spanned::span);
            let time = step.time.take().map(|text| self.time(&text)).transpose()?;
            if time.is_some_and(|time| time.is_zero()) {
                return Err(self.place.wrong(&span, "a pause takes longer than 0s"));
            }
            return Ok(Action::Pause { name, time });
        }
        if let Some(name) = step.rolling_restart.take().map(word) {
            let between = step.between.take().map(|text| self.time(&text)).transpose()?.unwrap_or_default();
            return Ok(Action::RollingRestart { name, between, limit });
        }
        if let Some(count) = step.scale.take() {
            let count = self.place.within(Some(count), (1, super::MAX_NODES), "the number of nodes", 1)?;
            return Ok(Action::Scale { count, limit });
        }
        if let Some(time) = step.wait.take() {
            return Ok(Action::Wait(self.time(&time)?));
        }
        if let Some(conditions) = step.wait_until.take() {
            let conditions = self.each(conditions, Condition::parse)?;
            return Ok(Action::WaitUntil { conditions, limit });
        }
        if let Some(command) = step.send.take() {
            return self.send(command, scenario);
        }
        if let Some(claims) = step.assert.take() {
            let claims = self.each(claims, Claim::parse)?;
            return Ok(Action::Assert { claims, window: self.window()? });
        }
        if scenario.network == Network::Host {
            let message = "this needs network = \"namespaces\" in [cluster]: on the host's own network it would \
                           disturb others";
            return Err(self.place.wrong(&self.whole, message));
        }
        self.fault(scenario)
    }

    /// What is done to the network.
    fn fault(&mut self, scenario: &Scenario) -> Result<Action, Error> {
        let place = self.place;
        if let Some(groups) = self.step.partition.take() {
            let span = groups.span();
            let groups = groups.into_inner();
            let mut all: Vec<&String> = groups.iter().flatten().collect();
            let count = all.len();
            all.sort();
            all.dedup();
            if groups.len() < 2 || groups.iter().any(Vec::is_empty) || all.len() != count {
                return Err(
                    place.wrong(&span, "a partition has two groups or more, and nobody is in two of them")
                );
            }
            return Ok(Action::Partition { groups });
        }
        if let Some(heal) = self.step.heal.take() {
            return if *heal.get_ref() {
                Ok(Action::Heal)
            } else {
                Err(place.wrong(&heal.span(), "write heal = true, or leave the step out"))
            };
        }
        let all = || if scenario.nodes.is_some() { vec!["nodes".to_owned()] } else { scenario.names() };
        let on = self.step.on.take().map_or_else(all, |on| on.into_inner().into_vec());
        if let Some(loss) = self.step.loss.take() {
            let percent =
                loss.get_ref().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            let share = percent.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share));
            let wrong = || {
                place.wrong(&loss.span(), format!("'{}' is no share: write one such as 5%", loss.get_ref()))
            };
            return Ok(Action::Loss { share: share.ok_or_else(wrong)?, on });
        }
        match self.step.delay.take() {
            Some(time) => Ok(Action::Delay { time: self.time(&time)?, on }),
            None => {
                Err(place.wrong(&self.whole, format!("this step does nothing: give it one of {ACTIONS}")))
            }
        }
    }

    fn send(&mut self, command: Spanned<String>, scenario: &Scenario) -> Result<Action, Error> {
        let place = self.place;
        let to = match (self.step.to.take(), scenario.names().as_slice()) {
            (Some(to), _) => to.into_inner(),
            (None, [only]) => only.clone(),
            (None, _) => return Err(place.wrong(&command.span(), "say whom to send it: to = \"NAME\"")),
        };
        let command = words(command.get_ref()).map_err(|message| place.wrong(&command.span(), message))?;
        Ok(Action::Send { command, to })
    }

    fn window(&mut self) -> Result<Span, Error> {
        let step = &mut self.step;
        match (step.of.take(), step.since.take(), step.last.take()) {
            (None, None, None) => Ok(Span::Load),
            (Some(name), None, None) => Ok(Span::Of(name.into_inner())),
            (None, Some(name), None) => Ok(Span::Since(name.into_inner())),
            (None, None, Some(time)) => Ok(Span::Last(self.time(&time)?)),
            _ => Err(self.place.wrong(&self.whole, "give one of 'of', 'since' and 'last', not several")),
        }
    }

    /// Fields that belong to another action would silently do nothing.
    fn nothing_left(&self) -> Result<(), Error> {
        let step = &self.step;
        let left = [
            ("for", step.time.is_some()),
            ("between", step.between.is_some()),
            ("on", step.on.is_some()),
            ("to", step.to.is_some()),
            ("of", step.of.is_some()),
            ("since", step.since.is_some()),
            ("last", step.last.is_some()),
        ];
        match left.into_iter().find(|(_, left)| *left) {
            Some((name, _)) => {
                Err(self.place.wrong(&self.whole, format!("'{name}' means nothing in a step of this kind")))
            }
            None => Ok(()),
        }
    }

    fn time(&self, text: &Spanned<String>) -> Result<Duration, Error> {
        crate::cli::duration(text.get_ref()).map_err(|message| self.place.wrong(&text.span(), message))
    }

    fn each<T>(
        &self,
        texts: Spanned<OneOrMany>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Error> {
        let span = texts.span();
        let one =
            |text: &str, span: &Range<usize>| read(text).map_err(|message| self.place.wrong(span, message));
        match texts.into_inner() {
            OneOrMany::One(text) => Ok(vec![one(&text, &span)?]),
            OneOrMany::Many(texts) if texts.is_empty() => Err(self.place.wrong(&span, "an empty list")),
            OneOrMany::Many(texts) => texts.iter().map(|text| one(text.get_ref(), &text.span())).collect(),
        }
    }
}
