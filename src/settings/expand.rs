//! Variables inside of values, as Compose and shells write them: `$NAME`, `${NAME}`, `${NAME:-default}` and the like.

/// Finds the value of a variable.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// A text in which values stand for the variables.
#[derive(Clone, Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// The variables that are not set and have no default; nothing stands for them.
    pub(super) missing: Vec<String>,
}

/// Puts the values of variables into a text.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    expanded.add(text, lookup);
    expanded
}

impl Expanded {
    /// Returns a text that holds no variables.
    pub(super) fn literal(text: String) -> Self {
        Self { text, missing: Vec::new() }
    }

    fn add(&mut self, text: &str, lookup: Lookup<'_>) {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            self.text.push_str(before);
            rest = if let Some(after) = after.strip_prefix('$') {
                self.text.push('$');
                after
            } else if let Some((reference, after)) = braced(after) {
                self.add_reference(reference, lookup);
                after
            } else {
                let (name, after) = after.split_at(name_length(after));
                if name.is_empty() {
                    self.text.push('$');
                } else {
                    self.add_reference(name, lookup);
                }
                after
            };
        }
        self.text.push_str(rest);
    }

    /// Adds what stands for `NAME`, `NAME:-default`, `NAME:+other`, `NAME:?message`, or one of these without its colon.
    fn add_reference(&mut self, reference: &str, lookup: Lookup<'_>) {
        let (name, operator) = reference.split_at(name_length(reference));
        let (takes_empty, operator) = operator.strip_prefix(':').map_or((true, operator), |rest| (false, rest));
        let value = lookup(name).filter(|value| takes_empty || !value.is_empty());
        match (operator.split_at_checked(1), value) {
            (Some(("+", other)), value) => value.into_iter().for_each(|_| self.add(other, lookup)),
            (_, Some(value)) => self.text.push_str(&value),
            (Some(("-", default)), None) => self.add(default, lookup),
            (_, None) => self.missing.push(name.to_owned()),
        }
    }
}

/// Splits what stands in braces at the beginning of a text from what follows; braces inside come in pairs.
fn braced(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('{')?;
    let mut depth = 0_usize;
    for (index, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some((&inside[..index], &inside[index + 1..])),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Returns how long the name of a variable is that a text begins with.
pub(super) fn name_length(text: &str) -> usize {
    let is_part = |(index, c): (usize, char)| c.is_ascii_alphabetic() || c == '_' || (index > 0 && c.is_ascii_digit());
    text.char_indices().find(|item| !is_part(*item)).map_or(text.len(), |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_expanded_as_compose_does_it() {
        let lookup = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expanded, missing) in [
            ("plain", "plain", ""),
            ("$SET/${SET}", "value/value", ""),
            ("${SET:-other}${SET-other}", "valuevalue", ""),
            ("${EMPTY:-other}|${EMPTY-other}|${EMPTY}", "other||", ""),
            ("${NONE:-a}${NONE-b}${NONE:-}", "ab", ""),
            ("${NONE:-${SET:-x}/${NONE:-y}}", "value/y", ""),
            ("${SET:+a}${NONE:+b}${EMPTY:+c}${EMPTY+d}", "ad", ""),
            ("$NONE-${OTHER}-${THIRD:?tell me}", "--", "NONE OTHER THIRD"),
            ("$$SET costs 5$ or $5", "$SET costs 5$ or $5", ""),
            ("${SET", "${SET", ""),
            ("ü$SET€", "üvalue€", ""),
        ] {
            let found = expand(text, &lookup);
            assert_eq!((found.text.as_str(), found.missing.join(" ").as_str()), (expanded, missing), "{text}");
        }
    }
}
