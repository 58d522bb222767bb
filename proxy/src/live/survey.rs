//! ◆ Goes to every node and asks: who it is, what it takes the cluster for, and what each tenant's user may do there.

use std::collections::BTreeSet;
use std::io;
use std::slice;
use std::sync::Arc;

use tokio::runtime::Builder;

use super::expected::{Expected, Verdict, askable, words};
use super::node::{Node, NodeError};
use super::report::Report;
use crate::backend::connect::Connector;
use crate::backend::dial::Dialer;
use crate::backend::handshake::ServerIdentity;
use crate::backend::lane::LoginId;
use crate::backend::logins::Logins;
use crate::cluster::slot::SLOT_COUNT;
use crate::cluster::slot_map::{Endpoint, Shard};
use crate::cluster::topology::{TopologyError, parse_shards, parse_slots, served_slots, static_map};
use crate::command::learned;
use crate::command::spec::{Flags, Spec};
use crate::command::table::Table;
use crate::config::settings::{BackendKind, ClusterSettings, Settings};
use crate::dns::resolver::Resolver;
use crate::metrics::Metrics;
use crate::resp::value::Value;

/// The oldest server whose ACL has all that the plan uses.
const OLDEST: u32 = 7;

/// Asks every node of every cluster that these settings name.
///
/// # Errors
/// Where there is no way to ask: no runtime, no resolver.
pub fn run(settings: &Settings) -> io::Result<Report> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let resolver = Resolver::new(&settings.dns, runtime.handle().clone()).map_err(io::Error::other)?;
    let logins = Arc::<Logins>::default();
    let table = Table::builtin();
    let mut report = Report::default();
    for cluster in &settings.clusters {
        if settings.clusters.len() > 1 {
            report.lines.push(format!("cluster {}", cluster.name));
        }
        let dialer = Dialer::load(cluster.tls.as_ref(), &Arc::new(Metrics::new(0)))?;
        let connector = Connector::new(cluster.clone(), resolver.clone(), dialer, logins.clone());
        let expected = Expected::all(settings, cluster, &table);
        let survey = Survey { cluster, connector, logins: logins.clone(), expected };
        runtime.block_on(survey.go(&mut report));
    }
    Ok(report)
}

struct Survey<'a> {
    cluster: &'a ClusterSettings,
    connector: Connector,
    logins: Arc<Logins>,
    expected: Vec<Expected<'a>>,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Primary,
    Replica,
}

