//! A bucket as a plan names it, and how it is spoken to.
//!
//! A key that is left out is what HitKeep's own variable for it says, and without that a default, or what the AWS SDK
//! finds. What keys get wrong with each other is found in `mistakes`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::lifecycle::{Lifecycle, Lifecycling};
use super::raw::{self, At};
use super::resolve::Desk;
use super::secret::{self, Secret};
use super::words::{quoted, written};
use super::{Chosen, Origin, code, environment, mistakes};
use crate::diagnose::Diagnostic;
use crate::name::Prefix;

/// Where requests name the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum UrlStyle {
    /// In the path: `https://HOST/BUCKET/KEY`.
    Path,
    /// In the host: `https://BUCKET.HOST/KEY`.
    Vhost,
}

impl UrlStyle {
    /// Returns the word that plans use.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Vhost => "vhost",
        }
    }
}

/// How the server encrypts what it keeps, as plans say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Cipher {
    /// With a key of the server's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of its key management, `kms_key`.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// How the server encrypts what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With a key of the server's own.
    Aes256,
    /// With a key of its key management.
    Kms {
        /// The key; the bucket's own where there is none.
        key: Option<String>,
    },
}

impl Encryption {
    /// Returns the word that plans and S3 use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms { .. } => "aws:kms",
        }
    }
}

/// The checksum that the server is given to compare with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// The strongest that the server offers.
    Auto,
    /// CRC-64/NVME, which costs next to nothing.
    Crc64Nvme,
    /// None: for servers that refuse requests with a checksum.
    None,
}

impl Checksum {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Crc64Nvme => "crc64nvme",
            Self::None => "none",
        }
    }
}

/// An access key: where its parts are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Where the id of the key is found.
    pub access_key_id: Secret,
    /// Where the key's secret is found.
    pub secret_access_key: Secret,
    /// Where the session token of a temporary key is found.
    pub session_token: Option<Secret>,
}

/// An access key, and who chose each of its parts.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) keys: Keys,
    pub(super) access_key_id: Origin,
    pub(super) secret_access_key: Origin,
    pub(super) session_token: Origin,
}

/// A bucket and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(super) name: String,
    pub(super) root: Prefix,
    pub(super) region: Option<Chosen<String>>,
    pub(super) endpoint: Option<Chosen<Endpoint>>,
    pub(super) url_style: Chosen<UrlStyle>,
    pub(super) use_ssl: Chosen<bool>,
    pub(super) credentials: Option<Credentials>,
    pub(super) storage_class: Option<Chosen<String>>,
    pub(super) encryption: Option<Chosen<Encryption>>,
    /// Who chose the key in `encryption`.
    pub(super) kms_key: Origin,
    pub(super) ca_bundle: Option<Chosen<PathBuf>>,
    pub(super) checksum: Chosen<Checksum>,
    pub(super) lifecycling: Option<Lifecycling>,
}

/// What was wrong has been reported.
pub(super) struct Refused;

