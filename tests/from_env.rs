//! Stories of `init --from-env`: what HitKeep is told by its variables becomes a plan.
//!
//! Each folder in `tests/from-env` is an installation: an `environment`, a `hitkeep.env` or a `compose.yaml`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hitkeep_plan::plan::{Bucket, Plan, Rule, Secret, Store, Surroundings};
use hitkeep_plan::settings::{Ground, Settings, Variables};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixture::{Outcome, Site, Tree, read_tree, write_tree};
use crate::redact::{self, golden};

/// What every secret of the installations begins with.
const MARKER: &str = "marker-";

fn installations() -> Vec<(String, Tree)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/from-env");
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read_tree(path))).collect()
}

/// Returns a site without a plan, with the files of an installation in it.
fn site(installation: &Tree) -> Site {
    let site = Site::with(&Tree::new());
    fs::remove_file(site.path("plan.toml")).unwrap();
    write_tree(&site.path(""), installation);
    site
}

/// Returns the program that reads the variables of an installation, where they are.
fn init(site: &Site, more: &[&str]) -> Command {
    let source = match ["compose.yaml", "hitkeep.env"].into_iter().find(|name| site.path(name).exists()) {
        Some("compose.yaml") => vec!["init", "--from-env", "--compose", "compose.yaml"],
        Some(file) => vec!["init", "--env-file", file],
        None => vec!["init", "--from-env"],
    };
    let mut command = site.command(&[&source, more].concat());
    let environment = fs::read_to_string(site.path("environment")).unwrap_or_default();
    command.envs(environment.lines().map(|line| line.split_once('=').unwrap()));
    command
}

#[test]
fn what_hitkeep_is_told_becomes_a_plan() {
    let mut secrets = 0;
    for (name, installation) in installations() {
        let site = site(&installation);
        let written = Outcome::of(init(&site, &[]));
        let mut story = redact::outcome(&site, &written);
        assert!(matches!(written.code, 0 | 2), "{name}: {written:?}");
        assert_eq!(site.path("plan.toml").exists(), written.code == 0, "{name}");
        if let Ok(plan) = fs::read_to_string(site.path("plan.toml")) {
            let checked = site.run(&["check", "plan.toml"]);
            assert_eq!(checked.code, 0, "{name}: {checked:?}");
            story += &redact::text(
                &site,
                &format!("--- plan.toml\n{plan}--- hitkeep-plan check\n{}{}", checked.stdout, checked.stderr),
            );
            let wide = plan.lines().filter(|line| line.chars().count() > 120);
            assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
        }
        let logged = Outcome::of(init(&site, &["--log", "json", "other.toml"]));
        let log: Result<Vec<serde_json::Value>, _> = logged.stderr.lines().map(serde_json::from_str).collect();
        assert!(log.is_ok(), "{name}: {logged:?}");
        let inputs: String = installation.values().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        secrets += inputs.matches(MARKER).count();
        assert!(!format!("{story}{logged:?}").contains(MARKER), "{name} tells a secret: {story}");
        golden(&format!("from-env-{name}.txt"), &story);
    }
    assert!(secrets > 10, "there are secrets to be told");
}

#[test]
fn a_plan_is_printed_or_new() {
    let (_, installation) = installations().into_iter().find(|(name, _)| name == "guide-minio").unwrap();
    let site = site(&installation);
    let printed = Outcome::of(init(&site, &["-"]));
    assert_eq!((printed.code, printed.stderr.as_str(), site.path("-").exists()), (0, "", false));
    let quiet = Outcome::of(init(&site, &["--quiet", "plan.toml"]));
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    assert_eq!(fs::read_to_string(site.path("plan.toml")).unwrap(), printed.stdout);
    let again = Outcome::of(init(&site, &["plan.toml"]));
    assert_eq!(again.code, 2);
    assert_eq!(
        again.stderr,
        "error: `plan.toml` is there already and is not overwritten\n help: choose another name\n"
    );
    assert_eq!(fs::read_to_string(site.path("plan.toml")).unwrap(), printed.stdout);
}

#[test]
fn a_service_is_chosen_by_name_and_a_missing_file_is_named() {
    let (_, installation) = installations().into_iter().find(|(name, _)| name == "compose-two").unwrap();
    let site = site(&installation);
    let chosen = Outcome::of(init(&site, &["--service", "green"]));
    let unknown = Outcome::of(init(&site, &["--service", "red"]));
    fs::write(site.path("compose.yaml"), "services: { hitkeep: { env_file: lost.env } }").unwrap();
    let lost = Outcome::of(init(&site, &[]));
    assert_eq!([chosen.code, unknown.code, lost.code], [0, 2, 2]);
    let story: String = [chosen, unknown, lost].iter().map(|outcome| redact::outcome(&site, outcome)).collect();
    golden("from-env-services.txt", &story);
}

/// Reads the variables as those of a HitKeep on this host, and the plan that they become.
fn plan_of(variables: &BTreeMap<String, String>) -> Option<Plan> {
    let mut found = Variables::default();
    found.take_environment(variables);
    let (settings, _) = Settings::read(&found, &Ground::Host(PathBuf::from("/srv")), "the environment");
    let around = Surroundings {
        host: "here".to_owned(),
        directory: "/".into(),
        variables: BTreeMap::from([("STATE_DIRECTORY".to_owned(), "/var/lib/hitkeep-plan".to_owned())]),
        real_path: Path::to_owned,
    };
    let text = settings?.plan();
    Some(
        Plan::read(&text, "plan.toml", &around)
            .unwrap_or_else(|refused| panic!("{:?}\n{text}", refused.problems()))
            .plan,
    )
}