impl Survey<'_> {
    fn over_tls(&self) -> bool {
        self.cluster.tls.is_some()
    }

    async fn go(&self, report: &mut Report) {
        let shards = match &self.cluster.backend {
            BackendKind::Cluster { seeds } => self.find(seeds, report).await,
            BackendKind::Standalone { endpoint, .. } => static_map(slice::from_ref(endpoint)),
            BackendKind::Shards { endpoints, .. } => static_map(endpoints),
        };
        for shard in &shards {
            self.look_at(&shard.primary, Role::Primary, &shards, report).await;
            for replica in &shard.replicas {
                self.look_at(replica, Role::Replica, &shards, report).await;
            }
        }
    }

    /// What the first seed says that says anything; of the others whether they answer.
    async fn find(&self, seeds: &[Endpoint], report: &mut Report) -> Vec<Shard> {
        let mut found: Option<Vec<Shard>> = None;
        for seed in seeds {
            let asked = async {
                topology(&mut self.connect(seed, LoginId::PROXY).await?, seed, self.over_tls()).await
            };
            match asked.await {
                Ok(Ok(shards)) => found = found.or(Some(shards)),
                Ok(Err(error)) => report.problem(seed, format_args!("tells no topology: {error}")),
                Err(error) => report.problem(seed, format_args!("cannot be reached: {error}")),
            }
        }
        let shards = found.unwrap_or_default();
        let served = served_slots(&shards);
        if served != SLOT_COUNT && !shards.is_empty() {
            let what = format_args!("{served} of {SLOT_COUNT} slots are served");
            report.problem("cluster", what);
        }
        shards
    }

    async fn look_at(&self, endpoint: &Endpoint, role: Role, shards: &[Shard], report: &mut Report) {
        let looked = self.try_look_at(endpoint, role, shards, report).await;
        if let Err(error) = looked {
            report.problem(endpoint, format_args!("cannot be reached: {error}"));
        }
    }

    async fn try_look_at(
        &self,
        endpoint: &Endpoint,
        role: Role,
        shards: &[Shard],
        report: &mut Report,
    ) -> Result<(), NodeError> {
        let mut node = self.connect(endpoint, LoginId::PROXY).await?;
        identify(&mut node, endpoint, role, report).await?;
        if matches!(self.cluster.backend, BackendKind::Cluster { .. }) {
            match topology(&mut node, endpoint, self.over_tls()).await? {
                Ok(view) if layout(&view) == layout(shards) => {}
                Ok(_) => report.problem(endpoint, "sees the cluster otherwise than the first seed"),
                Err(error) => report.problem(endpoint, format_args!("tells no topology: {error}")),
            }
        }
        if self.expected.is_empty() {
            return Ok(());
        }
        let commands = match learned::read(&node.ask(&[b"COMMAND"]).await?) {
            Ok(commands) => commands,
            Err(error) => {
                report.problem(endpoint, format_args!("does not tell its commands: {error}"));
                return Ok(());
            }
        };
        for expected in &self.expected {
            self.look_at_user(endpoint, &mut node, expected, &commands, report).await?;
        }
        Ok(())
    }

    async fn connect(&self, endpoint: &Endpoint, login: LoginId) -> Result<Node, NodeError> {
        Node::connect(&self.connector, endpoint, login, self.cluster.command_timeout).await
    }

    /// What one tenant's user may do at one node.
    async fn look_at_user(
        &self,
        endpoint: &Endpoint,
        node: &mut Node,
        expected: &Expected<'_>,
        commands: &[Spec],
        report: &mut Report,
    ) -> Result<(), NodeError> {
        let before = report.problems;
        let place = format!("{endpoint}: tenant {}", expected.tenant);
        let user = expected.user.login.user.as_str();
        compare_user(&place, node, expected, report).await?;
        let login = self.logins.number(&expected.user.login);
        match self.connect(endpoint, login).await {
            Err(NodeError::Connect(error)) if error.is_tenants() => {
                report.problem(&place, format_args!("the user {user} cannot log in: {error}"));
            }
            Err(error) => return Err(error),
            Ok(mut own) => {
                let dry = DryRun { node, user };
                if !dry.try_all(&place, expected, commands, report).await? {
                    report
                        .note(&place, "ACL DRYRUN is not the proxy's to say: only harmless reads were tried");
                    try_reads(&place, &mut own, expected, commands, report).await?;
                }
            }
        }
        if report.problems == before {
            report.note(&place, format_args!("ok, the user {user} may what the plan says"));
        }
        Ok(())
    }
}

/// Who it is. The ACL of servers before 7 knows less than the plan says.
async fn identify(
    node: &mut Node,
    endpoint: &Endpoint,
    role: Role,
    report: &mut Report,
) -> Result<(), NodeError> {
    let answer = node.ask(&[b"INFO", b"server"]).await?;
    let info = Value::parse(&answer).ok().and_then(|info| info.text());
    let Some(server) = info.and_then(|info| ServerIdentity::from_info(&String::from_utf8_lossy(info))) else {
        report.problem(endpoint, "does not tell its version: INFO is refused");
        return Ok(());
    };
    let role = if role == Role::Primary { "primary" } else { "replica" };
    let major = server.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST) {
        let what = format_args!("{role}, {} {}: needs {OLDEST}.0 or later", server.name, server.version);
        report.problem(endpoint, what);
    } else {
        report.note(endpoint, format_args!("{role}, {} {}", server.name, server.version));
    }
    Ok(())
}

