//! The plan language as it is written: its only definition in code.
//!
//! The reader, `schemas/plan.schema.json` and the reference table of the README all come from these types, so
//! the comments here speak to the people who write plans. Every key is optional to serde: what is missing is
//! reported together with everything else, by `shape`, which asks the schema what is required.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use toml::Spanned;

use super::archive::Layout;
use super::backup::{Codec, Verify};
use super::bucket::{Checksum, Cipher, UrlStyle};
use super::notify::Occasion;
use super::source::Capture;

/// A value and the place of its text.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The tables that share a kind, each under the name it was given, in the order of the text.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(At<String>, At<T>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of named entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<At<String>, At<T>>()? {
            entries.push(entry);
        }
        entries.sort_by_key(|(name, _)| name.span.start);
        Ok(Named(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        json_schema!({
            "type": "object",
            "patternProperties": { "^[a-z0-9][a-z0-9_-]{0,63}$": entry },
            "additionalProperties": false,
        })
    }
}

/// A plan of `hitkeep-plan`: what is backed up, where to, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "hitkeep-plan", extend("anyOf" = [{ "required": ["backup"] }, { "required": ["archive"] }]))]
pub(super) struct Document {
    /// The version of the plan language.
    #[schemars(required, with = "i64", extend("const" = 1))]
    pub(super) version: Option<At<i64>>,
    /// The IANA name of the time zone that the plan's times are meant in.
    #[schemars(extend("default" = "UTC", "examples" = ["Europe/Berlin"]))]
    pub(super) timezone: Option<At<String>>,
    /// Texts to use in templates, as `{{ vars.NAME }}`.
    #[serde(default)]
    #[schemars(schema_with = "variables")]
    pub(super) vars: Option<Named<String>>,
    /// What is backed up, each under a name of your choice.
    #[schemars(required, extend("minProperties" = 1))]
    pub(super) source: Option<Named<Source>>,
    /// Places that backups are written to, each under a name of your choice.
    #[schemars(required, extend("minProperties" = 1))]
    pub(super) destination: Option<Named<Destination>>,
    /// Jobs: which source is backed up to which destinations, each under a name of your choice.
    #[schemars(extend("minProperties" = 1))]
    pub(super) backup: Option<Named<Backup>>,
    /// Jobs: which source's old rows are kept at which destinations, each under a name of your choice.
    #[schemars(extend("minProperties" = 1))]
    pub(super) archive: Option<Named<Archive>>,
    /// Commands that are run around every job.
    pub(super) hooks: Option<Hooks>,
    /// Who is told how runs begin and end, each under a name of your choice.
    pub(super) notify: Option<Named<Notice>>,
    /// What is written for a monitoring system.
    pub(super) metrics: Option<Metrics>,
    /// What this host provides for the work.
    pub(super) local: Option<Local>,
}

/// A HitKeep installation on this host, or the backups that it writes itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["data_path"], "not": { "required": ["snapshots"] } },
    {
        "required": ["snapshots"],
        "not": { "anyOf": [{ "required": ["data_path"] }, { "required": ["db_path"] }, { "required": ["capture"] }] },
    },
]))]
pub(super) struct Source {
    /// HitKeep's data directory; a relative path starts at the plan file. Tenants are `tenants/UUID/hitkeep.db` in it.
    /// Required, unless there is `snapshots`.
    #[schemars(length(min = 1), extend("examples" = ["/var/lib/hitkeep/data"]))]
    pub(super) data_path: Option<At<String>>,
    /// The shared database, where it is not `hitkeep.db` in the data directory.
    #[schemars(length(min = 1), extend("default" = "DATA_PATH/hitkeep.db"))]
    pub(super) db_path: Option<At<String>>,
    /// How the databases are read: opened, which HitKeep must be stopped for; copied while HitKeep runs; or, with
    /// `auto`, copied if HitKeep has any of them open, and opened otherwise.
    #[schemars(extend("default" = "auto"))]
    pub(super) capture: Option<At<Capture>>,
    /// In place of all these: the directory that HitKeep's own backup writes to (`HITKEEP_BACKUP_PATH`). A run takes the
    /// newest set there, examines it and stores it as it is.
    #[schemars(length(min = 1), extend("examples" = ["/var/lib/hitkeep/backups"]))]
    pub(super) snapshots: Option<At<String>>,
}

