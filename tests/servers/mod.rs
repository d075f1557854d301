//! Real S3 servers for the stories. Each is started when a story first needs it, and shared until the tests end; a
//! story makes a bucket of its own in it.
//!
//! They differ in what they promise ([`Habits`]), as the stores differ that people have.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub(crate) mod ceph;
mod forward;
pub(crate) mod garage;
pub(crate) mod home;
mod listening;
mod metadata;
pub(crate) mod minio;
pub(crate) mod proxy;
pub(crate) mod s3s;
pub(crate) mod seaweed;
mod sink;
mod stranger;
pub(crate) mod tls;
pub(crate) mod versity;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Config, Credentials, Region};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

pub(crate) use ceph::KMS_KEY;
pub(crate) use forward::Forward;
pub(crate) use metadata::{Answers, Metadata};
pub(crate) use proxy::{Faults, Proxy, Strike};
pub(crate) use sink::Sink;
pub(crate) use stranger::Stranger;
pub(crate) use tls::{Certificate, Tls};

use crate::redact::skipped;
use listening::on_runtime;

/// A server as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// What it is, for messages.
    pub(crate) name: &'static str,
    /// Host and port.
    pub(crate) endpoint: String,
    /// The certificate authority that vouches for it; none where it speaks plain HTTP.
    pub(crate) ca: Option<PathBuf>,
    /// The region that requests are signed for.
    pub(crate) region: &'static str,
    /// The one user's access key.
    pub(crate) access_key: &'static str,
    /// The one user's secret key.
    pub(crate) secret_key: &'static str,
    /// What it does that others do not.
    pub(crate) habits: Habits,
}

/// What not every server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(crate) struct Habits {
    /// What comes of `If-None-Match: *` where there is an object.
    pub(crate) creation: Creation,
    /// Whether a checksum that comes with an object is compared with the object, and returned later.
    pub(crate) checksums: bool,
    /// Whether checksums are taken that follow their body, signed, over plain HTTP: what the SDK sends for a stream.
    pub(crate) trailers: bool,
    /// Whether a key may have more than 500 bytes; S3's may have 1024.
    pub(crate) long_keys: bool,
    /// Whether it lists the uploads that were begun and not ended.
    pub(crate) uploads: bool,
}

/// How a server takes `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The header is overlooked, and what is there is overwritten.
    Overwrites,
    /// What is there stays; but of writers at one time, several may succeed.
    Races,
    /// There is one winner.
    Atomic,
}

impl Server {
    /// Returns the address with its scheme.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.endpoint)
    }

    /// Returns a plain client that tries everything once.
    pub(crate) fn client(&self) -> Client {
        let trusted = match &self.ca {
            Some(ca) => TrustStore::empty().with_pem_certificate(std::fs::read(ca).unwrap()),
            None => TrustStore::empty(),
        };
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::rustls(CryptoMode::Ring))
            .tls_context(TlsContext::builder().with_trust_store(trusted).build().unwrap())
            .build_https();
        let config = Config::builder()
            .behavior_version_latest()
            .http_client(http)
            .endpoint_url(self.url())
            .force_path_style(true)
            .region(Region::new(self.region))
            .credentials_provider(Credentials::new(self.access_key, self.secret_key, None, None, "stories"))
            .retry_config(RetryConfig::disabled());
        Client::from_conf(config.build())
    }

    /// Makes a bucket for one story alone, and returns its name; all are as long as each other, as plans that are shown need it.
    pub(crate) fn new_bucket(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("story-{:04}", MADE.fetch_add(1, Ordering::Relaxed));
        let create = self.client().create_bucket().bucket(&name);
        on_runtime(async move { create.send().await }).unwrap();
        name
    }

    /// Waits until the server answers its user.
    fn wait_until_ready(&self, log: &Path) {
        let begun = Instant::now();
        let client = self.client();
        loop {
            let list = client.list_buckets();
            let Err(error) = on_runtime(async move { list.send().await }) else { return };
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_mins(1), "{}: {error:?}\n{}", self.name, said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns every server that can be had here, in a steady order.
pub(crate) fn servers() -> Vec<Server> {
    [Some(s3s::server()), versity::server(), minio::server(), seaweed::server(), garage::server(), ceph::server()]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns a server that was started, beside what keeps it running; where it could not be, says so.
fn available<T>(started: &Result<(Server, T), String>) -> Option<Server> {
    started.as_ref().inspect_err(|missing| skipped(missing)).ok().map(|(server, _)| server.clone())
}

/// Returns where a program lies: where the variable of its name says, among what `.ci/servers` installs, or in `PATH`.
pub(crate) fn find_program(name: &str) -> Result<PathBuf, String> {
    let named = std::env::var_os(name.to_uppercase().replace('-', "_")).map(PathBuf::from);
    let installed = std::env::home_dir().map(|home| home.join(".cache/hitkeep-plan/tools/bin").join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut places = named.into_iter().chain(installed).chain(on_path);
    places.find(|place| place.is_file()).ok_or_else(|| format!("`{name}` is not here: `.ci/run` installs it"))
}
