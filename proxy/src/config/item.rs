//! One key with its value, and the ways to read it. A value that cannot be read becomes a [`ConfigError`] in
//! the common list and `None` here, so that the caller goes on to the next key.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::{ConfigError, Place};
use super::quantity::{Bits, Size, Span};
use super::url::BackendUrl;
use super::value::{Shape, Value};

/// A row of a table of keys: a name, and where its value goes in a `T`.
pub(super) struct Key<T> {
    /// The path from the table's root, with dots.
    pub(super) path: &'static str,
    /// Reads the value and puts it in its place.
    pub(super) set: fn(&mut T, &mut Item<'_>),
}

/// A key's value, being read.
pub(super) struct Item<'a> {
    path: String,
    value: &'a Value,
    source: &'a Arc<str>,
    shown: Shown,
    /// `"off"` is allowed too.
    optional: bool,
    errors: &'a mut Vec<ConfigError>,
    /// Files that the settings name: what stands in them is a part of the settings.
    files: &'a mut Vec<PathBuf>,
}

/// How much of a value an error may show.
#[derive(Clone, Copy)]
enum Shown {
    All,
    WithoutLogin,
    Nothing,
}

/// Longest part of a wrong value that an error repeats: enough to recognise it.
const MAX_SHOWN_CHARS: usize = 60;

/// Replaces `place` by `value` where there is one; an error was recorded where there is none.
pub(super) fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What names of tenants and clusters have to be, for [`ConfigError::BadValue`].
pub(super) const NAME: &str = "a name of 1 to 64 letters, digits, _ and -";

/// Whether this is [`NAME`].
pub(super) fn is_name(name: &str) -> bool {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(character)
}

impl<'a> Item<'a> {
    /// `value` of the key `path` (empty: a whole document), written in `source`.
    pub(super) fn new(
        path: &str,
        value: &'a Value,
        source: &'a Arc<str>,
        errors: &'a mut Vec<ConfigError>,
        files: &'a mut Vec<PathBuf>,
    ) -> Self {
        Self { path: path.to_owned(), value, source, shown: Shown::All, optional: false, errors, files }
    }

    /// The same, but its value is never shown.
    pub(super) fn hidden(&mut self) -> &mut Self {
        self.shown = Shown::Nothing;
        self
    }

    /// Reads every field of a table by the rows of `keys`, each unknown one an error.
    pub(super) fn table<T>(&mut self, keys: &[Key<T>], target: &mut T) {
        self.section(keys, target, "");
    }

    fn section<T>(&mut self, keys: &[Key<T>], target: &mut T, within: &str) {
        let Shape::Table(fields) = &self.value.shape else { return self.refuse("a section") };
        for (name, value) in fields {
            let relative = join(within, name);
            let path = join(&self.path, name);
            let mut field = self.inner(path, value);
            if let Some(key) = keys.iter().find(|key| key.path == relative) {
                (key.set)(target, &mut field);
            } else if keys.iter().any(|key| parent(key.path) == relative) {
                field.section(keys, target, &relative);
            } else {
                field.unknown(keys, within);
            }
        }
    }

