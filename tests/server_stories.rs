//! Stories of the servers themselves: they are what the other stories take them for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ChecksumMode, CompletedMultipartUpload, CompletedPart, ExpirationStatus,
    LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum};

use crate::servers::home::Home;
use crate::servers::proxy::Counts;
use crate::servers::tls::foreign_authority;
use crate::servers::{Certificate, Creation, Faults, Habits, Proxy, Server, Sink, Strike, Tls, ceph, s3s, servers};

/// The smallest size that every server takes for a part.
const PART: usize = 5 << 20;

/// Stores an object; fails with what the server or the wire said.
async fn put(client: &Client, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), String> {
    let sent = client.put_object().bucket(bucket).key(key).body(bytes.to_vec().into()).send().await;
    sent.map(drop).map_err(code)
}

/// Fetches an object; fails with what the server or the wire said.
async fn get(client: &Client, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
    let found = client.get_object().bucket(bucket).key(key).send().await.map_err(code)?;
    Ok(found.body.collect().await.map_err(|error| error.to_string())?.to_vec())
}

/// Stores an object in this many parts.
async fn put_in_parts(client: &Client, bucket: &str, key: &str, parts: i32, bytes: &[u8]) -> Result<(), String> {
    let created = client.create_multipart_upload().bucket(bucket).key(key).send().await.map_err(code)?;
    let id = created.upload_id.unwrap();
    let mut completed = CompletedMultipartUpload::builder();
    for number in 1..=parts {
        let part = client.upload_part().bucket(bucket).key(key).upload_id(&id).part_number(number);
        let sent = part.body(bytes.to_vec().into()).send().await.map_err(code)?;
        completed = completed.parts(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
    }
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
    complete.multipart_upload(completed.build()).send().await.map(drop).map_err(code)
}

/// Returns the error code that a server gave, or else what happened on the wire.
fn code<E, R>(error: SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error.code() {
        Some(code) => code.to_owned(),
        None => DisplayErrorContext(error).to_string(),
    }
}

#[tokio::test]
async fn every_server_answers_its_user_alone() {
    for server in servers() {
        let (bucket, client) = (server.new_bucket(), server.client());
        put(&client, &bucket, "a/b c+ü", b"hello").await.unwrap();
        assert_eq!(get(&client, &bucket, "a/b c+ü").await.unwrap(), b"hello", "{}", server.name);
        put_in_parts(&client, &bucket, "parts", 2, &vec![7; PART]).await.unwrap();
        assert_eq!(get(&client, &bucket, "parts").await.unwrap(), vec![7; 2 * PART], "{}", server.name);
        let stranger = Server { secret_key: "another secret", ..server };
        let refused = put(&stranger.client(), &bucket, "x", b"x").await.unwrap_err();
        let is_said = ["SignatureDoesNotMatch", "AccessDenied"].contains(&refused.as_str());
        assert!(is_said, "{}: {refused}", stranger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_has_the_habits_that_are_said_of_it() {
    for server in servers() {
        let (bucket, client) = (server.new_bucket(), server.client());
        let found = Habits {
            creation: creation(&client, &bucket, server.habits.creation).await,
            checksums: keeps_checksums(&client, &bucket).await,
            trailers: takes_trailers(&client, &bucket).await,
            long_keys: takes_long_keys(&client, &bucket).await,
            uploads: client.list_multipart_uploads().bucket(&bucket).send().await.is_ok(),
        };
        assert_eq!(found, server.habits, "{}", server.name);
    }
}

/// Finds out how `If-None-Match: *` is taken. A race may be won by one writer each time: then `expected` is believed.
async fn creation(client: &Client, bucket: &str, expected: Creation) -> Creation {
    let create = async |key: String| {
        let create = client.put_object().bucket(bucket).key(key).if_none_match("*").body(vec![1; 100_000].into());
        create.send().await.map(drop).map_err(code)
    };
    create("created".to_owned()).await.unwrap();
    match create("created".to_owned()).await {
        Ok(()) => return Creation::Overwrites,
        Err(code) => assert_eq!(code, "PreconditionFailed"),
    }
    for round in 0..10 {
        let writers = (0..8).map(|_| create(format!("raced-{round}")));
        let outcomes = futures_util::future::join_all(writers).await;
        match outcomes.iter().filter(|outcome| outcome.is_ok()).count() {
            0 => panic!("no winner: {outcomes:?}"),
            1 => {}
            _ => return Creation::Races,
        }
    }
    if expected == Creation::Races { expected } else { Creation::Atomic }
}

/// Finds out whether a wrong checksum is refused, and a right one returned.
async fn keeps_checksums(client: &Client, bucket: &str) -> bool {
    let sum = BASE64_STANDARD.encode(checksum(CrcAlgorithm::Crc64Nvme, b"summed").to_be_bytes());
    let put = async |key: &str, body: &'static [u8]| {
        let put = client.put_object().bucket(bucket).key(key).checksum_crc64_nvme(&sum);
        put.body(ByteStream::from_static(body)).send().await.map(drop).map_err(code)
    };
    put("summed", b"summed").await.unwrap();
    let head = client.head_object().bucket(bucket).key("summed").checksum_mode(ChecksumMode::Enabled);
    let is_returned = head.send().await.unwrap().checksum_crc64_nvme.as_ref() == Some(&sum);
    let is_checked = put("other", b"other").await.is_err();
    assert_eq!(is_returned, is_checked, "a checksum is kept and compared, or neither");
    is_returned
}

/// Finds out whether the SDK can send a stream the way it does by itself.
async fn takes_trailers(client: &Client, bucket: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, vec![7; 100_000]).unwrap();
    let body = ByteStream::from_path(file).await.unwrap();
    client.put_object().bucket(bucket).key("streamed").body(body).send().await.is_ok()
}

/// Finds out whether a long key is taken whose parts could be names of files.
async fn takes_long_keys(client: &Client, bucket: &str) -> bool {
    let key = "short/".repeat(100) + &"long".repeat(60);
    put(client, bucket, &key, b"x").await.is_ok() && get(client, bucket, &key).await.is_ok()
}

#[tokio::test]
async fn a_day_of_lifecycle_is_short_at_ceph() {
    let Some(server) = ceph::server() else { return };
    let (bucket, client) = (server.new_bucket(), server.client());
    put(&client, &bucket, "short/x", b"x").await.unwrap();
    put(&client, &bucket, "long/x", b"x").await.unwrap();
    let rule = LifecycleRule::builder()
        .id("short")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("short/").build())
        .expiration(LifecycleExpiration::builder().days(1).build());
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap()).build().unwrap();
    let set = client.put_bucket_lifecycle_configuration().bucket(&bucket).lifecycle_configuration(rules);
    set.send().await.unwrap();

    let begun = Instant::now();
    while get(&client, &bucket, "short/x").await.is_ok() {
        assert!(begun.elapsed() < 12 * ceph::DAY, "the object is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(get(&client, &bucket, "short/x").await, Err("NoSuchKey".to_owned()));
    assert_eq!(get(&client, &bucket, "long/x").await.unwrap(), b"x");
}

/// Returns the in-process server behind faults, with a bucket and a client that goes through them.
fn behind(faults: Faults) -> (Proxy, String, Client) {
    let server = s3s::server();
    let proxy = Proxy::before(&server, faults);
    let client = proxy.server.client();
    (proxy, server.new_bucket(), client)
}

#[tokio::test]
async fn a_proxy_without_faults_is_not_noticed() {
    for server in servers() {
        let (proxy, bucket) = (Proxy::before(&server, Faults::default()), server.new_bucket());
        let client = proxy.server.client();
        put_in_parts(&client, &bucket, "parts", 2, &vec![7; PART]).await.unwrap();
        assert_eq!(get(&client, &bucket, "parts").await.unwrap(), vec![7; 2 * PART], "{}", server.name);
        let counts = proxy.counts();
        let unstruck = Counts { requests: 5, downloads: 1, connections: counts.connections, ..Counts::default() };
        assert_eq!(counts, unstruck, "{}", server.name);
    }
}

#[tokio::test]
async fn requests_wait_for_the_latency() {
    let (_proxy, bucket, client) = behind(Faults { latency: Duration::from_millis(150), ..Faults::default() });
    let begun = Instant::now();
    put(&client, &bucket, "x", b"x").await.unwrap();
    get(&client, &bucket, "x").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn every_second_connection_is_reset_in_the_middle_of_an_upload() {
    let cut = Strike { every: 2, after: 1_000_000 };
    let (proxy, bucket, _) = behind(Faults { cut: Some(cut), ..Faults::default() });
    for number in 1..=4 {
        // A client of its own for each, since connections are kept for the next request.
        let sent = put(&proxy.server.client(), &bucket, &format!("{number}"), &vec![7; 8_000_000]).await;
        assert_eq!(sent.is_err(), number % 2 == 0, "{number}: {sent:?}");
        let stored = get(&s3s::server().client(), &bucket, &format!("{number}")).await;
        assert_eq!(stored.is_err(), number % 2 == 0, "{number}: half an object is none");
    }
    assert_eq!(proxy.counts(), Counts { connections: 4, requests: 4, cut: 2, ..Counts::default() });
}

#[tokio::test]
async fn a_connection_that_stalls_stays_open_and_still() {
    let stall = Strike { every: 1, after: 1_000_000 };
    let (proxy, bucket, client) = behind(Faults { stall: Some(stall), ..Faults::default() });
    put(&client, &bucket, "small", b"x").await.unwrap();
    let sending = tokio::spawn(async move { put(&client, &bucket, "large", &vec![7; 32_000_000]).await });
    while proxy.counts().stalled == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sending.is_finished(), "nothing is heard and nothing is closed");
}

#[tokio::test]
async fn requests_are_slowed_down_first_and_by_chance() {
    let (proxy, bucket, client) = behind(Faults { slow_down_first: 2, ..Faults::default() });
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(put(&client, &bucket, "x", &vec![7; 1_000_000]).await);
    }
    let slow_down = Err("SlowDown".to_owned());
    assert_eq!(outcomes, [slow_down.clone(), slow_down, Ok(())]);
    assert_eq!(proxy.counts().slowed_down, 2);

    let by_chance = async |seed| {
        let (_proxy, bucket, client) = behind(Faults { slow_down_percent: 30, seed, ..Faults::default() });
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            outcomes.push(put(&client, &bucket, "x", b"x").await.is_ok());
        }
        outcomes
    };
    let (first, again, other) = (by_chance(1).await, by_chance(1).await, by_chance(2).await);
    assert_eq!(first, again, "a seed is a fate");
    assert_ne!(first, other);
    let slowed_down = first.iter().filter(|is_ok| !**is_ok).count();
    assert!((15..45).contains(&slowed_down), "{slowed_down}");
}

