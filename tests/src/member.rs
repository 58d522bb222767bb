//! A proxy of a fleet whose entries, `a` and `b`, are addresses of this machine.

use std::time::Duration;

use crate::page::{number, page};
use crate::poll::eventually;
use crate::ports::Port;
use crate::proxy::{Options, Proxy};

/// How long anything may take that is to happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// One proxy.
#[derive(Debug)]
pub struct Member {
    /// The proxy itself.
    pub proxy: Proxy,
    /// The address of its admin port.
    pub admin: String,
    _admin: Port,
}

/// The hosts of the entries.
pub const HOSTS: [&str; 2] = ["127.0.0.11", "127.0.0.12"];

/// The addresses of the entries.
#[must_use]
pub fn entries(port: u16) -> [String; 2] {
    HOSTS.map(|host| format!("{host}:{port}"))
}

/// The settings of a fleet with these listening addresses of `a` and `b`, and more of each.
#[must_use]
pub fn fleet(port: u16, listen: [&str; 2], more: [&str; 2], admin: &str) -> String {
    let entry = |id: &str, address: &str, listen: &str, more: &str| {
        let listen = if listen.is_empty() { String::new() } else { format!("listen = [\"{listen}\"]\n") };
        format!(
            "[[fleet.entries]]\nid = \"{id}\"\naddresses = [\"{address}\"]\ncap = \"100Mbit\"\n{listen}{more}\n"
        )
    };
    format!(
        "admin = \"{admin}\"\n[fleet]\nname = \"redis.test\"\nport = {port}\n{}{}",
        entry("a", HOSTS[0], listen[0], more[0]),
        entry("b", HOSTS[1], listen[1], more[1])
    )
}

impl Member {
    /// One that listens at both entries.
    #[must_use]
    pub fn start(options: Options, port: u16) -> Self {
        let [a, b] = entries(port);
        Self::with(options, |admin| fleet(port, [&a, &b], [""; 2], admin))
    }

    /// One of these settings, which are told its admin port.
    #[must_use]
    pub fn with(options: Options, settings: impl Fn(&str) -> String) -> Self {
        let port = Port::lease();
        let admin = format!("127.0.0.1:{}", port.number());
        let proxy = options.config(&settings(&admin)).start();
        Self { proxy, admin, _admin: port }
    }

    /// Has it read other settings.
    pub fn reload(&self, settings: &str) {
        self.proxy.rewrite(settings);
        self.proxy.hang_up();
    }

    /// The line of `/entries` that speaks of an entry.
    #[must_use]
    pub fn line(&self, entry: &str) -> Option<String> {
        let page = page(&self.admin, "/entries");
        page.lines().find(|line| line.starts_with(&format!("{entry}: "))).map(str::to_owned)
    }

    /// Waits until that line has these words.
    ///
    /// # Panics
    /// Where it does not come to have them.
    #[track_caller]
    pub fn wait_for(&self, entry: &str, words: &str) {
        let what = format!("{words:?} of the entry {entry}");
        eventually(&what, SOON, || self.line(entry).filter(|line| line.contains(words)).map(drop));
    }

    /// What this proxy counts of an entry; 0 before it has a plan.
    #[must_use]
    pub fn own(&self, entry: &str, name: &str) -> u64 {
        number(&self.admin, &format!("slotway_entry_{name}{{entry=\"{entry}\"}}")).unwrap_or_default()
    }
}
