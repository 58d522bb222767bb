//! The commands of a transaction, cut into shares: what belongs to one shard, or to one slot where the nodes insist
//! on it, and how the shares' replies become the client's.

use std::iter;

use hashbrown::HashMap;

use super::Call;
use crate::cluster::slot::Slot;
use crate::resp::elements::Elements;
use crate::resp::protocol::Protocol;
use crate::route::merge::{Merge, MergeKind};

/// A transaction's commands by where they run.
#[derive(Default, Debug)]
pub struct Shares {
    shares: Vec<Share>,
    /// Which share a place has, see [`crate::route::split::Together::place`].
    by_place: HashMap<u16, u16>,
    /// What each command became, in the client's order.
    order: Vec<Queued>,
    /// Bytes of all requests.
    bytes: usize,
    /// Whether any of them may change data.
    pub writes: bool,
}

#[derive(Debug)]
struct Share {
    slot: Slot,
    /// Its requests, one behind the other.
    frames: Vec<u8>,
    /// How many those are.
    queued: u32,
}

/// What became of one command.
#[derive(Debug)]
enum Queued {
    /// It went whole to this share.
    Whole(u16),
    /// It was cut.
    Cut(Box<Cut>),
}

#[derive(Debug)]
struct Cut {
    /// The share of each part.
    shares: Vec<u16>,
    kind: MergeKind,
}

/// How a share's requests are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// They are run.
    Run,
    /// It is only seen whether they can be queued. An error of a node that is no more than *not here* or *not now*
    /// has the probe go elsewhere by itself, as any request.
    Probe,
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";

impl Shares {
    /// Adds a command for `slot`, whose share is that of `place`.
    pub fn push(&mut self, (slot, place): (Slot, u16), frame: &[u8]) {
        let share = self.share(slot, place);
        self.add(share, frame, 1);
        self.order.push(Queued::Whole(share));
    }

    /// Adds so many commands for one place.
    pub fn push_all(&mut self, (slot, place): (Slot, u16), frames: &[u8], queued: u32) {
        let share = self.share(slot, place);
        self.add(share, frames, queued);
        self.order.extend((0..queued).map(|_| Queued::Whole(share)));
    }

    /// Adds a command that may run anywhere.
    pub fn push_anywhere(&mut self, frame: &[u8]) {
        debug_assert!(!self.shares.is_empty(), "there is a first share");
        self.add(0, frame, 1);
        self.order.push(Queued::Whole(0));
    }

    /// Adds a command that was cut into parts, each with its slot and place.
    pub fn push_cut(&mut self, parts: impl IntoIterator<Item = ((Slot, u16), Vec<u8>)>, kind: MergeKind) {
        let mut shares = Vec::new();
        for ((slot, place), frame) in parts {
            let share = self.share(slot, place);
            self.add(share, &frame, 1);
            shares.push(share);
        }
        self.order.push(Queued::Cut(Box::new(Cut { shares, kind })));
    }

    fn share(&mut self, slot: Slot, place: u16) -> u16 {
        let shares = &mut self.shares;
        *self.by_place.entry(place).or_insert_with(|| {
            shares.push(Share { slot, frames: Vec::new(), queued: 0 });
            (shares.len() - 1) as u16
        })
    }

    fn add(&mut self, share: u16, frames: &[u8], queued: u32) {
        let share = &mut self.shares[usize::from(share)];
        share.frames.extend_from_slice(frames);
        share.queued += queued;
        self.bytes += frames.len();
    }

    /// How many shares there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Bytes of all requests.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where share `index` belongs.
    #[must_use]
    pub fn slot(&self, index: usize) -> Option<Slot> {
        self.shares.get(index).map(|share| share.slot)
    }

    /// What is sent of one share.
    #[must_use]
    pub fn call(&self, index: usize, sent: Sent) -> Call {
        let end = if sent == Sent::Run { EXEC } else { DISCARD };
        self.joined(&[index], &[end])
    }

    /// A probe of shares that one node serves. It is answered with an empty transaction's reply, so that no error in
    /// front of that is taken for the node's last word on all of them.
    #[must_use]
    pub fn probe_together(&self, indexes: &[usize]) -> Call {
        self.joined(indexes, &[DISCARD, MULTI, EXEC])
    }

