//! Every metric's name, unit and help, in one place.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The service's own metrics; HTTP and process metrics come from actix-web-prom, the
/// audit's from its actor. No label has unbounded values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `portcullis_logins_total{result}`: `success`, `denied`, `error`.
    pub logins: IntCounterVec,
    /// `portcullis_tokens_issued_total{use}`: `access`, `refresh`.
    pub tokens_issued: IntCounterVec,
    /// `portcullis_tokens_refused_total{reason}`: `expired`, `revoked`, `invalid`, `reused`, `missing`.
    pub tokens_refused: IntCounterVec,
    /// `portcullis_rbac_cache_hits_total`.
    pub rbac_hits: IntCounter,
    /// `portcullis_rbac_cache_misses_total`.
    pub rbac_misses: IntCounter,
    /// `portcullis_rbac_load_seconds`: how long a user's grants take to load.
    pub rbac_load_seconds: Histogram,
    /// `portcullis_database_pool_connections`.
    pub pool_connections: IntGauge,
    /// `portcullis_database_pool_idle`.
    pub pool_idle: IntGauge,
    /// `portcullis_change_feed_failures_total`: polls that failed.
    pub feed_failures: IntCounter,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// A name is taken in that registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            logins: counters(registry, "logins_total", "Sign-ins by result", "result")?,
            tokens_issued: counters(registry, "tokens_issued_total", "Tokens issued by use", "use")?,
            tokens_refused: counters(registry, "tokens_refused_total", "Tokens refused by reason", "reason")?,
            rbac_hits: counter(registry, "rbac_cache_hits_total", "Grants found in the cache")?,
            rbac_misses: counter(registry, "rbac_cache_misses_total", "Grants that had to be loaded")?,
            rbac_load_seconds: add(
                registry,
                Histogram::with_opts(HistogramOpts::new(
                    "portcullis_rbac_load_seconds",
                    "How long a user's grants take to load, in seconds",
                )),
            )?,
            pool_connections: gauge(registry, "database_pool_connections", "Open database connections")?,
            pool_idle: gauge(registry, "database_pool_idle", "Database connections that wait for work")?,
            feed_failures: counter(registry, "change_feed_failures_total", "Polls of the change feed that failed")?,
        })
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    add(registry, IntCounter::new(format!("portcullis_{name}"), help))
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    add(registry, IntCounterVec::new(Opts::new(format!("portcullis_{name}"), help), &[label]))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    add(registry, IntGauge::new(format!("portcullis_{name}"), help))
}
