//! What a round of a contender gave, and how rounds become one figure.

use std::time::Duration;

use serde::Serialize;
use slotway_bench::accounting::Cpu;
use slotway_bench::load::generator::Outcome;

use crate::case::Measure;

/// One round under load, or one measurement of idle memory: what does not apply is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Requests answered a second.
    pub(crate) per_second: Option<f64>,
    /// Median latency in microseconds.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile in microseconds.
    pub(crate) p99_us: Option<f64>,
    /// The proxy's CPU seconds a million requests.
    pub(crate) proxy_cpu: Option<f64>,
    /// Of these in user mode.
    pub(crate) proxy_user: Option<f64>,
    /// Of these in the kernel.
    pub(crate) proxy_system: Option<f64>,
    /// CPU seconds a million requests of all its backends.
    pub(crate) backend_cpu: Option<f64>,
    /// The generator's CPU seconds a million requests: what asking itself costs.
    pub(crate) generator_cpu: Option<f64>,
    /// CPU that the rest of the machine used meanwhile, in percent of one core: much of it means that the
    /// round was disturbed.
    pub(crate) others_percent: Option<f64>,
    /// The proxy's private dirty bytes a client.
    pub(crate) idle_bytes: Option<f64>,
    /// The backends' private dirty bytes a client.
    pub(crate) backend_idle_bytes: Option<f64>,
}

/// A field of [`Sample`], for what is done to all of them alike.
pub(crate) type Field = fn(&mut Sample) -> &mut Option<f64>;

const FIELDS: [Field; 11] = [
    |s| &mut s.per_second,
    |s| &mut s.p50_us,
    |s| &mut s.p99_us,
    |s| &mut s.proxy_cpu,
    |s| &mut s.proxy_user,
    |s| &mut s.proxy_system,
    |s| &mut s.backend_cpu,
    |s| &mut s.generator_cpu,
    |s| &mut s.others_percent,
    |s| &mut s.idle_bytes,
    |s| &mut s.backend_idle_bytes,
];

impl Sample {
    /// Adds what the load generator saw of `requests` requests.
    pub(crate) fn with_outcome(self, outcome: &Outcome, requests: u64) -> Self {
        let micros = |latency: Duration| Some(latency.as_secs_f64() * 1e6);
        Self {
            per_second: Some(requests as f64 / outcome.elapsed.as_secs_f64()),
            p50_us: micros(outcome.latencies.quantile(0.50)),
            p99_us: micros(outcome.latencies.quantile(0.99)),
            ..self
        }
    }

    /// Adds the CPU time that `requests` requests took.
    pub(crate) fn with_cpu(self, proxy: Option<Cpu>, backends: Cpu, requests: u64) -> Self {
        let proxy_cpu = proxy.map(|cpu| per_million(cpu, requests));
        let user_share = proxy.map(Cpu::user_share);
        let part = |share: Option<f64>| proxy_cpu.zip(share).map(|(cpu, share)| cpu * share);
        Self {
            proxy_cpu,
            proxy_user: part(user_share),
            proxy_system: part(user_share.map(|share| 1.0 - share)),
            backend_cpu: Some(per_million(backends, requests)),
            ..self
        }
    }

    /// The figure that a goal speaks of.
    pub(crate) fn measure(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::ProxyCpu => self.proxy_cpu,
            Measure::BackendCpu => self.backend_cpu,
            Measure::IdleBytes => self.idle_bytes,
        }
    }

    /// Each figure's own median.
    pub(crate) fn median_of(samples: &[Self]) -> Self {
        let mut result = Self::default();
        for field in FIELDS {
            let values = samples.iter().filter_map(|sample| *field(&mut { *sample })).collect();
            *field(&mut result) = median(values);
        }
        result
    }
}

/// CPU seconds a million requests.
pub(crate) fn per_million(cpu: Cpu, requests: u64) -> f64 {
    cpu.nanos as f64 / 1e9 * 1e6 / requests as f64
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        Some(upper)
    } else {
        values.get(middle - 1).map(|lower| (lower + upper) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let sample = |cpu, rate| Sample { proxy_cpu: Some(cpu), per_second: Some(rate), ..Sample::default() };
        let median = Sample::median_of(&[sample(3.0, 10.0), sample(1.0, 30.0), sample(2.0, 20.0)]);
        assert_eq!(median, sample(2.0, 20.0));
        assert_eq!(super::median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(super::median(Vec::new()), None);
    }

    #[test]
    fn cpu_is_seconds_a_million_requests() {
        let cpu = Cpu { nanos: 2_000_000_000, user_ticks: 50, system_ticks: 150 };
        let sample = Sample::default().with_cpu(Some(cpu), Cpu::default(), 200_000);
        assert_eq!(sample.proxy_cpu, Some(10.0));
        assert_eq!(sample.proxy_user, Some(2.5));
        assert_eq!(sample.proxy_system, Some(7.5));
    }
}
