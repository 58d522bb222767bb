//! A fleet that is played: entries with caps, pools of clients that stay, resolvers that cache, proxies that report, plan and
//! move by the very code of production. A tick is a second.

use std::collections::HashSet;
use std::net::IpAddr;

use slotway::config::fleet::{EntrySettings, FleetSettings};
use slotway::config::publishers::PublisherSettings;
use slotway::entry::group::{Group, Named, Teller};
use slotway::entry::health::Tries;
use slotway::entry::mover::{Mover, concerned};
use slotway::entry::plan::Plan;
use slotway::entry::report::{Health, Load, Report};
use slotway::entry::roster::Roster;
use slotway::entry::{answer, controller};

use crate::dice::Dice;

/// What a world is made of.
#[derive(Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) entries: usize,
    pub(crate) proxies: usize,
    /// What all clients want together, of all caps.
    pub(crate) demand: f64,
    /// Whether clients take MOVING.
    pub(crate) moves: bool,
    /// Of the reports so many are lost.
    pub(crate) loss: f64,
}

/// A pool of connections, all at one entry.
struct Pool {
    wanted: f64,
    carried: f64,
    connections: usize,
    /// `None`: it connects with the next tick.
    entry: Option<usize>,
    resolver: usize,
    takes_moves: bool,
}

struct Resolver {
    ttl: u64,
    answer: Vec<usize>,
    until: u64,
}

/// One proxy, with what it knows.
pub(crate) struct Proxy {
    id: String,
    pub(crate) plan: Plan,
    roster: Roster,
    mover: Mover,
    tries: Vec<Tries>,
    health: Vec<Health>,
}

pub(crate) struct World {
    pub(crate) fleet: FleetSettings,
    pub(crate) alive: Vec<bool>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) now: u64,
    pub(crate) told: Vec<(u64, usize)>,
    recipe: Recipe,
    pools: Vec<Pool>,
    resolvers: Vec<Resolver>,
    hash: Vec<(String, Vec<u8>)>,
    dice: Dice,
}

pub(crate) const CAP: u64 = 1_000_000;
const POOLS: usize = 12;

impl World {
    pub(crate) fn new(recipe: Recipe, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let entry = |number: usize| EntrySettings {
            id: number.to_string(),
            addresses: vec![IpAddr::from([192, 0, 2, number as u8 + 1])],
            host: None,
            cap: CAP * 8,
            max_connections: None,
            drain: false,
            listen: Vec::new(),
        };
        let fleet = FleetSettings {
            name: "redis.example.com".to_owned(),
            port: 6379,
            entries: (0..recipe.entries).map(entry).collect(),
            low_watermark: 70,
            high_watermark: 90,
            proxy_protocol: Vec::new(),
            publishers: PublisherSettings::default(),
            responder: None,
        };
        let weights: Vec<_> = (0..recipe.entries * POOLS).map(|_| dice.heavy()).collect();
        let whole: f64 = weights.iter().sum();
        let pools = weights.iter().map(|weight| Pool {
            wanted: weight / whole * recipe.demand * (CAP * recipe.entries as u64) as f64,
            carried: 0.0,
            connections: 2 + dice.below(7) as usize,
            // All begin at the same one.
            entry: Some(0),
            resolver: dice.below(4) as usize,
            takes_moves: recipe.moves,
        });
        let pools = pools.collect();
        let ttls = [15, 15, 15, 60];
        Self {
            alive: vec![true; recipe.entries],
            proxies: (0..recipe.proxies).map(|number| Proxy::new(number, recipe.entries)).collect(),
            now: 1_000_000,
            told: Vec::new(),
            recipe,
            pools,
            resolvers: ttls.iter().map(|ttl| Resolver { ttl: *ttl, answer: Vec::new(), until: 0 }).collect(),
            hash: Vec::new(),
            dice,
            fleet,
        }
    }

    /// What each entry carries, of its cap.
    pub(crate) fn carried(&self) -> Vec<f64> {
        let mut carried = vec![0.0; self.fleet.entries.len()];
        for pool in &self.pools {
            if let Some(entry) = pool.entry {
                carried[entry] += pool.carried / CAP as f64;
            }
        }
        carried
    }

    pub(crate) fn connections(&self, entry: usize) -> usize {
        self.pools.iter().filter(|pool| pool.entry == Some(entry)).map(|pool| pool.connections).sum()
    }

    /// The hash of reports is gone.
    pub(crate) fn delete_hash(&mut self) {
        self.hash.clear();
    }

    /// A proxy begins anew, and knows nothing.
    pub(crate) fn restart(&mut self, proxy: usize) {
        self.proxies[proxy] = Proxy::new(proxy, self.fleet.entries.len());
    }

    /// The answer that a resolver has now.
    pub(crate) fn asked(&mut self, resolver: usize) -> Vec<usize> {
        let (plan, dice) = (&self.proxies[0].plan, &mut self.dice);
        let own = &mut self.resolvers[resolver];
        if self.now >= own.until {
            // Before there is a plan the responder has all alike, and publishers say nothing.
            own.answer = match plan.entries.len() {
                0 => (0..self.fleet.entries.len()).collect(),
                _ => answer::choose(plan, 4, |below| dice.below(u64::from(below)) as u32),
            };
            own.until = self.now + own.ttl * 1_000;
        }
        own.answer.clone()
    }

