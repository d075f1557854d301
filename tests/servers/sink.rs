//! A server that throws away what it is given and remembers how much it was: uploads of any size at little cost, and
//! downloads of as many zeros.
//!
//! It compares checksums and honours conditions, as modern servers do; it asks for no signature.

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
use percent_encoding::percent_decode_str;

use super::listening::Listening;
use super::{Creation, Habits, Server};

// The tag of an object in parts, which no client takes for an MD5.
const ETAG: &str = "\"0123456789abcdef0123456789abcdef-1\"";
const UPLOAD: &str = "<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>0123456789abcdef0123456789abcdef-1</ETag></CompleteMultipartUploadResult>";
const BAD_DIGEST: &str = "<Error><Code>BadDigest</Code></Error>";
const MISSING: &str = "<Error><Code>NoSuchKey</Code></Error>";
const TAKEN: &str = "<Error><Code>PreconditionFailed</Code></Error>";
/// When everything was stored, in the two ways of saying it.
const STORED: [&str; 2] = ["2026-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:00:00 GMT"];

/// What is handed out of an object, of so much at a time at most. Nobody writes to it, so that it takes no memory.
static ZEROS: [u8; 256 << 20] = [0; 256 << 20];

/// The sizes of an object's parts by their numbers; one that came whole is part 0.
pub(crate) type Parts = BTreeMap<u32, u64>;

/// What is remembered of an object.
#[derive(Clone, Debug, Default)]
struct Object {
    parts: Parts,
    checksum: Option<String>,
}

impl Object {
    fn size(&self) -> u64 {
        self.parts.values().sum()
    }
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
    let range = header("range");
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
        ("GET", _) if !is_object => text(list(&objects, &path, &query)),
        ("GET", _) => objects.get(&path).map_or_else(missing, |object| zeros(object, range.as_deref())),
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

/// Lists the objects of a bucket below a prefix, as if no name had a `/` after that.
fn list(objects: &BTreeMap<String, Object>, bucket: &str, query: &str) -> String {
    let value = |name| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let prefix = percent_decode_str(value("prefix").unwrap_or_default()).decode_utf8().unwrap();
    let keys =
        objects.iter().filter_map(|(path, object)| Some((path.strip_prefix(bucket)?.strip_prefix('/')?, object)));
    let listed: Vec<String> = keys
        .filter(|(key, _)| key.starts_with(&*prefix))
        .map(|(key, object)| {
            let (size, stored) = (object.size(), STORED[0]);
            let tag = ETAG.replace('"', "&quot;");
            format!(
                "<Contents><Key>{key}</Key><LastModified>{stored}</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>"
            )
        })
        .collect();
    let count = listed.len();
    format!(
        "<ListBucketResult><KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
        listed.concat()
    )
}

/// Hands out an object, or the range of it that is asked for.
fn zeros(object: &Object, range: Option<&str>) -> Response<Full<Bytes>> {
    let size = object.size();
    let answer = Response::builder().header("etag", ETAG).header("last-modified", STORED[1]);
    let (answer, length) = match range.map(|range| range.strip_prefix("bytes=").unwrap().split_once('-').unwrap()) {
        None => (answer, size),
        Some((from, to)) => {
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap_or(u64::MAX));
            if from >= size {
                return empty(StatusCode::RANGE_NOT_SATISFIABLE);
            }
            let to = to.min(size - 1);
            let answer = answer.status(StatusCode::PARTIAL_CONTENT);
            (answer.header("content-range", format!("bytes {from}-{to}/{size}")), to + 1 - from)
        }
    };
    answer.body(Full::from(&ZEROS[..usize::try_from(length).unwrap()])).unwrap()
}

fn missing() -> Response<Full<Bytes>> {
    refusal(StatusCode::NOT_FOUND, MISSING)
}

fn sized(object: &Object) -> Response<Full<Bytes>> {
    let answer = Response::builder().header("etag", ETAG).header("content-length", object.size());
    let answer = answer.header("last-modified", STORED[1]);
    let checksum = object.checksum.iter();
    let answer = checksum.fold(answer, |answer, checksum| answer.header("x-amz-checksum-crc64nvme", checksum));
    answer.body(Full::default()).unwrap()
}

fn refusal(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("content-type", "application/xml").body(Full::new(body.into())).unwrap()
}

fn text(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/xml").body(Full::new(body.into())).unwrap()
}