impl Bucket {
    /// Reads the keys of `[destination.NAME]` whose `url` is a bucket's; returns nothing when one of them was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, url: &At<String>, raw: raw::Destination) -> Option<Self> {
        let address = address(url).map_err(|problem| desk.problems.push(problem));
        let region = region(desk, raw.region, &url.span);
        let endpoint = endpoint(desk, raw.endpoint, &url.span);
        let url_style = or_variable(desk, raw.url_style, &URL_STYLE, &url.span);
        let use_ssl = or_variable(desk, raw.use_ssl, &USE_SSL, &url.span);
        let id = reference(desk, "access_key_id", raw.access_key_id, environment::S3_ACCESS_KEY_ID);
        let secret = reference(desk, "secret_access_key", raw.secret_access_key, environment::S3_SECRET_ACCESS_KEY);
        let token = reference(desk, "session_token", raw.session_token, environment::S3_SESSION_TOKEN);
        let credentials = match (id, secret, token) {
            (Ok(id), Ok(secret), Ok(token)) => credentials(desk, (id, secret, token), &url.span),
            _ => Err(Refused),
        };
        let encryption = encryption(desk, raw.encryption, raw.kms_key);
        let ca_bundle = raw.ca_bundle.map(|at| desk.path(&at).ok_or(Refused)).transpose();
        let lifecycling = raw.lifecycle.map(|at| Lifecycling::resolve(desk, at.value).ok_or(Refused)).transpose();
        let ((name, root), endpoint) = (address.ok()?, endpoint.ok()?);
        let (encryption, kms_key) = encryption.ok()?;
        let bucket = Self {
            name,
            root,
            region: region.ok()?.or_else(|| default_region(endpoint.as_ref()?)),
            endpoint,
            url_style: url_style.ok()?,
            use_ssl: use_ssl.ok()?,
            credentials: credentials.ok()?,
            storage_class: raw.storage_class.map(|at| desk.chosen(at.value, &at.span)),
            encryption,
            kms_key,
            ca_bundle: ca_bundle.ok()?,
            checksum: desk.word(raw.checksum, Checksum::Auto),
            lifecycling: lifecycling.ok()?,
        };
        desk.problems.extend(mistakes::of(&bucket, &url.span));
        Some(bucket)
    }

    /// Returns the name of the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the folder in the bucket that everything lies below; empty for the bucket itself.
    #[must_use]
    pub fn root(&self) -> &Prefix {
        &self.root
    }

    /// Returns the region; nothing where the AWS SDK finds it.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_ref().map(|region| region.value.as_str())
    }

    /// Returns the address of the server, with its scheme: `http://localhost:9000`; nothing for AWS.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let scheme = if self.uses_ssl() { "https" } else { "http" };
        self.endpoint.as_ref().map(|endpoint| format!("{scheme}://{}", endpoint.value))
    }

    /// Returns whether requests name the bucket in the path, rather than in the host.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        self.url_style.value == UrlStyle::Path
    }

    /// Returns whether the server is spoken to over TLS.
    #[must_use]
    pub fn uses_ssl(&self) -> bool {
        self.use_ssl.value
    }

    /// Returns where the access key is found; nothing where the AWS SDK finds one.
    #[must_use]
    pub fn credentials(&self) -> Option<&Keys> {
        self.credentials.as_ref().map(|credentials| &credentials.keys)
    }

    /// Returns the storage class of what is written; nothing for the server's own choice.
    #[must_use]
    pub fn storage_class(&self) -> Option<&str> {
        self.storage_class.as_ref().map(|class| class.value.as_str())
    }

    /// Returns how the server encrypts what it keeps; nothing for the bucket's own choice.
    #[must_use]
    pub fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref().map(|encryption| &encryption.value)
    }

    /// Returns the file of certificates that are trusted besides those of this host, absolute.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_ref().map(|path| path.value.as_path())
    }

    /// Returns the checksum that the server is given.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum.value
    }

    /// Returns what the bucket is to delete and move by itself; nothing where the plan leaves that to others.
    #[must_use]
    pub fn lifecycle(&self) -> Option<Lifecycle> {
        self.lifecycling.as_ref().map(Lifecycling::lifecycle)
    }

    /// Returns what the bucket's keys inside a folder begin with: nothing, or a text that ends with `/`.
    #[must_use]
    pub fn beginning(&self, prefix: &Prefix) -> String {
        let folder = self.root.join(prefix);
        if folder.as_str().is_empty() { String::new() } else { format!("{folder}/") }
    }

    /// Returns what tells the bucket from one of the same name at another server; the same for all of AWS.
    pub(super) fn server(&self) -> Option<String> {
        self.endpoint.as_ref()?.value.identity(self.uses_ssl())
    }

    /// Returns the address of a folder below the bucket's root.
    pub(super) fn locate(&self, prefix: &Prefix) -> String {
        match self.root.join(prefix).as_str() {
            "" => format!("s3://{}", self.name),
            folder => format!("s3://{}/{folder}", self.name),
        }
    }
}

/// Writes the address of the bucket, with the folder in it.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.locate(&Prefix::default()))
    }
}

/// Returns the bucket and the folder that an `s3:` address names.
fn address(url: &At<String>) -> Result<(String, Prefix), Diagnostic> {
    let refused = |reason: &str, label: &str| {
        let message = format!("{} does not name a bucket: {reason}", secret::address(&url.value));
        Diagnostic::error(code::INVALID_URL, message).at(url.span.clone(), label)
    };
    let (_, rest) = url.value.split_once(':').unwrap_or_default();
    let Some(rest) = rest.strip_prefix("//").filter(|rest| !rest.is_empty()) else {
        return Err(refused("nothing follows `s3://`", "expected `s3://` and a bucket").help(LIKE_THIS));
    };
    if rest.contains("{{") {
        return Err(refused("only `prefix` is a template", "taken as it stands").help(LIKE_THIS));
    }
    if rest.contains(['?', '#']) {
        let help = "whatever else there is to say of a bucket has a key of its own";
        return Err(refused("it holds `?` or `#`", "expected a bucket and a folder").help(help));
    }
    if rest.contains('@') {
        let message = format!("{} holds an access key", secret::address(&url.value));
        let help = "say where it is found, with `access_key_id` and `secret_access_key`";
        return Err(Diagnostic::error(code::PLAIN_SECRET, message)
            .at(url.span.clone(), "a key in an address")
            .help(help));
    }
    let (name, folder) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(reason) = no_bucket(name) {
        let message = format!("{} is not the name of a bucket: {reason}", written(name));
        let problem = Diagnostic::error(code::INVALID_BUCKET, message).at(url.span.clone(), "no bucket is called so");
        return Err(problem.help("a name has 3 to 63 of a-z, 0-9, `-` and `.`, and a letter or digit at both ends"));
    }
    match folder.trim_end_matches('/').parse() {
        Ok(root) => Ok((name.to_owned(), root)),
        Err(reason) => Err(refused(&reason.to_string(), "not a folder").help(LIKE_THIS)),
    }
}

