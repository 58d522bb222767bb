//! ◆ The responder's sockets, on a thread of its own: one loop for each UDP socket, which answers a query before it reads
//! the next, and a bounded number of TCP connections.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: owns sockets, a thread and its clock"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::answer::{self, MOST_UDP, Transport};
use super::limit::{Limiter, Verdict};
use super::zone::Zone;
use crate::config::fleet::FleetSettings;
use crate::entry::plan::Plan;
use crate::latest::Latest;
use crate::metrics::{Metrics, WorkerMetrics};

/// Both sockets of an address.
pub struct Bound {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

// Connections at once: each waits for at most some seconds, and resolvers ask by UDP.
const MOST_TCP: usize = 256;
// Of one address.
const MOST_TCP_EACH: usize = 16;
// A query is there at once, or never.
const PATIENCE: Duration = Duration::from_secs(5);
// Out of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds an address for both, where it was not given a socket that is bound to it.
///
/// # Errors
/// What the kernel says.
pub fn bind(address: SocketAddr, udp: Option<OwnedFd>, tcp: Option<OwnedFd>) -> io::Result<Bound> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot answer DNS at {address}: {error}"));
    let udp =
        udp.map_or_else(|| std::net::UdpSocket::bind(address), |held| Ok(held.into())).map_err(named)?;
    let local = udp.local_addr()?;
    let tcp =
        tcp.map_or_else(|| std::net::TcpListener::bind(local), |held| Ok(held.into())).map_err(named)?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(Bound { udp, tcp })
}

impl Bound {
    /// A second hold of both, with the address that they have.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn hold(&self) -> io::Result<(SocketAddr, OwnedFd, OwnedFd)> {
        Ok((self.udp.local_addr()?, self.udp.try_clone()?.into(), self.tcp.try_clone()?.into()))
    }
}

