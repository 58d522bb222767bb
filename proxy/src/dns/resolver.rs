//! ◆ The resolver: one for the process, shared by all threads. Questions run on the control runtime, so that
//! a thread that looks a known name up never waits for the network.
#![expect(clippy::disallowed_methods, reason = "I/O: asks DNS, with a timeout, on the control runtime")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::name::{Name, TtlLimits};
use crate::config::settings::DnsSettings;

/// Why a name has no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DnsError {
    /// DNS failed or knows no such name, and there is no older answer.
    #[error("cannot resolve {host}: {reason}")]
    Unresolved {
        /// The name.
        host: Arc<str>,
        /// What DNS said.
        reason: Arc<str>,
    },
    /// The resolver could not be set up.
    #[error("cannot set up the resolver: {0}")]
    Setup(Arc<str>),
}

/// Resolves host names and remembers the answers.
pub struct Resolver {
    dns: TokioResolver,
    /// Where questions run, and the sockets they use.
    control: Handle,
    limits: TtlLimits,
    timeout: Duration,
    /// Locked for moments only, when a connection is made: never on the path of a command, and never
    /// across an await.
    names: Mutex<HashMap<Arc<str>, Entry>>,
}

struct Entry {
    name: Name,
    /// What DNS said when it failed last.
    reason: Arc<str>,
    /// Told at the end of each question.
    settled: watch::Sender<()>,
}

/// Most names remembered, the least used are forgotten: a name is a seed's or a node's.
const MAX_NAMES: usize = 4096;

impl Resolver {
    /// A resolver whose questions run on `control`. Without `settings.servers` it asks the system's.
    ///
    /// # Errors
    /// Where the parts cannot be put together; not where DNS cannot be reached.
    pub fn new(settings: &DnsSettings, control: Handle) -> Result<Arc<Self>, DnsError> {
        let (config, mut options) = if settings.servers.is_empty() {
            system_config()
        } else {
            let servers = settings.servers.iter().map(name_server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        // Two tries of a third each leave time for the other family's answer within the whole.
        options.timeout = settings.timeout / 3;
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // This file keeps the answers, and reads /etc/hosts anew for each question.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = builder.with_options(options).build().map_err(|error| setup_error(&error))?;
        let limits = TtlLimits { min: settings.min_ttl, max: settings.max_ttl.max(settings.min_ttl) };
        let names = Mutex::new(HashMap::new());
        Ok(Arc::new(Self { dns, control, limits, timeout: settings.timeout, names }))
    }

    /// The addresses of `host`, at least one: the one to try first comes first. An address is its own
    /// answer. Waits for DNS only where there has never been a good answer for this name; an answer that
    /// is too old is given once more while DNS is asked anew.
    ///
    /// # Errors
    /// Where DNS failed and there has never been a good answer.
    pub async fn lookup(self: &Arc<Self>, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut settled = {
            let mut names = self.lock();
            let entry = self.entry(&mut names, host);
            if let Some(addresses) = entry.name.addresses() {
                return Ok(addresses);
            }
            if !entry.name.is_being_asked() {
                return Err(unresolved(host, &entry.reason));
            }
            entry.settled.subscribe()
        };
        // An error says that the entry was forgotten meanwhile, which the next lines find too.
        let _ = settled.changed().await;
        let mut names = self.lock();
        let entry = names.get_mut(host).ok_or_else(|| unresolved(host, "too many names at once"))?;
        entry.name.addresses().ok_or_else(|| unresolved(host, &entry.reason))
    }

    /// The entry of `host`, made where there is none; begins to ask DNS where that is due.
    fn entry<'n>(self: &Arc<Self>, names: &'n mut HashMap<Arc<str>, Entry>, host: &str) -> &'n mut Entry {
        let now = Instant::now();
        if !names.contains_key(host) && names.len() >= MAX_NAMES {
            let least = names.iter().min_by_key(|(_, entry)| entry.name.asked_at());
            if let Some(least) = least.map(|(host, _)| Arc::clone(host)) {
                names.remove(&least);
            }
        }
        let host: Arc<str> = host.into();
        let entry = names.entry(Arc::clone(&host)).or_insert_with(|| Entry {
            name: Name::new(now),
            reason: "not asked yet".into(),
            settled: watch::Sender::default(),
        });
        if entry.name.begin_question(now) {
            // Ends by itself after the timeout.
            self.control.spawn(Arc::clone(self).ask(host));
        }
        entry
    }