const LIKE_THIS: &str = "write it as in `s3://my-analytics-bucket/hitkeep`";

/// Returns why no bucket can have this name: by the rules of AWS, which others share.
fn no_bucket(name: &str) -> Option<&'static str> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match name {
        short if short.len() < 3 => Some("it is shorter than 3 characters"),
        long if long.len() > 63 => Some("it is longer than 63 characters"),
        odd if odd.contains(|c: char| c.is_ascii_uppercase()) => Some("it holds a capital letter"),
        odd if !odd.chars().all(|c| edge(c) || c == '-' || c == '.') => Some("it holds a character that names cannot"),
        odd if !odd.starts_with(edge) || !odd.ends_with(edge) => Some("it begins or ends with a `-` or a `.`"),
        odd if odd.contains("..") => Some("it holds two dots in a row"),
        odd if odd.parse::<core::net::Ipv4Addr>().is_ok() => Some("it is an IP address"),
        _ => None,
    }
}

fn region(desk: &mut Desk<'_>, key: Option<At<String>>, url: &Range<usize>) -> Result<Option<Chosen<String>>, Refused> {
    let Some(region) = desk.fallback(key, environment::S3_REGION) else { return Ok(None) };
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !region.value.is_empty() && is_word(&region.value) {
        return Ok(Some(region));
    }
    let message = format!("{} is {}, which is not a region", region.name("region"), written(&region.value));
    let problem = region.mark(Diagnostic::error(code::INVALID_REGION, message), url, "not a region");
    desk.problems.push(problem.help("write it as the server does, as in `eu-central-1`, or leave it out"));
    Err(Refused)
}

/// Returns the region that servers other than AWS take from whoever does not know theirs.
fn default_region(endpoint: &Chosen<Endpoint>) -> Option<Chosen<String>> {
    let region = if endpoint.value.is_r2() { "auto" } else { "us-east-1" };
    (!endpoint.value.is_aws()).then(|| Chosen { value: region.to_owned(), origin: Origin::Default })
}

fn endpoint(
    desk: &mut Desk<'_>,
    key: Option<At<String>>,
    url: &Range<usize>,
) -> Result<Option<Chosen<Endpoint>>, Refused> {
    let Some(text) = desk.fallback(key, environment::S3_ENDPOINT) else { return Ok(None) };
    match text.value.parse() {
        Ok(endpoint) => Ok(Some(text.map(|_| endpoint))),
        Err(refused) => {
            let shown = secret::address(&text.value);
            let message = format!("{} is {shown}, which is not a server: {}", text.name("endpoint"), refused.reason);
            let problem = Diagnostic::error(code::INVALID_ENDPOINT, message);
            let problem = text.mark(problem, url, "expected `host[:port]`");
            desk.problems.push(problem.help(refused.help));
            Err(Refused)
        }
    }
}

/// A key of few values that a variable may stand in for.
struct Fallback<T: 'static> {
    variable: &'static str,
    words: &'static [(&'static str, T)],
    default: T,
}

const URL_STYLE: Fallback<UrlStyle> = Fallback {
    variable: environment::S3_URL_STYLE,
    words: &[("path", UrlStyle::Path), ("vhost", UrlStyle::Vhost)],
    default: UrlStyle::Vhost,
};

/// What HitKeep takes for a truth value, which is what Go does.
const USE_SSL: Fallback<bool> = Fallback {
    variable: environment::S3_USE_SSL,
    words: &[("true", true), ("false", false), ("1", true), ("0", false), ("t", true), ("f", false)],
    default: true,
};

fn or_variable<T: Copy>(
    desk: &mut Desk<'_>,
    key: Option<At<T>>,
    fallback: &Fallback<T>,
    url: &Range<usize>,
) -> Result<Chosen<T>, Refused> {
    if let Some(at) = key {
        return Ok(desk.chosen(at.value, &at.span));
    }
    let Some(text) = desk.variable(fallback.variable) else {
        return Ok(Chosen { value: fallback.default, origin: Origin::Default });
    };
    let meant = fallback.words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text.value));
    if let Some((_, value)) = meant {
        return Ok(text.map(|_| *value));
    }
    let message = format!("`${}` is {}", fallback.variable, written(&text.value));
    let words = quoted(fallback.words.iter().take(2).map(|(word, _)| *word));
    desk.problems.push(
        Diagnostic::error(code::INVALID_VARIABLE, message)
            .at(url.clone(), "this bucket leaves it to the environment")
            .help(format!("it takes {words}; a key in the plan comes before it")),
    );
    Err(Refused)
}

