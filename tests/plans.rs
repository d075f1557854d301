//! The plans that people start from, each as a dry run: what would be done here, where their places are others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hitkeep_plan::demo::Layout;

use crate::adopted::{SET, back_up, let_settle};
use crate::fixture::{Outcome, Site, demo};
use crate::redact::{self, golden};
use crate::servers::s3s;

/// What the plans name, and what stands for it here.
const HERE: [(&str, &str); 10] = [
    ("{{ host }}", "web-1"),
    ("/var/lib/hitkeep/data", "data"),
    ("/var/lib/hitkeep/backups", "theirs"),
    ("\"/srv/hitkeep\"", "\"backups\""),
    ("\"/mnt/nas/hitkeep\"", "\"nas\""),
    ("\"file:///mnt/nas/hitkeep\"", "\"nas\""),
    ("\"/var/lib/hitkeep-plan\"", "\"state\""),
    ("\"/var/tmp\"", "\"staging\""),
    ("\"localhost:9000\"", "\"[SERVER]\""),
    ("\"YOUR_ACCOUNT_ID.r2.cloudflarestorage.com\"", "\"[SERVER]\""),
];

/// Every file of `plans/` has its part of the golden file, and so a new one fails until it has.
#[test]
fn each_plan_to_start_from_says_what_it_would_do() {
    let server = s3s::server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for bucket in ["my-analytics-bucket", "hitkeep", "my-r2-bucket"] {
        runtime.block_on(server.client().create_bucket().bucket(bucket).send()).unwrap();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut all = String::new();
    for name in names {
        let site = Site::with(demo(Layout::Joined));
        back_up(&site, SET);
        let_settle(&site);
        let text = HERE
            .iter()
            .fold(fs::read_to_string(folder.join(&name)).unwrap(), |text, (theirs, ours)| text.replace(theirs, ours));
        site.write_plan(&text.replace("[SERVER]", &server.endpoint));
        let before = crate::fixture::names(&site.path(""));
        let mut command = site.command(&["run", "plan.toml", "--dry-run"]);
        command
            .env("HITKEEP_S3_ENDPOINT", &server.endpoint)
            .env("HITKEEP_S3_USE_SSL", "false")
            .env("HITKEEP_S3_URL_STYLE", "path")
            .env("HITKEEP_S3_ACCESS_KEY_ID", server.access_key)
            .env("HITKEEP_S3_SECRET_ACCESS_KEY", server.secret_key);
        let outcome = Outcome::of(command);
        let name = name.to_string_lossy();
        writeln!(all, "== {name}: {}", redact::outcome(&site, &outcome)).unwrap();
        assert_eq!(crate::fixture::names(&site.path("")), before, "{name}");
    }
    golden("plans-dry-run.txt", &all);
}
