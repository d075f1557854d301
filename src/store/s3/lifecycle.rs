//! The lifecycle rules of a bucket: read, understood, and merged with those that a plan wants.
//!
//! A bucket takes its rules only all at once, so whoever writes one writes those of all others again. They are sent back
//! as they came, and read once more afterwards: servers are known to drop what they do not understand.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus,
    LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration,
    Tag, Transition, TransitionDefaultMinimumObjectSize, TransitionStorageClass,
};

use super::refusal::Refused;
use super::{Opened, S3, locate};
use crate::store::StoreError;
use crate::work::{BucketRule, BucketRules, Condition, Versions, When, merge};

/// What a bucket has been told, as it tells it.
#[derive(Debug, Default)]
pub(super) struct Configured {
    pub(super) rules: Vec<LifecycleRule>,
    /// The size below which nothing is moved, which is said of all rules at once.
    least_moved: Option<TransitionDefaultMinimumObjectSize>,
    /// An element that the SDK does not know and so would not send back.
    unknown: Option<String>,
}

/// The elements that the SDK knows of the rules of a bucket.
const KNOWN: [&str; 24] = [
    "LifecycleConfiguration",
    "Rule",
    "ID",
    "Status",
    "Prefix",
    "Filter",
    "And",
    "Tag",
    "Key",
    "Value",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "Expiration",
    "Days",
    "Date",
    "ExpiredObjectDeleteMarker",
    "Transition",
    "StorageClass",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransition",
    "NoncurrentDays",
    "NewerNoncurrentVersions",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
];

/// Looks in the rules of a bucket for an element that the SDK does not know, such as MinIO's own.
#[derive(Clone, Debug, Default)]
struct Reader(Arc<OnceLock<String>>);

impl Intercept for Reader {
    fn name(&self) -> &'static str {
        "unknown elements"
    }

    fn read_after_deserialization(
        &self,
        answer: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = String::from_utf8_lossy(answer.response().body().bytes().unwrap_or_default());
        let names = body.split('<').skip(1).filter_map(|tag| tag.split(['>', '/', ' ', '\n', '\r', '\t']).next());
        let mut names = names.filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()));
        if let Some(name) = names.find(|name| !KNOWN.contains(name)) {
            self.0.get_or_init(|| name.to_owned());
        }
        Ok(())
    }
}

/// The rules of a bucket after they were written.
#[derive(Debug)]
pub struct Rewritten {
    /// What the bucket has now.
    pub rules: BucketRules,
    /// What is not as it was sent; nothing where all is.
    pub odd: Option<Odd>,
}

/// What a server has not kept of what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// A rule, whose id this is, is gone or another.
    Rule(String),
    /// Its rules clear up no unfinished uploads.
    Uploads,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(id) => write!(f, "the server has not kept rule `{id}` as it was sent: look what is there"),
            Self::Uploads => f.write_str(
                "no rule of this server clears up unfinished uploads: it may do so by itself, as MinIO does",
            ),
        }
    }
}

impl S3 {
    /// Reads what the bucket does by itself; nothing where its server has no lifecycle.
    ///
    /// # Errors
    /// When the server does not answer, or shows the rules to nobody with this key.
    pub async fn rules(&self) -> Result<Option<BucketRules>, StoreError> {
        let opened = self.opened().await?;
        let Some(found) = opened.lifecycle().await? else { return Ok(None) };
        Ok(Some(opened.bucket_rules(&found).await))
    }

