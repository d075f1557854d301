//! Fetching an object: part by part, several at a time, put in order and measured as they come in. What came before an answer
//! broke off is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::buffers::{Buffer, PIECE};
use super::refusal::Refused;
use super::{Head, Opened, until_stopped};
use crate::event::Meter;
use crate::measure::Tally;
use crate::name::Key;
use crate::store::{Moved, Part, StoreError, blocking, failed};

/// How many answers in a row that bring less than a piece end a download. The SDK asks again for answers, not bodies.
const TRIES: u32 = 8;

/// How long a body may go on without a byte.
const SILENCE: Duration = Duration::from_secs(20);

/// How long to wait when an answer broke off; twice as long for each further one in a row that brings less than a piece.
const PAUSE: Duration = Duration::from_millis(100);

impl Opened {
    /// Fetches an object into a new file.
    pub(super) async fn download(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        let file = create(into.clone()).await?;
        let mut writer = file.try_clone().map_err(failed("open", &into))?;
        let fetched = self.fetch(key, &into, meter, move |bytes| writer.write_all(bytes)).await;
        let path = into.clone();
        let synced = blocking(move || file.sync_all().map_err(failed("sync", &path))).await;
        fetched.and_then(|moved| synced.map(|()| moved)).inspect_err(|_| {
            // The first error is the one to tell; a file that could not be removed is not whole and has no digest.
            drop(std::fs::remove_file(&into));
        })
    }

    /// Reads an object through for nothing but its measure.
    pub(super) async fn read_through(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        self.fetch(key, Path::new(""), meter, |_| Ok(())).await
    }

