//! Stories of what lies around a bucket: where credentials come from, storage classes, encryption, bandwidth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hitkeep_plan::event::Meter;
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::name::Prefix;
use hitkeep_plan::plan::Upload;
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Store};

use crate::fixture::{Outcome, Site, minimal};
use crate::redact::{self, plain};
use crate::s3::{UPLOAD, bucket_of, plan};
use crate::servers::{self, Answers, Certificate, Faults, KMS_KEY, Metadata, Proxy, Server, Sink, Stranger, Tls};

/// Where the AWS chain finds credentials, and what it has to be told for that.
struct Way {
    name: &'static str,
    answers: Answers,
    /// The variables, with `[URL]` for the service and `[FOLDER]` for the site's folder.
    variables: Vec<(&'static str, String)>,
}

/// The ways of the AWS chain, in its order.
fn ways(server: &Server) -> Vec<Way> {
    let (id, secret) = (server.access_key, server.secret_key);
    let text = |text: &str| text.to_owned();
    let temporary = format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"token","LastUpdated":"2020-01-01T00:00:00Z","Expiration":"2999-01-01T00:00:00Z"}}"#
    );
    let assumed = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>role:session</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/backups/session</Arn></AssumedRoleUser>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    vec![
        Way {
            name: "the environment",
            answers: Vec::new(),
            variables: vec![("AWS_ACCESS_KEY_ID", text(id)), ("AWS_SECRET_ACCESS_KEY", text(secret))],
        },
        Way {
            name: "a profile",
            answers: Vec::new(),
            variables: vec![
                ("AWS_SHARED_CREDENTIALS_FILE", text("[FOLDER]/credentials")),
                ("AWS_PROFILE", text("backups")),
            ],
        },
        Way {
            name: "web identity",
            answers: vec![("POST", "/", assumed)],
            variables: vec![
                ("AWS_ROLE_ARN", text("arn:aws:iam::123456789012:role/backups")),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", text("[FOLDER]/token")),
                ("AWS_ENDPOINT_URL_STS", text("[URL]")),
            ],
        },
        Way {
            name: "a container",
            answers: vec![("GET", "/v2/credentials", temporary.clone())],
            variables: vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", text("[URL]/v2/credentials"))],
        },
        Way {
            name: "the machine",
            answers: vec![
                ("PUT", "/latest/api/token", text("metadata-token")),
                ("GET", "/latest/meta-data/iam/security-credentials/backups", temporary.clone()),
                ("GET", "/latest/meta-data/iam/security-credentials/", text("backups")),
                ("GET", "/latest/meta-data/iam/security-credentials-extended/backups", temporary),
                ("GET", "/latest/meta-data/iam/security-credentials-extended/", text("backups")),
            ],
            variables: vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", text("[URL]"))],
        },
    ]
}

