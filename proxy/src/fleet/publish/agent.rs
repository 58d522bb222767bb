//! ◆ Answers HAProxy's agent-checks: a connection is told one line and closed. Who names an entry (`agent-send`) is told
//! how that stands; who says nothing, whether this proxy takes clients.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: accepts connections, starts a task for each, limits how long it takes"
)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// Checks that are answered at one time; more wait in the backlog.
const MOST: usize = 64;
/// How long a check that names no entry is listened to: HAProxy sends what it has to say at once.
const SILENCE: Duration = Duration::from_millis(100);
/// How long a check may take to be told.
const PATIENCE: Duration = Duration::from_secs(1);
/// As long as an id and the end of its line.
const LONGEST: usize = 66;
/// When no connection can be accepted: too many open files, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until its task ends; `line` says what the entry of an id stands like, or this proxy where none is named.
pub async fn serve(listener: TcpListener, line: impl Fn(Option<&str>) -> String + Send + Sync + 'static) {
    let line = Arc::new(line);
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let line = line.clone();
        tokio::spawn(async move {
            if let Ok(Err(error)) = timeout(PATIENCE, answer(stream, &*line)).await {
                debug!(%error, "agent-check");
            }
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, line: impl Fn(Option<&str>) -> String) -> io::Result<()> {
    let mut said = Vec::with_capacity(LONGEST);
    // What is told by then counts, if it is a line or not.
    let _ = timeout(SILENCE, async {
        while said.len() < LONGEST && !said.contains(&b'\n') {
            let mut piece = [0; LONGEST];
            match stream.read(&mut piece[..LONGEST - said.len()]).await {
                Ok(0) | Err(_) => return,
                Ok(length) => said.extend_from_slice(&piece[..length]),
            }
        }
    })
    .await;
    let said = String::from_utf8_lossy(&said);
    let id = said.lines().next().map(str::trim).filter(|id| !id.is_empty());
    stream.write_all(line(id).as_bytes()).await?;
    stream.shutdown().await
}
