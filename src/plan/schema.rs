//! What the raw types say to others: the JSON schema for editors, the reference table for readers.

use std::fmt::Write as _;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::Value;

use super::raw::Document;

/// The schema of a whole plan, with every part in its place (no `$ref`).
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Document>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
});

/// Returns the JSON schema of plans, pretty-printed, with a newline at the end.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", *SCHEMA)
}

/// Returns the reference of the plan language as Markdown: one table of keys for each table of a plan.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    let mut secret = None;
    let lines = properties(&SCHEMA).filter(|(key, value)| headed(key, value).is_none());
    section(&mut text, "At the top", &SCHEMA, lines);
    for (title, table) in properties(&SCHEMA).filter_map(|(key, value)| headed(key, value)) {
        section(&mut text, &title, table, properties(table));
        let tables = properties(table).filter(|(_, inner)| inner["properties"].is_object());
        let (secrets, others): (Vec<_>, Vec<_>) = tables.partition(|(_, inner)| is_secret(inner));
        for (key, inner) in others {
            section(&mut text, &format!("`{key}` in {title}"), inner, properties(inner));
            for (list, items) in properties(inner).map(|(list, value)| (list, &value["items"])) {
                if items["properties"].is_object() {
                    section(&mut text, &format!("Each `{list}` in `{key}`"), items, properties(items));
                }
            }
        }
        secret = secret.or(secrets.first().map(|(_, inner)| *inner));
    }
    if let Some(schema) = secret {
        section(&mut text, "A reference to a secret", schema, properties(schema));
    }
    text
}

/// Returns the header that a key of the plan's top is written as, and the table below it; nothing for plain keys.
fn headed<'s>(key: &str, value: &'s Value) -> Option<(String, &'s Value)> {
    let (title, table) = match entries(value) {
        Some(entry) => (format!("`[{key}.NAME]`"), entry),
        None => (format!("`[{key}]`"), value),
    };
    table["properties"].is_object().then_some((title, table))
}

/// Returns the keys of a table, in the order of the raw type.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Returns the schema of the entries of a table whose keys are names.
pub(super) fn entries(schema: &Value) -> Option<&Value> {
    schema["patternProperties"].as_object()?.values().next()
}

/// Returns whether a table cannot do without `key`.
pub(super) fn is_required(schema: &Value, key: &str) -> bool {
    schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key))
}

/// Returns the keys that a table needs one of; none where it has no such choice.
pub(super) fn one_of(schema: &Value) -> Vec<&str> {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    alternatives.flat_map(|one| one["required"].as_array().into_iter().flatten()).filter_map(Value::as_str).collect()
}

/// Returns whether a table is a reference to a secret.
pub(super) fn is_secret(schema: &Value) -> bool {
    schema["writeOnly"] == true
}

/// Returns the words that a text must be one of; none when any text will do.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    let alternatives = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let listed = schema["enum"].as_array().into_iter().flatten();
    let own = listed.chain(schema.get("const")).filter_map(Value::as_str);
    own.chain(alternatives.flat_map(words)).collect()
}

/// Returns what a value is expected to be, with its article: `a string`, `` `zstd` or `snappy` ``.
pub(super) fn expected(schema: &Value) -> String {
    if let Some(alternatives) = schema["anyOf"].as_array() {
        return alternatives.iter().map(expected).collect::<Vec<_>>().join(" or ");
    }
    let words = words(schema);
    if !words.is_empty() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    match schema["type"].as_str() {
        Some("integer") => "a whole number",
        Some("array") if schema["items"]["type"] == "object" => "an array of tables",
        Some("array") if schema["items"]["type"] == "array" => "an array of arrays of strings",
        Some("array") => "an array of strings",
        Some("boolean") => "`true` or `false`",
        Some("object") if is_secret(schema) => "a reference to a secret",
        Some("object") => "a table",
        _ => "a string",
    }
    .to_owned()
}

fn section<'s>(text: &mut String, title: &str, schema: &Value, keys: impl Iterator<Item = (&'s String, &'s Value)>) {
    let _ = writeln!(text, "### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|");
    for (key, value) in keys {
        let default = match &value["default"] {
            Value::Null if is_required(schema, key) => "*required*".to_owned(),
            Value::Null => "–".to_owned(),
            Value::String(default) => format!("`{default}`"),
            default => format!("`{default}`"),
        };
        let meaning = value["description"].as_str().unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "| `{key}` | {} | {default} | {meaning} |", expected(value));
    }
    text.push('\n');
}

/// Takes `null` out of a schema: TOML has none, a key is there or is not.
fn without_null(schema: &mut Schema) {
    for key in ["type", "enum", "anyOf"] {
        let Some(Value::Array(alternatives)) = schema.get_mut(key) else { continue };
        alternatives.retain(|kind| *kind != "null" && !kind.is_null() && kind["type"] != "null");
        let [only] = alternatives.as_slice() else { continue };
        let only = only.clone();
        match (key, only) {
            ("type", kind) => {
                schema.insert("type".to_owned(), kind);
            }
            ("anyOf", Value::Object(inner)) => {
                schema.remove("anyOf");
                for (key, value) in inner {
                    // What is said of the key itself stays: its description, its default.
                    if schema.get(&key).is_none() {
                        schema.insert(key, value);
                    }
                }
            }
            _ => {}
        }
    }
}