/// Returns a site whose plan leaves the credentials of its bucket to the AWS chain, and the bucket's name.
fn site_without_keys(server: &Server) -> (Site, String) {
    let (site, bucket) = (Site::with(minimal()), server.new_bucket());
    let plan = plan(server, &bucket, &site.path(""));
    let is_key = |line: &&str| line.contains("access_key");
    site.write_plan(&plan.lines().filter(|line| !is_key(line)).collect::<Vec<_>>().join("\n"));
    let (id, secret) = (server.access_key, server.secret_key);
    let profile = format!("[backups]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(site.path("credentials"), profile).unwrap();
    fs::write(site.path("token"), "a token").unwrap();
    (site, bucket)
}

#[test]
fn credentials_come_from_wherever_the_aws_chain_finds_them() {
    let server = servers::s3s::server();
    for way in ways(&server) {
        let (site, _) = site_without_keys(&server);
        let service = Metadata::start(way.answers);
        let run = |words: &[&str]| {
            let mut command = site.command(words);
            for (name, value) in &way.variables {
                let value =
                    value.replace("[URL]", &service.url()).replace("[FOLDER]", &site.path("").to_string_lossy());
                command.env(name, value);
            }
            Outcome::of(command)
        };
        for words in [&["run", "plan.toml"][..], &["verify", "plan.toml"]] {
            let outcome = run(words);
            assert_eq!(outcome.code, 0, "{}: {words:?}: {outcome:?}", way.name);
        }
    }
}

#[test]
fn without_credentials_a_run_says_where_they_were_looked_for() {
    let server = servers::s3s::server();
    let (site, bucket) = site_without_keys(&server);
    let mut command = site.command(&["run", "plan.toml"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let outcome = Outcome::of(command);
    redact::golden(
        "no-credentials.txt",
        &redact::outcome(&site, &outcome).replace(&bucket, "[BUCKET]").replace(&server.endpoint, "[ENDPOINT]"),
    );
}

#[test]
fn a_key_that_the_chain_found_is_not_told_either() {
    let Some(server) = servers::garage::server() else { return };
    let (site, _) = site_without_keys(&server);
    let mut command = site.command(&["run", "plan.toml"]);
    command.env("AWS_ACCESS_KEY_ID", "GKfeedfeedfeedfeedfeedfeed").env("AWS_SECRET_ACCESS_KEY", "SECRETMARKER");
    let outcome = Outcome::of(command);
    let told = format!("{outcome:?}");
    assert!(outcome.code == 5 && told.contains("AccessDenied"), "{told}");
    assert!(!told.contains("GKfeed") && !told.contains("SECRETMARKER"), "{told}");
}

#[test]
fn every_write_asks_for_the_class_and_the_encryption_of_the_plan() {
    let server = servers::s3s::encrypting();
    let site = Site::with(minimal());
    let proxy = Proxy::before(&server, Faults::default());
    let wanted = "storage_class = \"STANDARD_IA\"\nencryption = \"aws:kms\"\nkms_key = \"backups\"\nurl_style";
    let plan = plan(&proxy.server, &server.new_bucket(), &site.path("")).replace("url_style", wanted);
    site.write_plan(&plan);
    for words in [&["run", "plan.toml"][..], &["doctor", "plan.toml"]] {
        drop(site.run(words));
    }
    let is_write = |head: &&String| {
        (head.starts_with("put ") && !head.contains("uploadid="))
            || (head.starts_with("post ") && head.contains("?uploads"))
    };
    let heads = proxy.heads();
    let writes: Vec<&String> = heads.iter().filter(is_write).collect();
    assert!(writes.iter().any(|head| head.contains("?uploads")) && writes.len() > 20, "{}", writes.len());
    for head in writes {
        let has = |line: &str| head.contains(&format!("\r\n{line}\r\n"));
        let is_encrypted =
            has("x-amz-server-side-encryption: aws:kms") && has("x-amz-server-side-encryption-aws-kms-key-id: backups");
        assert!(is_encrypted, "{head}");
        // What lives for minutes is not worth a class that is paid for by the month; the trial of an upload is one.
        let is_passing = head.contains("/.lock/") || head.contains("/.doctor");
        assert!(is_passing || has("x-amz-storage-class: standard_ia"), "{head}");
        assert!(!head.contains("/.lock/") || !has("x-amz-storage-class: standard_ia"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_encrypts_gives_back_what_it_was_given() {
    let by_key = |name: &str| format!("encryption = \"aws:kms\"\nkms_key = \"{name}\"\nurl_style");
    let by_itself = "encryption = \"AES256\"\nurl_style".to_owned();
    for (server, wanted, key) in [
        (servers::ceph::server(), by_key(KMS_KEY), Some(KMS_KEY)),
        (servers::minio::encrypting(), by_key("stories"), Some("arn:aws:kms:stories")),
        (servers::minio::encrypting(), by_itself.clone(), None),
        (servers::seaweed::encrypting(), by_itself, None),
    ] {
        let Some(server) = server else { continue };
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        site.write_plan(&plan(&server, &bucket, &site.path("")).replace("url_style", &wanted));
        for words in [&["run", "plan.toml"][..], &["verify", "plan.toml"], &["restore", "plan.toml", "--to", "new"]] {
            site.succeed(words);
        }
        let set = site.sets()[0].0.clone();
        let object = format!("root/hitkeep/shared/{set}/hits.parquet");
        let head = server.client().head_object().bucket(&bucket).key(object).send().await.unwrap();
        assert_eq!(head.ssekms_key_id.as_deref(), key, "{}", server.name);
        let encryption = head.server_side_encryption.unwrap();
        assert!(wanted.contains(encryption.as_str()), "{}: {encryption}", server.name);
        site.write_plan(&plan(&server, &bucket, &site.path("")).replace("url_style", &by_key("unknown")));
        assert_eq!(site.run(&["run", "plan.toml"]).code, 5, "{}: a key that it does not know", server.name);
    }
}

/// Returns the lines of a doctor's text that are about a destination, of these checks.
fn findings(text: &str, checks: &[&str]) -> Vec<String> {
    let is_about = |line: &str| checks.iter().any(|check| line.contains(&format!(" {check}: ")));
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1).chain(&[""]));
    let with_help = |(line, next): (&&str, &&str)| {
        let help = next.trim_start().strip_prefix("help: ").map(|help| format!(" ({help})")).unwrap_or_default();
        is_about(line).then(|| format!("{}{help}", plain(line)))
    };
    pairs.filter_map(with_help).collect()
}

#[test]
fn an_encryption_that_a_server_does_not_have_stops_the_run_before_any_data() {
    const LET: &str = "let the server encrypt, or leave `encryption` out, if it does so by itself or need not";
    const LOG: &str =
        "the server's log says what is wrong; where the plan has `encryption`, it may have no key to encrypt with";
    for server in servers::servers() {
        let (site, bucket) = (Site::with(minimal()), server.new_bucket());
        let proxy = Proxy::before(&server, Faults::default());
        let plan = plan(&proxy.server, &bucket, &site.path(""));
        site.write_plan(&plan.replace("url_style", "encryption = \"AES256\"\nurl_style"));
        let run = site.run(&["run", "plan.toml"]);
        let said = plain(&run.stderr);
        assert_eq!(run.code, 5, "{}: {run:?}", server.name);
        // Some do not overlook it: without a key they refuse the first write of all.
        let (words, check, help) = match server.name {
            "minio" => (["NotImplemented", "KMS is not configured"], "lock", LET),
            "seaweed" => (["InternalError", "We encountered an internal error"], "lock", LOG),
            _ => (["does not encrypt `s3://", "with `AES256`"], "write", LET),
        };
        let is_said = words.iter().all(|words| said.contains(words)) && said.contains(&format!("help: {help}"));
        assert!(is_said, "{}: {said}", server.name);
        let is_data = |head: &&String| head.starts_with("put ") && head.contains(".parquet");
        assert_eq!(proxy.heads().iter().find(is_data), None, "{}: data was sent", server.name);
        let store = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let left = runtime().block_on(store.list(&Prefix::default())).unwrap();
        assert!(left.is_empty(), "{}: {left:?}", server.name);

        let doctor = site.run(&["doctor", "plan.toml"]);
        assert_eq!(doctor.code, 5, "{}: {doctor:?}", server.name);
        let found = findings(&doctor.stdout, &[check, "encryption"]);
        assert_eq!(found.len(), 1, "{}: {doctor:?}", server.name);
        let is_told = found[0].starts_with(&format!("failed {check}: ")) && found[0].ends_with(&format!("({help})"));
        assert!(is_told, "{}: {found:?}", server.name);
    }
}

#[test]
fn a_class_that_a_server_overlooks_is_said_by_the_doctor_and_in_the_record() {
    let class = |class: &str| format!("storage_class = \"{class}\"\nurl_style");
    let other = "the server keeps objects in the class `STANDARD`, not in `COLDLINE`";
    let help = "name a class that this server has, or leave `storage_class` out";
    for (server, asked, warnings, found) in [
        (servers::garage::server(), "COLDLINE", vec![other], format!("warning storage class: {other} ({help})")),
        (servers::garage::server(), "STANDARD", vec![], "ok storage class: objects are in `STANDARD`".to_owned()),
        (servers::ceph::server(), "STANDARD_IA", vec![], "ok storage class: objects are in `STANDARD_IA`".to_owned()),
    ] {
        let Some(server) = server else { continue };
        let site = Site::with(minimal());
        let plan = plan(&server, &server.new_bucket(), &site.path(""));
        site.write_plan(&plan.replace("url_style", &class(asked)));
        let run = site.succeed(&["run", "plan.toml"]);
        let record = site.state_records().into_values().next().unwrap();
        let said = record["warnings"].as_array().into_iter().flatten().filter_map(|warning| warning.as_str());
        let about_class: Vec<&str> = said.filter(|warning| warning.contains("class")).collect();
        assert_eq!(about_class, warnings, "{}: {asked}", server.name);
        assert_eq!(run.stderr.matches("the class").count(), warnings.len(), "{}: {run:?}", server.name);
        let doctor = site.succeed(&["doctor", "plan.toml"]);
        assert_eq!(findings(&doctor.stdout, &["storage class"]), [found], "{}: {asked}", server.name);
    }
}

#[test]
fn what_is_no_s3_server_is_named_with_its_address() {
    let page = "<html><head><title>404 Not Found</title></head><body>nginx</body></html>";
    for (case, status, page, code) in [
        ("a web server", "404 Not Found", page, 404),
        ("a web server of few words", "404 Not Found", "", 404),
        ("one that takes no such method", "405 Method Not Allowed", page, 405),
        ("one that has a page for everything", "200 OK", page, 200),
        ("one that sends elsewhere", "302 Found", page, 302),
    ] {
        let (site, stranger) = (Site::with(minimal()), Stranger::start(status, page));
        let server = Server { endpoint: stranger.endpoint(), ..servers::s3s::server() };
        site.write_plan(&plan(&server, "bucket", &site.path("")));
        let seen = format!("http://{}` answers as no S3 server does, with HTTP status {code}", server.endpoint);
        let help = "help: are `endpoint`, with its port, and `use_ssl` right? Something else answers there";
        for words in [&["list", "plan.toml"][..], &["run", "plan.toml"], &["doctor", "plan.toml"]] {
            let outcome = site.run(words);
            let said = format!("{} {}", outcome.stdout, outcome.stderr);
            let said = plain(&said);
            assert_eq!(outcome.code, 5, "{case}: {words:?}: {said}");
            assert!(said.contains(&seen) && said.contains(help), "{case}: {words:?}: {said}");
        }
    }
}

#[test]
fn without_a_plan_help_speaks_of_variables() {
    let server = servers::s3s::server();
    let tls = Tls::before(&server, Certificate::Good);
    let (site, bucket) = (Site::with(minimal()), server.new_bucket());
    let url = format!("s3://{bucket}");
    let around: &[(&str, &str)] = &[
        ("HITKEEP_S3_ENDPOINT", &tls.server.endpoint),
        ("HITKEEP_S3_ACCESS_KEY_ID", server.access_key),
        ("HITKEEP_S3_SECRET_ACCESS_KEY", server.secret_key),
        ("HITKEEP_S3_URL_STYLE", "path"),
        ("HITKEEP_S3_USE_SSL", "true"),
    ];
    let ca = tls.server.ca.as_ref().unwrap().display().to_string();
    for (variable, value, code, said) in [
        ("SSL_CERT_FILE", &*ca, 0, ""),
        ("SSL_CERT_FILE", "", 5, "help: name the CA of this server in `SSL_CERT_FILE`, if it is your own"),
        (
            "HITKEEP_S3_URL_STYLE",
            "",
            2,
            "help: set `HITKEEP_S3_URL_STYLE=path`, or `HITKEEP_S3_URL_STYLE=vhost` if there is",
        ),
        (
            "HITKEEP_S3_ENDPOINT",
            &server.endpoint,
            5,
            "the server speaks plain HTTP at this port: say `HITKEEP_S3_USE_SSL=false`",
        ),
        (
            "HITKEEP_S3_ENDPOINT",
            "127.0.0.1:9",
            5,
            "help: is `HITKEEP_S3_ENDPOINT` right, with its port, and does the server run?",
        ),
        ("HITKEEP_S3_SECRET_ACCESS_KEY", "", 2, "help: set `$HITKEEP_S3_SECRET_ACCESS_KEY`, or do without both"),
    ] {
        let mut command = site.command(&["list", &url]);
        command.envs(around.iter().copied().filter(|(name, _)| *name != variable));
        if !value.is_empty() {
            command.env(variable, value);
        }
        let begun = Instant::now();
        let outcome = Outcome::of(command);
        let words = plain(&outcome.stderr);
        assert_eq!(outcome.code, code, "{variable}={value}: {outcome:?}");
        assert!(words.contains(said), "{variable}={value}: {words}");
        // Ten tries, as a run makes them, take half a minute.
        assert!(begun.elapsed() < Duration::from_secs(15), "{variable}={value}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_checksum_that_is_asked_for_by_name_and_overlooked_is_said() {
    let said = "the server compares no CRC64NVME, which `checksum = \"crc64nvme\"` asks for";
    for server in servers::servers() {
        for (asked, is_named) in [("auto", false), ("none", false), ("crc64nvme", true)] {
            let site = Site::with(minimal());
            let plan = plan(&server, &server.new_bucket(), &site.path(""));
            site.write_plan(&plan.replace("url_style", &format!("checksum = \"{asked}\"\nurl_style")));
            let run = site.succeed(&["run", "plan.toml"]);
            let record = site.state_records().into_values().next().unwrap();
            let is_ignored = is_named && !server.habits.checksums;
            let title = format!("{}: {asked}: {run:?}", server.name);
            let warnings = record["warnings"].as_array().cloned().unwrap_or_default();
            assert_eq!(warnings.contains(&said.into()), is_ignored, "{title}");
            assert_eq!(run.stderr.contains(said), is_ignored, "{title}");
        }
    }
}

/// The plans for buckets that people start from, and what a server here needs to be told that theirs does not.
const STARTERS: [(&str, &[(&str, &str)]); 3] = [
    ("aws", &[("HITKEEP_S3_ENDPOINT", "[VHOST]")]),
    ("minio", &[("\"localhost:9000\"", "\"[ADDRESS]\"")]),
    ("r2", &[("\"YOUR_ACCOUNT_ID.r2.cloudflarestorage.com\"", "\"[VHOST]\"")]),
];

#[test]
fn each_plan_to_start_from_backs_up_and_comes_back() {
    for (name, told) in STARTERS {
        let server = if name == "minio" { servers::minio::server() } else { servers::ceph::server() };
        let Some(server) = server else { continue };
        let site = Site::with(minimal());
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plans/{name}.toml"))).unwrap();
        let bucket = text.split("s3://").nth(1).unwrap().split(['/', '"']).next().unwrap().to_owned();
        runtime().block_on(server.client().create_bucket().bucket(&bucket).send()).unwrap();
        let port = server.endpoint.rsplit(':').next().unwrap();
        let here = |text: &str| {
            text.replace("[VHOST]", &format!("s3.story.internal:{port}")).replace("[ADDRESS]", &server.endpoint)
        };
        let text = told.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, &here(ours)));
        site.write_plan(&text.replace("/var/lib/hitkeep/data", "data"));
        fs::write(site.path("hosts"), format!("127.0.0.1 localhost {bucket}.s3.story.internal\n")).unwrap();
        for words in [
            &["check", "plan.toml"][..],
            &["run", "plan.toml"],
            &["verify", "plan.toml"],
            &["restore", "plan.toml", "--to", "new"],
        ] {
            let Some(mut command) = with_hosts(&site, words) else { return };
            command
                .env("HITKEEP_S3_ACCESS_KEY_ID", server.access_key)
                .env("HITKEEP_S3_SECRET_ACCESS_KEY", server.secret_key)
                .env("HITKEEP_S3_USE_SSL", "false")
                .envs(
                    told.iter()
                        .filter(|(name, _)| name.starts_with("HITKEEP_"))
                        .map(|(name, value)| (name, here(value))),
                );
            let outcome = Outcome::of(command);
            assert_eq!(outcome.code, 0, "{name}: {words:?}: {outcome:?}");
        }
        assert!(site.path("new/hitkeep.db").exists(), "{name}");
    }
}

/// Returns the program with `words` where the file `hosts` of the site says which hosts there are; nothing where this
/// process may not have that.
fn with_hosts(site: &Site, words: &[&str]) -> Option<Command> {
    const SCRIPT: &str = "mount --bind hosts /etc/hosts && exec \"$@\"";
    let wrapped = |program: &[&str]| {
        let mut command = site.command(&[]);
        let environment: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]).args(program);
        command
            .current_dir(site.path(""))
            .env_clear()
            .envs(environment)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    if !wrapped(&["true"]).output().is_ok_and(|output| output.status.success()) {
        redact::skipped("`unshare` may not give a process hosts of its own here");
        return None;
    }
    Some(wrapped(&[&[env!("CARGO_BIN_EXE_hitkeep-plan")], words].concat()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_uploads_together_keep_to_the_bandwidth() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let upload = Upload { concurrency: 4, part_size: Bytes(1 << 20), bandwidth: Some(Bytes(4 << 20)) };
    let store = S3::new(&bucket_of(&sink.server, "bucket", folder.path()), upload);
    let begun = Instant::now();
    let puts = ["one", "two", "three"].map(|name| {
        let file = folder.path().join(name);
        fs::write(&file, vec![7; 3 << 20]).unwrap();
        let (key, store) = (name.parse().unwrap(), &store);
        async move { store.put(&key, Body::File(file), Mode::Replace, &Meter::default()).await.unwrap() }
    });
    futures_util::future::join_all(puts).await;
    // Nine MiB at four a second. A limit that is kept is never faster; how much slower a machine is says nothing.
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
}
