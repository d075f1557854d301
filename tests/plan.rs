//! Stories of the plan language: what is taken, what is refused, and in which words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hitkeep_plan::diagnose::{Diagnostic, Look, Problems, Severity};
use hitkeep_plan::plan::{
    Bucket, CODES, Checksum, Destination, Encryption, Plan, Reading, Secret, Selection, Store, Surroundings, Upload,
};
use proptest::prelude::*;
use snapbox::{Data, assert_data_eq};

use crate::fixture::installation;

/// The look of every rendered report in `tests/rejected`.
const LOOK: Look = Look { width: 100, colour: false, unicode: true };

/// Rejected plans that the JSON schema takes, since their fault is one that a schema cannot express.
const BEYOND_SCHEMA: &[&str] = &[
    // The text has no value that a schema could judge, or more than one.
    "duplicate-key",
    "duplicate-table",
    "version-out-of-range",
    "syntax-not-toml-at-all",
    "syntax-several",
    "syntax-unclosed-array",
    "syntax-unquoted-string",
    // A reference to another table.
    "unknown-destination",
    "unknown-source",
    "unused",
    // A list that JSON schema knows no more of than its shape.
    "unknown-timezone",
    "unknown-timezone-near",
    // What a path or an address means.
    "invalid-bucket-names",
    "invalid-bucket-urls",
    "invalid-url",
    "plain-secret-in-url",
    "plain-secret-nearby",
    "root-destination",
    "unknown-scheme",
    // What a template means.
    "invalid-prefix-parent",
    "invalid-prefix-slash",
    "template-attribute",
    "template-escaped",
    "template-filter",
    "template-function",
    "template-name-alone",
    "template-names",
    "template-secret",
    "template-syntax",
    "template-syntax-in-block",
    "template-unset",
    // What the keys of a bucket mean together, and with the environment.
    "bad-variables",
    "bucket-only",
    "bucket-only-secrets",
    "half-key",
    "half-key-of-the-environment",
    "half-key-token",
    "invalid-endpoints",
    "invalid-regions",
    "kms-key",
    "lifecycle-frozen",
    "lifecycle-order",
    "mistakes-in-variables",
    "plain-secret-not-quoted",
    "url-style-address",
    "url-style-dots",
    "url-style-localhost",
    "url-style-minio",
    "use-ssl-aws",
    "use-ssl-port-443",
    "use-ssl-port-80",
    // What the source of a job means for the job, and which paths are addresses.
    "snapshots-compressed",
    "snapshots-in-a-bucket",
    // A list that JSON schema knows no more of than its shape.
    "metrics",
    // What a template makes, and how many keys there are.
    "notice-templates",
    // What a program is called.
    "no-shell",
    // What an engine knows.
    "invalid-asserts",
    // How large a size is.
    "small-size",
    // What jobs mean together.
    "archive-delete-live",
    "archive-named-as-a-backup",
    "archive-without-backup",
    // Where directories lie.
    "archive-in-a-backup",
    "holds-database",
    "holds-local",
    "holds-source",
    "archive-of-snapshots",
    "inside-snapshots",
    "inside-source",
    "local-in-source",
    "no-state",
    "overlap-bucket-twice",
    "overlap-buckets",
    "overlap-by-case",
    "overlap-defaults",
    "overlap-nested",
    "overlap-nested-destinations",
    "overlap-one-job-twice",
    "overlap-rendered",
    "overlap-root",
    "overlap-through-two-destinations",
];

/// What no key can be.
const BAD_VARIABLES: &[(&str, &str)] = &[
    ("HITKEEP_S3_REGION", "eu central"),
    ("HITKEEP_S3_ENDPOINT", "http://localhost:9000"),
    ("HITKEEP_S3_URL_STYLE", "virtual"),
    ("HITKEEP_S3_USE_SSL", "no"),
];

/// What keys can be, but not together.
const MISTAKEN_VARIABLES: &[(&str, &str)] = &[
    ("HITKEEP_S3_REGION", "eu-central-1"),
    ("HITKEEP_S3_ENDPOINT", "10.0.0.1:443"),
    ("HITKEEP_S3_URL_STYLE", "vhost"),
    ("HITKEEP_S3_USE_SSL", "false"),
];

