//! The two scripts of an exported snapshot, `schema.sql` and `load.sql`, as statements.
//!
//! DuckDB offers no way to split a script without running it, so this knows just enough of SQL to find where a
//! statement ends: strings, quoted names and comments.

use crate::hitkeep;

/// Returns the statements of a script, trimmed, without their semicolons and without empty ones.
pub(super) fn statements(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for token in tokens(script) {
        if token.text == ";" {
            found.push(&script[start..token.start]);
            start = token.start + 1;
        }
    }
    found.push(&script[start..]);
    found.into_iter().map(str::trim).filter(|statement| tokens(statement).next().is_some()).collect()
}

/// A `COPY <table> FROM '<path>' <options>` of a `load.sql`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copy<'s> {
    /// The table and, where there is one, the list of columns: quoted as the script has it.
    pub(super) table: &'s str,
    /// The last part of the path: DuckDB's own IMPORT ignores the folders too.
    pub(super) file: String,
    /// What follows the path.
    pub(super) options: &'s str,
}

/// Reads a statement of a `load.sql`; nothing when it is no COPY from a file.
pub(super) fn copy(statement: &str) -> Option<Copy<'_>> {
    let mut tokens = tokens(statement);
    let first = tokens.next().filter(|token| token.is("copy"))?;
    let from = tokens.by_ref().find(|token| token.is("from"))?;
    let path = tokens.next().filter(|token| token.text.starts_with('\''))?;
    let unquoted = path.text.trim_matches('\'').replace("''", "'");
    Some(Copy {
        table: statement[first.end()..from.start].trim(),
        file: hitkeep::base_name(&unquoted).to_owned(),
        options: statement[path.end()..].trim(),
    })
}

impl Copy<'_> {
    /// Returns the table's schema, where the script has one, and its name, both without quotes.
    pub(super) fn names(&self) -> (Option<String>, String) {
        names(self.table)
    }
}

/// Returns the schema and the name, without quotes, that a text begins with.
fn names(text: &str) -> (Option<String>, String) {
    let parts = tokens(text).map(|token| token.text).take_while(|text| *text != "(");
    let mut parts: Vec<String> = parts.filter(|text| *text != ".").map(unquoted_name).collect();
    let name = parts.pop().unwrap_or_default();
    (parts.pop(), name)
}

fn unquoted_name(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inside) => inside.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

/// Returns the names of the data files that a `load.sql` names, in its order.
#[must_use]
pub fn data_files(load_script: &str) -> Vec<String> {
    statements(load_script).into_iter().filter_map(copy).map(|copy| copy.file).collect()
}

/// Returns the schema, where the script has one, and the name of the table that a statement creates, if it creates one.
pub(super) fn created_table(statement: &str) -> Option<(Option<String>, String)> {
    if !creates(statement, &["create", "table"]) {
        return None;
    }
    let name = tokens(statement).nth(2)?.start;
    Some(names(&statement[name..]))
}

/// Returns what a statement makes an index of, if it creates one: the table's schema, where the script has one, and its
/// name; and the keys, as the script has them.
pub(super) fn indexed(statement: &str) -> Option<((Option<String>, String), &str)> {
    if !creates(statement, &["create", "index"]) && !creates(statement, &["create", "unique", "index"]) {
        return None;
    }
    let mut tokens = tokens(statement);
    let on = tokens.find(|token| token.is("on"))?.end();
    let open = tokens.find(|token| token.is("("))?;
    let close = tokens.filter(|token| token.is(")")).last()?;
    Some((names(&statement[on..open.start]), statement[open.end()..close.start].trim()))
}

/// A `CREATE TABLE` without its primary key, and the key by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keyless {
    /// The table's schema, where the script has one, and its name.
    pub(super) table: (Option<String>, String),
    /// The statement without the key.
    pub(super) create: String,
    /// The statement that adds the key.
    pub(super) add_key: String,
}

/// Takes the primary key out of a `CREATE TABLE`; nothing where it has none after its columns, or is another statement.
pub(super) fn keyless(statement: &str) -> Option<Keyless> {
    if !creates(statement, &["create", "table"]) {
        return None;
    }
    let tokens: Vec<Token<'_>> = tokens(statement).collect();
    let begins = |four: &[Token<'_>]| four.iter().zip([",", "primary", "key", "("]).all(|(token, word)| token.is(word));
    let [comma, primary, ..] = tokens.windows(4).find(|four| begins(four))? else { return None };
    let end = tokens.iter().find(|token| token.start > primary.start && token.is(")"))?.end();
    let columns = tokens.iter().find(|token| token.is("("))?;
    let name = statement[tokens.get(2)?.start..columns.start].trim();
    Some(Keyless {
        table: names(name),
        create: format!("{}{}", &statement[..comma.start], &statement[end..]),
        add_key: format!("ALTER TABLE {name} ADD {}", &statement[primary.start..end]),
    })
}

/// Returns the names of the tables that a statement's foreign keys refer to.
pub(super) fn referred_tables(statement: &str) -> Vec<String> {
    let refers = tokens(statement).filter(|token| token.is("references"));
    refers.map(|token| names(&statement[token.end()..]).1).collect()
}

/// Tells whether a statement creates a view.
pub(super) fn creates_view(statement: &str) -> bool {
    creates(statement, &["create", "view"]) || creates(statement, &["create", "recursive", "view"])
}

/// Tells whether a text has this word, outside of quotes.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    tokens(text).any(|token| token.text == word)
}