    /// Puts `wanted` in the place of the rules with the ids `own`, leaves those of others as they are, and reads all again.
    ///
    /// # Errors
    /// When the rules cannot be read or written, or have what could not be sent back. What the server then has is what it
    /// had, or what was sent.
    pub async fn replace_rules(&self, own: &BTreeSet<String>, wanted: &[BucketRule]) -> Result<Rewritten, StoreError> {
        let opened = self.opened().await?;
        let before = opened.lifecycle().await?.unwrap_or_default();
        if let Some(name) = &before.unknown {
            let at = opened.rules_place();
            let cause = format!("a rule there has `{name}`, which would be lost: change the bucket's rules yourself");
            return Err(StoreError::Unreachable { doing: "write", at, cause });
        }
        match opened.put_merged(&before, own, wanted).await {
            // MinIO, of whose rules none clears up unfinished uploads, takes no rule that does nothing else.
            Err(StoreError::Refused { code, .. }) if code == "InvalidArgument" || code == "MalformedXML" => {
                let lesser: Vec<BucketRule> = wanted.iter().filter_map(BucketRule::without_uploads).collect();
                opened.put_merged(&before, own, &lesser).await?;
            }
            written => written?,
        }
        let after = opened.lifecycle().await?.unwrap_or_default();
        let rules = opened.bucket_rules(&after).await;
        let odd = changed(&of_others(&before, own), &of_others(&after, own)).or_else(|| lost(wanted, &rules.rules));
        Ok(Rewritten { rules, odd })
    }
}

/// Finds a rule that is not there any more as it was.
fn changed(before: &[LifecycleRule], after: &[LifecycleRule]) -> Option<Odd> {
    let changed = before.iter().find(|rule| !after.contains(rule))?;
    Some(Odd::Rule(changed.id().unwrap_or("without id").to_owned()))
}

/// Finds a rule that is not there as it is wanted, or tells that none clears up unfinished uploads and all else is there.
fn lost(wanted: &[BucketRule], there: &[BucketRule]) -> Option<Odd> {
    let lost: Vec<&BucketRule> = wanted.iter().filter(|rule| !there.contains(rule)).collect();
    let clears_uploads = there.iter().any(|rule| rule.uploads_abort.is_some());
    let is_lesser = |wanted: &BucketRule| {
        !clears_uploads && there.iter().find(|rule| rule.id == wanted.id) == wanted.without_uploads().as_ref()
    };
    match lost.iter().find(|rule| !is_lesser(rule)) {
        Some(rule) => Some(Odd::Rule(rule.id.clone())),
        None => (!lost.is_empty()).then_some(Odd::Uploads),
    }
}

/// Returns the rules that have none of the ids `own`.
fn of_others(found: &Configured, own: &BTreeSet<String>) -> Vec<LifecycleRule> {
    let is_of_others = |rule: &&LifecycleRule| rule.id().is_none_or(|id| !own.contains(id));
    found.rules.iter().filter(is_of_others).cloned().map(in_order).collect()
}

/// Returns a rule in the form that S3 takes. Ceph tells the prefix of a rule with tags beside these, where S3 has it among
/// them; told so itself, it would forget the prefix, and the rule would be about the whole bucket.
fn well_formed(mut rule: LifecycleRule) -> LifecycleRule {
    if let Some(LifecycleRuleFilter { prefix, and: Some(and), .. }) = rule.filter.as_mut() {
        and.prefix = and.prefix.take().or(prefix.take());
    }
    rule
}

/// Puts the tags of a rule in order: a server may keep them in any.
fn in_order(mut rule: LifecycleRule) -> LifecycleRule {
    if let Some(tags) = rule.filter.as_mut().and_then(|filter| filter.and.as_mut()?.tags.as_mut()) {
        tags.sort_by(|one, other| one.key.cmp(&other.key));
    }
    rule
}

impl Opened {
    /// Reads the rules as the bucket has them; nothing where the server has no such thing.
    pub(super) async fn lifecycle(&self) -> Result<Option<Configured>, StoreError> {
        let reader = Reader::default();
        let get = self.client.get_bucket_lifecycle_configuration().bucket(self.bucket.name());
        match get.customize().interceptor(reader.clone()).send().await {
            Ok(found) => Ok(Some(Configured {
                rules: found.rules.unwrap_or_default(),
                least_moved: found.transition_default_minimum_object_size,
                unknown: reader.0.get().cloned(),
            })),
            Err(error) if matches!(error.answer(), Some((404, code)) if code != "NoSuchBucket") => {
                Ok(Some(Configured::default()))
            }
            Err(error) if matches!(error.answer(), Some((501 | 405, _) | (400, "NotImplemented"))) => Ok(None),
            Err(error) => Err(self.failed_at_rules("read", error)),
        }
    }

