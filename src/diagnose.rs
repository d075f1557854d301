//! A problem: what is wrong, where in the text, and what to do about it.
//!
//! Whatever judges a text collects [`Diagnostic`]s instead of stopping at the first, and hands them on as
//! [`Problems`] together with the text they are about. Both renderings, the one for people and the one for
//! programs, are functions from values to a `String`: nothing here knows about a terminal.

use std::fmt;
use std::ops::Range;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, ThemeCharacters, ThemeStyles};
use serde::Serialize;

use crate::measure::counted;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text is refused.
    Error,
    /// The text is taken, but it probably does not say what was meant.
    Warning,
}

/// How something in the world was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Good enough to work with, and worth knowing.
    Warning,
    /// In the hands of another: to be looked at later.
    Busy,
    /// Not good enough to work with.
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Busy => "busy",
            Self::Failed => "failed",
        })
    }
}

/// One look at the world: what was looked at, how it was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two: `multipart`, `clock`.
    pub check: &'static str,
    /// How it was found.
    pub verdict: Verdict,
    /// What was seen, in one sentence, lower case, without a full stop.
    pub seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// Returns that something is as it should be.
    #[must_use]
    pub fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, seen: seen.into(), help: None }
    }

    /// Returns that something is worth knowing, and what to do about it.
    #[must_use]
    pub fn warning(check: &'static str, seen: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, seen: seen.into(), help: Some(help.into()) }
    }

    /// Returns that another has something, and what to do about it.
    #[must_use]
    pub fn busy(check: &'static str, seen: impl fmt::Display, help: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Busy, seen: seen.to_string(), help: Some(help.into()) }
    }

    /// Returns that something stands in the way of the work; what to do about it is left to be said.
    #[must_use]
    pub fn failed(check: &'static str, seen: impl fmt::Display) -> Self {
        Self { check, verdict: Verdict::Failed, seen: seen.to_string(), help: None }
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn with_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }
}

/// One problem, with the places it is about and a way out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    code: &'static str,
    severity: Severity,
    message: String,
    labels: Vec<(Range<usize>, String)>,
    help: Option<String>,
}

impl Diagnostic {
    /// Returns a problem for which a text is refused. The `message` is one sentence, lower case, without a full stop.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Returns a problem in spite of which a text is taken.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a place, in bytes from the beginning of the text, and what there is to say about it.
    #[must_use]
    pub fn at(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Says what to do about the problem in other words.
    #[must_use]
    pub fn reworded(self, words: impl FnOnce(&str) -> String) -> Self {
        Self { help: self.help.as_deref().map(words), ..self }
    }

    /// Sets what to do about the problem.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns the stable code, such as `plan::unknown-key`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns whether the text is refused for this problem.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns what is wrong, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the places, the chief one first.
    #[must_use]
    pub fn labels(&self) -> &[(Range<usize>, String)] {
        &self.labels
    }

    /// Returns the offset by which problems are put in order: where the first label begins.
    fn offset(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() {
            return None;
        }
        let label = |(span, text): &(Range<usize>, String)| LabeledSpan::at(span.clone(), text.as_str());
        Some(Box::new(self.labels.iter().map(label)))
    }
}

/// How a report for people is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The number of columns that lines are wrapped at.
    pub width: usize,
    /// Whether ANSI colours are used.
    pub colour: bool,
    /// Whether box-drawing characters are used; ASCII otherwise.
    pub unicode: bool,
}

/// All problems of one text, in the order of their places, and the text itself.
#[derive(Clone, Debug)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Diagnostic>,
}

impl Problems {
    /// Returns the problems that `list` found in `text`, which is shown under the name `file`.
    ///
    /// Places that lie outside the text, or inside a character, are moved to the nearest whole one.
    #[must_use]
    pub fn new(file: &str, text: &str, mut list: Vec<Diagnostic>) -> Self {
        for (span, _) in list.iter_mut().flat_map(|problem| &mut problem.labels) {
            let start = text.floor_char_boundary(span.start);
            *span = start..text.ceil_char_boundary(span.end).max(start);
        }
        list.sort_by_key(Diagnostic::offset);
        Self { file: file.to_owned(), text: text.to_owned(), list }
    }

    /// Returns the problems in order.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Returns the problems drawn for people: each with the lines it is about, then a line that counts them.
    #[must_use]
    pub fn graphical(&self, look: Look) -> String {
        let theme = GraphicalTheme {
            characters: if look.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
            styles: if look.colour { ThemeStyles::ansi() } else { ThemeStyles::none() },
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(look.width).without_syntax_highlighting();
        let source = NamedSource::new(&self.file, self.text.clone());
        let mut drawn = String::new();
        for problem in &self.list {
            // Drawing into a `String` fails for no reason but a place outside the text, and `new` leaves none.
            if handler.render_report(&mut drawn, &Placed { problem, source: &source }).is_err() {
                drawn.push_str(&problem.message);
            }
            drawn.push('\n');
        }
        drawn.push_str(&self.summary());
        drawn.push('\n');
        drawn.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Returns the problems as one JSON object on one line:
    /// `{ format: 1, file, problems: [{ code, severity, message, help, labels: [{ line, column, offset, length, text }] }] }`.
    ///
    /// Lines and columns count from 1, columns in characters; offsets and lengths are bytes.
    #[must_use]
    pub fn json(&self) -> String {
        let problems = self.list.iter().map(|problem| self.json_problem(problem)).collect();
        let document = JsonDocument { format: 1, file: &self.file, problems };
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Returns the problems for programs as the chief one, and all of them beside it:
    /// `{ code, severity, message, help, labels, file, problems }`, each part as in [`Self::json`]. Nothing where there is none.
    #[must_use]
    pub fn chief_json(&self) -> Option<impl Serialize + '_> {
        let problems = self.list.iter().map(|problem| self.json_problem(problem)).collect();
        self.chief().map(|chief| JsonChief { chief: self.json_problem(chief), file: &self.file, problems })
    }

    /// Returns the first of the worst problems; nothing where there is none.
    #[must_use]
    pub fn chief(&self) -> Option<&Diagnostic> {
        self.list.iter().min_by_key(|problem| problem.severity)
    }

    fn json_problem<'a>(&'a self, problem: &'a Diagnostic) -> JsonProblem<'a> {
        let label = |(span, text): &'a (Range<usize>, String)| {
            let (line, column) = position(&self.text, span.start);
            JsonLabel { line, column, offset: span.start, length: span.len(), text }
        };
        JsonProblem {
            code: problem.code,
            severity: problem.severity,
            message: &problem.message,
            help: problem.help.as_deref(),
            labels: problem.labels.iter().map(label).collect(),
        }
    }

    fn summary(&self) -> String {
        let count = |severity| self.list.iter().filter(|problem| problem.severity == severity).count();
        let parts: Vec<String> = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, noun)| counted(count, noun))
            .collect();
        format!("{}: {}", self.file, parts.join(", "))
    }
}