impl Source {
    /// Returns the keys that are said of an installation, those that are there, each with the place of its value.
    pub(super) fn installation_keys(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> {
        let keys = [
            ("data_path", place(self.data_path.as_ref())),
            ("db_path", place(self.db_path.as_ref())),
            ("capture", place(self.capture.as_ref())),
        ];
        keys.into_iter().filter_map(|(key, place)| Some((key, place?)))
    }
}

/// A place that backups are written to: a directory, or a bucket, which takes every other key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    /// A directory, absolute or relative to the plan file, or `file:///directory`; or a bucket, `s3://bucket/folder`.
    #[schemars(required, length(min = 1), extend("examples" = ["/srv/hitkeep", "s3://my-analytics-bucket/hitkeep"]))]
    pub(super) url: Option<At<String>>,
    /// The region of the bucket. Unless set, `$HITKEEP_S3_REGION`; then what the AWS SDK finds, or with an `endpoint`
    /// `us-east-1` (Cloudflare R2: `auto`).
    #[schemars(length(min = 1), extend("examples" = ["eu-central-1", "auto"]))]
    pub(super) region: Option<At<String>>,
    /// The server, `host[:port]`, where it is not AWS. Unless set, `$HITKEEP_S3_ENDPOINT`.
    #[schemars(length(min = 1), extend("examples" = ["minio.internal:9000"]))]
    pub(super) endpoint: Option<At<String>>,
    /// Where requests name the bucket: before the host, or in the path, as MinIO wants it. Unless set,
    /// `$HITKEEP_S3_URL_STYLE`.
    #[schemars(extend("default" = "vhost"))]
    pub(super) url_style: Option<At<UrlStyle>>,
    /// Whether the server is spoken to over TLS. Unless set, `$HITKEEP_S3_USE_SSL`.
    #[schemars(extend("default" = true))]
    pub(super) use_ssl: Option<At<bool>>,
    /// Where the id of the access key is found. Unless set, `$HITKEEP_S3_ACCESS_KEY_ID`; without that and its secret,
    /// the credentials are what the AWS SDK finds: its variables, its profiles, the role of the machine.
    pub(super) access_key_id: Option<At<Secret>>,
    /// Where the secret of the access key is found. Unless set, `$HITKEEP_S3_SECRET_ACCESS_KEY`.
    pub(super) secret_access_key: Option<At<Secret>>,
    /// Where the session token is found that temporary keys come with. Unless set, `$HITKEEP_S3_SESSION_TOKEN`, if the
    /// key is that of `$HITKEEP_S3_ACCESS_KEY_ID` and `$HITKEEP_S3_SECRET_ACCESS_KEY`.
    pub(super) session_token: Option<At<Secret>>,
    /// The storage class of what is written; the server's own choice unless set.
    #[schemars(regex(pattern = r"^[A-Z][A-Z0-9_]*$"), extend("examples" = ["STANDARD_IA"]))]
    pub(super) storage_class: Option<At<String>>,
    /// How the server encrypts what it keeps; the bucket's own choice unless set.
    pub(super) encryption: Option<At<Cipher>>,
    /// The key of `encryption = "aws:kms"`, where it is not the bucket's own.
    #[schemars(length(min = 1))]
    pub(super) kms_key: Option<At<String>>,
    /// A file of certificates, in PEM, to be trusted besides those of this host.
    #[schemars(length(min = 1))]
    pub(super) ca_bundle: Option<At<String>>,
    /// The checksum that the server is given to compare with what arrives; `auto` is the strongest it offers.
    #[schemars(extend("default" = "auto"))]
    pub(super) checksum: Option<At<Checksum>>,
    /// What the bucket is to delete and move by itself, once `lifecycle --apply` has told it to. With `expire_after` in it,
    /// runs and `prune` delete nothing there.
    pub(super) lifecycle: Option<At<Lifecycle>>,
}

