//! Tables to a plan: texts become paths, sizes and names, references become what they refer to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::raw::{self, At, Document, Named};
use super::trees::Trees;
use super::words::{nearest, quoted, written};
use super::{
    Archive, Backup, Chosen, Destination, Hooks, Local, Metrics, Notice, Origin, Parts, Source, Surroundings, code,
};
use crate::diagnose::{Diagnostic, position};
use crate::measure::{Bytes, Span};
use crate::name::Name;

/// What every part of the resolving works at: the text, what is around it, and the problems so far.
pub(super) struct Desk<'a> {
    pub(super) text: &'a str,
    pub(super) plan: &'a str,
    pub(super) around: &'a Surroundings,
    /// Whether all that is written has come this far: only then does it mean anything that something is missing.
    pub(super) is_whole: bool,
    pub(super) problems: Vec<Diagnostic>,
}

impl Desk<'_> {
    /// Returns the line, from 1, that `span` begins in.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        position(self.text, span.start).0
    }

    /// Returns `value` with the line of its place as its origin.
    pub(super) fn chosen<T>(&self, value: T, span: &Range<usize>) -> Chosen<T> {
        Chosen { value, origin: Origin::Plan { line: self.line(span), span: span.clone() } }
    }

    /// Returns the key's value, or `default` when the key is left out.
    pub(super) fn word<T>(&self, key: Option<At<T>>, default: T) -> Chosen<T> {
        match key {
            Some(at) => self.chosen(at.value, &at.span),
            None => Chosen { value: default, origin: Origin::Default },
        }
    }

    /// Returns the key's text, or what the environment has in its place; a variable without a text is none.
    pub(super) fn fallback(&self, key: Option<At<String>>, variable: &'static str) -> Option<Chosen<String>> {
        key.map(|at| self.chosen(at.value, &at.span)).or_else(|| self.variable(variable))
    }

    /// Returns what the environment has in a variable, unless that is nothing.
    pub(super) fn variable(&self, name: &'static str) -> Option<Chosen<String>> {
        let text = self.around.variables.get(name).filter(|text| !text.is_empty())?;
        Some(Chosen { value: text.clone(), origin: Origin::Variable(name) })
    }

    /// Returns a size.
    pub(super) fn size(&mut self, at: &At<String>) -> Option<Bytes> {
        let size = at.value.parse::<Bytes>().map_err(|reason| {
            Diagnostic::error(code::INVALID_SIZE, format!("{} is not a size", written(&at.value)))
                .at(at.span.clone(), "not a size")
                .help(reason.to_string())
        });
        size.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Returns the span of a key; one of no time `means_nothing`, and `otherwise` says what to do then.
    pub(super) fn span(
        &mut self,
        at: &At<String>,
        key: &str,
        means_nothing: &str,
        otherwise: &str,
    ) -> Option<Chosen<Span>> {
        let problem = match at.value.parse::<Span>() {
            Ok(span) if span.0.is_zero() => {
                Diagnostic::error(code::TOO_SMALL, format!("a `{key}` of `{}` {means_nothing}", at.value))
                    .at(at.span.clone(), "at least `1s`")
                    .help(otherwise)
            }
            Ok(span) => return Some(self.chosen(span, &at.span)),
            Err(reason) => {
                Diagnostic::error(code::INVALID_SPAN, format!("{} is not a span of time", written(&at.value)))
                    .at(at.span.clone(), "not a span")
                    .help(reason.to_string())
            }
        };
        self.problems.push(problem);
        None
    }

    /// Returns the path of a directory or a file, absolute; a relative one starts at the plan file.
    pub(super) fn path(&mut self, at: &At<String>) -> Option<Chosen<PathBuf>> {
        let reason = match at.value.as_str() {
            "" => "it names nothing",
            text if text.chars().any(char::is_control) => "it holds a control character",
            text if text.starts_with('~') || text.starts_with('$') => "`~` and `$` mean something to a shell only",
            text if text.contains("{{") => "only `prefix` is a template",
            text => return Some(self.chosen(absolute(&self.around.directory, text), &at.span)),
        };
        self.problems.push(
            Diagnostic::error(code::INVALID_PATH, format!("{} is not a path: {reason}", written(&at.value)))
                .at(at.span.clone(), "not a path")
                .help("write the path in full, or relative to the directory of the plan file"),
        );
        None
    }

    /// Returns the name of a table, and whether it is the one that is written: under one that cannot be a name, the
    /// table is still read for what else is wrong with it.
    fn name(&mut self, at: &At<String>) -> Option<(Name, bool)> {
        let reason = match at.value.parse() {
            Ok(name) => return Some((name, true)),
            Err(reason) => reason,
        };
        let near: Name = near_name(&at.value).parse().ok()?;
        let message = format!("{} cannot be a name: {reason}", written(&at.value));
        let problem = Diagnostic::error(code::INVALID_NAME, message).at(at.span.clone(), "not a name");
        self.problems.push(problem.help(format!("write `{near}`, for example")));
        Some((near, false))
    }
}

