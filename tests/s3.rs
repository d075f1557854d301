//! Stories of buckets: the contract on every server that can be had, and whole journeys of the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hitkeep_plan::demo::Layout;
use hitkeep_plan::event::Meter;
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::name::{Key, Prefix};
use hitkeep_plan::plan::{self, Bucket, Plan, Surroundings, Upload};
use hitkeep_plan::secret::Hidden;
use hitkeep_plan::store::contract::{self, Creation};
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Moved, Part, Store, StoreError};
use hitkeep_plan::survey::{self, Asked, Own};
use hitkeep_plan::work::At;
use jiff::SignedDuration;

use crate::fixture::{Outcome, Site, demo, minimal, read_tree};
use crate::redact::{self, golden, plain};
use crate::servers::{self, Certificate, Faults, Proxy, Server, Sink, Strike, Tls, servers};

/// What every store of the stories moves with, unless a story is about just that.
pub(crate) const UPLOAD: Upload = Upload { concurrency: 4, part_size: Bytes(5 << 20), bandwidth: None };

/// Returns a destination's table for a bucket, with secrets in files of `folder`.
pub(crate) fn table(server: &Server, bucket: &str, folder: &Path) -> String {
    fs::write(folder.join("id"), server.access_key).unwrap();
    fs::write(folder.join("secret"), format!("{}\n", server.secret_key)).unwrap();
    let ca = server.ca.as_ref().map(|ca| format!("ca_bundle = {:?}\n", ca.display().to_string()));
    format!(
        "[destination.bucket]\nurl = \"s3://{bucket}/root\"\nendpoint = \"{}\"\nurl_style = \"path\"\nuse_ssl = {}\n\
         region = \"{}\"\naccess_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"secret\" }}\n{}",
        server.endpoint,
        server.ca.is_some(),
        server.region,
        ca.unwrap_or_default(),
    )
}

/// Returns a plan that backs up `data` to a bucket.
pub(crate) fn plan(server: &Server, bucket: &str, folder: &Path) -> String {
    format!(
        "version = 1\n\n[source.main]\ndata_path = \"data\"\n\n{}\n[backup.nightly]\nsource = \"main\"\nto = [\"bucket\"]\n\
         prefix = \"hitkeep\"\n\n[local]\nstate = \"state\"\nstaging = \"staging\"\n",
        table(server, bucket, folder)
    )
}

/// Reads the bucket of such a plan.
pub(crate) fn bucket_of(server: &Server, bucket: &str, folder: &Path) -> Bucket {
    let around = Surroundings {
        host: "here".to_owned(),
        directory: folder.to_owned(),
        variables: BTreeMap::new(),
        real_path: Path::to_owned,
    };
    let plan = Plan::read(&plan(server, bucket, folder), "plan.toml", &around).unwrap().plan;
    match plan.destinations()[0].store() {
        plan::Store::Bucket(bucket) => (**bucket).clone(),
        plan::Store::Directory(_) => panic!("a bucket is no directory"),
    }
}

