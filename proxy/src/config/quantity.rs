//! Durations and sizes as people write them: `"500ms"`, `"5s"`, `"64KiB"`.
//!
//! One whole number and one unit, nothing more: `1.5s` or `1h30m` would need a rule that nobody remembers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration as written: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

/// A size in bytes as written: a whole number, alone or with one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub usize);

/// Bits a second as written: a whole number and one of `kbit`, `Mbit`, `Gbit`, `Tbit`, in thousands, as links are sold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bits(pub u64);

/// The text is no whole number with a unit that we know, or the number is too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a whole number with a known unit")]
pub struct NotAQuantity;

/// Units of time in milliseconds, smallest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size in bytes, smallest first. `KB` is left out: half of its readers think of 1,000.
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Units of bits a second, smallest first.
const BIT_UNITS: [(&str, u64); 4] =
    [("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000), ("Tbit", 1_000_000_000_000)];

impl FromStr for Bits {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        quantity(text, &BIT_UNITS).map(Self)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        largest_exact(f, self.0, &BIT_UNITS, "0kbit")
    }
}

impl FromStr for Span {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        quantity(text, &TIME_UNITS).map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let bytes = text.parse().or_else(|_| quantity(text, &SIZE_UNITS))?;
        usize::try_from(bytes).map(Self).map_err(|_| NotAQuantity)
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, NotAQuantity> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(NotAQuantity)?;
    let number: u64 = number.parse().map_err(|_| NotAQuantity)?;
    number.checked_mul(*factor).ok_or(NotAQuantity)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        largest_exact(f, self.0.as_millis().try_into().unwrap_or(u64::MAX), &TIME_UNITS, "0s")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        largest_exact(f, self.0.try_into().unwrap_or(u64::MAX), &SIZE_UNITS, "0B")
    }
}

/// Writes `value` in the largest unit that needs no fraction, so that what is shown can be written back.
fn largest_exact(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    zero: &'static str,
) -> fmt::Result {
    if value == 0 {
        return f.write_str(zero);
    }
    match units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), ("90s", 90_000), ("1h", 3_600_000), ("2d", 172_800_000)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
        assert_eq!("0s".parse::<Span>().unwrap().to_string(), "0s");
    }

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("3GiB", 3 << 30)] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), text);
        }
        assert_eq!("4096".parse::<Size>(), Ok(Size(4096)));
    }

    #[test]
    fn rates_are_read_and_written_back() {
        for (text, bits) in [("64kbit", 64_000), ("500Mbit", 500_000_000), ("10Gbit", 10_000_000_000)] {
            let rate: Bits = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bits, text));
        }
        assert!("1Gbps".parse::<Bits>().is_err() && "1".parse::<Bits>().is_err());
    }

    #[test]
    fn a_quantity_needs_digits_and_a_known_unit() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "1h30m",
            "5S",
            "5sec",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(text.parse::<Span>(), Err(NotAQuantity), "{text}");
        }
        for text in ["", "KiB", "64KB", "64kib", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(text.parse::<Size>(), Err(NotAQuantity), "{text}");
        }
    }
}
