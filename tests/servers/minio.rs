//! MinIO over one folder: what most people have who keep a bucket of their own. It lists unfinished uploads of one whole key
//! alone, and a key's parts are the names of folders.

use std::process::Command;
use std::sync::OnceLock;

use super::home::{Home, free_address};
use super::{Creation, Habits, Server, available, find_program};

/// The name of the key of the store that encrypts, and its bytes.
const KEY: &str = "stories:c3RvcmllcyBoYXZlIGEga2V5IG9mIDMyIGJ5dGVzLi4=";

/// Returns the store, started on first use; it has no key to encrypt with, and refuses to.
pub(crate) fn server() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(|| start(None)))
}

/// Returns one that encrypts when it is asked to, started on first use.
pub(crate) fn encrypting() -> Option<Server> {
    static STARTED: OnceLock<Result<(Server, Home), String>> = OnceLock::new();
    available(STARTED.get_or_init(|| start(Some(KEY))))
}

fn start(key: Option<&str>) -> Result<(Server, Home), String> {
    let program = find_program("minio")?;
    let mut home = Home::new("minio");
    let server = Server {
        name: "minio",
        endpoint: free_address(),
        ca: None,
        region: "us-east-1",
        access_key: "minio-access-key",
        secret_key: "minio-secret-key",
        habits: Habits { creation: Creation::Atomic, checksums: true, trailers: true, long_keys: true, uploads: true },
    };

    let mut store = Command::new(program);
    store.args(["server", "--address", &server.endpoint]).arg(home.make_folder("data"));
    store.arg("--certs-dir").arg(home.make_folder("certificates"));
    store.env("MINIO_ROOT_USER", server.access_key).env("MINIO_ROOT_PASSWORD", server.secret_key);
    store.envs(key.map(|key| ("MINIO_KMS_SECRET_KEY", key)));
    store.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off");
    home.start(&mut store);
    server.wait_until_ready(&home.log());
    Ok((server, home))
}
