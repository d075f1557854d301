//! What goes wrong between a client and a server, in a proxy: each fault by itself, where and as often as it is told.
//!
//! It reads where requests begin and how long they are; answers it passes on as they come.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf, sink};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::Server;
use super::listening::Listening;

/// A status line's end, and a body.
type Answer = (&'static str, &'static str);

const SLOW_DOWN: Answer =
    ("503 Slow Down", "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>");

const FAILED: Answer =
    ("200 OK", "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>");

const INVALID_PART: Answer = (
    "400 Bad Request",
    "<Error><Code>InvalidPart</Code><Message>A part does not match what was sent.</Message></Error>",
);

const NOT_IMPLEMENTED: Answer = (
    "501 Not Implemented",
    "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.\
     </Message></Error>",
);

const CONFLICT: Answer = (
    "409 Conflict",
    "<Error><Code>ConditionalRequestConflict</Code><Message>A conflicting operation is under way.</Message></Error>",
);

/// The faults; none by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// How long each request waits before it is passed on.
    pub(crate) latency: Duration,
    /// The connections that are reset, after so many of the client's bytes.
    pub(crate) cut: Option<Strike>,
    /// The connections on which nothing moves any more, after so many of the client's bytes.
    pub(crate) stall: Option<Strike>,
    /// The downloads that end early, after so many bytes of the answer with its head.
    pub(crate) truncate: Option<Strike>,
    /// How many requests, from the first, are answered with 503 `SlowDown`.
    pub(crate) slow_down_first: u64,
    /// How many of a hundred requests are answered with 503 `SlowDown`.
    pub(crate) slow_down_percent: u64,
    /// How many writes to what is named like this, from the first, are answered with 503 `SlowDown`.
    pub(crate) slow_down_writes: Option<(&'static str, u64)>,
    /// What chooses those of a hundred.
    pub(crate) seed: u64,
    /// How many multipart uploads, from the first, are not completed and answered with 200 and an error inside.
    pub(crate) failed_completions: u64,
    /// How many multipart uploads, from the first, are not completed because a part is said to be another.
    pub(crate) mistaken_parts: u64,
    /// How many writes of whole objects, from the first, are done and never answered.
    pub(crate) lost_answers: u64,
    /// How many uploads, from the first, are begun and never answered.
    pub(crate) lost_beginnings: u64,
    /// The header that the server does not know: each request with it is answered with 501.
    pub(crate) unknown_header: Option<&'static str>,
    /// How many writes with a condition, from the first, meet another write that is under way.
    pub(crate) conflicts: u64,
    /// The first write to what is named like this waits so long before it is passed on.
    pub(crate) held: Option<(&'static str, Duration)>,
    /// How far the server's clock seems to be ahead.
    pub(crate) ahead: Duration,
}

/// Which of many are struck, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    /// The last of so many, again and again.
    pub(crate) every: u64,
    /// How many bytes are passed on before.
    pub(crate) after: u64,
}

/// What a proxy has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) downloads: u64,
    pub(crate) cut: u64,
    pub(crate) stalled: u64,
    pub(crate) truncated: u64,
    pub(crate) slowed_down: u64,
    pub(crate) failed_completions: u64,
    pub(crate) mistaken_parts: u64,
    pub(crate) lost_answers: u64,
    pub(crate) lost_beginnings: u64,
    pub(crate) not_known: u64,
    pub(crate) conflicts: u64,
    pub(crate) held: u64,
}

/// A proxy, until it is dropped.
pub(crate) struct Proxy {
    /// The server as it is seen through it.
    pub(crate) server: Server,
    between: Arc<Between>,
    _listening: Listening,
}

impl Proxy {
    /// Puts faults in front of a server that speaks plain HTTP.
    pub(crate) fn before(server: &Server, faults: Faults) -> Self {
        let between = Arc::new(Between {
            upstream: server.endpoint.clone(),
            faults,
            counts: Mutex::default(),
            heads: Mutex::default(),
        });
        let shared = between.clone();
        let listening = Listening::new(move |client| {
            let between = shared.clone();
            async move { between.serve(client).await }
        });
        Self { server: Server { endpoint: listening.endpoint(), ..server.clone() }, between, _listening: listening }
    }

    /// Returns the heads of the requests that it has seen so far, in small letters.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.between.heads.lock().unwrap().clone()
    }

    /// Returns what it has seen and done so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.between.counts.lock().unwrap()
    }
}

