//! Ctrl-C and SIGTERM raise a flag that everything which waits looks at, so that the guards of the started
//! processes run. ◆

#![expect(clippy::disallowed_methods, reason = "I/O: a thread that waits for signals")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use tokio::signal::unix::{SignalKind, signal};

/// The flag that the first Ctrl-C or SIGTERM raises.
pub fn on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Failure::io("making a runtime for signals"))?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let doing = "listening for signals";
        (
            signal(SignalKind::interrupt()).map_err(Failure::io(doing))?,
            signal(SignalKind::terminate()).map_err(Failure::io(doing))?,
        )
    };
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        raised.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
