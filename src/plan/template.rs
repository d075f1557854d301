//! Templates: rendered while the plan is read, so that a run meets only finished text.
//!
//! Strict: a name that stands for nothing is a problem at its place. A template sees only those environment
//! variables that it names, and none whose name looks like a secret's, since a prefix ends up in paths and logs.

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};

use super::raw::At;
use super::resolve::{Declared, Desk};
use super::words::{nearest, written};
use super::{Chosen, code};
use crate::diagnose::Diagnostic;
use crate::name::Prefix;

/// The names that stand for something in every template.
const NAMES: [&str; 6] = ["plan", "job", "source", "host", "vars", "env"];

/// What makes the name of an environment variable look like a secret's.
const SECRET: [&str; 4] = ["SECRET", "TOKEN", "PASSWORD", "KEY"];

/// The variable that tells a container the name of its host.
const HOSTNAME: &str = "env.HOSTNAME";

/// What a template knows of the job it stands in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) job: &'a str,
    pub(super) source: &'a str,
}

/// The variables of `[vars]`.
type Variables = Declared<Chosen<String>>;

/// Returns the folder that the template `at` renders to, or nothing when it is not one.
pub(super) fn prefix(
    desk: &mut Desk<'_>,
    variables: &mut Variables,
    at: &At<String>,
    scope: Scope<'_>,
) -> Option<Prefix> {
    let text = render(desk, variables, at, scope)?;
    match text.parse() {
        Ok(prefix) => Some(prefix),
        Err(reason) => {
            let message = format!("`prefix` becomes {}, which is not a folder: {reason}", written(&text));
            let problem = Diagnostic::error(code::INVALID_PREFIX, message).at(at.span.clone(), "not a folder");
            desk.problems.push(problem.help("write folders with `/` between them, as in `web-1/backups`"));
            None
        }
    }
}

/// Tells whether a template that was rendered once has the name of the host in it, of itself or by its variable.
pub(super) fn names_host(template: &str) -> bool {
    environment().template_from_str(template).is_ok_and(|template| {
        let names = template.undeclared_variables(true);
        names.contains("host") || names.contains(HOSTNAME)
    })
}

fn render(desk: &mut Desk<'_>, variables: &mut Variables, at: &At<String>, scope: Scope<'_>) -> Option<String> {
    let environment = environment();
    let template = match environment.template_from_str(&at.value) {
        Ok(template) => template,
        Err(error) => {
            desk.problems.push(broken(desk, at, &error));
            return None;
        }
    };
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    let Values { vars, mut env } = look_up(desk, variables, at, &names)?;
    let mut whole = true;
    loop {
        let (plan, host, vars, env_now) = (desk.plan, &desk.around.host, &vars, &env);
        let values = context! { plan, job => scope.job, source => scope.source, host, vars, env => env_now };
        let error = match template.render(values) {
            Ok(text) => return whole.then_some(text),
            Err(error) => error,
        };
        whole = false;
        let Some(name) = unset_variable(&error).filter(|name| !env.contains_key(name)) else {
            desk.problems.push(failed(desk, at, &error));
            return None;
        };
        desk.problems.push(not_set(desk, at, &name, &error));
        // Goes on as if it were set: the next one may be missing, too.
        env.insert(name, String::new());
    }
}

/// What stands behind `vars` and `env` in one template.
struct Values {
    vars: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

/// Looks up every name that a template uses; returns nothing when one of them may not stand there.
fn look_up(desk: &mut Desk<'_>, variables: &mut Variables, at: &At<String>, names: &[String]) -> Option<Values> {
    let mut values = Values { vars: BTreeMap::new(), env: BTreeMap::new() };
    let before = desk.problems.len();
    for name in names {
        let mut parts = name.split('.');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("vars", Some(variable)) => match variables.take(variable) {
                Some(text) => drop(values.vars.insert(variable.to_owned(), text)),
                None => desk.problems.push(unknown_variable(desk, variables, at, variable)),
            },
            ("env", Some(variable)) if looks_secret(variable) => desk.problems.push(secret(desk, at, variable)),
            ("env", Some(variable)) => {
                let text = desk.around.variables.get(variable);
                values.env.extend(text.map(|text| (variable.to_owned(), text.clone())));
            }
            ("vars" | "env", None) => desk.problems.push(table_as_text(desk, at, name)),
            (root, _) if NAMES.contains(&root) => {}
            (root, _) => desk.problems.push(unknown_name(desk, at, root)),
        }
    }
    (desk.problems.len() == before).then_some(values)
}

/// Returns an environment in which only names and filters mean something; there is nothing to call.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    let functions: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    for function in functions {
        environment.remove_global(&function);
    }
    environment
}