#[tokio::test]
async fn a_completion_fails_inside_an_answer_that_says_200() {
    let (proxy, bucket, client) = behind(Faults { failed_completions: 1, ..Faults::default() });
    let failed = put_in_parts(&client, &bucket, "x", 1, b"x").await;
    assert_eq!(failed, Err("InternalError".to_owned()));
    assert_eq!(get(&client, &bucket, "x").await, Err("NoSuchKey".to_owned()));
    put_in_parts(&client, &bucket, "x", 1, b"x").await.unwrap();
    assert_eq!(proxy.counts().failed_completions, 1);
}

#[tokio::test]
async fn a_write_is_done_and_its_answer_lost() {
    let (proxy, bucket, client) = behind(Faults { lost_answers: 2, ..Faults::default() });
    put(&client, &bucket, "whole", b"x").await.unwrap_err();
    put_in_parts(&client, &bucket, "parts", 1, b"x").await.unwrap_err();
    assert_eq!(get(&client, &bucket, "whole").await.unwrap(), b"x");
    assert_eq!(get(&client, &bucket, "parts").await.unwrap(), b"x");
    put(&client, &bucket, "whole", b"x").await.unwrap();
    assert_eq!(proxy.counts().lost_answers, 2);
}

#[tokio::test]
async fn every_second_download_ends_early() {
    let truncate = Strike { every: 2, after: 500_000 };
    let (proxy, bucket, client) = behind(Faults { truncate: Some(truncate), ..Faults::default() });
    put(&client, &bucket, "small", b"x").await.unwrap();
    put(&client, &bucket, "large", &vec![7; 1_000_000]).await.unwrap();
    let mut outcomes = Vec::new();
    for key in ["large", "large", "large", "small"] {
        outcomes.push(get(&client, &bucket, key).await.is_ok());
    }
    assert_eq!(outcomes, [true, false, true, true]);
    assert_eq!(proxy.counts().truncated, 1);
}

