//! Records of any age as the service itself would have written them: sealed and linked, by writers of their own.

use portcullis::app::open_sealer;
use portcullis::clock::{Clock, SystemClock};
use portcullis::config::Config;
use portcullis::domain::audit::{AuditRecord, Metadata, Outcome};
use portcullis::domain::{RecordId, WriterId};
use portcullis::proof::{Sealed, Sealer};
use portcullis::store::{AuditSink, Store};
use uuid::{Builder, Uuid};

use crate::support::Launch;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A log that no service writes to meanwhile.
pub(crate) struct SealedLog {
    sink: AuditSink,
    sealer: Sealer,
}

/// Who has written, and how many records so far.
pub(crate) struct Writer {
    pub(crate) id: WriterId,
    seq: u64,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { id: WriterId::generate(), seq: 0 }
    }
}

impl SealedLog {
    /// The log that a service would have which is started so.
    pub(crate) async fn open(launch: &Launch) -> Self {
        let config = Config::from_vars(&|name| launch.variable(name)).unwrap();
        let store = Store::open(config.store).await.unwrap();
        let sealer = open_sealer(&store, &config.tokens).await.unwrap();
        Self { sink: store.audit_sink(sealer.clone()), sealer }
    }

    /// Writes so many records with that action, the first of them that many days old, a millisecond apart.
    pub(crate) async fn write(&mut self, writer: &mut Writer, action: &str, count: u64, days: u64) {
        let begin = u64::try_from(SystemClock.now().as_millis()).unwrap() - days * DAY_MS;
        let sealed: Vec<Sealed> =
            (0..count).map(|n| self.sealer.sealed(writer.id, writer.seq + 1 + n, record(action, begin + n))).collect();
        for batch in sealed.chunks(self.sink.batch()) {
            self.sink.insert(writer.id, batch).await.unwrap();
        }
        writer.seq += count;
    }
}

fn record(action: &str, millis: u64) -> AuditRecord {
    let random = *Uuid::now_v7().as_bytes();
    let id = RecordId(Builder::from_unix_timestamp_millis(millis, random.last_chunk().unwrap()).into_uuid());
    AuditRecord {
        action: action.into(),
        request_path: Some("/old".into()),
        outcome: Outcome::Success,
        metadata: Metadata::parse("{}").unwrap(),
        ..AuditRecord::unreadable(id, "")
    }
}