#[test]
fn every_rejected_plan_is_refused_in_its_own_words() {
    for (name, text) in plans_in("tests/rejected") {
        let problems = refused(&name, &text);
        let expected = Data::read_from(&root().join(format!("tests/rejected/{name}.txt")), None);
        assert_data_eq!(problems.graphical(LOOK), expected.raw());
    }
    let reports = std::fs::read_dir(root().join("tests/rejected")).unwrap();
    assert_eq!(reports.count(), 2 * plans_in("tests/rejected").len(), "a report without its plan");
}

#[test]
fn every_code_has_a_rejected_plan_and_no_other_code_is_met() {
    let met: BTreeSet<&str> = plans_in("tests/rejected")
        .iter()
        .flat_map(|(name, text)| refused(name, text).list().iter().map(Diagnostic::code).collect::<Vec<_>>())
        .collect();
    assert_eq!(met, CODES.iter().copied().collect());
}

#[test]
fn every_error_is_placed_and_says_what_to_do() {
    let placeless = ["plan::missing-table", "plan::missing-key", "plan::no-state"];
    for (name, text) in plans_in("tests/rejected") {
        let problems = refused(&name, &text);
        let json: serde_json::Value = serde_json::from_str(&problems.json()).unwrap();
        for problem in json["problems"].as_array().unwrap() {
            let labels = problem["labels"].as_array().unwrap();
            let code = problem["code"].as_str().unwrap();
            assert!(!labels.is_empty() || placeless.contains(&code), "{name}: {problem}");
            assert!(!problem["message"].as_str().unwrap().ends_with('.'), "{name}: {problem}");
            assert!(problem["help"].is_string(), "{name}: {problem}");
        }
    }
}

