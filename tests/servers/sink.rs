//! A server that throws away what it is given and remembers how much it was: uploads of any size at little cost.
//!
//! It compares checksums and honours conditions, as modern servers do; it asks for no signature, lists nothing and has
//! nothing to download.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::listening::Listening;
use super::{Creation, Habits, Server};

// The tag of an object in parts, which no client takes for an MD5.
const ETAG: &str = "\"0123456789abcdef0123456789abcdef-1\"";
const UPLOAD: &str = "<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>0123456789abcdef0123456789abcdef-1</ETag></CompleteMultipartUploadResult>";
const BAD_DIGEST: &str = "<Error><Code>BadDigest</Code></Error>";
const TAKEN: &str = "<Error><Code>PreconditionFailed</Code></Error>";
const EMPTY_LIST: &str = "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";

/// The sizes of an object's parts by their numbers; one that came whole is part 0.
pub(crate) type Parts = BTreeMap<u32, u64>;

/// What is remembered of an object.
#[derive(Clone, Debug, Default)]
struct Object {
    parts: Parts,
    checksum: Option<String>,
}

type Objects = Arc<Mutex<BTreeMap<String, Object>>>;

/// The server, until it is dropped.
pub(crate) struct Sink {
    /// The server as a client sees it.
    pub(crate) server: Server,
    objects: Objects,
    _listening: Listening,
}

impl Sink {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let objects = Objects::default();
        let listening = listen(objects.clone());
        let server = Server {
            name: "sink",
            endpoint: listening.endpoint(),
            ca: None,
            region: "us-east-1",
            access_key: "any",
            secret_key: "any",
            habits: Habits {
                creation: Creation::Overwrites,
                checksums: false,
                trailers: true,
                long_keys: true,
                uploads: false,
            },
        };
        Self { server, objects, _listening: listening }
    }

    /// Returns what was uploaded, by bucket and key.
    pub(crate) fn objects(&self) -> BTreeMap<String, Parts> {
        self.objects.lock().unwrap().iter().map(|(path, object)| (path.clone(), object.parts.clone())).collect()
    }
}

fn listen(objects: Objects) -> Listening {
    Listening::new(move |socket| {
        let objects = objects.clone();
        let service = service_fn(move |request| answer(request, objects.clone()));
        async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            drop(connection.await);
        }
    })
}

async fn answer(request: Request<Incoming>, objects: Objects) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let path = request.uri().path().trim_matches('/').to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (checksum, is_new) = (header("x-amz-checksum-crc64nvme"), header("if-none-match").is_some());
    let Some((size, found)) = taken(request).await else { return Ok(empty(StatusCode::BAD_REQUEST)) };
    if method == "PUT" && checksum.as_ref().is_some_and(|checksum| *checksum != found) {
        return Ok(refusal(StatusCode::BAD_REQUEST, BAD_DIGEST));
    }

    let mut objects = objects.lock().unwrap();
    let is_object = path.contains('/');
    Ok(match (method.as_str(), part_number(&query)) {
        ("PUT" | "HEAD", _) if !is_object => empty(StatusCode::OK),
        ("PUT", None) if is_new && objects.contains_key(&path) => refusal(StatusCode::PRECONDITION_FAILED, TAKEN),
        ("PUT", Some(part)) => {
            objects.entry(path).or_default().parts.insert(part, size);
            empty(StatusCode::OK)
        }
        ("PUT", None) => {
            objects.insert(path, Object { parts: Parts::from([(0, size)]), checksum });
            empty(StatusCode::OK)
        }
        ("POST", _) if query.starts_with("uploads") => {
            objects.insert(path, Object::default());
            text(UPLOAD)
        }
        ("POST", _) => {
            objects.entry(path).or_default().checksum = checksum;
            text(COMPLETED)
        }
        ("HEAD", _) => objects.get(&path).map_or_else(|| empty(StatusCode::NOT_FOUND), sized),
        ("GET", _) if !is_object => text(EMPTY_LIST),
        ("DELETE", _) => {
            objects.remove(&path);
            empty(StatusCode::NO_CONTENT)
        }
        _ => empty(StatusCode::NOT_IMPLEMENTED),
    })
}

/// Reads a request to its end, and returns its size without the framing of signed chunks, and its CRC-64/NVME; nothing
/// when it broke off.
async fn taken(mut request: Request<Incoming>) -> Option<(u64, String)> {
    let header = request.headers().get("x-amz-decoded-content-length");
    let decoded = header.map(|size| size.to_str().unwrap().parse().unwrap());
    let mut tally = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
    while let Some(frame) = request.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            tally.update(data);
        }
    }
    let checksum = BASE64_STANDARD.encode(tally.finalize().to_be_bytes());
    Some((decoded.unwrap_or(tally.get_amount()), checksum))
}

fn part_number(query: &str) -> Option<u32> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == "partNumber").map(|(_, number)| number.parse().unwrap())
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("etag", ETAG).body(Full::default()).unwrap()
}

fn sized(object: &Object) -> Response<Full<Bytes>> {
    let size: u64 = object.parts.values().sum();
    let answer = Response::builder().header("etag", ETAG).header("content-length", size);
    let checksum = object.checksum.iter();
    let answer = checksum.fold(answer, |answer, checksum| answer.header("x-amz-checksum-crc64nvme", checksum));
    answer.body(Full::default()).unwrap()
}

fn refusal(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("content-type", "application/xml").body(Full::from(body)).unwrap()
}

fn text(body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/xml").body(Full::from(body)).unwrap()
}
