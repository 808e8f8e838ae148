//! Every metric's name, unit and help, in one place.

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The service's own metrics; HTTP and process metrics come from actix-web-prom, the
/// audit's from its actor. No label has unbounded values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `portcullis_logins_total{result}`: `success`, `denied`, `error`.
    pub logins: IntCounterVec,
    /// `portcullis_oauth_logins_total{provider,result}`: `success`, a refusal's reason or a problem's code.
    pub oauth_logins: IntCounterVec,
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
            logins: counters(
                registry,
                "logins_total",
                "Sign-ins by result",
                "result",
                &["success", "denied", "error"],
            )?,
            oauth_logins: add(
                registry,
                IntCounterVec::new(
                    Opts::new("portcullis_oauth_logins_total", "Sign-ins by providers, by provider and result"),
                    &["provider", "result"],
                ),
            )?,
            tokens_issued: counters(
                registry,
                "tokens_issued_total",
                "Tokens issued by use",
                "use",
                &["access", "refresh"],
            )?,
            tokens_refused: counters(
                registry,
                "tokens_refused_total",
                "Tokens refused by reason",
                "reason",
                &["expired", "revoked", "invalid", "reused", "missing"],
            )?,
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

/// One for each value of the label; all of them show from the start, so that a rate can be taken.
fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = add(registry, IntCounterVec::new(Opts::new(format!("portcullis_{name}"), help), &[label]))?;
    for value in values {
        counters.with_label_values(&[*value]);
    }
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    add(registry, IntGauge::new(format!("portcullis_{name}"), help))
}

/// The audit log's metrics.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    /// `portcullis_audit_records_written_total`: records that reached the database.
    pub written: IntCounter,
    /// `portcullis_audit_lag_records`: records that are in the journal only.
    pub lag_records: IntGauge,
    /// `portcullis_audit_lag_seconds`: the age of the oldest of them.
    pub lag_seconds: Gauge,
    /// `portcullis_audit_batch_records`.
    pub batch_records: Histogram,
    /// `portcullis_audit_flush_seconds`: how long a batch takes.
    pub flush_seconds: Histogram,
    /// `portcullis_audit_retries_total`: rounds that failed and are tried again.
    pub retries: IntCounter,
    /// `portcullis_audit_set_aside_total`: records that the database refused for what they say.
    pub set_aside: IntCounter,
    /// `portcullis_audit_lost_total`: answers without a record; only `AUDIT_FAIL_OPEN` lets it move.
    pub lost: IntCounter,
    /// `portcullis_audit_journal_bytes`.
    pub journal_bytes: IntGauge,
    /// `portcullis_audit_removed_total`: records that retention removed.
    pub removed: IntCounter,
    /// `portcullis_audit_retention_refused`: 1 while an old record does not hold, so that none is removed.
    pub retention_refused: IntGauge,
}

impl AuditMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// A name is taken in that registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            add(registry, Histogram::with_opts(HistogramOpts::new(format!("portcullis_{name}"), help).buckets(buckets)))
        };
        Ok(Self {
            written: counter(registry, "audit_records_written_total", "Audit records that reached the database")?,
            lag_records: gauge(registry, "audit_lag_records", "Audit records that are in the journal only")?,
            lag_seconds: add(
                registry,
                Gauge::new(
                    "portcullis_audit_lag_seconds",
                    "Age of the oldest audit record that is in the journal only",
                ),
            )?,
            batch_records: histogram(
                "audit_batch_records",
                "Audit records in a batch",
                vec![1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0],
            )?,
            flush_seconds: histogram(
                "audit_flush_seconds",
                "How long a batch of audit records takes, in seconds",
                prometheus::DEFAULT_BUCKETS.to_vec(),
            )?,
            retries: counter(registry, "audit_retries_total", "Rounds of the audit writer that failed")?,
            set_aside: counter(registry, "audit_set_aside_total", "Audit records that the database refused")?,
            lost: counter(registry, "audit_lost_total", "Answers without an audit record")?,
            journal_bytes: gauge(registry, "audit_journal_bytes", "Bytes in the audit journal's segments")?,
            removed: counter(registry, "audit_removed_total", "Audit records that were removed for their age")?,
            retention_refused: gauge(
                registry,
                "audit_retention_refused",
                "1 while an old audit record does not hold, so that none is removed",
            )?,
        })
    }
}
