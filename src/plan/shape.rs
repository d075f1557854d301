//! The shape of a plan: which keys there are and what kind of value each takes.
//!
//! serde stops at the first fault of a table. This walk asks the schema, which comes from the same types, and
//! reports every fault at its own token; then it takes the faulty keys out, so that the rest can still be judged.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::code;
use super::schema::{entries, expected, is_required, is_secret, one_of, properties, words};
use super::words::{nearest, quoted, written};
use crate::diagnose::Diagnostic;

/// The kinds of jobs: a plan has at least one of one kind.
const JOBS: [&str; 2] = ["backup", "archive"];

/// A walk over the values of one plan.
pub(super) struct Shape<'p> {
    problems: &'p mut Vec<Diagnostic>,
}

impl<'p> Shape<'p> {
    /// Returns a walk that adds to `problems`.
    pub(super) fn new(problems: &'p mut Vec<Diagnostic>) -> Self {
        Self { problems }
    }

    /// Checks `value`, found at `path` (`backup.nightly.to`; empty for the plan), and returns whether it may stay.
    pub(super) fn check(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &Value, path: &str) -> bool {
        let span = value.span();
        let schema = alternative(schema, value.get_ref());
        let kind = schema["type"].as_str().unwrap_or("string");
        match value.get_mut() {
            DeValue::Table(table) if kind == "object" => {
                self.check_table(table, schema, path, &span);
                true
            }
            DeValue::Array(items) if kind == "array" && schema["items"]["type"] == "object" => {
                items.iter_mut().filter_map(|item| (!self.check(item, &schema["items"], path)).then_some(())).count()
                    == 0
            }
            DeValue::Array(items) if is_one_command(items, schema) => {
                self.bare_command(items, key_of(path), span);
                false
            }
            DeValue::Array(items) if kind == "array" => {
                let name = format!("an item of `{}`", key_of(path));
                items.iter().filter(|item| !self.check_item(item, &schema["items"], path, &name)).count() == 0
            }
            DeValue::String(word) if kind == "string" => self.check_word(word, schema, path, span),
            DeValue::Integer(_) if kind == "integer" => true,
            DeValue::Boolean(_) if kind == "boolean" => true,
            DeValue::String(_) if is_secret(schema) => {
                self.plain_secret(key_of(path), schema, span);
                false
            }
            other => {
                self.wrong_type(other, &written(key_of(path)), schema, span);
                false
            }
        }
    }

    fn check_table(&mut self, table: &mut DeTable<'_>, schema: &Value, path: &str, header: &Range<usize>) {
        for (key, value) in properties(schema).filter(|(key, _)| is_required(schema, key)) {
            match table.get(key.as_str()) {
                None if value["minProperties"].is_number() => self.missing_table(key, None),
                None => self.missing_key(key, value, path, header),
                Some(found) if value["minProperties"].is_number() => {
                    if is_empty(found.get_ref()) {
                        self.missing_table(key, Some(found.span()));
                    }
                }
                Some(_) => {}
            }
        }
        let choice = one_of(schema);
        if !choice.iter().any(|key| table.contains_key(*key)) {
            let first = properties(schema).find(|(key, _)| choice.first() == Some(&key.as_str()));
            if let Some((key, value)) = first {
                self.missing_key(key, value, path, header);
            }
        }
        if path.is_empty() && !JOBS.iter().any(|kind| table.get(*kind).is_some_and(|found| !is_empty(found.get_ref())))
        {
            let header = JOBS.iter().find_map(|kind| table.get(*kind)).map(Spanned::span);
            self.missing_table(JOBS[0], header);
        }
        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref();
            let inner = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            match schema["properties"].get(name.as_ref()).or_else(|| entries(schema)) {
                Some(schema) if self.check(&mut value, schema, &inner) => drop(table.insert(key, value)),
                Some(_) => {}
                None => self.unknown_key(name, schema, path, key.span()),
            }
        }
    }

    fn check_item(&mut self, item: &Spanned<DeValue<'_>>, schema: &Value, path: &str, name: &str) -> bool {
        match item.get_ref() {
            DeValue::Array(words) if schema["type"] == "array" => {
                let name = format!("a word in {name}");
                words.iter().filter(|word| !self.check_item(word, &schema["items"], path, &name)).count() == 0
            }
            DeValue::String(word) if schema["type"] != "array" => self.check_word(word, schema, path, item.span()),
            other => {
                self.wrong_type(other, name, schema, item.span());
                false
            }
        }
    }

    fn check_word(&mut self, word: &str, schema: &Value, path: &str, span: Range<usize>) -> bool {
        let words = words(schema);
        if words.is_empty() || words.contains(&word) {
            return true;
        }
        let key = key_of(path);
        let help = match nearest(word, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if key == "databases" => {
                "write `\"all\"`, or an array such as `[\"shared\", \"0190a5c4-…\"]`".to_owned()
            }
            None if words.len() == 1 => format!("this version knows no other `{key}` than `{}`", words[0]),
            None => format!("`{key}` takes {}", quoted(words.iter().copied())),
        };
        let problem = Diagnostic::error(code::UNKNOWN_WORD, format!("`{key}` cannot be {}", written(word)));
        self.problems.push(problem.at(span, format!("expected {}", expected(schema))).help(help));
        false
    }

    fn wrong_type(&mut self, found: &DeValue<'_>, what: &str, schema: &Value, span: Range<usize>) {
        let message = format!("{what} is {}, where {} is expected", kind_of(found), expected(schema));
        let problem = Diagnostic::error(code::WRONG_TYPE, message).at(span, kind_of(found));
        self.problems.push(problem.help(way_out(found, schema)));
    }

    /// Reports one command where a list of them is expected, once for all of its words.
    fn bare_command(&mut self, words: &DeArray<'_>, key: &str, span: Range<usize>) {
        let message = format!("`{key}` is one command, where an array of commands is expected");
        let words: Vec<String> =
            words.iter().filter_map(|word| word.get_ref().as_str()).map(|word| format!("{word:?}")).collect();
        let problem = Diagnostic::error(code::WRONG_TYPE, message).at(span, "an array of strings");
        self.problems
            .push(problem.help(format!("put the command into brackets of its own: `[[{}]]`", words.join(", "))));
    }

    /// Reports a secret that stands where its place should; the message does not repeat it.
    fn plain_secret(&mut self, key: &str, schema: &Value, span: Range<usize>) {
        let own = schema["examples"][0]["env"].as_str();
        let variable = own.map_or_else(|| format!("HITKEEP_S3_{}", key.to_uppercase()), str::to_owned);
        self.problems.push(
            Diagnostic::error(code::PLAIN_SECRET, format!("`{key}` stands in the plan itself"))
                .at(span, "not shown")
                .help(format!(
                    "say where it is found, as in `{{ env = \"{variable}\" }}`, and change it if others could read it"
                )),
        );
    }

    fn unknown_key(&mut self, key: &str, schema: &Value, path: &str, span: Range<usize>) {
        let known = || properties(schema).map(|(key, _)| key.as_str());
        let help = match nearest(key, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{} takes {}", place_of(path), quoted(known())),
        };
        let problem = Diagnostic::error(code::UNKNOWN_KEY, format!("{} has no key {}", place_of(path), written(key)));
        self.problems.push(problem.at(span, "unknown key").help(help));
    }

    fn missing_key(&mut self, key: &str, schema: &Value, path: &str, header: &Range<usize>) {
        let problem = Diagnostic::error(code::MISSING_KEY, format!("{} has no `{key}`", place_of(path)));
        let problem =
            if path.is_empty() { problem } else { problem.at(header.clone(), format!("`{key}` is required here")) };
        let example = schema.get("const").unwrap_or(&schema["examples"][0]);
        self.problems.push(problem.help(format!("add it, as in `{key} = {example}`")));
    }

    fn missing_table(&mut self, kind: &str, header: Option<Range<usize>>) {
        let (what, example) = match kind {
            "source" => ("source: nothing to back up", "[source.main]` with `data_path = \"/var/lib/hitkeep/data\""),
            "destination" => ("destination: nowhere to back up to", "[destination.disk]` with `url = \"/srv/hitkeep\""),
            _ => ("job: nothing to do", "[backup.nightly]` with `source` and `to"),
        };
        let problem = Diagnostic::error(code::MISSING_TABLE, format!("the plan has no {what}"));
        let problem = header.into_iter().fold(problem, |problem, span| problem.at(span, "nothing in it"));
        self.problems.push(problem.help(format!("add `{example}`")));
    }
}

