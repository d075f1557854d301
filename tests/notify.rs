//! Stories of who is told of runs: real servers, and what they were asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{Outcome, PLAN, Site, minimal};
use crate::redact::{self, golden};
use crate::servers::{Certificate, Creation, Habits, Server, Tls};

/// The path that stands for the secret part of an address.
const SECRET: &str = "/ping/marker-address";

/// How a server answers.
#[derive(Clone, Copy)]
enum Answer {
    /// With this status, and this body.
    Says(&'static str, &'static str),
    /// The first time like the first, and then like the second.
    Then(&'static str, &'static str),
    /// Not at all.
    Hangs,
}

/// A server on loopback that remembers what it was asked, until the tests end.
struct Listener {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn that(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || drop(serve(client.unwrap(), answer, &seen)));
            }
        });
        Self { port, asked }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}{SECRET}", self.port)
    }

    /// Returns what was asked so far, and forgets it.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Reads one request, notes it, and answers.
fn serve(mut client: TcpStream, answer: Answer, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" | "user-agent" => writeln!(head, "{name}: {value}").unwrap(),
            _ if line.starts_with("POST") || line.starts_with("GET") => writeln!(head, "{}", line.trim()).unwrap(),
            _ => {}
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(format!("{head}\n{}\n", String::from_utf8(body).unwrap()));
        seen.len()
    };
    let (status, body) = match answer {
        Answer::Says(status, body) => (status, body),
        Answer::Then(first, _) if count == 1 => (first, ""),
        Answer::Then(_, second) => (second, ""),
        Answer::Hangs => {
            // Until the client has given up.
            drop(client.read(&mut [0]));
            return Ok(());
        }
    };
    let location = if status.starts_with('3') { "Location: /elsewhere/marker-address\r\n" } else { "" };
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{location}Connection: close\r\n\r\n{body}")
}

/// Returns [`PLAN`] with one who is told.
fn plan_with(notice: &str) -> String {
    // Of one database, whose lines come in one order.
    let plan = PLAN.replace("prefix =", "databases = [\"shared\"]\nprefix =");
    plan.replace("[local]", &format!("[notify.oncall]\n{notice}\n\n[local]"))
}

/// Runs the plan where `ADDRESS` is an address that nobody may read; it must end with `code`.
fn run(site: &Site, address: &str, code: i32) -> Outcome {
    run_with(site, address, code, &[])
}

fn run_with(site: &Site, address: &str, code: i32, variables: &[(&str, &str)]) -> Outcome {
    let mut command = site.command(&["run", "plan.toml", "--verbose"]);
    command.env("ADDRESS", address).envs(variables.iter().copied());
    let outcome = Outcome::of(command);
    assert_eq!(outcome.code, code, "{outcome:?}");
    let said = format!("{outcome:?}{:?}", site.state_records());
    assert!(!said.contains("marker-address"), "{said}");
    outcome
}

/// Tells what a server was asked, one request after the other.
fn asked(site: &Site, listener: &Listener) -> String {
    let asked = listener.take().join("\n");
    redact::text(site, &asked.replace(&rustix::system::uname().nodename().to_string_lossy().into_owned(), "[HOST]"))
}

#[test]
fn healthchecks_is_told_of_the_start_and_of_the_exit_code() {
    let (site, listener) = (Site::with(minimal()), Listener::that(Answer::Says("200 OK", "OK")));
    site.write_plan(&plan_with("healthchecks = { env = \"ADDRESS\" }"));
    let mut all = String::new();
    run(&site, &listener.address(), 0);
    let told = listener.take();
    let run_of = |request: &str| request.split_once("?rid=").unwrap().1[..36].to_owned();
    assert_eq!(run_of(&told[0]), run_of(&told[1]), "one run, one id");
    listener.asked.lock().unwrap().extend(told);
    writeln!(all, "== a run\n{}", asked(&site, &listener)).unwrap();
    site.write_plan(&plan_with("healthchecks = { env = \"ADDRESS\" }").replace("\"data\"", "\"nowhere\""));
    run(&site, &format!("{}/", listener.address()), 4);
    writeln!(all, "== a run without a source\n{}", asked(&site, &listener)).unwrap();
    golden("notify-healthchecks.txt", &all);
}

