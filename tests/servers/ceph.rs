//! Ceph's gateway over the smallest cluster that stores: one monitor, one disk in a sparse file. It has lifecycle,
//! versions, locks and conditional writes; of checksums it keeps nothing, and trailers it refuses.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;

use super::home::{Home, free_address};
use super::{Creation, Habits, Server, available, find_program};

const ACCESS_KEY: &str = "ceph-access-key";
const SECRET_KEY: &str = "ceph-secret-key";

/// The key that the gateway encrypts with, where a client asks for that.
pub(crate) const KMS_KEY: &str = "backups";

/// The class beside the usual one that objects can be moved to; what lies there is in another pool.
pub(crate) const COOLER: &str = "STANDARD_IA";

/// How large the file of the one disk can become.
const DISK_SIZE: u64 = 16 << 30;

/// How long the gateway takes for a day of a lifecycle rule.
pub(crate) const DAY: Duration = Duration::from_secs(5);

/// Returns the gateway, started on first use.
pub(crate) fn server() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(start))
}

fn start() -> Result<(Server, Home), String> {
    for program in ["ceph", "ceph-mon", "ceph-osd", "radosgw"] {
        find_program(program)?;
    }
    let mut cluster = Cluster(Home::new("ceph"));
    let server = Server {
        name: "ceph",
        endpoint: free_address(),
        ca: None,
        region: "us-east-1",
        access_key: ACCESS_KEY,
        secret_key: SECRET_KEY,
        habits: Habits {
            creation: Creation::Atomic,
            checksums: false,
            trailers: false,
            long_keys: true,
            uploads: true,
        },
    };
    cluster.start_monitor(&server.endpoint);
    cluster.start_disk();
    cluster.start_gateway();
    let Cluster(home) = cluster;
    server.wait_until_ready(&home.log());
    Ok((server, home))
}

/// A cluster while it is put together. Every program is run in its home.
struct Cluster(Home);

impl Cluster {
    fn start_monitor(&mut self, gateway: &str) {
        let (cluster, monitor) = (Uuid::now_v7(), format!("[v2:{}]", free_address()));
        let configuration = self.configuration(&cluster, &monitor, gateway);
        fs::write(self.0.path("ceph.conf"), configuration).unwrap();
        fs::write(self.0.path("keyring"), keyring(self.run("ceph-authtool --gen-print-key").trim())).unwrap();
        self.run(&format!("monmaptool --create --fsid {cluster} --addv a {monitor} monmap"));
        self.run("ceph-mon --mkfs --id a --monmap monmap");
        self.start("ceph-mon -f --id a");
    }

    fn start_disk(&mut self) {
        let disk = Uuid::now_v7();
        self.0.make_folder("disk");
        self.run(&format!("ceph osd new {disk}"));
        self.run(&format!("ceph-osd --mkfs --id 0 --osd-uuid {disk}"));
        self.start("ceph-osd -f --id 0");
    }

    fn start_gateway(&mut self) {
        let administer = |line: &str| drop(self.run(&format!("radosgw-admin --name client.gateway {line}")));
        // The first of these makes the zone that the others change, and the gateway knows only what was there before it.
        let user = format!("--uid=user --display-name=user --access-key={ACCESS_KEY} --secret-key={SECRET_KEY}");
        administer(&format!("user create {user}"));
        let class = format!("--placement-id default-placement --storage-class {COOLER}");
        administer(&format!("zonegroup placement add --rgw-zonegroup default {class}"));
        administer(&format!("zone placement add --rgw-zone default {class} --data-pool cooler"));
        self.start("radosgw -f --name client.gateway");
    }

    /// Returns what `ceph.conf` says: everything on this machine, one copy of all, and no waiting for more monitors.
    fn configuration(&self, cluster: &Uuid, monitor: &str, gateway: &str) -> String {
        let home = self.0.path("");
        let home = home.display();
        format!(
            "[global]
            fsid = {cluster}
            mon host = {monitor}
            public addr = 127.0.0.1
            keyring = {home}/keyring
            mon data = {home}/monitor
            osd data = {home}/disk
            osd objectstore = bluestore
            bluestore block size = {DISK_SIZE}
            run dir = {home}
            admin socket = {home}/$name.socket
            pid file =
            log file = {home}/log
            crash dir = {home}
            paxos propose interval = 0.02
            osd pool default size = 1
            osd pool default pg num = 1
            osd pool default pg autoscale mode = off
            osd crush chooseleaf type = 0
            mon allow pool size one = true
            mon max pg per osd = 1000
            rgw data = {home}/gateway
            rgw frontends = beast endpoint={gateway}
            rgw dns name = s3.story.internal
            rgw crypt require ssl = false
            rgw crypt s3 kms backend = testing
            rgw crypt s3 kms encryption keys = {KMS_KEY}={}
            rgw lc debug interval = {}\n",
            BASE64_STANDARD.encode([7; 32]),
            DAY.as_secs()
        )
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = Command::new(find_program(words.next().unwrap()).unwrap());
        command.args(words).env("CEPH_CONF", self.0.path("ceph.conf"));
        command
    }

    fn run(&self, line: &str) -> String {
        self.0.run(&mut self.command(line))
    }

    fn start(&mut self, line: &str) {
        let mut command = self.command(line);
        self.0.start(&mut command);
    }
}

/// Returns the keys of everybody in the cluster, who all have the same.
fn keyring(key: &str) -> String {
    let may = |name, rights: &[&str]| format!("[{name}]\nkey = {key}\n{}\n", rights.join("\n"));
    let all = r#"caps mon = "allow *""#;
    [
        may("mon.", &[all]),
        may("client.admin", &[all, r#"caps osd = "allow *""#]),
        may("osd.0", &[r#"caps mon = "allow profile osd""#, r#"caps osd = "allow *""#]),
        may("client.gateway", &[r#"caps mon = "allow rw""#, r#"caps osd = "allow rwx""#]),
    ]
    .concat()
}
