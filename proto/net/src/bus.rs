//! The bus: requests of [`shoal_proto::bus`] over TCP, asked and answered.
//!
//! The server listens on gossip's port number. A peer that sends nonsense costs one warning and its connection;
//! sizes, times and numbers of connections are bounded. What requests mean is the [`Service`]'s business.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_proto::bus::{self, Check, MAX_BLOB, Verb};
use shoal_proto::resp::reply::header;
use shoal_proto::resp::{Args, Limits, Request, Scanner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::shutdown::Shutdown;

/// Most connections that are served at once: every node of a full cluster and some hundred routers.
const MAX_CONNECTIONS: usize = 2048;

/// How long a connection may take to send its next request.
const IDLE: Duration = Duration::from_secs(90);

/// How long a reply may take to be taken off our hands.
const WRITE: Duration = Duration::from_secs(10);

/// Longest error line accepted from a peer.
const MAX_ERROR: usize = 1024;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// The reply's blob, or the error line without its `-`.
    fn answer(
        &self,
        request: bus::Request<'_>,
        from: IpAddr,
    ) -> impl Future<Output = Result<Vec<u8>, String>> + Send;

    /// Takes over a connection whose [`Verb::Stream`] was answered. What came behind the request is in `rest`.
    fn stream(&self, request: bus::Request<'_>, stream: TcpStream, rest: Vec<u8>);

    /// A request was refused before it came to that, and is answered so. Whether the connection is to be closed, with a
    /// warning.
    fn refused(&self, peer: SocketAddr, refusal: &bus::Refusal) -> bool;
}

/// Answers until the shutdown.
pub async fn serve<S: Service>(listener: TcpListener, service: Arc<S>, shutdown: Shutdown) {
    serve_at_most(MAX_CONNECTIONS, listener, service, shutdown).await;
}

async fn serve_at_most<S: Service>(limit: usize, listener: TcpListener, service: Arc<S>, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back instead of spinning.
                tracing::warn!(%error, "cannot accept a connection of the bus");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(%peer, limit, "too many connections to the bus");
            continue;
        };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let served = tokio::select! {
                served = converse(stream, peer, service) => served,
                () = shutdown.wait() => Ok(()),
            };
            if let Err(error) = served {
                tracing::warn!(%peer, %error, "closing a connection of the bus");
            }
        });
    }
}

/// One connection, request by request. Errors are for the log: the peer broke the protocol.
async fn converse<S: Service>(mut stream: TcpStream, peer: SocketAddr, service: Arc<S>) -> io::Result<()> {
    let limits = Limits { max_bulk_len: MAX_BLOB as u64, max_args: 4, ..Limits::default() };
    let mut scanner = Scanner::new();
    let mut input: Vec<u8> = Vec::new();
    stream.set_nodelay(true)?;
    loop {
        let request = scanner.next(&input, &limits).map_err(io::Error::other);
        let consumed = match request {
            Ok(Some(Request::Multibulk { consumed })) => consumed,
            Ok(Some(Request::Empty { consumed })) => {
                input.drain(..consumed);
                continue;
            }
            Ok(Some(Request::Inline { .. })) => {
                let refusal = bus::Refusal::NotABusRequest;
                reply(&mut stream, Err(refusal.to_string())).await?;
                return Err(io::Error::other(refusal));
            }
            Err(error) => {
                reply(&mut stream, Err(format!("ERR Protocol error: {error}"))).await?;
                return Err(error);
            }
            Ok(None) => {
                input.reserve(4096);
                // Gone or silent peers are usual; only nonsense is an error.
                match timeout(IDLE, stream.read_buf(&mut input)).await {
                    Ok(Ok(1..)) => continue,
                    _ => return Ok(()),
                }
            }
        };
        let parsed = bus::Request::parse(Args::new(&input, scanner.spans()));
        let answer = match &parsed {
            Ok(request) => service.answer(*request, peer.ip()).await,
            Err(refusal) => Err(refusal.to_string()),
        };
        let granted = answer.is_ok();
        reply(&mut stream, answer).await?;
        match parsed {
            Err(refusal) if service.refused(peer, &refusal) => return Err(io::Error::other(refusal)),
            Err(bus::Refusal::Version(_)) => return Ok(()),
            Err(_) => {}
            Ok(request) if request.verb == Verb::Stream && granted => {
                service.stream(request, stream, input[consumed..].to_vec());
                return Ok(());
            }
            Ok(_) => {}
        }
        input.drain(..consumed);
        if input.is_empty() {
            // A large view is rare; idle connections should not keep room for one.
            input.shrink_to(64 << 10);
        }
    }
}

async fn reply(stream: &mut TcpStream, answer: Result<Vec<u8>, String>) -> io::Result<()> {
    let mut out = Vec::new();
    match answer {
        Ok(blob) => {
            header(&mut out, b'$', blob.len() as i64);
            out.extend_from_slice(&blob);
            out.extend_from_slice(b"\r\n");
        }
        Err(line) => {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            out.extend_from_slice(format!("-{line}\r\n").as_bytes());
        }
    }
    // A peer that does not read has gone, or will notice.
    let _ = timeout(WRITE, stream.write_all(&out)).await;
    Ok(())
}

/// Why a question was not answered. All may be asked again, elsewhere or later.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer's own words.
    #[error("the peer answers: {0}")]
    Refused(String),
    /// What came back is not an answer.
    #[error("the answer is malformed")]
    Malformed,
}

