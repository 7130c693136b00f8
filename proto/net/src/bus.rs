//! The bus: requests of [`shoal_proto::bus`] over TCP, asked and answered.
//!
//! The server listens on gossip's port number. A peer that sends nonsense costs one warning and its connection;
//! sizes, times and numbers of connections are bounded. One that is half-way through a request, or sends none, keeps nobody
//! else out: where there are too many, those go first ([`Door`]). What requests mean is the [`Service`]'s business.

mod door;

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
use tokio::time::{Instant, timeout, timeout_at};

use crate::shutdown::Shutdown;
use door::{Door, Place};

/// Most connections that are served at once: every node of a full cluster and some hundred routers.
const MAX_CONNECTIONS: usize = 2048;

/// How long a connection may take to begin its next request.
const IDLE: Duration = Duration::from_secs(90);

/// How long a request may take to arrive, and the first one of a connection also to begin. Those who ask wait for two seconds at most.
const REQUEST: Duration = Duration::from_secs(10);

/// Requests longer than this arrive a few at a time: views are rare and seldom so large.
const LARGE: usize = 16 << 10;

/// So many.
const MAX_LARGE: usize = 16;

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

    /// A connection was closed against its peer's will; for people.
    fn closed(&self, why: Closed);
}

/// Why a connection was closed against its peer's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its request did not arrive in time.
    Late,
    /// It had waited for longest when there were too many.
    Crowded,
    /// There were too many when it came, all of them at work.
    Full,
    /// It sent something else than a request.
    Protocol,
}

impl Closed {
    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Crowded => "crowded",
            Self::Full => "full",
            Self::Protocol => "protocol",
        }
    }
}

/// What the connections of a server may take; see the constants.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    idle: Duration,
    request: Duration,
}

/// Answers until the shutdown.
pub async fn serve<S: Service>(listener: TcpListener, service: Arc<S>, shutdown: Shutdown) {
    let bounds = Bounds { connections: MAX_CONNECTIONS, idle: IDLE, request: REQUEST };
    serve_within(bounds, listener, service, shutdown).await;
}

async fn serve_within<S: Service>(
    bounds: Bounds,
    listener: TcpListener,
    service: Arc<S>,
    shutdown: Shutdown,
) {
    let door = Arc::new(Door::new(bounds.connections));
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
        let Some(place) = door.enter() else {
            tracing::warn!(%peer, limit = bounds.connections, "too many connections to the bus");
            service.closed(Closed::Full);
            continue;
        };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        tokio::spawn(async move {
            let served = tokio::select! {
                served = converse(stream, peer, place, service.clone(), bounds) => served,
                () = shutdown.wait() => Ok(()),
            };
            let Err(ending) = served else { return };
            match ending {
                Ending::Protocol(error) => {
                    tracing::warn!(%peer, %error, "closing a connection of the bus");
                    service.closed(Closed::Protocol);
                }
                // Whoever does so does it often.
                Ending::Closed(why) => {
                    tracing::debug!(%peer, why = why.label(), "closing a connection of the bus");
                    service.closed(why);
                }
            }
        });
    }
}

/// Why a connection ends before its peer wants it to.
enum Ending {
    /// The peer broke the protocol.
    Protocol(io::Error),
    Closed(Closed),
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Protocol(error)
    }
}

/// Reads more of a request that is awaited since `since`; false at the end.
async fn read_on(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    place: &mut Place,
    since: Instant,
    bounds: Bounds,
) -> Result<bool, Ending> {
    let idle = input.is_empty() && place.has_asked();
    let until = since + if idle { bounds.idle } else { bounds.request };
    let late = if idle { Ok(false) } else { Err(Ending::Closed(Closed::Late)) };
    if input.len() > LARGE && timeout_at(until, place.take_large()).await.is_err() {
        return late;
    }
    input.reserve(4096);
    tokio::select! {
        () = place.turned_out() => Err(Ending::Closed(Closed::Crowded)),
        // Gone or silent peers are usual; only nonsense is an error.
        read = timeout_at(until, stream.read_buf(input)) => match read {
            Ok(read) => Ok(matches!(read, Ok(1..))),
            Err(_) => late,
        },
    }
}

