//! Who is told how runs begin and end: when, in which way, and in which words.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use minijinja::value::Serde;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::check_list;
use super::raw::{self, At};
use super::resolve::Desk;
use super::words::{nearest, quoted, written};
use super::{Chosen, Command, Origin, Secret, code, template};
use crate::diagnose::Diagnostic;
use crate::measure::Span;
use crate::name::Name;

/// How long telling may take unless the plan says otherwise, with all that is tried again.
const LIMIT: Span = Span(Duration::from_secs(10));

/// The names that stand for something in the template of a message.
const NAMES: [&str; 13] = [
    "event",
    "plan",
    "job",
    "shard",
    "run",
    "host",
    "status",
    "exit_code",
    "started_at",
    "finished_at",
    "summary",
    "failures",
    "log",
];

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// A run begins.
    Start,
    /// A run ended well.
    Success,
    /// Something is missing.
    Partial,
    /// A run did not end well.
    Failure,
    /// A run ended well, and the one before had not.
    Recovery,
}

impl Occasion {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// In which way somebody is told.
#[derive(Clone, Debug)]
pub enum Way {
    /// By the protocol of healthchecks.io, at the address that this secret is.
    Healthchecks(Secret),
    /// By a JSON document, sent to the address that this secret is.
    Webhook(Secret),
    /// By a program.
    Command(Command),
}

impl Way {
    /// Returns the key that plans use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Healthchecks(_) => "healthchecks",
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }

    /// Returns where its secret is found.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Healthchecks(secret) | Self::Webhook(secret) => Some(secret),
            Self::Command(_) => None,
        }
    }

    /// Returns what is told where the plan does not say: a watch over missing runs must hear of good ones, too.
    fn occasions(&self) -> Vec<Occasion> {
        match self {
            Self::Healthchecks(_) => vec![Occasion::Start, Occasion::Success, Occasion::Partial, Occasion::Failure],
            Self::Webhook(_) | Self::Command(_) => vec![Occasion::Partial, Occasion::Failure, Occasion::Recovery],
        }
    }
}

/// Who is told how runs begin and end.
#[derive(Clone, Debug)]
pub struct Notice {
    pub(super) name: Name,
    pub(super) line: usize,
    pub(super) on: Chosen<Vec<Occasion>>,
    pub(super) way: Chosen<Way>,
    pub(super) template: Option<Chosen<String>>,
    pub(super) timeout: Chosen<Span>,
}

impl Notice {
    /// Reads `[notify.NAME]`; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, name: Name, table: At<raw::Notice>) -> Option<Self> {
        let At { value: raw::Notice { on, healthchecks, webhook, command, template, timeout }, span } = table;
        let places = [
            ("healthchecks", healthchecks.as_ref().map(|at| at.span.clone())),
            ("webhook", webhook.as_ref().map(|at| at.span.clone())),
            ("command", command.as_ref().map(|at| at.span.clone())),
        ];
        check_ways(desk, &name, &span, places);
        let healthchecks = healthchecks.and_then(|at| Secret::resolve(desk, "healthchecks", at));
        let webhook = webhook.and_then(|at| Secret::resolve(desk, "webhook", at));
        let command = command.and_then(|at| {
            let command = At { span: at.span.clone(), value: at.value };
            let span = command.span.clone();
            let command = Command::resolve(desk, "command", command, r#"["notify-send", "HitKeep"]"#)?;
            Some(desk.chosen(command, &span))
        });
        let way = healthchecks
            .map(|secret| secret.map(Way::Healthchecks))
            .or_else(|| webhook.map(|secret| secret.map(Way::Webhook)))
            .or_else(|| command.map(|command| command.map(Way::Command)));
        let on = on.map(|at| occasions(desk, at));
        let timeout = match timeout {
            Some(at) => desk.span(&at, "timeout", "leaves no time to tell anything", "leave the key out for `10s`"),
            None => Some(Chosen { value: LIMIT, origin: Origin::Default }),
        };
        let way = way?;
        let on = match on {
            Some(on) => on?,
            None => Chosen { value: way.value.occasions(), origin: Origin::Default },
        };
        let template = match template {
            Some(at) => Some(message_template(desk, &way.value, &on.value, at)?),
            None => None,
        };
        Some(Self { name, line: desk.line(&span), on, way, template, timeout: timeout? })
    }