/// Answers at these addresses for as long as the process runs.
///
/// # Errors
/// Where no thread can be made.
pub fn start(bound: Vec<Bound>, latest: Latest) -> io::Result<()> {
    if bound.is_empty() {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("responder".to_owned()).spawn(move || {
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, async {
            let responder = Rc::new(Responder::new(latest));
            spawn_local(follow(responder.clone()));
            for Bound { udp, tcp } in bound {
                match (UdpSocket::from_std(udp), TcpListener::from_std(tcp)) {
                    (Ok(udp), Ok(tcp)) => {
                        info!(address = ?udp.local_addr().ok(), "answering DNS");
                        spawn_local(serve_udp(responder.clone(), udp));
                        spawn_local(serve_tcp(responder.clone(), tcp));
                    }
                    (Err(error), _) | (_, Err(error)) => warn!(%error, "cannot answer DNS"),
                }
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(())
}

struct Responder {
    latest: Latest,
    now: RefCell<Current>,
    /// How many TCP connections each address has.
    askers: RefCell<HashMap<IpAddr, usize>>,
    metrics: Arc<Metrics>,
    began: Instant,
}

/// What is answered by.
struct Current {
    zone: Option<Zone>,
    plan: Arc<Plan>,
    limiter: Option<Limiter>,
}

impl Responder {
    fn new(latest: Latest) -> Self {
        let home = latest.home();
        let now = Current { zone: None, plan: Arc::default(), limiter: None };
        let responder = Self {
            metrics: home.metrics.clone(),
            now: RefCell::new(now),
            askers: RefCell::default(),
            began: Instant::now(),
            latest,
        };
        responder.renew();
        responder
    }

    /// Where it counts: in numbers that no other thread writes.
    fn metrics(&self) -> &WorkerMetrics {
        self.metrics.control()
    }

    /// Takes new settings.
    fn renew(&self) {
        let home = self.latest.home();
        let mut now = self.now.borrow_mut();
        let settings = home.process.settings.fleet.as_ref();
        let both = |fleet: &FleetSettings| {
            Some((Zone::new(fleet, fleet.responder.as_ref()?), fleet.responder.as_ref()?.rate))
        };
        let both = settings.and_then(both);
        now.limiter = both.as_ref().and_then(|(_, rate)| rate.map(Limiter::new));
        now.zone = both.map(|(zone, _)| zone);
        now.plan = home.process.board.plan();
    }

    /// The answer to send, if any.
    fn answer(&self, query: &[u8], from: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        self.metrics().dns_queries.add(1);
        let mut now = self.now.borrow_mut();
        let Current { zone, plan, limiter } = &mut *now;
        let verdict = match (transport, limiter) {
            (Transport::Udp, Some(limiter)) => limiter.admit(from, self.began.elapsed().as_millis() as u64),
            _ => Verdict::Answer,
        };
        if verdict != Verdict::Answer {
            self.metrics().dns_limited.add(1);
        }
        match verdict {
            Verdict::Drop => None,
            Verdict::Slip => answer::slip(query),
            Verdict::Answer => {
                let answered =
                    answer::answer(zone.as_ref()?, plan, query, transport, |below| fastrand::u32(..below))?;
                self.metrics().dns_answers.add(1);
                self.metrics().dns_truncated.add(u64::from(answered.truncated));
                self.metrics().dns_errors.add(u64::from(answered.code.low() != 0));
                Some(answered.bytes)
            }
        }
    }
}

/// Takes each new plan, and new settings.
async fn follow(responder: Rc<Responder>) {
    let mut generations = responder.latest.watch();
    let mut plans = responder.latest.home().process.board.watch();
    loop {
        tokio::select! {
            changed = generations.changed() => {
                if changed.is_err() { return }
                generations.borrow_and_update();
                responder.renew();
            }
            changed = plans.changed() => {
                if changed.is_err() { return }
                let plan = plans.borrow_and_update().clone();
                responder.now.borrow_mut().plan = plan;
            }
        }
    }
}

async fn serve_udp(responder: Rc<Responder>, socket: UdpSocket) {
    // A query is small; what is longer is cut, and malformed then.
    let mut packet = [0; MOST_UDP as usize];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((count, from)) => {
                if let Some(answer) = responder.answer(&packet[..count], from.ip(), Transport::Udp) {
                    // Nobody waits for a socket that is full: resolvers ask again.
                    let _ = socket.try_send_to(&answer, from);
                }
            }
            // An ICMP error of an earlier answer, mostly.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn serve_tcp(responder: Rc<Responder>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST_TCP));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let responder = responder.clone();
                let Some(own) = Asker::enter(&responder, from.ip()) else { continue };
                spawn_local(async move {
                    let _ = converse(&responder, stream, from.ip()).await;
                    drop((place, own));
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A connection's place among those of its address.
struct Asker {
    responder: Rc<Responder>,
    address: IpAddr,
}

impl Asker {
    /// `None` where the address has as many as it may: nobody is to keep all others out.
    fn enter(responder: &Rc<Responder>, address: IpAddr) -> Option<Self> {
        let mut askers = responder.askers.borrow_mut();
        let count = askers.entry(address).or_insert(0);
        if *count >= MOST_TCP_EACH {
            return None;
        }
        *count += 1;
        Some(Self { responder: responder.clone(), address })
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut askers = self.responder.askers.borrow_mut();
        if let Some(count) = askers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                askers.remove(&self.address);
            }
        }
    }
}

/// Answers one query after the other, each with its length in front.
async fn converse(responder: &Responder, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    responder.metrics().dns_tcp.add(1);
    loop {
        let query = timeout(PATIENCE, read_query(&mut stream)).await.map_err(io::Error::from)??;
        let Some(answer) = responder.answer(&query, from, Transport::Tcp) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let bytes = [&length.to_be_bytes()[..], &answer].concat();
        timeout(PATIENCE, stream.write_all(&bytes)).await.map_err(io::Error::from)??;
    }
}

async fn read_query(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut query = vec![0; length.into()];
    stream.read_exact(&mut query).await?;
    Ok(query)
}
