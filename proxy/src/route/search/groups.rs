//! GROUPBY over shards: each gives its part of every group, and the parts are put together, then sorted and cut. A group
//! is known by its properties as the servers write them.

use hashbrown::{HashMap, HashSet};

use super::arguments::number;
use super::query::Page;
use super::reply::text;
use super::rows::{Key, Property, Rank, Table, write};
use crate::resp::elements::Elements;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// How groups become one reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// How many properties GROUPBY names: they come first in a row.
    pub(super) keys: usize,
    pub(super) reducers: Vec<Reducer>,
    pub(super) sort: Vec<Key>,
    pub(super) page: Option<Page>,
}

/// REDUCE
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reducer {
    pub(super) kind: Kind,
    /// AS
    pub(super) name: Option<Vec<u8>>,
}

/// How a reducer's parts are put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Count,
    Sum,
    /// With how many rows have the property, and how many rows there are, behind it.
    Min {
        of: Vec<u8>,
    },
    Max {
        of: Vec<u8>,
    },
    /// With these and the sum.
    Average {
        of: Vec<u8>,
    },
    List,
    /// With the list of what was counted.
    CountDistinct {
        of: Vec<u8>,
    },
}

impl Kind {
    /// Further properties of a row that serve this reducer.
    fn parts(&self) -> usize {
        match self {
            Self::Count | Self::Sum | Self::List => 0,
            Self::CountDistinct { .. } => 1,
            Self::Min { .. } | Self::Max { .. } => 2,
            Self::Average { .. } => 3,
        }
    }
}

/// What one can't be told from the other.
const ALIKE: &[u8] = b"-ERR slotway: groups whose properties look alike can't be merged\r\n";
/// Whether servers count a row without the property, as 0, depends on how they keep it.
const LACKING: &[u8] =
    b"-ERR slotway: MIN, MAX and AVG of what some rows lack can't be merged: FILTER exists(@property) \
    in front of GROUPBY\r\n";

/// One group, as far as its parts have come.
struct Group<'a> {
    /// Its properties, then what we asked about them.
    keys: Vec<Property<'a>>,
    texts: Vec<bool>,
    names: Vec<&'a [u8]>,
    values: Vec<Reduced<'a>>,
    /// The shard that gave the last part.
    shard: usize,
}

/// What a reducer came to.
enum Reduced<'a> {
    Number(f64),
    Least(f64),
    Most(f64),
    Average { sum: f64, count: f64 },
    Values { order: Vec<&'a [u8]>, known: HashSet<&'a [u8]>, counts: bool },
}

impl Groups {
    /// The reply; `None` where a shard's has an unexpected shape.
    pub(super) fn merge(&self, replies: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
        let tables = replies.iter().map(|reply| Table::read(reply, protocol)).collect::<Option<Vec<_>>>()?;
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (shard, table) in tables.iter().enumerate() {
            for row in &table.rows {
                let part = match self.part(row, shard)? {
                    Ok(part) => part,
                    Err(error) => return Some(error.to_vec()),
                };
                let key = row.get(..self.keys)?.iter().flat_map(|(_, value)| value.iter().copied()).collect();
                let place = *places.entry(key).or_insert(groups.len());
                match groups.get_mut(place) {
                    None => groups.push(part),
                    Some(group) if group.shard == shard => return Some(ALIKE.to_vec()),
                    Some(group) => group.add(part),
                }
            }
        }
        let total = groups.len() as u64;
        self.sort(&mut groups)?;
        let page = self.page.unwrap_or(Page { offset: 0, count: total });
        let (offset, count) = (usize::try_from(page.offset).ok()?, usize::try_from(page.count).ok()?);
        let written: Vec<_> =
            groups.iter().skip(offset).take(count).map(|group| group.values(protocol)).collect();
        let rows: Vec<Vec<Property<'_>>> =
            groups.iter().skip(offset).zip(&written).map(|(g, v)| g.row(v)).collect();
        Some(write(&tables, &rows, total, protocol))
    }

