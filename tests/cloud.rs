//! Stories of what lies around a bucket: where credentials come from, storage classes, encryption, bandwidth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::time::{Duration, Instant};

use hitkeep_plan::event::Meter;
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::plan::Upload;
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Store};

use crate::fixture::{Outcome, Site, minimal};
use crate::redact;
use crate::s3::{bucket_of, plan};
use crate::servers::{self, Answers, Faults, KMS_KEY, Metadata, Proxy, Server, Sink};

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
    redact::golden("no-credentials.txt", &redact::outcome(&site, &outcome).replace(&bucket, "[BUCKET]"));
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
    let server = servers::s3s::server();
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
    let Some(server) = servers::ceph::server() else { return };
    let site = Site::with(minimal());
    let bucket = server.new_bucket();
    let wanted = format!("encryption = \"aws:kms\"\nkms_key = \"{KMS_KEY}\"\nurl_style");
    site.write_plan(&plan(&server, &bucket, &site.path("")).replace("url_style", &wanted));
    for words in [&["run", "plan.toml"][..], &["verify", "plan.toml"], &["restore", "plan.toml", "--to", "new"]] {
        site.succeed(words);
    }
    let set = site.sets()[0].0.clone();
    let key = format!("root/hitkeep/shared/{set}/hits.parquet");
    let head = server.client().head_object().bucket(&bucket).key(key).send().await.unwrap();
    assert_eq!(head.ssekms_key_id.as_deref(), Some(KMS_KEY));
    site.write_plan(&plan(&server, &bucket, &site.path("")).replace("url_style", &wanted.replace(KMS_KEY, "unknown")));
    assert_eq!(site.run(&["run", "plan.toml"]).code, 5, "a key that the server does not know");
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
