//! How messages speak of the words of a plan: quoted, listed, and compared with those that are known.

/// Returns the known word that `word` was probably meant to be; nothing unless the two are very close.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known))
        .filter(|(distance, known)| *distance <= (known.chars().count().min(word.chars().count()) / 3).max(1))
        .filter(|(distance, known)| *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Returns a text of the plan in quotes, with nothing in it that a terminal would act on.
pub(super) fn written(text: &str) -> String {
    if text.is_empty() { "an empty text".to_owned() } else { format!("`{}`", text.escape_debug()) }
}

/// Returns the words as a sentence lists them: `` `a`, `b` and `c` ``.
pub(super) fn quoted<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(written).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_later_versions_are_not_taken_for_typing_errors() {
        let known = ["source", "to", "prefix", "databases", "compression", "verify", "timeout", "url", "data_path"];
        let known = known.into_iter().chain(["db_path", "capture", "state", "staging", "memory_limit", "version"]);
        let known = known.chain(["timezone", "vars", "destination", "backup", "local", "upload", "region", "endpoint"]);
        let known = known.chain(["url_style", "use_ssl", "access_key_id", "secret_access_key", "session_token"]);
        let known = known.chain(["storage_class", "encryption", "kms_key", "ca_bundle", "checksum", "concurrency"]);
        let known = known.chain(["part_size", "bandwidth", "env", "file", "command", "credential"]);
        let known = known.chain(["objective", "rpo", "drill_every", "max_shrink", "assert"]);
        let known = known.chain(["hooks", "before", "after", "failure", "notify", "on", "webhook", "healthchecks"]);
        let known = known.chain(["template", "metrics", "textfile"]);
        let known: Vec<&str> = known.collect();
        for later in
            ["schedule", "catch_up", "jitter", "keep", "archive", "snapshots", "older_than", "layout", "delete"]
        {
            assert_eq!(nearest(later, known.iter().copied()), None, "{later}");
        }
    }

    #[test]
    fn typing_errors_are_seen_through() {
        let known = ["source", "to", "prefix", "databases", "db_path", "version"];
        for (typed, meant) in [
            ("sorce", "source"),
            ("Databases", "databases"),
            ("db-path", "db_path"),
            ("verison", "version"),
            ("t", "to"),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), Some(meant));
        }
        assert_eq!(nearest("xy", known.into_iter()), None);
    }
}