    /// A shard's part of a group; or an error.
    fn part<'a>(&self, row: &[Property<'a>], shard: usize) -> Option<Result<Group<'a>, &'static [u8]>> {
        let (keys, rest) = row.split_at_checked(self.keys)?;
        let (reduced, rest) = rest.split_at_checked(self.reducers.len())?;
        let parts = self.reducers.iter().map(|reducer| reducer.kind.parts()).sum();
        let (mut parts, texts) = rest.split_at_checked(parts)?;
        let mut values = Vec::with_capacity(self.reducers.len());
        for (reducer, (_, value)) in self.reducers.iter().zip(reduced) {
            let (mine, others) = parts.split_at_checked(reducer.kind.parts())?;
            parts = others;
            let Ok(value) = Reduced::read(&reducer.kind, value, mine)? else { return Some(Err(LACKING)) };
            values.push(value);
        }
        let names = reduced.iter().map(|(name, _)| *name).collect();
        let texts = texts.iter().map(|(_, is_text)| text(is_text) == Some(b"1")).collect();
        Some(Ok(Group { keys: keys.to_vec(), texts, names, values, shard }))
    }

    fn sort(&self, groups: &mut Vec<Group<'_>>) -> Option<()> {
        if self.sort.is_empty() {
            return Some(());
        }
        let unsorted = std::mem::take(groups);
        let mut ranked = Vec::with_capacity(unsorted.len());
        for group in unsorted {
            let ranks = self.sort.iter().map(|key| group.rank(&key.property)).collect::<Option<Vec<_>>>()?;
            ranked.push((ranks, group));
        }
        ranked.sort_by(|(a, _), (b, _)| {
            let compared = a.iter().zip(b).zip(&self.sort).map(|((a, b), key)| {
                let order = a.compare(b);
                if key.descending { order.reverse() } else { order }
            });
            compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        groups.extend(ranked.into_iter().map(|(_, group)| group));
        Some(())
    }
}

impl<'a> Group<'a> {
    fn add(&mut self, part: Self) {
        self.shard = part.shard;
        for (value, other) in self.values.iter_mut().zip(part.values) {
            value.add(other);
        }
    }

    fn rank(&self, property: &[u8]) -> Option<Rank<'a>> {
        let keys = self.keys.iter().zip(&self.texts);
        if let Some(((_, value), is_text)) =
            keys.into_iter().find(|((name, _), _)| text(name) == Some(property))
        {
            return Rank::of(value, *is_text);
        }
        let named = self.names.iter().zip(&self.values).find(|(name, _)| text(name) == Some(property));
        named.and_then(|(_, value)| value.number()).map(Rank::Number)
    }

    fn values(&self, protocol: Protocol) -> Vec<Vec<u8>> {
        self.values.iter().map(|value| value.write(protocol)).collect()
    }

    fn row<'v>(&'v self, values: &'v [Vec<u8>]) -> Vec<Property<'v>> {
        let reduced = self.names.iter().zip(values).map(|(name, value)| (*name, value.as_slice()));
        self.keys.iter().copied().chain(reduced).collect()
    }
}

impl<'a> Reduced<'a> {
    /// `Err` where some rows lack the property.
    fn read(kind: &Kind, value: &'a [u8], parts: &[Property<'a>]) -> Option<Result<Self, ()>> {
        let part = |index: usize| -> Option<f64> { number(text(parts.get(index)?.1)?) };
        let whole = |kind: &Kind| matches!(kind, Kind::Min { .. } | Kind::Max { .. } | Kind::Average { .. });
        if whole(kind) && part(0)? < part(1)? {
            return Some(Err(()));
        }
        Some(Ok(match kind {
            Kind::Count | Kind::Sum => Self::Number(number(text(value)?)?),
            Kind::Min { .. } => Self::Least(number(text(value)?)?),
            Kind::Max { .. } => Self::Most(number(text(value)?)?),
            Kind::Average { .. } => Self::Average { sum: part(2)?, count: part(1)? },
            Kind::List => Self::list(value, false)?,
            Kind::CountDistinct { .. } => Self::list(parts.first()?.1, true)?,
        }))
    }

    fn list(value: &'a [u8], counts: bool) -> Option<Self> {
        let order: Vec<_> = Elements::new(value)?.collect();
        Some(Self::Values { known: order.iter().copied().collect(), order, counts })
    }

    fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Number(sum), Self::Number(other)) => *sum += other,
            (Self::Least(least), Self::Least(other)) => *least = least.min(other),
            (Self::Most(most), Self::Most(other)) => *most = most.max(other),
            (Self::Average { sum, count }, Self::Average { sum: more, count: others }) => {
                *sum += more;
                *count += others;
            }
            (Self::Values { order, known, .. }, Self::Values { order: others, .. }) => {
                order.extend(others.into_iter().filter(|value| known.insert(value)));
            }
            _ => debug_assert!(false, "parts of one reducer are of one kind"),
        }
    }

    /// What it is sorted by; `None` of a list.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::Least(number) | Self::Most(number) => Some(*number),
            Self::Average { count, .. } if *count <= 0.0 => Some(0.0),
            Self::Average { sum, count } => Some(sum / count),
            Self::Values { counts: true, known, .. } => Some(known.len() as f64),
            Self::Values { .. } => None,
        }
    }

    fn write(&self, protocol: Protocol) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ReplyWriter::new(&mut out, protocol);
        match (self, self.number()) {
            (_, Some(number)) => writer.bulk(written(number)),
            (Self::Values { order, .. }, None) => {
                writer.array(order.len());
                order.iter().for_each(|value| out.extend_from_slice(value));
            }
            (_, None) => writer.null(),
        }
        out
    }
}

/// A number as the servers write it: whole ones in full, others with twelve digits (`%.12g`).
pub(super) fn written(number: f64) -> String {
    // Above that not every whole number is a double.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE {
        return format!("{number:.0}");
    }
    if !number.is_finite() {
        return if number.is_nan() { "nan".to_owned() } else { number.to_string() };
    }
    let scientific = format!("{number:.11e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..12).contains(&exponent) {
        let decimals = usize::try_from(11 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_servers_do() {
        for (number, text) in [
            (0.0, "0"),
            (-3.0, "-3"),
            (519_772_680_044_850.0, "519772680044850"),
            (1e20, "1e+20"),
            (0.1 + 0.2, "0.3"),
            (2.5, "2.5"),
            (1_732_575_600_149.5, "1.73257560015e+12"),
            (1.0 / 3.0, "0.333333333333"),
            (1.5e-7, "1.5e-07"),
            (0.00012, "0.00012"),
        ] {
            assert_eq!(written(number), text);
        }
    }
}