impl Destination {
    /// Returns the keys that are said of buckets, those that are there, each with the place of its value.
    pub(super) fn bucket_keys(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> {
        let keys = [
            ("region", place(self.region.as_ref())),
            ("endpoint", place(self.endpoint.as_ref())),
            ("url_style", place(self.url_style.as_ref())),
            ("use_ssl", place(self.use_ssl.as_ref())),
            ("access_key_id", place(self.access_key_id.as_ref())),
            ("secret_access_key", place(self.secret_access_key.as_ref())),
            ("session_token", place(self.session_token.as_ref())),
            ("storage_class", place(self.storage_class.as_ref())),
            ("encryption", place(self.encryption.as_ref())),
            ("kms_key", place(self.kms_key.as_ref())),
            ("ca_bundle", place(self.ca_bundle.as_ref())),
            ("checksum", place(self.checksum.as_ref())),
            ("lifecycle", place(self.lifecycle.as_ref())),
        ];
        keys.into_iter().filter_map(|(key, place)| Some((key, place?)))
    }
}

/// What a bucket is to delete and move by itself, below the folders of jobs. Buckets count in whole days. Of archives, only
/// unfinished uploads are cleared up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lifecycle {
    /// How old a set becomes before the bucket deletes it, pinned or not, and the last one too. Never unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[dw]$"), extend("examples" = ["400d"]))]
    pub(super) expire_after: Option<At<String>>,
    /// How long what was deleted or replaced stays as an older version, where the bucket is versioned. For ever unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[dw]$"), extend("examples" = ["30d"]))]
    pub(super) expire_versions_after: Option<At<String>>,
    /// The cheaper classes that a set is moved to as it gets older, in order of time.
    #[schemars(extend("examples" = [[{ "after": "30d", "class": "GLACIER_IR" }]]))]
    pub(super) transition: Option<At<Vec<At<Transition>>>>,
    /// How old an unfinished upload becomes before it is cleared up.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[dw]$"), extend("default" = "2d"))]
    pub(super) abort_uploads_after: Option<At<String>>,
}

/// A move to a cheaper class.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transition {
    /// How old a set becomes before it is moved.
    #[schemars(required, regex(pattern = r"^0*[1-9][0-9]*[dw]$"), extend("examples" = ["30d"]))]
    pub(super) after: Option<At<String>>,
    /// The storage class that it is moved to. `GLACIER` and `DEEP_ARCHIVE` are not taken: nothing reads what lies there.
    #[schemars(required, regex(pattern = r"^[A-Z][A-Z0-9_]*$"), extend("examples" = ["GLACIER_IR"]))]
    pub(super) class: Option<At<String>>,
}

fn place<T>(at: Option<&At<T>>) -> Option<Range<usize>> {
    at.map(|at| at.span.clone())
}

/// Where a secret is found: exactly one of these. The secret itself never stands in a plan.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "writeOnly" = true))]
pub(super) struct Secret {
    /// The name of an environment variable.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"), extend("examples" = ["HITKEEP_S3_SECRET_ACCESS_KEY"]))]
    pub(super) env: Option<At<String>>,
    /// A file that holds nothing else.
    #[schemars(length(min = 1), extend("examples" = ["/run/secrets/s3"]))]
    pub(super) file: Option<At<String>>,
    /// A program and its arguments, without a shell; what it prints is the secret.
    #[schemars(length(min = 1), extend("examples" = [["pass", "show", "s3"]]))]
    pub(super) command: Option<At<Vec<At<String>>>>,
    /// The name of a credential that systemd hands to the unit (`LoadCredential=`).
    #[schemars(regex(pattern = r"^[^/]+$"), extend("examples" = ["s3"]))]
    pub(super) credential: Option<At<String>>,
}