    /// Writes all rules, with `wanted` in the place of those with the ids `own`.
    async fn put_merged(
        &self,
        before: &Configured,
        own: &BTreeSet<String>,
        wanted: &[BucketRule],
    ) -> Result<(), StoreError> {
        let made = wanted.iter().filter_map(|rule| Some((rule.id.clone(), made(rule)?))).collect();
        let sent = before.rules.iter().cloned().map(well_formed).collect();
        self.put_lifecycle(merge(sent, LifecycleRule::id, own, made), before).await
    }

    /// Writes all rules at once, with what else was said of them before.
    async fn put_lifecycle(&self, rules: Vec<LifecycleRule>, before: &Configured) -> Result<(), StoreError> {
        if rules.is_empty() {
            let delete = self.client.delete_bucket_lifecycle().bucket(self.bucket.name());
            return delete.send().await.map(drop).map_err(|error| self.failed_at_rules("remove", error));
        }
        // The one thing that a configuration must have is there.
        let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().ok();
        let put = self.client.put_bucket_lifecycle_configuration().bucket(self.bucket.name());
        let put = put.set_lifecycle_configuration(configuration);
        let put = put.set_transition_default_minimum_object_size(before.least_moved.clone());
        put.send().await.map(drop).map_err(|error| self.failed_at_rules("write", error))
    }

    fn failed_at_rules<E: Refused>(&self, doing: &'static str, error: E) -> StoreError {
        error.worded(doing, self.rules_place(), &self.server(), &self.hidden)
    }

    /// Names the rules of the bucket for a person.
    fn rules_place(&self) -> String {
        format!("{}?lifecycle", locate(&self.bucket, ""))
    }

    pub(super) async fn bucket_rules(&self, found: &Configured) -> BucketRules {
        BucketRules { versions: self.versions().await, rules: found.rules.iter().map(understood).collect() }
    }

    /// Asks what becomes of what is deleted.
    pub(super) async fn versions(&self) -> Versions {
        match self.client.get_bucket_versioning().bucket(self.bucket.name()).send().await.map(|answer| answer.status) {
            Ok(Some(BucketVersioningStatus::Enabled)) => Versions::Kept,
            Ok(Some(BucketVersioningStatus::Suspended)) => Versions::Suspended,
            Ok(_) => Versions::None,
            Err(error) if matches!(error.answer(), Some((501 | 405, _))) => Versions::None,
            Err(_) => Versions::Unknown,
        }
    }
}

/// Returns what a rule says, as far as sentences can be made of it.
pub(super) fn understood(rule: &LifecycleRule) -> BucketRule {
    let expiration = rule.expiration.as_ref();
    let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok());
    let date = |date: Option<&aws_sdk_s3::primitives::DateTime>| date.map(|date| When::Date(day(date)));
    let moves = rule.transitions().iter().filter_map(|step| {
        let when = days(step.days).map(When::Days).or_else(|| date(step.date.as_ref()))?;
        Some((when, step.storage_class.as_ref().map_or("another class", TransitionStorageClass::as_str).to_owned()))
    });
    let versions = rule.noncurrent_version_expiration.as_ref();
    let (prefix, conditions) = filter(rule);
    BucketRule {
        id: rule.id.clone().unwrap_or_default(),
        is_enabled: rule.status == ExpirationStatus::Enabled,
        prefix,
        conditions,
        expires: expiration
            .and_then(|it| days(it.days).filter(|days| *days > 0).map(When::Days).or_else(|| date(it.date.as_ref()))),
        moves: moves.collect(),
        versions_expire: versions.and_then(|versions| days(versions.noncurrent_days)),
        uploads_abort: rule
            .abort_incomplete_multipart_upload
            .as_ref()
            .and_then(|abort| days(abort.days_after_initiation)),
        besides: besides(rule),
    }
}