    /// Fetches an object and hands it to `sink` in order, which writes it to `file`.
    async fn fetch(
        &self,
        key: &Key,
        file: &Path,
        meter: &Meter,
        sink: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Moved, StoreError> {
        // The parts go to a thread of their own, so that those to come are fetched while one is hashed and written. There is
        // room for all that can be at hand: to wait for room would be to fetch nothing meanwhile.
        let (parts, arriving) = mpsc::channel(self.upload.concurrency);
        let (at, counter) = (self.locate(key.as_str()), meter.clone());
        let taking_in = tokio::task::spawn_blocking(move || take_in(arriving, sink, &counter));
        let sent = until_stopped(meter, || at.clone(), self.send_parts_to(key, &parts)).await;
        drop(parts);
        let taken_in = match taking_in.await {
            Ok(taken_in) => taken_in,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let moved = taken_in.map_err(|broken| broken.worded(at, file))?;
        sent.map(|()| moved)
    }

    /// Fetches the parts of an object, several at a time, and sends them on in order.
    async fn send_parts_to(&self, key: &Key, parts: &mpsc::Sender<Buffer>) -> Result<(), StoreError> {
        let step = self.upload.part_size.0;
        // Of an empty object there is no range, and servers differ in how they say so: its size is asked for first.
        let Head { bytes: length, etag, .. } = self.known(key).await?;
        let starts = (0..length.div_ceil(step)).map(|number| number * step);
        let fetch = |start: u64| {
            let wanted = Wanted::part(start, step.min(length - start), etag.clone());
            async move {
                let mut buffer = self.buffers.take().await;
                buffer.clear();
                self.read_into(key, &wanted, &mut buffer).await?;
                Ok::<_, StoreError>(buffer)
            }
        };
        let mut coming = stream::iter(starts).map(fetch).buffered(self.upload.concurrency);
        while let Some(part) = coming.next().await {
            if parts.send(part?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a small object, or the end of a large one.
    pub(super) async fn read_small(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        let wanted = match part {
            Part::Whole => Wanted::default(),
            Part::Last(count) => {
                let Head { bytes: length, etag, .. } = self.known(key).await?;
                let count = count.min(length);
                if count == 0 {
                    return Ok(Vec::new());
                }
                Wanted::part(length - count, count, etag)
            }
        };
        let mut bytes = Vec::new();
        self.read_into(key, &wanted, &mut bytes).await?;
        Ok(bytes)
    }

    /// Looks at an object that must be there.
    async fn known(&self, key: &Key) -> Result<Head, StoreError> {
        self.head(key).await?.ok_or_else(|| StoreError::Missing { at: self.locate(key.as_str()) })
    }

    /// Reads an object or a part of it, again when the answer breaks off. Of a part, what came before is kept.
    async fn read_into(&self, key: &Key, wanted: &Wanted, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut failures = 0;
        loop {
            let there = into.len();
            let get = self.client.get_object().bucket(self.bucket.name()).key(self.full(key));
            let answer = match get.set_range(wanted.range(there)).set_if_match(wanted.etag.clone()).send().await {
                Ok(answer) => answer,
                Err(error) if error.is_missing() => return Err(StoreError::Missing { at: self.locate(key.as_str()) }),
                Err(error) => return Err(self.failed("fetch", key.as_str())(error)),
            };
            let read = match wanted.length(there, &answer) {
                Ok(length) => read_body(answer.body, length, into).await,
                Err(cause) => Err(cause.to_owned()),
            };
            let Err(cause) = read else { return Ok(()) };
            if wanted.may_go_on() {
                failures = if into.len() - there < PIECE { failures + 1 } else { 0 };
            } else {
                failures += 1;
                into.clear();
            }
            if failures == TRIES {
                let at = self.locate(key.as_str());
                return Err(StoreError::Unreachable { doing: "fetch", at, cause: self.hidden.hide(&cause) });
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(failures.saturating_sub(1))).await;
        }
    }
}

/// What is asked for of an object; all of it unless said otherwise.
#[derive(Debug, Default)]
struct Wanted {
    /// Where the part begins, and how many bytes it has: one at least.
    part: Option<(u64, u64)>,
    /// The object must still be the one that has this tag.
    etag: Option<String>,
}

impl Wanted {
    /// Returns a wish for `length` bytes from `start` on, of the object that has this tag.
    fn part(start: u64, length: u64, etag: Option<String>) -> Self {
        Self { part: Some((start, length)), etag }
    }

    /// Returns the range that is missing when so many bytes are there, as HTTP writes it.
    fn range(&self, there: usize) -> Option<String> {
        self.part.map(|(start, length)| format!("bytes={}-{}", start + there as u64, start + length - 1))
    }

    /// Tells whether what is missing is surely of the same object as what is there. The whole of an object is small, and may be
    /// written anew at any time.
    fn may_go_on(&self) -> bool {
        self.part.is_some() && self.etag.is_some()
    }

    /// Returns how long a buffer with so many bytes is when the answer is whole. One that is not as long as what is missing is
    /// of a server that overlooks ranges.
    fn length(&self, there: usize, answer: &GetObjectOutput) -> Result<usize, &'static str> {
        let said = answer.content_length.and_then(|length| usize::try_from(length).ok());
        let length = there + said.ok_or("the answer does not say how long it is")?;
        let is_other = self.etag.is_some() && answer.e_tag.is_some() && self.etag != answer.e_tag;
        if is_other || self.part.is_some_and(|(_, wanted)| wanted != length as u64) {
            return Err("the answer is not what was asked for");
        }
        Ok(length)
    }
}

/// Why parts were not taken in.
enum Broken {
    /// They could not be written.
    Unwritten(io::Error),
    /// The word to stop came.
    Stopped,
}

impl Broken {
    /// Returns the store's error for an object and the file that it goes to.
    fn worded(self, at: String, file: &Path) -> StoreError {
        match self {
            Self::Unwritten(cause) => failed("write", file)(cause),
            Self::Stopped => StoreError::Stopped { at },
        }
    }
}

/// Makes a new file that its owner alone can read.
async fn create(path: PathBuf) -> Result<File, StoreError> {
    blocking(move || {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        new.map_err(failed("create", &path))
    })
    .await
}

/// Measures parts as they arrive, and hands them to `sink`.
fn take_in(
    mut arriving: mpsc::Receiver<Buffer>,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    meter: &Meter,
) -> Result<Moved, Broken> {
    let mut tally = Tally::default();
    while let Some(part) = arriving.blocking_recv() {
        for piece in part.chunks(PIECE) {
            tally.add(piece);
            sink(piece).map_err(Broken::Unwritten)?;
        }
        if !meter.add(part.len() as u64) {
            return Err(Broken::Stopped);
        }
    }
    Ok(tally.into())
}

/// Reads a body until so many bytes are there.
async fn read_body(mut body: ByteStream, length: usize, into: &mut Vec<u8>) -> Result<(), String> {
    into.try_reserve(length - into.len()).map_err(|_| format!("there is no memory for {length} bytes"))?;
    while into.len() < length {
        match tokio::time::timeout(SILENCE, body.next()).await {
            Err(_) => return Err(format!("no byte came for {} s", SILENCE.as_secs())),
            Ok(Some(Ok(bytes))) => into.extend_from_slice(&bytes),
            Ok(Some(Err(error))) => return Err(format!("the answer broke off: {error}")),
            Ok(None) => return Err(format!("the answer ended after {} bytes", into.len())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_asked_for_or_is_not_taken() {
        const OTHER: &str = "the answer is not what was asked for";
        let tag = |tag: &str| Some(tag.to_owned());
        let whole = || Wanted::default();
        let part = || Wanted::part(800, 100, tag("a"));
        for (case, wanted, there, length, etag, expected) in [
            ("a whole object", whole(), 0, Some(7), tag("a"), Ok(7)),
            ("an empty one", whole(), 0, Some(0), None, Ok(0)),
            (
                "one of a length that is not said",
                whole(),
                0,
                None,
                tag("a"),
                Err("the answer does not say how long it is"),
            ),
            ("a part", part(), 0, Some(100), tag("a"), Ok(100)),
            ("what is missing of one", part(), 60, Some(40), tag("a"), Ok(100)),
            ("a part by a server that has no tags", part(), 60, Some(40), None, Ok(100)),
            ("the whole instead of a part", part(), 0, Some(900), tag("a"), Err(OTHER)),
            ("the part from its begin on", part(), 60, Some(100), tag("a"), Err(OTHER)),
            ("a part of another object", part(), 60, Some(40), tag("b"), Err(OTHER)),
        ] {
            let answer = GetObjectOutput::builder().set_content_length(length).set_e_tag(etag).build();
            assert_eq!(wanted.length(there, &answer), expected, "{case}");
        }
        let asked = [whole().range(0), part().range(0), part().range(60)];
        assert_eq!(asked, [None, tag("bytes=800-899"), tag("bytes=860-899")]);
        assert!(part().may_go_on() && !whole().may_go_on() && !Wanted::part(0, 1, None).may_go_on());
    }
}
