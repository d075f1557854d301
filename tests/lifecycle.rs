//! Stories of what buckets delete by themselves: what is said of it, what is written, and whose rules stay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_bucket_lifecycle_configuration::builders::PutBucketLifecycleConfigurationFluentBuilder;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag, VersioningConfiguration,
};
use hitkeep_plan::name::SnapshotId;
use hitkeep_plan::plan::Lifecycle;
use hitkeep_plan::work::{
    BucketRule, BucketRules, Condition, Peril, RuleChange, Territory, Versions, When, difference, effects, merge,
    peril, wanted_rules,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::fixture::{Site, minimal};
use crate::redact::{self, golden, narrow};
use crate::s3::plan;
use crate::servers::{Server, ceph, minio, servers};

fn territory(job: &str, is_archive: bool, beginning: &str) -> Territory {
    Territory { job: job.parse().unwrap(), is_archive, beginning: beginning.to_owned() }
}

fn territories() -> Vec<Territory> {
    vec![territory("nightly", false, "root/backups/"), territory("cold", true, "root/archive/")]
}

/// Returns a rule that does nothing to what begins like this.
fn rule(id: &str, prefix: &str) -> BucketRule {
    BucketRule {
        id: id.to_owned(),
        is_enabled: true,
        prefix: prefix.to_owned(),
        conditions: Vec::new(),
        expires: None,
        moves: Vec::new(),
        versions_expire: None,
        uploads_abort: None,
        besides: Vec::new(),
    }
}

fn expiring(id: &str, prefix: &str, days: u32) -> BucketRule {
    BucketRule { expires: Some(When::Days(days)), ..rule(id, prefix) }
}

#[test]
fn each_rule_is_told_by_what_it_does_to_sets() {
    let moving = |days: u32, class: &str| BucketRule {
        moves: vec![(When::Days(days), class.to_owned())],
        ..rule("move", "root/backups/")
    };
    let on = |condition| BucketRule { conditions: vec![condition], ..expiring("some", "root/backups/", 30) };
    let bare = || rule("bare", "root/backups/");
    let cases = [
        ("no rule", vec![]),
        ("just a job's folder", vec![expiring("exact", "root/backups/", 30)]),
        ("one day", vec![expiring("exact", "root/backups/", 1)]),
        ("what begins like a job's folder", vec![expiring("wide", "root/back", 30)]),
        ("the folder above", vec![expiring("above", "root/", 30)]),
        ("the whole bucket", vec![expiring("all", "", 30)]),
        ("a part of a job's folder", vec![expiring("part", "root/backups/shared/", 30)]),
        ("an archive's folder", vec![expiring("old", "root/archive/", 30)]),
        ("a part of an archive", vec![expiring("old", "root/archive/table=hits/", 30)]),
        ("elsewhere", vec![expiring("logs", "logs/", 1)]),
        ("beside", vec![expiring("beside", "root/backups-old/", 1)]),
        ("ours of another folder", vec![expiring("hitkeep-plan:root/old/", "root/old/", 1)]),
        ("at a date", vec![BucketRule { expires: Some(When::Date("2027-01-01".to_owned())), ..bare() }]),
        ("switched off", vec![BucketRule { is_enabled: false, ..expiring("off", "root/", 1) }]),
        ("tagged", vec![on(Condition::Tag("tier".to_owned(), "cold".to_owned()))]),
        ("large files", vec![on(Condition::LargerThan(5 << 20))]),
        ("small files", vec![on(Condition::SmallerThan(1 << 10))]),
        ("a cheaper class", vec![moving(30, "GLACIER_IR")]),
        ("a frozen class", vec![moving(30, "DEEP_ARCHIVE")]),
        ("older versions", vec![BucketRule { versions_expire: Some(7), ..bare() }]),
        ("uploads", vec![BucketRule { uploads_abort: Some(2), ..bare() }]),
        ("something else", vec![BucketRule { besides: vec!["spares the newest 3".to_owned()], ..bare() }]),
        ("without an id", vec![expiring("", "root/backups/", 3)]),
        ("nothing at all", vec![bare()]),
    ];
    let mut story = String::new();
    for (name, rules) in cases {
        let _ = writeln!(story, "# {name}");
        for said in effects(&BucketRules { versions: Versions::None, rules }, &territories()) {
            let _ = writeln!(story, "{said}");
        }
    }
    for versions in [Versions::Kept, Versions::Suspended, Versions::Unknown] {
        let rules = vec![BucketRule { versions_expire: Some(7), ..expiring("exact", "root/backups/", 30) }];
        let _ = writeln!(story, "# versions {versions:?}");
        for said in effects(&BucketRules { versions, rules }, &territories()[..1]) {
            let _ = writeln!(story, "{said}");
        }
    }
    golden("lifecycle-effects.txt", &story);
}

#[test]
fn a_plan_wants_one_rule_for_each_folder_and_archives_never_expire() {
    let wanted = Lifecycle {
        expire_after: Some(400),
        expire_versions_after: Some(30),
        transitions: vec![(30, "STANDARD_IA".to_owned()), (90, "GLACIER_IR".to_owned())],
        abort_uploads_after: 2,
    };
    let rules = wanted_rules(Some(&wanted), &territories());
    let there = [
        expiring("hitkeep-plan:root/backups/", "root/backups/", 30),
        expiring("hitkeep-plan:root/other/", "root/other/", 1),
        expiring("theirs", "", 1),
    ];
    let told: Vec<String> = difference(&there, &rules, &territories()).iter().map(ToString::to_string).collect();
    let expected = [
        "to be changed: `hitkeep-plan:root/backups/` deletes what lies there 400 days after it was written, moves it to \
         STANDARD_IA 30 days after it was written, moves it to GLACIER_IR 90 days after it was written, deletes older \
         versions after 30 days, clears up unfinished uploads after 2 days; it now deletes what lies there 30 days after it \
         was written",
        "to be added: `hitkeep-plan:root/archive/` clears up unfinished uploads after 2 days",
    ];
    assert_eq!(told, expected);
    let none = difference(&there, &wanted_rules(None, &territories()), &territories());
    assert!(
        matches!(none.as_slice(), [RuleChange::Remove { rule }] if rule.id == "hitkeep-plan:root/backups/"),
        "{none:?}"
    );
    assert!(!difference(&rules, &rules, &territories()).iter().any(RuleChange::is_due));
}

#[test]
fn the_id_of_a_rule_fits_however_long_the_folder_is() {
    let long = |last: &str| territory("nightly", false, &format!("{}{last}/", "folder/".repeat(60))).rule_id();
    assert!(long("a").len() <= 255 && long("a") != long("b"), "{}", long("a"));
    assert_eq!(territory("nightly", false, "").rule_id(), "hitkeep-plan:");
}

#[test]
fn what_would_go_at_once_holds_a_rule_back() {
    let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
    let sets = |ages: &[i64]| -> BTreeSet<SnapshotId> {
        ages.iter().map(|days| SnapshotId::at(now - SignedDuration::from_hours(days * 24))).collect()
    };
    let newest = |days: i64| Some(Peril::Newest { set: SnapshotId::at(now - SignedDuration::from_hours(days * 24)) });
    for (ages, may_be_many, expected) in [
        (&[][..], false, None),
        (&[1, 2, 3][..], false, None),
        (&[1, 2, 3, 29][..], false, None),
        (&[1, 2, 3, 30][..], false, None),
        (&[1, 2, 30][..], false, Some(Peril::Mass { gone: 1, of: 3 })),
        (&[1, 2, 30][..], true, None),
        (&[30, 31][..], false, newest(30)),
        (&[30, 31][..], true, newest(30)),
    ] {
        assert_eq!(peril(30, &sets(ages), may_be_many, now), expected, "{ages:?} {may_be_many}");
    }
}

/// Returns the id of a rule, as the bucket tells it.
fn id_of(rule: &BucketRule) -> Option<&str> {
    Some(rule.id.as_str()).filter(|id| !id.is_empty())
}

/// Any rule: of others, of ours, or with no id.
fn any_rule() -> impl Strategy<Value = BucketRule> {
    let id = prop_oneof![
        Just(String::new()),
        "[a-c]",
        Just("hitkeep-plan:root/backups/".to_owned()),
        Just("hitkeep-plan:root/archive/".to_owned()),
        Just("hitkeep-plan:root/elsewhere/".to_owned()),
    ];
    (id, "(root/|logs/)?", 1..9u32, any::<bool>())
        .prop_map(|(id, prefix, days, is_enabled)| BucketRule { is_enabled, ..expiring(&id, &prefix, days) })
}

proptest! {
    #[test]
    fn rules_of_others_stay_as_they_are_and_ours_become_the_plans(
        there in proptest::collection::vec(any_rule(), 0..8),
        days in proptest::option::of(1..9u32),
        is_wanted: bool,
    ) {
        let lifecycle =
            Lifecycle { expire_after: days, expire_versions_after: None, transitions: Vec::new(), abort_uploads_after: 2 };
        let wanted = wanted_rules(is_wanted.then_some(&lifecycle), &territories());
        let own: BTreeSet<String> = territories().iter().map(Territory::rule_id).collect();
        let named = || wanted.iter().map(|rule| (rule.id.clone(), rule.clone())).collect::<Vec<_>>();
        let id = |rule: &BucketRule| -> bool { own.contains(&rule.id) };
        let others = |rules: &[BucketRule]| rules.iter().filter(|rule| !id(rule)).cloned().collect::<Vec<_>>();
        let ours = |rules: &[BucketRule]| {
            let mut ours: Vec<BucketRule> = rules.iter().filter(|rule| id(rule)).cloned().collect();
            ours.sort_by(|one, other| one.id.cmp(&other.id));
            ours
        };
        let merged = merge(there.clone(), id_of, &own, named());
        prop_assert_eq!(others(&merged), others(&there), "others stay, and in their order");
        prop_assert_eq!(ours(&merged), ours(&wanted), "ours are the plan's, each once");
        prop_assert_eq!(merge(merged.clone(), id_of, &own, named()), merged.clone(), "twice is once");
        prop_assert!(!difference(&merged, &wanted, &territories()).iter().any(RuleChange::is_due));
    }
}

/// Returns a site whose plan wants this lifecycle of a fresh bucket of the server, and the bucket.
fn site(server: &Server, lifecycle: &str, job: &str) -> (Site, String) {
    let (site, bucket) = (Site::with(minimal()), server.new_bucket());
    write_plan(&site, server, &bucket, lifecycle, job);
    (site, bucket)
}

fn write_plan(site: &Site, server: &Server, bucket: &str, lifecycle: &str, job: &str) {
    let text = plan(server, bucket, &site.path(""));
    let text = text.replace("url_style", &format!("{lifecycle}\nurl_style"));
    site.write_plan(&text.replace("prefix =", &format!("{job}\nprefix =")));
}

/// Returns rules of others, one of each kind that the server takes.
fn rules_of_others(server: &Server) -> Vec<LifecycleRule> {
    let rule = |id: &str| LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled);
    let days = |days| LifecycleExpiration::builder().days(days).build();
    let prefix = |prefix: &str| LifecycleRuleFilter::builder().prefix(prefix).build();
    let mut rules = vec![
        rule("logs").filter(prefix("logs/")).expiration(days(30)).build().unwrap(),
        rule("all of root").filter(prefix("root/")).expiration(days(365)).build().unwrap(),
        rule("hitkeep-plan:root/elsewhere/").filter(prefix("root/elsewhere/")).expiration(days(9)).build().unwrap(),
    ];
    if server.name == "ceph" {
        let tag = |key: &str| Tag::builder().key(key).value("yes & no").build().unwrap();
        let and = LifecycleRuleAndOperator::builder().prefix("root/").tags(tag("a")).tags(tag("b")).build();
        let versions = NoncurrentVersionExpiration::builder().noncurrent_days(7).build();
        let tagged = rule("tagged").filter(LifecycleRuleFilter::builder().and(and).build());
        rules.push(tagged.noncurrent_version_expiration(versions).build().unwrap());
        let off = rule("off").status(ExpirationStatus::Disabled).filter(prefix("")).expiration(days(1));
        rules.push(off.build().unwrap());
    }
    rules
}