/// What all connections share.
struct Between {
    upstream: String,
    faults: Faults,
    counts: Mutex<Counts>,
    heads: Mutex<Vec<String>>,
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Cut,
    Stalled,
    Answered(Answer),
}

impl Between {
    async fn serve(&self, mut client: TcpStream) {
        let Ok(mut server) = TcpStream::connect(&self.upstream).await else { return };
        server.set_nodelay(true).unwrap();
        let limit = AtomicUsize::new(usize::MAX);
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let end = tokio::select! {
            end = self.pass_requests(from_client, to_server, &limit) => end,
            end = self.pass_answers(from_server, to_client, &limit) => end,
        };
        match end {
            Ok(End::Closed) | Err(_) => {}
            Ok(End::Cut) => client.set_zero_linger().unwrap(),
            Ok(End::Stalled) => std::future::pending().await,
            Ok(End::Answered(answer)) => drop(client.write_all(http(answer).as_bytes()).await),
        }
    }

    /// Passes requests on, and sets the limit of each one's answer.
    async fn pass_requests(
        &self,
        client: ReadHalf<'_>,
        mut server: WriteHalf<'_>,
        limit: &AtomicUsize,
    ) -> io::Result<End> {
        let mut client = BufReader::with_capacity(64 << 10, client);
        let (mut left, fate) = self.fate();
        while let Some(head) = Head::read(&mut client).await? {
            self.heads.lock().unwrap().push(head.text.to_lowercase());
            if let Some(answer) = self.own_answer(&head) {
                copy_buf(&mut (&mut client).take(head.length), &mut sink()).await?;
                return Ok(End::Answered(answer));
            }
            limit.store(self.limit(&head), Ordering::Relaxed);
            tokio::time::sleep(self.faults.latency + self.hold(&head)).await;
            let request = head.bytes.as_slice().chain((&mut client).take(head.length));
            left -= copy_buf(&mut request.take(left), &mut server).await?;
            if left == 0 {
                return Ok(self.struck(fate));
            }
        }
        Ok(End::Closed)
    }

