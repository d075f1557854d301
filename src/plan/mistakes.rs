//! What the keys of a bucket get wrong with each other, though each is well written: what HitKeep's guide warns of,
//! and what a server would answer with a riddle, or not at all.

use std::ops::Range;

use super::bucket::Bucket;
use super::words::{nearest, quoted, written};
use super::{Origin, code};
use crate::diagnose::Diagnostic;

/// The regions that Cloudflare R2 takes: the first is the one, the others stand for it or narrow it.
const R2_REGIONS: [&str; 8] = ["auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc"];

/// The storage classes of AWS whose objects can be read at once.
const WARM: [&str; 7] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
];

/// The storage classes whose objects have to be asked for hours before they can be read.
const COLD: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Returns the mistakes of a bucket whose address stands at `url`.
pub(super) fn of(bucket: &Bucket, url: &Range<usize>) -> impl Iterator<Item = Diagnostic> {
    let style = || path_style(bucket, url).or_else(|| dots(bucket, url));
    [style(), ssl(bucket, url), certificates(bucket), region(bucket, url), storage_class(bucket)].into_iter().flatten()
}

/// The server is asked for a host of the bucket's name, and has none.
fn path_style(bucket: &Bucket, url: &Range<usize>) -> Option<Diagnostic> {
    let endpoint = bucket.endpoint.as_ref().filter(|_| !bucket.is_path_style())?;
    let is_certain = endpoint.value.address().is_some();
    let is_said = !matches!(bucket.url_style.origin, Origin::Default);
    let why = endpoint.value.wants_path().filter(|_| is_certain || !is_said)?;
    let message = format!("requests would go to the host `{}.{}`", bucket.name, endpoint.value);
    let problem = endpoint.mark(Diagnostic::error(code::URL_STYLE, message), url, why);
    let problem = bucket.url_style.place().into_iter().fold(problem, |problem, span| problem.at(span, "said here"));
    Some(problem.help(match (is_certain, is_said) {
        (true, true) => "write `url_style = \"path\"`: an address has no names below it",
        (true, false) => "add `url_style = \"path\"`: an address has no names below it",
        _ => "add `url_style = \"path\"`, or `url_style = \"vhost\"` if there is such a host",
    }))
}

/// The bucket's name makes a host that no certificate covers.
fn dots(bucket: &Bucket, url: &Range<usize>) -> Option<Diagnostic> {
    let is_host = !bucket.is_path_style() && bucket.uses_ssl() && bucket.name.contains('.');
    is_host.then(|| {
        let message = format!("no certificate covers a host that begins with `{}`", bucket.name);
        Diagnostic::error(code::URL_STYLE, message)
            .at(url.clone(), "a name with a dot in it")
            .help("add `url_style = \"path\"`: the `*` of a certificate stands for a name without dots")
    })
}

/// TLS is spoken to a server of plain HTTP, or the other way round.
fn ssl(bucket: &Bucket, url: &Range<usize>) -> Option<Diagnostic> {
    let use_ssl = &bucket.use_ssl;
    let Some(endpoint) = bucket.endpoint.as_ref().filter(|endpoint| !endpoint.value.is_aws()) else {
        let message = format!("{} sends backups to AWS without TLS", use_ssl.name("use_ssl"));
        let problem = use_ssl.mark(Diagnostic::error(code::USE_SSL, message), url, "without TLS");
        return (!use_ssl.value).then(|| problem.help("AWS speaks TLS: write `use_ssl = true`"));
    };
    let server = &endpoint.value;
    if use_ssl.value && server.is_plain() {
        let problem = Diagnostic::error(code::USE_SSL, "TLS would be spoken to port 80, where plain HTTP is spoken");
        return Some(endpoint.mark(problem, url, "the port of plain HTTP").help("write `use_ssl = false`"));
    }
    if !use_ssl.value && server.is_tls() {
        let problem = Diagnostic::error(code::USE_SSL, "plain HTTP would be spoken to port 443, where TLS is spoken");
        return Some(endpoint.mark(problem, url, "the port of TLS").help("write `use_ssl = true`"));
    }
    let is_guess = matches!(use_ssl.origin, Origin::Default) && server.looks_plain();
    is_guess.then(|| {
        let message = format!("`{server}` is spoken to over TLS, and probably speaks plain HTTP");
        let problem = endpoint.mark(Diagnostic::warning(code::USE_SSL, message), url, "looks like plain HTTP");
        problem.help("say which it is: `use_ssl = false`, or `use_ssl = true`")
    })
}

