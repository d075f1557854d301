//! Text to tables: everything that is wrong with the TOML itself, then everything that is wrong with its shape.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::code;
use super::raw::Document;
use super::schema::SCHEMA;
use super::shape::Shape;
use crate::diagnose::Diagnostic;

/// Reads `text` as far as it can be read and adds what cannot be to `problems`.
///
/// Returns the document without the keys that were refused, or nothing when the text is not TOML: what is left
/// of such a text is a guess, and problems with a guess help nobody.
pub(super) fn read(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Document> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(start);
    let readable = errors.iter().all(is_duplicate);
    if readable {
        problems.extend(duplicates(text, &errors));
    } else {
        // A second fault of one line is nearly always the echo of the first.
        errors.retain(|error| !is_duplicate(error));
        errors.dedup_by_key(|error| line_start(text, start(error)));
        problems.extend(errors.iter().map(broken));
        return None;
    }
    let mut root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    Shape::new(problems).check(&mut root, &SCHEMA, "");
    match Document::deserialize(ValueDeserializer::from(root)) {
        Ok(document) => Some(document),
        Err(error) => {
            problems.push(unfit(&error));
            None
        }
    }
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..text.floor_char_boundary(offset)].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns whether the rest of the text can be trusted: the first of two equal keys is kept.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

fn broken(error: &Error) -> Diagnostic {
    let (what, expected) = match error.message().split_once(", expected ") {
        // What stands there is meant as a text far more often than as anything else.
        Some((what, "literal string")) => (what, "text stands in quotes".to_owned()),
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (error.message(), "here".to_owned()),
    };
    Diagnostic::error(code::SYNTAX, format!("the text is not TOML: {what}"))
        .at(error.span().unwrap_or_default(), expected)
        .help("the rest of the plan is judged once all of it can be read")
}

/// Words what is written twice. The keys below a header that is itself a second one are part of the same fault.
fn duplicates(text: &str, errors: &[Error]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut covered = 0;
    for span in errors.iter().filter_map(Error::span).filter(|span| text.get(span.clone()).is_some()) {
        if span.start < covered {
            continue;
        }
        let line = line_start(text, span.start);
        let rest = &text[line..];
        if rest.trim_start().starts_with('[') {
            covered = rest.match_indices("\n[").next().map_or(text.len(), |(next, _)| line + next);
        }
        let problem = Diagnostic::error(code::DUPLICATE_KEY, format!("`{}` is written twice", &text[span.clone()]))
            .help("remove one of the two, or make them one: all keys of a table stand below one header");
        let first = first_of(text, line, &text[span.clone()]);
        let problem = problem.at(span, "again here");
        problems.push(first.into_iter().fold(problem, |problem, first| problem.at(first, "first here")));
    }
    problems
}

/// Returns where `word`, which the line at `again` repeats, was first: in an equal header, or in a line of the
/// same table. Nothing when it is written some other way.
fn first_of(text: &str, again: usize, word: &str) -> Option<Range<usize>> {
    let line = text[again..].lines().next()?.trim();
    let is_header = line.starts_with('[');
    let table = if is_header { 0 } else { text[..again].rfind("\n[").map_or(0, |before| before + 1) };
    let mut offset = table;
    for earlier in text[table..again].split_inclusive('\n') {
        let start = offset + earlier.find(word).unwrap_or(0);
        offset += earlier.len();
        let key = earlier.split('=').next().unwrap_or_default().trim();
        if (is_header && earlier.trim() == line) || (!is_header && key == word) {
            return Some(start..start + word.len());
        }
    }
    None
}

/// Words the one fault that the shape leaves for serde to find: a number too large for any plan.
fn unfit(error: &Error) -> Diagnostic {
    Diagnostic::error(code::WRONG_TYPE, "a value is out of range")
        .at(error.span().unwrap_or_default(), "this value")
        .help("write a smaller number")
}
