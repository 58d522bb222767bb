//! ◆ The ports that the proxy serves: bound before anything that needs them begins, opened, closed.

#![expect(clippy::disallowed_types, reason = "I/O: binds ports, starts what accepts at them")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::admin::{fleet, http};
use crate::config::settings::Settings;
use crate::drain::Drain;
use crate::fleet::publish::agent;
use crate::latest::Latest;
use crate::listener::{self, Workers};
use crate::reload::status::Status;
use crate::socket;
use crate::worker::message::{Transport, Way};

/// What is served at a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Clients.
    Clients(Way),
    Admin,
    /// HAProxy's agent-checks.
    AgentCheck,
}

/// An address as the settings have it; its port may be 0, which asks the kernel for any.
type Wanted = (Role, SocketAddr);

/// A port that is ours, and where nobody is accepted yet: those who come wait.
pub(super) struct Bound {
    wanted: Wanted,
    listener: TcpListener,
}

/// What serving needs.
pub(super) struct Serving {
    pub(super) control: Handle,
    pub(super) latest: Latest,
    pub(super) workers: Workers,
    pub(super) drain: Drain,
    pub(super) status: Arc<Status>,
}

/// The ports that are served.
pub(super) struct Ports {
    serving: Serving,
    open: Vec<Port>,
}

struct Port {
    wanted: Wanted,
    address: SocketAddr,
    task: JoinHandle<()>,
}

fn wanted(settings: &Settings) -> impl Iterator<Item = Wanted> {
    let fleet = settings.fleet.as_ref();
    let clients = move |address: SocketAddr, transport, tenant| {
        let announced = fleet.is_some_and(|fleet| fleet.expects_header(address));
        (Role::Clients(Way { transport, tenant, announced }), address)
    };
    let entries = fleet.into_iter().flat_map(|fleet| &fleet.entries).flat_map(|entry| &entry.listen);
    let plain = settings.listen.iter().chain(entries);
    let plain = plain.map(move |address| clients(*address, Transport::Plain, None));
    let tls = settings.tls.iter().flat_map(|tls| &tls.listen);
    let tls = tls.map(move |address| clients(*address, Transport::Tls, None));
    let tenants = settings.tenants.iter().flat_map(move |tenant| {
        let own: Arc<str> = tenant.name.as_str().into();
        tenant.listen.iter().map(move |address| clients(*address, Transport::Plain, Some(own.clone())))
    });
    let agent = settings.fleet.as_ref().and_then(|fleet| fleet.publishers.agent_check);
    plain
        .chain(tls)
        .chain(tenants)
        .chain(settings.admin.map(|address| (Role::Admin, address)))
        .chain(agent.map(|address| (Role::AgentCheck, address)))
}

/// Binds every port of the settings.
///
/// # Errors
/// Where one can't be; none is then.
pub(super) fn bind(control: &Handle, settings: &Settings) -> io::Result<Vec<Bound>> {
    bind_all(control, settings, wanted(settings).collect())
}

fn bind_all(control: &Handle, settings: &Settings, wanted: Vec<Wanted>) -> io::Result<Vec<Bound>> {
    let _in_runtime = control.enter();
    let bind = |wanted: Wanted| {
        let listener = socket::listen(wanted.1, settings.clients.backlog).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", wanted.1))
        })?;
        Ok(Bound { wanted, listener })
    };
    wanted.into_iter().map(bind).collect()
}

impl Bound {
    /// Where clients connect, if it is for them.
    pub(super) fn client_address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok().filter(|_| matches!(self.wanted.0, Role::Clients(..)))
    }
}

impl Ports {
    /// Serves at these.
    pub(super) fn new(serving: Serving, bound: Vec<Bound>) -> Self {
        let mut ports = Self { serving, open: Vec::new() };
        bound.into_iter().for_each(|bound| ports.open(bound));
        ports
    }

    /// Binds those of the settings that are not open.
    ///
    /// # Errors
    /// Where one can't be; nothing has changed then.
    pub(super) fn bind_new(&self, settings: &Settings) -> io::Result<Vec<Bound>> {
        let is_open = |wanted: &Wanted| self.open.iter().any(|port| port.wanted == *wanted);
        let new = wanted(settings).filter(|wanted| !is_open(wanted)).collect();
        bind_all(&self.serving.control, settings, new)
    }

    /// Serves at those that were bound for these settings, and no longer at those that they have not. Who is
    /// connected stays.
    pub(super) fn follow(&mut self, settings: &Settings, bound: Vec<Bound>) {
        self.open.retain(|port| {
            let stays = wanted(settings).any(|wanted| wanted == port.wanted);
            if !stays {
                info!(address = %port.address, role = ?port.wanted.0, "port closed");
                port.task.abort();
            }
            stays
        });
        bound.into_iter().for_each(|bound| self.open(bound));
    }

    /// Accepts nobody any more; the admin pages stay.
    pub(super) fn refuse_clients(&self) {
        let of_clients = |port: &&Port| matches!(port.wanted.0, Role::Clients(..));
        self.open.iter().filter(of_clients).for_each(|port| port.task.abort());
    }

    fn open(&mut self, Bound { wanted, listener }: Bound) {
        let address = listener.local_addr().unwrap_or(wanted.1);
        let Serving { control, latest, workers, drain, status } = &self.serving;
        let task = match &wanted.0 {
            Role::Clients(way) => {
                let Way { transport, tenant, announced } = way;
                match tenant {
                    None => info!(%address, ?transport, proxy_protocol = announced, "serving clients"),
                    Some(tenant) => info!(%address, tenant.name = %tenant, "serving a tenant's clients"),
                }
                control.spawn(listener::run(listener, way.clone(), workers.clone(), latest.clone()))
            }
            Role::AgentCheck => {
                info!(%address, "answering agent-checks");
                let (latest, drain) = (latest.clone(), drain.clone());
                let line = move |entry: Option<&str>| {
                    fleet::agent_line(&latest.home().process, entry, drain.has_begun())
                };
                control.spawn(agent::serve(listener, line))
            }
            Role::Admin => {
                info!(%address, "serving the admin pages");
                let pages = http::serve(listener, latest.clone(), drain.clone(), Arc::clone(status));
                control.spawn(async move {
                    if let Err(error) = pages.await {
                        warn!(%error, "the admin port ended");
                    }
                })
            }
        };
        self.open.push(Port { wanted, address, task });
    }
}
