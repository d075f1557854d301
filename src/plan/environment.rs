//! Every variable of the environment that the program reads on its own account, by name.
//!
//! What a plan names itself comes on top: `{{ env.NAME }}` in a template, `{ env = "NAME" }` for a secret. So does what
//! libraries read by their own rules: the AWS SDK (`AWS_PROFILE`, `AWS_REGION`, …) where a plan leaves a bucket's region
//! or credentials to it, whoever speaks HTTP `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, the terminal's
//! `NO_COLOR`, `CLICOLOR` and `TERM`, and what systemd tells a daemon with `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
//! `WATCHDOG_PID`.

/// HitKeep's own: the id of the access key, where a destination leaves it out.
pub const S3_ACCESS_KEY_ID: &str = "HITKEEP_S3_ACCESS_KEY_ID";
/// HitKeep's own: the secret of the access key, where a destination leaves it out.
pub const S3_SECRET_ACCESS_KEY: &str = "HITKEEP_S3_SECRET_ACCESS_KEY";
/// HitKeep's own: the session token of temporary keys, where a destination leaves it out.
pub const S3_SESSION_TOKEN: &str = "HITKEEP_S3_SESSION_TOKEN";
/// HitKeep's own: the region, where a destination leaves it out.
pub const S3_REGION: &str = "HITKEEP_S3_REGION";
/// HitKeep's own: `host[:port]` of the server, where a destination leaves it out.
pub const S3_ENDPOINT: &str = "HITKEEP_S3_ENDPOINT";
/// HitKeep's own: `path` or `vhost`, where a destination leaves it out.
pub const S3_URL_STYLE: &str = "HITKEEP_S3_URL_STYLE";
/// HitKeep's own: `true` or `false`, where a destination leaves it out.
pub const S3_USE_SSL: &str = "HITKEEP_S3_USE_SSL";

/// systemd's directory for the state of a unit: the first choice for the run records.
pub const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// The user's directory for states: the second choice.
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// The user's home: the third choice.
pub const HOME: &str = "HOME";
/// The directory for temporary files: the first choice for unfinished work.
pub const TMPDIR: &str = "TMPDIR";

/// systemd's directory of the credentials of a unit, where a secret is one of them.
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// systemd's word for the stream that it has connected with the journal, by device and inode.
pub const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What says whether a terminal can show more than ASCII.
pub const LOCALE: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// What stands for a key of a plan where there is no plan: the longer text before one that it holds.
const INSTEAD: [(&str, &str); 18] = [
    (" or their `HITKEEP_S3_` variables", ""),
    ("add `access_key_id`, set", "set"),
    ("add `secret_access_key`, set", "set"),
    ("`url_style = \"path\"`", "`HITKEEP_S3_URL_STYLE=path`"),
    ("`url_style = \"vhost\"`", "`HITKEEP_S3_URL_STYLE=vhost`"),
    ("`use_ssl = false`", "`HITKEEP_S3_USE_SSL=false`"),
    ("`use_ssl = true`", "`HITKEEP_S3_USE_SSL=true`"),
    ("`use_ssl`", "`HITKEEP_S3_USE_SSL`"),
    ("`region = \"auto\"`", "`HITKEEP_S3_REGION=auto`"),
    ("`region`", "`HITKEEP_S3_REGION`"),
    ("`endpoint`", "`HITKEEP_S3_ENDPOINT`"),
    ("`access_key_id`", "`HITKEEP_S3_ACCESS_KEY_ID`"),
    ("`secret_access_key`", "`HITKEEP_S3_SECRET_ACCESS_KEY`"),
    ("`session_token`", "`HITKEEP_S3_SESSION_TOKEN`"),
    ("`ca_bundle`", "`SSL_CERT_FILE`"),
    ("add `HITKEEP_", "set `HITKEEP_"),
    ("write `HITKEEP_", "set `HITKEEP_"),
    ("; a key in the plan comes before it", ""),
];

/// Returns what helps in the words of the environment, for someone who has given an address and no plan.
#[must_use]
pub fn instead_of_keys(help: &str) -> String {
    INSTEAD.iter().fold(help.to_owned(), |help, (key, variable)| help.replace(key, variable))
}
