//! From the file to the settings: what several keys must agree on.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use super::cluster_check;
use super::error::ConfigError;
use super::file::File;
use super::fleet_file::{self, FleetFile};
use super::quantity::{Size, Span};
use super::settings::Settings;
use super::tenant_file;
use super::tls::check_tls;

/// Three checks of a balancer that asks every two seconds, as HAProxy does where it is told nothing else.
const LEAVE_DELAY: Duration = Duration::from_secs(6);

/// The settings that `file` means; `None` when something is wrong with it, which is then in `errors`.
pub(super) fn check(file: File, errors: &mut Vec<ConfigError>) -> Option<Settings> {
    check_orders(&file, errors);
    check_addresses(&file, errors);
    let names: Vec<String> = file.clusters.keys().cloned().collect();
    let listeners = client_addresses(&file);
    let tenants = tenant_file::check(file.users, file.tenants, &names, errors);
    let clusters = cluster_check::check(file.clusters, errors);
    let fleet = fleet_file::check(file.fleet, &listeners, errors);
    let tls = check_tls(file.tls, errors);
    let leave_delay = if fleet.is_some() { LEAVE_DELAY } else { Duration::ZERO };
    Some(Settings {
        listen: file.listen,
        admin: file.admin,
        threads: file.threads.unwrap_or_else(cores),
        grace_period: file.grace_period,
        leave_delay: file.leave_delay.unwrap_or(leave_delay),
        takeover: file.takeover,
        takeover_timeout: file.takeover_timeout,
        reload: file.reload,
        clients: file.clients,
        tenants,
        tls,
        private: file.private,
        clusters,
        fleet,
        dns: file.dns,
        log: file.log,
    })
    .filter(|_| errors.is_empty())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn check_orders(file: &File, errors: &mut Vec<ConfigError>) {
    let (clients, dns) = (&file.clients, &file.dns);
    check_order(("dns.min_ttl", Span(dns.min_ttl)), ("dns.max_ttl", Span(dns.max_ttl)), errors);
    let sizes = [
        ("clients.max_bulk", clients.max_bulk_bytes, "clients.max_request", clients.max_request_bytes),
        (
            "clients.reply_high_watermark",
            clients.reply_high_watermark,
            "clients.reply_limit",
            clients.reply_limit,
        ),
        (
            "clients.pubsub_output_soft",
            clients.pubsub_output_soft,
            "clients.pubsub_output_hard",
            clients.pubsub_output_hard,
        ),
    ];
    for (low, low_value, high, high_value) in sizes {
        check_order((low, Size(low_value)), (high, Size(high_value)), errors);
    }
}

/// What is lower by its name must not be above the other.
pub(super) fn check_order<V: PartialOrd + Display>(
    (low, low_value): (impl Into<String>, V),
    (high, high_value): (impl Into<String>, V),
    errors: &mut Vec<ConfigError>,
) {
    if low_value > high_value {
        let (low, high) = (low.into(), high.into());
        let (low_value, high_value) = (low_value.to_string(), high_value.to_string());
        errors.push(ConfigError::Order { low, low_value, high, high_value });
    }
}

/// Where clients connect that come by no entry of their own.
fn client_addresses(file: &File) -> Vec<SocketAddr> {
    let tenants = file.tenants.iter().flat_map(|tenant| &tenant.listen);
    file.listen.iter().chain(&file.tls.listen).chain(tenants).copied().collect()
}

/// Port 0 asks the system for any free port: twice that is two ports.
fn check_addresses(file: &File, errors: &mut Vec<ConfigError>) {
    let mut seen = HashSet::new();
    let listen = file.listen.iter().map(|address| ("listen", address));
    let listen = listen.chain(file.tls.listen.iter().map(|address| ("tls.listen", address)));
    let tenants = file.tenants.iter().flat_map(|tenant| &tenant.listen);
    // Where an address can't be read, that is told already.
    let told =
        |error: &ConfigError| matches!(error, ConfigError::BadValue { key, .. } if key.contains("listen"));
    let entries = file.fleet.iter().flat_map(FleetFile::listen);
    let has_some = listen.clone().next().is_some()
        || tenants.clone().next().is_some()
        || entries.clone().next().is_some();
    if !has_some && !errors.iter().any(told) {
        errors.push(ConfigError::NoListener);
    }
    let others = file.admin.iter().map(|address| ("admin", address));
    let tenants = tenants.map(|address| ("tenants.listen", address));
    // An entry may be the only one that leads to a port for TLS.
    let is_tls = |address: &&SocketAddr| file.tls.listen.contains(address);
    let mut led_to = HashSet::new();
    let entries = entries
        .filter(|address| !is_tls(address) || !led_to.insert(**address))
        .map(|address| ("fleet.entries.listen", address));
    let agent =
        file.fleet.iter().filter_map(FleetFile::agent_check).map(|address| ("fleet.agent_check", address));
    for (key, address) in listen.chain(others).chain(tenants).chain(entries).chain(agent) {
        if address.port() != 0 && !seen.insert(address) {
            errors.push(ConfigError::DuplicateAddress { key, address: address.to_string() });
        }
    }
}