/// Returns what the keys begin with that a rule is about, and what else must be true of an object.
fn filter(rule: &LifecycleRule) -> (String, Vec<Condition>) {
    #[expect(deprecated, reason = "old rules still have their prefix there")]
    let old = rule.prefix.as_deref();
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    let prefix =
        filter.and_then(|filter| filter.prefix.as_deref()).or(and.and_then(|and| and.prefix.as_deref())).or(old);
    let tags = filter
        .and_then(|filter| filter.tag.as_ref())
        .into_iter()
        .chain(and.into_iter().flat_map(LifecycleRuleAndOperator::tags));
    let tag = |tag: &Tag| Condition::Tag(tag.key.clone(), tag.value.clone());
    let sizes = filter.map(|filter| (filter.object_size_greater_than, filter.object_size_less_than));
    let sizes = sizes.into_iter().chain(and.map(|and| (and.object_size_greater_than, and.object_size_less_than)));
    let size = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    let size = |(larger, smaller)| {
        [size(larger).map(Condition::LargerThan), size(smaller).map(Condition::SmallerThan)].into_iter().flatten()
    };
    (prefix.unwrap_or_default().to_owned(), tags.map(tag).chain(sizes.flat_map(size)).collect())
}

/// Says what a rule does besides.
fn besides(rule: &LifecycleRule) -> Vec<String> {
    let clears = rule.expiration.as_ref().and_then(|it| it.expired_object_delete_marker) == Some(true);
    let spared = rule.noncurrent_version_expiration.as_ref().and_then(|it| it.newer_noncurrent_versions);
    let moved = rule.noncurrent_version_transitions().first().and_then(|step| step.storage_class.as_ref());
    let clears = clears.then(|| "clears up what marks deleted objects".to_owned());
    let spared =
        spared.filter(|count| *count > 0).map(|count| format!("spares the newest {count} of the older versions"));
    let moved = moved.map(|class| format!("moves older versions to {}", class.as_str()));
    [clears, spared, moved].into_iter().flatten().collect()
}

fn day(date: &aws_sdk_s3::primitives::DateTime) -> String {
    jiff::Timestamp::from_second(date.secs()).map_or_else(|_| "a day".to_owned(), |at| at.strftime("%F").to_string())
}

/// Returns one of this program's rules as the bucket takes it; nothing for one that has what ours never have.
fn made(rule: &BucketRule) -> Option<LifecycleRule> {
    let days = |days: u32| i32::try_from(days).ok();
    let after = |when: &When| match when {
        When::Days(count) => days(*count),
        When::Date(_) => None,
    };
    let transition = |(when, class): &(When, String)| {
        let class = TransitionStorageClass::from(class.as_str());
        Transition::builder().set_days(after(when)).storage_class(class).build()
    };
    let moves: Vec<Transition> = rule.moves.iter().map(transition).collect();
    let expiration =
        rule.expires.as_ref().and_then(after).map(|days| LifecycleExpiration::builder().days(days).build());
    let versions = rule.versions_expire.and_then(days);
    let versions = versions.map(|days| NoncurrentVersionExpiration::builder().noncurrent_days(days).build());
    let uploads = rule.uploads_abort.and_then(days);
    let uploads = uploads.map(|days| AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build());
    LifecycleRule::builder()
        .id(&rule.id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
        .set_expiration(expiration)
        .set_transitions((!moves.is_empty()).then_some(moves))
        .set_noncurrent_version_expiration(versions)
        .set_abort_incomplete_multipart_upload(uploads)
        .build()
        .ok()
}
