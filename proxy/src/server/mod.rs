//! ◆ The whole proxy: binds its ports, starts its workers, and ends them gracefully.

#![expect(clippy::disallowed_methods, reason = "I/O: starts threads, hears signals")]

mod backends;
mod entries;
mod open_files;
mod ports;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::{info, warn};

use self::backends::Backends;
use self::ports::{Ports, Serving};
use self::reload::Reload;
use crate::cluster::id::ClusterId;
use crate::config::settings::{Settings, TlsSettings};
use crate::dns::resolver::Resolver;
use crate::drain::Drain;
use crate::latest::Latest;
use crate::listener::Workers;
use crate::metrics::Metrics;
use crate::process::{Memory, Process, Surroundings};
use crate::reload::origin::Origin;
use crate::reload::status::Status;
use crate::responder;
use crate::shared::Shared;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;
use crate::worker::message::{self, Message, WorkerHandle};
use crate::worker::{self, Part};

// A client on a fast network adds some 20 MiB in this time; reading the numbers takes some microseconds.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

// Files are replaced days apart; a look costs a system call a file.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT; then drains and returns. The settings are read again from `origin`; without one
/// they stay.
///
/// # Errors
/// Where the proxy can't start: a port can't be bound, a thread or runtime can't be made.
pub fn run(settings: Settings, origin: Option<Origin>) -> io::Result<()> {
    run_with(settings, origin, |_| ())
}

/// As [`run`]; calls `on_started` once clients can connect, with what can be observed from then on.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    settings: Settings,
    origin: Option<Origin>,
    on_started: impl FnOnce(&Started),
) -> io::Result<()> {
    // Everything that is no client's business happens on this one: accepting, topology, DNS, admin.
    let control =
        Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
    open_files::raise(settings.clients.max_clients);
    let bound = ports::bind(control.handle(), &settings)?;
    let responder = entries::bind_responder(&settings)?;
    let clients = bound.iter().filter_map(ports::Bound::client_address).collect();
    let resolver = Resolver::new(&settings.dns, control.handle().clone()).map_err(io::Error::other)?;
    let backends = Arc::new(Backends::start(&settings, &resolver, control.handle())?);
    let latest = first(settings, &backends)?;
    control.spawn(follow_certificates(latest.home().process.certificates.clone(), backends.clone()));
    let drain = Drain::default();

    let threads = start_workers(&latest, &resolver)?;
    let workers = Workers::new(&threads.workers[0]);
    let status = Arc::<Status>::default();
    control.spawn(watch_memory(latest.clone()));
    let serving = Serving {
        control: control.handle().clone(),
        latest: latest.clone(),
        workers: workers.clone(),
        drain: drain.clone(),
        status: status.clone(),
    };
    responder::serve::start(responder, latest.clone())?;
    entries::start(&latest, &resolver, &drain, &threads.workers, control.handle());
    let ports = Arc::new(Mutex::new(Ports::new(serving, bound)));
    on_started(&Started { clients, shared: latest.home() });
    let reloading = {
        let _in_runtime = control.enter();
        let backends = backends.clone();
        let reload = |origin| Reload::new(origin, latest.clone(), ports.clone(), status, backends);
        origin.map(reload).transpose()?.map(|reload| control.spawn(reload.run()))
    };
    control.block_on(wait_for_end(reloading.is_some()))?;

    drain.begin();
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    let grace_period = latest.home().process.settings.grace_period;
    info!(?grace_period, clients = workers.clients(), "draining");
    // From here on connections are refused; topology, DNS and the admin pages go on until all is answered.
    ports.lock().unwrap_or_else(PoisonError::into_inner).refuse_clients();
    for handle in threads.workers.iter().flat_map(|workers| workers.iter()) {
        handle.tell(Message::Drain(grace_period));
    }
    for thread in threads.running {
        if thread.join().is_err() {
            return Err(io::Error::other("a worker panicked"));
        }
    }
    drop(backends);
    control.shutdown_background();
    info!("ended");
    Ok(())
}

