//! Where HitKeep keeps its data, its backups and its archives, and where that is on this host.

use std::path::{Path, PathBuf};

use super::compose::{Behind, Service};
use super::{ARCHIVE_PATH, BACKUP_PATH, DATA_PATH, DB_PATH, Diagnostic, Variable, Variables, code};
use crate::hitkeep::DATABASE_FILE;
use crate::name::Prefix;

/// The directory of HitKeep's image that holds the databases.
const IMAGE_DATA: &str = "/var/lib/hitkeep/data";

/// Where a plan's backups go that have no place yet.
pub(super) const SOMEWHERE: &str = "/srv/hitkeep";

/// Where HitKeep runs, which is where its paths mean something.
pub enum Ground {
    /// On this host, started in this directory as far as is known.
    Host(PathBuf),
    /// In the container of a service.
    Container(Service),
}

impl Ground {
    /// Returns the service that a server's name stands for, among containers.
    pub(super) fn neighbour(&self, server: &str) -> Option<&str> {
        let Self::Container(service) = self else { return None };
        let host = server.split(':').next().unwrap_or_default();
        service.hosts.iter().map(String::as_str).find(|name| *name == host)
    }

    /// Returns the directory that relative paths start in.
    fn start(&self) -> &Path {
        match self {
            Self::Host(directory) => directory,
            Self::Container(service) => &service.working_directory,
        }
    }
}

/// A place that HitKeep writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Directory(PathBuf),
    Bucket { name: String, folder: Prefix },
}

/// The places that the variables name, as the plan is to name them.
pub(super) struct Paths {
    pub(super) data: PathBuf,
    /// The shared database; nothing where it lies in the data path by its usual name.
    pub(super) database: Option<PathBuf>,
    pub(super) backups: Option<Place>,
    pub(super) archive: Option<Place>,
    /// Whether these are paths of this host.
    pub(super) is_on_host: bool,
}

/// Reads every path, and says what is odd about it.
pub(super) fn read(variables: &Variables, ground: &Ground, notes: &mut Vec<Diagnostic>) -> Paths {
    let database = variables.get(DB_PATH).map(|variable| absolute(variable, ground, notes));
    let data = match variables.get(DATA_PATH) {
        Some(variable) => absolute(variable, ground, notes),
        None => data_unset(database.as_deref(), ground, notes),
    };
    let database = match (database, ground) {
        (None, Ground::Container(_)) => Some(Path::new(IMAGE_DATA).join(DATABASE_FILE)),
        (None, Ground::Host(start)) if variables.get(DATA_PATH).is_some() => {
            notes.extend(database_unset(&data, start));
            None
        }
        (None, Ground::Host(start)) => Some(start.join(DATABASE_FILE)),
        (database, _) => database,
    };
    let mut paths = Paths {
        database: database.filter(|path| *path != data.join(DATABASE_FILE)),
        data,
        backups: variables.get(BACKUP_PATH).and_then(|variable| place(variable, ground, notes)),
        archive: variables.get(ARCHIVE_PATH).and_then(|variable| place(variable, ground, notes)),
        is_on_host: true,
    };
    if let Ground::Container(service) = ground {
        paths.leave(service, notes);
    }
    paths.judge(variables, notes);
    paths
}

impl Paths {
    /// Puts the directories of this host in the place of those of the container, if they all are some.
    fn leave(&mut self, service: &Service, notes: &mut Vec<Diagnostic>) {
        let mut paths = vec![&mut self.data];
        paths.extend(self.database.as_mut());
        paths.extend([&mut self.backups, &mut self.archive].into_iter().filter_map(|place| match place {
            Some(Place::Directory(path)) => Some(path),
            _ => None,
        }));
        let behind: Vec<_> = paths.iter().map(|path| service.behind(path)).collect();
        self.is_on_host = behind.iter().all(|behind| matches!(behind, Some(Behind::Host(_))));
        if self.is_on_host {
            for (path, behind) in paths.iter_mut().zip(behind) {
                if let Some(Behind::Host(host)) = behind {
                    **path = host;
                }
            }
            return;
        }
        let mut volumes = Vec::new();
        for (path, behind) in paths.iter().zip(&behind) {
            match behind {
                Some(Behind::Volume(Some(name))) if !volumes.contains(name) => volumes.push(name.clone()),
                Some(Behind::Host(_) | Behind::Volume(Some(_))) => {}
                Some(Behind::Volume(None)) | None => notes.push(in_no_volume(path, &service.name)),
            }
        }
        notes.extend((!volumes.is_empty()).then(|| in_volumes(&volumes)));
    }

    /// Says what the places get wrong with each other, and forgets those that cannot stay.
    fn judge(&mut self, variables: &Variables, notes: &mut Vec<Diagnostic>) {
        if variables.get(BACKUP_PATH).is_none() {
            notes.push(no_backup(variables.get(ARCHIVE_PATH)));
        }
        if let (Some(backups), Some(archive)) = (variables.get(BACKUP_PATH), variables.get(ARCHIVE_PATH))
            && self.backups.is_some()
            && self.backups == self.archive
        {
            let message = format!("{archive} is the folder of {backups}: archives lie among backups");
            notes.push(
                Diagnostic::warning(code::SAME_FOLDER, message)
                    .help("give each a folder of its own; the plan's own folders are apart"),
            );
        }
        let instead = format!("the plan has `{SOMEWHERE}`: name a directory of another disk, or a bucket");
        let places = [
            (&mut self.backups, BACKUP_PATH, instead.as_str()),
            (&mut self.archive, ARCHIVE_PATH, "the plan archives to where its backups go"),
        ];
        for (place, name, help) in places {
            let is_inside = matches!(place, Some(Place::Directory(path)) if path.starts_with(&self.data));
            if let Some(variable) = variables.get(name).filter(|_| is_inside) {
                let message = format!("{variable} lies inside of the data directory: what destroys one destroys both");
                notes.push(Diagnostic::warning(code::INSIDE_DATA, message).help(help));
                *place = None;
            }
        }
    }
}

