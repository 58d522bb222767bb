//! ◆ The ports that the proxy serves: bound before anything that needs them begins, opened, closed.

#![expect(clippy::disallowed_types, reason = "I/O: binds ports, starts what accepts at them")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::admin::{fleet, http};
use crate::config::settings::Settings;
use crate::drain::Drain;
use crate::fleet::publish::agent;
use crate::handover::place::{self, Place};
use crate::handover::taker::Sockets;
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

impl Role {
    /// What another process knows it by.
    fn name(&self) -> String {
        match self {
            Self::Clients(Way { tenant: Some(tenant), .. }) => format!("tenant {tenant}"),
            Self::Clients(Way { transport: Transport::Tls, .. }) => "tls".to_owned(),
            Self::Clients(_) => "clients".to_owned(),
            Self::Admin => "admin".to_owned(),
            Self::AgentCheck => "agent-check".to_owned(),
        }
    }
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
    /// Held to be handed over, too: whoever serves at them is no concern of this one.
    others: Sockets,
}

struct Port {
    wanted: Wanted,
    address: SocketAddr,
    task: JoinHandle<()>,
    /// The socket itself, to be handed over or accepted at again; `None` where descriptors had run out.
    held: Option<OwnedFd>,
}

/// Sockets that others bound: a process that is replaced, or the service manager.
#[derive(Default)]
pub(super) struct Offered(Sockets);

impl Offered {
    /// These, in addition.
    pub(super) fn add(&mut self, sockets: Sockets) {
        self.0.extend(sockets);
    }

    /// The one for this role at this address, as settings have it.
    pub(super) fn take(&mut self, role: &str, address: SocketAddr) -> Option<OwnedFd> {
        let found = place::find(self.0.iter().map(|(place, _)| place), role, address)?;
        Some(self.0.swap_remove(found).1)
    }
}

/// What nobody asked for is told, then closed.
impl Drop for Offered {
    fn drop(&mut self) {
        for (Place { role, bound, .. }, _) in &self.0 {
            warn!(address = %bound, role, "a socket that was handed over is not in the settings");
        }
    }
}

fn wanted(settings: &Settings) -> impl Iterator<Item = Wanted> {
    let fleet = settings.fleet.as_ref();
    let clients = move |address: SocketAddr, transport, tenant| {
        let announced = fleet.is_some_and(|fleet| fleet.expects_header(address));
        (Role::Clients(Way { transport, tenant, announced }), address)
    };
    let entries = fleet.into_iter().flat_map(|fleet| &fleet.entries).flat_map(|entry| &entry.listen);
    let tls = settings.tls.iter().flat_map(|tls| &tls.listen);
    let is_tls = {
        let tls = tls.clone();
        move |address: &SocketAddr| tls.clone().any(|tls| tls == address)
    };
    let plain = settings.listen.iter().chain(entries.filter(move |address| !is_tls(address)));
    let plain = plain.map(move |address| clients(*address, Transport::Plain, None));
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

/// Binds every port of the settings that is not among those offered.
///
/// # Errors
/// Where one can't be; none is then.
pub(super) fn bind(control: &Handle, settings: &Settings, offered: &mut Offered) -> io::Result<Vec<Bound>> {
    bind_all(control, settings, wanted(settings).collect(), offered)
}

fn bind_all(
    control: &Handle,
    settings: &Settings,
    wanted: Vec<Wanted>,
    offered: &mut Offered,
) -> io::Result<Vec<Bound>> {
    let _in_runtime = control.enter();
    let backlog = settings.clients.backlog;
    let bind = |wanted: Wanted| {
        let listener = match offered.take(&wanted.0.name(), wanted.1) {
            Some(socket) => socket::adopt(socket, backlog),
            None => socket::listen(wanted.1, backlog),
        };
        let listener = listener.map_err(|error| {
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
    /// Serves at none yet.
    pub(super) fn new(serving: Serving, others: Sockets) -> Self {
        Self { serving, open: Vec::new(), others }
    }

    /// Serves at these, too.
    pub(super) fn open_all(&mut self, bound: Vec<Bound>) {
        bound.into_iter().for_each(|bound| self.open(bound));
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Binds those of the settings that are not open.
    ///
    /// # Errors
    /// Where one can't be; nothing has changed then.
    pub(super) fn bind_new(&self, settings: &Settings) -> io::Result<Vec<Bound>> {
        let is_open = |wanted: &Wanted| self.open.iter().any(|port| port.wanted == *wanted);
        let new = wanted(settings).filter(|wanted| !is_open(wanted)).collect();
        bind_all(&self.serving.control, settings, new, &mut Offered::default())
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
    pub(super) fn refuse_clients(&mut self) {
        self.open.retain(|port| {
            let stays = matches!(port.wanted.0, Role::Admin);
            if !stays {
                port.task.abort();
            }
            stays
        });
    }

    /// The sockets, for another process. None where the clients' are closed already.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn offer(&self) -> io::Result<Sockets> {
        if !self.open.iter().any(|port| matches!(port.wanted.0, Role::Clients(..))) {
            return Ok(Vec::new());
        }
        let held = self.open.iter().filter_map(|port| Some((port, port.held.as_ref()?)));
        let offer = |(port, held): (&Port, &OwnedFd)| {
            let place = Place { role: port.wanted.0.name(), wanted: port.wanted.1, bound: port.address };
            Ok((place, held.try_clone()?))
        };
        let others = self.others.iter().map(|(place, held)| Ok((place.clone(), held.try_clone()?)));
        held.map(offer).chain(others).collect()
    }

    /// Accepts at none, but closes none: those who come wait. Gives what has to end for that to be true.
    pub(super) fn pause(&mut self) -> Vec<JoinHandle<()>> {
        let pause = |port: &mut Port| {
            port.task.abort();
            // Whatever has ended by itself.
            std::mem::replace(&mut port.task, self.serving.control.spawn(async {}))
        };
        self.open.iter_mut().map(pause).collect()
    }

    /// Accepts again.
    pub(super) fn resume(&mut self) {
        let control = self.serving.control.clone();
        let _in_runtime = control.enter();
        for port in std::mem::take(&mut self.open) {
            // One that a reload opened meanwhile accepts already.
            port.task.abort();
            let listener = port.held.ok_or_else(|| io::Error::other("it was not held"));
            match listener.and_then(|held| TcpListener::from_std(held.into())) {
                Ok(listener) => self.open(Bound { wanted: port.wanted, listener }),
                Err(error) => warn!(%error, address = %port.address, "cannot accept again"),
            }
        }
    }

    /// They are another process's.
    pub(super) fn leave(&mut self) {
        self.open.drain(..).for_each(|port| port.task.abort());
    }

    fn open(&mut self, Bound { wanted, listener }: Bound) {
        let address = listener.local_addr().unwrap_or(wanted.1);
        let held = listener.as_fd().try_clone_to_owned();
        let held = held.map_err(|error| warn!(%error, %address, "cannot hold a port")).ok();
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
        self.open.push(Port { wanted, address, task, held });
    }
}
