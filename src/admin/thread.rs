//! The admin socket has a thread of its own: it must answer when the workers are busy.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Admin;
use crate::gateway::Shared;

/// The thread. It ends on drop.
pub struct AdminThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminThread {
    /// Opens the socket and serves it.
    pub fn start(socket: &Path, shared: Arc<Shared>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let admin = {
            let _inside = runtime.enter();
            Admin::open(socket)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || runtime.block_on(until(stopped, async { admin.serve(shared).await }));
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

async fn until(stopped: oneshot::Receiver<()>, serving: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopped => {}
        () = serving => {}
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}
