//! Drives the contenders of a case, in turn and round after round, and takes the accounts of each turn.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use slotway_bench::accounting::{Cpu, machine_busy_ticks, private_dirty};
use slotway_bench::backends::Backends;
use slotway_bench::failure::Failure;
use slotway_bench::load::generator::{Load, Plan, fill};
use slotway_bench::process::{Cores, Process, pause};

use crate::case::{Case, Kind};
use crate::contender::{Contender, Running};
use crate::options::Options;
use crate::prepare;
use crate::sample::{Sample, per_million};

/// Between a turn and the next: what closed connections leave to do is done.
const SETTLE: Duration = Duration::from_millis(100);
/// Before memory is read: allocators that give back late have done so.
const MEMORY_SETTLE: Duration = Duration::from_secs(2);

/// Open files that are not connections of the load.
const OTHER_FILES: u64 = 200;

/// Everything that the cases of a run share.
pub(crate) struct Bench<'a> {
    /// What was asked for.
    pub(crate) options: &'a Options,
    /// The servers.
    pub(crate) backends: &'a Backends,
    /// Configuration files and logs.
    pub(crate) dir: &'a Path,
    /// Where proxies run.
    pub(crate) cores: Cores,
    /// Where servers run.
    pub(crate) servers_cores: Cores,
    /// How many files this process may open.
    pub(crate) files: u64,
    /// Raised by Ctrl-C.
    pub(crate) stop: Arc<AtomicBool>,
    /// Key spaces that hold the keys of a workload, by its prefix.
    pub(crate) filled: HashSet<(String, &'static str)>,
}

/// A contender's rounds in a case.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The contender.
    pub(crate) name: String,
    /// One entry a round.
    pub(crate) samples: Vec<Sample>,
    /// The same asked by redis-benchmark.
    pub(crate) second: Vec<Sample>,
    /// Why there is none of them.
    pub(crate) absent: Option<String>,
}