/// Returns what a name would be that looks as much like `text` as names may.
fn near_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let plain: String = text.to_lowercase().chars().map(plain).collect();
    let plain: String = plain.trim_matches(['-', '_']).chars().take(64).collect();
    if plain.is_empty() { "main".to_owned() } else { plain }
}

/// Returns `text` as an absolute path without `.` segments; `..` stays, since it may follow a symbolic link.
pub(super) fn absolute(directory: &Path, text: &str) -> PathBuf {
    directory.join(text).components().collect()
}

/// What one kind of table declares, by name; an entry without a value was declared and refused.
pub(super) struct Declared<T> {
    entries: BTreeMap<String, Entry<T>>,
}

struct Entry<T> {
    span: Range<usize>,
    value: Option<Arc<T>>,
    used: bool,
}

impl<T> Declared<T> {
    /// Reads every table of a kind with `read`.
    fn read<R>(
        desk: &mut Desk<'_>,
        tables: Option<Named<R>>,
        read: impl Fn(&mut Desk<'_>, Name, At<R>) -> Option<T>,
    ) -> Self {
        let mut entries = BTreeMap::new();
        for (at, table) in tables.into_iter().flat_map(|named| named.0) {
            let named = desk.name(&at);
            let value = named.and_then(|(name, sound)| read(desk, name, table).filter(|_| sound)).map(Arc::new);
            entries.insert(at.value, Entry { span: at.span, value, used: false });
        }
        Self { entries }
    }

    /// Returns what `at` refers to; reports a reference to nothing, and is silent where the other end was refused.
    pub(super) fn find(&mut self, desk: &mut Desk<'_>, at: &At<String>, kind: &Kind) -> Option<Arc<T>> {
        if let Some(entry) = self.entries.get_mut(&at.value) {
            entry.used = true;
            return entry.value.clone();
        }
        if self.entries.is_empty() {
            // That there are none at all has been said.
            return None;
        }
        let known = || self.entries.keys().map(String::as_str);
        let problem =
            Diagnostic::error(kind.unknown, format!("the plan has no {} called {}", kind.noun, written(&at.value)))
                .at(at.span.clone(), format!("no `[{}.…]` has this name", kind.noun));
        desk.problems.push(match nearest(&at.value, known()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("the plan has {}", quoted(known()))),
        });
        None
    }

    /// Warns of everything that was declared and never referred to.
    fn warn_unused(&self, desk: &mut Desk<'_>, kind: &Kind) {
        for (name, entry) in self.entries.iter().filter(|(_, entry)| !entry.used) {
            desk.problems.push(
                Diagnostic::warning(code::UNUSED, format!("no job uses the {} `{}`", kind.noun, name.escape_debug()))
                    .at(entry.span.clone(), "declared here")
                    .help(kind.use_it),
            );
        }
    }

