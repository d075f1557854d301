//! The codes of everything that can be wrong with a plan: stable for ever, since scripts compare them.

/// Defines each code as a constant, and all of them as one list.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $meaning])+ pub(super) const $name: &str = $code;)+

        /// Every code that reading a plan can give, in the order in which the README explains them.
        pub const CODES: &[&str] = &[$($code),+];
    };
}

codes! {
    /// The text is not TOML.
    SYNTAX = "plan::syntax";
    /// A key or a table is written twice.
    DUPLICATE_KEY = "plan::duplicate-key";
    /// A key that the plan language does not have at this place.
    UNKNOWN_KEY = "plan::unknown-key";
    /// A key that must be there is not.
    MISSING_KEY = "plan::missing-key";
    /// The plan has no source, no destination or no job.
    MISSING_TABLE = "plan::missing-table";
    /// A number where a text is expected, and the like.
    WRONG_TYPE = "plan::wrong-type";
    /// A word that is none of the words this key takes.
    UNKNOWN_WORD = "plan::unknown-word";
    /// An array that must hold something is empty.
    EMPTY_ARRAY = "plan::empty-array";
    /// The same item is listed twice.
    DUPLICATE_ITEM = "plan::duplicate-item";
    /// A plan of a version that this program does not read.
    UNKNOWN_VERSION = "plan::unknown-version";
    /// A time zone that the IANA database does not have.
    UNKNOWN_TIMEZONE = "plan::unknown-timezone";
    /// A source, destination, job or variable has a name that names cannot have.
    INVALID_NAME = "plan::invalid-name";
    /// Two jobs of different kinds have the same name.
    DUPLICATE_NAME = "plan::duplicate-name";
    /// A job refers to a source that the plan does not have.
    UNKNOWN_SOURCE = "plan::unknown-source";
    /// A job refers to a destination that the plan does not have.
    UNKNOWN_DESTINATION = "plan::unknown-destination";
    /// A source, destination or variable that nothing refers to (a warning).
    UNUSED = "plan::unused";
    /// A key that does not go with `snapshots`, or `snapshots` that are no directory.
    SNAPSHOTS = "plan::snapshots";
    /// A text that is not the path of a directory or a file.
    INVALID_PATH = "plan::invalid-path";
    /// A destination whose kind is not known.
    UNKNOWN_SCHEME = "plan::unknown-scheme";
    /// A `file:` or `s3:` address that does not plainly name a directory, or a bucket and a folder in it.
    INVALID_URL = "plan::invalid-url";
    /// A destination is the root of the file system.
    ROOT_DESTINATION = "plan::root-destination";
    /// A key of buckets that stands at a directory, or speaks of no bucket (then a warning).
    BUCKET_ONLY = "plan::bucket-only";
    /// A name that no bucket can have.
    INVALID_BUCKET = "plan::invalid-bucket";
    /// A server that is not written as `host[:port]`.
    INVALID_ENDPOINT = "plan::invalid-endpoint";
    /// A region that is none, or none of this server's.
    INVALID_REGION = "plan::invalid-region";
    /// A variable of the environment that stands in for a key holds what the key cannot be.
    INVALID_VARIABLE = "plan::invalid-variable";
    /// A server that knows its buckets by path is asked for a host of the bucket's name, or a bucket's name makes none.
    URL_STYLE = "plan::url-style";
    /// TLS where plain HTTP is spoken, or plain HTTP where TLS is (a warning where that is only likely).
    USE_SSL = "plan::use-ssl";
    /// A secret stands in the plan, where only its place may.
    PLAIN_SECRET = "plan::plain-secret";
    /// A reference to a secret that names no place, several, or one that cannot be.
    INVALID_SECRET = "plan::invalid-secret";
    /// One half of an access key, or a session token alone.
    HALF_KEY = "plan::half-key";
    /// A storage class that does not exist, or whose objects cannot be read at once.
    STORAGE_CLASS = "plan::storage-class";
    /// A key for an encryption that is not asked for.
    KMS_KEY = "plan::kms-key";
    /// An item of `databases` that is no database.
    INVALID_DATABASE = "plan::invalid-database";
    /// Only the shared database is backed up (a warning).
    SHARED_ONLY = "plan::shared-only";
    /// Rows of a source are archived, and no job backs that source up (a warning, unless they are deleted then).
    NO_BACKUP = "plan::no-backup";
    /// Rows are to be deleted from databases that others have open.
    DELETE_LIVE = "plan::delete-live";
    /// An assertion that is no query.
    INVALID_ASSERT = "plan::invalid-assert";
    /// A notice that says in no way, or in several, how somebody is told.
    NOTICE_WAY = "plan::notice-way";
    /// A file of metrics with a name that nobody reads (a warning).
    TEXTFILE = "plan::textfile";
    /// A command line in one text, where no shell takes it apart.
    NO_SHELL = "plan::no-shell";
    /// A text that is not a span of time.
    INVALID_SPAN = "plan::invalid-span";
    /// A text that is not a share of a hundred.
    INVALID_SHARE = "plan::invalid-share";
    /// A text that is no schedule.
    INVALID_SCHEDULE = "plan::invalid-schedule";
    /// A key that speaks of a schedule, where the job has none (a warning).
    NO_SCHEDULE = "plan::no-schedule";
    /// A text that is not a size.
    INVALID_SIZE = "plan::invalid-size";
    /// A span, a size or a number that is too small to work with.
    TOO_SMALL = "plan::too-small";
    /// A size or a number that is too large (a warning where it will only cost much memory).
    TOO_LARGE = "plan::too-large";
    /// A `keep` without a rule: it would delete every set but the newest.
    KEEP_NOTHING = "plan::keep-nothing";
    /// A `keep` that nothing goes by, since the bucket itself deletes at each destination (a warning).
    KEEP_UNUSED = "plan::keep-unused";
    /// Steps of a lifecycle that do not follow each other in time.
    LIFECYCLE_ORDER = "plan::lifecycle-order";
    /// A storage class that nothing can be read from.
    FROZEN_CLASS = "plan::frozen-class";
    /// A template that is not written as templates are.
    TEMPLATE_SYNTAX = "plan::template-syntax";
    /// A name in a template that stands for nothing.
    TEMPLATE_NAME = "plan::template-name";
    /// An environment variable in a template that is not set.
    TEMPLATE_UNSET = "plan::template-unset";
    /// An environment variable in a template that may hold a secret.
    TEMPLATE_SECRET = "plan::template-secret";
    /// A `template` of something that takes none.
    TEMPLATE_ALONE = "plan::template-alone";
    /// A template of a message that makes no JSON.
    TEMPLATE_JSON = "plan::template-json";
    /// A template that cannot be worked out: an unknown filter, a sum of texts.
    TEMPLATE_RENDER = "plan::template-render";
    /// A rendered template is not a folder below a destination.
    INVALID_PREFIX = "plan::invalid-prefix";
    /// Two jobs, or one job twice, would write into the same folder or into each other's.
    OVERLAP = "plan::overlap";
    /// Something would be written inside a HitKeep data directory.
    INSIDE_SOURCE = "plan::inside-source";
    /// A source's data would lie inside a folder of backups.
    HOLDS_SOURCE = "plan::holds-source";
    /// The state or staging directory would lie inside a folder of backups.
    HOLDS_LOCAL = "plan::holds-local";
    /// There is no place for the state directory.
    NO_STATE = "plan::no-state";
}
