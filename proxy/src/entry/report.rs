//! What one proxy tells the others about the entries: once a second, through the backing cluster. Pure.
//!
//! Written as one line, `1 AT DRAINS ID=RECEIVED,SENT,CONNECTIONS,ACCEPTED,HEALTH ...`: the version, milliseconds since
//! 1970, 0 or 1, and for each entry numbers and `?`, `+` (up) or `-` (down). People read it with HGETALL. Whatever is not
//! written like this is ignored whole.

use std::fmt::Write;

/// One proxy's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Who says so; new with each process.
    pub proxy: String,
    /// When, in milliseconds since 1970, by the proxy's clock.
    pub at: u64,
    /// Whether this proxy is about to end: what comes through it will not for long.
    pub drains: bool,
    /// Of each entry, by its id.
    pub entries: Vec<(String, Load)>,
}

/// What comes to one proxy through one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Bytes a second from clients, over some seconds.
    pub received: u64,
    /// Bytes a second to clients.
    pub sent: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections accepted in the last second.
    pub accepted: u64,
    /// Whether the proxy reaches a proxy through the entry.
    pub health: Health,
}

/// Whether an entry works, as far as one proxy or all of them know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// It was not tried yet, or nobody says so.
    #[default]
    Unknown,
    /// It leads to a proxy.
    Up,
    /// It does not.
    Down,
}

const VERSION: &str = "1";
/// A report of a thousand entries has some 50 KB.
const LONGEST: usize = 128 << 10;
const MOST_ENTRIES: usize = 1_000;

impl Report {
    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{VERSION} {} {}", self.at, u8::from(self.drains));
        for (id, load) in &self.entries {
            let Load { received, sent, connections, accepted, health } = load;
            let health = health.sign();
            // Writing to a string does not fail.
            let _ = write!(text, " {id}={received},{sent},{connections},{accepted},{health}");
        }
        text
    }

    /// What `proxy` wrote; `None` where it is no report of this version.
    #[must_use]
    pub fn decode(proxy: &str, text: &[u8]) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let at = words.next()?.parse().ok()?;
        let drains = match words.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let entries = words.map(Self::decode_entry).collect::<Option<Vec<_>>>()?;
        let report = Self { proxy: proxy.to_owned(), at, drains, entries };
        (report.entries.len() <= MOST_ENTRIES).then_some(report)
    }

    fn decode_entry(word: &str) -> Option<(String, Load)> {
        let (id, load) = word.split_once('=')?;
        let mut parts = load.split(',');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (received, sent, connections, accepted) = (number()?, number()?, number()?, number()?);
        let health = Health::of_sign(parts.next()?)?;
        let load = Load { received, sent, connections, accepted, health };
        parts.next().is_none().then_some((id.to_owned(), load))
    }
}

impl Health {
    const ALL: [(Self, &'static str, &'static str); 3] =
        [(Self::Unknown, "?", "unknown"), (Self::Up, "+", "up"), (Self::Down, "-", "down")];

    fn sign(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    fn of_sign(sign: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own, _)| *own == sign).map(|(health, ..)| *health)
    }

    /// What was a number, of those in the order of the variants.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).map_or(Self::Unknown, |(health, ..)| *health)
    }

    /// As pages say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_report() -> impl Strategy<Value = Report> {
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        let entry = ("[a-zA-Z0-9_-]{1,64}", numbers, 0..3_usize);
        let entry = entry.prop_map(|(id, (received, sent, connections, accepted), health)| {
            (id, Load { received, sent, connections, accepted, health: Health::ALL[health].0 })
        });
        (any::<u64>(), any::<bool>(), prop::collection::vec(entry, 0..9))
            .prop_map(|(at, drains, entries)| Report { proxy: "p".to_owned(), at, drains, entries })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(report in any_report()) {
            prop_assert_eq!(Report::decode("p", report.encode().as_bytes()), Some(report));
        }

        #[test]
        fn any_bytes_are_read_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::decode("p", &bytes);
        }

        #[test]
        fn what_is_cut_off_is_no_other_report(report in any_report(), part in 0.0..1.0_f64) {
            let text = report.encode();
            let cut = &text[..(text.len() as f64 * part) as usize];
            // A number or an entry less is not seen; whatever is read is written alike.
            if let Some(read) = Report::decode("p", cut.as_bytes()) {
                prop_assert_eq!(read.encode(), cut);
            }
        }
    }

    #[test]
    fn a_line_reads_as_it_is_documented() {
        let entries = vec![(
            "one".to_owned(),
            Load { received: 1, sent: 2, connections: 3, accepted: 4, health: Health::Up },
        )];
        let report = Report { proxy: "p".to_owned(), at: 1_700, drains: true, entries };
        assert_eq!(report.encode(), "1 1700 1 one=1,2,3,4,+");
        for other in
            ["", "2 1700 1", "1 x 1", "1 1 2", "1 1 1 a", "1 1 1 a=1,2,3,4", "1 1 1 a=1,2,3,4,+,5", "1 1 1 "]
        {
            assert_eq!(Report::decode("p", other.as_bytes()), None, "{other}");
        }
        assert_eq!(Report::decode("p", "9".repeat(200 << 10).as_bytes()), None);
    }
}
