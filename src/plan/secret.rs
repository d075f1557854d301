//! Secrets as a plan speaks of them: where each is found, never what it is.
//!
//! Somebody will write one down all the same. Then the problem says so without repeating it, and [`blanked`] keeps
//! it out of the lines that are shown around that problem and any other.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::raw::{self, At};
use super::resolve::Desk;
use super::words::{quoted, written};
use super::{Chosen, Command, code};
use crate::diagnose::Diagnostic;

/// Where a secret is found; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In the environment variable of this name.
    Variable(String),
    /// In this file, which holds nothing else; absolute.
    File(PathBuf),
    /// In what this program prints.
    Command(Command),
    /// In the credential of this name that systemd hands to the unit.
    Credential(String),
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(command) => f.write_str(command.words().first().map_or("", String::as_str)),
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

impl Secret {
    /// Reads the reference that `key` holds; returns nothing when it is none.
    pub(super) fn resolve(desk: &mut Desk<'_>, key: &str, at: At<raw::Secret>) -> Option<Chosen<Self>> {
        let At { value: raw::Secret { env, file, command, credential }, span } = at;
        let places = [
            env.as_ref().map(|at| ("env", at.span.clone())),
            file.as_ref().map(|at| ("file", at.span.clone())),
            command.as_ref().map(|at| ("command", at.span.clone())),
            credential.as_ref().map(|at| ("credential", at.span.clone())),
        ];
        let places: Vec<_> = places.into_iter().flatten().collect();
        if places.len() != 1 {
            not_one(desk, key, &span, places);
            return None;
        }
        let env = env.and_then(|at| variable(desk, at));
        let file = file.and_then(|at| desk.path(&at)).map(|path| Self::File(path.value));
        let command = command.and_then(|at| Command::resolve(desk, "command", at, r#"["pass", "show", "s3"]"#));
        let command = command.map(Self::Command);
        let credential = credential.and_then(|at| named(desk, at));
        let secret = env.or(file).or(command).or(credential)?;
        Some(desk.chosen(secret, &span))
    }
}

/// Reports a reference to no place, or to several.
fn not_one(desk: &mut Desk<'_>, key: &str, span: &Range<usize>, places: Vec<(&str, Range<usize>)>) {
    let help = "write one of `env`, `file`, `command` and `credential`";
    if !places.is_empty() {
        let names = quoted(places.iter().map(|(name, _)| *name));
        let problem = Diagnostic::error(code::INVALID_SECRET, format!("`{key}` names {names}, where one is expected"));
        let problem = places.into_iter().fold(problem, |problem, (name, span)| problem.at(span, format!("`{name}`")));
        desk.problems.push(problem.help(help));
    } else if desk.is_whole {
        let problem = Diagnostic::error(code::INVALID_SECRET, format!("`{key}` does not say where it is found"));
        desk.problems.push(problem.at(span.clone(), "nothing in it").help(help));
    }
}

fn variable(desk: &mut Desk<'_>, at: At<String>) -> Option<Secret> {
    if is_variable(&at.value) && !looks_pasted(&at.value) {
        return Some(Secret::Variable(at.value));
    }
    refuse(
        desk,
        &at,
        "`env` takes the name of a variable",
        "write its name, as in `env = \"HITKEEP_S3_SECRET_ACCESS_KEY\"`",
    )
}

fn named(desk: &mut Desk<'_>, at: At<String>) -> Option<Secret> {
    let is_name = !at.value.is_empty() && !at.value.contains('/') && !at.value.chars().any(char::is_control);
    if is_name && ![".", ".."].contains(&at.value.as_str()) && !looks_pasted(&at.value) {
        return Some(Secret::Credential(at.value));
    }
    refuse(desk, &at, "`credential` takes the name of a credential", "write its name, as in `LoadCredential=NAME:PATH`")
}

/// Refuses a text that cannot be a name without repeating it: it may be the secret.
fn refuse(desk: &mut Desk<'_>, at: &At<String>, what: &str, help: &str) -> Option<Secret> {
    let problem = if looks_pasted(&at.value) {
        Diagnostic::error(code::PLAIN_SECRET, format!("{what}, and this looks like a key itself"))
            .at(at.span.clone(), "a key, it seems")
    } else {
        Diagnostic::error(code::INVALID_SECRET, format!("{what}, and this is none")).at(at.span.clone(), "not a name")
    };
    desk.problems.push(problem.help(help));
    None
}

fn is_variable(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Returns whether a text that should be a name looks like a key: long, with digits, and not a word of it apart.
fn looks_pasted(text: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    text.len() >= 20 && text.chars().all(is_key) && text.contains(|c: char| c.is_ascii_digit())
}

/// Returns a text of the plan as messages quote it, without the password that an address may hold.
pub(super) fn address(text: &str) -> String {
    written(&blanked(text))
}

/// Returns the text with stars in the place of every secret that stands in it, byte for byte: places stay as they are.
///
/// It goes by the looks of the text alone, so that it works for one that is not TOML.
pub(super) fn blanked(text: &str) -> String {
    let assigned = text.match_indices('=').filter_map(|(equals, _)| assigned_secret(text, equals));
    let users = text.match_indices("://").filter_map(|(scheme, _)| user(text, scheme + 3));
    let mut hidden: Vec<Range<usize>> = assigned.chain(users).collect();
    hidden.sort_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    for Range { start, end } in hidden {
        let start = start.max(shown.len());
        shown.push_str(&text[shown.len()..start]);
        shown.extend(text[start..end.max(start)].chars().map(stars));
    }
    shown.push_str(&text[shown.len()..]);
    shown
}

/// Returns as many stars as a character has bytes; what ends a line stays.
fn stars(c: char) -> &'static str {
    match c {
        '\n' => "\n",
        '\r' => "\r",
        other => &"****"[..other.len_utf8()],
    }
}

/// Returns where the value behind an equals sign is, if it is a secret that stands there.
fn assigned_secret(text: &str, equals: usize) -> Option<Range<usize>> {
    let key = text[..equals].trim_end().trim_end_matches(['"', '\'']);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = &key[key.trim_end_matches(is_part).len()..];
    let key = key.to_ascii_lowercase().replace('-', "_");
    if ["secret", "token", "password", "passwd", "access_key", "webhook", "healthchecks"]
        .iter()
        .any(|word| key.contains(word))
    {
        return value(text, equals + 1);
    }
    let is_pasted = |name: &str| looks_pasted(name) || (key == "env" && !is_variable(name));
    let is_reference = ["env", "credential"].contains(&key.as_str());
    let value = is_reference.then(|| value(text, equals + 1)).flatten();
    value.filter(|value| is_pasted(&text[value.clone()]))
}

/// Returns where the text of a value is that begins at `start`; nothing for a table.
fn value(text: &str, start: usize) -> Option<Range<usize>> {
    let start = start + text[start..].len() - text[start..].trim_start_matches([' ', '\t']).len();
    let rest = &text[start..];
    if rest.starts_with('{') {
        return None;
    }
    let quoted = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote));
    let Some(quote) = quoted else {
        let end = rest.find(['\n', ',', '}', '#', '"', '\'']).unwrap_or(rest.len());
        return Some(start..start + rest[..end].trim_end().len());
    };
    let start = start + quote.len();
    let body = &text[start..];
    let line = if quote.len() == 3 { body.len() } else { body.find('\n').unwrap_or(body.len()) };
    let end = body[..line].match_indices(quote).map(|(end, _)| end).find(|end| !is_escaped(&body[..*end], quote));
    Some(start..start + end.unwrap_or(line))
}