    pub(crate) fn tick(&mut self) {
        self.now += 1_000;
        self.connect();
        self.carry();
        self.report();
        for proxy in 0..self.proxies.len() {
            self.plan(proxy);
            // A look takes some seconds; proxies do not look at the same time.
            if (self.now / 1_000 + proxy as u64).is_multiple_of(3) {
                self.relieve(proxy);
            }
        }
    }

    /// Pools whose entry died connect again, by what their resolver says; now and then one does so by itself.
    fn connect(&mut self) {
        for number in 0..self.pools.len() {
            let leaves = self.dice.chance(0.001);
            let pool = &mut self.pools[number];
            if pool.entry.is_some_and(|entry| !self.alive[entry]) || leaves {
                pool.entry = None;
            }
            if pool.entry.is_none() {
                let resolver = pool.resolver;
                let answer = self.asked(resolver);
                assert!(!answer.is_empty(), "the name resolves to nothing");
                let chosen = answer.get(self.dice.below(answer.len() as u64) as usize).copied();
                self.pools[number].entry = chosen.filter(|entry| self.alive[*entry]);
            }
        }
    }

    /// An entry at its cap carries a part of what each of its pools wants.
    fn carry(&mut self) {
        let mut wanted = vec![0.0; self.fleet.entries.len()];
        for pool in &self.pools {
            if let Some(entry) = pool.entry {
                wanted[entry] += pool.wanted;
            }
        }
        for pool in &mut self.pools {
            let part = pool.entry.map_or(0.0, |entry| (CAP as f64 / wanted[entry]).min(1.0));
            pool.carried = pool.wanted * part;
        }
    }

    /// What of a pool is at a proxy: balancers spread its connections.
    fn share(&self, pool: usize, proxy: usize) -> (usize, f64) {
        let (pool, proxies) = (&self.pools[pool], self.proxies.len());
        let connections = (pool.connections + proxy) / proxies;
        (connections, pool.carried * connections as f64 / pool.connections as f64)
    }

    fn report(&mut self) {
        for number in 0..self.proxies.len() {
            let report = self.words(number);
            if !self.dice.chance(self.recipe.loss) {
                self.hash.retain(|(proxy, _)| *proxy != report.proxy);
                self.hash.push((report.proxy.clone(), report.encode().into_bytes()));
            }
        }
    }

    fn words(&mut self, number: usize) -> Report {
        let alive = &self.alive;
        let proxy = &mut self.proxies[number];
        for (entry, tries) in proxy.tries.iter_mut().enumerate() {
            proxy.health[entry] = tries.note(alive[entry]);
        }
        let entries = (0..self.fleet.entries.len()).map(|entry| {
            let mut load = Load { health: self.proxies[number].health[entry], ..Load::default() };
            for pool in (0..self.pools.len()).filter(|pool| self.pools[*pool].entry == Some(entry)) {
                let (connections, bytes) = self.share(pool, number);
                load.connections += connections as u64;
                load.sent += bytes as u64;
            }
            (entry.to_string(), load)
        });
        let entries = entries.collect();
        Report { proxy: self.proxies[number].id.clone(), at: self.now, drains: false, entries }
    }

    fn plan(&mut self, number: usize) {
        let own = self.words(number);
        let (now, hash) = (self.now, self.hash.clone());
        let proxy = &mut self.proxies[number];
        proxy.roster.take(hash, now);
        let mut reports = proxy.roster.fresh(&proxy.id, now);
        reports.push(own);
        reports.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        proxy.plan = controller::step(&self.fleet, &proxy.plan, &reports, now);
    }

    fn relieve(&mut self, number: usize) {
        let plan = self.proxies[number].plan.clone();
        let entries: HashSet<_> = concerned(&plan).into_iter().collect();
        if entries.is_empty() {
            return;
        }
        let group = |pool: usize| {
            let entry = self.pools[pool].entry.map(|entry| entry.to_string())?;
            let entry = entries.get(entry.as_str())?.clone();
            let (connections, bytes) = self.share(pool, number);
            let teller = Teller { key: pool as u32, generation: 0, named: Named::Address };
            let [high, low] = (pool as u16).to_be_bytes();
            let mut group = Group::new((entry, [10, 0, high, low].into(), "lib".into(), None));
            group.teller = self.pools[pool].takes_moves.then_some(teller);
            (group.connections, group.bytes) = (connections, (bytes * 2.0) as u64);
            (connections > 0).then_some(group)
        };
        let groups = (0..self.pools.len()).filter_map(group).collect();
        let (fleet, dice) = (&self.fleet, &mut self.dice);
        let proxy = &mut self.proxies[number];
        let me = (fleet, proxy.id.as_str());
        let orders = proxy.mover.decide(me, &plan, vec![groups], 2_000, self.now, |below| dice.below(below));
        for (_, teller, push) in orders.tell {
            let text = String::from_utf8(push).expect("text");
            let target = (0..fleet.entries.len())
                .find(|entry| text.contains(&format!("\r\n192.0.2.{}:6379", entry + 1)))
                .expect("an entry of the fleet");
            let from = self.pools[teller.key as usize].entry.expect("it is connected");
            self.told.push((self.now, from));
            self.pools[teller.key as usize].entry = Some(target);
        }
    }
}

impl Proxy {
    fn new(number: usize, entries: usize) -> Self {
        Self {
            id: format!("proxy-{number}"),
            plan: Plan::default(),
            roster: Roster::default(),
            mover: Mover::default(),
            tries: vec![Tries::default(); entries],
            health: vec![Health::Unknown; entries],
        }
    }
}
