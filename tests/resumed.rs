//! Stories of runs that could not even clean up: what they had stored in a bucket is not sent again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hitkeep_plan::event::Meter;
use hitkeep_plan::name::{Key, Prefix};
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Part, Store};
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Running, Site, TENANT, minimal};
use crate::leases::wait_until_held;
use crate::redact::{self, golden};
use crate::s3::{UPLOAD, bucket_of, plan, runtime};
use crate::servers::{self, Faults, KMS_KEY, Proxy, Server, servers};

/// What is smaller than this is sent whatever there is.
const LEAST: u64 = 64 << 10;

/// The set of a run that was never sealed.
const UNSEALED: &str = "2026-01-01T000000Z";

/// A bucket, and an installation that is backed up to it.
struct World {
    server: Server,
    bucket: String,
    site: Site,
    store: S3,
}

impl World {
    /// Makes an installation of tables with so many rows, beside the small ones: of the shared database, and of the
    /// tenant's.
    fn new(server: &Server, shared: &[(&str, u32)], tenant: &[(&str, u32)]) -> Self {
        let (site, bucket) = (Site::with(minimal()), server.new_bucket());
        for (database, tables) in [("data/hitkeep.db", shared), (&format!("data/tenants/{TENANT}/hitkeep.db"), tenant)]
        {
            let engine = duckdb::Connection::open(site.path(database)).unwrap();
            for (name, rows) in tables {
                let text = ["a", "b", "c"].map(|salt| format!("md5('{salt}{name}' || i)")).join(" || ");
                let make = format!("CREATE TABLE {name} AS SELECT {text} AS text FROM range({rows}) r(i);");
                engine.execute_batch(&format!("{make} CHECKPOINT;")).unwrap();
            }
        }
        let store = S3::new(&bucket_of(server, &bucket, &site.path("")), UPLOAD);
        Self { server: server.clone(), bucket, site, store }
    }

    /// Lets the program reach the bucket through a proxy.
    fn through(&self, faults: Faults) -> Proxy {
        let proxy = Proxy::before(&self.server, faults);
        self.site.write_plan(&self.plan(&proxy.server));
        proxy
    }

    fn plan(&self, server: &Server) -> String {
        let upload = "upload = { part_size = \"5MiB\" }\nprefix =";
        plan(server, &self.bucket, &self.site.path("")).replace("prefix =", upload)
    }

    fn objects(&self) -> BTreeMap<Key, u64> {
        runtime().block_on(self.store.list(&"hitkeep".parse::<Prefix>().unwrap())).unwrap()
    }

    fn read(&self, key: &str) -> Vec<u8> {
        runtime().block_on(self.store.read(&key.parse().unwrap(), Part::Whole)).unwrap()
    }

    fn put(&self, key: &str, bytes: Vec<u8>) {
        let (key, meter) = (key.parse().unwrap(), Meter::default());
        runtime().block_on(self.store.put(&key, Body::Bytes(bytes), Mode::Create, &meter)).unwrap();
    }

    /// Stores what a run has left that was killed: of the newest set, the tables `whole`, and others in the place of
    /// `changed` ones.
    fn leave(&self, whole: &[&str], changed: &[&str]) {
        let newest = self.site.sets().pop().unwrap().0;
        self.put(&format!("hitkeep/runs/{UNSEALED}.started.json"), b"{}".to_vec());
        for table in whole.iter().chain(changed) {
            let file = |set: &str| format!("hitkeep/shared/{set}/{table}.parquet");
            let mut bytes = self.read(&file(&newest));
            if changed.contains(table) {
                bytes[100] ^= 1;
            }
            self.put(&file(UNSEALED), bytes);
        }
    }

    /// Returns what the record of the newest run says of each snapshot: how many files were taken over, and from where.
    fn taken_over(&self) -> Vec<(u64, Vec<String>)> {
        let records = self.site.state_records().into_values();
        let newest = records.max_by_key(|record| record["snapshot"].as_str().unwrap().to_owned()).unwrap();
        let set = |set: &Value| set.as_str().unwrap().to_owned();
        let taken = |snapshot: &Value| {
            let taken = &snapshot["taken_over"];
            let sets = taken["sets"].as_array().into_iter().flatten().map(set).collect();
            (taken["files"].as_u64().unwrap_or(0), sets)
        };
        newest["snapshots"].as_array().unwrap().iter().map(taken).collect()
    }
}

/// Returns the files that were sent through a proxy, and those that the server was asked to copy: as far as they are of
/// some size.
fn moved(proxy: &Proxy) -> [BTreeSet<String>; 2] {
    let (mut sent, mut copied) = (BTreeSet::new(), BTreeSet::new());
    for head in proxy.heads().iter().filter(|head| head.starts_with("put ")) {
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let target = head.split([' ', '?']).nth(1).unwrap();
        let name = target.rsplit('/').next().unwrap().to_owned();
        let length: u64 = field("content-length: ").map_or(0, |length| length.parse().unwrap());
        if field("x-amz-copy-source: ").is_some() {
            copied.insert(name);
        } else if length >= LEAST {
            sent.insert(name);
        }
    }
    [sent, copied]
}

/// Returns how many bytes were sent through a proxy.
fn sent_bytes(proxy: &Proxy) -> u64 {
    let length =
        |head: &String| head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
    proxy.heads().iter().filter_map(length).sum()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name}.parquet")).collect()
}

