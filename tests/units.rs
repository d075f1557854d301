//! What is written for a scheduler is what that takes, by its own check.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Outcome, PLAN, Site, minimal};
use crate::oracle::environment;
use crate::redact::{self, golden, skipped};
use crate::servers::find_program;

/// The version of Kubernetes whose schemas are asked.
const KUBERNETES: &str = "1.37.0";

/// A plan with everything that a pod must be given.
const PLAN_OF_ALL: &str = r#"version = 1

[source.main]
data_path = "/var/lib/hitkeep/data"
db_path   = "/var/lib/hitkeep/db/hitkeep.db"

[source.emptied]
data_path = "/srv/other"
capture   = "direct"

[destination.my_disk]
url = "/srv/backups"

[destination.offsite]
url               = "s3://bucket/hitkeep"
region            = "eu-central-1"
access_key_id     = { env = "S3_ID" }
secret_access_key = { file = "/run/secrets/s3" }

[backup.nightly]
source   = "main"
to       = ["my_disk", "offsite"]
prefix   = "main"
schedule = "0 3 * * *"

[backup.other]
source   = "emptied"
to       = ["offsite"]
prefix   = "other"

[archive.other-rows]
source   = "emptied"
to       = ["my_disk"]
prefix   = "rows"
schedule = "7 4 * * *"
delete   = true
"#;

/// A site with a plan whose path is no plain word.
fn site_with(text: &str) -> (Site, &'static str) {
    let site = Site::with(minimal());
    fs::create_dir(site.path("100% plans")).unwrap();
    fs::write(site.path("100% plans/Der Plan.toml"), text).unwrap();
    (site, "100% plans/Der Plan.toml")
}

fn shown(site: &Site, words: &[&str]) -> String {
    let text = redact::outcome(site, &site.succeed(words));
    text.replace(env!("CARGO_BIN_EXE_hitkeep-plan"), "/usr/local/bin/hitkeep-plan")
}

#[test]
fn a_cluster_a_repository_and_a_host_are_given_their_files() {
    let (site, plan) = site_with(PLAN_OF_ALL);
    golden("units-kubernetes.txt", &shown(&site, &["units", plan, "--kubernetes"]));
    golden("units-github.txt", &shown(&site, &["units", plan, "--github", "--image", "registry.example/plan:1"]));
    let (site, plan) = site_with(&PLAN_OF_ALL.replace("delete   = true\n", ""));
    golden("units-kubernetes-shards.txt", &shown(&site, &["units", plan, "--kubernetes", "--shards", "3"]));
    site.write_plan(&PLAN.replace("prefix =", "schedule = \"@daily\"\nprefix ="));
    golden("units-daemon.txt", &shown(&site, &["units", "plan.toml", "--systemd", "--daemon"]));
}

#[test]
fn a_pod_has_no_credentials_of_systemd() {
    let (site, plan) = site_with(&PLAN_OF_ALL.replace("{ env = \"S3_ID\" }", "{ credential = \"s3-id\" }"));
    let refused = site.run(&["units", plan, "--kubernetes"]);
    let said = "error: a pod cannot look up a secret in `the credential s3-id`\n help: say where it is found with `env` \
                or `file`\n";
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.as_str()), (2, "", said));
    for words in [["--cron", "--shards", "3"], ["--kubernetes", "--shards", "1"]] {
        assert_eq!(site.run(&[&["units", plan][..], &words].concat()).code, 2, "{words:?} says nothing");
    }
    for words in [["--cron", "--image", "x"], ["--cron", "--daemon", "-q"]] {
        assert_eq!(site.run(&[&["units", plan][..], &words].concat()).code, 2, "{words:?} says nothing");
    }
}

#[test]
fn a_pod_of_a_shard_has_no_name_that_lasts() {
    for host in ["{{ host }}", "{{ env.HOSTNAME }}", "{{ env.HOSTNAME | lower }}"] {
        let text = PLAN_OF_ALL.replace("prefix   = \"rows\"", &format!("prefix   = \"{host}/rows\""));
        let (site, plan) = site_with(&text);
        let units = |words: &[&str]| {
            let mut command = site.command(&[&["units", plan, "--kubernetes"], words].concat());
            command.env("HOSTNAME", "a-pod");
            Outcome::of(command)
        };
        let refused = units(&["--shards", "3"]);
        let said = "error: the `prefix` of `other-rows` holds the name of the host, and the pods of shards have another one \
                    for each run\n help: write another word in its `prefix`, the same for every run\n";
        assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.as_str()), (2, "", said), "{host}");
        assert_eq!(units(&[]).code, 0, "{host}");
    }
}

