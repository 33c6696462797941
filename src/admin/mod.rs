//! Health and metrics, on a Unix socket: `GET /health` (JSON) and `GET /metrics` (Prometheus text). `credential rotate` has
//! the vault looked at there, and puts its steps on record (`steps.rs`).
//!
//! There is no plain HTTP over TCP anywhere, and what is told here is for whoever may open the socket: mode 0600.

mod ages;
mod steps;
mod thread;

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::UnixListener;

use crate::gateway::Shared;

pub use steps::{LOOK, NOTE, Step};
pub use thread::AdminThread;

/// The admin socket. Its file is removed on drop.
pub struct Admin {
    path: PathBuf,
    listener: UnixListener,
}

impl Admin {
    /// Opens the socket. A socket file that nobody listens on any more is replaced; any other file is left alone.
    pub fn open(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
        }
        if is_socket(path) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Serves until dropped.
    pub async fn serve(&self, shared: Arc<Shared>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| answer(shared.clone(), request));
                        let served = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        if let Err(error) = served {
                            tracing::debug!(%error, "an admin connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // When it cannot be removed, the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => health(&shared),
        (&Method::GET, "/metrics") => {
            let mut text = shared.metrics.prometheus(shared.log.is_open());
            takes_writes(&mut text, &shared);
            ages::write(&mut text, &shared, Timestamp::now());
            ages::write_unconfirmed(&mut text, &shared);
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        (&Method::POST, steps::LOOK) => steps::look(&shared).await,
        (&Method::POST, steps::NOTE) => steps::note(&shared, request.into_body()).await,
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there are /health and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    Ok(response)
}

fn takes_writes(out: &mut String, shared: &Shared) {
    let help =
        "1 while calls that change something are taken, 0 while the log keeps the records of reads only, or none.";
    ages::head(out, "keygate_audit_takes_writes", help);
    let taken = u8::from(shared.log.ensure_takes_writes().is_ok());
    // Writing to a string cannot fail.
    let _ = writeln!(out, "keygate_audit_takes_writes {taken}");
}

/// 200 while calls can be served, 503 with the troubles otherwise. A credential that is used though the vault does not confirm
/// it is a warning: it becomes a trouble when `stale_for` is over. A changed configuration that was refused is told and is
/// no trouble: the former one serves on, and a slip of the pen must not take a gate out of its pool. Neither is a full disk on
/// which reads are served, if that was asked for; it is told as well. Nor
/// is a sink that is behind: its records are in the log.
fn health(shared: &Shared) -> (StatusCode, &'static str, String) {
    let mut troubles: Vec<String> = shared.ring.troubles().iter().map(ToString::to_string).collect();
    if let Some(trouble) = shared.log.trouble() {
        troubles.push(format!("audit: {trouble}"));
    }
    let ok = shared.log.is_open() && troubles.is_empty();
    let body = serde_json::json!({
        "ok": ok,
        "in_flight": shared.metrics.in_flight(),
        "troubles": troubles,
        "warnings": shared.ring.unconfirmed().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reads_only": shared.log.reads_only().map(|why| why.to_string()),
        "reload_problems": shared.metrics.reloads.problems(),
        "sinks": shared.metrics.sinks.standing(),
    });
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, "application/json", body.to_string())
}
