//! How HitKeep speaks to buckets, and what its guide warns of.

use super::{Diagnostic, Ground, Variable, Variables, code};
use crate::plan::Endpoint;
use crate::plan::environment::{
    S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY, S3_SESSION_TOKEN, S3_URL_STYLE, S3_USE_SSL,
};

/// The region where HitKeep is not told.
const DEFAULT_REGION: &str = "us-east-1";

/// What Go takes for a truth value.
const TRUTH: [(&str, bool); 6] =
    [("true", true), ("false", false), ("1", true), ("0", false), ("t", true), ("f", false)];

/// How buckets are spoken to.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) region: Setting<String>,
    pub(super) endpoint: Option<String>,
    pub(super) url_style: Option<Setting<&'static str>>,
    pub(super) use_ssl: Option<Setting<bool>>,
    /// The variables that hold the access key; none where the AWS chain finds it.
    key: &'static [&'static str],
}

/// A value, and whether a variable says it; else it is HitKeep's default, or what is most likely meant.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) is_said: bool,
}

impl<T: Clone> Setting<T> {
    /// Returns the same setting in another form.
    pub(super) fn map<U>(&self, form: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: form(self.value.clone()), is_said: self.is_said }
    }
}

impl Server {
    pub(super) fn secrets(&self) -> &'static [&'static str] {
        self.key
    }
}

/// Reads the variables of S3; `is_on_host` tells that the plan is for this host, though HitKeep runs in a container.
pub(super) fn read(variables: &Variables, ground: &Ground, is_on_host: bool, notes: &mut Vec<Diagnostic>) -> Server {
    let region = variables.get(S3_REGION);
    let region = Setting {
        value: region.map_or_else(|| DEFAULT_REGION.to_owned(), |variable| variable.value.clone()),
        is_said: region.is_some(),
    };
    let endpoint = variables.get(S3_ENDPOINT).and_then(|variable| endpoint(variable, notes));
    let use_ssl = variables.get(S3_USE_SSL).and_then(|variable| truth(variable, notes));
    let url_style = variables.get(S3_URL_STYLE).and_then(|variable| url_style(variable, notes));
    let key = access_key(variables, notes);
    let said = |use_ssl| Setting { value: use_ssl, is_said: true };
    let Some((server, scheme)) = endpoint else {
        return Server { region, endpoint: None, url_style: url_style.map(style), use_ssl: use_ssl.map(said), key };
    };
    if let Some(name) = ground.neighbour(&server.to_string()).filter(|_| is_on_host) {
        notes.push(neighbour(name));
    }
    Server {
        url_style: url_style.map(style).or_else(|| path_style(&server, notes)),
        use_ssl: use_ssl.map(said).or_else(|| scheme.map(said)).or_else(|| plain_http(&server, notes)),
        endpoint: Some(server.to_string()),
        region,
        key,
    }
}

fn style(word: &'static str) -> Setting<&'static str> {
    Setting { value: word, is_said: true }
}

/// Reads the server, and whether TLS is spoken to it where a scheme says so, which HitKeep does not understand.
fn endpoint(variable: &Variable, notes: &mut Vec<Diagnostic>) -> Option<(Endpoint, Option<bool>)> {
    let (scheme, rest) = match variable.value.split_once("://") {
        Some(("http", rest)) => (Some(false), rest),
        Some(("https", rest)) => (Some(true), rest),
        _ => (None, variable.value.as_str()),
    };
    let rest = if scheme.is_some() { rest.trim_end_matches('/') } else { rest };
    match rest.parse::<Endpoint>() {
        Ok(server) => {
            notes.extend(scheme.map(|use_ssl| {
                let message = format!("{variable} begins with a scheme, which HitKeep takes for a part of the name");
                let ssl = if use_ssl { "" } else { " and `HITKEEP_S3_USE_SSL=false`" };
                Diagnostic::warning(code::ENDPOINT, message)
                    .help(format!("write `{S3_ENDPOINT}={server}`{ssl}; the plan does"))
            }));
            Some((server, scheme))
        }
        Err(refused) => {
            // The value is not shown: it may hold a password.
            let message = format!("{variable} is no server: {}", refused.reason);
            notes.push(
                Diagnostic::error(code::ENDPOINT, message).help("write `host[:port]`, as in `minio.internal:9000`"),
            );
            None
        }
    }
}

fn truth(variable: &Variable, notes: &mut Vec<Diagnostic>) -> Option<bool> {
    let meant = TRUTH.iter().find(|(word, _)| word.eq_ignore_ascii_case(&variable.value)).map(|(_, value)| *value);
    if meant.is_none() {
        notes.push(no_word(variable, "`true` or `false`"));
    }
    meant
}

fn url_style(variable: &Variable, notes: &mut Vec<Diagnostic>) -> Option<&'static str> {
    let meant = ["path", "vhost"].into_iter().find(|word| *word == variable.value);
    if meant.is_none() {
        notes.push(no_word(variable, "`path` or `vhost`"));
    }
    meant
}

