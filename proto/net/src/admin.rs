//! The admin port: metrics and health over HTTP. Serves nothing of clients' data and changes nothing.
//!
//! `/livez` says that the control thread runs, `/readyz` that every named check passes (Kubernetes sends traffic
//! then), `/healthz` is the same for those used to that name, `/metrics` is for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::shutdown::Shutdown;

/// One condition of being ready: a name and a test that says what is missing.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    test: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish()
    }
}

impl Check {
    /// A check that runs at each request, on the control thread: it must not block.
    pub fn new(name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, test: Arc::new(test) }
    }
}

/// What the admin port shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// First line of the index: the process and its version.
    pub title: String,
    /// Where metrics come from; none answers 404.
    pub metrics: Option<PrometheusHandle>,
    /// All must pass for the process to be ready.
    pub checks: Vec<Check>,
}

/// Serves until the shutdown. `listener` comes from [`crate::listen::tcp`].
///
/// # Errors
/// When the listener cannot be used any more.
pub async fn serve(listener: std::net::TcpListener, admin: Admin, shutdown: Shutdown) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = routes(admin);
    // Connections that are idle or slow do not hold back the end: whoever asks again will notice.
    tokio::select! {
        result = axum::serve(listener, routes) => result,
        () = shutdown.wait() => Ok(()),
    }
}

fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .with_state(Arc::new(admin))
}

async fn index(State(admin): State<Arc<Admin>>) -> Response {
    let pages = "/metrics          for Prometheus\n\
                 /livez            200 while the process runs\n\
                 /readyz           200 when it serves; /readyz?verbose lists the checks\n\
                 /healthz          the same as /readyz\n";
    text(StatusCode::OK, format!("{}\n\n{pages}", admin.title))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match &admin.metrics {
        Some(handle) => {
            handle.run_upkeep();
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], handle.render()).into_response()
        }
        None => text(StatusCode::NOT_FOUND, "no metrics are collected\n".to_owned()),
    }
}

async fn ready(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p.split('=').next() == Some("verbose")));
    let results: Vec<_> = admin.checks.iter().map(|c| (c.name, (c.test)())).collect();
    let passed = results.iter().all(|(_, r)| r.is_ok());
    let mut body = String::new();
    for (name, result) in &results {
        match result {
            Ok(()) if verbose => body.push_str(&format!("[+] {name} ok\n")),
            Ok(()) => {}
            Err(why) => body.push_str(&format!("[-] {name} failed: {why}\n")),
        }
    }
    body.push_str(if passed { "ok\n" } else { "not ready\n" });
    text(if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn fetch(addr: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_the_checks() {
        let listener = crate::listen::tcp(&"127.0.0.1:0".parse().unwrap(), "--admin").unwrap();
        let addr = listener.local_addr().unwrap();
        let good = Arc::new(AtomicBool::new(false));
        let flag = good.clone();
        let checks = vec![
            Check::new("alive", || Ok(())),
            Check::new("view", move || {
                if flag.load(Ordering::Relaxed) { Ok(()) } else { Err("no view yet".to_owned()) }
            }),
        ];
        let admin =
            Admin { title: "shoal test".to_owned(), metrics: crate::telemetry::init_metrics().ok(), checks };
        let (trigger, shutdown) = crate::shutdown::channel();
        let server = tokio::spawn(serve(listener, admin, shutdown));
        assert!(fetch(addr, "/").await.contains("shoal test"));
        assert!(fetch(addr, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(addr, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("[-] view failed: no view yet"),
            "{answer}"
        );
        good.store(true, Ordering::Relaxed);
        let answer = fetch(addr, "/readyz?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[+] view ok\nok\n"), "{answer}");
        metrics::counter!("shoal_admin_test_total").increment(3);
        assert!(fetch(addr, "/metrics").await.contains("shoal_admin_test_total 3"));
        trigger.fire();
        server.await.unwrap().unwrap();
    }
}