/// Returns the store of a fresh bucket.
pub(crate) fn store(server: &Server, folder: &Path, upload: Upload) -> Arc<dyn Store> {
    Arc::new(S3::new(&bucket_of(server, &server.new_bucket(), folder), upload))
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Returns bytes that are nowhere the same, so that a part in the wrong place is seen.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_keeps_the_contract() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let creation = match server.habits.creation {
            servers::Creation::Atomic => Creation::Exclusive,
            servers::Creation::Races | servers::Creation::Overwrites => Creation::Racing,
        };
        let store = store(&server, folder.path(), UPLOAD);
        // What a server promises is known once the lease was taken, as each run does first.
        store.lock(&"first".parse().unwrap(), "the contract").await.unwrap().release().await;
        contract::check(store.clone(), folder.path(), creation).await;
        // SeaweedFS names it for a while, and a story of its own says what comes of that.
        if server.name != "seaweed" {
            contract::check_that_folders_go(&*store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_what_it_was_seen_to_do() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&server, folder.path(), UPLOAD);
        let lock = store.lock(&"place".parse().unwrap(), "me").await.unwrap();
        let lease = lock.lease().unwrap();
        assert_eq!(lease.generation, 1, "{}", server.name);
        let is_exclusive = server.habits.creation != servers::Creation::Overwrites;
        assert_eq!(lease.caveat.is_none(), is_exclusive, "{}: {:?}", server.name, lease.caveat);
        let content = bytes((11 << 20) + 3);
        fs::write(folder.path().join("file"), &content).unwrap();
        for (name, body) in
            [("small", Body::Bytes(b"small".to_vec())), ("large", Body::File(folder.path().join("file")))]
        {
            let moved = store.put(&key(name), body, Mode::Create, &Meter::default()).await.unwrap();
            let attests = async |crc| store.attests(&key(name), moved.bytes, crc).await;
            // What the one in this process keeps of an object in parts is not the checksum of all of it.
            let expected = server.habits.checksums && (name == "small" || server.name != "s3s");
            assert_eq!(attests(moved.crc64nvme).await.unwrap(), expected, "{}: {name}", server.name);
            assert!(!attests(Moved::of(b"another").crc64nvme).await.unwrap(), "{}: {name}", server.name);
        }
        lock.release().await;
        let next = store.lock(&"place".parse().unwrap(), "me again").await.unwrap();
        assert_eq!(next.lease().unwrap().generation, 2, "{}: leases are counted", server.name);
        next.release().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_request_is_copied_in_parts() {
    for server in servers() {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), server.new_bucket());
        let store = S3::new(&bucket_of(&server, &bucket, folder.path()), UPLOAD).copying_at_once(Bytes(5 << 20));
        store.lock(&"place".parse().unwrap(), "me").await.unwrap().release().await;
        let file = folder.path().join("file");
        fs::write(&file, bytes((11 << 20) + 3)).unwrap();
        let moved = store.put(&key("original"), Body::File(file), Mode::Create, &Meter::default()).await.unwrap();
        let meter = Meter::default();
        let copy = async |from: &str, to: &str| store.copy(&key(from), &key(to), moved, &meter).await;

        let copied = copy("original", "copy").await;
        if ["versity", "minio"].contains(&server.name) {
            // The one gives each part the checksum of the whole original, the other none, and both then miss what adds up.
            assert!(matches!(copied, Err(StoreError::Refused { .. })), "{copied:?}");
        } else {
            assert!(copied.is_ok(), "{}: {copied:?}", server.name);
            assert_eq!(meter.moved().0, moved.bytes, "{}: counted", server.name);
            assert_eq!(store.digest(&key("copy"), &Meter::default()).await.unwrap(), moved, "{}", server.name);
            let is_attested = store.attests(&key("copy"), moved.bytes, moved.crc64nvme).await.unwrap();
            assert_eq!(is_attested, server.habits.checksums && server.name != "s3s", "{}", server.name);
            let taken = copy("original", "copy").await;
            assert!(matches!(taken, Err(StoreError::Exists { .. })), "{}: {taken:?}", server.name);
            store.delete(&key("copy")).await.unwrap();
        }
        let missing = copy("nothing", "never").await;
        assert!(matches!(missing, Err(StoreError::Missing { .. })), "{}: {missing:?}", server.name);
        meter.stop();
        let stopped = copy("original", "never").await;
        assert!(matches!(stopped, Err(StoreError::Stopped { .. })), "{}: {stopped:?}", server.name);
        assert_eq!(store.list(&Prefix::default()).await.unwrap().len(), 1, "{}: nothing half", server.name);
        assert_eq!(unfinished(&server, &bucket).await, Vec::<String>::new(), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_parts_that_is_there_already_is_not_sent_again() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Proxy::before(&server, Faults::default());
        let store = store(&proxy.server, folder.path(), UPLOAD);
        store.lock(&"first".parse().unwrap(), "me").await.unwrap().release().await;
        let (same, other) = (folder.path().join("same"), folder.path().join("other"));
        fs::write(&same, bytes((10 << 20) + 1)).unwrap();
        fs::write(&other, [&bytes(10 << 20)[..], b"!"].concat()).unwrap();
        let put = async |file: &Path| {
            let before = sent(&proxy);
            let put = store.put(&key("file"), Body::File(file.to_owned()), Mode::Create, &Meter::default()).await;
            (put, sent(&proxy) - before)
        };
        let (first, sent) = put(&same).await;
        assert!(sent > 10 << 20, "{}: {sent} bytes", server.name);
        let (again, sent) = put(&same).await;
        assert_eq!((again.unwrap(), sent), (first.unwrap(), 0), "{}: resumed", server.name);
        let (refused, sent) = put(&other).await;
        assert!(matches!(refused, Err(StoreError::Exists { .. })) && sent == 0, "{}: never replaced", server.name);
    }
}

/// Returns how many bytes of objects have been sent through a proxy so far.
fn sent(proxy: &Proxy) -> u64 {
    let length =
        |head: String| head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
    let heads = proxy.heads().into_iter().filter(|head| head.starts_with("put ") || head.starts_with("post "));
    heads.filter_map(length).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_as_many_pages_as_it_takes() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&server, folder.path(), UPLOAD);
        let names: Vec<Key> = (0..1100).map(|number| key(&format!("many/{number:04}/x"))).collect();
        for chunk in names.chunks(50) {
            let puts = chunk.iter().map(|key| async {
                store.put(key, Body::Bytes(b"x".to_vec()), Mode::Replace, &Meter::default()).await.unwrap();
            });
            futures_util::future::join_all(puts).await;
        }
        let listed: Vec<Key> = store.list(&"many".parse().unwrap()).await.unwrap().into_keys().collect();
        assert_eq!(listed, names, "{}", server.name);
        assert_eq!(store.folders(&"many".parse().unwrap(), "").await.unwrap().len(), names.len(), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_at_most_ten_thousand_parts() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let upload = Upload { concurrency: 8, part_size: Bytes(1 << 10), bandwidth: None };
    let store = S3::new(&bucket_of(&sink.server, "bucket", folder.path()), upload);
    for (length, count) in [(10_000 << 10, 10_000), ((10_000 << 10) + 1, 9991)] {
        let file = folder.path().join("file");
        fs::write(&file, bytes(length)).unwrap();
        let name = format!("of-{length}");
        store.put(&key(&name), Body::File(file), Mode::Replace, &Meter::default()).await.unwrap();
        let objects = sink.objects();
        let (_, parts) = objects.iter().find(|(path, _)| path.ends_with(&name)).unwrap();
        assert_eq!((parts.len(), parts.values().sum::<u64>()), (count, length as u64));
    }
}

/// Returns a site whose plan backs up to a fresh bucket of a server, and the bucket's name.
fn site(server: &Server, layout: Layout) -> (Site, String) {
    let site = Site::with(demo(layout));
    let bucket = server.new_bucket();
    site.write_plan(&plan(server, &bucket, &site.path("")));
    (site, bucket)
}

/// Runs the program with nothing but HitKeep's own variables to find a server by.
pub(crate) fn run_without_a_plan(site: &Site, server: &Server, words: &[&str]) -> Outcome {
    let mut command = site.command(words);
    command
        .env("HITKEEP_S3_ACCESS_KEY_ID", server.access_key)
        .env("HITKEEP_S3_SECRET_ACCESS_KEY", server.secret_key)
        .env("HITKEEP_S3_REGION", server.region)
        .env("HITKEEP_S3_ENDPOINT", &server.endpoint)
        .env("HITKEEP_S3_URL_STYLE", "path")
        .env("HITKEEP_S3_USE_SSL", server.ca.is_some().to_string());
    Outcome::of(command)
}

#[test]
fn the_disk_is_lost_and_everything_comes_back_by_the_url_alone() {
    for server in servers() {
        let (site, bucket) = site(&server, Layout::Joined);
        site.succeed(&["run", "plan.toml"]);
        let before: BTreeMap<_, _> = read_tree(&site.path("data"))
            .into_keys()
            .map(|name| (name.clone(), crate::restores::contents(&site.path("data").join(name))))
            .collect();
        for lost in ["data", "state", "staging"] {
            fs::remove_dir_all(site.path(lost)).unwrap();
        }
        fs::remove_file(site.path("plan.toml")).unwrap();
        let url = format!("s3://{bucket}/root/hitkeep");
        for words in [&["verify", &url][..], &["list", &url, "latest"], &["restore", &url, "--to", "new"]] {
            let outcome = run_without_a_plan(&site, &server, words);
            assert_eq!(outcome.code, 0, "{}: {words:?}: {outcome:?}", server.name);
        }
        let after: BTreeMap<_, _> = read_tree(&site.path("new"))
            .into_keys()
            .map(|name| (name.clone(), crate::restores::contents(&site.path("new").join(name))))
            .collect();
        assert_eq!(after.len(), 3, "{}: all but the archived tenant", server.name);
        assert!(after.iter().all(|(name, content)| before.get(name) == Some(content)), "{}", server.name);
    }
}

#[test]
fn a_backup_of_hitkeeps_own_comes_back_with_all_tenants() {
    for server in servers() {
        let (site, bucket) = site(&server, Layout::Joined);
        site.succeed(&["run", "plan.toml"]);
        let set = site.sets()[0].0.clone();
        make_foreign(&server, &site, &bucket, &set);
        let listed = site.succeed(&["list", "plan.toml"]).stdout;
        assert!(listed.contains("foreign"), "{}: {listed}", server.name);
        site.succeed(&["verify", "plan.toml"]);
        site.succeed(&["restore", "plan.toml", "--to", "new"]);
        assert_eq!(read_tree(&site.path("new")).len(), 3, "{}: the shared database and both tenants'", server.name);
    }
}

/// Takes away from a set what HitKeep does not write: manifests, the run record, leases.
fn make_foreign(server: &Server, site: &Site, bucket: &str, set: &str) {
    let store = S3::new(&bucket_of(server, bucket, &site.path("")), UPLOAD);
    runtime().block_on(async {
        let listed = store.list(&"hitkeep".parse().unwrap()).await.unwrap();
        let own = listed
            .keys()
            .filter(|key| key.as_str().ends_with(&format!("{set}.manifest.json")) || key.as_str().contains("/runs/"));
        for key in own {
            store.delete(key).await.unwrap();
        }
    });
}

#[test]
fn what_a_server_refuses_is_told_with_a_way_out() {
    let Some(server) = servers().into_iter().find(|server| server.name == "garage") else { return };
    let (mut said, tls) = (String::new(), Tls::before(&server, Certificate::Good));
    for (case, change) in [
        (
            "no such bucket",
            &(|plan: String| plan.replace("s3://story", "s3://nowhere-story")) as &dyn Fn(String) -> String,
        ),
        ("a key that the server does not know", &|plan| plan.replace("\"id\"", "\"other-id\"")),
        ("a wrong secret", &|plan| plan.replace("\"secret\"", "\"other-secret\"")),
        ("a secret that is not there", &|plan| plan.replace("{ file = \"secret\" }", "{ env = \"NOT_SET\" }")),
        ("another region", &|plan| plan.replace("region = \"garage\"", "region = \"eu-central-1\"")),
        ("nobody listens", &|plan| plan.replace(&server.endpoint, "127.0.0.1:9")),
        ("plain HTTP spoken to as TLS", &|plan| plan.replace("use_ssl = false", "use_ssl = true")),
        ("TLS spoken to as plain HTTP", &|plan| plan.replace(&server.endpoint, &tls.server.endpoint)),
        ("certificates that are not there", &|plan| {
            let named = plan.replace("use_ssl = false", "use_ssl = true\nca_bundle = \"ca.pem\"");
            named.replace(&server.endpoint, &tls.server.endpoint)
        }),
    ] {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        fs::write(site.path("other-id"), "GKffffffffffffffffffffffff").unwrap();
        fs::write(site.path("other-secret"), "wrong").unwrap();
        site.write_plan(&change(plan(&server, &bucket, &site.path(""))));
        let outcome = site.run(&["list", "plan.toml"]);
        let text = redact::outcome(&site, &outcome)
            .replace(&server.endpoint, "[ENDPOINT]")
            .replace(&tls.server.endpoint, "[TLS ENDPOINT]")
            .replace(&bucket, "[BUCKET]");
        if case == "a secret that is not there" {
            let told = site.run(&["list", "plan.toml", "--log", "json"]).stderr;
            assert!(told.contains("\"help\":\"put it where the plan says"), "{told}");
        }
        // Both are listed at one time, and either may be the first to fail.
        writeln!(said, "## {case}\n{}", text.replace("/hitkeep/shared`", "/hitkeep/runs`")).unwrap();
    }
    golden("s3-refusals.txt", &said);
}

#[test]
fn a_run_says_who_holds_the_lease() {
    for server in servers() {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        let note = |ends: &str| {
            format!(
                "{{\"format\":1,\"holder\":\"process 7 on elsewhere\",\"token\":\"0190a5c4-0000-7000-8000-000000000000\",\
                 \"expires_at\":\"{ends}\",\"is_released\":false}}"
            )
        };
        let store = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let runtime = runtime();
        let leave = |text: String| {
            let body = Body::Bytes(text.into_bytes());
            let key = key("hitkeep/.lock/0000000041");
            runtime.block_on(store.put(&key, body, Mode::Replace, &Meter::default())).unwrap();
        };
        leave(note("2999-01-01T00:00:00Z"));
        let held = site.run(&["run", "plan.toml"]);
        assert_eq!(held.code, 7, "{}: {held:?}", server.name);
        assert!(held.stderr.contains("process 7 on elsewhere"), "{}: {held:?}", server.name);
        leave(note("2020-01-01T00:00:00Z"));
        site.succeed(&["run", "plan.toml"]);
        let record = site.state_records().into_values().next_back().unwrap();
        assert_eq!(record["lease"], 42, "{}: the lease of a crashed run ends by itself", server.name);
        site.succeed(&["run", "plan.toml"]);
    }
}

/// Returns all that lies in a bucket, with what changes when an object does, and the uploads that were begun there.
pub(crate) fn everything(server: &Server, bucket: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let look = async {
        let mut pages = server.client().list_objects_v2().bucket(bucket).into_paginator().send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let objects = page.unwrap().contents.unwrap_or_default().into_iter();
            found.extend(objects.map(|object| {
                let state = format!("{:?} {:?} {:?}", object.size, object.e_tag, object.last_modified);
                (object.key.unwrap(), state)
            }));
        }
        (found, unfinished(server, bucket).await)
    };
    runtime().block_on(look)
}

