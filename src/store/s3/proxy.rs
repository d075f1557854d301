//! The proxy that requests to a server go through, where the environment names one.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` mean what they mean to curl, in capitals or not; who reads them is
//! the library that keeps the connections. What a host asks itself for, as its credentials, never goes through one.

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use hyper_util::client::proxy::matcher::Matcher;

use super::client::OpenError;
use crate::plan::Bucket;

/// What the addresses begin with at which a host, or a container, is told its credentials.
const OF_THE_HOST: [&str; 3] = ["http://169.254.", "http://[fd00:ec2::", "http://[fe80:"];

/// Returns the address of the proxy that requests to a bucket go through, without what the proxy is told of who asks;
/// nothing where they go straight to the server.
pub(super) fn of(bucket: &Bucket) -> Result<Option<String>, OpenError> {
    let server = bucket.endpoint().unwrap_or_else(|| format!("https://{}.s3.amazonaws.com", bucket.name()));
    let Ok(server) = server.parse() else { return Ok(None) };
    let exempt = value(&["NO_PROXY", "no_proxy"]).map(|(_, rules)| rules).unwrap_or_default();
    if exempt.trim() == "*" {
        // The library takes this for every name, and not for numbers.
        return Ok(None);
    }
    if let Some((variable, address)) = named(bucket.uses_ssl()) {
        // What this proxy is not asked for need not be right.
        let is_asked = Matcher::builder().all("http://localhost").no(exempt).build().intercept(&server).is_some();
        if is_asked && !is_http(&address) {
            return Err(OpenError::Proxy { variable });
        }
    }
    let proxy = Matcher::from_env().intercept(&server);
    Ok(proxy.map(|proxy| proxy.uri().to_string().trim_end_matches('/').to_owned()))
}

/// Returns the variable that names a proxy for such requests, and what it says.
fn named(uses_tls: bool) -> Option<(&'static str, String)> {
    let of_scheme = if uses_tls { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    value(&of_scheme).or_else(|| value(&["ALL_PROXY", "all_proxy"]))
}

/// Returns the first of these variables that is set, and what it says, if that is anything.
fn value(names: &[&'static str]) -> Option<(&'static str, String)> {
    let first = names.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)));
    first.filter(|(_, value)| !value.is_empty())
}

/// Tells whether an address is one of a proxy that speaks HTTP.
fn is_http(address: &str) -> bool {
    let proxy = Matcher::builder().all(address).build().intercept(&"http://localhost".parse().unwrap_or_default());
    proxy.is_some_and(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")))
}

/// Sends requests through a proxy, but for those that a host must not let out.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) direct: Connector,
    pub(super) by_proxy: Connector,
}

impl HttpConnector for Fork {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_of_the_host = OF_THE_HOST.iter().any(|beginning| request.uri().starts_with(beginning));
        if is_of_the_host { self.direct.call(request) } else { self.by_proxy.call(request) }
    }
}
