//! Versity's gateway over a folder: of all that run here the nearest to S3 in conditional writes, multipart uploads and
//! checksums. It has no lifecycle, and no key may lie below another.

use std::process::Command;
use std::sync::OnceLock;

use super::home::{Home, free_address};
use super::{Creation, Habits, Server, available, find_program};

/// Returns the gateway, started on first use.
pub(crate) fn server() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(start))
}

fn start() -> Result<(Server, Home), String> {
    let program = find_program("versitygw")?;
    let mut home = Home::new("versity");
    let server = Server {
        name: "versity",
        endpoint: free_address(),
        ca: None,
        region: "us-east-1",
        access_key: "versity-access-key",
        secret_key: "versity-secret-key",
        habits: Habits { creation: Creation::Atomic, checksums: true, trailers: true, long_keys: true, uploads: true },
    };

    let mut gateway = Command::new(program);
    gateway.args(["--quiet", "--port", &server.endpoint, "posix", "--sidecar"]);
    // Beside the data, since not every file system has attributes to put it into.
    gateway.arg(home.make_folder("metadata")).arg(home.make_folder("data"));
    gateway.env("ROOT_ACCESS_KEY_ID", server.access_key).env("ROOT_SECRET_ACCESS_KEY", server.secret_key);
    home.start(&mut gateway);
    server.wait_until_ready(&home.log());
    Ok((server, home))
}