/// One connection to a peer's bus or RESP port, for one question at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When that fails or takes longer than `limit`.
    pub async fn open(addr: SocketAddr, limit: Duration) -> Result<Self, CallError> {
        let connect = timeout(limit, TcpStream::connect(addr)).await;
        let stream = connect.map_err(|_| CallError::Timeout(limit))??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Asks and waits for the answer. After an error other than `Refused` the connection is of no use.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<T: DeserializeOwned + Check>(
        &mut self,
        verb: Verb,
        message: &impl Serialize,
        limit: Duration,
    ) -> Result<T, CallError> {
        self.ask(verb, &bus::request(verb, message), limit).await
    }

    /// The same with a request that is encoded already.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn ask<T: DeserializeOwned + Check>(
        &mut self,
        verb: Verb,
        request: &[u8],
        limit: Duration,
    ) -> Result<T, CallError> {
        let exchange = async {
            self.stream.write_all(request).await?;
            self.answer().await
        };
        let blob = timeout(limit, exchange).await.map_err(|_| CallError::Timeout(limit))??;
        bus::decode(verb, &blob).map_err(|_| CallError::Malformed)
    }

    async fn answer(&mut self) -> Result<Vec<u8>, CallError> {
        let line = loop {
            if let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
                let line = self.input[..end].to_vec();
                self.input.drain(..end + 2);
                break line;
            }
            if self.input.len() > MAX_ERROR {
                return Err(CallError::Malformed);
            }
            self.fill().await?;
        };
        let text = String::from_utf8_lossy(&line);
        if let Some(error) = text.strip_prefix('-') {
            return Err(CallError::Refused(error.to_owned()));
        }
        let len: usize = text.strip_prefix('$').and_then(|n| n.parse().ok()).ok_or(CallError::Malformed)?;
        if len > MAX_BLOB {
            return Err(CallError::Malformed);
        }
        while self.input.len() < len + 2 {
            self.fill().await?;
        }
        let blob = self.input[..len].to_vec();
        self.input.drain(..len + 2);
        Ok(blob)
    }

    /// The socket, for a stream that was granted, and what came behind the answer.
    pub fn into_stream(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input)
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Connects, asks once, and closes.
///
/// # Errors
/// See [`CallError`].
pub async fn call<T: DeserializeOwned + Check>(
    addr: SocketAddr,
    verb: Verb,
    message: &impl Serialize,
    limit: Duration,
) -> Result<T, CallError> {
    Connection::open(addr, limit).await?.call(verb, message, limit).await
}

#[cfg(test)]
mod tests {
    use shoal_proto::bus::{Latest, Since};

    use super::*;

    struct Echo;

    impl Service for Echo {
        async fn answer(&self, request: bus::Request<'_>, _: IpAddr) -> Result<Vec<u8>, String> {
            let since: Since = request.message().map_err(|r| r.to_string())?;
            if since.epoch == 0 {
                return Err("ERR nothing yet".to_owned());
            }
            Ok(bus::encode(&Latest { cluster: since.cluster, epoch: since.epoch, view: None }))
        }

        fn stream(&self, _: bus::Request<'_>, _: TcpStream, _: Vec<u8>) {}

        fn refused(&self, _: SocketAddr, _: &bus::Refusal) -> bool {
            true
        }
    }

    async fn server() -> (SocketAddr, crate::shutdown::Trigger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (trigger, shutdown) = crate::shutdown::channel();
        tokio::spawn(serve(listener, Arc::new(Echo), shutdown));
        (addr, trigger)
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn questions_are_answered_one_after_the_other() {
        let (addr, _trigger) = server().await;
        let mut connection = Connection::open(addr, LIMIT).await.unwrap();
        for epoch in 1..50 {
            let latest: Latest =
                connection.call(Verb::View, &Since { cluster: 3, epoch }, LIMIT).await.unwrap();
            assert_eq!((latest.cluster, latest.epoch), (3, epoch));
        }
        let refused = connection.call::<Latest>(Verb::View, &Since { cluster: 3, epoch: 0 }, LIMIT).await;
        assert!(matches!(refused, Err(CallError::Refused(line)) if line == "ERR nothing yet"));
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (_trigger, shutdown) = crate::shutdown::channel();
        tokio::spawn(serve_at_most(2, listener, Arc::new(Echo), shutdown));
        let since = Since { cluster: 1, epoch: 1 };
        let mut served = Vec::new();
        for _ in 0..2 {
            let mut connection = Connection::open(addr, LIMIT).await.unwrap();
            connection.call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
            served.push(connection);
        }
        let mut third = Connection::open(addr, LIMIT).await.unwrap();
        assert!(matches!(third.call::<Latest>(Verb::View, &since, LIMIT).await, Err(CallError::Io(_))));
        served[0].call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_costs_the_connection() {
        let (addr, _trigger) = server().await;
        for (bytes, answer) in [
            (&b"*-5x\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*9\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*1\r\n$99999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"GET / HTTP/1.1\r\n", "-ERR not a SHOAL request: expected SHOAL <verb> <version> <blob>\r\n"),
            (
                b"*4\r\n$5\r\nSHOAL\r\n$4\r\nVIEW\r\n$2\r\n77\r\n$0\r\n\r\n",
                "-ERR SHOAL version 77 is not spoken here, this process speaks version 3\r\n",
            ),
        ] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut all = String::new();
            timeout(LIMIT, stream.read_to_string(&mut all)).await.unwrap().unwrap();
            assert_eq!(all, answer);
        }
    }
}
