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
    section(&mut text, "At the top", &SCHEMA);
    for (key, value) in properties(&SCHEMA) {
        if value["properties"].is_object() {
            section(&mut text, &format!("`[{key}]`"), value);
        } else if let Some(entry) = entries(value).filter(|entry| entry["properties"].is_object()) {
            section(&mut text, &format!("`[{key}.NAME]`"), entry);
        }
    }
    text
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
        Some("array") => "an array of strings",
        Some("object") => "a table",
        _ => "a string",
    }
    .to_owned()
}

fn section(text: &mut String, title: &str, schema: &Value) {
    let _ = writeln!(text, "### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|");
    // Tables have sections of their own, but for the one whose keys are all free.
    let is_line =
        |value: &Value| value["type"] != "object" || entries(value).is_some_and(|entry| entry["type"] == "string");
    for (key, value) in properties(schema).filter(|(_, value)| is_line(value)) {
        let default = match value["default"].as_str() {
            Some(default) => format!("`{default}`"),
            None if is_required(schema, key) => "*required*".to_owned(),
            None => "–".to_owned(),
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
