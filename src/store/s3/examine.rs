//! What is peculiar about a bucket and its server, for a person who asks.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Opened;
use super::kept::UNCOMPARED;
use super::lifecycle::understood;
use super::refusal::Refused;
use super::trials::TRIAL;
use crate::diagnose::Finding;
use crate::measure::counted;
use crate::name::{Key, Name, Prefix};
use crate::plan::Checksum;
use crate::work::{BucketRule, Territory, Versions};

/// How many write at one time when it is tried whether one of them wins.
const RACERS: u8 = 8;

/// What is said of a bucket that keeps no versions.
const GONE: &str = "the bucket is not versioned: what is deleted is gone";

/// How far two clocks may be apart before it is worth a word, and before servers refuse what is signed, in seconds.
const ODD_SECONDS: u64 = 30;
const REFUSED_SECONDS: u64 = 15 * 60;

impl Opened {
    /// Examines the bucket where it is peculiar: conditions, checksums, clock, and what it does by itself.
    pub(super) async fn examine(&self, prefix: &Prefix) -> Vec<Finding> {
        let mut findings = vec![self.examine_conditions(prefix).await, self.examine_checksums()];
        findings.extend(self.examine_kept());
        findings
            .extend(self.proxy.as_ref().map(|proxy| Finding::ok("proxy", format!("requests go through `{proxy}`"))));
        findings.push(self.examine_clock());
        findings.extend(self.examine_versions(prefix).await);
        findings.extend(self.examine_lifecycle(prefix).await);
        findings.extend(self.examine_unfinished(prefix).await);
        findings
    }