    /// Reads a section of at most `most` named sections, each by `read`.
    pub(super) fn named(&mut self, most: usize, mut read: impl FnMut(&str, &mut Item<'_>)) {
        let Shape::Table(fields) = &self.value.shape else {
            return self.refuse("a section of named sections");
        };
        if fields.len() > most {
            return self.refuse(&format!("at most {most} named sections"));
        }
        for (name, value) in fields {
            let path = join(&self.path, name);
            read(name, &mut self.inner(path, value));
        }
    }

    /// A list of at least one item, each read by `item`; wrong items are left out, each with its own error.
    pub(super) fn list<I>(&mut self, item: impl Fn(&mut Item<'_>) -> Option<I>) -> Option<Vec<I>> {
        let Shape::List(items) = &self.value.shape else {
            self.refuse("a list");
            return None;
        };
        if items.is_empty() {
            self.refuse("a list of at least one");
            return None;
        }
        let mut read = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            read.extend(item(&mut self.inner(format!("{}[{index}]", self.path), value)));
        }
        Some(read)
    }

    /// `"off"`, or what `other` reads.
    pub(super) fn or_off<T>(&mut self, other: impl Fn(&mut Item<'_>) -> Option<T>) -> Option<Option<T>> {
        self.optional = true;
        match &self.value.shape {
            Shape::Text(text) if text == "off" => Some(None),
            _ => other(self).map(Some),
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self) -> Option<String> {
        self.parse("a text that is not empty", |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// The path of a file that is read with the settings, and again when it changes.
    pub(super) fn file(&mut self) -> Option<PathBuf> {
        let path = PathBuf::from(self.text()?);
        self.files.push(path.clone());
        Some(path)
    }

    /// A text that `parse` takes; what it takes is said in `allowed`.
    pub(super) fn parse<T>(&mut self, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = match &self.value.shape {
            Shape::Text(text) => parse(text),
            _ => None,
        };
        if parsed.is_none() {
            self.refuse(allowed);
        }
        parsed
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if let Shape::Flag(flag) = self.value.shape {
            return Some(flag);
        }
        self.refuse("true or false");
        None
    }

    /// A whole number within `range`.
    pub(super) fn whole<T>(&mut self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let number = match self.value.shape {
            Shape::Whole(number) => T::try_from(number).ok().filter(|number| range.contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.refuse(&format!("a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (low, high) = (Span(*range.start()), Span(*range.end()));
        let allowed =
            format!("a duration from {low:?} to {high:?}", low = low.to_string(), high = high.to_string());
        self.parse(&allowed, |text| {
            text.parse::<Span>().ok().map(|span| span.0).filter(|span| range.contains(span))
        })
    }

    /// Bits a second within `range`.
    pub(super) fn bits(&mut self, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (Bits(*range.start()).to_string(), Bits(*range.end()).to_string());
        self.parse(&format!("bits a second from {low:?} to {high:?}"), |text| {
            text.parse::<Bits>().ok().map(|bits| bits.0).filter(|bits| range.contains(bits))
        })
    }

    /// A size within `range`, in bytes: with a unit, or a plain number.
    pub(super) fn size(&mut self, range: RangeInclusive<usize>) -> Option<usize> {
        let size = match &self.value.shape {
            Shape::Text(text) => text.parse::<Size>().ok().map(|size| size.0),
            Shape::Whole(bytes) => usize::try_from(*bytes).ok(),
            _ => None,
        };
        let size = size.filter(|size| range.contains(size));
        if size.is_none() {
            let (low, high) = (Size(*range.start()).to_string(), Size(*range.end()).to_string());
            self.refuse(&format!("a size from {low:?} to {high:?}"));
        }
        size
    }

    /// An address and a port to listen at.
    pub(super) fn address(&mut self) -> Option<SocketAddr> {
        self.parse("an address and a port such as \"127.0.0.1:6379\" or \"[::]:6379\"", |text| {
            text.parse().ok()
        })
    }

    /// The address of a DNS server; its port is 53 where none is given.
    pub(super) fn dns_server(&mut self) -> Option<SocketAddr> {
        self.parse(
            "an IP address, with or without a port, such as \"10.0.0.2\" or \"[fd00::2]:53\"",
            |text| {
                let bare = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
                text.parse().ok().or_else(bare)
            },
        )
    }

    /// The URL of a backend.
    pub(super) fn url(&mut self) -> Option<BackendUrl> {
        self.shown = Shown::WithoutLogin;
        let Shape::Text(text) = &self.value.shape else {
            self.refuse("a URL such as \"redis://10.0.0.1:6379\"");
            return None;
        };
        match BackendUrl::parse(text) {
            Ok(url) => Some(url),
            Err(reason) => {
                let (place, key, value) = (self.place(), self.path.clone(), self.shown());
                self.errors.push(ConfigError::BadUrl { place, key, value, reason });
                None
            }
        }
    }

    /// A list of URLs of backends.
    pub(super) fn urls(&mut self) -> Option<Vec<BackendUrl>> {
        self.shown = Shown::WithoutLogin;
        self.list(|item| item.url())
    }

    /// The 64 hex digits of a SHA-256.
    pub(super) fn sha256(&mut self) -> Option<[u8; 32]> {
        self.hidden().parse(
            "the 64 hex digits of a SHA-256, as `printf %s PASSWORD | sha256sum` prints them",
            Self::digest_of,
        )
    }

    /// What 64 hex digits say.
    pub(super) fn digest_of(text: &str) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
        if digits.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, &digit| byte << 4 | digit as u8);
        }
        Some(digest)
    }

    /// Records that the value is none of what is `allowed`.
    pub(super) fn refuse(&mut self, allowed: &str) {
        let (place, key, value) = (self.place(), self.path.clone(), self.shown());
        let allowed = if self.optional { format!("{allowed}, or \"off\"") } else { allowed.to_owned() };
        self.errors.push(ConfigError::BadValue { place, key, value, allowed });
    }

    /// Records an error that `make` builds from the key's place and path.
    pub(super) fn report(&mut self, make: impl Fn(Place, String) -> ConfigError) {
        let error = make(self.place(), self.path.clone());
        self.errors.push(error);
    }

    /// Records that no row of `keys` has this name. The value is not shown: it may be a password under a
    /// misspelled key.
    fn unknown<T>(&mut self, keys: &[Key<T>], within: &str) {
        let mut known: Vec<&str> = Vec::new();
        for key in keys {
            let name = match key.path.split_once('.') {
                Some((section, _)) if within.is_empty() => section,
                _ if parent(key.path) == within => key.path.rsplit('.').next().unwrap_or_default(),
                _ => continue,
            };
            if !known.contains(&name) {
                known.push(name);
            }
        }
        let known = known.join(", ");
        self.report(|place, key| ConfigError::UnknownKey { place, key, known: known.clone() });
    }

    fn inner<'b>(&'b mut self, path: String, value: &'b Value) -> Item<'b> {
        Item {
            path,
            value,
            source: self.source,
            shown: self.shown,
            optional: false,
            errors: self.errors,
            files: self.files,
        }
    }

    fn place(&self) -> Place {
        Place { source: Arc::clone(self.source), line: self.value.line }
    }

    fn shown(&self) -> String {
        let text = match (&self.value.shape, self.shown) {
            (Shape::List(_), _) => return "a list".to_owned(),
            (Shape::Table(_), _) => return "a section".to_owned(),
            (_, Shown::Nothing) => return "(hidden)".to_owned(),
            (Shape::Text(text), Shown::WithoutLogin) => format!("{:?}", BackendUrl::redact(text)),
            (Shape::Text(text), Shown::All) => format!("{text:?}"),
            (Shape::Whole(number), _) => number.to_string(),
            (Shape::Flag(flag), _) => flag.to_string(),
            (Shape::Other(text), _) => text.clone(),
        };
        match text.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

/// A quoted name where the bare one could be misread, as TOML itself wants it.
fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut joined = path.to_owned();
    if !joined.is_empty() {
        joined.push('.');
    }
    if !name.is_empty() && name.chars().all(bare) {
        joined.push_str(name);
    } else {
        joined.push_str(&format!("{name:?}"));
    }
    joined
}

/// The section that a key's path stands in; empty for the top level.
fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}
