//! A proxy that clients are told of, as companies have one: it passes plain requests on, and makes tunnels for TLS.

use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional, copy_buf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::listening::Listening;
use super::proxy::Head;

const REFUSED: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const ABSENT: &str = "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 18\r\n\r\n<html>Gone.</html>";
const CONNECTED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A proxy, until it is dropped.
pub(crate) struct Forward {
    desk: Arc<Desk>,
    listening: Listening,
}

/// What all connections share.
struct Desk {
    /// What a client must say of itself.
    who: Option<String>,
    seen: Mutex<Vec<String>>,
}

impl Forward {
    /// Starts one, which serves whoever gives this name and password, or anybody.
    pub(crate) fn start(who: Option<&str>) -> Self {
        let who = who.map(|who| format!("Basic {}", BASE64_STANDARD.encode(who)));
        let desk = Arc::new(Desk { who, seen: Mutex::default() });
        let shared = desk.clone();
        let listening = Listening::new(move |client| {
            let desk = shared.clone();
            async move { drop(desk.serve(client).await) }
        });
        Self { desk, listening }
    }

    /// Returns host and port.
    pub(crate) fn endpoint(&self) -> String {
        self.listening.endpoint()
    }

    /// Returns the method and the target of each request that it was sent so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.desk.seen.lock().unwrap().clone()
    }
}

impl Desk {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let (from_client, mut to_client) = client.split();
        let mut from_client = BufReader::new(from_client);
        let Some(first) = Head::read(&mut from_client).await? else { return Ok(()) };
        if !self.lets(&first) {
            return to_client.write_all(REFUSED.as_bytes()).await;
        }
        let place = first.target.strip_prefix("http://").unwrap_or(&first.target);
        let Ok(mut server) = TcpStream::connect(place.split('/').next().unwrap()).await else {
            return to_client.write_all(ABSENT.as_bytes()).await;
        };
        server.set_nodelay(true)?;
        if first.method == "CONNECT" {
            to_client.write_all(CONNECTED.as_bytes()).await?;
            return copy_bidirectional(&mut client, &mut server).await.map(drop);
        }
        let (mut from_server, to_server) = server.split();
        tokio::select! {
            ended = self.pass(first, from_client, to_server) => ended,
            ended = copy(&mut from_server, &mut to_client) => ended.map(drop),
        }
    }

    /// Passes requests on as a server expects them that knows of no proxy.
    async fn pass(
        &self,
        first: Head,
        mut client: BufReader<ReadHalf<'_>>,
        mut server: WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(head) = next {
            let path = head.target.splitn(4, '/').last().unwrap();
            server.write_all(head.text.replacen(&head.target, &format!("/{path}"), 1).as_bytes()).await?;
            copy_buf(&mut (&mut client).take(head.length), &mut server).await?;
            next = Head::read(&mut client).await?.filter(|head| self.lets(head));
        }
        Ok(())
    }

    fn lets(&self, head: &Head) -> bool {
        self.seen.lock().unwrap().push(format!("{} {}", head.method, head.target));
        self.who.is_none() || head.header("proxy-authorization") == self.who.as_deref()
    }
}