    /// Lets several create one object at one time: one must win.
    async fn examine_conditions(&self, prefix: &Prefix) -> Finding {
        const CHECK: &str = "conditional writes";
        let key = prefix.key(&Key::of(format!("{TRIAL}{}", Uuid::now_v7().simple())));
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let put = self.client.put_object().bucket(self.bucket.name()).key(self.full(&key)).if_none_match("*");
            let put = put.set_server_side_encryption(self.encryption()).set_ssekms_key_id(self.kms_key());
            racers.spawn(put.body(Bytes::from(vec![racer]).into()).send());
        }
        let results = racers.join_all().await;
        let winners = results.iter().filter(|result| result.is_ok()).count();
        let other = results.into_iter().filter_map(Result::err).find(|error| !error.is_taken() && !error.is_conflict());
        if let Err(error) = self.delete(&key).await {
            return Finding::failed(CHECK, error);
        }
        let help = "none is needed: each run takes its lease alone";
        match (winners, other) {
            (1, None) => Finding::ok(CHECK, format!("of {RACERS} that create one object, one wins")),
            (0, Some(error)) if !error.is_ignorance_of(&["if-none-match", "condition"]) => {
                Finding::failed(CHECK, self.failed("create", key.as_str())(error))
            }
            (0, Some(_)) => Finding::warning(CHECK, "the server refuses conditions on writes", help),
            (winners, _) => {
                Finding::warning(CHECK, format!("of {RACERS} that create one object, {winners} succeed"), help)
            }
        }
    }

    fn examine_checksums(&self) -> Finding {
        let found = match &self.learnt {
            learnt if learnt.compares_checksums.load(Ordering::Relaxed) => Found::Compared,
            learnt if learnt.refuses_checksums.load(Ordering::Relaxed) => Found::Refused,
            _ => Found::Ignored,
        };
        checksums(self.bucket.checksum(), found, self.bucket.uses_ssl())
    }

    fn examine_clock(&self) -> Finding {
        const CHECK: &str = "clock";
        let ahead = self.clock.ahead();
        let seen = format!("the server's clock is {} s from this host's", ahead.unsigned_abs().as_secs());
        match ahead.unsigned_abs().as_secs() {
            0..ODD_SECONDS => Finding::ok(CHECK, seen),
            ODD_SECONDS..REFUSED_SECONDS => Finding::warning(CHECK, seen, "let NTP set the clock of this host"),
            _ => Finding::failed(CHECK, seen).with_help(Some("let NTP set the clock of this host".to_owned())),
        }
    }

    /// Says what becomes of what is deleted, and erases what this examination has stored and deleted itself.
    async fn examine_versions(&self, prefix: &Prefix) -> Vec<Finding> {
        const CHECK: &str = "versions";
        let (finding, keeps) = match self.versions().await {
            Versions::Kept => {
                let seen = "the bucket is versioned: what is deleted stays, and is paid for";
                let help = "let a lifecycle rule expire noncurrent versions, if you want the room back: `expire_versions_after`";
                (Finding::warning(CHECK, seen, help), true)
            }
            Versions::Suspended => (Finding::ok(CHECK, GONE), true),
            Versions::None => (Finding::ok(CHECK, GONE), false),
            Versions::Unknown => {
                (Finding::ok(CHECK, "the server tells nobody with this key whether it keeps versions"), false)
            }
        };
        let erased = if keeps { self.erase_trials(prefix).await } else { Ok(()) };
        let left = erased.err().map(|error| {
            let seen = format!("what was stored here for a trial stays as an older version: {error}");
            Finding::warning(CHECK, seen, "let the key use `s3:ListBucketVersions` and `s3:DeleteObjectVersion`")
        });
        std::iter::once(finding).chain(left).collect()
    }

    /// Looks for rules of the bucket that would delete what lies below `prefix`, and for the plan's own.
    async fn examine_lifecycle(&self, prefix: &Prefix) -> Vec<Finding> {
        const CHECK: &str = "lifecycle";
        let Ok(Some(configured)) = self.lifecycle().await else {
            return vec![Finding::ok(CHECK, "the server has no lifecycle rules, or shows none to this key")];
        };
        let rules: Vec<BucketRule> = configured.rules.iter().map(understood).collect();
        let place = Territory { job: Name::of("here"), is_archive: false, beginning: self.bucket.beginning(prefix) };
        let (own, wanted) = (place.rule_id(), self.bucket.lifecycle().is_some());
        let eats = |rule: &&BucketRule| rule.is_enabled && rule.expires.is_some() && rule.meets(&place);
        let told = |rule: &BucketRule| if wanted && rule.id == own { asked(rule) } else { eating(rule) };
        let found: Vec<Finding> = rules.iter().filter(eats).map(told).collect();
        let is_missing = wanted && !rules.iter().any(|rule| rule.id == own);
        let missing = is_missing.then(|| {
            Finding::warning(
                CHECK,
                "the bucket has not been told the plan's `lifecycle`",
                "`lifecycle --apply` tells it, and says what its server does not take",
            )
        });
        if found.is_empty() && missing.is_none() {
            return vec![Finding::ok(CHECK, format!("none of {} deletes sets", counted(rules.len(), "rule")))];
        }
        found.into_iter().chain(missing).collect()
    }

    async fn examine_unfinished(&self, prefix: &Prefix) -> Option<Finding> {
        Some(match self.unfinished(prefix).await?.len() {
            0 => Finding::ok("unfinished uploads", "there are none"),
            count => Finding::warning(
                "unfinished uploads",
                format!("{} of killed runs lie there, and are paid for", counted(count, "upload")),
                "the next run sweeps those that are older than a day",
            ),
        })
    }
}

/// What a server was found to do with a checksum that comes with an object.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// It refuses a wrong one, and keeps the right one.
    Compared,
    /// It takes any, or was never given one.
    Ignored,
    /// It refuses requests that have one.
    Refused,
}