/// A job: one source, backed up to one or more destinations.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    /// The name of the source.
    #[schemars(required, extend("examples" = ["main"]))]
    pub(super) source: Option<At<String>>,
    /// The names of the destinations; each gets the whole set of snapshots.
    #[schemars(required, length(min = 1), extend("uniqueItems" = true, "examples" = [["disk"]]))]
    pub(super) to: Option<At<Vec<At<String>>>>,
    /// The folder below the destination: a template of `plan`, `job`, `source`, `host`, `vars.NAME` and `env.NAME`.
    /// Empty for the destination itself. No two jobs may share a folder or lie in each other's.
    #[schemars(extend("default" = "backups", "examples" = ["{{ host }}/backups", ""]))]
    pub(super) prefix: Option<At<String>>,
    /// When the job runs by itself, as a crontab line says it: minute, hour, day of the month, month, weekday (1 is
    /// Monday), or `@daily` and its like.
    #[schemars(
        regex(pattern = r"^\s*(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+(\s+\S+){4})\s*$"),
        extend("examples" = ["0 3 * * *", "@daily"])
    )]
    pub(super) schedule: Option<At<String>>,
    /// Whether a time that was missed is run once, late. Otherwise it is left out when more than an hour has gone by.
    #[schemars(extend("default" = true))]
    pub(super) catch_up: Option<At<bool>>,
    /// The most that a run begins later than its time, so that not everything begins at once. How much it is, is made of
    /// where the job writes: always the same, and less than to the next time. None unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["5m"]))]
    pub(super) jitter: Option<At<String>>,
    /// The databases: all of them, or `shared` and tenants by their UUID.
    #[schemars(extend("default" = "all"))]
    pub(super) databases: Option<At<Databases>>,
    /// The codec inside the Parquet files; HitKeep's own `snapshots` keep theirs.
    #[schemars(extend("default" = "zstd"))]
    pub(super) compression: Option<At<Codec>>,
    /// How a set of snapshots is checked: not at all; before it is sealed, each file at its destination; or, besides,
    /// as a whole after it is sealed, in a restore drill.
    #[schemars(extend("default" = "checksum"))]
    pub(super) verify: Option<At<Verify>>,
    /// Queries that a drill asks of the restored shared database: each must answer with true. They reach no file and no
    /// network.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "examples" = [["select count(*) > 0 from sites"]]))]
    pub(super) assert: Option<At<Vec<At<String>>>>,
    /// Which sets are kept; what no rule keeps is deleted after a run that was complete. Every set unless set.
    pub(super) keep: Option<At<Keep>>,
    /// How long a run may take before it is given up: `90s`, `15m`, `2h`, `1d`. No limit unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["2h"]))]
    pub(super) timeout: Option<At<String>>,
    /// How much of a bucket's connection the uploads take.
    pub(super) upload: Option<At<Upload>>,
    /// What `status` judges by.
    pub(super) objective: Option<At<Objective>>,
    /// How much smaller than the newest complete set before it a set may be, in rows and in bytes; one that has shrunk
    /// more is `partial`.
    #[schemars(regex(pattern = r"^0*([0-9]{1,2}|100)%$"), extend("default" = "50%"))]
    pub(super) max_shrink: Option<At<String>>,
}

/// What `status` judges a job by, at each of its destinations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Objective {
    /// How old the newest complete set may be, such as `26h` for a set a day. Not judged unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["26h"]))]
    pub(super) rpo: Option<At<String>>,
    /// How long ago the last restore drill that passed may be. Not judged unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["7d"]))]
    pub(super) drill_every: Option<At<String>>,
}

/// Which sets of a job are kept: a set stays as long as one of these rules keeps it. Rules count the sets that are
/// complete and, where the job verifies, verified; days, weeks, months and years are those of `timezone`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(super) struct Keep {
    /// The newest sets, this many.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [24]))]
    pub(super) last: Option<At<i64>>,
    /// The newest set of each hour, for this many hours that have one.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [48]))]
    pub(super) hourly: Option<At<i64>>,
    /// The newest set of each day, for this many days that have one.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [14]))]
    pub(super) daily: Option<At<i64>>,
    /// The newest set of each week, which begins on Monday, for this many weeks that have one.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [8]))]
    pub(super) weekly: Option<At<i64>>,
    /// The newest set of each month, for this many months that have one.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [12]))]
    pub(super) monthly: Option<At<i64>>,
    /// The newest set of each year, for this many years that have one.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [3]))]
    pub(super) yearly: Option<At<i64>>,
    /// Every set that is not older than this when the newest was made.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["3d"]))]
    pub(super) within: Option<At<String>>,
    /// The newest sets that are kept whatever the other rules say.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 1))]
    pub(super) min: Option<At<i64>>,
}