#[test]
fn the_schema_refuses_what_a_schema_can_refuse() {
    let schema = validator();
    let mut taken = BTreeSet::new();
    for (name, text) in plans_in("tests/rejected") {
        let value = toml::from_str::<toml::Value>(&text);
        let valid = value.map_or(true, |value| schema.is_valid(&serde_json::to_value(value).unwrap()));
        if valid {
            taken.insert(name);
        }
    }
    assert_eq!(taken, BEYOND_SCHEMA.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_plans_people_start_from_are_taken_by_reader_and_schema() {
    let schema = validator();
    for (name, text) in plans_in("plans") {
        let reading = taken(&name, &text);
        assert!(reading.warnings.list().is_empty(), "{}", reading.warnings.graphical(LOOK));
        assert_eq!(reading.plan.name(), name);
        let value = serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
        assert!(schema.is_valid(&value), "the schema refuses {name}");
    }
}

#[test]
fn the_plan_with_every_key_has_every_key() {
    let text = std::fs::read_to_string(root().join("plans/every-key.toml")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&hitkeep_plan::plan::schema()).unwrap();
    let written = written_keys(&toml::from_str(&text).unwrap());
    let missing: Vec<String> = keys(&schema).difference(&written).cloned().collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_schema_is_the_one_of_the_code() {
    assert_data_eq!(hitkeep_plan::plan::schema(), snapbox::file!["../schemas/plan.schema.json"].raw());
}

#[test]
fn the_reference_has_a_line_for_every_key() {
    let reference = hitkeep_plan::plan::reference();
    assert_data_eq!(reference.clone(), snapbox::file!["shown/reference.md"].raw());
    let schema: serde_json::Value = serde_json::from_str(&hitkeep_plan::plan::schema()).unwrap();
    for key in keys(&schema).into_iter().filter(|key| {
        !["vars", "source", "destination", "backup", "archive", "hooks", "notify", "metrics", "local"].contains(&&**key)
    }) {
        let line = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        assert!(line.is_some_and(|line| line.split('|').all(|cell| cell != " " && cell != "  ")), "{key}: {line:?}");
    }
}

#[test]
fn the_effective_plan_is_shown_with_origins() {
    let text = std::fs::read_to_string(root().join("plans/every-key.toml")).unwrap();
    assert_data_eq!(taken("every-key", &text).plan.show(), snapbox::file!["shown/every-key.toml"].raw());
    let text = std::fs::read_to_string(root().join("plans/minimal.toml")).unwrap();
    assert_data_eq!(taken("minimal", &text).plan.show(), snapbox::file!["shown/minimal.toml"].raw());
}

#[test]
fn what_is_shown_is_a_plan_and_means_the_same() {
    for (name, text) in plans_in("plans") {
        let shown = taken(&name, &text).plan.show();
        let again = taken(&name, &shown).plan.show();
        let values = |text: &str| toml::from_str::<toml::Value>(text).unwrap();
        assert_eq!(values(&shown), values(&again));
    }
}

#[test]
fn a_minimal_plan_has_its_defaults() {
    let text = plan_with(&[], "");
    let plan = taken("minimal", &text).plan;
    let job = &plan.backups()[0];
    assert_eq!(installation(job).data_path(), Path::new("/var/lib/hitkeep/data"));
    assert_eq!(installation(job).db_path(), Path::new("/var/lib/hitkeep/data/hitkeep.db"));
    assert_eq!(
        (job.prefix().as_str(), job.compression().as_str(), job.verify().as_str()),
        ("backups", "zstd", "checksum")
    );
    assert_eq!((job.databases(), job.timeout()), (&Selection::All, None));
    assert_eq!(directory(&job.to()[0]), Path::new("/srv/hitkeep"));
    assert_eq!(job.line(), 9);
    assert!(text[job.place()].starts_with("[backup.nightly]"));
    assert_eq!(plan.timezone().iana_name(), Some("UTC"));
    assert_eq!(plan.local().memory_limit().0, 512 << 20);
    assert_eq!(plan.digest(), hitkeep_plan::measure::Sha256::of(text.as_bytes()));
}

#[test]
fn a_failure_in_the_world_is_shown_at_the_line_that_asked() {
    let plan = taken("p", &plan_with(&[], "")).plan;
    let (job, source) = (&plan.backups()[0], &plan.sources()[0]);
    let failure = Diagnostic::error("run::no-source", "there is no directory `/var/lib/hitkeep/data`")
        .at(source.place(), "asked for here")
        .at(job.to()[0].place(), "nothing written here");
    let expected = snapbox::str![[r#"
run::no-source

  × there is no directory `/var/lib/hitkeep/data`
   ╭─[p.toml:4:13]
 3 │ [source.main]
 4 │ data_path = "/var/lib/hitkeep/data"
   ·             ───────────┬───────────
   ·                        ╰── asked for here
 5 │
 6 │ [destination.disk]
 7 │ url = "/srv/hitkeep"
   ·       ───────┬──────
   ·              ╰── nothing written here
 8 │
   ╰────

p.toml: 1 error

"#]];
    assert_data_eq!(plan.problems(vec![failure]).graphical(LOOK), expected);
}

#[test]
fn the_state_directory_comes_from_the_plan_then_systemd_then_xdg_then_home() {
    let state = |variables: &[(&str, &str)]| {
        let around = Surroundings { variables: owned(variables), ..around() };
        Plan::read(&plan_with(&[], ""), "p.toml", &around).map(|reading| reading.plan.local().state().to_owned())
    };
    let (systemd, xdg, home) = (("STATE_DIRECTORY", "/a:/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h"));
    assert_eq!(state(&[systemd, xdg, home]).unwrap(), Path::new("/a"));
    assert_eq!(state(&[xdg, home]).unwrap(), Path::new("/x/hitkeep-plan"));
    assert_eq!(state(&[("XDG_STATE_HOME", "relative"), home]).unwrap(), Path::new("/h/.local/state/hitkeep-plan"));
    assert!(state(&[("STATE_DIRECTORY", "")]).is_err());
}

/// A plan with one bucket, whose keys besides `url` are `keys`, read where the environment is `variables`.
fn with_bucket(keys: &str, variables: &[(&str, &str)]) -> Plan {
    let around = Surroundings { variables: owned(variables), ..around() };
    let text = plan_with(&[("/srv/hitkeep\"", &format!("s3://hitkeep/a\"\n{keys}"))], "[local]\nstate = \"/s\"\n");
    match Plan::read(&text, "p.toml", &around) {
        Ok(reading) => reading.plan,
        Err(rejected) => panic!("{}", rejected.problems().graphical(LOOK)),
    }
}

fn bucket(plan: &Plan) -> &Bucket {
    match plan.destinations()[0].store() {
        Store::Bucket(bucket) => bucket,
        Store::Directory(path) => panic!("{} is no bucket", path.display()),
    }
}

#[test]
fn a_key_of_a_bucket_is_what_the_plan_says_then_the_variable_then_a_default() {
    let near = "endpoint = \"server.example\"";
    for (keys, variables, shown) in [
        ("", &[][..], "# region: what the AWS SDK finds  # default"),
        ("", &[("HITKEEP_S3_REGION", "")], "# region: what the AWS SDK finds  # default"),
        ("", &[("HITKEEP_S3_REGION", "eu-west-1")], "region = \"eu-west-1\"  # $HITKEEP_S3_REGION"),
        ("region = \"us-east-2\"", &[("HITKEEP_S3_REGION", "eu-west-1")], "region = \"us-east-2\"  # line 8"),
        (near, &[], "region = \"us-east-1\"  # default"),
        ("endpoint = \"a.r2.cloudflarestorage.com\"", &[], "region = \"auto\"  # default"),
        ("endpoint = \"s3.eu-west-1.amazonaws.com\"", &[], "# region: what the AWS SDK finds  # default"),
        ("", &[], "# endpoint: AWS  # default"),
        ("", &[("HITKEEP_S3_ENDPOINT", "B.example")], "endpoint = \"b.example\"  # $HITKEEP_S3_ENDPOINT"),
        (near, &[("HITKEEP_S3_ENDPOINT", "b.example")], "endpoint = \"server.example\"  # line 8"),
        ("", &[], "url_style = \"vhost\"  # default"),
        ("", &[("HITKEEP_S3_URL_STYLE", "path")], "url_style = \"path\"  # $HITKEEP_S3_URL_STYLE"),
        ("url_style = \"vhost\"", &[("HITKEEP_S3_URL_STYLE", "path")], "url_style = \"vhost\"  # line 8"),
        (near, &[], "use_ssl = true  # default"),
        (near, &[("HITKEEP_S3_USE_SSL", "FALSE")], "use_ssl = false  # $HITKEEP_S3_USE_SSL"),
        ("use_ssl = true", &[("HITKEEP_S3_USE_SSL", "0")], "use_ssl = true  # line 8"),
        ("", &[], "# access_key_id: what the AWS SDK finds  # default"),
        ("", &[("HITKEEP_S3_SESSION_TOKEN", "t")], "# access_key_id: what the AWS SDK finds  # default"),
        ("", KEYS, "access_key_id = { env = \"HITKEEP_S3_ACCESS_KEY_ID\" }  # $HITKEEP_S3_ACCESS_KEY_ID"),
        ("", KEYS, "secret_access_key = { env = \"HITKEEP_S3_SECRET_ACCESS_KEY\" }  # $HITKEEP_S3_SECRET_ACCESS_KEY"),
        ("", KEYS, "session_token = { env = \"HITKEEP_S3_SESSION_TOKEN\" }  # $HITKEEP_S3_SESSION_TOKEN"),
        ("access_key_id = { file = \"id\" }", KEYS, "access_key_id = { file = \"/etc/hitkeep/id\" }  # line 8"),
        ("secret_access_key = { env = \"X\" }", KEYS, "secret_access_key = { env = \"X\" }  # line 8"),
        ("session_token.credential = \"t\"", KEYS, "session_token = { credential = \"t\" }  # line 8"),
        ("", &[], "checksum = \"auto\"  # default"),
        ("", &[], "upload.concurrency = 8  # default"),
        ("", &[], "upload.part_size = \"8MiB\"  # default"),
        ("", &[], "# upload.bandwidth: no limit  # default"),
    ] {
        let text = with_bucket(keys, variables).show();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|line| words(line) == words(shown)), "{shown} is not in\n{text}");
    }
}

/// A whole temporary key in the environment.
const KEYS: &[(&str, &str)] = &[
    ("HITKEEP_S3_ACCESS_KEY_ID", "id"),
    ("HITKEEP_S3_SECRET_ACCESS_KEY", "secret"),
    ("HITKEEP_S3_SESSION_TOKEN", "token"),
];

#[test]
fn the_token_of_the_environment_goes_with_no_other_key() {
    let own = "access_key_id = { file = \"id\" }";
    let own_secret = "secret_access_key = { env = \"S\" }";
    let named = "access_key_id = { env = \"HITKEEP_S3_ACCESS_KEY_ID\" }\n\
                 secret_access_key = { env = \"HITKEEP_S3_SECRET_ACCESS_KEY\" }";
    let variable = Secret::Variable("HITKEEP_S3_SESSION_TOKEN".to_owned());
    for (keys, variables, token) in [
        (String::new(), KEYS, Some(variable.clone())),
        (named.to_owned(), KEYS, Some(variable.clone())),
        (format!("{own}\n{own_secret}"), KEYS, None),
        (own.to_owned(), KEYS, None),
        (own_secret.to_owned(), KEYS, None),
        (format!("{own}\n{own_secret}"), &KEYS[2..], None),
        (
            format!("{own}\n{own_secret}\nsession_token = {{ env = \"HITKEEP_S3_SESSION_TOKEN\" }}"),
            KEYS,
            Some(variable),
        ),
        ("session_token.credential = \"t\"".to_owned(), KEYS, Some(Secret::Credential("t".to_owned()))),
    ] {
        let plan = with_bucket(&keys, variables);
        assert_eq!(bucket(&plan).credentials().unwrap().session_token, token, "{keys}");
    }
}

#[test]
fn a_bucket_is_handed_on_whole() {
    let plan = with_bucket(
        "region = \"eu\"\nendpoint = \"Minio.internal:9000\"\nurl_style = \"path\"\nuse_ssl = false\n\
         access_key_id = { command = [\"./key\", \"id\"] }\nsecret_access_key = { file = \"/run/s3\" }\n\
         storage_class = \"COLD_1\"\nencryption = \"aws:kms\"\nkms_key = \"k\"\nchecksum = \"none\"",
        &[],
    );
    let bucket = bucket(&plan);
    assert_eq!((bucket.name(), bucket.root().as_str(), bucket.region()), ("hitkeep", "a", Some("eu")));
    assert_eq!(bucket.endpoint().as_deref(), Some("http://minio.internal:9000"));
    assert_eq!((bucket.is_path_style(), bucket.uses_ssl(), bucket.storage_class()), (true, false, Some("COLD_1")));
    assert_eq!(bucket.encryption(), Some(&Encryption::Kms { key: Some("k".to_owned()) }));
    assert_eq!((bucket.ca_bundle(), bucket.checksum()), (None, Checksum::None));
    let keys = bucket.credentials().unwrap();
    assert!(matches!(&keys.access_key_id, Secret::Command(command) if command.words() == ["/etc/hitkeep/key", "id"]));
    assert_eq!((&keys.secret_access_key, &keys.session_token), (&Secret::File("/run/s3".into()), &None));
    assert_eq!(plan.backups()[0].upload(), Upload::default());
}

#[test]
fn an_address_alone_is_a_destination() {
    let around = Surroundings { variables: owned(KEYS), ..around() };
    let read = |text: &str| Destination::of_address(text, &around);
    for (text, shown) in [
        ("s3://hitkeep", "s3://hitkeep"),
        ("S3://hitkeep/", "s3://hitkeep"),
        ("s3://hitkeep/a/b//", "s3://hitkeep/a/b"),
    ] {
        let destination = read(text).unwrap();
        let Store::Bucket(bucket) = destination.store() else { panic!("{text} is a directory") };
        assert_eq!((bucket.to_string().as_str(), destination.name().as_str()), (shown, "here"));
        assert!(bucket.credentials().is_some());
    }
    assert_eq!(directory(&read("backups").unwrap()), Path::new("/etc/hitkeep/backups"));
    let refused = read("s3://AKIA:wJalr@hitkeep").unwrap_err();
    let expected = snapbox::str![[r"
plan::plain-secret

  × `s3://**********@hitkeep` holds an access key
   ╭─[the command line:1:1]
 1 │ s3://**********@hitkeep
   · ───────────┬───────────
   ·            ╰── a key in an address
   ╰────
  help: say where it is found, with `HITKEEP_S3_ACCESS_KEY_ID` and `HITKEEP_S3_SECRET_ACCESS_KEY`

the command line: 1 error

"]];
    assert_data_eq!(refused.problems().graphical(LOOK), expected);
}

/// What is written in a plan where only its place may stand.
const PASTED: &[&str] = &["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "IQoJb3JpZ2luX2Vj"];

#[test]
fn a_secret_in_a_plan_is_never_shown() {
    for (name, text) in plans_in("tests/rejected").into_iter().filter(|(name, _)| name.contains("secret")) {
        let problems = refused(&name, &text);
        let said = problems.graphical(LOOK) + &problems.json();
        let shown: Vec<&&str> = PASTED.iter().filter(|secret| said.contains(**secret)).collect();
        assert!(shown.is_empty(), "{name} shows {shown:?}: {said}");
    }
    let plan = taken("p", &plan_with(&[("[destination", "# secret_access_key = \"wJalrXUtnFEMI\"\n[destination")], ""));
    let failure = Diagnostic::error("run::failed", "no").at(plan.plan.destinations()[0].place(), "here");
    assert!(!plan.plan.problems(vec![failure]).graphical(LOOK).contains("wJalrXUtnFEMI"));
}

#[test]
fn buckets_of_different_servers_do_not_meet() {
    let other = |keys: &str| {
        let other = format!("[destination.b]\nurl = \"s3://hitkeep/a\"\nurl_style = \"path\"\n{keys}\n");
        let text = plan_with(&[("/srv/hitkeep\"", "s3://hitkeep/a\"\nendpoint = \"s3.example.com\"")], &other);
        let text = text + "[backup.b]\nsource = \"main\"\nto = [\"b\"]\n";
        let read = Plan::read(&text, "p.toml", &around());
        read.map_err(|rejected| rejected.problems().list()[0].code())
    };
    for apart in [
        "",
        "endpoint = \"s3.example.net\"",
        "endpoint = \"s3.example.com:8443\"",
        "endpoint = \"s3.example.com\"\nuse_ssl = false",
    ] {
        assert!(other(apart).is_ok(), "{apart}");
    }
    for same in [
        "endpoint = \"S3.EXAMPLE.com\"",
        "endpoint = \"s3.example.com:443\"",
        "endpoint = \"s3.example.com\"\nregion = \"eu\"",
    ] {
        assert_eq!(other(same).err(), Some("plan::overlap"), "{same}");
    }
}

#[test]
fn relative_paths_start_at_the_plan_file() {
    let text = plan_with(&[("/var/lib/hitkeep/data", "../data"), ("/srv/hitkeep", "./backups")], "");
    let plan = taken("p", &text).plan;
    assert_eq!(installation(&plan.backups()[0]).data_path(), Path::new("/etc/hitkeep/../data"));
    assert_eq!(directory(&plan.destinations()[0]), Path::new("/etc/hitkeep/backups"));
}

#[test]
fn symbolic_links_are_seen_through() {
    let around =
        Surroundings { real_path: |path| Path::new("/real").join(path.strip_prefix("/").unwrap()), ..around() };
    let linked = |path: &Path| {
        if path.starts_with("/mnt") {
            Path::new("/srv").join(path.strip_prefix("/mnt").unwrap())
        } else {
            path.to_owned()
        }
    };
    let two = "[destination.nas]\nurl = \"/mnt/hitkeep\"\n[backup.hourly]\nsource = \"main\"\nto = [\"nas\"]\n";
    assert!(Plan::read(&plan_with(&[], two), "p.toml", &around).is_ok());
    let around = Surroundings { real_path: linked, ..around };
    let problems = Plan::read(&plan_with(&[], two), "p.toml", &around).unwrap_err();
    assert_eq!(problems.problems().list()[0].code(), "plan::overlap");
}

#[test]
fn a_work_directory_above_everything_is_harmless() {
    let text =
        plan_with(&[("/var/lib/hitkeep/data", "/var/tmp/demo/data"), ("/srv/hitkeep", "/var/tmp/demo/disk")], "");
    taken("p", &text);
}

#[test]
fn templates_know_the_job_and_its_surroundings() {
    for (template, expected) in [
        ("{{ plan }}/{{ job }}/{{ source }}", "p/nightly/main"),
        ("{{ host | upper }}", "WEB-1"),
        ("{{ env.RACK | default('r1') }}", "r1"),
        ("{{ env.HOME | replace('/', '-') }}", "-home-keeper"),
        ("{% if host == 'web-1' %}first{% else %}other{% endif %}", "first"),
        ("", ""),
    ] {
        let plan = taken("p", &plan_with(&[], &format!("prefix = \"{template}\"\n"))).plan;
        assert_eq!(plan.backups()[0].prefix().as_str(), expected, "{template}");
    }
}

#[test]
fn no_template_reaches_a_secret_by_a_side_door() {
    for template in [
        "{{ env['HITKEEP_S3_ACCESS_KEY_ID'] }}",
        "{{ env['HITKEEP_S3_ACCESS_' ~ 'KEY_ID'] }}",
        "{% set e = env %}{{ e.HITKEEP_S3_ACCESS_KEY_ID }}",
        "{% with env = env %}{{ env.HITKEEP_S3_ACCESS_KEY_ID }}{% endwith %}",
        "{% for e in [env] %}{{ e.HITKEEP_S3_ACCESS_KEY_ID }}{% endfor %}",
        "{{ env | items | join }}",
        "{{ env.HOME | default(env.HITKEEP_S3_ACCESS_KEY_ID) }}",
        "{{ debug() }}",
    ] {
        let problems = refused("p", &plan_with(&[], &format!("prefix = \"{template}\"\n")));
        assert!(!problems.json().contains("AKIA"), "{template}: {}", problems.graphical(LOOK));
    }
}

#[test]
fn a_warning_refuses_nothing() {
    let reading = taken("p", &plan_with(&[], "databases = [\"shared\"]\n"));
    let found: Vec<_> = reading.warnings.list().iter().map(|problem| (problem.code(), problem.severity())).collect();
    assert_eq!(found, [("plan::shared-only", Severity::Warning)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(1000).min(100_000)) })]

    #[test]
    fn folders_are_disjoint_as_a_naive_reader_sees_it(one in prefix(), other in prefix()) {
        for place in ["/srv/hitkeep", "s3://hitkeep"] {
            prop_assert_eq!(disjoint(place, &one, &other), naive(&one, &other));
            prop_assert_eq!(disjoint(place, &one, &other), disjoint(place, &other, &one));
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_judged(text in "([\\[\\]{}=\"'#.,\n a-z1]|(?s:.)){0,300}") {
        judge(&text);
    }
}

/// How often a test with generated plans repeats: `HITKEEP_PLAN_FUZZ_CASES`, or `default` unless that is set.
fn cases(default: u32) -> u32 {
    std::env::var("HITKEEP_PLAN_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Reads mutated plans: none may panic, and none may be taken in silence with less than a job in it. The texts are
/// the same ones each time.
#[test]
fn no_broken_plan_breaks_the_reader() {
    let plans: Vec<String> =
        plans_in("plans").into_iter().chain(plans_in("tests/rejected")).map(|(_, text)| text).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..cases(3000) {
        let mut text = plans[dice.below(plans.len())].clone().into_bytes();
        for _ in 0..=dice.below(4) {
            mutate(&mut text, &mut dice, &plans);
        }
        judge(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn no_depth_breaks_the_reader() {
    for deep in ["a.", "[", "{a=", "[a.", "{{(", "{{[", "{% if a %}", "{{a.", "{{a|"] {
        judge(&deep.repeat(20_000));
        judge(&plan_with(&[], &format!("prefix = {}", deep.repeat(2_000))));
        judge(&plan_with(&[], &format!("prefix = \"{}\"", deep.repeat(2_000))));
        judge(&plan_with(&[], &format!("prefix = \"{{{{{}\"", "(".repeat(20_000))));
    }
}

/// A small generator of numbers, the same ones each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % end.max(1)
    }
}

/// Deletes, doubles, replaces or inserts some bytes, or a token of another plan.
fn mutate(text: &mut Vec<u8>, dice: &mut Dice, plans: &[String]) {
    let start = dice.below(text.len() + 1);
    let end = (start + dice.below(12)).min(text.len());
    let other = plans[dice.below(plans.len())].as_bytes();
    let tokens: Vec<&[u8]> = other.split(|byte| b" \n=.".contains(byte)).collect();
    let token = tokens[dice.below(tokens.len())];
    match dice.below(6) {
        0 => drop(text.drain(start..end)),
        1 => {
            let copy = text[start..end].to_vec();
            drop(text.splice(end..end, copy));
        }
        2 => drop(text.splice(start..end, token.iter().copied())),
        3 => drop(text.splice(start..start, token.iter().copied())),
        4 => drop(text.splice(start..end, [u8::try_from(dice.below(256)).unwrap()])),
        _ => drop(text.splice(start..start, [b"\"'[]{}=.#\n,\\%\t"[dice.below(14)]])),
    }
}

/// Reads a text and draws what comes of it in every way there is.
fn judge(text: &str) {
    match Plan::read(text, "plan.toml", &around()) {
        Ok(reading) => {
            assert!(!reading.plan.backups().is_empty() && !reading.plan.show().is_empty());
            let _ = reading.warnings.graphical(LOOK);
        }
        Err(rejected) => {
            assert!(rejected.problems().list().iter().any(|problem| problem.severity() == Severity::Error));
            assert!(rejected.problems().list().iter().all(|problem| CODES.contains(&problem.code())));
            let _ = (rejected.problems().graphical(LOOK), rejected.problems().json());
        }
    }
}

/// Prefixes of few and short segments, so that they often meet.
fn prefix() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "A", "b", "a-b", "ab"]), 0..4)
        .prop_map(|parts| parts.join("/"))
}

fn disjoint(place: &str, one: &str, other: &str) -> bool {
    let text = plan_with(
        &[("/srv/hitkeep", place)],
        &format!("prefix = \"{one}\"\n[backup.b]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"{other}\"\n"),
    );
    Plan::read(&text, "p.toml", &around()).is_ok()
}

fn naive(one: &str, other: &str) -> bool {
    let folder = |text: &str| if text.is_empty() { String::new() } else { text.to_lowercase() + "/" };
    let (one, other) = (folder(one), folder(other));
    !one.starts_with(&other) && !other.starts_with(&one)
}

/// A good plan with some texts replaced, and more keys for its job, which stands last.
fn plan_with(changes: &[(&str, &str)], more: &str) -> String {
    let good = "version = 1\n\n[source.main]\ndata_path = \"/var/lib/hitkeep/data\"\n\n[destination.disk]\nurl = \"/srv/hitkeep\"\n\n\
                [backup.nightly]\nsource = \"main\"\nto = [\"disk\"]\n";
    changes.iter().fold(good.to_owned(), |text, (from, to)| text.replace(from, to)) + more
}

fn directory(destination: &Destination) -> &Path {
    match destination.store() {
        Store::Directory(path) => path,
        Store::Bucket(bucket) => panic!("{bucket} is no directory"),
    }
}

fn taken(name: &str, text: &str) -> Reading {
    Plan::read(text, &format!("{name}.toml"), &around())
        .unwrap_or_else(|rejected| panic!("{}", rejected.problems().graphical(LOOK)))
}

fn refused(name: &str, text: &str) -> Problems {
    let mut around = around();
    match name {
        "no-state" => around.variables.clear(),
        "half-key-of-the-environment" => drop(around.variables.remove("HITKEEP_S3_SECRET_ACCESS_KEY")),
        "half-key" | "half-key-token" => around.variables.retain(|variable, _| variable == "HOME"),
        "bad-variables" => around.variables.extend(owned(BAD_VARIABLES)),
        "mistakes-in-variables" => around.variables.extend(owned(MISTAKEN_VARIABLES)),
        _ => {}
    }
    match Plan::read(text, &format!("{name}.toml"), &around) {
        Ok(_) => panic!("{name} was taken"),
        Err(rejected) => rejected.problems().clone(),
    }
}

fn around() -> Surroundings {
    Surroundings {
        host: "web-1".to_owned(),
        directory: PathBuf::from("/etc/hitkeep"),
        variables: owned(&[
            ("HOME", "/home/keeper"),
            ("HITKEEP_S3_ACCESS_KEY_ID", "AKIA"),
            ("HITKEEP_S3_SECRET_ACCESS_KEY", "wJalr"),
            ("GitHub_Token", "ghp"),
        ]),
        real_path: Path::to_path_buf,
    }
}

fn owned(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(&hitkeep_plan::plan::schema()).unwrap()).unwrap()
}

/// Every key of the plan language.
fn keys(schema: &serde_json::Value) -> BTreeSet<String> {
    let tables = schema["properties"].as_object().into_iter().flatten();
    tables
        .flat_map(|(key, value)| {
            let entries = value["patternProperties"].as_object().into_iter().flat_map(|entries| entries.values());
            std::iter::once(key.clone()).chain(std::iter::once(value).chain(entries).flat_map(keys)).collect::<Vec<_>>()
        })
        .collect()
}

/// Every key that a plan has, at any depth.
fn written_keys(plan: &toml::Table) -> BTreeSet<String> {
    let inner = plan.values().filter_map(toml::Value::as_table).flat_map(written_keys);
    inner.chain(plan.keys().cloned()).collect()
}

/// Every plan of a folder of the repository, by name.
fn plans_in(folder: &str) -> Vec<(String, String)> {
    let mut plans = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            plans.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    plans.sort();
    assert!(!plans.is_empty());
    plans
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