/// Says what is compared with what arrives at a server, and what to rely on where that is not the checksum.
fn checksums(asked: Checksum, found: Found, uses_tls: bool) -> Finding {
    const CHECK: &str = "checksums";
    let seen = match (asked, found) {
        (_, Found::Compared) => {
            return Finding::ok(CHECK, "the server refuses a wrong CRC64NVME, and keeps the right one");
        }
        (Checksum::None, _) => "the server is given none, as `checksum = \"none\"` says",
        (Checksum::Crc64Nvme, _) => UNCOMPARED,
        (Checksum::Auto, Found::Ignored) => "the server compares no CRC64NVME",
        (Checksum::Auto, Found::Refused) => "the server refuses what comes with a CRC64NVME",
    };
    let rely = if uses_tls {
        "leave `verify` at `\"checksum\"`, which reads every file back: what is sent in parts is guarded by TLS alone"
    } else {
        "every payload is signed with its SHA-256, and `verify = \"checksum\"` reads every file back"
    };
    Finding::warning(
        CHECK,
        seen,
        match asked {
            Checksum::Crc64Nvme => format!("say `checksum = \"auto\"`; {rely}"),
            Checksum::Auto | Checksum::None if uses_tls => rely.to_owned(),
            Checksum::Auto | Checksum::None => format!("none is needed: {rely}"),
        },
    )
}

/// Says what a rule does that the plan wants.
fn asked(rule: &BucketRule) -> Finding {
    let when = rule.expires.as_ref().map(ToString::to_string).unwrap_or_default();
    Finding::ok("lifecycle", format!("rule `{}` deletes sets {when}, as the plan wants it", rule.id))
}

fn eating(rule: &BucketRule) -> Finding {
    let name = if rule.id.is_empty() { "without a name" } else { &rule.id };
    let when = rule.expires.as_ref().map(ToString::to_string).unwrap_or_default();
    Finding::warning(
        "lifecycle",
        format!("rule `{name}` deletes sets {when}, the last good one too when backups stop"),
        "give the rule a prefix that no set lies below, or be sure that somebody looks when backups stop",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Verdict;

    #[test]
    fn what_is_said_of_checksums_is_so() {
        use Checksum::{Auto, Crc64Nvme, None};
        use Found::{Compared, Ignored, Refused};
        let ok = ("the server refuses a wrong CRC64NVME, and keeps the right one", "");
        let (signed, tls) = (
            "every payload is signed with its SHA-256, and `verify = \"checksum\"` reads every file back",
            "leave `verify` at `\"checksum\"`, which reads every file back: what is sent in parts is guarded by TLS alone",
        );
        let (enough, auto) =
            (format!("none is needed: {signed}"), |rely: &str| format!("say `checksum = \"auto\"`; {rely}"));
        let (plain_auto, tls_auto) = (auto(signed), auto(tls));
        let ignored = "the server compares no CRC64NVME";
        let refused = "the server refuses what comes with a CRC64NVME";
        let unasked = "the server is given none, as `checksum = \"none\"` says";
        let unheard = "the server compares no CRC64NVME, which `checksum = \"crc64nvme\"` asks for";
        for (asked, found, uses_tls, (seen, help)) in [
            (Auto, Compared, false, ok),
            (Auto, Compared, true, ok),
            (Crc64Nvme, Compared, true, ok),
            (Auto, Ignored, false, (ignored, &*enough)),
            (Auto, Ignored, true, (ignored, tls)),
            (Auto, Refused, false, (refused, &enough)),
            (Auto, Refused, true, (refused, tls)),
            (None, Ignored, false, (unasked, &enough)),
            (None, Ignored, true, (unasked, tls)),
            (Crc64Nvme, Ignored, false, (unheard, &plain_auto)),
            (Crc64Nvme, Ignored, true, (unheard, &tls_auto)),
        ] {
            let finding = checksums(asked, found, uses_tls);
            let case = format!("{asked:?} {found:?} over TLS: {uses_tls}");
            assert_eq!((&*finding.seen, finding.help.as_deref().unwrap_or_default()), (seen, help), "{case}");
            assert_eq!(finding.verdict == Verdict::Ok, matches!(found, Compared), "{case}");
        }
    }
}