    /// Returns what could be read, in the order of the text.
    fn into_values(self) -> Vec<Arc<T>> {
        let mut entries: Vec<_> = self.entries.into_values().collect();
        entries.sort_by_key(|entry| entry.span.start);
        entries.into_iter().filter_map(|entry| entry.value).collect()
    }
}

/// How one kind of declared thing is spoken of.
pub(super) struct Kind {
    noun: &'static str,
    unknown: &'static str,
    use_it: &'static str,
}

pub(super) const SOURCE: Kind =
    Kind { noun: "source", unknown: code::UNKNOWN_SOURCE, use_it: "name it as the `source` of a job, or remove it" };
pub(super) const DESTINATION: Kind = Kind {
    noun: "destination",
    unknown: code::UNKNOWN_DESTINATION,
    use_it: "add it to the `to` of a job, or remove it",
};
pub(super) const VARIABLE: Kind = Kind {
    noun: "variable",
    unknown: code::TEMPLATE_NAME,
    use_it: "use it as `{{ vars.NAME }}` in a prefix, or remove it",
};

/// The tables that jobs refer to.
pub(super) struct Shelf {
    pub(super) sources: Declared<Source>,
    pub(super) destinations: Declared<Destination>,
    pub(super) variables: Declared<Chosen<String>>,
    pub(super) trees: Trees,
}

impl Declared<Chosen<String>> {
    /// Returns the value of a variable and remembers that it is used.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let entry = self.entries.get_mut(name)?;
        entry.used = true;
        // A refused variable still stands for something: only its name was wrong.
        Some(entry.value.as_ref().map(|variable| variable.value.clone()).unwrap_or_default())
    }

    /// Returns the names of all variables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

/// Turns a document into the parts of a plan, or into nothing where a part was refused.
///
/// The parts are a plan only when the desk holds no error in the end.
pub(super) fn resolve(desk: &mut Desk<'_>, document: Document) -> Option<Parts> {
    check_version(desk, document.version.as_ref());
    let timezone = timezone(desk, document.timezone.as_ref());
    let mut shelf = Shelf {
        sources: Declared::read(desk, document.source, Source::resolve),
        destinations: Declared::read(desk, document.destination, Destination::resolve),
        variables: variables(desk, document.vars),
        trees: Trees::default(),
    };
    let hooks = Hooks::resolve(desk, document.hooks.unwrap_or_default());
    let notices = notices(desk, document.notify);
    let metrics = document.metrics.map(|metrics| Metrics::resolve(desk, metrics));
    let local = Local::resolve(desk, &document.local.unwrap_or_default());
    let backup_tables = document.backup.map(|named| named.0).unwrap_or_default();
    let archive_tables = document.archive.map(|named| named.0).unwrap_or_default();
    check_names(desk, &backup_tables, &archive_tables);
    let asked = backup_tables.len() + archive_tables.len();
    let backups = jobs(desk, &mut shelf, backup_tables, Backup::resolve);
    let archives = jobs(desk, &mut shelf, archive_tables, Archive::resolve);
    // What a job that was refused would have used, nobody knows.
    if desk.is_whole && backups.len() + archives.len() == asked {
        desk.problems.extend(archives.iter().filter_map(|archive| archive.without_backup(&backups)));
        shelf.sources.warn_unused(desk, &SOURCE);
        shelf.destinations.warn_unused(desk, &DESTINATION);
        shelf.variables.warn_unused(desk, &VARIABLE);
    }
    let Shelf { sources, destinations, variables, trees } = shelf;
    let sources = sources.into_values();
    trees.check(desk, &sources, local.as_ref());
    let variables = variables.entries.into_iter().filter_map(|(name, entry)| Some((name, entry.value?))).collect();
    Some(Parts {
        timezone: timezone?,
        variables,
        sources,
        destinations: destinations.into_values(),
        backups,
        archives,
        hooks: hooks?,
        notices: notices?,
        metrics: metrics.map_or(Some(None), |metrics| metrics.map(Some))?,
        local: local?,
    })
}