    fn joined(&self, indexes: &[usize], end: &[&[u8]]) -> Call {
        let shares = || indexes.iter().filter_map(|index| self.shares.get(*index));
        let frames = shares().map(|share| &share.frames[..]);
        let frame = iter::once(MULTI).chain(frames).chain(end.iter().copied()).collect::<Vec<_>>().concat();
        let leads = shares().map(|share| share.queued).sum::<u32>() + end.len() as u32;
        Call { slot: shares().next().map_or(Slot::FIXED, |share| share.slot), primary: None, frame, leads }
    }

    /// The client's reply of those of all shares, which are arrays; `None` where they don't fit.
    #[must_use]
    pub fn merge(&self, replies: &[Vec<u8>], protocol: Protocol) -> Option<Vec<u8>> {
        let mut columns = replies.iter().map(|reply| Elements::new(reply)).collect::<Option<Vec<_>>>()?;
        let mut next = |share: u16| columns.get_mut(usize::from(share))?.next();
        let mut merged = Vec::with_capacity(16 + replies.iter().map(Vec::len).sum::<usize>());
        merged.extend_from_slice(format!("*{}\r\n", self.order.len()).as_bytes());
        for queued in &self.order {
            match queued {
                Queued::Whole(share) => merged.extend_from_slice(next(*share)?),
                Queued::Cut(cut) => {
                    let mut merge = Merge::new(cut.kind.clone(), cut.shares.len(), protocol);
                    for (part, share) in (0..).zip(&cut.shares) {
                        merge.fill(part, next(*share)?, false);
                    }
                    merged.extend_from_slice(&merge.finish());
                }
            }
        }
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::Merge as Policy;

    fn of(key: &[u8]) -> (Slot, u16) {
        let slot = Slot::of(key);
        (slot, slot.number())
    }

    #[test]
    fn replies_go_back_to_the_clients_order() {
        let mut shares = Shares::default();
        shares.push_all(of(b"a"), b"12", 2);
        shares.push(of(b"b"), b"3");
        shares.push_anywhere(b"4");
        shares.push_cut(
            [(of(b"b"), b"5".to_vec()), (of(b"a"), b"6".to_vec())],
            MergeKind::Gather { order: vec![0, 1] },
        );
        shares
            .push_cut([(of(b"a"), b"7".to_vec()), (of(b"b"), b"8".to_vec())], MergeKind::Policy(Policy::Sum));
        assert_eq!((shares.len(), shares.bytes()), (2, 8));
        let text =
            |call: Call| (String::from_utf8(call.frame).unwrap().replace("\r\n", " "), call.leads, call.slot);
        let run = shares.call(0, Sent::Run);
        assert_eq!(text(run), ("*1 $5 MULTI 12467*1 $4 EXEC ".into(), 6, Slot::of(b"a")));
        let probe = shares.call(1, Sent::Probe);
        assert_eq!(text(probe), ("*1 $5 MULTI 358*1 $7 DISCARD ".into(), 4, Slot::of(b"b")));
        let (frame, leads, _) = text(shares.probe_together(&[0, 1]));
        assert_eq!((&*frame, leads), ("*1 $5 MULTI 12467358*1 $7 DISCARD *1 $5 MULTI *1 $4 EXEC ", 11));
        let replies = [
            b"*5\r\n+1\r\n+2\r\n+4\r\n*1\r\n+a\r\n:7\r\n".to_vec(),
            b"*3\r\n+3\r\n*1\r\n+b\r\n:8\r\n".to_vec(),
        ];
        let merged = shares.merge(&replies, Protocol::Resp2).unwrap();
        let expected = "*6\r\n+1\r\n+2\r\n+3\r\n+4\r\n*2\r\n+b\r\n+a\r\n:15\r\n";
        assert_eq!(String::from_utf8(merged).unwrap(), expected);
        assert_eq!(shares.merge(&[b"*0\r\n".to_vec(), b"*0\r\n".to_vec()], Protocol::Resp2), None);
    }
}
