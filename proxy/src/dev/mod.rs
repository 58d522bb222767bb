//! ◆ `slotway dev`: a cluster of throw-away nodes with the proxy in front, in one command.
//!
//! The nodes are real servers on free loopback ports, their folder is temporary. Whatever ends this (Ctrl-C,
//! SIGTERM, an error, a dead node) ends all of it; on Linux the nodes end even when the proxy is killed.
#![expect(clippy::disallowed_methods, reason = "I/O: starts the proxy's thread, waits and watches the clock")]

mod address;
mod connection;
mod error;
mod form;
mod node;
mod program;
mod traffic;
mod welcome;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

use rustix::process::{getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{self, MissedTickBehavior, timeout};

use crate::cli::{DevFlags, LOG_VARIABLE};
use connection::Connection;
use error::DevError;
use node::Nodes;
use program::Program;
use slotway::config::settings::Settings;
use slotway::server::{self, Start};
use traffic::{Ticker, TrafficSample};
use welcome::Welcome;

/// How long the proxy may take to answer its first PING.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the proxy may take beyond its grace period before its nodes are taken away all the same.
const END_MARGIN: Duration = Duration::from_secs(2);

/// Runs until ended; says on stderr what went wrong.
pub(crate) fn run(flags: &DevFlags) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(DevError::System).and_then(|runtime| runtime.block_on(story(flags))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            error.exit_code()
        }
    }
}

async fn story(flags: &DevFlags) -> Result<(), DevError> {
    let program = Program::find()?;
    let mut end = End::new()?;
    let ports = address::free_node_ports(flags.nodes * (1 + flags.replicas))?;
    let listen = address::listen(flags.listen.as_deref())?;
    let admin = flags.admin.as_deref().map(|asked| address::listen(Some(asked))).transpose()?;
    let seeds: Vec<String> = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    let settings =
        flags.settings(&listen, admin.as_deref(), &seeds, env::var(LOG_VARIABLE).ok().as_deref())?;
    drop(crate::log_to_stderr(&settings.log));

    let mut nodes = Nodes::new(&program)?;
    let started = tokio::select! {
        outcome = start(&mut nodes, &ports, flags) => Some(outcome),
        () = end.wait() => None,
    };
    let outcome = match started {
        Some(Ok(())) => serve_until_the_end(&mut nodes, &mut end, flags, settings).await,
        Some(failed) => failed,
        None => Ok(()),
    };
    nodes.stop().await;
    outcome
}

async fn start(nodes: &mut Nodes, ports: &[u16], flags: &DevFlags) -> Result<(), DevError> {
    let _ = writeln!(io::stdout(), "starting {} nodes ...", ports.len());
    for &port in ports {
        nodes.start(port)?;
    }
    nodes.wait_until_up().await?;
    form::form_cluster(ports, usize::from(flags.nodes)).await
}

/// Runs the proxy in a thread of its own, exactly as `slotway run` would, and watches it and the nodes.
async fn serve_until_the_end(
    nodes: &mut Nodes,
    end: &mut End,
    flags: &DevFlags,
    settings: Settings,
) -> Result<(), DevError> {
    let grace_period = settings.grace_period;
    let welcome = Welcome::new(&settings, nodes, flags)?;
    let (tell, mut ended) = oneshot::channel();
    let (show, counters) = oneshot::channel();
    let proxy = move || {
        // The receivers are gone when a node died: then the process is about to end anyway.
        let outcome = server::run_with(settings, Start::default(), |started| {
            drop(show.send(started.shared.metrics.clone()))
        });
        let _ = tell.send(outcome);
    };
    thread::Builder::new().name("proxy".to_owned()).spawn(proxy).map_err(DevError::System)?;
    tokio::select! {
        outcome = &mut ended => return proxy_ended(outcome),
        outcome = proxy_answers(welcome.proxy) => outcome?,
        () = end.wait() => return proxy_ends(ended, grace_period).await,
    }
    let _ = writeln!(io::stdout(), "{welcome}");

    let Ok(metrics) = counters.await else { return proxy_ended(ended.await) };
    let mut ticker = Ticker::new(TrafficSample::of(&metrics));
    let mut seconds = time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            outcome = &mut ended => break proxy_ended(outcome),
            () = end.wait() => break proxy_ends(ended, grace_period).await,
            _ = seconds.tick() => {
                if let Err(error) = nodes.check_alive() {
                    break Err(error);
                }
                ticker.show(TrafficSample::of(&metrics));
            }
        }
    };
    ticker.finish();
    outcome
}

async fn proxy_answers(proxy: SocketAddr) -> Result<(), DevError> {
    timeout(READY_TIMEOUT, Connection::open_answering(proxy)).await.map_err(|_| DevError::NotReady(proxy))
}

fn proxy_ended(outcome: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<(), DevError> {
    match outcome {
        Ok(outcome) => outcome.map_err(DevError::Proxy),
        Err(_) => Err(DevError::ProxyGone),
    }
}

/// Waits for the proxy, which hears the same signals and answers what is in flight; the nodes must stay
/// meanwhile.
async fn proxy_ends(
    ended: oneshot::Receiver<io::Result<()>>,
    grace_period: Duration,
) -> Result<(), DevError> {
    timeout(grace_period + END_MARGIN, ended).await.map_or(Ok(()), proxy_ended)
}

/// Ctrl-C, SIGTERM and a closed terminal. From its creation on they no longer end the process by themselves.
struct End {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl End {
    fn new() -> Result<Self, DevError> {
        let listen = |kind| signal(kind).map_err(DevError::System);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            // The proxy does not take it for an end, so it is told in words that it knows. Fails only for
            // processes of others.
            _ = self.hangup.recv() => {
                let _ = kill_process(getpid(), rustix::process::Signal::TERM);
            }
        }
    }
}
