//! How well a replica follows its primary, by what both say of themselves in INFO, and whether it may be read from.
//! Pure.

/// What a node says of its replication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    /// Others follow it.
    Primary {
        /// Bytes of replication stream that it has written so far.
        offset: u64,
        /// Whether it gives keys away, or did in the last seconds: a slot moves from it.
        gives: bool,
    },
    /// It follows another.
    Replica {
        /// Bytes of its primary's stream that it has taken in so far: both count from the same beginning.
        offset: u64,
        /// Whether it is connected to its primary, has all of its data (loading, and a full copy under way, count as
        /// not) and knows how far it is.
        linked: bool,
    },
}

impl Replication {
    /// Reads INFO's section *replication*, and of *stats*, where that is there, who gives keys away: a server keeps its
    /// sockets of MIGRATE open for 10 s. `None` where it is neither.
    #[must_use]
    pub fn parse(info: &str) -> Option<Self> {
        let line =
            |key: &str| info.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()));
        let offset = |key| line(key).and_then(|offset| offset.parse().ok());
        Some(match line("role")? {
            "master" => Self::Primary {
                offset: offset("master_repl_offset")?,
                gives: offset("migrate_cached_sockets").is_some_and(|sockets| sockets > 0),
            },
            // What it has applied, not only read. It is -1 of one that was synchronised by SYNC, since PSYNC was
            // refused: how far it is then nobody knows, itself included.
            _ => {
                let applied = offset("slave_repl_offset");
                let linked = line("master_link_status")? == "up" && applied.is_some();
                Self::Replica { offset: applied.unwrap_or(0), linked }
            }
        })
    }
}

/// What a replica is worth for reads.
///
/// ```text
/// Unknown ──answers──▶ Usable ◀──caught up to half of the limit── Lagging
///                       │  ▲ ──────lacks more than the limit──────▶
///       does not answer │  │ the same, being well again
///                       ▼  │
///          Unreachable, Unlinked, Moving
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Was not asked yet.
    #[default]
    Unknown,
    /// May be read from.
    Usable,
    /// Does not answer.
    Unreachable,
    /// Has lost its primary, or is being given all data anew; or it is no replica.
    Unlinked,
    /// A slot moves from its primary. Replicas of Redis do not know that, and say of keys that have gone already that
    /// there are none.
    Moving,
    /// Lacks too much of what its primary has written.
    Lagging,
}

