//! Tells people and programs of runs: over HTTP, or by a command.
//!
//! An address is a secret: whoever knows it may speak in this program's name. So it is in no message, and nothing is sent on
//! to where a server redirects.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url, redirect, retry};

use crate::measure::Span;
use crate::plan::{Message, Notice, Occasion, Secret, Way};
use crate::run::{Ended, Hook};
use crate::secret::{self, Hidden, NotHad};
use crate::stop::Stop;

/// How often a message is sent again at most: when there is no answer, or the server says that it cannot at the moment.
const AGAIN: u32 = 2;

/// How healthchecks begins its answer when it has taken a message and it is nobody's.
const NOBODYS: &str = "OK (";

/// Why somebody could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// The address is not where the plan says.
    #[error(transparent)]
    NotHad(#[from] NotHad),
    /// What was found there is no address.
    #[error("what {0} holds is not an address of HTTP")]
    NoAddress(String),
    /// The server cannot be reached, or does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The server does not want it.
    #[error("the server answers {0}")]
    Refused(String),
    /// The template makes no JSON of this message.
    #[error("its template cannot be worked out: {0}")]
    Template(String),
    /// The command failed.
    #[error("the command {0}")]
    Command(String),
    /// It took too long.
    #[error("nothing came of it within {0}")]
    TooLong(Span),
}

/// Tells one whom the plan names. A command gets `environment`; what is `hidden` is in no message, and the address is learnt.
///
/// # Errors
/// When that was not possible within the notice's time.
pub async fn notify(
    notice: &Notice,
    message: &Message,
    environment: &[(OsString, OsString)],
    hidden: &Hidden,
) -> Result<(), Untold> {
    let limit = notice.timeout();
    let tell = async {
        match notice.way() {
            Way::Healthchecks(secret) => {
                let address = ping(address(secret, hidden).await?, message);
                post(address, "text/plain; charset=utf-8", message.log.join("\n")).await
            }
            Way::Webhook(secret) => {
                let document = notice.document(message).map_err(Untold::Template)?;
                post(address(secret, hidden).await?, "application/json", document).await
            }
            Way::Command(command) => {
                let ran = Hook { command, environment, limit, hidden }.run(&Stop::default()).await;
                let last = ran.output.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
                if ran.ended == Ended::Exited(0) {
                    Ok(())
                } else {
                    Err(Untold::Command(format!("{}{last}", ran.ended)))
                }
            }
        }
    };
    // A command has its own watch, which also ends what it has started.
    match notice.way() {
        Way::Command(_) => tell.await,
        _ => tokio::time::timeout(limit.0, tell).await.unwrap_or(Err(Untold::TooLong(limit))),
    }
}

/// Fetches an address from where it is found; from then on it is hidden.
async fn address(secret: &Secret, hidden: &Hidden) -> Result<Url, Untold> {
    let no_address = || Untold::NoAddress(secret.to_string());
    let found = secret::fetch(secret).await?;
    hidden.learn([found.trim().to_owned()]);
    let address: Url = found.trim().parse().map_err(|_| no_address())?;
    if address.has_host() && ["http", "https"].contains(&address.scheme()) { Ok(address) } else { Err(no_address()) }
}

/// Returns where healthchecks is told of this: `/start`, or `/<exit code>`, with the id of the run.
fn ping(mut address: Url, message: &Message) -> Url {
    let end = match (message.event, message.exit_code) {
        (Occasion::Start, _) | (_, None) => "start".to_owned(),
        (_, Some(code)) => code.to_string(),
    };
    // An address with a host has a path, to which segments can be added.
    if let Ok(mut path) = address.path_segments_mut() {
        path.pop_if_empty().push(&end);
    }
    address.query_pairs_mut().append_pair("rid", &message.run);
    address
}

async fn post(address: Url, kind: &'static str, body: String) -> Result<(), Untold> {
    let client = client(&address).map_err(unreachable)?;
    let mut answer = client.post(address).header(CONTENT_TYPE, kind).body(body).send().await.map_err(unreachable)?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(Untold::Refused(format!("{status}, and an address is not sent on to where it points")));
    }
    if !status.is_success() {
        return Err(Untold::Refused(status.to_string()));
    }
    let said = answer.chunk().await.ok().flatten().unwrap_or_default();
    match String::from_utf8_lossy(&said) {
        nobodys if nobodys.starts_with(NOBODYS) => Err(Untold::Refused(nobodys.chars().take(40).collect())),
        _ => Ok(()),
    }
}

fn client(address: &Url) -> reqwest::Result<Client> {
    // The first that is installed stays, and any is good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let again = retry::for_host(address.host_str().unwrap_or_default().to_owned())
        .no_budget()
        .max_retries_per_request(AGAIN)
        .classify_fn(|tried| match tried.status() {
            Some(status) if !status.is_server_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS => {
                tried.success()
            }
            _ => tried.retryable(),
        });
    Client::builder()
        .user_agent(concat!("hitkeep-plan/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(again)
        .build()
}

/// Says why there was no answer, without the address.
fn unreachable(error: reqwest::Error) -> Untold {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(reason, ": {error}");
        cause = error.source();
    }
    Untold::Unreachable(reason)
}
