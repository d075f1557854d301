//! The service of a compose file that HitKeep runs as: its variables, and the places on this host behind its paths.

use std::path::{Component, Path, PathBuf};

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};

use super::code;
use super::expand::{Expanded, Lookup, expand};
use crate::diagnose::Diagnostic;

/// Where a container of HitKeep starts in.
const WORKING_DIRECTORY: &str = "/app";

/// The service that HitKeep runs as.
pub struct Service {
    pub(super) name: String,
    /// What `environment` sets; nothing stands for a value that is passed on from the environment of Compose.
    pub(super) environment: Vec<Entry>,
    pub(super) env_files: Vec<EnvFile>,
    pub(super) mounts: Vec<Mount>,
    /// The directory in the container that relative paths start in.
    pub(super) working_directory: PathBuf,
    /// What of it is said elsewhere: the key, and its line, from 1.
    elsewhere: Vec<(&'static str, usize)>,
    /// The names of all services, which are the names of hosts in the network of the containers.
    pub(super) hosts: Vec<String>,
}

/// One variable of `environment`.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<Expanded>,
    /// The line, from 1.
    pub(super) line: usize,
}

/// One file of `env_file`.
pub struct EnvFile {
    /// The path, as it is written.
    pub path: String,
    /// Whether Compose refuses to go on without it.
    pub is_required: bool,
}

/// What a path of the container leads to.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Behind {
    /// A directory of this host.
    Host(PathBuf),
    /// A volume, by its name in the file; a volume without a name goes with the container.
    Volume(Option<String>),
}

/// A place of the container that is not its own.
pub(super) struct Mount {
    pub(super) behind: Behind,
    pub(super) target: PathBuf,
}

type Node<'t> = MarkedYaml<'t>;

