//! Metrics in Prometheus' text form, with MetalLB's names.
//!
//! ```text
//!  program's metrics.rs ──register──▶ Registry ──encode──▶ GET /metrics over HTTPS
//!                                                             │ bearer token
//!                                     apiserver ◀─TokenReview, SubjectAccessReview (get /metrics), remembered 60 s
//! ```
//! Keep all families of a program in one struct and pass it on; there are no statics.

mod access;
mod configuration;
mod process;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Metric;

pub use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

pub use configuration::ConfigurationMetrics;
pub use server::serve_https;

/// A counter whose name is shown as it was given, as Go's client does (OpenMetrics would append `_total`).
#[derive(Clone, Debug, Default)]
pub struct GoCounter(Arc<AtomicU64>);

impl GoCounter {
    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds `count`.
    pub fn inc_by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TypedMetric for GoCounter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for GoCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        // The encoder appends the suffix only to what it is told is a counter.
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// The metrics of a program: fill it, then hand it to [`serve_https`].
#[derive(Debug)]
pub struct Registry {
    inner: prometheus_client::registry::Registry,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that holds the `process_*` metrics.
    pub fn new() -> Self {
        let mut inner = prometheus_client::registry::Registry::default();
        inner.register_collector(Box::new(process::ProcessCollector));
        Self { inner }
    }

    /// Adds a metric or a family of metrics under exactly this name. Keep a clone to change it later.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.inner.register(name, help.trim_end_matches('.'), metric);
    }

    /// Adds a counter without labels and returns it.
    pub fn counter(&mut self, name: &str, help: &str) -> GoCounter {
        let counter = GoCounter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// Adds a gauge without labels and returns it.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// Everything in Prometheus' text form 0.0.4; the series of a family are sorted.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode_registry(&mut text, &self.inner) {
            tracing::error!(event = "metrics", "a metric cannot be shown: {error}");
        }
        sorted_series(&text)
    }
}

/// Sorts the lines of counters and gauges; buckets of histograms have an order of their own.
fn sorted_series(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut series: Vec<&str> = Vec::new();
    let mut sortable = false;
    let flush = |series: &mut Vec<&str>, sortable: bool, output: &mut String| {
        if sortable {
            series.sort_unstable();
        }
        for line in series.drain(..) {
            output.push_str(line);
            output.push('\n');
        }
    };
    for line in text.lines() {
        if line.starts_with('#') {
            flush(&mut series, sortable, &mut output);
            sortable = line.ends_with(" counter") || line.ends_with(" gauge");
            output.push_str(line);
            output.push('\n');
        } else {
            series.push(line);
        }
    }
    flush(&mut series, sortable, &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
    struct Ip {
        ip: String,
    }

    fn ip(text: &str) -> Ip {
        Ip { ip: text.to_owned() }
    }

    #[test]
    fn counters_keep_the_name_they_were_given() {
        let mut registry = Registry::new();
        registry.counter("metallb_k8s_client_updates_total", "Updates").inc();
        let requests = Family::<Ip, GoCounter>::default();
        registry.register("metallb_layer2_requests_received", "Requests.", requests.clone());
        requests.get_or_create(&ip("192.0.2.10")).inc_by(2);
        let text = registry.encode();
        assert!(text.contains("# TYPE metallb_layer2_requests_received counter\n"), "{text}");
        assert!(text.contains("\nmetallb_layer2_requests_received{ip=\"192.0.2.10\"} 2\n"), "{text}");
        assert!(text.contains("\nmetallb_k8s_client_updates_total 1\n"), "{text}");
    }

    #[test]
    fn series_are_sorted_and_disappear_when_removed() {
        let mut registry = Registry::new();
        let announced = Family::<Ip, Gauge>::default();
        registry.register("metallb_speaker_announced", "Announced", announced.clone());
        for text in ["192.0.2.3", "192.0.2.1", "192.0.2.2"] {
            announced.get_or_create(&ip(text)).set(1);
        }
        announced.remove(&ip("192.0.2.2"));
        let text = registry.encode();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("metallb_speaker_announced")).collect();
        assert_eq!(
            lines,
            ["metallb_speaker_announced{ip=\"192.0.2.1\"} 1", "metallb_speaker_announced{ip=\"192.0.2.3\"} 1"]
        );
    }

    #[test]
    fn buckets_of_histograms_keep_their_order() {
        let mut registry = Registry::new();
        let histogram = Histogram::new([5.0, 10.0, 50.0]);
        registry.register("reconcile_seconds", "Reconciles", histogram.clone());
        histogram.observe(7.0);
        let text = registry.encode();
        let bounds: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("le=\""))
            .filter_map(|(_, rest)| rest.split('"').next())
            .collect();
        assert_eq!(bounds, ["5.0", "10.0", "50.0", "+Inf"]);
    }

    #[test]
    fn the_process_itself_is_measured() {
        let text = Registry::new().encode();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0, "{line}");
        }
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
    }
}