/// A part of an access key, where there is one.
type Part = Option<Chosen<Secret>>;

fn reference(
    desk: &mut Desk<'_>,
    key: &str,
    at: Option<At<raw::Secret>>,
    variable: &'static str,
) -> Result<Part, Refused> {
    match at {
        Some(at) => Secret::resolve(desk, key, at).map(Some).ok_or(Refused),
        None => Ok(desk.variable(variable).map(|text| text.map(|_| Secret::Variable(variable.to_owned())))),
    }
}

/// Returns the whole of an access key; nothing where there is no part of one.
fn credentials(
    desk: &mut Desk<'_>,
    (id, secret, token): (Part, Part, Part),
    url: &Range<usize>,
) -> Result<Option<Credentials>, Refused> {
    let token_place = token.as_ref().and_then(Chosen::place);
    let problem = match (id, secret) {
        (Some(id), Some(secret)) => {
            // The token of the environment belongs to the key of the environment, and to no other.
            let is_hitkeeps = is_variable(&id, environment::S3_ACCESS_KEY_ID)
                && is_variable(&secret, environment::S3_SECRET_ACCESS_KEY);
            let token = token.filter(|_| token_place.is_some() || is_hitkeeps);
            let (token, origin) = token.map_or((None, Origin::Default), |token| (Some(token.value), token.origin));
            let keys = Keys { access_key_id: id.value, secret_access_key: secret.value, session_token: token };
            let (access_key_id, secret_access_key) = (id.origin, secret.origin);
            return Ok(Some(Credentials { keys, access_key_id, secret_access_key, session_token: origin }));
        }
        (Some(id), None) => half(&id, "access_key_id", "secret_access_key", url),
        (None, Some(secret)) => half(&secret, "secret_access_key", "access_key_id", url),
        (None, None) => match token_place {
            Some(place) => Diagnostic::error(code::HALF_KEY, "`session_token` belongs to a key, and there is none")
                .at(place, "the token of no key")
                .help("add `access_key_id` and `secret_access_key`, or leave all three to the AWS SDK"),
            None => return Ok(None),
        },
    };
    // The other half may be what was refused.
    desk.problems.extend(desk.is_whole.then_some(problem));
    Err(Refused)
}

fn is_variable(part: &Chosen<Secret>, name: &str) -> bool {
    matches!(&part.value, Secret::Variable(variable) if variable == name)
}

fn half(part: &Chosen<Secret>, key: &str, missing: &str, url: &Range<usize>) -> Diagnostic {
    let message = format!("{} is half of an access key: there is no `{missing}`", part.name(key));
    part.mark(Diagnostic::error(code::HALF_KEY, message), url, "one half")
        .help(format!("add `{missing}`, set `$HITKEEP_S3_{}`, or do without both", missing.to_uppercase()))
}

/// Returns the encryption, and who chose its key.
fn encryption(
    desk: &mut Desk<'_>,
    cipher: Option<At<Cipher>>,
    key: Option<At<String>>,
) -> Result<(Option<Chosen<Encryption>>, Origin), Refused> {
    let key = key.map(|at| desk.chosen(at.value, &at.span));
    let cipher = cipher.map(|at| desk.chosen(at.value, &at.span));
    let is_kms = cipher.as_ref().is_some_and(|cipher| cipher.value == Cipher::Kms);
    if let Some(place) = key.as_ref().filter(|_| !is_kms).and_then(Chosen::place) {
        let problem = Diagnostic::error(code::KMS_KEY, "`kms_key` is the key of another encryption than the bucket's");
        let problem = problem.at(place, "a key of `aws:kms`").help("add `encryption = \"aws:kms\"`, or remove the key");
        let written = cipher.as_ref().and_then(Chosen::place);
        desk.problems.push(written.into_iter().fold(problem, |problem, span| problem.at(span, "no key is taken here")));
        return Err(Refused);
    }
    let (key, origin) = key.map_or((None, Origin::Default), |key| (Some(key.value), key.origin));
    let encryption = |cipher| match cipher {
        Cipher::Aes256 => Encryption::Aes256,
        Cipher::Kms => Encryption::Kms { key },
    };
    Ok((cipher.map(|cipher| cipher.map(encryption)), origin))
}