#[tokio::test]
async fn only_a_certificate_of_the_host_by_its_authority_is_trusted() {
    let server = s3s::server();
    let bucket = server.new_bucket();
    let outcome = async |server: &Server| put(&server.client(), &bucket, "x", b"x").await;

    let good = Tls::before(&server, Certificate::Good);
    assert_eq!(outcome(&good.server).await, Ok(()));
    let by_number = Server { endpoint: good.server.endpoint.replace("localhost", "127.0.0.1"), ..good.server.clone() };
    assert_eq!(outcome(&by_number).await, Ok(()));

    let folder = tempfile::tempdir().unwrap();
    let stranger = Server { ca: Some(foreign_authority(&folder)), ..good.server.clone() };
    let another = Tls::before(&server, Certificate::OfAnotherHost);
    let expired = Tls::before(&server, Certificate::Expired);
    let cases = [(&stranger, "UnknownIssuer"), (&another.server, "NotValidForName"), (&expired.server, "Expired")];
    for (server, reason) in cases {
        let refused = outcome(server).await.unwrap_err();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
}

#[tokio::test]
async fn every_server_is_reached_through_tls_and_faults() {
    for server in servers() {
        let (bucket, proxy) = (server.new_bucket(), Proxy::before(&server, Faults::default()));
        let tls = Tls::before(&proxy.server, Certificate::Good);
        // Ceph takes a host name that is not its own for that of a bucket.
        let endpoint = tls.server.endpoint.replace("localhost", "127.0.0.1");
        let by_number = Server { endpoint, ..tls.server.clone() };
        put(&by_number.client(), &bucket, "x", b"hello").await.unwrap();
        assert_eq!(get(&server.client(), &bucket, "x").await.unwrap(), b"hello", "{}", server.name);
        assert_eq!(proxy.counts().requests, 1);
    }
}

#[tokio::test]
async fn a_sink_remembers_sizes_and_hands_out_zeros() {
    let sink = Sink::start();
    let client = sink.server.client();
    client.create_bucket().bucket("b").send().await.unwrap();
    put(&client, "b", "whole/x", &vec![7; 1_000_000]).await.unwrap();
    put_in_parts(&client, "b", "parts", 3, &vec![7; PART]).await.unwrap();
    assert!(takes_trailers(&client, "b").await);
    put(&client, "b", "gone", b"x").await.unwrap();
    client.delete_object().bucket("b").key("gone").send().await.unwrap();

    let part = PART as u64;
    let sizes = [
        ("b/parts".to_owned(), [(1, part), (2, part), (3, part)].into()),
        ("b/streamed".to_owned(), [(0, 100_000)].into()),
        ("b/whole/x".to_owned(), [(0, 1_000_000)].into()),
    ];
    assert_eq!(sink.objects(), sizes.into());
    let head = client.head_object().bucket("b").key("parts").send().await.unwrap();
    assert_eq!(head.content_length, Some(3 * i64::try_from(PART).unwrap()));
    let listed = client.list_objects_v2().bucket("b").prefix("whole/").send().await.unwrap();
    let listed: Vec<_> =
        listed.contents().iter().map(|object| (object.key().unwrap(), object.size().unwrap())).collect();
    assert_eq!(listed, [("whole/x", 1_000_000)]);
    assert_eq!(get(&client, "b", "whole/x").await.unwrap(), vec![0; 1_000_000]);
    let range = client.get_object().bucket("b").key("whole/x").range("bytes=999990-1000005").send().await.unwrap();
    assert_eq!(range.content_range.as_deref(), Some("bytes 999990-999999/1000000"));
    assert_eq!(range.body.collect().await.unwrap().into_bytes().len(), 10);
    assert!(
        client.get_object().bucket("b").key("gone").send().await.unwrap_err().into_service_error().is_no_such_key()
    );
}

/// Starts a process that only waits, in a home.
fn inhabited_home() -> Home {
    let mut home = Home::new("story");
    home.start(Command::new("sh").args(["-c", "echo $$ >process; exec sleep 1000"]));
    while fs::read_to_string(home.path("process")).unwrap_or_default().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    home
}

/// Tells whether a process runs; one that has ended and was not waited for does not.
fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    status.is_ok_and(|status| !status.contains(") Z "))
}

