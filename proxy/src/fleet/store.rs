//! ◆ Where proxies of a fleet leave their reports for each other: a hash of the cluster `default`, over one connection of
//! our own, once a second. The cluster replicates and keeps it; nothing of ours has to find the others.

#![expect(clippy::disallowed_methods, reason = "I/O: owns a connection to a node, and bounds its time")]

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use crate::backend::connect::{ConnectError, Connector};
use crate::backend::lane::Lane;
use crate::cluster::link::{Link, LinkError};
use crate::cluster::published::Topology;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Endpoint;
use crate::entry::roster::MOST_PROXIES;
use crate::resp::command::append;
use crate::resp::value::{Value, ValueError};
use crate::stream::Stream;

/// The hash, and the connection to the node that has it.
pub(super) struct Store {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    link: Option<(Endpoint, Link<Stream>)>,
    /// Whether this proxy led when it asked last.
    leads: bool,
}

/// What stands there now.
pub(super) struct Found {
    /// The words of every proxy.
    pub(super) reports: Vec<(String, Vec<u8>)>,
    /// Whether this proxy is the one that publishes.
    pub(super) leads: bool,
}

/// Why nothing is known of what stands there.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error("no node serves the slot")]
    NoNode,
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Value(#[from] ValueError),
    #[error("the node said: {0}")]
    Refused(String),
    #[error("not the reply of HGETALL")]
    NoHash,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

// The reports of 4,096 proxies with a few entries each are some MB.
const MOST_BYTES: usize = 64 << 20;
// A fleet that has ended leaves nothing behind, in milliseconds.
const KEPT: &str = "600000";
// For so long the leader leads without saying so again, in milliseconds: some turns, so that one that is lost changes nothing.
const LEADS: &str = "5000";

/// The key of the hash: outside of every namespace, whose keys begin otherwise. One tag for both keys: one node.
fn reports_key(fleet: &str) -> String {
    format!("__slotway:{{{fleet}}}:entries")
}

fn leader_key(fleet: &str) -> String {
    format!("__slotway:{{{fleet}}}:leader")
}

impl Store {
    pub(super) fn new(connector: Arc<Connector>, topology: Arc<Topology>) -> Self {
        Self { connector, topology, link: None, leads: false }
    }

    /// Leaves `words` as those of `proxy`, takes out those of `gone`, and reads what there is.
    ///
    /// # Errors
    /// Where the node did not do all of it within `limit`. The connection is not used again.
    pub(super) async fn exchange(
        &mut self,
        fleet: &str,
        (proxy, words): (&str, &str),
        gone: &[String],
        limit: Duration,
    ) -> Result<Found, StoreError> {
        let node = self.node(fleet)?;
        let link = self.link.take().filter(|(other, _)| *other == node);
        let asked = async {
            let mut link = match link {
                Some((_, link)) => link,
                None => Link::new(self.connector.open(&node, Lane::default()).await?),
            };
            let found = ask(&mut link, fleet, (proxy, words), gone, self.leads).await?;
            Ok((link, found))
        };
        match timeout(limit, asked).await.unwrap_or(Err(StoreError::TimedOut(limit))) {
            Ok((link, found)) => {
                self.link = Some((node, link));
                self.leads = found.leads;
                Ok(found)
            }
            Err(error) => {
                // The slot may have moved, or its node be gone.
                self.topology.request_refresh();
                Err(error)
            }
        }
    }

    fn node(&self, fleet: &str) -> Result<Endpoint, StoreError> {
        let slot = Slot::of(reports_key(fleet).as_bytes());
        self.topology.slot_map().owner_endpoint(slot).cloned().ok_or(StoreError::NoNode)
    }
}

async fn ask(
    link: &mut Link<Stream>,
    fleet: &str,
    (proxy, words): (&str, &str),
    gone: &[String],
    led: bool,
) -> Result<Found, StoreError> {
    let (reports, leader) = (reports_key(fleet), leader_key(fleet));
    let mut requests = Vec::new();
    let mut count = 0;
    let mut add = |words: &[&str]| {
        append(words, &mut requests);
        count += 1;
    };
    add(&["HSET", &reports, proxy, words]);
    add(&["PEXPIRE", &reports, KEPT]);
    if !gone.is_empty() {
        let fields = gone.iter().map(String::as_str);
        add(&["HDEL", &reports].into_iter().chain(fields).collect::<Vec<_>>());
    }
    // Whoever led a turn ago goes on; if it lost that meanwhile, the other one leads a little longer.
    if led {
        add(&["PEXPIRE", &leader, LEADS]);
    }
    add(&["SET", &leader, proxy, "NX", "PX", LEADS]);
    add(&["GET", &leader]);
    add(&["HGETALL", &reports]);
    link.send(&requests).await?;
    let mut replies = Vec::with_capacity(count);
    for _ in 0..count {
        replies.push(link.reply_within(MOST_BYTES).await?);
    }
    let mut values = replies.iter().map(|reply| Value::parse(reply)).collect::<Result<Vec<_>, _>>()?;
    if let Some(Value::Error(said)) = values.iter().find(|value| matches!(value, Value::Error(_))) {
        return Err(StoreError::Refused(String::from_utf8_lossy(said).into_owned()));
    }
    let Some(Value::List(pairs)) = values.pop() else { return Err(StoreError::NoHash) };
    let leads = values.pop().is_some_and(|value| value.text() == Some(proxy.as_bytes()));
    let text = |value: &Value<'_>| value.text().map(<[u8]>::to_vec);
    let reports = pairs
        .chunks_exact(2)
        .take(MOST_PROXIES)
        .filter_map(|pair| Some((String::from_utf8(text(&pair[0])?).ok()?, text(&pair[1])?)));
    Ok(Found { reports: reports.collect(), leads })
}
