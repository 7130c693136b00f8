//! A router's watch over nodes that this test plays: what it does when those that it watches are silent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use shoal_net::{HostPort, ViewWatch, bus, shutdown};
use shoal_proto::{
    bus::{Hello, Latest, Members, Refusal, Request, Since, Verb, encode},
    view::{Member, NodeId, View},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A node that answers what it has, and to a watch nothing, ever.
struct Silent {
    me: Member,
    view: Mutex<View>,
    watches: AtomicUsize,
    /// Times that it was asked for its view.
    questions: AtomicUsize,
}

impl bus::Service for Silent {
    async fn answer(&self, request: Request<'_>, _: IpAddr) -> Result<Vec<u8>, String> {
        let view = self.view.lock().unwrap().clone();
        match request.verb {
            Verb::Members => {
                let hello: Hello = request.message().map_err(|e| e.to_string())?;
                Ok(encode(&Members {
                    me: self.me.clone(),
                    process: 1,
                    admitted: true,
                    cluster: view.cluster,
                    epoch: view.epoch,
                    up: Vec::new(),
                    view: (view.epoch > hello.epoch).then_some(view),
                }))
            }
            Verb::View => {
                let since: Since = request.message().map_err(|e| e.to_string())?;
                self.questions.fetch_add(1, Ordering::SeqCst);
                let newer = view.epoch > since.epoch || view.cluster != since.cluster;
                let (cluster, epoch) = (view.cluster, view.epoch);
                Ok(encode(&Latest { cluster, epoch, view: newer.then_some(view) }))
            }
            Verb::Watch => {
                self.watches.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            _ => Err("ERR not here".to_owned()),
        }
    }

    fn stream(&self, _: Request<'_>, _: TcpStream, _: Vec<u8>) {}

    fn closed(&self, _: bus::Closed) {}

    fn refused(&self, _: SocketAddr, _: &Refusal) -> bool {
        true
    }
}

async fn until(what: &str, mut test: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !test() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Four nodes with a view of epoch 5, and a watch over them that has it and hangs on two of them.
async fn hanging() -> (Vec<Arc<Silent>>, ViewWatch, shutdown::Trigger, View) {
    let (trigger, ending) = shutdown::channel();
    let mut listeners = Vec::new();
    let mut members = Vec::new();
    for node in 1..=4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gossip_port = listener.local_addr().unwrap().port();
        let (host, zone) = ("127.0.0.1".to_owned(), String::new());
        let id = NodeId { node, boot: 1 };
        let name = format!("n{node}");
        members.push(Member {
            id,
            name,
            host,
            resp_port: 1,
            gossip_port,
            weight: 100,
            zone,
            replication: Default::default(),
        });
        listeners.push(listener);
    }
    let view = View::new(7, 5, members.clone(), &[0; 16384]);
    let seeds = vec![HostPort::new("127.0.0.1", members[0].gossip_port)];
    let mut nodes = Vec::new();
    for (me, listener) in members.into_iter().zip(listeners) {
        let (watches, questions) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let node = Arc::new(Silent { me, view: Mutex::new(view.clone()), watches, questions });
        tokio::spawn(bus::serve(listener, node.clone(), ending.clone()));
        nodes.push(node);
    }
    let (views, task) = ViewWatch::start(seeds, ending);
    tokio::spawn(task);
    let watched = || nodes.iter().filter(|n| n.watches.load(Ordering::SeqCst) > 0).count();
    until("two nodes are watched", || watched() == 2 && views.view().epoch == 5).await;
    (nodes, views, trigger, view)
}

#[tokio::test]
async fn who_finds_no_node_says_what_was_answered_instead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seed = listener.local_addr().unwrap();
    let (_trigger, ending) = shutdown::channel();
    let (views, task) = ViewWatch::start(vec![seed.into()], ending);
    tokio::spawn(task);
    assert_eq!(views.ready(), Err(format!("no node has answered yet ({seed})")));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"-ERR this is something else\r\n").await.unwrap();
            // What was asked is read, so that the answer is not lost with the connection.
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let why =
        format!("no node has answered yet ({seed}); {seed}: the peer answers: ERR this is something else");
    until("it is known", || views.ready() == Err(why.clone())).await;
}

fn newer(view: &View, cluster: u64, epoch: u64) -> View {
    View::new(cluster, epoch, view.members.clone(), &[1; 16384])
}

#[tokio::test]
async fn doubts_lead_to_nodes_that_are_not_watched() {
    let (nodes, views, _trigger, view) = hanging().await;
    for node in nodes.iter().filter(|n| n.watches.load(Ordering::SeqCst) == 0) {
        *node.view.lock().unwrap() = newer(&view, 7, 6);
    }
    views.refresh();
    until("the newer view", || views.view().epoch == 6).await;
}

#[tokio::test]
async fn neither_an_older_view_nor_another_clusters_is_taken() {
    let (nodes, views, _trigger, view) = hanging().await;
    let others: Vec<_> = nodes.iter().filter(|n| n.watches.load(Ordering::SeqCst) == 0).collect();
    *others[0].view.lock().unwrap() = newer(&view, 8, 9);
    *others[1].view.lock().unwrap() = newer(&view, 7, 4);
    let mut installed = views.subscribe();
    installed.borrow_and_update();
    let questions = || others.iter().map(|n| n.questions.load(Ordering::SeqCst)).collect::<Vec<_>>();
    until("both were asked", || {
        views.refresh();
        questions().iter().all(|n| *n > 1)
    })
    .await;
    // Whoever is asked for the second time was heard the first time.
    assert!(!installed.has_changed().unwrap());
    assert_eq!((views.view().cluster, views.view().epoch), (7, 5));
}
