//! ◆ The whole proxy: binds its ports, starts its workers, and ends them gracefully.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: binds ports, starts threads, hears signals"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::http;
use crate::backend::dial::Dialer;
use crate::cluster::discovery::Discovery;
use crate::cluster::watch::Watch;
use crate::config::settings::{Settings, TlsSettings};
use crate::dns::resolver::Resolver;
use crate::drain::Drain;
use crate::listener::{self, Workers};
use crate::metrics::Metrics;
use crate::shared::{Memory, Shared, Surroundings};
use crate::socket;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;
use crate::tls::connector::ClientFiles;
use crate::worker;
use crate::worker::message::{self, Message, Transport, WorkerHandle};

// A client on a fast network adds some 20 MiB in this time; reading the numbers takes some microseconds.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

// Files are replaced days apart; a look costs a system call a file.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(2);

// Backend connections, listeners, the runtimes' own: what a proxy needs beside its clients.
const OWN_FILES: u64 = 256;

/// Serves until SIGTERM or SIGINT; then drains and returns.
///
/// # Errors
/// Where the proxy can't start: a port can't be bound, a thread or runtime can't be made.
pub fn run(settings: Settings) -> io::Result<()> {
    run_with(settings, |_| ())
}

/// As [`run`]; calls `on_started` once clients can connect, with what can be observed from then on.
///
/// # Errors
/// As [`run`].
pub fn run_with(settings: Settings, on_started: impl FnOnce(&Started)) -> io::Result<()> {
    // Everything that is no client's business happens on this one: accepting, topology, DNS, admin.
    let control =
        Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
    raise_open_files(settings.clients.max_clients);
    let listeners = bind(&control, &settings)?;
    let resolver = Resolver::new(&settings.dns, control.handle().clone()).map_err(io::Error::other)?;
    let metrics = Arc::new(Metrics::new(settings.threads));
    let certificates = certificates(&settings, &metrics)?;
    let dialer = Dialer::load(settings.cluster.tls.as_ref(), &metrics)?;
    let discovery = Discovery::start(&settings.cluster, resolver.clone(), dialer.clone(), control.handle());
    let topology = discovery.topology().clone();
    let watch = Watch::start(
        &settings.cluster,
        resolver.clone(),
        dialer.clone(),
        topology.clone(),
        metrics.clone(),
        control.handle(),
    );
    control.spawn(follow_certificates(certificates.clone(), dialer.certificates()));
    let shared = Arc::new(Shared::new(settings, topology, metrics, surroundings(certificates, dialer)));
    let drain = Drain::default();

    let (handles, threads) = start_workers(&shared, &resolver)?;
    let workers = Workers::new(&handles);
    let started = Started { clients: listeners.addresses(), shared: shared.clone() };
    let accepting = serve(&control, listeners, &shared, &workers, &drain);
    on_started(&started);
    control.block_on(wait_for_end())?;

    drain.begin();
    info!(grace_period = ?shared.settings.grace_period, clients = workers.clients(), "draining");
    // From here on connections are refused; topology, DNS and the admin pages go on until all is answered.
    accepting.iter().for_each(JoinHandle::abort);
    for handle in &handles {
        handle.tell(Message::Drain(shared.settings.grace_period));
    }
    for thread in threads {
        if thread.join().is_err() {
            return Err(io::Error::other("a worker panicked"));
        }
    }
    drop((discovery, watch));
    control.shutdown_background();
    info!("ended");
    Ok(())
}

/// Raises the limit of open files as far as it may be, and says where it stays below what the settings
/// promise.
fn raise_open_files(max_clients: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
    let needed = max_clients as u64 + OWN_FILES;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        warn!(limit, needed, "the limit of open files is below what clients.max_clients needs");
    }
}

/// A proxy that serves.
pub struct Started {
    /// Where clients connect, plain listeners first: the ports that were bound, also where the settings left the choice to the kernel.
    pub clients: Vec<SocketAddr>,
    /// Its numbers and its topology.
    pub shared: Arc<Shared>,
}