/// Returns the absolute path that a variable names.
fn absolute(variable: &Variable, ground: &Ground, notes: &mut Vec<Diagnostic>) -> PathBuf {
    let path = ground.start().join(&variable.value);
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    if Path::new(&variable.value).is_relative() && matches!(ground, Ground::Host(_)) {
        let message =
            format!("{variable} is `{}`, which starts in the directory that HitKeep is started in", variable.value);
        notes.push(
            Diagnostic::warning(code::RELATIVE_PATH, message)
                .help(format!("the plan has `{}`: correct it if HitKeep is started elsewhere", path.display())),
        );
    }
    path
}

/// Returns where a data path that is not set most likely is. HitKeep does not derive it from the shared database.
fn data_unset(database: Option<&Path>, ground: &Ground, notes: &mut Vec<Diagnostic>) -> PathBuf {
    let (message, path) = match (ground, database.and_then(Path::parent)) {
        (Ground::Container(_), _) => (
            format!(
                "`{DATA_PATH}` is not set: up to 2.13.5 HitKeep's image keeps the databases of teams in `/app/data`, in no volume"
            ),
            IMAGE_DATA.into(),
        ),
        (Ground::Host(_), Some(parent)) => (
            format!(
                "`{DATA_PATH}` is not set: HitKeep keeps the databases of teams in `data` where it is started, not beside `{DB_PATH}`"
            ),
            parent.to_owned(),
        ),
        (Ground::Host(start), None) => (
            format!("neither `{DATA_PATH}` nor `{DB_PATH}` is set: HitKeep's databases are where it is started"),
            start.join("data"),
        ),
    };
    let help = format!("set it to the directory of `tenants`; the plan has `{}`", path.display());
    notes.push(Diagnostic::warning(code::TEAMS, message).help(help));
    path
}

/// A shared database whose path is not set is not in the data path, unless HitKeep is started there.
fn database_unset(data: &Path, start: &Path) -> Option<Diagnostic> {
    let message = format!(
        "`{DB_PATH}` is not set: HitKeep's shared database is `{DATABASE_FILE}` where it is started, not in `{DATA_PATH}`"
    );
    let help = format!("set it; the plan has `{}`", data.join(DATABASE_FILE).display());
    (start != data).then(|| Diagnostic::warning(code::TEAMS, message).help(help))
}

/// Reads a variable that names a directory or a bucket.
fn place(variable: &Variable, ground: &Ground, notes: &mut Vec<Diagnostic>) -> Option<Place> {
    let refused = |reason: &str| {
        let message = format!("{variable} is neither a directory nor a bucket: {reason}");
        Some(
            Diagnostic::error(code::INVALID_VALUE, message)
                .help("write it as in `s3://my-analytics-bucket/hitkeep/backups`"),
        )
    };
    let Some((scheme, rest)) = variable.value.split_once("://") else {
        return Some(Place::Directory(absolute(variable, ground, notes)));
    };
    // The value is not shown where it is odd: it may hold a password.
    if !scheme.eq_ignore_ascii_case("s3") {
        notes.extend(refused("HitKeep knows no address but `s3://`"));
        return None;
    }
    if rest.contains(['@', '?', '#']) {
        notes.extend(refused("it holds `@`, `?` or `#`"));
        return None;
    }
    let (name, folder) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
    match folder.parse() {
        Ok(folder) => Some(Place::Bucket { name: name.to_owned(), folder }),
        Err(reason) => {
            notes.extend(refused(&reason.to_string()));
            None
        }
    }
}

fn no_backup(archive: Option<&Variable>) -> Diagnostic {
    let message = match archive {
        Some(archive) => {
            format!("{archive} is set and `{BACKUP_PATH}` is not: HitKeep archives old rows, and backs nothing up")
        }
        None => format!("`{BACKUP_PATH}` is not set: HitKeep backs nothing up"),
    };
    Diagnostic::warning(code::NO_BACKUP, message)
        .help(format!("the plan backs up to `{SOMEWHERE}`: name a directory of another disk, or a bucket"))
}

fn in_no_volume(path: &Path, service: &str) -> Diagnostic {
    let message = format!("`{}` is in no volume of `{service}`: it goes with the container", path.display());
    Diagnostic::warning(code::VOLUME, message).help("mount a directory or a volume there, with `volumes`")
}

fn in_volumes(volumes: &[String]) -> Diagnostic {
    let names: Vec<String> = volumes.iter().map(|name| format!("`{name}`")).collect();
    let are = if volumes.len() == 1 { "is a volume" } else { "are volumes" };
    let message =
        format!("{} {are} of Docker's: the plan has the paths of the container, not of this host", names.join(", "));
    Diagnostic::warning(code::VOLUME, message).help(
        "run the plan in a container with the same `volumes`, beside HitKeep; or write the paths into it that `docker volume inspect` shows",
    )
}