#[test]
fn a_webhook_is_told_of_failures_and_of_the_recovery() {
    let (site, listener) = (Site::with(minimal()), Listener::that(Answer::Says("204 No Content", "")));
    let plan = plan_with("webhook = { env = \"ADDRESS\" }");
    let lost = plan.replace("\"data\"", "\"nowhere\"");
    let skipped = format!("{plan}\n[hooks]\nbefore = [[\"sh\", \"-c\", \"exit 75\"]]\n");
    let mut all = String::new();
    for (case, plan, code) in [
        ("the first run", &plan, 0),
        ("a failure", &lost, 4),
        ("another failure", &lost, 4),
        ("one that is skipped", &skipped, 75),
        ("a success", &plan, 0),
        ("another success", &plan, 0),
    ] {
        site.write_plan(plan);
        run(&site, &listener.address(), code);
        writeln!(all, "== {case}\n{}", asked(&site, &listener)).unwrap();
    }
    golden("notify-webhook.txt", &all);
}

#[test]
fn a_template_makes_the_document() {
    let (site, listener) = (Site::with(minimal()), Listener::that(Answer::Says("200 OK", "ok")));
    let template =
        r#"template = '{ "text": {{ summary | tojson }}, "job": "{{ job }}", "lines": {{ failures | length }} }'"#;
    let on = "on = [\"failure\", \"success\"]";
    let plan = plan_with(&format!("webhook = {{ env = \"ADDRESS\" }}\n{on}\n{template}"));
    let mut all = String::new();
    for (plan, code) in [(plan.clone(), 0), (plan.replace("\"data\"", "'now\"here'"), 4)] {
        site.write_plan(&plan);
        run(&site, &listener.address(), code);
        let told = listener.take();
        let document = told[0].split_once("\n\n").unwrap().1;
        let document: Value = serde_json::from_str(document).unwrap();
        writeln!(all, "{:#}", redact::json(&site, &document)).unwrap();
    }
    golden("notify-template.txt", &all.replace(&*rustix::system::uname().nodename().to_string_lossy(), "[HOST]"));
}

#[test]
fn a_command_is_told_by_its_variables() {
    let site = Site::with(minimal());
    let line = "echo $HITKEEP_PLAN_EVENT $HITKEEP_PLAN_JOB $HITKEEP_PLAN_STATUS $HITKEEP_PLAN_EXIT_CODE: $HITKEEP_PLAN_SUMMARY >>told";
    let plan = plan_with(&format!("command = [\"sh\", \"-c\", '{line}']\non = [\"start\", \"failure\", \"recovery\"]"));
    site.write_plan(&plan.replace("\"data\"", "\"nowhere\""));
    run(&site, "", 4);
    site.write_plan(&plan);
    run(&site, "", 0);
    let told = std::fs::read_to_string(site.path("told")).unwrap();
    let told = told.replace(&*rustix::system::uname().nodename().to_string_lossy(), "[HOST]");
    let told = told.replace(site.path("").to_str().unwrap(), "[SITE]/");
    let expected = "start nightly : nightly begins on [HOST]\n\
        failure nightly failure 4: nightly failed on [HOST] with exit code 4: look at the installation: which databases there are cannot be read: [SITE]/nowhere/hitkeep.db does not exist\n\
        start nightly : nightly begins on [HOST]\n\
        recovery nightly success 0: nightly succeeded again on [HOST]\n";
    snapbox::assert_data_eq!(told.replace('`', ""), expected);
}

#[test]
fn a_dry_run_tells_nobody() {
    let (site, listener) = (Site::with(minimal()), Listener::that(Answer::Says("200 OK", "OK")));
    site.write_plan(&plan_with("healthchecks = { env = \"ADDRESS\" }"));
    let mut command = site.command(&["run", "plan.toml", "--dry-run"]);
    command.env("ADDRESS", listener.address());
    let outcome = Outcome::of(command);
    assert!(
        outcome.stdout.ends_with("      notify   oncall by healthchecks: start, success, partial, failure\n"),
        "{outcome:?}"
    );
    assert_eq!(listener.take(), Vec::<String>::new());
}

