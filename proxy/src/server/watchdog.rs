//! ◆ Tells a service manager that wants to know that this process lives: the control thread, and every worker.

#![expect(clippy::disallowed_methods, reason = "I/O: waits")]

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::service::notify::Notify;
use crate::worker::message::{Message, WorkerHandle};

/// Says so for ever, while every worker answers. One that has ended is on its way out as was asked.
pub(super) async fn run(notify: Notify, limit: Duration, workers: Vec<WorkerHandle>) {
    // Twice within the limit, as sd_watchdog_enabled(3) advises.
    let turn = limit / 2;
    loop {
        let mut answers = Vec::new();
        for worker in &workers {
            let (reply, answer) = oneshot::channel();
            if worker.tell(Message::Pulse(reply)) {
                answers.push(answer);
            }
        }
        let all = async {
            for answer in answers {
                // Dropped is answered: the worker has ended.
                let _ = answer.await;
            }
        };
        match timeout(turn, all).await {
            Ok(()) => {
                notify.alive();
                sleep(turn).await;
            }
            Err(_) => {
                warn!(?turn, "a worker does not answer; the service manager is not told that all is well")
            }
        }
    }
}