fn bucket(plan: &Plan) -> &Bucket {
    match plan.destinations()[0].store() {
        Store::Bucket(bucket) => bucket,
        Store::Directory(path) => panic!("{} is no bucket", path.display()),
    }
}

/// A server and what is said of it, so that nothing is left to be guessed.
fn server() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    const ENDPOINT: &str = "HITKEEP_S3_ENDPOINT";
    const STYLE: &str = "HITKEEP_S3_URL_STYLE";
    const SSL: &str = "HITKEEP_S3_USE_SSL";
    const REGION: &str = "HITKEEP_S3_REGION";
    select(vec![
        vec![],
        vec![(REGION, "eu-central-1"), (STYLE, "vhost")],
        vec![(ENDPOINT, "s3.eu-west-1.amazonaws.com"), (REGION, "eu-west-1"), (SSL, "true")],
        vec![(ENDPOINT, "abc.r2.cloudflarestorage.com"), (REGION, "auto")],
        vec![(ENDPOINT, "localhost:9000"), (STYLE, "path"), (SSL, "false")],
        vec![(ENDPOINT, "10.0.0.5:9443"), (STYLE, "path"), (SSL, "1"), (REGION, "garage")],
        vec![(ENDPOINT, "s3.fr-par.scw.cloud"), (REGION, "fr-par"), (SSL, "T")],
        vec![(ENDPOINT, "storage.example.com:8333"), (STYLE, "vhost"), (SSL, "f")],
    ])
}

proptest! {
    #[test]
    fn the_plan_speaks_to_the_bucket_as_hitkeep_does(
        server in server(),
        folder in select(vec!["", "/hitkeep", "/a/b", "/ü ö", "/{{ host }}", "/{% if {{{{", "/{a}}"]),
        (key, token) in (any::<bool>(), any::<bool>()),
        retention in option::of(1..100_000_u32),
    ) {
        let mut variables: BTreeMap<String, String> =
            server.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut set = |name: &str, value: &str| drop(variables.insert(format!("HITKEEP_{name}"), value.to_owned()));
        set("DATA_PATH", "/data");
        set("BACKUP_PATH", &format!("s3://my-bucket{folder}"));
        if key {
            set("S3_ACCESS_KEY_ID", "id");
            set("S3_SECRET_ACCESS_KEY", "secret");
        }
        if token {
            set("S3_SESSION_TOKEN", "token");
        }
        if let Some(retention) = retention {
            set("BACKUP_RETENTION", &retention.to_string());
        }
        let said = |name: &str| variables.get(&format!("HITKEEP_S3_{name}")).map(String::as_str);
        let plan = plan_of(&variables).unwrap();
        let bucket = bucket(&plan);
        prop_assert_eq!(bucket.name(), "my-bucket");
        prop_assert!(plan.backups()[0].prefix().as_str().starts_with(folder.trim_start_matches('/')));
        prop_assert_eq!(bucket.region(), Some(said("REGION").unwrap_or("us-east-1")));
        let use_ssl = !matches!(said("USE_SSL"), Some("false" | "0" | "f"));
        prop_assert_eq!(bucket.uses_ssl(), use_ssl);
        let scheme = if use_ssl { "https" } else { "http" };
        prop_assert_eq!(bucket.endpoint(), said("ENDPOINT").map(|endpoint| format!("{scheme}://{endpoint}")));
        prop_assert_eq!(bucket.is_path_style(), said("URL_STYLE") == Some("path"));
        let variable = |name: &str| Secret::Variable(format!("HITKEEP_S3_{name}"));
        let keys = bucket.credentials();
        prop_assert_eq!(keys.map(|keys| keys.access_key_id.clone()), key.then(|| variable("ACCESS_KEY_ID")));
        prop_assert_eq!(keys.map(|keys| keys.secret_access_key.clone()), key.then(|| variable("SECRET_ACCESS_KEY")));
        prop_assert_eq!(keys.and_then(|keys| keys.session_token.clone()), (key && token).then(|| variable("SESSION_TOKEN")));
        let rules = plan.backups()[0].keep().map(|keep| keep.rules.clone());
        prop_assert_eq!(rules, retention.map(|last| vec![(Rule::Last, last)]));
    }

    #[test]
    fn no_value_is_too_odd_to_be_judged(values in prop::collection::vec(".{0,20}", 13)) {
        const NAMES: [&str; 13] = [
            "DATA_PATH", "DB_PATH", "BACKUP_PATH", "BACKUP_INTERVAL", "BACKUP_RETENTION", "ARCHIVE_PATH", "S3_REGION",
            "S3_ENDPOINT", "S3_URL_STYLE", "S3_USE_SSL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_SESSION_TOKEN",
        ];
        let lines = NAMES.iter().zip(&values).map(|(name, value)| format!("HITKEEP_{name}={value}\n"));
        let mut found = Variables::default();
        found.take_file(&lines.collect::<String>(), None, &|_| None);
        let (settings, notes) = Settings::read(&found, &Ground::Host("/srv".into()), "hitkeep.env");
        prop_assert!(settings.is_some() || !notes.is_empty());
        drop(settings.map(|settings| settings.plan()));
    }
}