/// Returns the warnings of a run.
fn warnings(site: &Site, outcome: &Outcome) -> String {
    outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning"))
        .map(|line| redact::text(site, line) + "\n")
        .collect()
}

#[test]
fn nobody_who_cannot_be_told_changes_what_a_run_ends_with() {
    let says = |status| Listener::that(Answer::Says(status, "an answer of marker-address"));
    let (broken, gone, elsewhere) = (says("500 Internal Server Error"), says("404 Not Found"), says("302 Found"));
    let (hangs, nobodys) = (Listener::that(Answer::Hangs), Listener::that(Answer::Says("200 OK", "OK (not found)")));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cases = [
        ("it answers with an error", broken.address(), Some((&broken, 3))),
        ("it does not know the address", gone.address(), Some((&gone, 1))),
        ("it sends elsewhere", elsewhere.address(), Some((&elsewhere, 1))),
        ("it takes a message for nobody", nobodys.address(), Some((&nobodys, 1))),
        ("it does not answer", hangs.address(), Some((&hangs, 1))),
        ("nobody is there", format!("http://127.0.0.1:{closed}{SECRET}"), None),
        ("the address is none", "marker-address".to_owned(), None),
        ("the address is of another kind", "file:///marker-address".to_owned(), None),
        ("there is no address", String::new(), None),
    ];
    let mut all = String::new();
    for (case, address, requests) in cases {
        let site = Site::with(minimal());
        site.write_plan(&plan_with("webhook = { env = \"ADDRESS\" }\non = [\"success\"]\ntimeout = \"2s\""));
        let begun = Instant::now();
        let outcome = run(&site, &address, 0);
        assert!(begun.elapsed() < Duration::from_secs(30), "{case}");
        assert_eq!(site.sets()[0].1, "complete", "{case}");
        if let Some((listener, count)) = requests {
            assert_eq!(listener.take().len(), count, "{case}");
        }
        let warnings = warnings(&site, &outcome);
        let kept = site.state_records().into_values().next().unwrap()["warnings"][0].as_str().unwrap().to_owned();
        assert_eq!(warnings, format!("warning: {}\n", redact::text(&site, &kept)), "{case}: once, and in the record");
        writeln!(all, "== {case}\n{warnings}").unwrap();
    }
    golden("notify-untold.txt", &all);
}

#[test]
fn a_server_that_cannot_at_the_moment_is_asked_again() {
    for status in ["503 Service Unavailable", "429 Too Many Requests"] {
        let (site, listener) = (Site::with(minimal()), Listener::that(Answer::Then(status, "200 OK")));
        site.write_plan(&plan_with("webhook = { env = \"ADDRESS\" }\non = [\"success\"]"));
        let outcome = run(&site, &listener.address(), 0);
        assert_eq!((listener.take().len(), warnings(&site, &outcome)), (2, String::new()), "{status}");
    }
}

#[test]
fn a_certificate_is_to_be_trusted() {
    let listener = Listener::that(Answer::Says("200 OK", "OK"));
    let habits =
        Habits { creation: Creation::Atomic, checksums: false, trailers: false, long_keys: false, uploads: false };
    let endpoint = format!("127.0.0.1:{}", listener.port);
    let plain = Server { name: "", endpoint, ca: None, region: "", access_key: "", secret_key: "", habits };
    let mut all = String::new();
    for certificate in [Certificate::Good, Certificate::OfAnotherHost, Certificate::Expired] {
        let tls = Tls::before(&plain, certificate);
        let address = format!("https://{}{SECRET}", tls.server.endpoint);
        let ca = tls.server.ca.as_ref().unwrap().to_str().unwrap();
        for (trust, variables) in [("a stranger's", &[][..]), ("trusted", &[("SSL_CERT_FILE", ca)])] {
            let site = Site::with(minimal());
            site.write_plan(&plan_with("webhook = { env = \"ADDRESS\" }\non = [\"success\"]"));
            let outcome = run_with(&site, &address, 0, variables);
            let told = listener.take().len();
            let warnings = warnings(&site, &outcome);
            // What follows tells the time.
            let warning = warnings.split(": verification time").next().unwrap().trim_end();
            writeln!(all, "== {certificate:?}, {trust}: {told} told\n{warning}\n").unwrap();
        }
    }
    golden("notify-tls.txt", &all);
}