#[test]
fn shards_in_pods_delete_nothing() {
    let (site, plan) = site_with(PLAN_OF_ALL);
    let refused = site.run(&["units", plan, "--kubernetes", "--shards", "3"]);
    let said = "error: `other-rows` deletes what it has archived, and the pods of shards open the shared database at the same \
                time\n help: leave out its `delete`, or its `schedule` and run its shards one after the other while HitKeep \
                is stopped\n";
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.as_str()), (2, "", said));
    // What no schedule asks for, no pod does.
    let (site, plan) = site_with(&PLAN_OF_ALL.replace("schedule = \"7 4 * * *\"\n", ""));
    site.succeed(&["units", plan, "--kubernetes", "--shards", "3"]);
}

/// Writes the files of a scheduler, and returns their paths.
fn written(site: &Site, plan: &str, words: &[&str]) -> Vec<PathBuf> {
    let folder = site.path("written");
    fs::create_dir_all(&folder).unwrap();
    site.succeed(&[&["units", plan, "--to", "written"][..], words].concat());
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn accepted(program: &Path, words: &[&str], files: &[PathBuf]) {
    let mut command = Command::new(program);
    command.args(words).args(files);
    let outcome = Outcome::of(command);
    assert_eq!(outcome.code, 0, "{}: {outcome:?}", program.display());
}

#[test]
fn what_kubernetes_is_given_it_takes() {
    let python = match environment("kubernetes-validate", &format!("kubernetes-validate=={KUBERNETES}")) {
        Ok(python) => python,
        Err(cause) => return skipped(&format!("kubernetes-validate {KUBERNETES} cannot be had: {cause}")),
    };
    for text in [PLAN_OF_ALL.to_owned(), PLAN.replace("prefix =", "schedule = \"@daily\"\nprefix =")] {
        let (site, plan) = site_with(&text.replace("delete   = true\n", ""));
        let shards = written(&site, plan, &["--kubernetes", "--shards", "3"]);
        accepted(&python.with_file_name("kubernetes-validate"), &["--strict", "-k", KUBERNETES], &shards);
        let (site, plan) = site_with(&text);
        let files = written(&site, plan, &["--kubernetes"]);
        accepted(&python.with_file_name("kubernetes-validate"), &["--strict", "-k", KUBERNETES], &files);
        // The plan in it is the plan.
        let script =
            "import sys, yaml; print(next(yaml.safe_load_all(open(sys.argv[1])))['data']['plan.toml'], end='')";
        let mut command = Command::new(&python);
        command.args(["-c", script]).args(&files);
        assert_eq!(Outcome::of(command).stdout, text);
    }
}

#[test]
fn what_github_is_given_it_takes() {
    let actionlint = match find_program("actionlint") {
        Ok(actionlint) => actionlint,
        Err(cause) => return skipped(&cause),
    };
    for text in [PLAN_OF_ALL, PLAN] {
        let (site, plan) = site_with(text);
        accepted(&actionlint, &["-no-color"], &written(&site, plan, &["--github"]));
    }
}

#[test]
fn the_service_of_a_daemon_is_one_that_systemd_takes() {
    let (site, plan) = site_with(&PLAN.replace("prefix =", "schedule = \"@daily\"\nprefix ="));
    let mut files = written(&site, plan, &["--systemd", "--daemon"]);
    files.push(site.path("hitkeep-plan-of-debian.service"));
    let packaged = include_str!("../.packaging/debian/service");
    fs::write(&files[1], packaged.replace("/usr/bin/hitkeep-plan", env!("CARGO_BIN_EXE_hitkeep-plan"))).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").args(&files).output() {
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && !said.contains("hitkeep-plan-"), "{said}");
        }
        Err(missing) => skipped(&format!("systemd-analyze is not here: {missing}")),
    }
}