    async fn ask(self: Arc<Self>, host: Arc<str>) {
        let answer = match in_hosts_file(&host) {
            Some(addresses) => Ok((addresses, self.limits.max)),
            None => self.ask_dns(&host).await,
        };
        let now = Instant::now();
        let mut names = self.lock();
        let Some(entry) = names.get_mut(&host) else { return };
        match answer {
            Ok((addresses, ttl)) => {
                debug!(%host, ?addresses, ?ttl, "resolved");
                entry.name.on_answer(now, addresses, ttl, self.limits, fastrand::usize(..));
            }
            Err(reason) => {
                if entry.reason != reason {
                    let stale = entry.name.addresses().is_some();
                    warn!(%host, %reason, stale, "cannot resolve");
                }
                entry.reason = reason;
                entry.name.on_failure(now);
            }
        }
        entry.settled.send_replace(());
    }

    async fn ask_dns(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), Arc<str>> {
        let answer = timeout(self.timeout, self.dns.lookup_ip(host)).await;
        let answer = answer.map_err(|_| "no answer in time")?.map_err(|error| said(&error))?;
        let records = answer.as_lookup().answers();
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
        let addresses: Vec<IpAddr> = answer.iter().collect();
        if addresses.is_empty() {
            return Err("no address".into());
        }
        Ok((addresses, Duration::from_secs(ttl.into())))
    }

