//! Stories of leases, and of what a store learns of a server while it uses it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hitkeep_plan::event::Meter;
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::name::{Key, Prefix};
use hitkeep_plan::plan::Upload;
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Lock, Mode, Moved, Part, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;

use crate::clock::Clock;
use crate::fixture::{Outcome, Running, Site, minimal};
use crate::redact::{self, golden};
use crate::s3::{UPLOAD, bucket_of, everything, plan, runtime, unfinished};
use crate::servers::{Creation, Faults, Proxy, Server, servers};

/// How often a lease is renewed, with room for a slow machine.
const RENEWAL: Duration = Duration::from_secs(75);

/// What the keys of leases contain, and those of marks do not.
const LEASE: &str = "/.lock/0";

/// The lease of another.
const ANOTHER: &str = r#"{"format":1,"holder":"another","token":"0190a5c4-0000-7000-8000-000000000000","expires_at":"2999-01-01T00:00:00Z","is_released":false}"#;

/// Returns the lease of a process elsewhere.
fn note(ends: &str) -> String {
    format!(
        "{{\"format\":1,\"holder\":\"process 7 on elsewhere\",\"token\":\"0190a5c4-0000-7000-8000-000000000000\",\
         \"expires_at\":\"{ends}\",\"is_released\":false}}"
    )
}