/// A text that was refused, with every reason.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.summary())]
pub struct Rejected(Problems);

impl Rejected {
    /// Returns the refusal for `problems`, of which at least one is an error.
    #[must_use]
    pub fn new(problems: Problems) -> Self {
        Self(problems)
    }

    /// Returns every problem, warnings included.
    #[must_use]
    pub fn problems(&self) -> &Problems {
        &self.0
    }
}

/// Returns the line and the column, both from 1, of the byte at `offset`; the column counts characters.
#[must_use]
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A problem beside its text, which is what the drawing of miette asks for.
#[derive(Debug)]
struct Placed<'a> {
    problem: &'a Diagnostic,
    source: &'a NamedSource<String>,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Placed<'_> {}

impl miette::Diagnostic for Placed<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        miette::Diagnostic::code(self.problem)
    }

    fn severity(&self) -> Option<miette::Severity> {
        miette::Diagnostic::severity(self.problem)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        miette::Diagnostic::help(self.problem)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        miette::Diagnostic::labels(self.problem)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.source)
    }
}

#[derive(Serialize)]
struct JsonDocument<'a> {
    format: u32,
    file: &'a str,
    problems: Vec<JsonProblem<'a>>,
}

#[derive(Serialize)]
struct JsonChief<'a> {
    #[serde(flatten)]
    chief: JsonProblem<'a>,
    file: &'a str,
    problems: Vec<JsonProblem<'a>>,
}

#[derive(Serialize)]
struct JsonProblem<'a> {
    code: &'a str,
    severity: Severity,
    message: &'a str,
    help: Option<&'a str>,
    labels: Vec<JsonLabel<'a>>,
}

#[derive(Serialize)]
struct JsonLabel<'a> {
    line: usize,
    column: usize,
    offset: usize,
    length: usize,
    text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_from_one() {
        let text = "a\nü = 1\n";
        assert_eq!([0, 2, 4, 5, 99].map(|offset| position(text, offset)), [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)]);
    }

    #[test]
    fn the_json_form_is_one_object() {
        let problem = Diagnostic::error("plan::x", "x is wrong").at(2..3, "here").help("change it");
        assert_eq!(
            Problems::new("p.toml", "a\nb", vec![problem]).json(),
            r#"{"format":1,"file":"p.toml","problems":[{"code":"plan::x","severity":"error","message":"x is wrong","help":"change it","labels":[{"line":2,"column":1,"offset":2,"length":1,"text":"here"}]}]}"#
        );
    }

    #[test]
    fn the_chief_problem_is_the_first_of_the_worst() {
        let chief = |list| {
            let problems = Problems::new("p.toml", "a\nb", list);
            let told = serde_json::to_value(problems.chief_json()).unwrap_or_default();
            (
                told["code"].clone(),
                told["problems"].as_array().map(Vec::len),
                problems.chief().map(Diagnostic::severity),
            )
        };
        let [odd, wrong, worse] = [
            Diagnostic::warning("plan::odd", "x is odd").at(0..1, ""),
            Diagnostic::error("plan::wrong", "x is wrong").at(1..2, ""),
            Diagnostic::error("plan::worse", "x is worse").at(2..3, ""),
        ];
        let error = Some(Severity::Error);
        assert_eq!(chief(vec![worse, odd.clone(), wrong]), ("plan::wrong".into(), Some(3), error));
        assert_eq!(chief(vec![odd]), ("plan::odd".into(), Some(1), Some(Severity::Warning)));
        assert_eq!(chief(vec![]), (serde_json::Value::Null, None, None));
    }

    #[test]
    fn every_look_draws_the_same_words() {
        let problems =
            Problems::new("p.toml", "b = 1\n", vec![Diagnostic::warning("plan::x", "x is odd").at(0..1, "here")]);
        for (colour, unicode) in [(false, false), (false, true), (true, false), (true, true)] {
            let drawn = problems.graphical(Look { width: 80, colour, unicode });
            assert!(drawn.contains("x is odd") && drawn.ends_with("p.toml: 1 warning\n"), "{drawn}");
            assert_eq!(drawn.contains('\u{1b}'), colour);
            assert_eq!(drawn.is_ascii(), !unicode);
        }
    }
}