/// Remakes a `CREATE SEQUENCE … INCREMENT BY n … START m …` so that the sequence begins one step earlier, and takes that
/// step; nothing when it is another statement.
///
/// A sequence that is used up is exported with a start beyond its end, which no engine takes back.
pub(super) fn one_step_back(statement: &str) -> Option<String> {
    if !creates(statement, &["create", "sequence"]) {
        return None;
    }
    let (before, increment, _) = option(statement, "by")?;
    let name = tokens(&before[..before.len().checked_sub(2)?]).collect::<Vec<_>>();
    let (first, last) = (name.get(2)?, name.get(name.len().checked_sub(2)?)?);
    let name = statement[first.start..last.end()].replace('\'', "''");
    let (before, start, after) = option(statement, "start")?;
    Some(format!("{before} {}{after}; SELECT nextval('{name}')", start.checked_sub(increment)?))
}

/// Finds the last option of this name and its number: what is before the number, the number, what is after it.
fn option<'s>(statement: &'s str, name: &str) -> Option<(&'s str, i64, &'s str)> {
    let found = tokens(statement).filter(|token| token.is(name)).last()?;
    let (before, rest) = statement.split_at(found.end());
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((before, rest[..end].parse().ok()?, &rest[end..]))
}

fn creates(statement: &str, words: &[&str]) -> bool {
    let mut found = tokens(statement);
    words.iter().all(|word| found.next().is_some_and(|token| token.is(word)))
}

/// A piece of a script: a string, a quoted name, a word, or a single other character.
struct Token<'s> {
    start: usize,
    text: &'s str,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

/// Returns the tokens of a script; space and comments are none.
fn tokens(script: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &script[at..];
            let (length, is_token) = next_token(rest)?;
            let token = Token { start: at, text: &rest[..length] };
            at += length;
            if is_token {
                return Some(token);
            }
        }
    })
}