/// One connection, request by request.
async fn converse<S: Service>(
    mut stream: TcpStream,
    peer: SocketAddr,
    mut place: Place,
    service: Arc<S>,
    bounds: Bounds,
) -> Result<(), Ending> {
    let limits = Limits { max_bulk_len: MAX_BLOB as u64, max_args: 4, ..Limits::default() };
    let mut scanner = Scanner::new();
    let mut input: Vec<u8> = Vec::new();
    // When the next request began, or the wait for it.
    let mut since = Instant::now();
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
                return Err(io::Error::other(refusal).into());
            }
            Err(error) => {
                reply(&mut stream, Err(format!("ERR Protocol error: {error}"))).await?;
                return Err(error.into());
            }
            Ok(None) => {
                place.waits();
                let begins = input.is_empty() && place.has_asked();
                if !read_on(&mut stream, &mut input, &mut place, since, bounds).await? {
                    return Ok(());
                }
                if begins {
                    since = Instant::now();
                }
                continue;
            }
        };
        place.is_at_work();
        let parsed = bus::Request::parse(Args::new(&input, scanner.spans()));
        let answer = match &parsed {
            Ok(request) => service.answer(*request, peer.ip()).await,
            Err(refusal) => Err(refusal.to_string()),
        };
        let granted = answer.is_ok();
        reply(&mut stream, answer).await?;
        match parsed {
            Err(refusal) if service.refused(peer, &refusal) => return Err(io::Error::other(refusal).into()),
            Err(bus::Refusal::Version(_)) => return Ok(()),
            Err(_) => {}
            Ok(request) if request.verb == Verb::Stream && granted => {
                service.stream(request, stream, input[consumed..].to_vec());
                return Ok(());
            }
            Ok(_) => {}
        }
        input.drain(..consumed);
        place.asked();
        since = Instant::now();
        if input.is_empty() {
            // A large view is rare; idle connections should not keep room for one.
            input.shrink_to(LARGE);
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

    #[derive(Default)]
    struct Echo(parking_lot::Mutex<Vec<Closed>>);

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

        fn closed(&self, why: Closed) {
            self.0.lock().push(why);
        }
    }

    async fn server() -> (SocketAddr, crate::shutdown::Trigger) {
        let (addr, _, trigger) = bounded(MAX_CONNECTIONS, REQUEST).await;
        (addr, trigger)
    }

    async fn bounded(
        connections: usize,
        request: Duration,
    ) -> (SocketAddr, Arc<Echo>, crate::shutdown::Trigger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (trigger, shutdown) = crate::shutdown::channel();
        let service = Arc::new(Echo::default());
        let bounds = Bounds { connections, idle: IDLE, request };
        tokio::spawn(serve_within(bounds, listener, service.clone(), shutdown));
        (addr, service, trigger)
    }

    /// Reads until the server closes; what came.
    async fn to_the_end(stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end, too: the server had not read everything.
        let _ = timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("it is closed in time");
        all
    }

    const HALF: &[u8] = b"*4\r\n$5\r\nSHOAL\r\n$4\r\nVI";

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
    async fn beyond_the_limit_who_never_asked_goes_first_and_then_who_waits_for_longest() {
        let since = Since { cluster: 1, epoch: 1 };
        for bytes in [HALF, b""] {
            let (addr, service, _trigger) = bounded(3, REQUEST).await;
            let ask = async || {
                let mut connection = Connection::open(addr, LIMIT).await.unwrap();
                connection.call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
                connection
            };
            let (mut first, mut second) = (ask().await, ask().await);
            let mut half = TcpStream::connect(addr).await.unwrap();
            half.write_all(bytes).await.unwrap();
            let _third = ask().await;
            assert_eq!(to_the_end(&mut half).await, b"");
            // All have asked, the second least lately.
            first.call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
            let _fourth = ask().await;
            first.call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
            assert!(matches!(second.call::<Latest>(Verb::View, &since, LIMIT).await, Err(CallError::Io(_))));
            assert_eq!(*service.0.lock(), [Closed::Crowded; 2]);
        }
    }

    #[tokio::test]
    async fn a_request_that_does_not_arrive_in_time_ends_its_connection() {
        let (addr, service, _trigger) = bounded(MAX_CONNECTIONS, Duration::from_millis(300)).await;
        // Nothing, a part, and a part of something as large as may be.
        let large =
            [b"*4\r\n$5\r\nSHOAL\r\n$4\r\nPUSH\r\n$1\r\n3\r\n$1000000\r\n", &[7; 40_000][..]].concat();
        for bytes in [&b""[..], HALF, &large] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            assert_eq!(to_the_end(&mut stream).await, b"");
        }
        // One that trickles is as late.
        let (mut reader, mut writer) = TcpStream::connect(addr).await.unwrap().into_split();
        let trickle = tokio::spawn(async move {
            for byte in HALF {
                if writer.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let mut all = Vec::new();
        let _ = timeout(LIMIT, reader.read_to_end(&mut all)).await.expect("it is closed in time");
        timeout(LIMIT, trickle).await.expect("its end is seen").unwrap();
        assert!(
            service.0.lock().iter().filter(|why| **why == Closed::Late).count() >= 3,
            "{:?}",
            service.0.lock()
        );
    }

    #[tokio::test]
    async fn large_requests_wait_for_each_other_and_small_ones_for_nobody() {
        let (addr, service, _trigger) = bounded(MAX_CONNECTIONS, Duration::from_millis(500)).await;
        let begun = b"*4\r\n$5\r\nSHOAL\r\n$4\r\nPUSH\r\n$1\r\n3\r\n$1000000\r\n";
        let mut large = Vec::new();
        for _ in 0..2 * MAX_LARGE {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(&[begun, &[7; 30_000][..]].concat()).await.unwrap();
            large.push(stream);
        }
        let since = Since { cluster: 1, epoch: 1 };
        Connection::open(addr, LIMIT).await.unwrap().call::<Latest>(Verb::View, &since, LIMIT).await.unwrap();
        for stream in &mut large {
            to_the_end(stream).await;
        }
        assert_eq!(*service.0.lock(), vec![Closed::Late; 2 * MAX_LARGE]);
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