#[test]
fn a_run_after_one_that_was_killed_sends_only_what_was_not_there() {
    for server in servers() {
        let world =
            World::new(&server, &[("large", 110_000), ("middle", 30_000)], &[("early", 30_000), ("late", 30_000)]);
        let held = Faults { held: Some(("/late.parquet", Duration::from_mins(1))), ..Faults::default() };
        let slow = world.through(held);
        let killed = Running::start(world.site.command(&["run", "plan.toml", "--json"]));
        wait_until_held(&slow);
        while !world.objects().keys().any(|key| key.as_str().ends_with("/early.parquet")) {
            std::thread::sleep(Duration::from_millis(20));
        }
        killed.signal(Signal::KILL);
        assert_eq!(killed.end().code, -9, "{}", server.name);
        assert!(sent_bytes(&slow) > 5 << 20, "{}", server.name);
        drop(slow);
        let left = world.objects();

        // The lease of the killed run is over by then.
        let proxy = world.through(Faults { ahead: Duration::from_mins(6), ..Faults::default() });
        let shown = world.site.succeed(&["run", "plan.toml", "--dry-run"]).stdout;
        let done = world.site.succeed(&["run", "plan.toml", "--verbose"]);
        let [sent, copied] = moved(&proxy);
        assert_eq!(copied, names(&["large", "middle", "early"]), "{}", server.name);
        assert_eq!(sent, names(&["late"]), "{}: {done:?}", server.name);
        assert!(sent_bytes(&proxy) < 3 << 20, "{}: {} bytes", server.name, sent_bytes(&proxy));
        if server.name == "s3s" {
            let done = done.stdout + &redact::tasks_in_order(&done.stderr);
            let told = format!("{shown}---\n{done}").replace(&world.bucket, "[BUCKET]");
            golden("resumed.txt", &redact::text(&world.site, &told));
        }
        let sets: Vec<_> = world.site.sets().into_iter().collect();
        let states: Vec<&str> = sets.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(states, ["orphan", "complete"], "{}", server.name);
        let unsealed = vec![sets[0].0.clone()];
        assert_eq!(world.taken_over(), [(2, unsealed.clone()), (1, unsealed)], "{}", server.name);
        let objects = world.objects();
        let is_kept = |(key, bytes): (&Key, &u64)| key.as_str().contains("/.lock/") || objects.get(key) == Some(bytes);
        assert!(left.iter().all(is_kept), "{}: what was left stays", server.name);
        world.site.succeed(&["verify", "plan.toml"]);
    }
}

#[test]
fn what_only_looks_the_same_is_sent() {
    for server in servers() {
        let world = World::new(&server, &[("same", 30_000), ("other", 30_000), ("gone", 30_000)], &[]);
        drop(world.through(Faults::default()));
        world.site.write_plan(&world.plan(&server));
        world.site.succeed(&["run", "plan.toml"]);
        world.leave(&["same"], &["other"]);
        let proxy = world.through(Faults::default());
        world.site.succeed(&["run", "plan.toml"]);
        assert_eq!(moved(&proxy), [names(&["other", "gone"]), names(&["same"])], "{}", server.name);
        assert_eq!(world.taken_over(), [(1, vec![UNSEALED.to_owned()]), (0, vec![])], "{}", server.name);
        world.site.succeed(&["verify", "plan.toml"]);
    }
}

#[test]
fn what_a_server_does_not_copy_is_sent() {
    for server in servers() {
        let world = World::new(&server, &[("one", 30_000), ("two", 30_000)], &[]);
        world.site.write_plan(&world.plan(&server));
        world.site.succeed(&["run", "plan.toml"]);
        world.leave(&["one", "two"], &[]);
        let proxy = world.through(Faults { unknown_header: Some("x-amz-copy-source"), ..Faults::default() });
        let run = world.site.succeed(&["run", "plan.toml"]);
        assert_eq!(moved(&proxy), [names(&["one", "two"]), names(&["one", "two"])], "{}: {run:?}", server.name);
        assert_eq!(world.taken_over(), [(0, vec![]), (0, vec![])], "{}", server.name);
        let states: Vec<_> = world.site.sets().into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, ["orphan", "complete", "complete"], "{}", server.name);
    }
}

#[test]
fn a_copy_is_to_have_the_class_and_the_encryption_of_the_plan() {
    let Some(server) = servers::ceph::server() else { return };
    let world = World::new(&server, &[("one", 30_000)], &[]);
    world.site.write_plan(&world.plan(&server));
    world.site.succeed(&["run", "plan.toml"]);
    world.leave(&["one"], &[]);
    let proxy = world.through(Faults::default());
    let wanted =
        format!("storage_class = \"STANDARD_IA\"\nencryption = \"aws:kms\"\nkms_key = \"{KMS_KEY}\"\nurl_style");
    world.site.write_plan(&world.plan(&proxy.server).replace("url_style", &wanted));
    world.site.succeed(&["run", "plan.toml"]);
    // Ceph's gateway does not do all of what is asked for, and so the file is sent after all.
    assert_eq!(world.taken_over()[0].0, 0);
    let heads = proxy.heads();
    let copy = heads.iter().find(|head| head.contains("\r\nx-amz-copy-source: ")).unwrap();
    for line in [
        "x-amz-storage-class: standard_ia",
        "x-amz-server-side-encryption: aws:kms",
        &format!("x-amz-server-side-encryption-aws-kms-key-id: {KMS_KEY}"),
        "x-amz-checksum-algorithm: crc64nvme",
    ] {
        assert!(copy.contains(&format!("\r\n{line}\r\n")), "{line}: {copy}");
    }
}