    /// Returns the name it has in the plan.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns what is told.
    #[must_use]
    pub fn on(&self) -> &[Occasion] {
        &self.on.value
    }

    /// Tells whether it is told at an occasion. A recovery is a success, too.
    #[must_use]
    pub fn hears(&self, occasion: Occasion) -> bool {
        let on = &self.on.value;
        on.contains(&occasion) || (occasion == Occasion::Recovery && on.contains(&Occasion::Success))
    }

    /// Returns the way in which it is told.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way.value
    }

    /// Returns how long telling may take, with all that is tried again.
    #[must_use]
    pub fn timeout(&self) -> Span {
        self.timeout.value
    }

    /// Returns the JSON document of a message.
    ///
    /// # Errors
    /// What the template lacks.
    pub fn document(&self, message: &Message) -> Result<String, String> {
        match &self.template {
            Some(template) => {
                let environment = template::environment();
                let text =
                    environment.render_str(&template.value, Serde(message)).map_err(|error| error.to_string())?;
                is_json(&text).map(|()| text)
            }
            None => serde_json::to_string(message).map_err(|error| error.to_string()),
        }
    }
}

/// Tells whether a text is JSON.
fn is_json(text: &str) -> Result<(), String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| error.to_string())
}

/// What is said at an occasion: the names of a template, and the keys of the JSON document that is sent without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The number of this format: 1. Keys may be added, none changes its meaning.
    pub format: u32,
    /// The occasion.
    pub event: Occasion,
    /// The name of the plan.
    pub plan: String,
    /// The name of the job.
    pub job: String,
    /// The part of the installation that it is about, as in `0/3`; nothing where that is all of it.
    pub shard: Option<String>,
    /// The id of the run.
    pub run: String,
    /// The host that it runs on.
    pub host: String,
    /// How it ended: `success`, `partial` or `failure`; `started` at its start.
    pub status: String,
    /// The exit code; nothing at the start.
    pub exit_code: Option<u8>,
    /// When it began, in RFC 3339.
    pub started_at: String,
    /// When it ended; nothing at the start.
    pub finished_at: Option<String>,
    /// All of this in a sentence.
    pub summary: String,
    /// What failed, in a sentence each.
    pub failures: Vec<String>,
    /// The last lines of the log.
    pub log: Vec<String>,
}

impl Message {
    /// The number of the format.
    pub const FORMAT: u32 = 1;

    /// Returns a message as awkward as one can be: texts that others make hold quotes and ends of lines.
    fn sample(desk: &Desk<'_>, occasion: Occasion) -> Self {
        let awkward = "export shared: \"x\\y\" is not there\n".to_owned();
        let is_start = occasion == Occasion::Start;
        Self {
            format: Self::FORMAT,
            event: occasion,
            plan: desk.plan.to_owned(),
            job: "nightly".to_owned(),
            shard: None,
            run: "01a0b0c0-0000-7000-8000-000000000000".to_owned(),
            host: desk.around.host.clone(),
            status: if is_start { "started" } else { "failure" }.to_owned(),
            exit_code: (!is_start).then_some(4),
            started_at: "2026-03-08T12:00:00Z".to_owned(),
            finished_at: (!is_start).then(|| "2026-03-08T12:01:00Z".to_owned()),
            summary: awkward.clone(),
            failures: vec![awkward.clone()],
            log: vec![awkward],
        }
    }
}

