//! The server of a bucket as a plan names it, and what its name gives away.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// Ports that servers use for plain HTTP: the web's, MinIO's, Garage's, Ceph's, SeaweedFS's, and common spare ones.
const PLAIN_PORTS: [u16; 7] = [80, 9000, 3900, 7480, 8333, 8000, 8080];

/// Ports that servers use for TLS.
const TLS_PORTS: [u16; 3] = [443, 8443, 9443];

/// A server, `host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Lower case; an IPv6 address stands in brackets.
    host: String,
    port: Option<u16>,
}

/// Why a text names no server: what it has that it should not, and what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEndpoint {
    pub(crate) reason: &'static str,
    pub(crate) help: &'static str,
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let refused = |reason, help| Err(NoEndpoint { reason, help });
        let plain = "write `host[:port]`, as in `minio.internal:9000`";
        if let Some((scheme, _)) = text.split_once("://") {
            return refused(
                "it begins with a scheme",
                match scheme {
                    "http" => "write `host[:port]`, and `use_ssl = false` for plain HTTP",
                    _ => "write `host[:port]`: TLS is spoken unless `use_ssl = false` says otherwise",
                },
            );
        }
        if text.contains('@') {
            return refused(
                "it holds a user",
                "write `host[:port]`; credentials are found by `access_key_id` and `secret_access_key`",
            );
        }
        if text.contains(['/', '?', '#']) {
            return refused("it holds a path", "write `host[:port]`; the bucket and the folder in it stand in `url`");
        }
        let (host, port) = match split_port(text) {
            Some((host, port)) => match port.parse() {
                Ok(port) if port > 0 => (host, Some(port)),
                _ => return refused("its port is not a number from 1 to 65535", plain),
            },
            None => (text, None),
        };
        if !is_host(host) {
            return refused("it is not the name or the address of a host", plain);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

/// Splits the port from a host; the colons inside the brackets of an IPv6 address are none of a port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-' || c == '_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl Endpoint {
    /// Returns the port, which is the scheme's own where none is written.
    pub(super) fn port(&self, use_ssl: bool) -> u16 {
        self.port.unwrap_or(if use_ssl { 443 } else { 80 })
    }

    /// Returns what two endpoints have in common exactly when they are the same server; nothing for AWS, whose
    /// buckets are the same through all of its endpoints.
    pub(super) fn identity(&self, use_ssl: bool) -> Option<String> {
        let host = if self.is_this_host() { "localhost" } else { &self.host };
        (!self.is_aws()).then(|| format!("{host}:{}", self.port(use_ssl)))
    }

    /// Returns whether this is one of AWS's own endpoints.
    pub(super) fn is_aws(&self) -> bool {
        self.is_below("amazonaws.com") || self.is_below("amazonaws.com.cn")
    }

    /// Returns whether this is Cloudflare R2.
    pub(super) fn is_r2(&self) -> bool {
        self.is_below("r2.cloudflarestorage.com")
    }

    fn is_below(&self, domain: &str) -> bool {
        self.host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Returns the address, where the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    fn is_this_host(&self) -> bool {
        self.is_below("localhost") || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns what makes it likely that the server knows its buckets by path only.
    pub(crate) fn wants_path(&self) -> Option<&'static str> {
        match self {
            _ if self.address().is_some() => Some("an IP address"),
            _ if self.is_this_host() => Some("this host itself"),
            _ if self.host.contains("minio") => Some("MinIO, by its name"),
            Self { port: Some(9000), .. } => Some("MinIO, by its port"),
            _ if !self.host.contains('.') => Some("a name without a domain"),
            _ => None,
        }
    }

    /// Returns whether the port is one that nobody speaks TLS at.
    pub(crate) fn is_plain(&self) -> bool {
        self.port == Some(80)
    }

    /// Returns whether the port is one that nobody speaks plain HTTP at.
    pub(super) fn is_tls(&self) -> bool {
        self.port == Some(443)
    }

    /// Returns whether the server more likely than not speaks plain HTTP.
    pub(crate) fn looks_plain(&self) -> bool {
        let is_private = |address| match address {
            IpAddr::V4(address) => address.is_private() || address.is_link_local(),
            IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
        };
        let is_near = self.is_this_host() || self.address().is_some_and(is_private);
        self.port.map_or(is_near, |port| PLAIN_PORTS.contains(&port) || (is_near && !TLS_PORTS.contains(&port)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        for (text, written) in [
            ("minio.internal:9000", "minio.internal:9000"),
            ("S3.Example.COM", "s3.example.com"),
            ("localhost", "localhost"),
            ("minio_1:9000", "minio_1:9000"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]", "[::1]"),
            ("[fd00::1]:9000", "[fd00::1]:9000"),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(written.to_owned()));
        }
        for text in
            ["", ":9000", "a:", "a:0", "a:65536", "a:x", "a b", "::1", "[::g]", "-a", "a..b", "a/b", "http://a", "k@a"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} was taken for an endpoint");
        }
    }

    #[test]
    fn the_same_server_has_one_identity() {
        let identity = |text: &str, use_ssl| text.parse::<Endpoint>().map(|endpoint| endpoint.identity(use_ssl));
        assert_eq!(identity("S3.example.com", true), identity("s3.example.com:443", true));
        assert_eq!(identity("s3.example.com", false), identity("s3.example.com:80", true));
        assert_ne!(identity("s3.example.com", false), identity("s3.example.com", true));
        assert_eq!(identity("localhost:9000", false), identity("127.0.0.1:9000", false));
        assert_eq!(identity("[::1]:9000", false), identity("s3.localhost:9000", false));
        assert_eq!(identity("s3.eu-central-1.amazonaws.com", true), Ok(None));
        assert_ne!(identity("notamazonaws.com", true), Ok(None));
    }

    #[test]
    fn a_name_gives_away_what_a_server_speaks() {
        for (text, wants_path, looks_plain) in [
            ("localhost:9000", true, true),
            ("localhost", true, true),
            ("127.0.0.1:9443", true, false),
            ("10.1.2.3:1234", true, true),
            ("8.8.8.8:1234", true, false),
            ("minio.example.com", true, false),
            ("storage.example.com:9000", true, true),
            ("garage:3900", true, true),
            ("s3", true, false),
            ("s3.fr-par.scw.cloud", false, false),
            ("s3.example.com:8080", false, true),
            ("abc.r2.cloudflarestorage.com", false, false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|refused| panic!("{text}: {refused:?}"));
            assert_eq!((endpoint.wants_path().is_some(), endpoint.looks_plain()), (wants_path, looks_plain), "{text}");
        }
    }
}
