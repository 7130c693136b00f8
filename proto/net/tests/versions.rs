//! A peer whose version is not understood: refused, and the log says so once, with its address and both versions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shoal_net::cluster::Settings;
use shoal_net::{Cluster, shutdown};
use shoal_proto::bus::{TELL, VERSION};
use tracing_subscriber::fmt::MakeWriter;

mod support;
use support::{Data, World};

/// Lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
    }
}

#[test]
fn a_far_version_is_refused_with_one_line() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let (started, node) = std::sync::mpsc::channel();
    let (trigger, shutdown) = shutdown::channel();
    let thread = std::thread::spawn(move || {
        let _logged = tracing::subscriber::set_default(subscriber);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let data = Data::new(Arc::new(World::default()));
            let resp: SocketAddr = "127.0.0.1:7000".parse().unwrap();
            let settings = Settings::new("a", resp, "127.0.0.1:0".parse().unwrap(), Vec::new(), data.clone());
            let (handle, task) = Cluster::start(settings, shutdown).unwrap();
            data.belongs_to(handle.clone());
            started.send(handle).unwrap();
            let _ = task.await;
        });
    });
    let node = node.recv().unwrap();
    let address = node.gossip_addr();
    let deadline = Instant::now() + Duration::from_secs(10);
    let until = |what: &str, test: &dyn Fn() -> bool| {
        while !test() {
            assert!(Instant::now() < deadline, "in vain: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("it founds a cluster", &|| node.ready().is_ok());
    let far = VERSION + 2;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("*4\r\n$5\r\nSHOAL\r\n$4\r\nJOIN\r\n$1\r\n{far}\r\n$1\r\nx\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let expected =
            format!("-ERR SHOAL version {far} is not spoken here, this process speaks version {VERSION}\r\n");
        assert_eq!(answer, expected);
    }
    // The same of gossip, and of messages in datagrams.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gossip =
        [&node.view().cluster.to_be_bytes()[..], &[far as u8, 0], b"a packet of another form"].concat();
    let tell = [&TELL[..], &[far as u8], b"a message of another form"].concat();
    for datagram in [&gossip, &tell, &gossip] {
        socket.send_to(datagram, address).unwrap();
    }
    // What comes behind is dealt with after it: a datagram of another cluster.
    socket.send_to(&[&[1u8; 8][..], &[VERSION as u8, 0], b"x"].concat(), address).unwrap();
    until("all datagrams are taken in", &|| {
        log.warnings().iter().any(|line| line.contains("another cluster"))
    });
    let refused: Vec<String> =
        log.warnings().into_iter().filter(|line| line.contains("refused a peer")).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let line = &refused[0];
    assert!(line.contains("127.0.0.1:") && line.contains(&format!("speaks version {far}")), "{line}");
    assert!(line.contains(&format!("this process speaks version {VERSION}")), "{line}");
    trigger.fire();
    thread.join().unwrap();
}
