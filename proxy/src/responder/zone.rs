//! The zone: which names there are, and their records. Pure.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::config::fleet::{FleetSettings, ResponderSettings};
use crate::entry::answer;
use crate::entry::plan::{Plan, Planned};

/// The zone of a fleet.
#[derive(Debug)]
pub struct Zone {
    /// The fleet's name.
    pub apex: Name,
    ttl: u32,
    most: usize,
    servers: Vec<(Name, Vec<IpAddr>)>,
    contact: Name,
    /// Of each entry, in the order of the settings: its names within the zone, and its addresses.
    entries: Vec<(Vec<Name>, Vec<IpAddr>)>,
    ids: Vec<String>,
}

/// What a name in the zone is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The fleet's name.
    Apex,
    /// An entry's own, by its place.
    Entry(usize),
    /// A name server's, by its place.
    Server(usize),
    /// Nothing, but names below it are something.
    Empty,
}

// Seconds. Nobody transfers the zone; a name that is not there is asked for again soon, see RFC 2308.
const REFRESH: i32 = 60;
const RETRY: i32 = 30;
const EXPIRE: i32 = 86_400;
const MINIMUM: u32 = 5;
// A delegation changes by hand.
const SERVERS_TTL: u32 = 3_600;

impl Zone {
    /// The zone that the settings describe.
    #[must_use]
    pub fn new(fleet: &FleetSettings, responder: &ResponderSettings) -> Self {
        let apex = name(&fleet.name);
        let entries = fleet.entries.iter().map(|entry| {
            let own = name(&format!("{}.{}", entry.id, fleet.name));
            let host = entry.host.as_deref().map(name).filter(|host| apex.zone_of(host) && *host != own);
            let names = std::iter::once(own).chain(host).collect();
            (names, entry.addresses.clone())
        });
        Self {
            entries: entries.collect(),
            ids: fleet.entries.iter().map(|entry| entry.id.clone()).collect(),
            ttl: responder.ttl.as_secs() as u32,
            most: responder.records,
            servers: responder
                .servers
                .iter()
                .map(|(host, addresses)| (name(host), addresses.clone()))
                .collect(),
            contact: name(&responder.contact),
            apex,
        }
    }

    /// What is at a name of the zone; `None`: there is no such name.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<Place> {
        if *name == self.apex {
            return Some(Place::Apex);
        }
        let entry = self.entries.iter().position(|(names, _)| names.contains(name));
        let server = || self.servers.iter().position(|(server, _)| server == name);
        let is_above = |other: &Name| self.apex.zone_of(other) && name.zone_of(other);
        let names = || {
            self.entries
                .iter()
                .flat_map(|(names, _)| names)
                .chain(self.servers.iter().map(|(server, _)| server))
        };
        let empty = || names().any(is_above).then_some(Place::Empty);
        entry.map(Place::Entry).or_else(|| server().map(Place::Server)).or_else(empty)
    }

    /// The records of a type at a place, called as the query called it.
    pub fn records(
        &self,
        place: Place,
        (asked, wanted): (&Name, RecordType),
        plan: &Plan,
        random: impl FnMut(u32) -> u32,
    ) -> Vec<Record> {
        let addresses = |of: &[IpAddr], ttl: u32| -> Vec<Record> {
            of.iter().filter_map(|address| address_record(asked, ttl, *address, wanted)).collect()
        };
        match place {
            Place::Apex => match wanted {
                RecordType::SOA => vec![self.authority(plan)],
                RecordType::NS => self.server_records(),
                _ => self.chosen(asked, wanted, plan, random),
            },
            Place::Entry(entry) => addresses(&self.entries[entry].1, self.ttl),
            Place::Server(server) => addresses(&self.servers[server].1, SERVERS_TTL),
            Place::Empty => Vec::new(),
        }
    }

    /// The addresses that new clients are to take. Whoever asks for one family gets it of entries that have it.
    fn chosen(
        &self,
        asked: &Name,
        wanted: RecordType,
        plan: &Plan,
        random: impl FnMut(u32) -> u32,
    ) -> Vec<Record> {
        let of = |place: usize| {
            let addresses = self.entries[place].1.iter();
            addresses.filter_map(|address| address_record(asked, self.ttl, *address, wanted))
        };
        // Before there is a plan, or while it is that of other settings, all are alike.
        let is_ours = plan.entries.iter().map(|entry| &entry.id).eq(&self.ids);
        let weight = |place: usize| if is_ours { plan.entries[place].weight } else { 1 };
        // Only those that have such an address: were others chosen from too, they could take all places of an answer.
        let places: Vec<usize> =
            (0..self.entries.len()).filter(|place| of(*place).next().is_some()).collect();
        let entries = places.iter().map(|place| Planned { weight: weight(*place), ..Planned::default() });
        let among = Plan { entries: entries.collect(), ..Plan::default() };
        let chosen = answer::choose(&among, self.most, random);
        chosen.into_iter().flat_map(|chosen| of(places[chosen])).take(self.most).collect()
    }

    /// The SOA record. Its serial grows with the plans, a second each.
    #[must_use]
    pub fn authority(&self, plan: &Plan) -> Record {
        let serial = (plan.at / 1_000) as u32;
        let first = self.servers.first().map_or_else(|| self.apex.clone(), |(server, _)| server.clone());
        let soa = SOA::new(first, self.contact.clone(), serial, REFRESH, RETRY, EXPIRE, MINIMUM);
        Record::from_rdata(self.apex.clone(), MINIMUM, RData::SOA(soa))
    }

    fn server_records(&self) -> Vec<Record> {
        let record = |(server, _): &(Name, _)| {
            Record::from_rdata(self.apex.clone(), SERVERS_TTL, RData::NS(NS(server.clone())))
        };
        self.servers.iter().map(record).collect()
    }

    /// Addresses of name servers within the zone, which nobody else could tell.
    #[must_use]
    pub fn glue(&self) -> Vec<Record> {
        let own = self.servers.iter().filter(|(server, _)| self.apex.zone_of(server));
        own.flat_map(|(server, addresses)| {
            addresses.iter().map(|address| Record::from_rdata(server.clone(), SERVERS_TTL, data(*address)))
        })
        .collect()
    }
}

/// A name of the settings, which were checked: one that DNS can't write is the root, and nobody asks for it.
fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_default();
    name.set_fqdn(true);
    name
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn address_record(name: &Name, ttl: u32, address: IpAddr, wanted: RecordType) -> Option<Record> {
    let data = data(address);
    (data.record_type() == wanted).then(|| Record::from_rdata(name.clone(), ttl, data))
}