/// A job: the rows of a source that are past their retention, kept as Parquet at one or more destinations.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Archive {
    /// The name of the source.
    #[schemars(required, extend("examples" = ["main"]))]
    pub(super) source: Option<At<String>>,
    /// The names of the destinations; each gets every row.
    #[schemars(required, length(min = 1), extend("uniqueItems" = true, "examples" = [["disk"]]))]
    pub(super) to: Option<At<Vec<At<String>>>>,
    /// The folder below the destination, a template as that of a backup, and like it a folder of this job's own.
    #[schemars(extend("default" = "archive", "examples" = ["{{ host }}/archive"]))]
    pub(super) prefix: Option<At<String>>,
    /// When the job runs by itself, as a crontab line says it: minute, hour, day of the month, month, weekday (1 is
    /// Monday), or `@daily` and its like.
    #[schemars(
        regex(pattern = r"^\s*(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+(\s+\S+){4})\s*$"),
        extend("examples" = ["0 3 * * *", "@daily"])
    )]
    pub(super) schedule: Option<At<String>>,
    /// Whether a time that was missed is run once, late. Otherwise it is left out when more than an hour has gone by.
    #[schemars(extend("default" = true))]
    pub(super) catch_up: Option<At<bool>>,
    /// The most that a run begins later than its time, so that not everything begins at once. How much it is, is made of
    /// where the job writes: always the same, and less than to the next time. None unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["5m"]))]
    pub(super) jitter: Option<At<String>>,
    /// Which rows are past: `site` for those past the retention that their site has in HitKeep, where none or 0 days
    /// means for ever; or those older than a span.
    #[schemars(regex(pattern = r"^(site|0*[1-9][0-9]*[smhdw])$"), extend("default" = "site", "examples" = ["365d"]))]
    pub(super) older_than: Option<At<String>>,
    /// Where rows lie: in one file for each site and run, as HitKeep's own archives do; or in one for each table, site
    /// and month, in folders that query engines understand.
    #[schemars(extend("default" = "hitkeep"))]
    pub(super) layout: Option<At<Layout>>,
    /// Whether what has been archived is deleted from the source. HitKeep must be stopped then.
    #[schemars(extend("default" = false))]
    pub(super) delete: Option<At<bool>>,
    /// How long a run may take before it is given up: `90s`, `15m`, `2h`, `1d`. No limit unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("examples" = ["2h"]))]
    pub(super) timeout: Option<At<String>>,
    /// How much of a bucket's connection the uploads take.
    pub(super) upload: Option<At<Upload>>,
}

/// How much of a bucket's connection the uploads of a job take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    /// How many parts are on their way at once, from 1 to 64. Each takes the memory of one part.
    #[schemars(range(min = 1, max = 64), extend("default" = 8))]
    pub(super) concurrency: Option<At<i64>>,
    /// The size of a part, from `5MiB` to `5GiB`; a smaller file is stored as a whole.
    #[schemars(regex(pattern = r"^[0-9]+([KMGT]i)?B$"), extend("default" = "8MiB"))]
    pub(super) part_size: Option<At<String>>,
    /// The most that all parts together send in a second, at least `64KiB/s`. No limit unless set.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*([KMGT]i)?B/s$"), extend("examples" = ["50MiB/s"]))]
    pub(super) bandwidth: Option<At<String>>,
}

/// Commands that are run around every job, without a shell: each is a program and its arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    /// Before the job looks at anything, one after the other. Where one exits with 75, the job is skipped (exit code 75);
    /// where one fails otherwise, it is not run.
    #[serde(default)]
    #[schemars(schema_with = "commands")]
    pub(super) before: Option<At<Commands>>,
    /// When the job has ended, however it did: also where a command before it failed, and where a signal ended it.
    #[serde(default)]
    #[schemars(schema_with = "commands")]
    pub(super) after: Option<At<Commands>>,
    /// Last, where the exit code is neither 0 nor 75, be it for a command of `after`.
    #[serde(default)]
    #[schemars(schema_with = "commands")]
    pub(super) failure: Option<At<Commands>>,
    /// How long each command may take until it is stopped, with all that it has started. Once a signal has ended the job,
    /// at most a minute.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("default" = "5m"))]
    pub(super) timeout: Option<At<String>>,
}

/// Commands, each a program and its arguments.
pub(super) type Commands = Vec<At<Vec<At<String>>>>;