/// Reports a table that tells nobody, or in several ways.
fn check_ways(desk: &mut Desk<'_>, name: &Name, header: &Range<usize>, ways: [(&str, Option<Range<usize>>); 3]) {
    let names = ways.each_ref().map(|(key, _)| *key);
    let found: Vec<(&str, Range<usize>)> = ways.into_iter().filter_map(|(key, place)| Some((key, place?))).collect();
    let help = format!("write one of {}", quoted(names.into_iter()));
    match found.len() {
        0 if desk.is_whole => desk.problems.push(
            Diagnostic::error(code::NOTICE_WAY, format!("`[notify.{name}]` does not say in which way"))
                .at(header.clone(), "nobody is told")
                .help(help),
        ),
        0 | 1 => {}
        _ => {
            let said = quoted(found.iter().map(|(key, _)| *key));
            let problem =
                Diagnostic::error(code::NOTICE_WAY, format!("`[notify.{name}]` has {said}, where one is expected"));
            let problem =
                found.into_iter().fold(problem, |problem, (key, place)| problem.at(place, format!("`{key}`")));
            desk.problems.push(problem.help(format!("{help}, and a table of its own for the other")));
        }
    }
}

fn occasions(desk: &mut Desk<'_>, at: At<Vec<At<Occasion>>>) -> Option<Chosen<Vec<Occasion>>> {
    let span = at.span.clone();
    let words: Vec<At<String>> =
        at.value.iter().map(|item| At { value: item.value.to_string(), span: item.span.clone() }).collect();
    let help = "leave the key out to be told of what is not as it should be";
    let is_sound = check_list(desk, "on", span.clone(), &words, help);
    is_sound.then(|| desk.chosen(at.value.into_iter().map(|item| item.value).collect(), &span))
}

/// Reads the template of a message: every occasion must make JSON of it, whatever texts there are.
fn message_template(desk: &mut Desk<'_>, way: &Way, on: &[Occasion], at: At<String>) -> Option<Chosen<String>> {
    let problem = match way {
        Way::Webhook(_) => problem_of_template(desk, on, &at),
        Way::Healthchecks(_) | Way::Command(_) => Some(
            Diagnostic::error(code::TEMPLATE_ALONE, format!("`template` does not go with `{}`", way.as_str()))
                .at(at.span.clone(), "said of a `webhook` only")
                .help("remove it: `healthchecks` gets the last lines of the log, a command has its variables"),
        ),
    };
    match problem {
        Some(problem) => {
            desk.problems.push(problem);
            None
        }
        None => Some(desk.chosen(at.value, &at.span)),
    }
}

fn problem_of_template(desk: &Desk<'_>, on: &[Occasion], at: &At<String>) -> Option<Diagnostic> {
    let environment = template::environment();
    let template = match environment.template_from_str(&at.value) {
        Ok(template) => template,
        Err(error) => return Some(template::broken(desk, at, &error)),
    };
    let names: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Some(unknown_name(desk, at, name));
    }
    on.iter().find_map(|occasion| {
        let text = match template.render(Serde(Message::sample(desk, *occasion))) {
            Ok(text) => text,
            Err(error) => {
                let problem = template::failed(desk, at, &error);
                return Some(problem.help("`failures` and `log` are lists of texts, and each other name is one text"));
            }
        };
        let reason = is_json(&text).err()?;
        let message = format!("the template does not make JSON of a `{occasion}`: {reason}");
        let problem = Diagnostic::error(code::TEMPLATE_JSON, message).at(at.span.clone(), "sent as a JSON document");
        Some(
            problem.help("write values with `tojson`, which brings quotes along: `{\"text\": {{ summary | tojson }}}`"),
        )
    })
}

fn unknown_name(desk: &Desk<'_>, at: &At<String>, name: &str) -> Diagnostic {
    let problem = Diagnostic::error(code::TEMPLATE_NAME, format!("a message has no name {}", written(name)))
        .at(template::inside(desk, at, template::find(at, name)), "stands for nothing");
    match nearest(name, NAMES.into_iter()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("a message knows {}", quoted(NAMES.into_iter()))),
    }
}