/// The first generation of what all share.
fn first(settings: Settings, backends: &Backends) -> io::Result<Latest> {
    let topologies = backends.found().map(|(topology, ..)| topology).collect();
    let metrics =
        backends.found().next().map(|(.., metrics)| metrics).unwrap_or_else(|| Arc::new(Metrics::new(0)));
    let certificates = certificates(&settings, &metrics)?;
    let process = Arc::new(Process::new(settings, topologies, surroundings(certificates)));
    let shared = (0..).zip(backends.found()).map(|(id, (topology, dialer, metrics))| {
        Arc::new(Shared::new(process.clone(), ClusterId(id), (topology, dialer), metrics))
    });
    let latest = Latest::new(shared.collect());
    latest.home().metrics.control().config_generation.set(process.generation);
    Ok(latest)
}

/// A proxy that serves.
pub struct Started {
    /// Where clients connect: the ports that were bound, also where the settings left the choice to the kernel.
    pub clients: Vec<SocketAddr>,
    /// Its numbers and its topology.
    pub shared: Arc<Shared>,
}

/// The threads of the workers.
struct Threads {
    /// How each cluster's workers are reached, in the order of the threads.
    workers: Vec<Arc<[WorkerHandle]>>,
    running: Vec<thread::JoinHandle<()>>,
}

/// Starts the threads, each with a worker for each cluster.
fn start_workers(latest: &Latest, resolver: &Arc<Resolver>) -> io::Result<Threads> {
    let clusters = latest.clusters();
    let threads = clusters[0].process.settings.threads;
    let mut parts: Vec<Vec<Part>> = (0..threads).map(|_| Vec::new()).collect();
    let mut workers = Vec::new();
    for shared in clusters.iter() {
        let (own, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| message::channel()).unzip();
        let peers: Arc<[WorkerHandle]> = own.into();
        for (parts, inbox) in parts.iter_mut().zip(inboxes) {
            parts.push(Part { shared: shared.clone(), peers: peers.clone(), inbox });
        }
        workers.push(peers);
    }
    let running = parts.into_iter().enumerate().map(|(index, parts)| {
        let (resolver, latest) = (resolver.clone(), latest.clone());
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(index, parts, &latest, resolver))
    });
    Ok(Threads { workers, running: running.collect::<io::Result<_>>()? })
}

/// Measures what the process has allocated, for as long as it runs and while there is a limit.
async fn watch_memory(latest: Latest) {
    let mut generations = latest.watch();
    loop {
        let process = generations.borrow_and_update()[0].process.clone();
        if process.settings.clients.memory_limit.is_some() {
            process.measure_memory();
            sleep(MEMORY_INTERVAL).await;
        } else if generations.changed().await.is_err() {
            return;
        }
    }
}

/// Waits for a signal that ends the proxy. SIGHUP does not: whoever reads settings again hears it too.
async fn wait_for_end(reloads: bool) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => info!(signal = "SIGTERM", "asked to end"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "asked to end"),
            _ = hangup.recv() => {
                if !reloads {
                    warn!(signal = "SIGHUP", "these settings can't be read again");
                }
                continue;
            }
        }
        return Ok(());
    }
}

/// What TLS clients are served by. The settings' check has read the same files a moment ago.
fn certificates(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> io::Result<Option<Arc<Certificates<ServerFiles>>>> {
    let load = |tls: &TlsSettings| Certificates::load(tls.files.clone(), metrics.clone()).map(Arc::new);
    settings.tls.as_ref().map(load).transpose().map_err(io::Error::other)
}

/// Looks at the files of certificates, for as long as the process runs.
async fn follow_certificates(clients: Option<Arc<Certificates<ServerFiles>>>, backends: Arc<Backends>) {
    loop {
        sleep(CERTIFICATES_INTERVAL).await;
        clients.iter().for_each(|certificates| certificates.look());
        backends.look_at_certificates();
    }
}

fn surroundings(certificates: Option<Arc<Certificates<ServerFiles>>>) -> Surroundings {
    let mut random = [0; 20];
    random.fill_with(|| fastrand::u8(..));
    Surroundings { node_id: random, wall_clock, memory, certificates }
}

fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// What jemalloc says; zeros where another allocator is linked.
fn memory() -> Memory {
    use tikv_jemalloc_ctl::{epoch, stats};
    // The numbers are as of the last epoch.
    let _ = epoch::advance();
    let read = |value: Result<usize, _>| value.map_or(0, |bytes: usize| bytes as u64);
    Memory { allocated: read(stats::allocated::read()), resident: read(stats::resident::read()) }
}
