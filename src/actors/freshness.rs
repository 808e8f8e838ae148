//! How old the decisions that this instance holds may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the change feed was last read, against the bound of
/// `AUTHZ_MAX_STALENESS_SECONDS`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Freshness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    read_at_ms: AtomicU64,
    bound_ms: u64,
}

/// A poll every 200 ms may be late by this much before that counts as stale, however short the bound.
const LEAST: Duration = Duration::from_millis(1000);

impl Freshness {
    /// Fresh as of now.
    pub fn new(bound: Duration) -> Self {
        let bound_ms = u64::try_from(bound.max(LEAST).as_millis()).unwrap_or(u64::MAX);
        Self(Arc::new(Inner { start: Instant::now(), read_at_ms: AtomicU64::new(0), bound_ms }))
    }

    /// The feed was read: what is held is true as of `began`, when the read began.
    pub(super) fn confirm(&self, began: Instant) {
        let began = u64::try_from(began.duration_since(self.0.start).as_millis()).unwrap_or(0);
        self.0.read_at_ms.fetch_max(began, Ordering::Relaxed);
    }

    /// Whether held decisions still stand.
    pub fn is_fresh(&self) -> bool {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.0.read_at_ms.load(Ordering::Relaxed)) <= self.0.bound_ms
    }
}
