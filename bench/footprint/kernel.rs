//! What a socket costs in the kernel: the slab caches that every socket takes an object of, read from
//! `/proc/slabinfo`; without the right to read it, documented sizes.

use std::fs;

use serde::Serialize;

const PAGE: u64 = 4096;

/// The caches of which a TCP socket in an epoll set takes one object each. Their sizes are the kernel's own; that
/// it is one of each is checked on the first, which nothing but sockets uses.
const CACHES: [&str; 6] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "ep_head"];

/// Bytes of one socket (IPv4, Linux 6.18, with epoll item), where `/proc/slabinfo` can't be read.
const DOCUMENTED: f64 = 3900.0;

/// One slab cache.
#[derive(Clone, PartialEq, Debug)]
struct Cache {
    name: String,
    objects: u64,
    /// Memory of one object: its share of the slab's pages.
    bytes: f64,
}

/// What the kernel's caches hold now.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Slabs {
    /// `None`: not readable.
    caches: Option<Vec<Cache>>,
    /// Bytes queued in TCP sockets of the whole machine.
    queued: u64,
}

/// What sockets cost the kernel.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct SocketCost {
    /// Bytes of one socket.
    pub(crate) bytes: f64,
    /// TCP sockets by which the machine's cache grew, over those that were counted: 1 where nobody else
    /// disturbed the measurement. `None`: `bytes` is the documented size.
    pub(crate) accounted: Option<f64>,
}

impl Slabs {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let slabinfo = fs::read_to_string("/proc/slabinfo").ok();
        let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        Self {
            caches: slabinfo.map(|text| text.lines().filter_map(parse_cache).collect()),
            queued: parse_queued(&sockstat).unwrap_or(0),
        }
    }

    /// What each of `sockets` costs that were opened on the machine since `earlier`.
    pub(crate) fn cost_since(&self, earlier: &Self, sockets: u64) -> SocketCost {
        let queued = self.queued.saturating_sub(earlier.queued) as f64 / sockets.max(1) as f64;
        let measured = || {
            let (now, then) = (self.caches.as_ref()?, earlier.caches.as_ref()?);
            let (tcp, before) = (find(now, CACHES[0])?, find(then, CACHES[0])?);
            let grown = tcp.objects as f64 - before.objects as f64;
            let objects: f64 =
                CACHES.iter().filter_map(|name| find(now, name)).map(|cache| cache.bytes).sum();
            Some(SocketCost { bytes: objects + queued, accounted: Some(grown / sockets.max(1) as f64) })
        };
        measured().unwrap_or(SocketCost { bytes: DOCUMENTED + queued, accounted: None })
    }
}

fn find<'a>(caches: &'a [Cache], name: &str) -> Option<&'a Cache> {
    caches.iter().find(|cache| cache.name == name)
}

/// `name active_objs num_objs objsize objperslab pagesperslab : ...`, the two lines of headings left out.
fn parse_cache(line: &str) -> Option<Cache> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let numbers = words.take(5).map(|word| word.parse::<u64>().ok()).collect::<Option<Vec<u64>>>()?;
    let &[objects, _, _, per_slab, pages] = numbers.as_slice() else { return None };
    (per_slab > 0).then(|| Cache { name, objects, bytes: (pages * PAGE) as f64 / per_slab as f64 })
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 9 mem 3`: the last in pages.
fn parse_queued(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, mem) = line.rsplit_once("mem ")?;
    mem.trim().parse::<u64>().ok().map(|pages| pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n\
        TCP                   39     39   2368   13    8 : tunables    0    0    0 : slabdata 3 3 0\n\
        sock_inode_cache     114    114    832   19    4 : tunables    0    0    0\n\
        filp                 675    714    192   16    1 : tunables    0    0    0\n";

    fn slabs(text: &str, queued: u64) -> Slabs {
        Slabs { caches: Some(text.lines().filter_map(parse_cache).collect()), queued }
    }

    #[test]
    fn a_cache_has_objects_and_their_share_of_the_pages() {
        let caches = slabs(SLABINFO, 0).caches.unwrap();
        let tcp = find(&caches, "TCP").unwrap();
        assert_eq!((caches.len(), tcp.objects, tcp.bytes.round()), (3, 39, 2521.0));
        assert_eq!(parse_cache("x 1 2 3 0 1 :"), None);
        assert_eq!(parse_cache("x 1 2"), None);
    }

    #[test]
    fn a_socket_costs_an_object_of_each_cache_and_what_is_queued() {
        let later = SLABINFO.replace("   39     39", "  139    139");
        let cost = slabs(&later, 1000).cost_since(&slabs(SLABINFO, 0), 100);
        assert_eq!(cost.accounted, Some(1.0));
        let wanted = 8.0 * 4096.0 / 13.0 + 4.0 * 4096.0 / 19.0 + 4096.0 / 16.0 + 10.0;
        assert!((cost.bytes - wanted).abs() < 0.01, "{cost:?}");
    }

    #[test]
    fn without_the_statistics_the_documented_size_stands() {
        let none = Slabs { caches: None, queued: 0 };
        assert_eq!(none.cost_since(&none, 10), SocketCost { bytes: DOCUMENTED, accounted: None });
    }

    #[test]
    fn queued_bytes_are_pages_of_tcp() {
        let text = "sockets: used 11\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 193\nUDP: inuse 0 mem 7\n";
        assert_eq!(parse_queued(text), Some(193 * 4096));
        assert_eq!(parse_queued("UDP: inuse 0 mem 7\n"), None);
    }
}