/// Returns the length of what a script begins with, and whether it is a token; nothing at the end.
fn next_token(rest: &str) -> Option<(usize, bool)> {
    let first = rest.chars().next()?;
    let until = |end: Option<usize>| end.unwrap_or(rest.len());
    Some(match first {
        c if c.is_whitespace() => (c.len_utf8(), false),
        '-' if rest.starts_with("--") => (until(rest.find('\n')), false),
        '/' if rest.starts_with("/*") => (until(rest.find("*/").map(|end| end + 2)), false),
        '\'' | '"' => (quoted_length(rest, first), true),
        c if is_word(c) => (until(rest.find(|c| !is_word(c))), true),
        c => (c.len_utf8(), true),
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of a quoted text; a doubled quote inside is part of it.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = rest[at..].find(quote) {
        at += end + 1;
        if !rest[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_only_where_sql_says_so() {
        let script = "CREATE TABLE \"a;\"\"b\"(x VARCHAR DEFAULT('it''s; so'));; -- not; this\n/* nor; that */\nCREATE INDEX i ON t(x);;\n\n";
        assert_eq!(
            statements(script),
            [
                "CREATE TABLE \"a;\"\"b\"(x VARCHAR DEFAULT('it''s; so'))",
                "-- not; this\n/* nor; that */\nCREATE INDEX i ON t(x)"
            ]
        );
    }

    #[test]
    fn a_copy_is_taken_apart() {
        let read = |statement| copy(statement).map(|copy| (copy.table.to_owned(), copy.file, copy.options.to_owned()));
        let expected = |table: &str, file: &str, options: &str| Some((table.into(), file.into(), options.into()));
        assert_eq!(
            read("COPY hits FROM '/b/shared/x/hits.parquet' (FORMAT 'parquet')"),
            expected("hits", "hits.parquet", "(FORMAT 'parquet')")
        );
        assert_eq!(
            read("copy \"from\"(a, \"b c\") From 'it''s.parquet'"),
            expected("\"from\"(a, \"b c\")", "it's.parquet", "")
        );
        assert_eq!(read("-- first\nCOPY s2.b FROM 's__b.parquet' (x)"), expected("s2.b", "s__b.parquet", "(x)"));
        assert_eq!(read("INSERT INTO hits VALUES (1)"), None);
        assert_eq!(read("COPY hits TO 'x'"), None);
    }

    #[test]
    fn a_table_has_a_name_without_quotes() {
        let names = |table| Copy { table, file: String::new(), options: "" }.names();
        assert_eq!(names("hits"), (None, "hits".into()));
        assert_eq!(names("s2.b"), (Some("s2".into()), "b".into()));
        assert_eq!(names("\"a.b\".\"c\"\"d (x)\"(i, j)"), (Some("a.b".into()), "c\"d (x)".into()));
    }

    #[test]
    fn an_index_is_on_a_table() {
        let found = |statement| indexed(statement).map(|((schema, table), keys)| (schema, table, keys));
        assert_eq!(found("CREATE INDEX i ON hits(site_id, path)"), Some((None, "hits".into(), "site_id, path")));
        assert_eq!(
            found("create unique index \"on\" ON s2.\"a (b\"(\"x)\", (y + 1))"),
            Some((Some("s2".into()), "a (b".into(), "\"x)\", (y + 1)"))
        );
        let others = [
            "CREATE TABLE \"index\"(x INT)",
            "CREATE VIEW v AS SELECT 1 ON (x)",
            "CREATE INDEX i",
            "CREATE INDEX i ON t",
        ];
        assert_eq!(others.map(found), [None, None, None, None]);
    }

    #[test]
    fn a_primary_key_is_taken_out_of_a_table() {
        let found = |statement| keyless(statement).map(|found| (found.table.1, found.create, found.add_key));
        let expected = |table: &str, create: &str, add: &str| Some((table.into(), create.into(), add.into()));
        assert_eq!(
            found(
                "CREATE TABLE hits(id UUID DEFAULT(uuidv7()), \"primary\" INT, PRIMARY KEY(id), FOREIGN KEY (s) REFERENCES t(id))"
            ),
            expected(
                "hits",
                "CREATE TABLE hits(id UUID DEFAULT(uuidv7()), \"primary\" INT, FOREIGN KEY (s) REFERENCES t(id))",
                "ALTER TABLE hits ADD PRIMARY KEY(id)"
            )
        );
        assert_eq!(
            found("CREATE TABLE s2.\"a (b\"(\"x)\" INT, y DATE, PRIMARY KEY(\"x)\", y))"),
            expected(
                "a (b",
                "CREATE TABLE s2.\"a (b\"(\"x)\" INT, y DATE)",
                "ALTER TABLE s2.\"a (b\" ADD PRIMARY KEY(\"x)\", y)"
            )
        );
        assert_eq!(found("CREATE TABLE t(a INTEGER PRIMARY KEY, b VARCHAR DEFAULT(', PRIMARY KEY(a)'))"), None);
        assert_eq!(found("CREATE VIEW v AS SELECT 1"), None);
    }

    #[test]
    fn foreign_keys_refer_to_tables() {
        let table = "CREATE TABLE c(a INT REFERENCES \"a b\"(id), s INT, FOREIGN KEY (s) REFERENCES s2.sites(id))";
        assert_eq!(referred_tables(table), ["a b", "sites"]);
        assert_eq!(
            referred_tables("CREATE TABLE c(\"references\" INT, t VARCHAR DEFAULT('REFERENCES d(id)'))"),
            [""; 0]
        );
    }

    #[test]
    fn a_sequence_is_made_one_step_earlier() {
        let made = |statement| one_step_back(statement);
        assert_eq!(
            made("CREATE SEQUENCE few INCREMENT BY 2 MINVALUE 1 MAXVALUE 4 START 5 NO CYCLE").as_deref(),
            Some("CREATE SEQUENCE few INCREMENT BY 2 MINVALUE 1 MAXVALUE 4 START 3 NO CYCLE; SELECT nextval('few')")
        );
        assert_eq!(
            made("CREATE SEQUENCE \"a b\".\"it's\" INCREMENT BY -1 MINVALUE -3 MAXVALUE -1 START -4").as_deref(),
            Some(
                "CREATE SEQUENCE \"a b\".\"it's\" INCREMENT BY -1 MINVALUE -3 MAXVALUE -1 START -3; SELECT nextval('\"a b\".\"it''s\"')"
            )
        );
        assert_eq!(made("CREATE SEQUENCE plain"), None);
        assert_eq!(made("CREATE VIEW start AS SELECT 1"), None);
    }

    #[test]
    fn unfinished_scripts_do_no_harm() {
        for script in ["'", "\"", "/*", "--", "COPY", "COPY t FROM", "COPY t FROM '", ";", "'';", "é'"] {
            let _ = statements(script).into_iter().filter_map(copy).count();
        }
    }
}