#[test]
fn the_doctor_tries_everything_and_leaves_nothing_behind() {
    for server in servers() {
        let (site, bucket) = site(&server, Layout::Joined);
        let before = read_tree(&site.path("data"));
        let outcome = site.run(&["doctor", "plan.toml"]);
        let text =
            redact::outcome(&site, &outcome).replace(&server.endpoint, "[ENDPOINT]").replace(&bucket, "[BUCKET]");
        if server.habits.creation != servers::Creation::Races {
            // How many win is another number each time.
            golden(&format!("doctor-{}.txt", server.name), &text);
        }
        assert_eq!(everything(&server, &bucket), Default::default(), "{}", server.name);
        assert_eq!(read_tree(&site.path("data")), before);

        site.succeed(&["run", "plan.toml"]);
        site.succeed(&["run", "plan.toml"]);
        let before = everything(&server, &bucket);
        site.succeed(&["doctor", "plan.toml"]);
        assert_eq!(everything(&server, &bucket), before, "{}: after runs", server.name);
    }
}

/// What should come of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody notices.
    Heals,
    /// The store gives up: the server was not reached, or said no.
    Unreachable,
    Refused,
}

/// Every connection of so many, after so many bytes.
const fn strike(every: u64, after: u64) -> Strike {
    Strike { every, after }
}