fn is_escaped(before: &str, quote: &str) -> bool {
    quote.starts_with('"') && (before.len() - before.trim_end_matches('\\').len()) % 2 == 1
}

/// Returns where the user and the password of an address are, which begins at `start`.
fn user(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let end = rest.find(|c: char| c.is_whitespace() || "\"'<>".contains(c)).unwrap_or(rest.len());
    let at = rest[..end].rfind('@')?;
    Some(start..start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_wherever_they_stand() {
        for (text, shown) in [
            ("secret_access_key = \"wJalr\"\nx = 1", "secret_access_key = \"*****\"\nx = 1"),
            ("secret-access-key='wJalr'", "secret-access-key='*****'"),
            ("\"session_token\" = \"\"\"a\nb\"\"\"", "\"session_token\" = \"\"\"*\n*\"\"\""),
            ("secret = \"a\\\"b\" # c", "secret = \"****\" # c"),
            ("secret_key = wJalr # not quoted", "secret_key = ***** # not quoted"),
            ("secret_key = \"wJalr", "secret_key = \"*****"),
            ("# access_key_id = \"AKIA\"", "# access_key_id = \"****\""),
            ("k = { secret = \"a\", b = \"c\" }", "k = { secret = \"*\", b = \"c\" }"),
            ("a.secret = \"é\"", "a.secret = \"**\""),
            ("x = { env = \"AKIAIOSFODNN7EXAMPLE\" }", "x = { env = \"********************\" }"),
            ("x = { env = \"wJalr/K7\" }", "x = { env = \"********\" }"),
            ("url = \"s3://AKIA:wJa/lr@bucket/x\"", "url = \"s3://***********@bucket/x\""),
            ("secret = { env = \"NAME\" }", "secret = { env = \"NAME\" }"),
            ("secret = { file = \"/run/s3\" }", "secret = { file = \"/run/s3\" }"),
            ("kms_key = \"alias/hitkeep\"", "kms_key = \"alias/hitkeep\""),
            ("prefix = \"{{ host }}\"", "prefix = \"{{ host }}\""),
            ("token =", "token ="),
        ] {
            assert_eq!(blanked(text), shown);
        }
    }

    #[test]
    fn a_key_is_told_from_a_name() {
        for key in
            ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"]
        {
            assert!(looks_pasted(key), "{key} was taken for a name");
        }
        for name in ["HITKEEP_S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID", "S3KEY", "MYVERYLONGVARIABLENAMEFORSECRETS"] {
            assert!(!looks_pasted(name), "{name} was taken for a key");
        }
    }
}