async fn topology(
    node: &mut Node,
    endpoint: &Endpoint,
    over_tls: bool,
) -> Result<Result<Vec<Shard>, TopologyError>, NodeError> {
    let shards = parse_shards(&node.ask(&[b"CLUSTER", b"SHARDS"]).await?, &endpoint.host, over_tls);
    if !matches!(shards, Err(TopologyError::Refused(_))) {
        return Ok(shards);
    }
    Ok(parse_slots(&node.ask(&[b"CLUSTER", b"SLOTS"]).await?, &endpoint.host))
}

/// Who serves what, in an order of its own.
fn layout(shards: &[Shard]) -> BTreeSet<(String, String, BTreeSet<String>)> {
    let replicas = |shard: &Shard| shard.replicas.iter().map(Endpoint::to_string).collect();
    shards
        .iter()
        .map(|shard| (shard.primary.to_string(), format!("{:?}", shard.slots), replicas(shard)))
        .collect()
}

/// Compares the user's patterns with the plan's, where the proxy's own user may ask for them.
async fn compare_user(
    place: &str,
    node: &mut Node,
    expected: &Expected<'_>,
    report: &mut Report,
) -> Result<(), NodeError> {
    let user = expected.user.login.user.as_str();
    let answer = node.ask(&[b"ACL", b"GETUSER", user.as_bytes()]).await?;
    let Ok(told) = Value::parse(&answer) else { return Ok(()) };
    match &told {
        Value::Error(_) => return Ok(()),
        Value::Null => {
            report.problem(place, format_args!("there is no user {user}: apply `slotway tenants plan`"));
            return Ok(());
        }
        _ => {}
    }
    let is_on = told.field("flags").and_then(Value::list).is_some_and(|flags| {
        flags.iter().any(|flag| flag.text() == Some(b"on"))
            && !flags.iter().any(|flag| flag.text() == Some(b"nopass"))
    });
    if !is_on {
        report.problem(place, format_args!("the user {user} is off, or needs no password"));
    }
    for (field, planned) in [("keys", &expected.rights.keys), ("channels", &expected.rights.channels)] {
        let text = told.field(field).and_then(Value::text).unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let has: BTreeSet<&str> = text.split_ascii_whitespace().collect();
        if has != planned.iter().map(String::as_str).collect() {
            report.problem(
                place,
                format_args!("{field} of the user {user} are \"{text}\", not {}", planned.join(" ")),
            );
        }
    }
    let selectors = told.field("selectors").and_then(Value::list).unwrap_or_default();
    if !selectors.is_empty() {
        report.problem(place, format_args!("the user {user} has selectors, which the plan does not give"));
    }
    Ok(())
}

/// ACL DRYRUN: what the server would say to another user, without doing anything.
struct DryRun<'a> {
    node: &'a mut Node,
    user: &'a str,
}

impl DryRun<'_> {
    /// Every command that the server has, and names inside and outside. False where that can't be asked.
    async fn try_all(
        self,
        place: &str,
        expected: &Expected<'_>,
        commands: &[Spec],
        report: &mut Report,
    ) -> Result<bool, NodeError> {
        let asked = askable(commands);
        let own = expected.inside.first().map_or("", String::as_str);
        let head = |words: Vec<_>| [vec![&b"ACL"[..], b"DRYRUN", self.user.as_bytes()], words].concat();
        let questions: Vec<_> = asked.iter().map(|spec| head(words(spec, own))).collect();
        let answers = self.node.ask_all(&questions).await?;
        if answers.first().is_some_and(|answer| answer.starts_with(b"-NOPERM")) {
            return Ok(false);
        }
        let verdicts = asked.iter().zip(answers.iter().map(|answer| dry_run(answer)));
        compare_commands(place, expected, verdicts, report);
        let names = expected.inside.iter().map(|name| (name, true));
        let names: Vec<_> = names.chain(expected.outside.iter().map(|name| (name, false))).collect();
        let questions = names.iter().flat_map(|(name, _)| {
            [head(vec![b"GET", name.as_bytes()]), head(vec![b"SET", name.as_bytes(), b""])]
        });
        let answers = self.node.ask_all(&questions.collect::<Vec<_>>()).await?;
        let verdicts = names.iter().zip(answers.chunks(2)).map(|((name, is_own), answers)| {
            let denied = |answer: &Vec<u8>| dry_run(answer) == Verdict::NoName;
            let allowed = |answer: &Vec<u8>| dry_run(answer) == Verdict::Allowed;
            (*name, *is_own, answers.iter().any(denied), answers.iter().any(allowed))
        });
        compare_names(place, verdicts, report);
        Ok(true)
    }
}