impl Service {
    /// Reads a compose file whose relative paths start in `directory`; `lookup` finds the variables that it names.
    /// Without a name, the service is the one of HitKeep's image, or else the only one that sets its variables.
    ///
    /// # Errors
    /// When the text is no compose file, or no such service is in it.
    pub fn read(text: &str, name: Option<&str>, directory: &Path, lookup: Lookup<'_>) -> Result<Self, Diagnostic> {
        let documents = Node::load_from_str(text).map_err(|error| {
            let message = format!("line {} is no YAML: {}", error.marker().line(), error.info());
            Diagnostic::error(code::COMPOSE, message).help("name the compose file that HitKeep is started with")
        })?;
        let include = documents.first().and_then(|document| get(document, "include"));
        let services = documents.first().and_then(|document| get(document, "services")).map(entries);
        let services = services.unwrap_or_default();
        let (name, node) = choose(&services, name)?;
        let reader = Reader { directory, lookup };
        let working_directory = get(node, "working_dir").and_then(text_of).map(|text| reader.expand(&text).text);
        let elsewhere = [("include", include), ("extends", get(node, "extends"))].into_iter();
        Ok(Self {
            name: name.to_owned(),
            elsewhere: elsewhere.filter_map(|(key, node)| Some((key, node?.span.start.line()))).collect(),
            environment: get(node, "environment").map(|node| reader.environment(node)).unwrap_or_default(),
            env_files: get(node, "env_file").map(|node| reader.env_files(node)).unwrap_or_default(),
            mounts: items(get(node, "volumes")).filter_map(|node| reader.mount(node)).collect(),
            working_directory: working_directory.map_or_else(|| WORKING_DIRECTORY.into(), PathBuf::from),
            hosts: services.iter().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// Returns the files that set variables before `environment` does, the first one first.
    #[must_use]
    pub fn env_files(&self) -> &[EnvFile] {
        &self.env_files
    }

    /// Says what of it stands elsewhere, and was not followed.
    pub(super) fn unseen(&self) -> impl Iterator<Item = String> {
        self.elsewhere.iter().map(|(key, line)| format!("`{key}` (line {line}) is not followed"))
    }

    /// Returns what is behind a path of the container: the place, with the rest of the path where that is on this host.
    pub(super) fn behind(&self, path: &Path) -> Option<Behind> {
        let mount = self.mounts.iter().filter(|mount| path.starts_with(&mount.target));
        let mount = mount.max_by_key(|mount| mount.target.components().count())?;
        let rest = path.strip_prefix(&mount.target).ok()?;
        Some(match &mount.behind {
            Behind::Host(host) if rest.as_os_str().is_empty() => Behind::Host(host.clone()),
            Behind::Host(host) => Behind::Host(host.join(rest)),
            volume @ Behind::Volume(_) => volume.clone(),
        })
    }
}

/// Chooses the service that is meant.
fn choose<'s, 't>(
    services: &'s [(String, &'s Node<'t>)],
    name: Option<&str>,
) -> Result<(&'s str, &'s Node<'t>), Diagnostic> {
    let refused = |message: String, help: String| Err(Diagnostic::error(code::COMPOSE, message).help(help));
    let named = |services: &[&(String, &Node<'_>)]| {
        services.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    if services.is_empty() {
        return refused(
            "it has no `services`".to_owned(),
            "name the compose file that HitKeep is started with".to_owned(),
        );
    }
    if let Some(wanted) = name {
        return match services.iter().find(|(name, _)| name == wanted) {
            Some((name, node)) => Ok((name, node)),
            None => refused(
                format!("it has no service `{wanted}`"),
                format!("it has {}", named(&services.iter().collect::<Vec<_>>())),
            ),
        };
    }
    let is_of_image = |node: &Node<'_>| {
        let image = get(node, "image").and_then(text_of).unwrap_or_default().to_lowercase();
        let image = image.rsplit('/').next().unwrap_or_default();
        image.split([':', '@']).next() == Some("hitkeep")
    };
    let sets_variables = |node: &Node<'_>| {
        let lookup = |_: &str| None;
        let reader = Reader { directory: Path::new("/"), lookup: &lookup };
        let entries = get(node, "environment").map(|node| reader.environment(node)).unwrap_or_default();
        entries.iter().any(|entry| entry.name.starts_with("HITKEEP_"))
    };
    let those =
        |is_meant: &dyn Fn(&Node<'_>) -> bool| services.iter().filter(|(_, node)| is_meant(node)).collect::<Vec<_>>();
    let tries =
        [those(&is_of_image), those(&sets_variables), services.iter().filter(|(name, _)| name == "hitkeep").collect()];
    match tries.iter().find(|found| !found.is_empty()).map(Vec::as_slice) {
        Some([(name, node)]) => Ok((name, node)),
        Some(several) => refused(
            format!("{} services may be HitKeep's: {}", several.len(), named(several)),
            "say which one it is, with --service".to_owned(),
        ),
        None => {
            refused("none of its services is HitKeep's".to_owned(), "say which one it is, with --service".to_owned())
        }
    }
}

/// What a file is read with.
struct Reader<'r> {
    directory: &'r Path,
    lookup: Lookup<'r>,
}

impl Reader<'_> {
    fn expand(&self, text: &str) -> Expanded {
        expand(text, self.lookup)
    }

    /// Reads `environment`: a table, or a list of `NAME=VALUE`.
    fn environment(&self, node: &Node<'_>) -> Vec<Entry> {
        let of_table = entries(node).into_iter().map(|(name, node)| (name, text_of(node), node));
        let of_list = items(Some(node)).filter_map(|node| {
            let text = text_of(node)?;
            let (name, value) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
            Some((name.to_owned(), value.map(str::to_owned), node))
        });
        let entry = |(name, value, node): (String, Option<String>, &Node<'_>)| {
            let value = match value {
                Some(text) => Some(self.expand(&text)),
                None => (self.lookup)(&name).map(Expanded::literal),
            };
            Entry { name, value, line: node.span.start.line() }
        };
        of_table.chain(of_list).map(entry).collect()
    }

    /// Reads `env_file`: a path, or a list of paths and of tables with one.
    fn env_files(&self, node: &Node<'_>) -> Vec<EnvFile> {
        let one = text_of(node).is_some().then_some(node);
        let file = |node: &Node<'_>| {
            let path = text_of(node).or_else(|| text_of(get(node, "path")?))?;
            let is_required = get(node, "required").and_then(text_of).is_none_or(|text| text != "false");
            Some(EnvFile { path: self.expand(&path).text, is_required })
        };
        one.into_iter().chain(items(Some(node))).filter_map(file).collect()
    }

    /// Reads one of `volumes`: `SOURCE:TARGET:MODE`, or a table.
    fn mount(&self, node: &Node<'_>) -> Option<Mount> {
        if let Some(text) = text_of(node) {
            let text = self.expand(&text).text;
            let mut parts = text.split(':');
            return Some(match (parts.next()?, parts.next()) {
                (source, Some(target)) => Mount { behind: self.behind(source), target: target.into() },
                (target, None) => Mount { behind: Behind::Volume(None), target: target.into() },
            });
        }
        let field = |key| get(node, key).and_then(text_of).map(|text| self.expand(&text).text);
        let source = field("source").or_else(|| field("src"));
        let target = field("target").or_else(|| field("destination")).or_else(|| field("dst"))?;
        let behind = match (field("type").as_deref(), source) {
            (Some("bind"), Some(source)) => Behind::Host(self.path(&source)),
            (_, source) => Behind::Volume(source),
        };
        Some(Mount { behind, target: target.into() })
    }

    fn behind(&self, source: &str) -> Behind {
        if source.starts_with(['/', '.', '~']) {
            Behind::Host(self.path(source))
        } else {
            Behind::Volume(Some(source.to_owned()))
        }
    }

    /// Returns the directory of this host that a path of the file names.
    fn path(&self, text: &str) -> PathBuf {
        let home = text.strip_prefix('~').and_then(|rest| Some((self.lookup)("HOME")? + rest));
        let mut path = PathBuf::new();
        for part in self.directory.join(home.unwrap_or_else(|| text.to_owned())).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path
    }
}

/// Returns the entries of a table, in order; those of `<<` first, since the others come before them.
fn entries<'n, 't>(node: &'n Node<'t>) -> Vec<(String, &'n Node<'t>)> {
    let YamlData::Mapping(mapping) = &node.data else { return Vec::new() };
    let merged = mapping.iter().filter(|(key, _)| text_of(key).as_deref() == Some("<<")).flat_map(|(_, value)| {
        let tables: Vec<&Node<'t>> = items(Some(value)).collect();
        let tables = if tables.is_empty() { vec![value] } else { tables };
        // Of several tables the first one holds.
        tables.into_iter().rev().flat_map(entries)
    });
    let own = mapping.iter().filter_map(|(key, value)| Some((text_of(key)?, value)).filter(|(key, _)| key != "<<"));
    merged.chain(own).collect()
}

fn get<'n, 't>(node: &'n Node<'t>, key: &str) -> Option<&'n Node<'t>> {
    entries(node).into_iter().rfind(|(name, _)| name == key).map(|(_, value)| value)
}

fn items<'n, 't>(node: Option<&'n Node<'t>>) -> impl Iterator<Item = &'n Node<'t>> {
    node.and_then(|node| node.data.as_sequence()).into_iter().flatten()
}

/// Returns a scalar as text; nothing for an empty one, and for lists and tables.
fn text_of(node: &Node<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        YamlData::Value(Scalar::Integer(value)) => Some(value.to_string()),
        YamlData::Value(Scalar::FloatingPoint(value)) => Some(value.to_string()),
        _ => None,
    }
}
