//! Whether the nodes let this router in: with a wrong `--node-password` they do not, and every command fails, though all of them are up.
//!
//! A few nodes are asked as a worker asks them that connects (`upstream/connection.rs`): when there is a new view, when somebody
//! could not connect, and again and again while none lets us in. Never on the path of a request, and nothing is decided by it: it is for
//! `/readyz` and the log.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use shoal_proto::{
    cluster::quorum,
    view::{Member, View},
};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    settings::Settings,
    upstream::connection::{ConnectError, shake_hands},
};

/// Shortest pause between two rounds, and the one while no node lets us in.
const PAUSE: Duration = Duration::from_secs(1);

/// Shortest pause before a round that only a doubt is the reason for: nodes that cannot be reached are doubted often.
const DOUBTED: Duration = Duration::from_secs(5);

/// Whether the nodes let this router in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<State>);

#[derive(Debug)]
struct State {
    /// Why not.
    refused: ArcSwapOption<String>,
    doubted: Notify,
}

impl Admission {
    /// Returns the handle and the task, which the control thread must run.
    pub(crate) fn start(
        settings: Settings,
        views: watch::Receiver<Arc<View>>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let unknown = "no node has been asked yet whether it lets this router in";
        let refused = ArcSwapOption::from_pointee(unknown.to_owned());
        let admission = Self(Arc::new(State { refused, doubted: Notify::new() }));
        let task = admission.clone().run(settings, views);
        (admission, task)
    }

    /// Asks again, because a connection to a node failed. Costs nothing if called often.
    pub(crate) fn doubt(&self) {
        self.0.doubted.notify_one();
    }

    /// Whether one of the nodes lets this router in, or none could be asked.
    ///
    /// # Errors
    /// What they say instead, for `/readyz` and for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.0.refused.load().as_ref().map_or(Ok(()), |why| Err(why.as_ref().clone()))
    }

    async fn run(self, settings: Settings, mut views: watch::Receiver<Arc<View>>) {
        // Nodes of which the log says that they do not let us in.
        let mut told = BTreeSet::new();
        let mut was_refused = false;
        if views.wait_for(|view| view.epoch > 0).await.is_err() {
            return;
        }
        loop {
            let began = Instant::now();
            let view = views.borrow_and_update().clone();
            let refused = ask(&view, &settings, &mut told).await;
            if was_refused && refused.is_none() {
                tracing::info!("the nodes let this router in again");
            }
            was_refused = refused.is_some();
            self.0.refused.store(refused.map(Arc::new));
            sleep(PAUSE).await;
            if was_refused {
                continue;
            }
            let doubted = async {
                sleep_until(began + DOUBTED).await;
                self.0.doubted.notified().await;
            };
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return },
                () = doubted => {}
            }
        }
    }
}

/// Asks some nodes, as many as vote. Returns what one of them says if none lets us in; each that does not is logged once.
async fn ask(view: &View, settings: &Settings, told: &mut BTreeSet<(String, u16)>) -> Option<String> {
    let settings = Arc::new(settings.clone());
    let mut questions = JoinSet::new();
    for member in view.members.iter().take(quorum::MAX_VOTERS).cloned() {
        let settings = settings.clone();
        questions.spawn(async move {
            let answer = enter(&member, &settings).await;
            (member, answer)
        });
    }
    let (mut is_let_in, mut refused) = (false, None);
    while let Some(answer) = questions.join_next().await {
        match answer {
            Ok((member, Ok(()))) => {
                is_let_in = true;
                told.remove(&(member.host, member.resp_port));
            }
            Ok((member, Err(ConnectError::Refused(text)))) => {
                let hint = if text.contains("AUTH") || text.starts_with("WRONGPASS") {
                    " (--node-password has to be their --requirepass)"
                } else {
                    ""
                };
                let (host, port) = (&member.host, member.resp_port);
                if told.insert((host.clone(), port)) {
                    tracing::warn!("node {host}:{port} does not let this router in: {text}{hint}");
                }
                refused = Some(format!("the nodes do not let this router in: {text}{hint}"));
            }
            // Whoever cannot be reached is no matter of passwords.
            Ok((_, Err(ConnectError::Io(_) | ConnectError::Timeout))) | Err(_) => {}
        }
    }
    refused.filter(|_| !is_let_in)
}

/// Connects and says what a worker would say.
async fn enter(member: &Member, settings: &Settings) -> Result<(), ConnectError> {
    let handshake = async {
        let mut socket = TcpStream::connect((&*member.host, member.resp_port)).await?;
        shake_hands(&mut socket, settings, 0).await.map(drop)
    };
    timeout(settings.connect_timeout, handshake).await.unwrap_or(Err(ConnectError::Timeout))
}
