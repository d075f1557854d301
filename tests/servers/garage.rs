//! Garage, a store for small clusters, alone on one node: it checks all checksums and runs lifecycle rules, and has no
//! conditional writes.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use super::home::{Home, free_address};
use super::{Creation, Habits, Server, available, find_program};

const ACCESS_KEY: &str = "GK0123456789abcdef01234567";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Returns the store, started on first use.
pub(crate) fn server() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(start))
}

fn start() -> Result<(Server, Home), String> {
    let program = find_program("garage")?;
    let mut home = Home::new("garage");
    let server = Server {
        name: "garage",
        endpoint: free_address(),
        ca: None,
        region: "garage",
        access_key: ACCESS_KEY,
        secret_key: SECRET_KEY,
        habits: Habits {
            creation: Creation::Overwrites,
            checksums: true,
            trailers: false,
            long_keys: true,
            uploads: true,
        },
    };
    fs::write(home.path("garage.toml"), configuration(&server.endpoint)).unwrap();

    let garage = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-c", "garage.toml"]).args(words);
        command
    };
    let mut daemon = garage(&["server", "--single-node", "--default-bucket"]);
    daemon.env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY);
    home.start(daemon.env("GARAGE_DEFAULT_BUCKET", "default"));
    server.wait_until_ready(&home.log());
    home.run(&mut garage(&["key", "allow", "--create-bucket", ACCESS_KEY]));
    Ok((server, home))
}

/// Returns what `garage.toml` says. With `sqlite` keys may have any length; the default engine ends near 500 bytes.
fn configuration(endpoint: &str) -> String {
    let rpc = free_address();
    format!(
        r#"
        metadata_dir = "metadata"
        data_dir = "data"
        db_engine = "sqlite"
        metadata_fsync = false
        data_fsync = false
        replication_factor = 1
        rpc_bind_addr = "{rpc}"
        rpc_public_addr = "{rpc}"
        rpc_secret = "{SECRET_KEY}"

        [s3_api]
        s3_region = "garage"
        api_bind_addr = "{endpoint}"
        "#
    )
}
