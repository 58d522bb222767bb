//! ◆ Starts the publishers of the settings.

#![expect(clippy::disallowed_methods, reason = "I/O: reads the clock")]

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::rfc2136::Task;
use super::writer::Writer;
use crate::config::fleet::FleetSettings;
use crate::dns::resolver::Resolver;
use crate::entry::board::Board;
use crate::entry::publish::files::Form;
use crate::entry::publish::ledger::{Ledger, Publisher};

/// What all publishers use.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the plans hang.
    pub board: Board,
    /// How servers' names are resolved.
    pub resolver: Arc<Resolver>,
    /// Where it is kept how they fare.
    pub ledger: Arc<Ledger>,
    /// Microseconds since 1970.
    pub wall_clock: fn() -> u64,
}

/// The running publishers; dropping this ends them. What they have published stays.
#[derive(Debug, Default)]
pub struct Publishers(#[expect(dead_code, reason = "it ends its tasks when it is dropped")] JoinSet<()>);

impl Publishers {
    /// Begins to publish as `fleet` has it, on the runtime `control`.
    #[must_use]
    pub fn start(fleet: &FleetSettings, surroundings: &Surroundings, control: &Handle) -> Self {
        let fleet = Arc::new(fleet.clone());
        let Surroundings { board, resolver, ledger, wall_clock } = surroundings;
        let mut tasks = JoinSet::new();
        if let Some(settings) = fleet.publishers.rfc2136.clone() {
            let task = Task {
                fleet: fleet.clone(),
                settings,
                board: board.clone(),
                plans: board.watch(),
                began: Instant::now(),
                resolver: resolver.clone(),
                ledger: ledger.clone(),
                wall_clock: *wall_clock,
            };
            tasks.spawn_on(task.run(), control);
        }
        let files = &fleet.publishers.files;
        let is_set = [
            (Publisher::Rfc2136, fleet.publishers.rfc2136.is_some()),
            (Publisher::Gdnsd, files.gdnsd.is_some()),
            (Publisher::Coredns, files.coredns.is_some()),
            (Publisher::DnsEndpoint, files.dnsendpoint.is_some()),
        ];
        let set: Vec<_> =
            is_set.into_iter().filter(|(_, is_set)| *is_set).map(|(publisher, _)| publisher).collect();
        ledger.keep(&set);
        for (form, path) in [
            (Form::Gdnsd, &files.gdnsd),
            (Form::Coredns, &files.coredns),
            (Form::DnsEndpoint, &files.dnsendpoint),
        ] {
            let Some(path) = path.clone() else { continue };
            let writer = Writer {
                form,
                path,
                fleet: fleet.clone(),
                plans: board.watch(),
                ledger: ledger.clone(),
                wall_clock: *wall_clock,
            };
            tasks.spawn_on(writer.run(), control);
        }
        Self(tasks)
    }
}
