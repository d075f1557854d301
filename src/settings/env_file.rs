//! Files of `NAME=VALUE`, as Docker, Compose, systemd and shells read them.
//!
//! The crates for such files read one dialect each, look into the environment by themselves, and do not tell the line.
//! Here the dialects are read as one, where they agree in what HitKeep's variables can hold.

use std::collections::BTreeMap;

use super::expand::{Expanded, Lookup, expand, name_length};

/// A variable that a file sets.
pub(super) struct Assignment {
    pub(super) name: String,
    /// Nothing where it is taken from the environment, which does not have it.
    pub(super) value: Option<Expanded>,
    /// The line, from 1.
    pub(super) line: usize,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct EnvFile {
    pub(super) assignments: Vec<Assignment>,
    /// The lines, from 1, that are neither assignments nor comments.
    pub(super) unread: Vec<usize>,
}

/// Reads a file; a value may name variables that are set before it, or that `lookup` finds. A name alone stands for what
/// `lookup` finds: Docker takes it from the environment.
pub(super) fn read(text: &str, lookup: Lookup<'_>) -> EnvFile {
    let mut file = EnvFile::default();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let end = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let written = rest[..end].trim();
        if written.is_empty() || written.starts_with(['#', ';']) {
            rest = &rest[end..];
            continue;
        }
        let Some((name, value, after)) = assignment(rest) else {
            file.unread.push(line);
            rest = &rest[end..];
            continue;
        };
        let value = match value {
            Value::Literal(text) => Some(Expanded::literal(text)),
            Value::Template(text) => Some(expand(&text, &|name| values.get(name).cloned().or_else(|| lookup(name)))),
            Value::OfEnvironment => lookup(name).map(Expanded::literal),
        };
        values.extend(value.as_ref().map(|value| (name.to_owned(), value.text.clone())));
        file.assignments.push(Assignment { name: name.to_owned(), value, line });
        rest = after;
    }
    file
}

/// Returns every variable that a file sets, for values that name them.
#[must_use]
pub fn values(text: &str) -> BTreeMap<String, String> {
    let assignments = read(text, &|_| None).assignments.into_iter();
    assignments.filter_map(|assignment| Some((assignment.name, assignment.value?.text))).collect()
}

/// A value as it is written.
enum Value {
    Literal(String),
    /// A text that may name variables.
    Template(String),
    /// There is only the name.
    OfEnvironment,
}

/// Splits the assignment that a text begins with from the lines that follow it.
fn assignment(text: &str) -> Option<(&str, Value, &str)> {
    let text = text.trim_start();
    let text = text.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(text).trim_start();
    let (name, rest) = text.split_at(name_length(text));
    if name.is_empty() {
        return None;
    }
    if rest.split('\n').next().unwrap_or_default().trim().is_empty() {
        return Some((name, Value::OfEnvironment, next_line(rest)));
    }
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    if let Some(quoted) = rest.strip_prefix('\'') {
        let (value, after) = quoted.split_once('\'')?;
        return Some((name, Value::Literal(value.to_owned()), next_line(after)));
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, after) = unescaped(quoted)?;
        return Some((name, Value::Template(value), next_line(after)));
    }
    let line = rest.split('\n').next().unwrap_or_default();
    let is_comment = |(index, _): &(usize, &str)| *index == 0 || line[..*index].ends_with([' ', '\t']);
    let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(index, _)| index);
    Some((name, Value::Template(line[..end].trim().to_owned()), next_line(rest)))
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, after)| after)
}

/// Splits the inside of double quotes from what follows them; an escaped `$` becomes `$$`, which no variable begins with.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                '$' => value.push_str("$$"),
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_docker_systemd_and_shells_read_it() {
        let text = "\u{feff}# HitKeep\r\n\
                    A=plain # a comment\r\n\
                    export B = 'single $A # no comment'\n\
                    ; another comment\n\
                    \n\
                    C=\"double ${A}\n  two lines \\\"\\$A\\\\\" # a comment\n\
                    D=with#hash and spaces  \n\
                    E=\n\
                    F=#nothing\n\
                    no assignment\n\
                    G=\"never closed\n\
                    H=${D}/${NONE:-default}/${OUTSIDE}\n\
                    OUTSIDE\r\n\
                    INSIDE \n\
                    export OUTSIDE";
        let file = read(text, &|name| (name == "OUTSIDE").then(|| "found".to_owned()));
        let found: Vec<_> = file
            .assignments
            .iter()
            .map(|a| (a.line, a.name.as_str(), a.value.as_ref().map_or("-", |value| value.text.as_str())))
            .collect();
        assert_eq!(
            found,
            [
                (2, "A", "plain"),
                (3, "B", "single $A # no comment"),
                (6, "C", "double plain\n  two lines \"$A\\"),
                (8, "D", "with#hash and spaces"),
                (9, "E", ""),
                (10, "F", ""),
                (13, "H", "with#hash and spaces/default/found"),
                (14, "OUTSIDE", "found"),
                (15, "INSIDE", "-"),
                (16, "OUTSIDE", "found"),
            ]
        );
        assert_eq!(file.unread, [11, 12]);
    }
}
