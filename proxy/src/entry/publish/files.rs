//! What the files of other DNS servers say. Pure.

use std::fmt::Write;
use std::net::IpAddr;

use super::records::Records;
use super::wanted;
use crate::config::fleet::FleetSettings;
use crate::entry::plan::{Plan, Planned};

/// A kind of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// What gdnsd's plugin extfile reads: which address is up. Weights are gdnsd's own settings and can't be told it:
    /// an entry that is to get nobody is down.
    Gdnsd,
    /// What CoreDNS's plugin loadbalance reads: addresses with weights.
    Coredns,
    /// A DNSEndpoint of Kubernetes, by which ExternalDNS has the records made.
    DnsEndpoint,
}

/// CoreDNS reads 1 to 255. An address that is not in the file counts as 1, so nothing is less than that.
const MAX_COREDNS: u64 = 255;

/// What the file is to say by `plan`, if the name resolves to `before`; and what it then says that the name resolves to. `None`
/// where the plan says nothing.
#[must_use]
pub fn text(
    form: Form,
    plan: &Plan,
    fleet: &FleetSettings,
    before: &Records,
    ttl: u32,
) -> Option<(String, Records)> {
    let wanted = wanted::wanted(plan, fleet, before, ttl)?;
    let text = match form {
        Form::Gdnsd => gdnsd(plan, fleet, ttl),
        Form::Coredns => coredns(plan, fleet),
        Form::DnsEndpoint => dns_endpoint(fleet, &wanted.records),
    };
    Some((text, wanted.records))
}

fn each<'a>(plan: &'a Plan, fleet: &'a FleetSettings) -> impl Iterator<Item = (IpAddr, &'a Planned)> + Clone {
    fleet.entries.iter().flat_map(|entry| {
        let planned = plan.entries.iter().find(|planned| planned.id == entry.id);
        planned.into_iter().flat_map(|planned| entry.addresses.iter().map(move |address| (*address, planned)))
    })
}

fn gdnsd(plan: &Plan, fleet: &FleetSettings, ttl: u32) -> String {
    let mut text = String::new();
    for (address, planned) in each(plan, fleet) {
        let state = if planned.weight > 0 { "UP" } else { "DOWN" };
        let _ = writeln!(text, "{address} => {state}/{ttl}");
    }
    text
}

fn coredns(plan: &Plan, fleet: &FleetSettings) -> String {
    let heaviest = each(plan, fleet).map(|(_, planned)| u64::from(planned.weight)).max().unwrap_or(1).max(1);
    let mut text = format!("{}.\n", fleet.name);
    for (address, planned) in each(plan, fleet) {
        let weight = (u64::from(planned.weight) * MAX_COREDNS).div_ceil(heaviest).max(1);
        let _ = writeln!(text, "{address} {weight}");
    }
    text
}

/// A name of Kubernetes has no dots at its ends and is in lower case, as the fleet's is.
fn dns_endpoint(fleet: &FleetSettings, records: &Records) -> String {
    let name = &fleet.name;
    let mut text = format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata:\n  name: {}\nspec:\n  endpoints:\n",
        name.replace('.', "-")
    );
    let v4: Vec<_> = records.v4.iter().map(IpAddr::from).collect();
    let v6: Vec<_> = records.v6.iter().map(IpAddr::from).collect();
    for (of, addresses, ttl) in [("A", v4, records.v4.ttl()), ("AAAA", v6, records.v6.ttl())] {
        if addresses.is_empty() {
            continue;
        }
        let _ = writeln!(text, "    - dnsName: {name}\n      recordType: {of}\n      recordTTL: {ttl}");
        text.push_str("      targets:\n");
        for address in addresses {
            let _ = writeln!(text, "        - \"{address}\"");
        }
    }
    text
}

/// By how much of the heaviest weight, in percent, one has to change to be worth a file.
const WORTH: u32 = 10;

/// Whether what `plan` says differs enough from what `before` said for whoever reads the weights: one near the last is as
/// good as that.
#[must_use]
pub fn is_worth_it(before: &Plan, plan: &Plan) -> bool {
    if before.entries.len() != plan.entries.len() {
        return true;
    }
    let heaviest =
        plan.entries.iter().chain(&before.entries).map(|planned| planned.weight).max().unwrap_or(0);
    before.entries.iter().zip(&plan.entries).any(|(was, is)| {
        let change = u64::from(was.weight.abs_diff(is.weight)) * 100;
        was.id != is.id
            || (was.weight == 0) != (is.weight == 0)
            || change > u64::from(heaviest) * u64::from(WORTH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::publish::wanted::tests::{fleet, plan};

    fn text(form: Form, weights: &[u32]) -> String {
        let fleet = fleet(&[&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"], &["192.0.2.3"]]);
        super::text(form, &plan(weights), &fleet, &Records::default(), 15).unwrap().0
    }

    #[test]
    fn gdnsd_is_told_who_is_up() {
        assert_eq!(
            text(Form::Gdnsd, &[1_000, 0, 20]),
            "192.0.2.1 => UP/15\n2001:db8::1 => UP/15\n192.0.2.2 => DOWN/15\n192.0.2.3 => UP/15\n"
        );
    }

    /// As the plugin's own parser has it: a name alone in its line, then addresses with weights from 1 to 255.
    #[test]
    fn coredns_is_told_weights_that_it_can_read() {
        let text = text(Form::Coredns, &[1_000, 0, 500]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("redis.example.com."));
        let weights: Vec<(IpAddr, u8)> = lines
            .map(|line| {
                let [address, weight] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                    panic!("{line}");
                };
                (address.parse().unwrap(), weight.parse().unwrap())
            })
            .collect();
        let weights: Vec<u8> = weights.into_iter().map(|(_, weight)| weight).collect();
        assert_eq!(weights, [255, 255, 1, 128]);
    }

    #[test]
    fn external_dns_is_told_records() {
        assert_eq!(
            text(Form::DnsEndpoint, &[1_000, 0, 900]),
            "apiVersion: externaldns.k8s.io/v1alpha1\n\
             kind: DNSEndpoint\n\
             metadata:\n\
             \x20 name: redis-example-com\n\
             spec:\n\
             \x20 endpoints:\n\
             \x20   - dnsName: redis.example.com\n\
             \x20     recordType: A\n\
             \x20     recordTTL: 15\n\
             \x20     targets:\n\
             \x20       - \"192.0.2.1\"\n\
             \x20       - \"192.0.2.3\"\n\
             \x20   - dnsName: redis.example.com\n\
             \x20     recordType: AAAA\n\
             \x20     recordTTL: 15\n\
             \x20     targets:\n\
             \x20       - \"2001:db8::1\"\n"
        );
    }

    #[test]
    fn small_changes_of_weights_are_not_worth_a_file() {
        assert!(!is_worth_it(&plan(&[1_000, 500]), &plan(&[950, 580])));
        assert!(is_worth_it(&plan(&[1_000, 500]), &plan(&[1_000, 601])));
        assert!(is_worth_it(&plan(&[1_000, 1]), &plan(&[1_000, 0])), "it is to get nobody");
        assert!(is_worth_it(&Plan::default(), &plan(&[1_000])));
        assert!(!is_worth_it(&plan(&[1_000]), &plan(&[1_000])));
    }
}