/// Tells whether the words of one command stand where a list of commands is expected.
fn is_one_command(items: &DeArray<'_>, schema: &Value) -> bool {
    schema["items"]["type"] == "array" && !items.is_empty() && items.iter().all(|item| item.get_ref().is_str())
}

fn is_empty(value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(DeTable::is_empty)
}

/// Returns how a value of the wrong kind is put right.
fn way_out(found: &DeValue<'_>, schema: &Value) -> String {
    let is_number = matches!(found, DeValue::Integer(_) | DeValue::Float(_));
    match (schema["type"].as_str(), found) {
        (Some("array"), DeValue::String(text)) if schema["items"]["type"] != "array" => {
            format!("write an array, even of one: `[\"{}\"]`", text.escape_debug())
        }
        (Some("array"), DeValue::Table(_)) if schema["items"]["type"] == "object" => {
            "write an array, even of one: `[{ … }]`".to_owned()
        }
        (Some("array"), _) => format!("write {}, as in `{}`", expected(schema), schema["examples"][0]),
        (Some("object"), _) if is_secret(schema) => "say where it is found, as in `{ env = \"NAME\" }`".to_owned(),
        (Some("object"), _) => "write a table: a header in brackets, and its keys below".to_owned(),
        (None, _) if schema["default"].is_null() => format!("write {}", expected(schema)),
        (Some("integer"), _) => "write the number, without quotes".to_owned(),
        (Some("boolean"), _) => "write `true` or `false`, without quotes".to_owned(),
        (Some("string"), _) if is_number && schema["pattern"].as_str().is_some_and(|shape| shape.contains("[0-9]")) => {
            let example = schema.get("default").unwrap_or(&schema["examples"][0]);
            format!("write the number with its unit, in quotes, as in `{example}`")
        }
        (Some("string"), _) => "write one text, in quotes".to_owned(),
        _ => format!("leave the key out for its default, `{}`", schema["default"].as_str().unwrap_or_default()),
    }
}

/// Returns the one of a schema's alternatives that takes this kind of value, or the whole schema.
fn alternative<'s>(schema: &'s Value, value: &DeValue<'_>) -> &'s Value {
    let kind = match value {
        DeValue::String(_) => "string",
        DeValue::Array(_) => "array",
        _ => return schema,
    };
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    alternatives.into_iter().find(|alternative| alternative["type"] == kind).unwrap_or(schema)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn key_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn place_of(path: &str) -> String {
    if path.is_empty() { "the plan".to_owned() } else { format!("`[{}]`", path.escape_debug()) }
}