    /// Passes answers on, up to the limit.
    async fn pass_answers(
        &self,
        mut server: ReadHalf<'_>,
        mut client: WriteHalf<'_>,
        limit: &AtomicUsize,
    ) -> io::Result<End> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = server.read(&mut buffer).await?;
            let left = limit.load(Ordering::Relaxed);
            self.put_ahead(&mut buffer[..read]);
            client.write_all(&buffer[..read.min(left)]).await?;
            if read == 0 {
                return Ok(End::Closed);
            }
            if read >= left {
                // An answer without a single byte is counted as lost.
                self.counts.lock().unwrap().truncated += u64::from(left > 0);
                return Ok(End::Closed);
            }
            limit.store(left - read, Ordering::Relaxed);
        }
    }

    /// Lets an answer that begins here say that it is later.
    fn put_ahead(&self, answer: &mut [u8]) {
        const FIELD: &[u8] = b"\r\ndate: ";
        const FORM: &str = "%a, %d %b %Y %H:%M:%S GMT";
        let is_there = |window: &[u8]| window.eq_ignore_ascii_case(FIELD);
        let Some(field) = answer.windows(FIELD.len()).position(is_there).filter(|_| !self.faults.ahead.is_zero())
        else {
            return;
        };
        let date = &mut answer[field + FIELD.len()..][.."Thu, 26 Nov 2026 07:00:00 GMT".len()];
        let said = jiff::fmt::rfc2822::parse(str::from_utf8(date).unwrap()).unwrap().timestamp();
        let later = (said + self.faults.ahead).strftime(FORM).to_string();
        date.copy_from_slice(later.as_bytes());
    }

    /// Returns how the next connection ends, and after how many bytes.
    fn fate(&self) -> (u64, End) {
        let mut counts = self.counts.lock().unwrap();
        counts.connections += 1;
        let fates = [(self.faults.cut, End::Cut), (self.faults.stall, End::Stalled)];
        let struck = fates.into_iter().find_map(|(strike, end)| Some((strike?.strikes(counts.connections)?, end)));
        struck.unwrap_or((u64::MAX, End::Closed))
    }

    fn struck(&self, fate: End) -> End {
        let mut counts = self.counts.lock().unwrap();
        match fate {
            End::Cut => counts.cut += 1,
            _ => counts.stalled += 1,
        }
        fate
    }

    /// Returns what a request is answered with that is not passed on.
    fn own_answer(&self, head: &Head) -> Option<Answer> {
        let mut counts = self.counts.lock().unwrap();
        counts.requests += 1;
        let is_early = counts.requests <= self.faults.slow_down_first;
        let is_burst = self.faults.slow_down_writes.is_some_and(|(name, first)| {
            head.method == "PUT" && head.target.contains(name) && counts.slowed_down < first
        });
        let is_unlucky = percentile(self.faults.seed, counts.requests) < self.faults.slow_down_percent;
        if is_early || is_burst || is_unlucky {
            counts.slowed_down += 1;
            return Some(SLOW_DOWN);
        }
        if head.is_completion() && counts.failed_completions < self.faults.failed_completions {
            counts.failed_completions += 1;
            return Some(FAILED);
        }
        if head.is_completion() && counts.mistaken_parts < self.faults.mistaken_parts {
            counts.mistaken_parts += 1;
            return Some(INVALID_PART);
        }
        if self.faults.unknown_header.is_some_and(|name| head.header(name).is_some()) {
            counts.not_known += 1;
            return Some(NOT_IMPLEMENTED);
        }
        if head.header("if-none-match").is_some() && counts.conflicts < self.faults.conflicts {
            counts.conflicts += 1;
            return Some(CONFLICT);
        }
        None
    }

    /// Returns how long a request waits that is held.
    fn hold(&self, head: &Head) -> Duration {
        let mut counts = self.counts.lock().unwrap();
        match self.faults.held {
            Some((name, time)) if counts.held == 0 && head.method == "PUT" && head.target.contains(name) => {
                counts.held += 1;
                time
            }
            _ => Duration::ZERO,
        }
    }

    /// Returns after how many bytes the answer to a request ends early.
    fn limit(&self, head: &Head) -> usize {
        let mut counts = self.counts.lock().unwrap();
        if head.is_write() && counts.lost_answers < self.faults.lost_answers {
            counts.lost_answers += 1;
            return 0;
        }
        if head.is_beginning() && counts.lost_beginnings < self.faults.lost_beginnings {
            counts.lost_beginnings += 1;
            return 0;
        }
        if !head.is_download() {
            return usize::MAX;
        }
        counts.downloads += 1;
        let after = self.faults.truncate.and_then(|strike| strike.strikes(counts.downloads));
        after.map_or(usize::MAX, |after| usize::try_from(after).unwrap())
    }
}

impl Strike {
    /// Returns after how many bytes one is struck, if it is.
    fn strikes(self, number: u64) -> Option<u64> {
        number.is_multiple_of(self.every).then_some(self.after)
    }
}

/// Returns an answer as it is sent, the last one of its connection.
fn http((status, body): Answer) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Returns a number below 100 that looks random, and is the same each time.
fn percentile(seed: u64, request: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, request).hash(&mut hasher);
    hasher.finish() % 100
}

/// What stands before a request's body.
pub(super) struct Head {
    bytes: Vec<u8>,
    /// The same, to look for headers in.
    pub(super) text: String,
    /// How long the body is.
    pub(super) length: u64,
    pub(super) method: String,
    pub(super) target: String,
}

impl Head {
    /// Reads the next one; none when the client has hung up.
    pub(super) async fn read(client: &mut BufReader<ReadHalf<'_>>) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if client.read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(None);
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut words = text.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let mut head = Self { bytes, text, length: 0, method, target };
        assert_eq!(head.header("transfer-encoding"), None, "only bodies of a known length can be passed on");
        head.length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        Ok(Some(head))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.text.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Tells whether it is about an object, and not about a bucket or all of them.
    fn is_about_object(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        path.trim_start_matches('/').contains('/')
    }

    fn is_download(&self) -> bool {
        self.method == "GET" && self.is_about_object()
    }

    fn is_completion(&self) -> bool {
        self.method == "POST" && self.target.contains("uploadId=")
    }

    /// Tells whether it begins an object of parts.
    fn is_beginning(&self) -> bool {
        self.method == "POST" && self.target.contains("?uploads")
    }

    /// Tells whether it makes an object, alone or out of parts.
    fn is_write(&self) -> bool {
        let is_whole = self.method == "PUT" && !self.target.contains("uploadId=") && self.is_about_object();
        is_whole || self.is_completion()
    }
}
