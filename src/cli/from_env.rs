//! `init --from-env`: the plan of a HitKeep that is there, from the variables that it is told by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{CliError, tell_problems};
use super::init::write_or_print;
use super::{Voice, desk};
use crate::diagnose::{Diagnostic, Problems, Rejected};
use crate::hitkeep::NOT_INCLUDED;
use crate::run::exit;
use crate::settings::{self, Ground, Service, Settings, Variables};

/// Where the variables of HitKeep are found.
#[derive(Debug, Args)]
pub(super) struct FromEnv {
    /// Write the plan that asks for what HitKeep's own variables say: `HITKEEP_BACKUP_PATH` and the like, as this
    /// environment has them, or the file that is named.
    #[arg(id = "from_env", long = "from-env")]
    is_wanted: bool,
    /// The variables are in this file of `NAME=VALUE`, as Docker and systemd read them; what is only named there is taken from
    /// this environment.
    #[arg(long, value_name = "FILE", conflicts_with = "compose")]
    env_file: Option<PathBuf>,
    /// The variables, and the directories behind them, are those of HitKeep's service in this compose file.
    #[arg(long, value_name = "FILE")]
    compose: Option<PathBuf>,
    /// The service in it; otherwise the one with HitKeep's image.
    #[arg(long, value_name = "NAME", requires = "compose")]
    service: Option<String>,
}

/// The variables, where HitKeep runs, and what they were read from.
type Found = (Variables, Ground, String);

impl FromEnv {
    /// Returns whether a plan like this is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.is_wanted || self.env_file.is_some() || self.compose.is_some()
    }

    /// Writes the plan, tells what is odd about the variables, and what to do next.
    pub(super) fn carry_out(&self, plan: &Path, voice: Voice) -> Result<u8, CliError> {
        let (variables, ground, origin) = self.find()?;
        if variables.is_empty() {
            tell_problems(&Problems::new(&origin, "", variables.unseen().to_vec()));
            return Err(CliError::Usage {
                message: format!("no variable of HitKeep's that a plan has an answer to is set in {origin}"),
                help: "name where they are set, with --env-file or --compose; `init` alone writes a plan without them"
                    .to_owned(),
            });
        }
        let (settings, notes) = Settings::read(&variables, &ground, &origin);
        let problems = Problems::new(&origin, "", notes);
        let Some(settings) = settings else { return Err(Rejected::new(problems).into()) };
        tell_problems(&problems);
        let text = settings.plan();
        tell_problems(&desk::read_text(&text, plan)?.warnings);
        if write_or_print(plan, &text)? {
            voice.say(&next_steps(plan, &origin, &settings))?;
        }
        Ok(exit::DONE)
    }

    fn find(&self) -> Result<Found, CliError> {
        let here =
            std::env::current_dir().map_err(|cause| CliError::File { doing: "find", path: ".".into(), cause })?;
        let environment = desk::variables();
        if let Some(file) = &self.compose {
            return self.find_in_service(file, &here, &environment);
        }
        let mut variables = Variables::default();
        let origin = if let Some(file) = &self.env_file {
            variables.take_file(&read(file)?, None, &|name| environment.get(name).cloned());
            file.display().to_string()
        } else {
            variables.take_environment(&environment);
            "the environment".to_owned()
        };
        Ok((variables, Ground::Host(here), origin))
    }

    /// Finds the variables of a service: those of its files, then its own. What they are made of is in the environment, or in
    /// the `.env` beside the compose file.
    fn find_in_service(
        &self,
        file: &Path,
        here: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Found, CliError> {
        let origin = file.display().to_string();
        let text = read(file)?;
        let path = here.join(file);
        let directory = path.parent().unwrap_or(Path::new("/"));
        let beside = directory.join(".env");
        let beside = if beside.exists() { settings::values(&read(&beside)?) } else { BTreeMap::new() };
        let lookup = |name: &str| environment.get(name).or_else(|| beside.get(name)).cloned();
        let refused = |problem: Diagnostic| Rejected::new(Problems::new(&origin, "", vec![problem]));
        let service = Service::read(&text, self.service.as_deref(), directory, &lookup).map_err(refused)?;
        let mut variables = Variables::default();
        for file in service.env_files() {
            let path = directory.join(&file.path);
            if file.is_required || path.exists() {
                variables.take_file(&read(&path)?, Some(&file.path), &lookup);
            }
        }
        let ground = variables.take_service(service);
        if let Some(name) = overriding(&path) {
            variables.pass_over(name);
        }
        Ok((variables, ground, origin))
    }
}

/// Returns the name of the file that Compose reads with one of these by itself, if there is one beside it.
fn overriding(compose: &Path) -> Option<&'static str> {
    const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
    const OVERRIDING: [&str; 4] = [
        "compose.override.yml",
        "compose.override.yaml",
        "docker-compose.override.yml",
        "docker-compose.override.yaml",
    ];
    let name = compose.file_name()?;
    let is_found_by_itself = NAMES.iter().any(|known| name == *known);
    OVERRIDING.into_iter().find(|other| is_found_by_itself && compose.with_file_name(other).exists())
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|cause| CliError::File { doing: "read", path: path.to_owned(), cause })
}

/// Returns what a person does next, and what becomes better.
fn next_steps(plan: &Path, origin: &str, settings: &Settings) -> String {
    let plan = plan.display();
    let mut text = format!(
        "{plan} is written, from {origin}; make it yours, then:\n  hitkeep-plan doctor {plan}\n  hitkeep-plan run {plan} --dry-run\n"
    );
    let mut list = |title: &str, items: &[&str]| {
        if items.is_empty() {
            return;
        }
        // Writing into a `String` cannot fail.
        let _ = writeln!(text, "\n{title}");
        for item in items {
            let _ = writeln!(text, "  * {}", item.replace('\n', "\n    "));
        }
    };
    list("To be set wherever the plan is run, as it is for HitKeep:", settings.secrets());
    list("What HitKeep's own backup leaves out, and this plan does not:", &settings.left_out());
    list("What neither has, and a whole restore needs:", &NOT_INCLUDED);
    text
}
