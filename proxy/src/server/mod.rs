//! ◆ The whole proxy: binds its ports, starts its workers, and ends them gracefully.

#![expect(clippy::disallowed_methods, reason = "I/O: starts threads")]

mod backends;
mod ending;
mod entries;
mod giving;
mod leaving;
mod open_files;
mod ports;
mod reload;
mod taking;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::info;

use self::backends::Backends;
use self::ending::{Ending, Signals};
use self::giving::Giving;
use self::ports::{Offered, Ports, Serving};
use self::reload::Reload;
pub use self::taking::Takeover;
use crate::cluster::id::ClusterId;
use crate::config::settings::{Settings, TlsSettings};
use crate::dns::resolver::Resolver;
use crate::drain::Drain;
use crate::handover::taker::Taker;
use crate::latest::Latest;
use crate::listener::Workers;
use crate::metrics::Metrics;
use crate::process::{Memory, Process, Surroundings};
use crate::reload::origin::Origin;
use crate::reload::status::Status;
use crate::responder;
use crate::service::activated;
use crate::service::notify::Notify;
use crate::shared::Shared;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;
use crate::worker::message::{self, WorkerHandle};
use crate::worker::{self, Part};

// A client on a fast network adds some 20 MiB in this time; reading the numbers takes some microseconds.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

// Files are replaced days apart; a look costs a system call a file.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(2);

/// How the proxy is started.
#[derive(Default)]
pub struct Start {
    /// Where the settings are read again; without one they stay.
    pub origin: Option<Origin>,
    /// Whether another process is replaced.
    pub takeover: Takeover,
}

/// Serves until SIGTERM or SIGINT, or until another process serves in its place; then drains and returns.
///
/// # Errors
/// Where the proxy can't start: a port can't be bound, a thread or runtime can't be made, nobody is there to be
/// replaced. A process that was to be replaced goes on then.
pub fn run(settings: Settings, start: Start) -> io::Result<()> {
    run_with(settings, start, |_| ())
}

/// As [`run`]; calls `on_started` once clients can connect, with what can be observed from then on.
///
/// # Errors
/// As [`run`].
pub fn run_with(settings: Settings, start: Start, on_started: impl FnOnce(&Started)) -> io::Result<()> {
    let notify = Notify::from_env();
    let mut offered = Offered::default();
    offered.add(activated::sockets());
    // Everything that is no client's business happens on this one: accepting, topology, DNS, admin.
    let control =
        Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
    let mut taker = taking::ask(&settings, start.takeover, &mut offered)?;
    let ended = serve(settings, start.origin, on_started, (&control, &notify), (&mut taker, offered));
    if let (Err(error), Some(taker)) = (&ended, taker) {
        taker.give_up(&error.to_string());
    }
    control.shutdown_background();
    info!("ended");
    ended
}

/// From binding the ports to the end. Whom this process replaces is taken out of `taker` once it is replaced.
fn serve(
    settings: Settings,
    origin: Option<Origin>,
    on_started: impl FnOnce(&Started),
    (control, notify): (&Runtime, &Notify),
    (taker, mut offered): (&mut Option<Taker>, Offered),
) -> io::Result<()> {
    open_files::raise(settings.clients.max_clients);
    let bound = ports::bind(control.handle(), &settings, &mut offered)?;
    let (responder, others) = entries::bind_responder(&settings, &mut offered)?;
    drop(offered);
    let door = taking::bind(settings.takeover.as_deref())?;
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
    entries::start(&latest, &resolver, &drain, &threads.workers, control.handle());
    let ports = Arc::new(Mutex::new(Ports::new(serving, others)));
    taking::wait_for_turn(taker, &latest)?;
    let signals = Signals::hear(control.handle())?;
    lock(&ports).open_all(bound);
    responder::serve::start(responder, latest.clone())?;
    let (tell, handed_over) = mpsc::channel(1);
    let giving = Giving {
        latest: latest.clone(),
        ports: ports.clone(),
        control: control.handle().clone(),
        handed_over: tell,
    };
    let door = giving::open(door, giving)?;
    taking::serve(taker.take())?;
    on_started(&Started { clients, shared: latest.home() });
    let reloading = {
        let _in_runtime = control.enter();
        let (backends, notify) = (backends.clone(), notify.clone());
        let reload = |origin| Reload::new(origin, latest.clone(), ports.clone(), status, (backends, notify));
        origin.map(reload).transpose()?.map(|reload| control.spawn(reload.run()))
    };
    let all: Vec<_> = threads.workers.iter().flat_map(|workers| workers.iter().cloned()).collect();
    if let Some(limit) = notify.watchdog() {
        control.spawn(watchdog::run(notify.clone(), limit, all.clone()));
    }
    notify.ready(&format!("serving at {} ports", lock(&ports).len()));
    let notify = notify.clone();
    let ends = (signals, handed_over);
    let ending = Ending { latest, ports, clients: workers, workers: all, drain, notify, reloading, ends };
    let ended = control.block_on(ending.run(threads.running));
    drop(door);
    drop(backends);
    ended
}

fn lock(ports: &Mutex<Ports>) -> MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
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
