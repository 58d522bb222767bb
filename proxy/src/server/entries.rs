//! ◆ Starts what a fleet needs, on the control thread.

#![expect(clippy::disallowed_methods, reason = "I/O: starts tasks")]

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::spawn;

use super::ports::Offered;
use crate::backend::connect::Connector;
use crate::config::settings::Settings;
use crate::dns::resolver::Resolver;
use crate::drain::Drain;
use crate::fleet::publish::task::{Publishers, Surroundings};
use crate::fleet::{moving, planning};
use crate::handover::place::Place;
use crate::handover::taker::Sockets;
use crate::latest::Latest;
use crate::responder::serve::{self, Bound};
use crate::worker::message::WorkerHandle;

/// Begins to measure entries and to plan; it waits until the settings have a fleet.
pub(super) fn start(
    latest: &Latest,
    resolver: &Arc<Resolver>,
    drain: &Drain,
    workers: &[Arc<[WorkerHandle]>],
    control: &Handle,
) {
    let _in_runtime = control.enter();
    let home = latest.home();
    let connector =
        Arc::new(Connector::new(home.cluster.clone(), resolver.clone(), home.dialer.clone(), Arc::default()));
    let planning =
        planning::Loop::new(latest.clone(), drain.clone(), connector.clone(), home.topology.clone());
    spawn(planning.run());
    spawn(publish(latest.clone(), resolver.clone(), control.clone()));
    spawn(follow(latest.clone(), connector));
    let workers = workers.iter().flat_map(|workers| workers.iter()).cloned().collect();
    spawn(moving::run(latest.clone(), workers));
}

/// Binds where DNS is answered, but for what is offered. Gives a second hold of these sockets, for a process that comes
/// later.
///
/// # Errors
/// Where an address can't be.
pub(super) fn bind_responder(
    settings: &Settings,
    offered: &mut Offered,
) -> io::Result<(Vec<Bound>, Sockets)> {
    let responder = settings.fleet.as_ref().and_then(|fleet| fleet.responder.as_ref());
    let (mut all, mut held) = (Vec::new(), Vec::new());
    for &wanted in responder.into_iter().flat_map(|responder| &responder.listen) {
        let (udp, tcp) = (offered.take(DNS_UDP, wanted), offered.take(DNS_TCP, wanted));
        let one = serve::bind(wanted, udp, tcp)?;
        let (bound, udp, tcp) = one.hold()?;
        for (role, socket) in [(DNS_UDP, udp), (DNS_TCP, tcp)] {
            held.push((Place { role: role.to_owned(), wanted, bound }, socket));
        }
        all.push(one);
    }
    Ok((all, held))
}

// What another process knows the sockets by.
const DNS_UDP: &str = "dns/udp";
const DNS_TCP: &str = "dns/tcp";

/// Publishes by the newest settings.
async fn publish(latest: Latest, resolver: Arc<Resolver>, control: Handle) {
    let mut generations = latest.watch();
    let process = latest.home().process.clone();
    let (board, ledger, wall_clock) = (process.board.clone(), process.ledger.clone(), process.wall_clock);
    let surroundings = Surroundings { board, resolver, ledger, wall_clock };
    let mut now = None;
    let mut publishers = Publishers::default();
    loop {
        let fleet = generations.borrow_and_update()[0].process.settings.fleet.clone();
        if fleet != now {
            // Two that publish by different settings would fight: the old ones end first.
            drop(publishers);
            let start = |fleet| Publishers::start(fleet, &surroundings, &control);
            publishers = fleet.as_ref().map(start).unwrap_or_default();
            now = fleet;
        }
        if generations.changed().await.is_err() {
            return;
        }
    }
}

/// Passwords change while the proxy runs.
async fn follow(latest: Latest, connector: Arc<Connector>) {
    let mut generations = latest.watch();
    while generations.changed().await.is_ok() {
        let home = generations.borrow_and_update()[0].clone();
        connector.follow(&home.cluster);
    }
}
