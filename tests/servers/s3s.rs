//! The reference service of the `s3s` crate over a folder, within this process: instant, strict about signatures and
//! checksums, and without lifecycle, versions or copies of parts.

use std::sync::OnceLock;

use ::s3s::auth::SimpleAuth;
use ::s3s::service::S3ServiceBuilder;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s_fs::FileSystem;

use super::home::Home;
use super::listening::Listening;
use super::{Creation, Habits, Server};

const ACCESS_KEY: &str = "s3s-access-key";
const SECRET_KEY: &str = "s3s-secret-key";

/// Returns the service, which is there everywhere.
pub(crate) fn server() -> Server {
    static STARTED: OnceLock<(Server, Home, Listening)> = OnceLock::new();
    let (server, ..) = STARTED.get_or_init(start);
    server.clone()
}

/// Returns the service as it would be if it encrypted: it says of each object that it did as it was asked.
pub(crate) fn encrypting() -> Server {
    static STARTED: OnceLock<(Server, Home, Listening)> = OnceLock::new();
    let (server, ..) = STARTED.get_or_init(|| start_saying(&["x-amz-server-side-encryption"]));
    server.clone()
}

fn start() -> (Server, Home, Listening) {
    start_saying(&[])
}

/// Starts the service, which repeats these headers of each request in its answer.
fn start_saying(repeated: &'static [&'static str]) -> (Server, Home, Listening) {
    let home = Home::new("s3s");
    let mut service = S3ServiceBuilder::new(FileSystem::new(home.make_folder("data")).unwrap());
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let listening = Listening::new(move |socket| {
        let service = service.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let asked: Vec<_> =
                repeated.iter().filter_map(|name| Some((*name, request.headers().get(*name)?.clone()))).collect();
            let answering = hyper::service::Service::call(&service, request);
            async move {
                answering.await.map(|mut answer| {
                    answer
                        .headers_mut()
                        .extend(asked.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
                    answer
                })
            }
        });
        async move {
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
        }
    });
    let server = Server {
        name: "s3s",
        endpoint: listening.endpoint(),
        ca: None,
        region: "us-east-1",
        access_key: ACCESS_KEY,
        secret_key: SECRET_KEY,
        habits: Habits { creation: Creation::Races, checksums: true, trailers: true, long_keys: false, uploads: false },
    };
    (server, home, listening)
}
