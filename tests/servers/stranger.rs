//! What is no S3 server and answers all the same: a web server, whatever it is asked for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::listening::Listening;

/// A server that gives one answer until it is dropped.
pub(crate) struct Stranger(Listening);

impl Stranger {
    /// Starts one that answers with this status, such as `404 Not Found`, and this page.
    pub(crate) fn start(status: &'static str, page: &'static str) -> Self {
        Self(Listening::new(move |mut socket| async move {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && socket.read_buf(&mut asked).await.unwrap_or(0) > 0 {}
            let length = page.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            drop(socket.write_all(&[head.as_bytes(), page.as_bytes()].concat()).await);
        }))
    }

    /// Returns host and port.
    pub(crate) fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}
