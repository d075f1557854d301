//! Secrets as they are: fetched from where a plan says, and taken out of whatever is said.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plan::{Command, Plan, Secret, environment};

/// The shortest secret that is looked for in what others say: a shorter one would be found everywhere.
const LEAST: usize = 4;

/// A secret is not where the plan says.
#[derive(Debug, thiserror::Error)]
#[error("the secret cannot be had from {from}: {cause}")]
pub struct NotHad {
    /// Where it was looked for.
    from: String,
    /// Why it is not there.
    cause: String,
}

/// Fetches one secret from where it is.
///
/// # Errors
/// When it is not there, or empty.
pub async fn fetch(secret: &Secret) -> Result<String, NotHad> {
    let failed = |cause: &str| NotHad { from: secret.to_string(), cause: cause.to_owned() };
    let text = match secret {
        Secret::Command(command) => {
            let command = command.clone();
            let ran = tokio::task::spawn_blocking(move || run(&command)).await;
            ran.unwrap_or_else(|_| Err("it could not be run".to_owned())).map_err(|cause| failed(&cause))?
        }
        lying => look(lying).map_err(|cause| failed(&cause))?,
    };
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed("it is empty")),
        text => Ok(text.to_owned()),
    }
}

/// Returns a secret that lies somewhere, as it lies there.
fn look(secret: &Secret) -> Result<String, String> {
    let read = |path: PathBuf| std::fs::read_to_string(path).map_err(|error| error.to_string());
    match secret {
        Secret::Variable(name) => std::env::var(name).map_err(|_| "the variable is not set".to_owned()),
        Secret::File(path) => read(path.clone()),
        Secret::Credential(name) => {
            let folder = std::env::var_os(environment::CREDENTIALS_DIRECTORY);
            read(PathBuf::from(folder.ok_or("systemd has given this process no credentials")?).join(name))
        }
        Secret::Command(_) => Err("it lies nowhere".to_owned()),
    }
}

/// Runs a command, whose standard output is a secret; its standard error is the user's to read.
fn run(command: &Command) -> Result<String, String> {
    let [program, arguments @ ..] = command.words() else { return Err("there is no command".to_owned()) };
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("the command failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "what it printed is not text".to_owned())
}

/// What no message may hold, although others may say it. A clone is the same: what is learnt by one is hidden by all.
#[derive(Clone, Default)]
pub struct Hidden(Arc<Mutex<Vec<String>>>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({})", self.secrets().len())
    }
}

impl Hidden {
    /// Returns the secrets of a plan that lie in variables, files and credentials, as far as they are there. What a command
    /// would print is not asked for: it is learnt when it is.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let lying = plan.secrets().filter_map(|secret| look(secret).ok());
        let lines = lying.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        let hidden = Self::default();
        hidden.learn(lines);
        hidden
    }

    /// Hides these from now on, unless they are too short.
    pub fn learn(&self, secrets: impl IntoIterator<Item = String>) {
        let mut known = self.secrets();
        known.extend(secrets.into_iter().filter(|secret| secret.len() >= LEAST));
        // Of two secrets the longer may hold the shorter.
        known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        known.dedup();
    }

    fn secrets(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a text without what is hidden.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.secrets().iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// Returns the environment of this process without the variables that hold secrets of a plan.
#[must_use]
pub fn environment_without(plan: &Plan) -> Vec<(OsString, OsString)> {
    let is_secret =
        |name: &OsString| plan.secrets().any(|secret| matches!(secret, Secret::Variable(secret) if **secret == **name));
    std::env::vars_os().filter(|(name, _)| !is_secret(name)).collect()
}