fn dry_run(answer: &[u8]) -> Verdict {
    Value::parse(answer).map_or(Verdict::Unknown, |answer| Verdict::of_dry_run(&answer))
}

fn compare_commands<'s>(
    place: &str,
    expected: &Expected<'_>,
    verdicts: impl Iterator<Item = (&'s &'s Spec, Verdict)>,
    report: &mut Report,
) {
    let (mut missing, mut excess) = (Vec::new(), Vec::new());
    for (spec, verdict) in verdicts {
        match (expected.gives(spec), verdict) {
            (true, Verdict::NoCommand) => missing.push(spec.name.to_string()),
            (false, Verdict::Allowed | Verdict::NoName) => excess.push(spec.name.to_string()),
            _ => {}
        }
    }
    let user = &expected.user.login.user;
    report.problem_of(place, &format!("the user {user} may not say what the plan gives"), &missing);
    report.problem_of(place, &format!("the user {user} may say what the plan does not give"), &excess);
}

/// Of each name whether it is its own, and whether anything was denied and anything allowed there.
fn compare_names<'n>(
    place: &str,
    verdicts: impl Iterator<Item = (&'n String, bool, bool, bool)>,
    report: &mut Report,
) {
    for (name, is_own, denied, allowed) in verdicts {
        match is_own {
            true if denied => report.problem(place, format_args!("its own key {name} is denied")),
            false if allowed => {
                report.problem(place, format_args!("the key {name}, not its own, is allowed"))
            }
            _ => {}
        }
    }
}

/// Asks as the tenant's user itself: reads of keys that there are hardly, and what tells of all keys. Nothing is
/// written, and nothing runs for long.
async fn try_reads(
    place: &str,
    own: &mut Node,
    expected: &Expected<'_>,
    commands: &[Spec],
    report: &mut Report,
) -> Result<(), NodeError> {
    let is_harmless = |spec: &Spec| {
        let reads = spec.flags.contains(Flags::READONLY) && spec.facts.triple == [1, 1, 1];
        let reads = reads && !spec.flags.contains(Flags::BLOCKING);
        reads
            || matches!(
                &*spec.name,
                "dbsize" | "randomkey" | "scan" | "config|get" | "client|list" | "function|list"
            )
    };
    let asked: Vec<_> = askable(commands).into_iter().filter(|spec| is_harmless(spec)).collect();
    let name = expected.inside.first().map_or("", String::as_str);
    let questions: Vec<_> = asked.iter().map(|spec| words(spec, name)).collect();
    let answers = own.ask_all(&questions).await?;
    compare_commands(place, expected, asked.iter().zip(answers.iter().map(|answer| call(answer))), report);
    let names = expected.inside.iter().map(|name| (name, true));
    let names: Vec<_> = names.chain(expected.outside.iter().map(|name| (name, false))).collect();
    let questions: Vec<_> = names.iter().map(|(name, _)| vec![&b"GET"[..], name.as_bytes()]).collect();
    let answers = own.ask_all(&questions).await?;
    let verdicts = names.iter().zip(&answers).map(|((name, is_own), answer)| {
        let verdict = call(answer);
        (*name, *is_own, verdict == Verdict::NoName, verdict == Verdict::Allowed)
    });
    compare_names(place, verdicts, report);
    Ok(())
}

fn call(answer: &[u8]) -> Verdict {
    Value::parse(answer).map_or(Verdict::Unknown, |answer| Verdict::of_call(&answer))
}