impl Bench<'_> {
    /// Measures `case`, each contender freshly started; `progress` hears of every turn.
    pub(crate) fn run(
        &mut self,
        case: &Case,
        contenders: &[Contender],
        mut progress: impl FnMut(&str),
    ) -> Result<Vec<Rounds>, Failure> {
        prepare::servers(case, self.backends).map_err(Failure::at(&format!("{}, preparing", case.name)))?;
        let mut results = Vec::new();
        let mut running = Vec::new();
        for (index, contender) in contenders.iter().enumerate() {
            let one = self.start(case, contender)?;
            let absent = one.as_ref().err().cloned();
            results.push(Rounds { name: contender.name.clone(), absent, ..Rounds::default() });
            running.extend(one.ok().map(|one| (index, one)));
        }
        for (_, one) in &running {
            self.fill(one, case).map_err(Failure::at(&format!("{}, filling {}", case.name, one.name)))?;
        }
        let rounds = if case.kind == Kind::Idle { 1 } else { self.options.rounds };
        for round in 0..rounds {
            // Nobody is always behind the same one.
            for turn in 0..running.len() {
                let (index, one) = &running[(turn + round as usize) % running.len()];
                let place = format!("{}, round {}/{rounds}, {}", case.name, round + 1, one.name);
                progress(&place);
                self.turn(case, one, round, &mut results[*index]).map_err(Failure::at(&place))?;
                pause(SETTLE, &self.stop)?;
            }
        }
        Ok(results)
    }

    /// Starts `contender`, or says why it can't take part in `case`.
    fn start(&self, case: &Case, contender: &Contender) -> Result<Result<Running, String>, Failure> {
        if let Some(reason) = case.bars(&contender.name) {
            return Ok(Err(reason.to_owned()));
        }
        let place = format!("{}, starting {}", case.name, contender.name);
        let content = case.plan.workload.content;
        let one = contender
            .start(content, self.backends, self.dir, self.cores, &self.stop)
            .map_err(Failure::at(&place))?;
        Ok(prepare::contender(case, &one).map_or(Ok(one), Err))
    }

    fn turn(&self, case: &Case, one: &Running, round: u64, to: &mut Rounds) -> Result<(), Failure> {
        match case.kind {
            Kind::Idle => to.samples.push(self.idle(case, one)?),
            Kind::Load { requests, second_generator } => {
                let requests = self.options.requests.unwrap_or(requests);
                to.samples.push(self.load(case, one, requests, round)?);
                if second_generator && self.options.second_generator && one.address.is_some() {
                    to.second.push(self.redis_benchmark(case, one, requests)?);
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self, one: &Running, case: &Case) -> Result<(), Failure> {
        let workload = case.plan.workload;
        if self.filled.insert((one.key_space.clone(), workload.prefix)) {
            fill(one.target(self.backends, &workload), workload, None, Arc::clone(&self.stop))?;
        }
        Ok(())
    }

    fn load(&self, case: &Case, one: &Running, requests: u64, round: u64) -> Result<Sample, Failure> {
        let plan = case.plan;
        let target = one.target(self.backends, &plan.workload);
        let mut load = Load::connect(target, plan, Arc::clone(&self.stop))?;
        let warm_up = (requests / 20).max((plan.clients * plan.pipeline * 2) as u64);
        load.run(warm_up, u64::MAX - round)?;
        let before = Accounts::take(one)?;
        // The same seed for everyone: the same keys in the same order.
        let outcome = load.run(requests, round)?;
        let after = Accounts::take(one)?;
        let sample = after.since(&before, requests).with_outcome(&outcome, requests);
        let others_percent =
            Some(after.others_nanos_since(&before) / outcome.elapsed.as_nanos() as f64 * 100.0);
        Ok(Sample { others_percent, ..sample })
    }

    /// Memory before and after many clients each had one command answered and stay.
    fn idle(&self, case: &Case, one: &Running) -> Result<Sample, Failure> {
        let workload = case.plan.workload;
        let connect = |clients| {
            let plan = Plan { clients, pipeline: 1, user: None, pause: Duration::ZERO, workload };
            Load::connect(one.target(self.backends, &workload), plan, Arc::clone(&self.stop))
        };
        // What the first clients cost once is not counted.
        connect(10)?.run(1000, 0)?;
        let width = one.target(self.backends, &workload).width();
        let clients =
            self.options.idle_clients.min((self.files.saturating_sub(OTHER_FILES)) as usize / width);
        let before = self.memory(one)?;
        let load = connect(clients)?;
        let after = self.memory(one)?;
        drop(load);
        let per_client = |after: u64, before: u64| (after as f64 - before as f64) / clients as f64;
        Ok(Sample {
            idle_bytes: after.0.zip(before.0).map(|(after, before)| per_client(after, before)),
            // Behind a proxy the backends see no client; only direct ones cost them memory.
            backend_idle_bytes: one.proxy.is_none().then(|| per_client(after.1, before.1)),
            ..Sample::default()
        })
    }

    fn memory(&self, one: &Running) -> Result<(Option<u64>, u64), Failure> {
        pause(MEMORY_SETTLE, &self.stop)?;
        let proxy = one.proxy.map(private_dirty).transpose()?;
        let backends = one.backends.iter().map(|&pid| private_dirty(pid)).sum::<Result<u64, _>>()?;
        Ok((proxy, backends))
    }

    /// The GETs of `case` asked by redis-benchmark.
    fn redis_benchmark(&self, case: &Case, one: &Running, requests: u64) -> Result<Sample, Failure> {
        let Some(address) = one.address else { return Ok(Sample::default()) };
        let plan = case.plan;
        let mut command = Command::new("redis-benchmark");
        command.args([
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
            "-t",
            "get",
            "--csv",
        ]);
        let numbers = [
            ("-n", requests),
            ("-c", plan.clients as u64),
            ("-P", plan.pipeline as u64),
            ("-r", u64::from(plan.workload.keys)),
        ];
        for (flag, number) in numbers {
            command.args([flag, &number.to_string()]);
        }
        let before = Accounts::take(one)?;
        let process = Process::start("redis-benchmark", command, self.dir, Cores::All)?;
        let text = process.finish(&self.stop)?;
        let after = Accounts::take(one)?;
        let sample = Sample { generator_cpu: None, ..after.since(&before, requests) };
        Ok(with_csv(sample, &text))
    }
}

/// CPU accounts of everyone who works for a contender's requests.
struct Accounts {
    proxy: Option<Cpu>,
    backends: Cpu,
    generator: Cpu,
    machine_ticks: u64,
}

impl Accounts {
    fn take(one: &Running) -> Result<Self, Failure> {
        Ok(Self {
            proxy: one.proxy.map(|pid| Cpu::of(&[pid])).transpose()?,
            backends: Cpu::of(&one.backends)?,
            generator: Cpu::of(&[std::process::id()])?,
            machine_ticks: machine_busy_ticks()?,
        })
    }

    fn since(&self, earlier: &Self, requests: u64) -> Sample {
        let proxy = self.proxy.zip(earlier.proxy).map(|(now, then)| now.since(then));
        let sample = Sample::default().with_cpu(proxy, self.backends.since(earlier.backends), requests);
        let generator_cpu = Some(per_million(self.generator.since(earlier.generator), requests));
        Sample { generator_cpu, ..sample }
    }

    /// What processes that have no part in the measurement used.
    fn others_nanos_since(&self, earlier: &Self) -> f64 {
        let busy =
            (self.machine_ticks - earlier.machine_ticks) as f64 * 1e9 / clock_ticks_per_second() as f64;
        let ours = self.proxy.zip(earlier.proxy).map_or(0, |(now, then)| now.since(then).nanos)
            + self.backends.since(earlier.backends).nanos
            + self.generator.since(earlier.generator).nanos;
        (busy - ours as f64).max(0.0)
    }
}

/// Adds the line `"GET","rps","avg","min","p50","p95","p99","max"` (milliseconds) of redis-benchmark.
fn with_csv(sample: Sample, text: &str) -> Sample {
    let line = text.lines().rfind(|line| line.starts_with("\"GET\"")).unwrap_or_default();
    let field =
        |index| line.split(',').nth(index).and_then(|word: &str| word.trim_matches('"').parse::<f64>().ok());
    let micros = |index| field(index).map(|millis| millis * 1000.0);
    Sample { per_second: field(1), p50_us: micros(4), p99_us: micros(6), ..sample }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_redis_benchmark_are_found_behind_its_warnings() {
        let text = "WARNING: Could not fetch server CONFIG\n\
            \"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"GET\",\"80000.00\",\"0.3\",\"0.1\",\"0.303\",\"0.4\",\"0.551\",\"1.0\"\n";
        let sample = with_csv(Sample::default(), text);
        assert_eq!(
            (sample.per_second, sample.p50_us, sample.p99_us),
            (Some(80_000.0), Some(303.0), Some(551.0))
        );
    }
}