/// Each fault with what becomes of an upload of many parts, and of its download.
fn faults() -> Vec<(&'static str, Faults, End, End)> {
    use End::{Heals, Refused, Unreachable};
    let none = Faults::default;
    let all = u64::MAX;
    vec![
        ("no fault", none(), Heals, Heals),
        ("latency", Faults { latency: Duration::from_millis(30), ..none() }, Heals, Heals),
        ("cut at once", Faults { cut: Some(strike(2, 0)), ..none() }, Heals, Heals),
        ("cut in the head of a request", Faults { cut: Some(strike(2, 100)), ..none() }, Heals, Heals),
        ("cut in a part", Faults { cut: Some(strike(2, 2_000_000)), ..none() }, Heals, Heals),
        ("cut after a part", Faults { cut: Some(strike(2, 5_250_000)), ..none() }, Heals, Heals),
        ("every connection cut", Faults { cut: Some(strike(1, 100)), ..none() }, Unreachable, Unreachable),
        ("slow down now and then", Faults { slow_down_percent: 25, seed: 7, ..none() }, Heals, Heals),
        ("slow down in a burst", Faults { slow_down_first: 8, ..none() }, Heals, Heals),
        ("slow down for ever", Faults { slow_down_percent: 100, ..none() }, Refused, Refused),
        ("completed with an error inside", Faults { failed_completions: 2, ..none() }, Heals, Heals),
        ("never completed", Faults { failed_completions: all, ..none() }, Refused, Heals),
        ("a part taken for another", Faults { mistaken_parts: 1, ..none() }, Heals, Heals),
        ("parts taken for others for ever", Faults { mistaken_parts: all, ..none() }, Refused, Heals),
        ("answers lost", Faults { lost_answers: 2, ..none() }, Heals, Heals),
        ("stalled", Faults { stall: Some(strike(2, 3_000_000)), ..none() }, Heals, Heals),
        ("downloads cut short", Faults { truncate: Some(strike(3, 1_000_000)), ..none() }, Heals, Heals),
        ("downloads that need many answers", Faults { truncate: Some(strike(1, 600_000)), ..none() }, Heals, Heals),
        ("every download cut short", Faults { truncate: Some(strike(1, 1_000)), ..none() }, Heals, Unreachable),
    ]
}