fn no_word(variable: &Variable, words: &str) -> Diagnostic {
    let message = format!("{variable} is {:?}, which HitKeep does not understand", variable.value);
    Diagnostic::error(code::INVALID_VALUE, message).help(format!("it takes {words}"))
}

/// The server has no hosts with names of buckets, and is asked for one.
fn path_style(server: &Endpoint, notes: &mut Vec<Diagnostic>) -> Option<Setting<&'static str>> {
    let why = server.wants_path()?;
    let message =
        format!("`{S3_URL_STYLE}` is not set: HitKeep looks for a host of the bucket's name below `{server}` ({why})");
    notes.push(
        Diagnostic::warning(code::URL_STYLE, message)
            .help(format!("set `{S3_URL_STYLE}=path`, as the plan does; `vhost` if there is such a host")),
    );
    Some(Setting { value: "path", is_said: false })
}

/// The server speaks plain HTTP by its looks, and is spoken to over TLS.
fn plain_http(server: &Endpoint, notes: &mut Vec<Diagnostic>) -> Option<Setting<bool>> {
    if !server.is_plain() && !server.looks_plain() {
        return None;
    }
    let message = format!("`{S3_USE_SSL}` is not set: HitKeep speaks TLS to `{server}`, which looks like plain HTTP");
    notes.push(
        Diagnostic::warning(code::USE_SSL, message)
            .help(format!("set `{S3_USE_SSL}=false`, as the plan does; `true` in both if it does speak TLS")),
    );
    Some(Setting { value: false, is_said: false })
}

/// The server is known by its name only among the containers.
fn neighbour(name: &str) -> Diagnostic {
    Diagnostic::warning(code::ENDPOINT, format!("`{name}` is a service of the compose file: this host does not know its name"))
        .help("write the address of a port that it publishes as `endpoint` of the plan, or run the plan in a container beside it")
}

/// Returns the variables of the access key. HitKeep takes a whole one only, and else what the AWS chain finds.
fn access_key(variables: &Variables, notes: &mut Vec<Diagnostic>) -> &'static [&'static str] {
    const KEY: [&str; 3] = [S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_SESSION_TOKEN];
    let token = variables.get(S3_SESSION_TOKEN);
    let (set, missing) = match (variables.get(S3_ACCESS_KEY_ID), variables.get(S3_SECRET_ACCESS_KEY)) {
        (Some(_), Some(_)) => {
            notes.extend(token.map(|variable| {
                let message = format!("{variable} belongs to a key that ends after some hours");
                Diagnostic::warning(code::ACCESS_KEY, message).help("give the plan a key that lasts, or a role of AWS")
            }));
            return if token.is_some() { &KEY } else { &KEY[..2] };
        }
        (Some(set), None) => (set, S3_SECRET_ACCESS_KEY),
        (None, Some(set)) => (set, S3_ACCESS_KEY_ID),
        (None, None) => return &[],
    };
    let message = format!("{set} is half of an access key: HitKeep does without it where `{missing}` is not set");
    notes.push(
        Diagnostic::error(code::ACCESS_KEY, message).help("set both; or neither, which leaves keys to the AWS chain"),
    );
    &[]
}