/// Reads every `[notify.NAME]`; returns nothing when one was refused.
fn notices(desk: &mut Desk<'_>, tables: Option<Named<raw::Notice>>) -> Option<Vec<Notice>> {
    let tables = tables.map(|named| named.0).unwrap_or_default();
    let asked = tables.len();
    let mut notices = Vec::new();
    for (at, table) in tables {
        let named = desk.name(&at);
        notices.extend(named.and_then(|(name, sound)| Notice::resolve(desk, name, table).filter(|_| sound)));
    }
    (notices.len() == asked).then_some(notices)
}

/// Reads every job of a kind with `read`; leaves out those that were refused.
fn jobs<R, T>(
    desk: &mut Desk<'_>,
    shelf: &mut Shelf,
    tables: Vec<(At<String>, At<R>)>,
    read: fn(&mut Desk<'_>, &mut Shelf, Name, At<R>) -> Option<T>,
) -> Vec<T> {
    let mut jobs = Vec::new();
    for (at, table) in tables {
        let named = desk.name(&at);
        jobs.extend(named.and_then(|(name, sound)| read(desk, shelf, name, table).filter(|_| sound)));
    }
    jobs
}

/// Reports a name that a job of each kind has: on the command line it would mean both.
fn check_names<B, A>(desk: &mut Desk<'_>, backups: &[(At<String>, At<B>)], archives: &[(At<String>, At<A>)]) {
    for (name, _) in archives {
        let Some((same, _)) = backups.iter().find(|(backup, _)| backup.value == name.value) else { continue };
        let message = format!("two jobs are called {}", written(&name.value));
        let problem = Diagnostic::error(code::DUPLICATE_NAME, message)
            .at(name.span.clone(), "an archive")
            .at(same.span.clone(), "a backup");
        desk.problems.push(problem.help("give one of them another name: jobs are told apart by it"));
    }
}

fn check_version(desk: &mut Desk<'_>, version: Option<&At<i64>>) {
    let Some(at) = version.filter(|at| at.value != 1) else { return };
    desk.problems.push(
        Diagnostic::error(code::UNKNOWN_VERSION, format!("the plan is of version {}, where 1 is expected", at.value))
            .at(at.span.clone(), "not a version of the plan language")
            .help("write `version = 1`, or use a program that reads this version"),
    );
}

fn timezone(desk: &mut Desk<'_>, key: Option<&At<String>>) -> Option<Chosen<TimeZone>> {
    let Some(at) = key else {
        return Some(Chosen { value: TimeZone::UTC, origin: Origin::Default });
    };
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(&at.value) {
        return Some(desk.chosen(zone, &at.span));
    }
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let problem =
        Diagnostic::error(code::UNKNOWN_TIMEZONE, format!("there is no time zone called {}", written(&at.value)))
            .at(at.span.clone(), "not in the IANA database");
    desk.problems.push(problem.help(match nearest(&at.value, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write an IANA name, such as `UTC` or `Europe/Berlin`".to_owned(),
    }));
    None
}

/// Reads `[vars]`, whose names are those that a template can spell.
fn variables(desk: &mut Desk<'_>, tables: Option<Named<String>>) -> Declared<Chosen<String>> {
    let mut entries = BTreeMap::new();
    for (name, text) in tables.into_iter().flat_map(|named| named.0) {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let spelt = name.value.starts_with(letter) && name.value.chars().all(|c| letter(c) || c.is_ascii_digit());
        if !spelt {
            let message = format!("`{}` cannot be the name of a variable", name.value.escape_debug());
            desk.problems.push(
                Diagnostic::error(code::INVALID_NAME, message)
                    .at(name.span.clone(), "a template cannot spell this")
                    .help("a variable's name is made of letters, digits and `_`, and does not begin with a digit"),
            );
        }
        let value = spelt.then(|| Arc::new(desk.chosen(text.value, &text.span)));
        // What is refused already needs no second remark for being unused.
        entries.insert(name.value, Entry { span: name.span, value, used: !spelt });
    }
    Declared { entries }
}