const TOLD: &str = "HITKEEP_PLAN_TEST_HOME";

#[test]
#[ignore = "what the other process runs, started by the story of its end"]
fn has_a_home_until_it_is_killed() {
    let home = inhabited_home();
    fs::write(std::env::var_os(TOLD).unwrap(), home.path("").to_str().unwrap()).unwrap();
    std::thread::sleep(Duration::from_mins(1));
}

#[test]
fn processes_and_folders_go_with_the_tests() {
    let home = inhabited_home();
    let (folder, process) = (home.path(""), fs::read_to_string(home.path("process")).unwrap());
    assert!(is_running(&process));
    drop(home);
    assert!(!is_running(&process) && !folder.exists());

    let scratch = tempfile::tempdir().unwrap();
    let told = scratch.path().join("told");
    let mut tests = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server_stories::has_a_home_until_it_is_killed", "--ignored"])
        .env(TOLD, &told)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let folder = PathBuf::from(wait_for_text(&told));
    let process = wait_for_text(&folder.join("process"));
    tests.kill().unwrap();
    tests.wait().unwrap();
    let begun = Instant::now();
    while is_running(&process) || folder.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{process} or {} is left", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_for_text(path: &Path) -> String {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is in {}", path.display());
        match fs::read_to_string(path) {
            Ok(text) if !text.is_empty() => return text,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