/// Certificates are to be trusted, and none is asked for.
fn certificates(bucket: &Bucket) -> Option<Diagnostic> {
    let place = bucket.ca_bundle.as_ref().filter(|_| !bucket.uses_ssl())?.place()?;
    let problem = Diagnostic::warning(code::USE_SSL, "`ca_bundle` is never looked at: plain HTTP has no certificates");
    Some(problem.at(place, "means something over TLS only").help("remove it, or `use_ssl = false`"))
}

/// The region is none of the server's.
fn region(bucket: &Bucket, url: &Range<usize>) -> Option<Diagnostic> {
    let region = bucket.region.as_ref()?;
    let name = region.value.as_str();
    let (server, help) = match &bucket.endpoint {
        Some(endpoint) if endpoint.value.is_r2() && !R2_REGIONS.contains(&name) => {
            ("Cloudflare R2", "write `region = \"auto\"`".to_owned())
        }
        Some(endpoint) if !endpoint.value.is_aws() => return None,
        _ if is_of_aws(name) => return None,
        _ => ("AWS", meant_of_aws(name)),
    };
    let message = format!("{} is `{name}`, which {server} does not have", region.name("region"));
    let problem = Diagnostic::error(code::INVALID_REGION, message);
    Some(region.mark(problem, url, &format!("not a region of {server}")).help(help))
}

/// Returns whether a region is written as those of AWS are: `eu-central-1`, `us-gov-west-1`.
fn is_of_aws(name: &str) -> bool {
    let Some((area, number)) = name.rsplit_once('-') else { return false };
    let is_word = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
    area.contains('-')
        && area.split('-').all(is_word)
        && !number.is_empty()
        && number.chars().all(|c| c.is_ascii_digit())
}

fn meant_of_aws(name: &str) -> String {
    let lower = name.to_lowercase().replace('_', "-");
    let region = lower.trim_end_matches(|c: char| c.is_ascii_lowercase());
    match name {
        "auto" => "`auto` is a region of Cloudflare R2: its server is missing, `endpoint`".to_owned(),
        _ if is_of_aws(region) => format!("did you mean `{region}`?"),
        _ => "write it as in `eu-central-1`; a server other than AWS is named by `endpoint`".to_owned(),
    }
}

/// The storage class does not exist, or keeps a backup from being read back.
fn storage_class(bucket: &Bucket) -> Option<Diagnostic> {
    let class = bucket.storage_class.as_ref()?;
    let name = class.value.as_str();
    let is_aws = bucket.endpoint.as_ref().is_none_or(|endpoint| endpoint.value.is_aws());
    let is_word = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let (message, help) = if COLD.contains(&name) {
        let message = format!("objects of the storage class `{name}` cannot be read at once");
        (
            message,
            "write `GLACIER_IR`: what has been written is read back, to list it, to verify it, to restore it"
                .to_owned(),
        )
    } else if !is_word || (is_aws && !WARM.contains(&name)) {
        let help = nearest(name, WARM.into_iter()).map(|near| format!("did you mean `{near}`?"));
        let known = || format!("AWS has {}", quoted(WARM.into_iter()));
        (format!("there is no storage class {}", written(name)), help.unwrap_or_else(known))
    } else {
        return None;
    };
    Some(Diagnostic::error(code::STORAGE_CLASS, message).at(class.place()?, "this class").help(help))
}