struct Listeners {
    clients: Vec<(TcpListener, Transport)>,
    admin: Option<TcpListener>,
}

impl Listeners {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }
}

/// Binds every port before anything is started, so that a port in use is found at once.
fn bind(control: &Runtime, settings: &Settings) -> io::Result<Listeners> {
    let _in_runtime = control.enter();
    let listen = |address: SocketAddr| {
        socket::listen(address, settings.clients.backlog)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
    };
    let plain = settings.listen.iter().map(|address| (*address, Transport::Plain));
    let tls = settings.tls.iter().flat_map(|tls| &tls.listen).map(|address| (*address, Transport::Tls));
    let clients = plain.chain(tls).map(|(address, transport)| Ok((listen(address)?, transport)));
    let clients = clients.collect::<io::Result<Vec<_>>>()?;
    let admin = settings.admin.map(listen).transpose()?;
    Ok(Listeners { clients, admin })
}

fn start_workers(
    shared: &Arc<Shared>,
    resolver: &Arc<Resolver>,
) -> io::Result<(Vec<WorkerHandle>, Vec<thread::JoinHandle<()>>)> {
    let (handles, inboxes): (Vec<_>, Vec<_>) =
        (0..shared.settings.threads).map(|_| message::channel()).unzip();
    let peers: Arc<[WorkerHandle]> = handles.clone().into();
    let threads = inboxes.into_iter().enumerate().map(|(index, inbox)| {
        let (shared, resolver, peers) = (shared.clone(), resolver.clone(), peers.clone());
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(index, shared, resolver, peers, inbox))
    });
    Ok((handles, threads.collect::<io::Result<_>>()?))
}

/// Starts what runs on the control thread; returns the tasks that accept clients.
fn serve(
    control: &Runtime,
    listeners: Listeners,
    shared: &Arc<Shared>,
    workers: &Workers,
    drain: &Drain,
) -> Vec<JoinHandle<()>> {
    let mut accepting = Vec::new();
    let settings = Arc::new(shared.settings.clients.clone());
    if settings.memory_limit.is_some() {
        control.spawn(watch_memory(shared.clone()));
    }
    for (listener, transport) in listeners.clients {
        if let Ok(address) = listener.local_addr() {
            info!(%address, ?transport, "serving clients");
        }
        let run =
            listener::run(listener, transport, workers.clone(), settings.clone(), shared.metrics.clone());
        accepting.push(control.spawn(run));
    }
    if let Some(listener) = listeners.admin {
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving the admin pages");
        }
        let (shared, drain) = (shared.clone(), drain.clone());
        control.spawn(async move {
            if let Err(error) = http::serve(listener, shared, drain).await {
                warn!(%error, "the admin port ended");
            }
        });
    }
    accepting
}

/// Looks at the files of certificates, for as long as the process runs.
async fn follow_certificates(
    clients: Option<Arc<Certificates<ServerFiles>>>,
    backends: Option<Arc<Certificates<ClientFiles>>>,
) {
    while clients.is_some() || backends.is_some() {
        sleep(CERTIFICATES_INTERVAL).await;
        clients.iter().for_each(|certificates| certificates.look());
        backends.iter().for_each(|certificates| certificates.look());
    }
}

/// Measures what the process has allocated, for as long as it runs.
async fn watch_memory(shared: Arc<Shared>) {
    loop {
        shared.measure_memory();
        sleep(MEMORY_INTERVAL).await;
    }
}

async fn wait_for_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Heard, so that it does not end the process without draining.
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => info!(signal = "SIGTERM", "asked to end"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "asked to end"),
            _ = hangup.recv() => {
                warn!(signal = "SIGHUP", "settings are read at the start only");
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

fn surroundings(certificates: Option<Arc<Certificates<ServerFiles>>>, dialer: Dialer) -> Surroundings {
    let mut random = [0; 20];
    random.fill_with(|| fastrand::u8(..));
    Surroundings { node_id: random, wall_clock, memory, dialer, certificates }
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
