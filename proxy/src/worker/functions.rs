//! ◆ Gives a node the functions that it lacks and another primary has: a new shard has none, a replica may have been
//! promoted without. What they are is asked of the cluster itself, which has no stale copy.

#![expect(clippy::disallowed_methods, reason = "I/O: a task and connections of its own for each repair")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{debug, info};

use super::Worker;
use crate::backend::connect::{ConnectError, Connector};
use crate::backend::lane::Lane;
use crate::backend::owner::Owner;
use crate::client::retry::Parked;
use crate::cluster::link::{Link, LinkError};
use crate::cluster::slot_map::{Endpoint, SlotMap};
use crate::command::groups::with_request;
use crate::command::scripted::Scripted;
use crate::metrics::WorkerMetrics;
use crate::route::plan::frame::write;
use crate::scripts::known::Doubt;
use crate::scripts::libraries::{self, Library};
use crate::shared::Shared;
use crate::stream::Stream;

/// Why a repair came to nothing.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Lost(#[from] LinkError),
    #[error("no list of functions")]
    NoList,
}

impl Worker {
    /// What nodes turned out not to know is forgotten, and what they lack is given to them.
    pub(super) fn settle_scripts(&mut self) {
        for (node, lane, doubt) in self.clients.scripts.doubts.drain(..) {
            let Some(link) = self.pool.link_to(&node, lane) else { continue };
            match doubt {
                Doubt::Script(digest) => link.told.forget(&digest.0),
                Doubt::Functions => link.told.proven = false,
            }
        }
        if self.clients.repairs.has_beginning()
            && let Some(this) = self.this.upgrade()
        {
            for node in self.clients.repairs.take_beginning() {
                let source = Source {
                    worker: this.clone(),
                    shared: self.shared.clone(),
                    connector: self.connector.clone(),
                    map: self.pool.slot_map().clone(),
                    metrics: self.metrics.clone(),
                };
                spawn_local(source.repair(node));
            }
        }
    }

    /// A repair is over: whoever waits for it is sent again, and gets what the server says then.
    fn on_functions_given(&mut self, node: &Endpoint, gave: bool) {
        let now = self.now();
        self.clients.repairs.on_over(node, gave, now);
        self.clients.retries.release(node);
        let due = self.clients.retries.take_due(now);
        self.resend(due);
        self.settle();
    }

    /// A node has these libraries, and was given none lately: whoever called one of their functions got the words
    /// of the function itself. They are its answer, since it ran.
    fn answer_ran(&mut self, node: &Endpoint, libraries: &[Library]) {
        let ran =
            self.clients.retries.take_awaiting(node, |parked| calls_one_of(parked, libraries) == Some(true));
        for parked in ran {
            self.clients.answer(parked.origin, parked.last_error.as_deref().unwrap_or_default());
            self.clients.unpark(parked.origin);
        }
        self.settle();
    }

    /// Whether a request waits for this node.
    fn is_awaited(&self, node: &Endpoint) -> bool {
        self.clients.retries.awaiting(node).next().is_some()
    }

    /// Whether a request that waits for this node calls a function that none of these libraries has.
    fn wants_more(&self, node: &Endpoint, libraries: &[Library]) -> bool {
        self.clients.retries.awaiting(node).any(|parked| calls_one_of(parked, libraries) == Some(false))
    }
}

/// Whether one of the libraries has the function that is called, if one is.
fn calls_one_of(parked: &Parked, libraries: &[Library]) -> Option<bool> {
    with_request(&parked.request, |request| match Scripted::of(request) {
        Some(Scripted::Function(name)) => Some(libraries::have(libraries, name)),
        _ => None,
    })
}

/// What a repair needs of its worker.
struct Source {
    worker: Rc<RefCell<Worker>>,
    shared: Arc<Shared>,
    connector: Rc<Connector>,
    map: Arc<SlotMap>,
    metrics: Arc<WorkerMetrics>,
}

impl Source {
    /// Gives `node` what it lacks, within the time of a command.
    async fn repair(self, node: Endpoint) {
        let limit = self.shared.cluster.command_timeout;
        let given = timeout(limit, self.give(&node)).await;
        let gave = matches!(given, Ok(Ok(libraries)) if libraries > 0);
        match given {
            Ok(Ok(0)) => debug!(node.endpoint = %node, "no functions to give"),
            Ok(Ok(libraries)) => {
                info!(node.endpoint = %node, libraries, "gave a node the functions it lacked")
            }
            Ok(Err(error)) => {
                info!(node.endpoint = %node, %error, "cannot give a node the functions it lacks")
            }
            Err(_) => info!(node.endpoint = %node, "no time to give a node the functions it lacks"),
        }
        self.worker.borrow_mut().on_functions_given(&node, gave);
    }

    /// Asks one primary after the other until nobody waits for more; the number of libraries given.
    async fn give(&self, node: &Endpoint) -> Result<usize, RepairError> {
        let mut given = 0;
        let (mut link, mut own) = self.list(node, false).await?;
        let is_awaited = self.worker.borrow().is_awaited(node);
        if !self.shared.gave_functions_lately() {
            self.worker.borrow_mut().answer_ran(node, &own);
        }
        for donor in self.map.serving().filter(|donor| *donor != node) {
            // Where the caller could not wait, the next one shall not have to.
            let goes_on = if is_awaited { self.worker.borrow().wants_more(node, &own) } else { given == 0 };
            if !goes_on {
                break;
            }
            // A client that has functions removed meanwhile must not find them again.
            let removed = self.shared.removed_functions();
            let there = match self.list(donor, true).await {
                Ok((_, there)) => there,
                Err(error) => {
                    debug!(node.endpoint = %donor, %error, "a primary does not tell its functions");
                    continue;
                }
            };
            for library in libraries::missing(&own, &there).cloned().collect::<Vec<_>>() {
                if self.load(&mut link, &library, removed).await? {
                    given += 1;
                    own.push(library);
                }
            }
        }
        Ok(given)
    }

    /// A connection to a node, and what it has.
    async fn list(
        &self,
        node: &Endpoint,
        with_code: bool,
    ) -> Result<(Link<Stream>, Vec<Library>), RepairError> {
        let mut link = Link::new(self.connector.open(node, Lane::default()).await?);
        let words: &[&[u8]] =
            if with_code { &[b"FUNCTION", b"LIST", b"WITHCODE"] } else { &[b"FUNCTION", b"LIST"] };
        link.send(&frame(words)).await?;
        let libraries = libraries::parse(&link.reply().await?).ok_or(RepairError::NoList)?;
        Ok((link, libraries))
    }

    /// Loads a library where it is missing, unless functions were removed since it was read: then it goes again.
    async fn load(
        &self,
        link: &mut Link<Stream>,
        library: &Library,
        removed: u64,
    ) -> Result<bool, RepairError> {
        if self.shared.removed_functions() != removed {
            return Ok(false);
        }
        self.shared.note_given_functions();
        link.send(&frame(&[b"FUNCTION", b"LOAD", &library.code])).await?;
        // Already there, or not to be compiled: it has what it can have.
        if link.reply().await?.starts_with(b"-") {
            return Ok(false);
        }
        if self.shared.removed_functions() != removed {
            link.send(&frame(&[b"FUNCTION", b"DELETE", &library.name])).await?;
            link.reply().await?;
            return Ok(false);
        }
        self.metrics.functions_repaired.add(1);
        Ok(true)
    }
}

fn frame(words: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    write(&mut request, words);
    request
}
