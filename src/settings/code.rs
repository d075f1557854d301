//! The codes of what can be wrong with the variables of HitKeep: stable, since scripts compare them.

/// A value that HitKeep cannot understand, or a plan cannot say.
pub(super) const INVALID_VALUE: &str = "hitkeep::invalid-value";
/// No compose file, or not one with HitKeep in it.
pub(super) const COMPOSE: &str = "hitkeep::compose";
/// Something else that may set variables, and is not read.
pub(super) const UNSEEN: &str = "hitkeep::unseen";
/// A value that is made of variables, of which one is not set.
pub(super) const NOT_SET: &str = "hitkeep::not-set";
/// Archives are kept, or nothing, and no backups are made.
pub(super) const NO_BACKUP: &str = "hitkeep::no-backup";
/// The databases of teams are not where the shared one is.
pub(super) const TEAMS: &str = "hitkeep::teams";
/// A path that depends on where HitKeep is started.
pub(super) const RELATIVE_PATH: &str = "hitkeep::relative-path";
/// Backups or archives in the directory of what they are to save.
pub(super) const INSIDE_DATA: &str = "hitkeep::inside-data";
/// Backups and archives in one folder.
pub(super) const SAME_FOLDER: &str = "hitkeep::same-folder";
/// A number of backups that deletes all of them, or none.
pub(super) const RETENTION: &str = "hitkeep::retention";
/// A path of a container that is not a directory of this host.
pub(super) const VOLUME: &str = "hitkeep::volume";
/// A server that is not written as `host[:port]`.
pub(super) const ENDPOINT: &str = "hitkeep::endpoint";
/// Requests name the bucket in the host, of which the server has none.
pub(super) const URL_STYLE: &str = "hitkeep::url-style";
/// TLS is spoken to a server of plain HTTP.
pub(super) const USE_SSL: &str = "hitkeep::use-ssl";
/// An access key of which one half is not set, or that ends soon.
pub(super) const ACCESS_KEY: &str = "hitkeep::access-key";
