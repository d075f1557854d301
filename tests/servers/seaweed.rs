//! SeaweedFS, all its parts in one process.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use super::home::{Home, free_address};
use super::{Creation, Habits, Server, available, find_program};

/// Returns the store, started on first use; it has no key to encrypt with, and answers with an error of its own when it is asked to.
pub(crate) fn server() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(|| start(None)))
}

/// Returns one that encrypts when it is asked to, started on first use.
pub(crate) fn encrypting() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(|| start(Some("stories have a key"))))
}

fn start(key: Option<&str>) -> Result<(Server, Home), String> {
    let program = find_program("weed")?;
    let mut home = Home::new("seaweed");
    let server = Server {
        name: "seaweed",
        endpoint: free_address(),
        ca: None,
        region: "us-east-1",
        access_key: "seaweed-access-key",
        secret_key: "seaweed-secret-key",
        habits: Habits { creation: Creation::Atomic, checksums: true, trailers: true, long_keys: true, uploads: true },
    };
    fs::write(home.path("users.json"), users(&server)).unwrap();

    let mut daemon = Command::new(program);
    daemon.args(["server", "-ip=127.0.0.1", "-filer", "-s3", "-master.telemetry=false"]);
    // Each bucket takes volumes of its own, and the stories make many.
    daemon.args(["-master.electionTimeout=1s", "-master.volumeSizeLimitMB=64", "-volume.max=10000"]);
    daemon.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
    daemon.arg(format!("-s3.config={}", home.path("users.json").display()));
    daemon.arg(format!("-dir={}", home.make_folder("data").display()));
    daemon.arg(format!("-filer.localSocket={}", home.path("filer.sock").display()));
    for part in ["master", "volume", "filer"] {
        daemon.arg(format!("-{part}.port={}", port(&free_address())));
    }
    for part in ["master", "volume", "filer", "s3"] {
        daemon.arg(format!("-{part}.port.grpc={}", port(&free_address())));
    }
    daemon.arg(format!("-s3.port={}", port(&server.endpoint)));
    daemon.envs(key.map(|key| ("WEED_S3_SSE_KEY", key)));
    home.start(&mut daemon);
    server.wait_until_ready(&home.log());
    Ok((server, home))
}

fn users(server: &Server) -> String {
    let Server { access_key, secret_key, .. } = server;
    format!(
        r#"{{"identities": [{{
            "name": "stories",
            "credentials": [{{"accessKey": "{access_key}", "secretKey": "{secret_key}"}}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]
        }}]}}"#
    )
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}
