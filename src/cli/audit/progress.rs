//! How far a command has come through the log: by the time of the records, which are not counted first.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{Clock, SystemClock};
use crate::domain::{RecordId, Timestamp};

/// After how many records the bar moves.
const STEP: u64 = 10_000;

/// A bar on the terminal; none where standard error is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    first: Cell<Option<Timestamp>>,
    last: Timestamp,
}

impl Bar {
    /// From one time, or the first record's, to another, or now.
    pub(super) fn new(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let now = SystemClock.now();
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, first: Cell::new(since), last: until.map_or(now, |until| until.min(now)) }
    }

    /// At this record, so many of which were looked at.
    pub(super) fn at(&self, id: RecordId, checked: u64) {
        if !checked.is_multiple_of(STEP) {
            return;
        }
        let first = self.first.get().unwrap_or_else(|| id.time());
        self.first.set(Some(first));
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.bar.set_length(millis(self.last.since(first)).max(1));
        self.bar.set_position(millis(id.time().since(first)));
        self.bar.set_message(format!("{checked} records, now at {}", id.time()));
    }

    /// Takes it away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