async fn told(client: &Client, bucket: &str) -> Vec<LifecycleRule> {
    let found = client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
    let mut rules = found.map(|found| found.rules.unwrap_or_default()).unwrap_or_default();
    rules.sort_by(|one, other| one.id.cmp(&other.id));
    rules.into_iter().map(in_order).collect()
}

/// Puts the tags of a rule in order: a server may keep them in any.
fn in_order(mut rule: LifecycleRule) -> LifecycleRule {
    if let Some(tags) = rule.filter.as_mut().and_then(|filter| filter.and.as_mut()?.tags.as_mut()) {
        tags.sort_by(|one, other| one.key.cmp(&other.key));
    }
    rule
}

fn telling(client: &Client, bucket: &str, rules: Vec<LifecycleRule>) -> PutBucketLifecycleConfigurationFluentBuilder {
    let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().unwrap();
    client.put_bucket_lifecycle_configuration().bucket(bucket).lifecycle_configuration(rules)
}

async fn tell(client: &Client, bucket: &str, rules: Vec<LifecycleRule>) {
    telling(client, bucket, rules).send().await.unwrap();
}

fn has_lifecycle(server: &Server) -> bool {
    ["ceph", "garage", "minio", "seaweed"].contains(&server.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_told_the_plans_rules_beside_those_of_others() {
    for server in servers().into_iter().filter(has_lifecycle) {
        let (site, bucket) = site(&server, "lifecycle = { expire_after = \"400d\" }", "");
        let client = server.client();
        tell(&client, &bucket, rules_of_others(&server)).await;
        let theirs = told(&client, &bucket).await;
        let mut story = String::new();
        let mut say = |words: &[&str]| {
            let outcome = site.run(words);
            let _ = writeln!(story, "$ {}\n{}", words.join(" "), redact::outcome(&site, &outcome));
        };
        say(&["lifecycle", "plan.toml"]);
        assert_eq!(told(&client, &bucket).await, theirs, "showing touches nothing");
        say(&["lifecycle", "plan.toml", "--apply"]);
        let is_ours = |rule: &LifecycleRule| rule.id() == Some("hitkeep-plan:root/hitkeep/");
        let (ours, others): (Vec<_>, Vec<_>) = told(&client, &bucket).await.into_iter().partition(is_ours);
        assert_eq!((ours.len(), others), (1, theirs.clone()), "{}", server.name);
        say(&["lifecycle", "plan.toml", "--apply"]);
        write_plan(&site, &server, &bucket, "lifecycle = { abort_uploads_after = \"1w\" }", "");
        say(&["lifecycle", "plan.toml", "--apply"]);
        write_plan(&site, &server, &bucket, "", "");
        say(&["lifecycle", "plan.toml", "--apply", "--json"]);
        assert_eq!(told(&client, &bucket).await, theirs, "{}", server.name);
        golden(&format!("lifecycle-{}.txt", server.name), &story.replace(&bucket, "[BUCKET]"));
    }
}

/// A rule of MinIO's own kind, and the MD5 that is sent with it.
const MINIOS: (&str, &str) = (
    "<LifecycleConfiguration><Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>\
     <Expiration><Days>9</Days><ExpiredObjectAllVersions>true</ExpiredObjectAllVersions></Expiration></Rule>\
     </LifecycleConfiguration>",
    "1pTPrcC2+FzrErhxcwa/Nw==",
);

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_what_s3_does_not_know_is_not_written_over() {
    let Some(server) = minio::server() else { return };
    let (site, bucket) = site(&server, "lifecycle = { expire_after = \"400d\" }", "");
    let client = server.client();
    let rewritten = telling(&client, &bucket, rules_of_others(&server)).customize().mutate_request(|request| {
        *request.body_mut() = MINIOS.0.into();
        request.headers_mut().insert("content-length", MINIOS.0.len().to_string());
        request.headers_mut().insert("content-md5", MINIOS.1);
        request.headers_mut().remove("x-amz-checksum-crc32");
        request.headers_mut().remove("x-amz-sdk-checksum-algorithm");
    });
    rewritten.send().await.unwrap();
    let there = told(&client, &bucket).await;
    let refused = site.run(&["lifecycle", "plan.toml", "--apply"]);
    let said = "a rule there has `ExpiredObjectAllVersions`, which would be lost: change the bucket's rules yourself";
    assert!(refused.code == 5 && redact::plain(&refused.stderr).contains(said), "{refused:?}");
    assert_eq!(told(&client, &bucket).await, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_bucket_deletes_nobody_else_does() {
    let Some(server) = ceph::server() else { return };
    let keep = "keep = { last = 1 }";
    let (site, bucket) = site(&server, "lifecycle = { expire_after = \"400d\" }", keep);
    let client = server.client();
    let versioned = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    client.put_bucket_versioning().bucket(&bucket).versioning_configuration(versioned).send().await.unwrap();
    let mut story = String::new();
    let set = |number: usize| site.sets()[number].0.clone();
    let mut say = |words: &[&str]| {
        let outcome = site.run(words);
        let _ = writeln!(story, "$ {}\n{}", words.join(" "), redact::outcome(&site, &outcome));
    };
    say(&["check", "plan.toml"]);
    say(&["run", "plan.toml"]);
    say(&["run", "plan.toml"]);
    assert_eq!(site.sets().len(), 2);
    say(&["prune", "plan.toml", "--yes"]);
    assert_eq!(site.sets().len(), 2);
    say(&["pin", "plan.toml", &set(0), "--reason", "x"]);
    say(&["explain", "plan.toml", &set(0)]);
    say(&["lifecycle", "plan.toml", "--apply"]);
    let _other = client.put_object().bucket(&bucket).key("root/hitkeep/.doctor-of-another").send().await.unwrap();
    let doctored = site.run(&["doctor", "plan.toml"]).stdout;
    let kept = client.list_object_versions().bucket(&bucket).send().await.unwrap();
    let keys =
        kept.versions().iter().map(|version| version.key()).chain(kept.delete_markers().iter().map(|it| it.key()));
    let trials: Vec<&str> = keys.flatten().filter(|key| key.contains(".doctor-") || key.contains("trying")).collect();
    assert_eq!(trials, ["root/hitkeep/.doctor-of-another"], "the doctor leaves no versions, and erases nobody's");
    let _ = writeln!(story, "{}", doctored.lines().filter(|line| line.contains("lifecycle:")).collect::<String>());
    let story = story.replace(&set(0), "OLDER").replace(&set(1), "NEWER").replace(&bucket, "[BUCKET]");
    golden("lifecycle-prune.txt", &redact::text(&site, &story));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_does_what_it_was_told_and_a_rule_that_would_take_the_last_set_is_not_written() {
    let Some(server) = ceph::server() else { return };
    let (site, bucket) = site(&server, "lifecycle = { expire_after = \"1d\" }", "");
    let client = server.client();
    let old = "2001-02-03T040506Z";
    for key in [format!("root/hitkeep/runs/{old}.json"), "root/other".to_owned()] {
        client.put_object().bucket(&bucket).key(key).body(b"{}".to_vec().into()).send().await.unwrap();
    }
    let refused = site.run(&["lifecycle", "plan.toml", "--apply"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(refused.stdout.contains(&format!("nothing is changed: the newest set, {old}, is older")), "{refused:?}");
    assert!(told(&client, &bucket).await.is_empty());
    site.succeed(&["run", "plan.toml"]);
    let refused = site.run(&["lifecycle", "plan.toml", "--apply"]);
    assert!(refused.code == 9 && refused.stdout.contains("1 of 2 sets would go at once"), "{refused:?}");
    site.succeed(&["lifecycle", "plan.toml", "--apply", "--allow-mass-delete"]);

    // A day is short at this server: everything of this program's goes, and nothing else.
    let begun = Instant::now();
    let listed = async |prefix: &str| {
        let listing = client.list_objects_v2().bucket(&bucket).prefix(prefix).send().await.unwrap();
        listing.contents.unwrap_or_default().len()
    };
    while listed("root/hitkeep/").await > 0 {
        assert!(begun.elapsed() < 12 * ceph::DAY + Duration::from_secs(30), "the sets are still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(listed("root/other").await, 1);
    assert_eq!(site.run(&["status", "plan.toml"]).code, 0, "there is no objective");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_would_take_the_last_set_of_a_shard_is_not_written() {
    let Some(server) = ceph::server() else { return };
    let (site, bucket) = site(&server, "lifecycle = { expire_after = \"1d\" }", "");
    let (client, old) = (server.client(), "2001-02-03T040506Z");
    let key = format!("root/hitkeep/shard-1-of-3/runs/{old}.json");
    client.put_object().bucket(&bucket).key(key).body(b"{}".to_vec().into()).send().await.unwrap();
    site.succeed(&["run", "plan.toml"]);
    let refused = site.run(&["lifecycle", "plan.toml", "--apply"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(refused.stdout.contains(&format!("nothing is changed: the newest set, {old}, is older")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bucket_moves_to_another_class_is_read_as_before() {
    let Some(server) = ceph::server() else { return };
    let cooler = format!("lifecycle = {{ transition = [{{ after = \"1d\", class = \"{}\" }}] }}", ceph::COOLER);
    let (site, bucket) = site(&server, &cooler, "");
    let client = server.client();
    let mut story = String::new();
    let mut say = |words: &[&str]| {
        let outcome = site.run(words);
        let _ = writeln!(story, "$ {}\n{}", words.join(" "), redact::outcome(&site, &outcome));
    };
    say(&["run", "plan.toml"]);
    say(&["lifecycle", "plan.toml", "--apply"]);

    let begun = Instant::now();
    let is_moved = async || {
        let listed = client.list_objects_v2().bucket(&bucket).prefix("root/hitkeep/").send().await.unwrap();
        let keys: Vec<String> = listed.contents.unwrap().into_iter().map(|object| object.key.unwrap()).collect();
        for key in &keys {
            let head = client.head_object().bucket(&bucket).key(key).send().await.unwrap();
            if head.storage_class.is_none_or(|class| class.as_str() != ceph::COOLER) {
                return false;
            }
        }
        keys.len() > 10
    };
    while !is_moved().await {
        assert!(begun.elapsed() < 12 * ceph::DAY + Duration::from_secs(30), "the set lies where it was stored");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    say(&["list", "plan.toml"]);
    say(&["verify", "plan.toml"]);
    say(&["verify", "plan.toml", "--restore"]);
    say(&["restore", "plan.toml", "--to", "new"]);
    say(&["run", "plan.toml"]);
    say(&["verify", "plan.toml"]);
    golden("lifecycle-moves.txt", &narrow(&story.replace(&bucket, "[BUCKET]")));
}

#[test]
fn a_server_without_lifecycle_says_so() {
    for server in servers().into_iter().filter(|server| !has_lifecycle(server)) {
        let (site, bucket) = site(&server, "lifecycle = { expire_after = \"400d\" }", "");
        let refused = site.run(&["lifecycle", "plan.toml", "--apply"]);
        let said = "its server has no lifecycle, and cannot be told what the plan wants: remove `lifecycle`, and let `keep` delete";
        assert!(refused.code == 5 && refused.stdout.contains(said), "{}: {refused:?}", server.name);
        write_plan(&site, &server, &bucket, "", "");
        let told = site.succeed(&["lifecycle", "plan.toml"]).stdout;
        assert!(told.contains("its server has no lifecycle: nothing is deleted there but by this program"), "{told}");
    }
    let site = Site::with(minimal());
    let told = site.succeed(&["lifecycle", "plan.toml"]).stdout;
    assert!(told.contains("a directory deletes nothing by itself"), "{told}");
    assert_eq!(site.run(&["lifecycle", "plan.toml", "--from", "bucket"]).code, 2);
}