fn end<T>(result: &Result<T, StoreError>) -> End {
    match result {
        Ok(_) => End::Heals,
        Err(StoreError::Unreachable { .. }) => End::Unreachable,
        Err(StoreError::Refused { .. }) => End::Refused,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_heals_or_is_told_and_leaves_nothing() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, bytes(21 << 20)).unwrap();
        let cases = faults().into_iter().enumerate().map(|(number, (case, faults, stored, fetched))| {
            let (server, file, folder) = (server.clone(), file.clone(), folder.path().to_owned());
            tokio::spawn(async move { suffer(&server, case, number, faults, (stored, fetched), &file, &folder).await })
        });
        for case in cases.collect::<Vec<_>>() {
            case.await.unwrap();
        }
    }
}

/// Stores a file through a faulty line, and fetches it through another that is as bad.
async fn suffer(
    server: &Server,
    case: &str,
    number: usize,
    faults: Faults,
    (stored, fetched): (End, End),
    file: &Path,
    folder: &Path,
) {
    let title = format!("{}: {case}", server.name);
    let bucket = server.new_bucket();
    let own = folder.join(format!("{}-{number}", server.name));
    fs::create_dir_all(&own).unwrap();
    let direct = S3::new(&bucket_of(server, &bucket, &own), UPLOAD);
    let through = |proxy: &Proxy| S3::new(&bucket_of(&proxy.server, &bucket, &own), UPLOAD);

    let proxy = Proxy::before(server, faults.clone());
    let put = through(&proxy).put(&key("file"), Body::File(file.to_owned()), Mode::Create, &Meter::default()).await;
    assert_eq!(end(&put), stored, "{title}: stored: {put:?} {:?}", proxy.counts());
    assert_eq!(
        direct.list(&hitkeep_plan::name::Prefix::default()).await.unwrap().len(),
        usize::from(put.is_ok()),
        "{title}"
    );
    assert_eq!(unfinished(server, &bucket).await, Vec::<String>::new(), "{title}: parts are left");

    let sent = direct.put(&key("file"), Body::File(file.to_owned()), Mode::Replace, &Meter::default()).await.unwrap();
    assert!(put.is_err() || put.is_ok_and(|put| put == sent), "{title}");
    let proxy = Proxy::before(server, faults);
    let copy = own.join("copy");
    let got = through(&proxy).get(&key("file"), copy.clone(), &Meter::default()).await;
    assert_eq!(end(&got), fetched, "{title}: fetched: {got:?} {:?}", proxy.counts());
    assert_eq!(copy.exists(), got.is_ok(), "{title}: a broken download leaves no file");
    if let Ok(got) = got {
        assert_eq!((got, fs::read(&copy).unwrap() == fs::read(file).unwrap()), (sent, true), "{title}");
    }
}

/// Lists the keys of the uploads in a bucket that were begun and not ended, of the first thousand; nothing where the
/// server is known to list none.
pub(crate) async fn unfinished(server: &Server, bucket: &str) -> Vec<String> {
    if !server.habits.uploads {
        return Vec::new();
    }
    let listed = server.client().list_multipart_uploads().bucket(bucket).send().await.unwrap();
    let mut keys: Vec<String> = listed.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect();
    // Garage has no order within a page.
    keys.sort();
    keys
}