impl Standing {
    /// What it is after both were asked, the primary first; `None` where one did not answer.
    ///
    /// Of a primary that does not answer nobody knows what it has written, most likely nothing: its replicas
    /// stay what they were, so that reads outlive a primary until another takes over.
    #[must_use]
    pub fn next(
        self,
        primary: Option<Replication>,
        replica: Option<Replication>,
        max_lag: Option<u64>,
    ) -> Self {
        let Some(replica) = replica else { return Self::Unreachable };
        let Replication::Replica { offset, linked } = replica else { return Self::Unlinked };
        match primary {
            Some(Replication::Primary { gives: true, .. }) if linked => Self::Moving,
            Some(Replication::Primary { offset: written, .. }) if linked => {
                // Half way down, so that it is not left out and taken in by turns.
                let limit = max_lag.map(|limit| if self == Self::Lagging { limit / 2 } else { limit });
                let lag = written.saturating_sub(offset);
                if limit.is_some_and(|limit| lag > limit) { Self::Lagging } else { Self::Usable }
            }
            Some(_) => Self::Unlinked,
            None if matches!(self, Self::Usable | Self::Lagging | Self::Moving) => self,
            None if linked => Self::Usable,
            None => Self::Unlinked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\
        slave0:ip=127.0.0.1,port=7003,state=online,offset=84,lag=0\r\nmaster_failover_state:no-failover\r\n\
        master_replid:4a\r\nmaster_replid2:00\r\nmaster_repl_offset:98\r\nsecond_repl_offset:-1\r\n";
    const REPLICA: &str = "# Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7000\r\n\
        master_link_status:up\r\nmaster_last_io_seconds_ago:1\r\nmaster_sync_in_progress:0\r\n\
        slave_read_repl_offset:98\r\nslave_repl_offset:84\r\nslave_priority:100\r\nmaster_repl_offset:84\r\n";

    fn primary(offset: u64) -> Option<Replication> {
        Some(Replication::Primary { offset, gives: false })
    }

    fn replica(offset: u64) -> Option<Replication> {
        Some(Replication::Replica { offset, linked: true })
    }

    const UNLINKED: Option<Replication> = Some(Replication::Replica { offset: 100, linked: false });

    #[test]
    fn info_tells_what_was_written_and_what_was_taken_in() {
        assert_eq!(Replication::parse(PRIMARY), primary(98));
        assert_eq!(Replication::parse(REPLICA), replica(84));
        let lost = Some(Replication::Replica { offset: 0, linked: false });
        assert_eq!(
            Replication::parse(&REPLICA.replace("slave_repl_offset:84", "slave_repl_offset:-1")),
            lost
        );
        let down = REPLICA.replace("status:up", "status:down");
        assert_eq!(Replication::parse(&down), Some(Replication::Replica { offset: 84, linked: false }));
        for (sockets, gives) in [("0", false), ("2", true)] {
            let info = format!("{PRIMARY}\r\n# Stats\r\nmigrate_cached_sockets:{sockets}\r\n");
            assert_eq!(Replication::parse(&info), Some(Replication::Primary { offset: 98, gives }));
        }
        for junk in ["", "role:master\r\n", "role:slave\r\n", "role:master\r\nmaster_repl_offset:-1\r\n"] {
            assert_eq!(Replication::parse(junk), None, "{junk}");
        }
    }

    #[test]
    fn a_replica_that_lacks_too_much_is_left_out_until_it_has_half_of_that() {
        let mut standing = Standing::Unknown;
        let mut seen = Vec::new();
        for has in [1_000, 901, 900, 899, 901, 949, 950, 901] {
            standing = standing.next(primary(1_000), replica(has), Some(100));
            seen.push(standing == Standing::Usable);
        }
        assert_eq!(seen, [true, true, true, false, false, false, true, true]);
        // Asked a moment later, it may have more than its primary had.
        assert_eq!(Standing::Unknown.next(primary(5), replica(9), Some(0)), Standing::Usable);
        assert_eq!(Standing::Lagging.next(primary(u64::MAX), replica(0), None), Standing::Usable);
    }

    #[test]
    fn each_reason_not_to_read_from_a_replica_has_its_name() {
        for before in [Standing::Unknown, Standing::Usable, Standing::Lagging, Standing::Unreachable] {
            let next = |replica| before.next(primary(100), replica, Some(10));
            assert_eq!(next(None), Standing::Unreachable);
            assert_eq!(next(UNLINKED), Standing::Unlinked);
            assert_eq!(next(primary(100)), Standing::Unlinked, "promoted: it is in no need of us");
            assert_eq!(next(replica(100)), Standing::Usable);
            let demoted = before.next(replica(100), replica(100), None);
            assert_eq!(demoted, Standing::Unlinked, "its primary is none");
        }
    }

    #[test]
    fn replicas_of_a_primary_that_gives_keys_away_are_not_read_from() {
        let gives = Some(Replication::Primary { offset: 100, gives: true });
        assert_eq!(Standing::Usable.next(gives, replica(100), None), Standing::Moving);
        assert_eq!(Standing::Moving.next(None, replica(100), None), Standing::Moving);
        assert_eq!(Standing::Moving.next(primary(100), replica(100), None), Standing::Usable);
    }

    #[test]
    fn a_primary_that_is_gone_changes_nothing() {
        use Standing::{Lagging, Unknown, Unlinked, Unreachable, Usable};
        for (before, after) in
            [(Usable, Usable), (Lagging, Lagging), (Unknown, Unlinked), (Unreachable, Unlinked)]
        {
            assert_eq!(before.next(None, UNLINKED, Some(10)), after, "{before:?}");
        }
        assert_eq!(Unreachable.next(None, replica(1), Some(10)), Usable);
        assert_eq!(Usable.next(None, None, Some(10)), Unreachable);
    }
}
