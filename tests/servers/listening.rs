//! What servers and proxies within this process run on: one runtime for all, so that they go on while a story waits.

use std::net::{SocketAddr, TcpListener};
use std::sync::{LazyLock, mpsc};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinSet};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Waits for a future on that runtime, from any thread, also one of another runtime.
pub(super) fn on_runtime<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    RUNTIME.spawn(async move { sender.send(future.await) });
    receiver.recv().unwrap()
}

/// A port of this machine that is listened on until this is dropped; its connections end then.
pub(super) struct Listening {
    address: SocketAddr,
    task: AbortHandle,
}

impl Listening {
    /// Listens on a free port, and serves each connection.
    pub(super) fn new<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, task: RUNTIME.spawn(accept(listener, serve)).abort_handle() }
    }

    /// Returns host and port.
    pub(super) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<S, F>(listener: TcpListener, serve: S)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.unwrap();
                socket.set_nodelay(true).unwrap();
                connections.spawn(serve(socket));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