/// How long to wait until an upload is older than a second, by clocks that know no less.
const OLD: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_will_end_are_swept_after_a_day() {
    const OURS: [&str; 4] = [
        "hitkeep/shared/2026-03-08T120000Z/hits.parquet",
        "hitkeep/tenants/00000000-0000-4000-8000-000000000002/sites/3/site_3_1772971200.parquet",
        "hitkeep/table=hits/tenant=1/site=3/year=2026/month=03/1772971200.parquet",
        "hitkeep/.doctor-0190a5c400007000800000000000",
    ];
    const OTHERS: [&str; 2] = ["hitkeep/photos/1772971200.parquet", "other/shared/2026-03-08T120000Z/hits.parquet"];
    for server in servers().into_iter().filter(|server| server.habits.uploads) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = server.new_bucket();
        let client = server.client();
        // More than a listing has on one page.
        let many = (0..1000).map(|number| format!("hitkeep/shared/2026-03-07T120000Z/{number:04}"));
        let keys: Vec<String> = OURS.into_iter().chain(OTHERS).map(str::to_owned).chain(many).collect();
        for some in keys.chunks(50) {
            let begin = |key| client.create_multipart_upload().bucket(&bucket).key(format!("root/{key}")).send();
            futures_util::future::try_join_all(some.iter().map(begin)).await.unwrap();
        }
        let lock = async |store: S3| store.lock(&"hitkeep".parse().unwrap(), "me").await.unwrap().release().await;
        let store = || S3::new(&bucket_of(&server, &bucket, folder.path()), UPLOAD);
        lock(store()).await;
        // These have one page alone.
        let shown = if ["minio", "seaweed"].contains(&server.name) { keys.len() } else { 1000 };
        assert_eq!(unfinished(&server, &bucket).await.len(), shown, "{}: younger than a day", server.name);
        tokio::time::sleep(OLD).await;
        // Versity's gateway shows the first page alone: the rest is for the next run.
        let runs = if server.name == "versity" { 2 } else { 1 };
        for _ in 0..runs {
            lock(store().sweeping_after(SignedDuration::from_secs(1))).await;
        }
        let left = unfinished(&server, &bucket).await;
        assert_eq!(left, OTHERS.map(|key| format!("root/{key}")), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_objects_are_gone_is_no_set() {
    const SETS: [&str; 3] = ["2026-03-01T120000Z", "2026-03-02T120000Z", "2026-03-03T120000Z"];
    let Some(server) = servers::seaweed::server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = S3::new(&bucket_of(&server, &server.new_bucket(), folder.path()), UPLOAD);
    let file = |set: &str| key(&format!("hitkeep/shared/{set}/hits.parquet"));
    for set in SETS {
        store.put(&file(set), Body::Bytes(b"x".to_vec()), Mode::Create, &Meter::default()).await.unwrap();
    }
    store.delete(&file(SETS[2])).await.unwrap();
    let named = store.folders(&"hitkeep/shared".parse().unwrap(), "").await.unwrap();
    assert_eq!(Vec::from_iter(named), SETS, "the server still names the folder");
    for (asked, sets, unseen) in
        [(Asked::Newest(1), &SETS[1..2], 1), (Asked::At(At::Snapshot(SETS[2].parse().unwrap())), &[], 2)]
    {
        let seen = survey::catalogue(&store, &"hitkeep".parse().unwrap(), asked, &Own::default()).await.unwrap();
        let found: Vec<String> = seen.sets.iter().map(|set| set.id.to_string()).collect();
        assert_eq!((found, seen.unseen), (sets.iter().map(|set| (*set).to_owned()).collect(), unseen));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_begin_was_never_answered_is_swept_after_a_day() {
    for server in servers().into_iter().filter(|server| server.habits.uploads) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, bytes(11 << 20)).unwrap();
        let bucket = server.new_bucket();
        let name = key("hitkeep/shared/2026-03-08T120000Z/file");
        let proxy = Proxy::before(&server, Faults { lost_beginnings: 2, ..Faults::default() });
        let store = S3::new(&bucket_of(&proxy.server, &bucket, folder.path()), UPLOAD);
        store.put(&name, Body::File(file), Mode::Create, &Meter::default()).await.unwrap();
        // Garage forgets the others of a key with the one that is completed.
        let left = if server.name == "garage" { 0 } else { 2 };
        let seen = (proxy.counts().lost_beginnings, unfinished(&server, &bucket).await.len());
        assert_eq!(seen, (2, left), "{}", server.name);
        tokio::time::sleep(OLD).await;
        let store = S3::new(&bucket_of(&server, &bucket, folder.path()), UPLOAD);
        let store = store.sweeping_after(SignedDuration::from_secs(1));
        store.lock(&"hitkeep".parse().unwrap(), "me").await.unwrap().release().await;
        assert!(unfinished(&server, &bucket).await.is_empty(), "{}", server.name);
        assert_eq!(
            store.list(&"hitkeep".parse().unwrap()).await.unwrap().len(),
            1,
            "{}: what was ended stays",
            server.name
        );
    }
}

#[test]
fn a_database_that_does_not_come_through_is_missed_and_the_next_run_heals() {
    for server in servers() {
        let bucket = server.new_bucket();
        let site = Site::with(minimal());
        let engine = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
        engine
            .execute_batch("CREATE TABLE large AS SELECT md5(i::VARCHAR) AS text FROM range(10000) r(i); CHECKPOINT;")
            .unwrap();
        drop(engine);
        let proxy = Proxy::before(&server, Faults { cut: Some(strike(1, 60_000)), ..Faults::default() });
        site.write_plan(&plan(&proxy.server, &bucket, &site.path("")));
        let broken = site.run(&["run", "plan.toml"]);
        assert_eq!(broken.code, 3, "{}: {broken:?}", server.name);
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        let states = || site.sets().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        assert_eq!(states(), ["partial"], "{}: the tenant's database had come through", server.name);
        site.succeed(&["run", "plan.toml"]);
        assert_eq!(states(), ["partial", "complete"], "{}", server.name);
    }
}

/// A bad line with what the program makes of it: its words, the exit code, and what it says.
type Ordeal = (&'static str, Faults, &'static [&'static str], i32, &'static str);

/// The bad lines that one run meets, and those that who reads its set meets: two that heal, and one that does not.
fn ordeals() -> ([Ordeal; 2], [Ordeal; 2]) {
    let (none, run) = (Faults::default, &["run", "plan.toml"]);
    let never = Faults { failed_completions: u64::MAX, ..none() };
    let truncate = Some(strike(2, 600));
    let writing: [Ordeal; 2] = [
        ("slow down in a burst", Faults { slow_down_first: 6, ..none() }, run, 0, "is complete"),
        ("never completed", never, run, 5, "the server says InternalError"),
    ];
    let reading: [Ordeal; 2] = [
        ("now and then", Faults { truncate, ..none() }, &["verify", "plan.toml"], 0, ""),
        ("now and then", Faults { truncate, ..none() }, &["restore", "plan.toml", "--to", "new"], 0, "is restored"),
    ];
    (writing, reading)
}

#[test]
fn a_bad_line_heals_or_ends_a_verb_with_a_word_and_nothing_sealed() {
    // The one that is always there: what gives up does so after half a minute, and all of this is done once.
    let server = servers::s3s::server();
    let (writing, reading) = ordeals();
    for (case, faults, words, code, said) in writing {
        let (site, bucket) = site_of_parts(&server);
        let direct = || plan_of_parts(&server, &bucket, &site);
        let proxy = Proxy::before(&server, faults);
        site.write_plan(&plan_of_parts(&proxy.server, &bucket, &site));
        let outcome = site.run(words);
        let (title, text) = (format!("{}: {case}", server.name), plain(&(outcome.stdout + &outcome.stderr)));
        assert!(outcome.code == code && text.contains(said), "{title}: {} {text}", outcome.code);
        site.write_plan(&direct());
        let sealed = usize::from(code == 0);
        assert_eq!(site.sets().len(), sealed, "{title}");
        let store = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let left = runtime().block_on(store.list(&hitkeep_plan::name::Prefix::default())).unwrap();
        assert_eq!(left.is_empty(), sealed == 0, "{title}: {left:?}");
        let parts = runtime().block_on(unfinished(&server, &bucket));
        assert_eq!(parts, Vec::<String>::new(), "{title}: parts are left");
    }
    let (site, bucket) = site_of_parts(&server);
    site.write_plan(&plan_of_parts(&server, &bucket, &site));
    site.succeed(&["run", "plan.toml"]);
    for (case, faults, words, code, said) in reading {
        let proxy = Proxy::before(&server, faults);
        site.write_plan(&plan_of_parts(&proxy.server, &bucket, &site));
        let outcome = site.run(words);
        let title = format!("{}: {words:?} with answers cut {case}", server.name);
        let text = plain(&(outcome.stdout + &outcome.stderr));
        assert!(outcome.code == code && text.contains(said), "{title}: {} {text}", outcome.code);
        assert!(proxy.counts().truncated > 0, "{title}: nothing was cut");
        assert_eq!(site.path("new/hitkeep.db").exists(), code == 0 && words[0] == "restore", "{title}");
        drop(fs::remove_dir_all(site.path("new")));
    }
}

/// Returns a site of one database whose largest table takes several parts, and a bucket.
fn site_of_parts(server: &Server) -> (Site, String) {
    let site = Site::with(minimal());
    let engine = duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap();
    let large = "CREATE TABLE large AS SELECT md5(i::VARCHAR) AS text FROM range(300000) r(i); CHECKPOINT;";
    engine.execute_batch(large).unwrap();
    (site, server.new_bucket())
}

fn plan_of_parts(server: &Server, bucket: &str, site: &Site) -> String {
    let job = "databases = [\"shared\"]\nupload = { concurrency = 2, part_size = \"5MiB\" }\nprefix =";
    plan(server, bucket, &site.path("")).replace("prefix =", job)
}

#[test]
fn a_flipped_byte_in_a_bucket_is_found() {
    for server in servers() {
        let bucket = server.new_bucket();
        let site = Site::with(minimal());
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        site.succeed(&["run", "plan.toml"]);
        let set = site.sets()[0].0.clone();
        let store = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let name = format!("hitkeep/shared/{set}/hits.parquet");
        runtime().block_on(async {
            let mut content = store.read(&key(&name), Part::Whole).await.unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            store.put(&key(&name), Body::Bytes(content), Mode::Replace, &Meter::default()).await.unwrap();
        });
        for words in [&["verify", "plan.toml"][..], &["restore", "plan.toml", "--to", "new"]] {
            let outcome = site.run(words);
            assert_eq!(outcome.code, 6, "{}: {words:?}: {outcome:?}", server.name);
            assert!(format!("{outcome:?}").contains("hits.parquet"), "{}: {outcome:?}", server.name);
        }
        assert!(!site.path("new/hitkeep.db").exists());
    }
}

#[test]
fn one_destination_that_fails_does_not_stop_the_other() {
    let server = servers::s3s::server();
    let (site, bucket) = site(&server, Layout::Joined);
    let table = table(&server, &bucket, &site.path(""));
    let gone = table.replace("[destination.bucket]", "[destination.gone]").replace(&server.endpoint, "127.0.0.1:9");
    let plan = plan(&server, &bucket, &site.path("")).replace("to = [\"bucket\"]", "to = [\"gone\", \"bucket\"]");
    site.write_plan(&plan.replace("[backup.nightly]", &format!("{gone}\n[backup.nightly]")));
    let outcome = site.run(&["run", "plan.toml"]);
    assert_eq!(outcome.code, 5, "{}: {outcome:?}", server.name);
    site.succeed(&["verify", "plan.toml", "--from", "bucket"]);
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let Some(server) = servers().into_iter().next() else { return };
    let good = Tls::before(&server, Certificate::Good);
    let mut said = String::new();
    for (case, tls) in [
        ("named", &good),
        ("not named", &good),
        ("another host's", &Tls::before(&server, Certificate::OfAnotherHost)),
        ("expired", &Tls::before(&server, Certificate::Expired)),
    ] {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        let is_trusted = case != "not named";
        let plan = plan(&tls.server, &bucket, &site.path(""));
        let named: Vec<&str> = plan.lines().filter(|line| is_trusted || !line.starts_with("ca_bundle")).collect();
        site.write_plan(&named.join("\n"));
        let outcome = site.run(&["run", "plan.toml"]);
        let text =
            redact::outcome(&site, &outcome).replace(&tls.server.endpoint, "[ENDPOINT]").replace(&bucket, "[BUCKET]");
        let is_dated = |line: &&str| line.contains("certificate expired: ");
        let date = text.lines().find(is_dated).and_then(|line| line.split_once("expired: ")).map(|(_, date)| date);
        writeln!(said, "## {case}\n{}", text.replace(date.unwrap_or("no date"), "[DATE]")).unwrap();
    }
    golden("s3-tls.txt", &said);
}

#[test]
fn credentials_are_said_nowhere() {
    // The first is always there; Garage repeats the id of a key that it does not know.
    for server in servers().into_iter().filter(|server| ["s3s", "garage"].contains(&server.name)) {
        let (site, bucket) = site(&server, Layout::Joined);
        let right = plan(&server, &bucket, &site.path(""));
        let wrong_secret = right.replace("{ file = \"secret\" }", "{ file = \"id\" }");
        let by_command = right.replace("{ file = \"secret\" }", "{ command = [\"cat\", \"secret\"] }");
        let token = right.replace("secret_access_key", "session_token = { file = \"token\" }\nsecret_access_key");
        fs::write(site.path("token"), "marker-session-token").unwrap();
        let mut said = String::new();
        for plan in [&right, &wrong_secret, &by_command, &token] {
            site.write_plan(plan);
            for words in [
                &["run", "plan.toml", "--verbose"][..],
                &["run", "plan.toml", "--json"],
                &["check", "plan.toml", "--format", "json"],
                &["show", "plan.toml"],
                &["doctor", "plan.toml"],
                &["doctor", "plan.toml", "--json"],
                &["list", "plan.toml", "--json"],
                &["verify", "plan.toml", "--verbose"],
            ] {
                writeln!(said, "{:?}", site.run(words)).unwrap();
            }
        }
        let records: Vec<u8> = read_tree(&site.path("state")).into_values().flatten().collect();
        said.push_str(&String::from_utf8_lossy(&records));
        let id = server.access_key;
        for (secret, what) in [(server.secret_key, "secret"), (id, "id"), ("marker-session-token", "token")] {
            let at = said.find(secret).map(|at| said[at.saturating_sub(300)..(at + 60).min(said.len())].to_owned());
            assert_eq!(at, None, "{}: the {what} is said", server.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_in_no_debug_output_and_in_no_panic() {
    const MARKERS: [&str; 3] = ["MARKERKEYID", "MARKERSECRETACCESSKEY", "MARKERSESSIONTOKEN"];
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server { access_key: MARKERS[0], secret_key: MARKERS[1], ..server };
        fs::write(folder.path().join("token"), MARKERS[2]).unwrap();
        // With a plan for keys of its own, whose files these are.
        let text = plan(&server, "bucket", folder.path())
            .replace("secret_access_key", "session_token = { file = \"token\" }\nsecret_access_key");
        let around = Surroundings {
            host: "here".to_owned(),
            directory: folder.path().to_owned(),
            variables: BTreeMap::new(),
            real_path: Path::to_owned,
        };
        let plan = Plan::read(&text, "plan.toml", &around).unwrap().plan;
        let plan::Store::Bucket(bucket) = plan.destinations()[0].store() else { panic!("a bucket is no directory") };
        let hidden = Hidden::of(&plan);
        let store = S3::new(bucket, UPLOAD).hiding(&hidden);
        let refused = store.put(&key("file"), Body::Bytes(vec![7]), Mode::Create, &Meter::default()).await.unwrap_err();
        let said = format!("{plan:?} {store:?} {store:#?} {hidden:?} {refused:?} {refused}");
        let panicked =
            std::panic::catch_unwind(AssertUnwindSafe(|| panic!("{said} {:?}", (&store, &refused)))).unwrap_err();
        let panicked = panicked.downcast_ref::<String>().unwrap();
        assert!(panicked.len() > 1000 && panicked.contains("Opened"), "the open store is shown: {panicked}");
        for marker in MARKERS {
            assert!(!panicked.contains(marker), "{}: {marker} is said", server.name);
        }
    }
}

const TOLD: &str = "HITKEEP_PLAN_TEST_SINK";

/// How large the file is whose way to a bucket and back is measured, and how much memory that may take beside its parts.
const LARGE: u64 = 1 << 30;
const BESIDE: u64 = 40 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "what the other process runs, started by the story of its memory"]
async fn moves_a_large_file_and_tells_its_memory() {
    let server = Server { endpoint: std::env::var(TOLD).unwrap(), ..servers::s3s::server() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::File::create(&file).unwrap().set_len(LARGE).unwrap();
    let store = S3::new(&bucket_of(&server, "bucket", folder.path()), UPLOAD);
    let before = peak_memory();
    store.put(&key("file"), Body::File(file), Mode::Replace, &Meter::default()).await.unwrap();
    assert_eq!(store.digest(&key("file"), &Meter::default()).await.unwrap().bytes, LARGE);
    fs::write(std::env::var(format!("{TOLD}_FILE")).unwrap(), (peak_memory() - before).to_string()).unwrap();
}

/// Returns the most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_file_on_its_way_takes_the_memory_of_its_parts_and_little_more() {
    let (sink, folder) = (Sink::start(), tempfile::tempdir().unwrap());
    let told = folder.path().join("told");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::moves_a_large_file_and_tells_its_memory", "--ignored"])
        .env(TOLD, &sink.server.endpoint)
        .env(format!("{TOLD}_FILE"), &told)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let taken: u64 = fs::read_to_string(told).unwrap().parse().unwrap();
    let parts = UPLOAD.concurrency as u64 * UPLOAD.part_size.0;
    assert!(taken < parts + BESIDE && LARGE > 10 * (parts + BESIDE), "{taken} bytes for {parts} of parts");
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