/// Who is told how runs begin and end, in one of three ways.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("allOf" = [{ "oneOf": [
    { "required": ["healthchecks"] },
    { "required": ["webhook"] },
    { "required": ["command"] },
] }]))]
pub(super) struct Notice {
    /// What is told: `start`, `success`, `partial`, `failure`, `recovery` (a success after a run that had none). Unless set,
    /// `partial`, `failure` and `recovery`; with `healthchecks` all but `recovery`, which is a success there.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "examples" = [["failure", "partial", "recovery"]]))]
    pub(super) on: Option<At<Vec<At<Occasion>>>>,
    /// Where the address of a check is found that speaks the protocol of healthchecks.io: it is told `/start` and `/EXIT_CODE`
    /// with the id of the run and the last lines of the log.
    #[schemars(extend("examples" = [{ "env": "HC_PING_URL" }]))]
    pub(super) healthchecks: Option<At<Secret>>,
    /// Where the address is found that a JSON document is sent to.
    #[schemars(extend("examples" = [{ "env": "OPS_WEBHOOK_URL" }]))]
    pub(super) webhook: Option<At<Secret>>,
    /// A program and its arguments, without a shell. It has the variables of `[hooks]`, and `$HITKEEP_PLAN_EVENT` and
    /// `$HITKEEP_PLAN_SUMMARY`.
    #[schemars(length(min = 1), extend("examples" = [["/usr/local/bin/page", "hitkeep"]]))]
    pub(super) command: Option<At<Vec<At<String>>>>,
    /// The document of a `webhook`: a template that must make JSON, of `event`, `plan`, `job`, `shard`, `run`, `host`,
    /// `status`, `exit_code`, `started_at`, `finished_at`, `summary`, `failures` and `log`. All of them unless set.
    #[schemars(length(min = 1), extend("examples" = ["{ \"text\": {{ summary | tojson }} }"]))]
    pub(super) template: Option<At<String>>,
    /// How long telling may take, with all that is tried again. What cannot be told is a warning.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]*[smhdw]$"), extend("default" = "10s"))]
    pub(super) timeout: Option<At<String>>,
}

/// What is written for a monitoring system.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    /// The file that is written after each run, for the textfile collector of Prometheus' node exporter: a name that ends with
    /// `.prom`, in a directory that is there. Everyone may read it.
    #[schemars(required, length(min = 1), extend("examples" = ["/var/lib/node_exporter/hitkeep_plan.prom"]))]
    pub(super) textfile: Option<At<String>>,
}

/// What this host provides for the work.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Local {
    /// The directory of the run records: unless set, `$STATE_DIRECTORY`, or `hitkeep-plan` in
    /// `$XDG_STATE_HOME` or in `$HOME/.local/state`. Plans whose files have the same name need one each.
    #[schemars(length(min = 1))]
    pub(super) state: Option<At<String>>,
    /// The directory that captures and exports lie in while they are written: unless set, `$TMPDIR` or `/var/tmp`.
    #[schemars(length(min = 1))]
    pub(super) staging: Option<At<String>>,
    /// The memory that DuckDB may use, at least `128MiB`. Unless set, a restore takes more while it builds an index that needs
    /// it: of random keys, 32 bytes for each row of the table, at most three quarters of what is free.
    #[schemars(regex(pattern = r"^[0-9]+([KMGT]i)?B$"), extend("default" = "512MiB"))]
    pub(super) memory_limit: Option<At<String>>,
}

/// The databases of a job as they are written: a word or a list.
#[derive(Debug)]
pub(super) enum Databases {
    /// `"all"`; any other word has been refused before.
    All,
    /// A list of databases.
    Only(Vec<At<String>>),
}

// By hand, since an untagged enum would lose the places of the list's items.
impl<'de> Deserialize<'de> for Databases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatabasesVisitor)
    }
}

struct DatabasesVisitor;

impl<'de> Visitor<'de> for DatabasesVisitor {
    type Value = Databases;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`all` or an array of databases")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Databases, E> {
        if word == "all" { Ok(Databases::All) } else { Err(E::unknown_variant(word, &["all"])) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Databases, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Databases::Only(items))
    }
}

impl JsonSchema for Databases {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Databases".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
        json_schema!({
            "anyOf": [
                { "type": "string", "const": "all" },
                {
                    "type": "array",
                    "items": { "type": "string", "pattern": format!("^(shared|{uuid})$") },
                    "minItems": 1,
                    "uniqueItems": true,
                },
            ],
        })
    }
}

/// Returns the schema of `[vars]`: any text under any name that a template can spell.
fn variables(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "patternProperties": { "^[A-Za-z_][A-Za-z0-9_]*$": { "type": "string" } },
        "additionalProperties": false,
    })
}

/// Returns the schema of a list of commands.
fn commands(_: &mut SchemaGenerator) -> Schema {
    let example = ["systemctl", "stop", "hitkeep"];
    json_schema!({
        "type": "array",
        "items": { "type": "array", "items": { "type": "string" }, "minItems": 1, "examples": [example] },
        "examples": [[example]],
    })
}
