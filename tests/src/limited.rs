//! A proxy whose tenants have limits.

use crate::page::page;
use crate::ports::Port;
use crate::proxy::{Options, Proxy};
use crate::raw::Raw;
use crate::secret::SECRET;
use crate::server::Server;

/// A proxy whose tenants have these limits, each with a user of its own name, and `web` that has none.
#[derive(Debug)]
pub struct Limited {
    /// The process.
    pub proxy: Proxy,
    admin: Port,
    /// What it stands in front of.
    pub server: Server,
}

impl Limited {
    /// These tenants, with lines of `[tenants.limits]` each.
    #[must_use]
    pub fn start(tenants: &[(&str, &str)]) -> Self {
        Self::with(tenants, &[])
    }

    /// The same, with further settings.
    #[must_use]
    pub fn with(tenants: &[(&str, &str)], settings: &[&str]) -> Self {
        let mut text = String::new();
        for (name, limits) in tenants.iter().chain(&[("web", "")]) {
            text.push_str(&format!(
                "[[tenants]]\nname = \"{name}\"\n\
                 users = [{{ name = \"{name}\", passwords_sha256 = [\"{SECRET}\"] }}]\n\
                 [tenants.limits]\n{limits}\n"
            ));
        }
        let (server, admin) = (Server::start(), Port::lease());
        let options = Options::standalone(&format!("redis://{}", server.addr())).config(&text).set(settings);
        let proxy = options.flag("--admin", &format!("127.0.0.1:{}", admin.number())).start();
        Self { proxy, admin, server }
    }

    /// A client that has logged in.
    #[must_use]
    pub fn client(&self, tenant: &str, protocol: u8) -> Raw {
        let mut client = self.proxy.client();
        let hello = client.cmd(&format!("HELLO {protocol} AUTH {tenant} secret"));
        assert!(!hello.is_error(), "{hello:?}");
        client
    }

    /// The sum of the rows of `/metrics` that begin like this.
    #[must_use]
    pub fn metric(&self, row: &str) -> u64 {
        let page = page(&format!("127.0.0.1:{}", self.admin.number()), "/metrics");
        let rows = page.lines().filter(|line| line.starts_with(row));
        let values: Vec<u64> = rows.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        assert!(!values.is_empty(), "no {row} in {page}");
        values.iter().sum()
    }

    /// How often a limit of a tenant acted.
    #[must_use]
    pub fn acted(&self, tenant: &str, limit: &str) -> u64 {
        self.metric(&format!("slotway_tenant_limited_total{{tenant=\"{tenant}\",limit=\"{limit}\"}}"))
    }

    /// What a tenant has of something.
    #[must_use]
    pub fn used(&self, tenant: &str, gauge: &str) -> u64 {
        self.metric(&format!("slotway_tenant_{gauge}{{tenant=\"{tenant}\"}}"))
    }

    /// What the workers counted.
    #[must_use]
    pub fn proxy_metric(&self, name: &str) -> u64 {
        self.metric(&format!("slotway_{name}_total{{"))
    }
}

/// What is answered in the place of a request that a limit refuses.
#[must_use]
pub fn at_limit(limit: &str) -> String {
    format!("ERR slotway: the tenant is at its limit of {limit}, the command did not run")
}