    /// What the map holds is valid at any moment, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without /etc/resolv.conf, or without servers in it, names of the hosts file and addresses still work.
fn system_config() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|error| {
        warn!(%error, "cannot read the system's DNS settings, only /etc/hosts is used");
        (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
    })
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// The addresses that /etc/hosts gives `host`. Where it gives any, DNS is not asked: not for the other
/// family either, as the C library does.
fn in_hosts_file(host: &str) -> Option<Vec<IpAddr>> {
    let (name, hosts) = (DnsName::from_utf8(host).ok()?, Hosts::from_system().ok()?);
    let families = [RecordType::A, RecordType::AAAA].into_iter();
    let lookups = families.filter_map(|family| hosts.lookup_static_host(&Query::query(name.clone(), family)));
    let addresses: Vec<IpAddr> = lookups
        .flat_map(|lookup| lookup.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>())
        .collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn setup_error(error: &NetError) -> DnsError {
    DnsError::Setup(said(error))
}

fn said(error: &NetError) -> Arc<str> {
    error.to_string().into()
}

fn unresolved(host: &str, reason: &str) -> DnsError {
    DnsError::Unresolved { host: host.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::UdpSocket;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;

    /// A DNS server that knows one address for every name.
    struct Dns {
        address: SocketAddr,
        questions: Arc<AtomicUsize>,
        task: JoinHandle<()>,
    }

    #[derive(Clone, Copy)]
    enum Says {
        Address(Ipv4Addr, u32),
        NoSuchName,
        ServerFailure,
    }

    impl Dns {
        async fn start(at: &str, says: Says) -> Self {
            let socket = UdpSocket::bind(at).await.unwrap();
            let address = socket.local_addr().unwrap();
            let questions = Arc::new(AtomicUsize::new(0));
            let task = tokio::spawn(serve(socket, says, Arc::clone(&questions)));
            Self { address, questions, task }
        }

        /// Ends, and frees its port.
        async fn stop(self) {
            self.task.abort();
            let _ = self.task.await;
        }
    }

    async fn serve(socket: UdpSocket, says: Says, questions: Arc<AtomicUsize>) {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            questions.fetch_add(1, Ordering::Relaxed);
            let reply = answer(&buffer[..len], says);
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    fn answer(question: &[u8], says: Says) -> Vec<u8> {
        let name_end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
        let is_a = question[name_end..name_end + 2] == [0, 1];
        let (code, address) = match says {
            Says::Address(ip, ttl) => (0, Some((ip, ttl)).filter(|_| is_a)),
            Says::NoSuchName => (3, None),
            Says::ServerFailure => (2, None),
        };
        let mut reply = question[..2].to_vec();
        reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
        reply.extend(&question[12..name_end + 4]);
        if let Some((ip, ttl)) = address {
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(ttl.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(ip.octets());
        }
        reply
    }

    fn resolver(dns: SocketAddr, min_ttl: Duration) -> Arc<Resolver> {
        let settings = DnsSettings {
            servers: vec![dns],
            min_ttl,
            max_ttl: Duration::from_secs(3600),
            timeout: Duration::from_millis(900),
        };
        Resolver::new(&settings, Handle::current()).unwrap()
    }

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// Looks up until the answer is `expected`, which the test's own time limit bounds.
    async fn becomes(resolver: &Arc<Resolver>, expected: Ipv4Addr) {
        let looks_up = async {
            while resolver.lookup("node.example").await != Ok(vec![expected.into()]) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), looks_up).await.expect("never became the new answer");
    }

    /// Looks up until DNS was asked and has failed once more.
    async fn fails_once(resolver: &Arc<Resolver>) {
        let looks_up = async {
            let mut reasons = resolver.lock()["node.example"].settled.subscribe();
            while !reasons.has_changed().unwrap() {
                let _ = resolver.lookup("node.example").await;
                sleep(Duration::from_millis(10)).await;
            }
            reasons.mark_unchanged();
        };
        timeout(Duration::from_secs(30), looks_up).await.expect("never asked again");
    }

    #[tokio::test]
    async fn a_short_ttl_is_followed() {
        let dns = Dns::start("127.0.0.1:0", Says::Address(ONE, 0)).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]));
        let at = dns.address.to_string();
        dns.stop().await;
        let dns = Dns::start(&at, Says::Address(TWO, 0)).await;
        becomes(&resolver, TWO).await;
        dns.stop().await;
    }

    #[tokio::test]
    async fn a_long_ttl_is_not_asked_again() {
        let dns = Dns::start("127.0.0.1:0", Says::Address(ONE, 3600)).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]));
            tokio::task::yield_now().await;
        }
        assert_eq!(dns.questions.load(Ordering::Relaxed), 2, "A and AAAA, once");
        dns.stop().await;
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept_whatever_dns_does_and_replaced_when_it_is_back() {
        let dns = Dns::start("127.0.0.1:0", Says::Address(ONE, 0)).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]));
        let at = dns.address.to_string();
        dns.stop().await;
        fails_once(&resolver).await;
        assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]), "nobody there");
        for says in [Says::ServerFailure, Says::NoSuchName] {
            let dns = Dns::start(&at, says).await;
            fails_once(&resolver).await;
            assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]));
            dns.stop().await;
        }
        let dns = Dns::start(&at, Says::Address(TWO, 0)).await;
        becomes(&resolver, TWO).await;
        dns.stop().await;
    }

    #[tokio::test]
    async fn a_name_that_never_had_an_address_is_an_error_and_asked_again_soon() {
        let dns = Dns::start("127.0.0.1:0", Says::NoSuchName).await;
        let resolver = resolver(dns.address, Duration::from_secs(3600));
        let error = resolver.lookup("node.example").await.unwrap_err();
        assert!(matches!(&error, DnsError::Unresolved { host, .. } if **host == *"node.example"), "{error}");
        let at = dns.address.to_string();
        dns.stop().await;
        let dns = Dns::start(&at, Says::Address(ONE, 10)).await;
        becomes(&resolver, ONE).await;
        dns.stop().await;
    }

    #[tokio::test]
    async fn all_who_wait_for_a_name_share_one_question() {
        let dns = Dns::start("127.0.0.1:0", Says::Address(ONE, 3600)).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        let waiters: Vec<_> = (0..50)
            .map(|_| Arc::clone(&resolver))
            .map(|resolver| tokio::spawn(async move { resolver.lookup("node.example").await }))
            .collect();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Ok(vec![ONE.into()]));
        }
        assert_eq!(dns.questions.load(Ordering::Relaxed), 2, "A and AAAA, once");
        dns.stop().await;
    }

    #[tokio::test]
    async fn addresses_and_localhost_need_no_server() {
        let dns = Dns::start("127.0.0.1:0", Says::ServerFailure).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        assert_eq!(resolver.lookup("::1").await, Ok(vec!["::1".parse().unwrap()]));
        assert_eq!(resolver.lookup("10.0.0.1").await, Ok(vec![ONE.into()]));
        let local = resolver.lookup("localhost").await.unwrap();
        assert_eq!(local[0], IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(dns.questions.load(Ordering::Relaxed), 0);
        dns.stop().await;
    }

    #[tokio::test]
    async fn names_are_bounded() {
        let dns = Dns::start("127.0.0.1:0", Says::Address(ONE, 3600)).await;
        let resolver = resolver(dns.address, Duration::ZERO);
        let mut names = HashMap::new();
        for number in 0..MAX_NAMES + 10 {
            let name = Name::new(Instant::now());
            names.insert(
                number.to_string().into(),
                Entry { name, reason: "".into(), settled: watch::Sender::default() },
            );
            if names.len() == MAX_NAMES {
                break;
            }
        }
        *resolver.lock() = names;
        assert_eq!(resolver.lookup("node.example").await, Ok(vec![ONE.into()]));
        assert_eq!(resolver.lock().len(), MAX_NAMES);
        dns.stop().await;
    }
}