fn looks_secret(variable: &str) -> bool {
    let upper = variable.to_uppercase();
    SECRET.iter().any(|word| upper.contains(word))
}

/// Returns the environment variable for whose absence a template failed.
fn unset_variable(error: &Error) -> Option<String> {
    let detail = error.detail().filter(|_| error.kind() == ErrorKind::UndefinedError)?;
    let (_, name) = detail.split_once("`env.")?;
    let (name, _) = name.split_once('`')?;
    Some(name.to_owned())
}

pub(super) fn broken(desk: &Desk<'_>, at: &At<String>, error: &Error) -> Diagnostic {
    let detail = error.detail().unwrap_or("it cannot be read");
    Diagnostic::error(code::TEMPLATE_SYNTAX, format!("the template is not well formed: {detail}"))
        .at(inside(desk, at, error.range()), "here")
        .help("a name stands in double braces, as in `{{ host }}/backups`")
}

pub(super) fn failed(desk: &Desk<'_>, at: &At<String>, error: &Error) -> Diagnostic {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Diagnostic::error(code::TEMPLATE_RENDER, format!("the template cannot be worked out: {detail}"))
        .at(inside(desk, at, error.range()), "here")
        .help(match error.kind() {
            ErrorKind::UndefinedError => "`plan`, `job`, `source`, `host` and every variable are plain texts",
            _ => "filters are minijinja's own, such as `lower`, `replace` and `default`; there are no functions",
        })
}

fn not_set(desk: &Desk<'_>, at: &At<String>, name: &str, error: &Error) -> Diagnostic {
    Diagnostic::error(code::TEMPLATE_UNSET, format!("the environment variable `{name}` is not set"))
        .at(inside(desk, at, error.range()), "needed here")
        .help(format!("set it, or say what stands for it: `{{{{ env.{name} | default('…') }}}}`"))
}

fn secret(desk: &Desk<'_>, at: &At<String>, name: &str) -> Diagnostic {
    Diagnostic::error(code::TEMPLATE_SECRET, format!("the environment variable `{name}` may hold a secret"))
        .at(inside(desk, at, find(at, &format!("env.{name}"))), "would end up in paths and logs")
        .help(format!(
            "a prefix takes no variable with {} in its name",
            SECRET.map(|word| format!("`{word}`")).join(" or ")
        ))
}

fn table_as_text(desk: &Desk<'_>, at: &At<String>, name: &str) -> Diagnostic {
    Diagnostic::error(code::TEMPLATE_NAME, format!("`{name}` alone is not a text"))
        .at(inside(desk, at, find(at, name)), "stands for all of them")
        .help(format!("name one, as in `{{{{ {name}.NAME }}}}`"))
}

fn unknown_name(desk: &Desk<'_>, at: &At<String>, name: &str) -> Diagnostic {
    let problem = Diagnostic::error(code::TEMPLATE_NAME, format!("the template has no name `{name}`"))
        .at(inside(desk, at, find(at, name)), "stands for nothing");
    match nearest(name, NAMES.into_iter()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("a template knows `plan`, `job`, `source`, `host`, `vars.NAME` and `env.NAME`"),
    }
}

fn unknown_variable(desk: &Desk<'_>, variables: &Variables, at: &At<String>, name: &str) -> Diagnostic {
    let problem = Diagnostic::error(code::TEMPLATE_NAME, format!("there is no variable `{name}`"))
        .at(inside(desk, at, find(at, &format!("vars.{name}"))), "not in `[vars]`");
    match nearest(name, variables.names()) {
        Some(near) => problem.help(format!("did you mean `vars.{near}`?")),
        None => problem.help(format!("add `{name} = \"…\"` to `[vars]`")),
    }
}

/// Returns where `name` first stands in a template as a whole name.
pub(super) fn find(at: &At<String>, name: &str) -> Option<Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let whole = |start: &usize| {
        let (before, after) = (&at.value[..*start], &at.value[start + name.len()..]);
        !before.ends_with(part) && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let start = at.value.match_indices(name).map(|(start, _)| start).find(whole)?;
    Some(start..start + name.len())
}

/// Returns the place in the plan of a range inside a string, or the whole string where its text is written
/// differently from what it means.
pub(super) fn inside(desk: &Desk<'_>, at: &At<String>, range: Option<Range<usize>>) -> Range<usize> {
    let written = desk.text.get(at.span.clone()).unwrap_or_default();
    let start = ["\"\"\"", "'''", "\"", "'"].iter().find_map(|quote| {
        let body = written.strip_prefix(quote)?.strip_suffix(quote)?;
        (body == at.value).then_some(at.span.start + quote.len())
    });
    match (start, range) {
        (Some(start), Some(range)) => start + range.start..start + range.end,
        _ => at.span.clone(),
    }
}
