//! Stories of the proxy that the environment names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use crate::fixture::{Outcome, Site, minimal};
use crate::redact::plain;
use crate::s3::plan;
use crate::servers::{Certificate, Forward, Server, Tls, s3s, servers};

/// Who is let through, with a password that nobody must see.
const WHO: &str = "somebody:planted-proxy-password";

/// Returns a site with a plan for a bucket of a server.
fn site(server: &Server, bucket: &str) -> Site {
    let site = Site::with(minimal());
    site.write_plan(&plan(server, bucket, &site.path("")));
    site
}

/// Runs the program in an environment.
fn run(site: &Site, words: &[&str], around: &[(&str, &str)]) -> Outcome {
    let mut command = site.command(words);
    command.envs(around.iter().copied());
    let outcome = Outcome::of(command);
    let said = outcome.stdout.clone() + &outcome.stderr;
    assert!(!said.contains("planted"), "{outcome:?}");
    outcome
}

#[test]
fn a_bucket_is_reached_through_the_proxy_that_the_environment_names() {
    for server in servers() {
        let tls = Tls::before(&server, Certificate::Good);
        // Ceph takes the first part of a host's name for a bucket's.
        let endpoint = tls.server.endpoint.replace("localhost", "127.0.0.1");
        let over_tls = Server { endpoint, ..tls.server.clone() };
        for (seen_as, variable, sent) in [
            (&server, "HTTP_PROXY", "http://"),
            (&server, "all_proxy", "http://"),
            (&over_tls, "https_proxy", "CONNECT "),
        ] {
            let title = format!("{}: {variable}", server.name);
            let site = site(seen_as, &server.new_bucket());
            let proxy = Forward::start(Some(WHO));
            let address = format!("http://{WHO}@{}", proxy.endpoint());
            let around = [(variable, &*address)];
            for words in
                [&["run", "plan.toml", "--log", "json"][..], &["verify", "plan.toml"], &["doctor", "plan.toml"]]
            {
                let outcome = run(&site, words, &around);
                assert_eq!(outcome.code, 0, "{title}: {words:?}: {outcome:?}");
                let told = format!("  ok       proxy: requests go through `http://{}`\n", proxy.endpoint());
                assert_eq!(outcome.stdout.contains(&told), words[0] == "doctor", "{title}: {outcome:?}");
            }
            let seen = proxy.seen();
            assert!(!seen.is_empty(), "{title}");
            assert!(
                seen.iter().all(|request| request.contains(sent) && request.contains(&seen_as.endpoint)),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn a_proxy_may_speak_tls_itself() {
    let (server, proxy, folder) = (s3s::server(), Forward::start(Some(WHO)), tempfile::tempdir().unwrap());
    let before = |endpoint: String| Tls::before(&Server { endpoint, ..server.clone() }, Certificate::Good);
    let (tls, front) = (before(server.endpoint.clone()), before(proxy.endpoint()));
    let ca = folder.path().join("both.pem");
    let authorities = [&tls, &front].map(|tls| std::fs::read_to_string(tls.server.ca.as_ref().unwrap()).unwrap());
    std::fs::write(&ca, authorities.concat()).unwrap();
    let site = site(&Server { ca: Some(ca), ..tls.server.clone() }, &server.new_bucket());
    let outcome =
        run(&site, &["run", "plan.toml"], &[("HTTPS_PROXY", &format!("https://{WHO}@{}", front.server.endpoint))]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.starts_with("CONNECT ")), "{seen:?}");
}

#[test]
fn a_proxy_is_left_alone_where_it_is_not_meant() {
    let server = s3s::server();
    let proxy = Forward::start(None);
    let address = format!("http://{}", proxy.endpoint());
    let site = site(&server, &server.new_bucket());
    for around in [
        &[("HTTPS_PROXY", &*address)][..],
        &[("HTTP_PROXY", &address), ("NO_PROXY", "example.org,127.0.0.0/8")],
        &[("http_proxy", &address), ("no_proxy", "*")],
        // What is said in capitals counts, also where it is nothing.
        &[("HTTP_PROXY", ""), ("http_proxy", &address)],
        // Whoever asks a server that runs commands may set this variable there.
        &[("HTTP_PROXY", &address), ("REQUEST_METHOD", "GET")],
        &[("HTTP_PROXY", "socks5://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")],
    ] {
        let outcome = run(&site, &["list", "plan.toml"], around);
        assert_eq!(outcome.code, 0, "{around:?}: {outcome:?}");
        assert_eq!(proxy.seen(), [""; 0], "{around:?}");
    }
}

#[test]
fn a_proxy_that_does_not_let_through_is_named_with_what_to_do() {
    let server = s3s::server();
    let tls = Tls::before(&server, Certificate::Good);
    let bucket = server.new_bucket();
    let proxy = Forward::start(Some(WHO));
    let (at, wrong) = (proxy.endpoint(), format!("http://somebody:planted@{}", proxy.endpoint()));
    let through = format!("through the proxy `http://{at}`");
    let nowhere = |server: &Server| Server { endpoint: "127.0.0.1:9".to_owned(), ..server.clone() };
    let (letting, gone, silent) = (Forward::start(None), nowhere(&tls.server), nowhere(&server));
    let open = format!("http://{}", letting.endpoint());
    for (server, around, seen, help) in [
        (&tls.server, ("HTTPS_PROXY", &*wrong), &*through, "say who asks in the variable that names the proxy"),
        (&server, ("HTTP_PROXY", &wrong), &through, "`http://NAME:PASSWORD@HOST:PORT`"),
        (&gone, ("HTTPS_PROXY", &open), "tunnel error: unsuccessful", "may it be reached through this proxy?"),
        (&silent, ("HTTP_PROXY", &open), "as no S3 server does, with HTTP status 502", "does the server run?"),
        (&server, ("HTTP_PROXY", "http://planted:planted@127.0.0.1:9"), "127.0.0.1:9", "does the proxy run"),
        (
            &tls.server,
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            "through the proxy `http://127.0.0.1:9`",
            "does the proxy run",
        ),
        (
            &server,
            ("ALL_PROXY", "socks5://planted:planted@127.0.0.1:9"),
            "`ALL_PROXY` names no proxy that speaks HTTP",
            "write it as",
        ),
        (
            &tls.server,
            ("HTTPS_PROXY", "http://planted: 3128"),
            "`HTTPS_PROXY` names no proxy that speaks HTTP",
            "NO_PROXY",
        ),
    ] {
        let site = site(server, &bucket);
        for words in [&["list", "plan.toml"][..], &["doctor", "plan.toml"]] {
            let begun = Instant::now();
            let outcome = run(&site, words, &[around]);
            let said = plain(&(outcome.stdout.clone() + &outcome.stderr));
            assert_eq!(outcome.code, 5, "{around:?}: {said}");
            assert!(said.contains(seen) && said.contains(help), "{around:?}: {said}");
            assert!(begun.elapsed() < Duration::from_secs(15), "{around:?}: it is not tried again and again");
        }
    }
}
