//! ◆ Makes a cluster of running nodes, as `redis-cli --cluster create` would: slots, epochs, meetings, replicas.
#![expect(clippy::disallowed_methods, reason = "I/O: waits while the nodes gossip")]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use slotway::cluster::slot::SLOT_COUNT;

use super::connection::Connection;
use super::error::DevError;

/// How long the nodes may take to agree. Three take about two seconds on an idle machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at a node.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Makes the first `primaries` of the nodes at `ports` primaries of even shares of the slots, and shares the
/// others out among them as replicas. Every node serves when it returns.
pub(super) async fn form_cluster(ports: &[u16], primaries: usize) -> Result<(), DevError> {
    let mut nodes = Vec::with_capacity(ports.len());
    for &port in ports {
        nodes.push(Connection::open(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?);
    }
    for (index, node) in nodes.iter_mut().enumerate() {
        // Different epochs from the start spare the nodes the collisions that would sort them out later.
        node.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        if index < primaries {
            add_slots(node, share(index, primaries)).await?;
        }
        if let Some(first) = ports.first().filter(|_| index > 0) {
            node.call(&["CLUSTER", "MEET", "127.0.0.1", &first.to_string()]).await?;
        }
    }
    let known = format!("cluster_known_nodes:{}", ports.len());
    settle(&mut nodes, &["CLUSTER", "INFO"], &[&known]).await?;
    let (primaries, replicas) = nodes.split_at_mut(primaries.min(ports.len()));
    follow(primaries, replicas).await?;
    settle(replicas, &["INFO", "replication"], &["master_link_status:up"]).await?;
    settle(&mut nodes, &["CLUSTER", "INFO"], &["cluster_state:ok", "cluster_slots_ok:16384"]).await
}

/// Primary `index`'s share of the slots.
fn share(index: usize, primaries: usize) -> Range<usize> {
    let slots = usize::from(SLOT_COUNT);
    index * slots / primaries..(index + 1) * slots / primaries
}

/// One by one in one command: ADDSLOTSRANGE is there from Redis 7 only.
async fn add_slots(node: &mut Connection, slots: Range<usize>) -> Result<(), DevError> {
    let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
    let mut command = vec!["CLUSTER", "ADDSLOTS"];
    command.extend(slots.iter().map(String::as_str));
    node.call(&command).await.map(drop)
}

async fn follow(primaries: &mut [Connection], replicas: &mut [Connection]) -> Result<(), DevError> {
    let mut ids = Vec::with_capacity(primaries.len());
    for primary in primaries {
        ids.push(primary.call(&["CLUSTER", "MYID"]).await?);
    }
    for (replica, id) in replicas.iter_mut().zip(ids.iter().cycle()) {
        replica.call(&["CLUSTER", "REPLICATE", id]).await?;
    }
    Ok(())
}

/// Asks each node until its answer has every line of `wanted`.
async fn settle(nodes: &mut [Connection], command: &[&str], wanted: &[&str]) -> Result<(), DevError> {
    let all = async {
        for node in nodes {
            while !has_lines(&node.call(command).await?, wanted) {
                sleep(LOOK_PAUSE).await;
            }
        }
        Ok(())
    };
    timeout(SETTLE_TIMEOUT, all).await.unwrap_or_else(|_| {
        let reason = format!("{} does not say {}", command.join(" "), wanted.join(", "));
        Err(DevError::NotSettled { seconds: SETTLE_TIMEOUT.as_secs(), reason })
    })
}

fn has_lines(answer: &str, wanted: &[&str]) -> bool {
    wanted.iter().all(|wanted| answer.lines().any(|line| line == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_slot_once() {
        for primaries in [1, 2, 3, 7, 32] {
            let shares: Vec<Range<usize>> = (0..primaries).map(|index| share(index, primaries)).collect();
            assert_eq!((shares[0].start, shares[primaries - 1].end), (0, 16_384));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        assert_eq!(share(1, 3), 5_461..10_922);
    }

    #[test]
    fn a_line_is_wanted_whole() {
        let answer = "cluster_state:ok\r\ncluster_known_nodes:30\r\n";
        assert!(has_lines(answer, &["cluster_state:ok"]));
        assert!(!has_lines(answer, &["cluster_state:ok", "cluster_known_nodes:3"]));
    }
}