/// Leaves a lease where the plan's job would take the next.
fn leave(server: &Server, bucket: &str, site: &Site, note: &str) {
    let store = S3::new(&bucket_of(server, bucket, &site.path("")), UPLOAD);
    let (key, body) = (key("hitkeep/.lock/0000000041"), Body::Bytes(note.into()));
    runtime().block_on(store.put(&key, body, Mode::Replace, &Meter::default())).unwrap();
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn place() -> Prefix {
    "place".parse().unwrap()
}

async fn create(store: &S3, name: &str, content: &[u8]) -> Result<Moved, StoreError> {
    store.put(&key(name), Body::Bytes(content.to_vec()), Mode::Create, &Meter::default()).await
}

/// Takes the place for `holder`.
async fn take(store: &S3, holder: &str) -> Result<Lock, StoreError> {
    store.lock(&place(), holder).await
}

/// Returns the holder of a lease that is held, and when it ends.
async fn ends_at(store: &S3, generation: u64) -> String {
    let note = store.read(&key(&format!("place/.lock/{generation:010}")), Part::Whole).await.unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    note["expires_at"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_until_another_has_written_over_it() {
    for server in servers().into_iter().take(1) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = server.new_bucket();
        let store = S3::new(&bucket_of(&server, &bucket, folder.path()), UPLOAD);
        let kept = take(&store, "the keeper").await.unwrap();
        let lost = store.lock(&"elsewhere".parse().unwrap(), "the loser").await.unwrap();
        let before = ends_at(&store, 1).await;
        let over = key("elsewhere/.lock/0000000001");
        store.put(&over, Body::Bytes(ANOTHER.into()), Mode::Replace, &Meter::default()).await.unwrap();
        tokio::time::sleep(RENEWAL).await;
        assert!(ends_at(&store, 1).await > before, "{}", server.name);
        assert!(!kept.lease().unwrap().is_lost() && lost.lease().unwrap().is_lost(), "{}", server.name);
        lost.release().await;
        let left = store.read(&over, Part::Whole).await.unwrap();
        assert_eq!(String::from_utf8(left).unwrap(), ANOTHER, "{}: the other's lease is not given back", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_lease_is_waited_for() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = server.new_bucket();
        let direct = S3::new(&bucket_of(&server, &bucket, folder.path()), UPLOAD);
        let slow = Proxy::before(&server, Faults { held: Some((LEASE, Duration::from_secs(4))), ..Faults::default() });
        let late = S3::new(&bucket_of(&slow.server, &bucket, folder.path()), UPLOAD);
        let late = tokio::spawn(async move { take(&late, "the late one").await.unwrap() });
        // The late one has looked which leases there are, and its own is on its way.
        while slow.counts().held == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let second = take(&direct, "the second").await;
        let Err(StoreError::Busy { holder, .. }) = &second else { panic!("{}: {second:?}", server.name) };
        assert!(holder.contains("the late one") && holder.contains("its lease ends"), "{}: {holder}", server.name);
        let late = late.await.unwrap();
        assert!(late.lease().unwrap().is_still_held().await, "{}", server.name);
        late.release().await;
        let second = take(&direct, "the second").await.unwrap();
        assert_eq!(second.lease().unwrap().generation, 2, "{}", server.name);
        second.release().await;
        let left = names(&server, &bucket, "root/place/").await;
        assert_eq!(left, ["root/place/.lock/0000000002"], "{}: no mark", server.name);
    }
}

/// Returns the keys in a bucket that begin like this.
async fn names(server: &Server, bucket: &str, beginning: &str) -> Vec<String> {
    let listed = server.client().list_objects_v2().bucket(bucket).prefix(beginning).send().await.unwrap();
    listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
}

#[test]
fn a_lease_counts_for_nobody_whose_mark_has_ended() {
    for server in servers() {
        let Some(clock) = Clock::at(&Timestamp::now().to_string()) else { return };
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        let slow = Proxy::before(&server, Faults { held: Some((LEASE, Duration::from_secs(4))), ..Faults::default() });
        site.write_plan(&plan(&slow.server, &bucket, &site.path("")));
        let running = Running::start(clock.shown_to(site.command(&["run", "plan.toml", "--json"])));
        wait_until_held(&slow);
        clock.set(Timestamp::now() + SignedDuration::from_mins(5));
        // To others, too, its mark has ended: one of them takes it away, and the lease.
        let runtime = runtime();
        let _entered = runtime.enter();
        let marks = runtime.block_on(names(&server, &bucket, "root/hitkeep/.lock/taking-"));
        let [mark] = &*marks else { panic!("{}: {marks:?}", server.name) };
        runtime.block_on(server.client().delete_object().bucket(&bucket).key(mark).send()).unwrap();
        let direct = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let another = runtime.block_on(direct.lock(&"hitkeep".parse().unwrap(), "another")).unwrap();
        let outcome = running.end();
        let overwrites = server.habits.creation == Creation::Overwrites;
        let (code, said) =
            if overwrites { (5, "another run may have come between") } else { (7, "another run writes to") };
        assert_eq!(outcome.code, code, "{}: {outcome:?}", server.name);
        assert!((outcome.stdout.clone() + &outcome.stderr).contains(said), "{}: {outcome:?}", server.name);
        assert_eq!(site.sets(), [], "{}", server.name);
        let lease = another.lease().unwrap();
        assert_eq!(lease.generation, 1, "{}", server.name);
        // Where the late lease was written over it, nothing says whose the place is, and nobody relies on having it.
        assert_eq!(runtime.block_on(lease.is_still_held()), !overwrites, "{}", server.name);
    }
}

#[test]
fn a_seal_is_given_up_with_the_lease() {
    for server in servers() {
        let Some(clock) = Clock::at(&Timestamp::now().to_string()) else { return };
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        // The record's name is that of the set alone.
        let slow =
            Proxy::before(&server, Faults { held: Some(("Z.json", Duration::from_mins(1))), ..Faults::default() });
        site.write_plan(&plan(&slow.server, &bucket, &site.path("")));
        let running = Running::start(clock.shown_to(site.command(&["run", "plan.toml", "--json"])));
        wait_until_held(&slow);
        clock.set(Timestamp::now() + SignedDuration::from_mins(5));
        let outcome = running.end();
        assert_eq!(outcome.code, 5, "{}: {outcome:?}", server.name);
        assert!(outcome.stdout.contains("lease 1 of the destination was lost"), "{}: {outcome:?}", server.name);
        drop(slow);
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        let states: Vec<_> = site.sets().into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, ["orphan"], "{}: what was sent may still come, and needs its files", server.name);
    }
}

/// Holds a write, before a server that overlooks conditions or else does not know them.
fn without_conditions(held: &'static str, seconds: u64) -> Faults {
    let held = Some((held, Duration::from_secs(seconds)));
    Faults { unknown_header: Some("if-none-match"), held, ..Faults::default() }
}

/// Waits until the proxy has a write that it holds.
pub(crate) fn wait_until_held(proxy: &Proxy) {
    while proxy.counts().held == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn of_two_runs_at_one_time_that_are_held_up_one_seals_and_the_other_waits_for_it() {
    const MARK: &str = "/.lock/taking-";
    for server in servers() {
        // Each has seen that nobody is there when the write is on its way that is held.
        for (first_held, then_held) in
            [(LEASE, LEASE), (LEASE, "/tenants/"), (MARK, MARK), (MARK, LEASE), (LEASE, MARK)]
        {
            let title = format!("{}: {first_held}, {then_held}", server.name);
            let bucket = server.new_bucket();
            let (first, then) = (
                Proxy::before(&server, without_conditions(first_held, 4)),
                Proxy::before(&server, without_conditions(then_held, 4)),
            );
            let at = |proxy: &Proxy| {
                let site = Site::with(minimal());
                site.write_plan(&plan(&proxy.server, &bucket, &site.path("")));
                let running = Running::start(site.command(&["run", "plan.toml", "--json"]));
                (site, running)
            };
            let (first_site, first_run) = at(&first);
            wait_until_held(&first);
            let (then_site, then_run) = at(&then);
            let ended = [first_run.end(), then_run.end()];
            let sealed = ended.iter().filter(|outcome| outcome.code == 0).count();
            assert!(sealed > 0 && ended.iter().all(|outcome| [0, 7].contains(&outcome.code)), "{title}: {ended:?}");
            assert_eq!(first_site.sets().len(), sealed, "{title}: {ended:?}");
            let records = [first_site.state_records(), then_site.state_records()];
            let records = records.iter().flat_map(|records| records.values());
            let leases = records.filter(|record| record["status"] == "complete").map(|record| record["lease"].as_u64());
            assert_eq!(leases.collect::<BTreeSet<_>>().len(), sealed, "{title}: one after the other");
            first_site.succeed(&["run", "plan.toml"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_a_lease_at_one_time_the_first_by_name_stays_and_the_other_makes_way() {
    const MARK: &str = "/.lock/taking-";
    for server in servers() {
        for (name, ours_stays) in [("taking-0", false), ("taking-f", true)] {
            let (folder, bucket) = (tempfile::tempdir().unwrap(), server.new_bucket());
            let held = Some((MARK, Duration::from_secs(4)));
            let slow = Proxy::before(&server, Faults { held, ..Faults::default() });
            let store = |server: &Server| S3::new(&bucket_of(server, &bucket, folder.path()), UPLOAD);
            let (held_up, direct) = (store(&slow.server), store(&server));
            direct.list(&Prefix::default()).await.unwrap();
            let taking = tokio::spawn(async move { take(&held_up, "me").await });
            while slow.counts().held == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let other = key(&format!("place/.lock/{name}"));
            let body = Body::Bytes(ANOTHER.into());
            direct.put(&other, body, Mode::Replace, &Meter::default()).await.unwrap();
            // Ours is held up for four seconds, and waits two more at most before it looks again.
            tokio::time::sleep(Duration::from_secs(7)).await;
            let marks = server.client().list_objects_v2().bucket(&bucket).prefix("root/place/.lock/taking-");
            let marks = marks.send().await.unwrap().contents.unwrap().len();
            assert_eq!(marks, 1 + usize::from(ours_stays), "{}: {name}", server.name);
            direct.delete(&other).await.unwrap();
            taking.await.unwrap().unwrap().release().await;
        }
    }
}

#[test]
fn a_lease_is_taken_through_a_burst_of_slow_answers() {
    for server in servers() {
        let unknown_header = Some("if-none-match");
        for faults in [
            Faults { slow_down_writes: Some(("/.lock/", 5)), ..Faults::default() },
            Faults { slow_down_writes: Some((LEASE, 5)), unknown_header, ..Faults::default() },
            Faults { held: Some((LEASE, Duration::from_secs(5))), unknown_header, ..Faults::default() },
        ] {
            let site = Site::with(minimal());
            let bucket = server.new_bucket();
            let proxy = Proxy::before(&server, faults);
            site.write_plan(&plan(&proxy.server, &bucket, &site.path("")));
            site.succeed(&["run", "plan.toml"]);
            let counts = proxy.counts();
            let records: Vec<_> = site.state_records().into_values().collect();
            let told = records.iter().map(|record| (&record["status"], &record["lease"])).collect::<Vec<_>>();
            assert_eq!(told, [(&"complete".into(), &1.into())], "{}: {counts:?}", server.name);
        }
    }
}

#[test]
fn a_run_whose_lease_was_written_over_seals_nothing() {
    for server in servers() {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        let proxy = Proxy::before(&server, without_conditions("/tenants/", 3));
        site.write_plan(&plan(&proxy.server, &bucket, &site.path("")));
        let running = Running::start(site.command(&["run", "plan.toml", "--json"]));
        wait_until_held(&proxy);
        let direct = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let body = Body::Bytes(ANOTHER.into());
        let over = key("hitkeep/.lock/0000000001");
        let put = async { direct.put(&over, body, Mode::Replace, &Meter::default()).await };
        runtime().block_on(put).unwrap();
        let outcome = running.end();
        assert_eq!(outcome.code, 5, "{}: {outcome:?}", server.name);
        assert!(outcome.stdout.contains("lease 1 of the destination was lost"), "{}: {outcome:?}", server.name);
        assert_eq!(site.sets(), [], "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_know_is_left_out_and_made_up_for() {
    for server in servers() {
        for header in ["x-amz-checksum-crc64nvme", "if-none-match"] {
            let folder = tempfile::tempdir().unwrap();
            let proxy = Proxy::before(&server, Faults { unknown_header: Some(header), ..Faults::default() });
            let store = S3::new(&bucket_of(&proxy.server, &server.new_bucket(), folder.path()), UPLOAD);
            let lock = take(&store, "me").await.unwrap();
            let expected = header != "if-none-match" && server.habits.creation != Creation::Overwrites;
            assert_eq!(lock.lease().unwrap().caveat.is_none(), expected, "{}: {header}", server.name);
            create(&store, "file", b"first").await.unwrap();
            let again = create(&store, "file", b"second").await;
            assert!(matches!(again, Err(StoreError::Exists { .. })), "{}: {header}: {again:?}", server.name);
            assert_eq!(store.read(&key("file"), Part::Whole).await.unwrap(), b"first", "{}: {header}", server.name);
            assert!(proxy.counts().not_known <= 3, "{}: {header}: {:?}", server.name, proxy.counts());
            lock.release().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_write_that_is_under_way_is_waited_for() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Proxy::before(&server, Faults { conflicts: 3, ..Faults::default() });
        let store = S3::new(&bucket_of(&proxy.server, &server.new_bucket(), folder.path()), UPLOAD);
        create(&store, "file", b"content").await.unwrap();
        assert_eq!(proxy.counts().conflicts, 3, "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_buffer_is_enough() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let upload = Upload { concurrency: 1, part_size: Bytes(5 << 20), bandwidth: None };
        let store = Arc::new(S3::new(&bucket_of(&server, &server.new_bucket(), folder.path()), upload));
        for (name, length) in [("small", 1 << 20), ("large", 12 << 20)] {
            let file = folder.path().join(name);
            fs::write(&file, vec![7; length]).unwrap();
            // It must not wait for itself.
            let (key, meter) = (key(name), Meter::default());
            let put = async || {
                let put = store.put(&key, Body::File(file.clone()), Mode::Create, &meter);
                tokio::time::timeout(Duration::from_mins(1), put).await.unwrap().unwrap()
            };
            assert_eq!(put().await, put().await, "{}: what is taken is read back", server.name);
        }
    }
}

#[test]
fn a_run_says_what_its_lease_rests_on_to_whoever_asks_for_every_task() {
    for server in servers() {
        let site = Site::with(minimal());
        site.write_plan(&plan(&server, &server.new_bucket(), &site.path("")));
        let caveat = "the server ignores conditions on writes";
        let times = |text: &str| text.matches(caveat).count();
        let expected = usize::from(server.habits.creation == Creation::Overwrites);

        let quiet = site.succeed(&["run", "plan.toml"]);
        assert_eq!((times(&quiet.stdout), quiet.stderr.as_str()), (0, ""), "{}: nothing for cron to mail", server.name);
        let loud = site.succeed(&["run", "plan.toml", "--verbose"]);
        assert_eq!(times(&loud.stderr), expected, "{}: {loud:?}", server.name);
        let events = site.succeed(&["run", "plan.toml", "--json"]);
        assert_eq!(times(&events.stdout), expected, "{}: {events:?}", server.name);
        for (name, record) in site.state_records() {
            assert_eq!(times(&record["warnings"].to_string()), expected, "{}: {}", server.name, name.display());
        }
    }
}

#[test]
fn the_doctor_goes_on_beside_a_run_and_says_whom_to_wait_for() {
    for server in servers() {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        leave(&server, &bucket, &site, &note("2999-01-01T00:00:00Z"));
        let before = everything(&server, &bucket);
        let outcome = site.run(&["doctor", "plan.toml"]);
        assert_eq!(everything(&server, &bucket), before, "{}", server.name);
        if server.habits.creation != Creation::Races {
            let text = redact::outcome(&site, &outcome);
            let text = text.replace(&server.endpoint, "[ENDPOINT]").replace(&bucket, "[BUCKET]");
            golden(&format!("doctor-beside-a-run-{}.txt", server.name), &text);
        }
        assert_eq!(outcome.code, 7, "{}: {outcome:?}", server.name);
        assert!(
            outcome.stdout.contains("help: wait for process 7 on elsewhere to end"),
            "{}: {outcome:?}",
            server.name
        );
    }
}

#[test]
fn a_lease_ends_by_the_servers_clock_whatever_the_host_has() {
    let now = Timestamp::now();
    let (ahead, behind) = (now + SignedDuration::from_mins(8), now - SignedDuration::from_mins(8));
    for server in servers() {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        site.write_plan(&plan(&server, &bucket, &site.path("")));
        let run_at = |host: Timestamp| {
            let clock = Clock::at(&host.to_string())?;
            Some(Outcome::of(clock.shown_to(site.command(&["run", "plan.toml"]))))
        };

        leave(&server, &bucket, &site, &note(&(now + SignedDuration::from_mins(4)).to_string()));
        let Some(early) = run_at(ahead) else { return };
        assert_eq!(early.code, 7, "{}: to the host it has ended: {early:?}", server.name);

        leave(&server, &bucket, &site, &note(&(now - SignedDuration::from_mins(1)).to_string()));
        let late = run_at(behind).unwrap();
        assert_eq!(late.code, 0, "{}: to the host it has not ended: {late:?}", server.name);
        let store = S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD);
        let kept = runtime().block_on(store.read(&key("hitkeep/.lock/0000000042"), Part::Whole)).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        let until: Timestamp = kept["expires_at"].as_str().unwrap().parse().unwrap();
        assert!(until > now + SignedDuration::from_mins(4), "{}: it ends by the server's clock: {kept}", server.name);
    }
}

#[test]
fn a_run_that_was_killed_holds_its_lease_until_that_ends() {
    for server in servers() {
        let site = Site::with(minimal());
        let bucket = server.new_bucket();
        let through = |faults| {
            let proxy = Proxy::before(&server, faults);
            site.write_plan(&plan(&proxy.server, &bucket, &site.path("")));
            proxy
        };
        let slow = through(Faults { held: Some(("/tenants/", Duration::from_mins(1))), ..Faults::default() });
        let killed = Running::start(site.command(&["run", "plan.toml", "--json"]));
        let holder = format!("process {}", killed.id());
        wait_until_held(&slow);
        killed.signal(Signal::KILL);
        assert_eq!(killed.end().code, -9, "{}", server.name);
        drop(slow);

        let _early = through(Faults { ahead: Duration::from_mins(4), ..Faults::default() });
        let held = site.run(&["run", "plan.toml"]);
        assert_eq!(held.code, 7, "{}: {held:?}", server.name);
        assert!(held.stderr.contains(&holder), "{}: {held:?}", server.name);
        let _late = through(Faults { ahead: Duration::from_mins(6), ..Faults::default() });
        site.succeed(&["run", "plan.toml"]);
        let record = site.state_records().into_values().find(|record| record["status"] == "complete").unwrap();
        assert_eq!(record["lease"], 2, "{}", server.name);
        let states: Vec<_> = site.sets().into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, ["orphan", "complete"], "{}", server.name);
        site.succeed(&["verify", "plan.toml"]);
    }
}

#[test]
fn a_run_that_is_stopped_aborts_its_upload_and_gives_its_lease_back() {
    for server in servers() {
        for (held, signal, code) in [("partNumber=2", Signal::INT, 130), ("/tenants/", Signal::TERM, 143)] {
            let title = format!("{}: {held}", server.name);
            let site = Site::with(minimal());
            let large = "CREATE TABLE large AS SELECT sha256(i::VARCHAR) AS text FROM range(400000) r(i); CHECKPOINT;";
            duckdb::Connection::open(site.path("data/hitkeep.db")).unwrap().execute_batch(large).unwrap();
            let bucket = server.new_bucket();
            let text = |server: &Server| {
                plan(server, &bucket, &site.path("")).replace("prefix =", "upload = { part_size = \"5MiB\" }\nprefix =")
            };
            let slow =
                Proxy::before(&server, Faults { held: Some((held, Duration::from_secs(20))), ..Faults::default() });
            site.write_plan(&text(&slow.server));
            let running = Running::start(site.command(&["run", "plan.toml", "--json"]));
            wait_until_held(&slow);
            running.signal(signal);
            let outcome = running.end();
            assert_eq!(outcome.code, code, "{title}: {outcome:?}");
            let (store, runtime) = (S3::new(&bucket_of(&server, &bucket, &site.path("")), UPLOAD), runtime());
            let parts = runtime.block_on(unfinished(&server, &bucket));
            // Versity's gateway may finish a part that was on its way after the upload was aborted: the next day sweeps it.
            assert!(parts.is_empty() || server.name == "versity", "{title}: {parts:?}");
            let left = runtime.block_on(store.list(&Prefix::default())).unwrap();
            assert_eq!(left, std::collections::BTreeMap::new(), "{title}");

            site.write_plan(&text(&server));
            site.succeed(&["run", "plan.toml"]);
            let states: Vec<_> = site.sets().into_iter().map(|(_, state)| state).collect();
            assert_eq!(states, ["complete"], "{title}: its lease was given back");
        }
    }
}
