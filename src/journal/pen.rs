//! The lines of one writer, as they are written: once for every request.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::value::RawValue;

use super::line::{BEGIN, Begun, UNNUMBERED};
use crate::domain::audit::AuditEntry;
use crate::domain::{RecordId, Timestamp, WriterId};
use crate::proof::{Fields, Sealer};

/// Writes the lines of one writer.
#[derive(Debug)]
pub(super) struct Pen {
    sealer: Sealer,
    writer: WriterId,
    scratch: Vec<u8>,
    address: String,
}

impl Pen {
    pub(super) fn new(sealer: Sealer, writer: WriterId) -> Self {
        Self { sealer, writer, scratch: Vec::with_capacity(1024), address: String::new() }
    }

    /// Appends an entry's line, newline included; or nothing. With `begun` it is the end of that.
    pub(super) fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        seq: u64,
        stamp: (RecordId, Timestamp),
        begun: Option<Begun>,
        entry: &AuditEntry<'_>,
    ) -> Result<(), serde_json::Error> {
        self.write_line(buffer, Head::Record { seq, begun }, stamp, entry)
    }

    /// Appends the line that says that a change begins; or nothing. Of the entry counts what is known by then: no
    /// user, no status, no duration, and the outcome `error`.
    pub(super) fn write_begin(
        &mut self,
        buffer: &mut Vec<u8>,
        begun: Begun,
        now: Timestamp,
        entry: &AuditEntry<'_>,
    ) -> Result<(), serde_json::Error> {
        self.write_line(buffer, Head::Begin, (begun.as_id(), now), entry)
    }

    fn write_line(
        &mut self,
        buffer: &mut Vec<u8>,
        head: Head,
        stamp: (RecordId, Timestamp),
        entry: &AuditEntry<'_>,
    ) -> Result<(), serde_json::Error> {
        let start = buffer.len();
        let written = match has_nul(entry) {
            false => self.write_fields(buffer, head, stamp, entry),
            true => self.write_fields(buffer, head, stamp, &without_nul(entry)),
        };
        if written.is_err() {
            buffer.truncate(start);
        }
        written
    }

    /// Key by key, in the order of the reader's `Shape`: it is done for every request, and serde would look through every
    /// key for something to escape.
    fn write_fields(
        &mut self,
        buffer: &mut Vec<u8>,
        head: Head,
        stamp: (RecordId, Timestamp),
        entry: &AuditEntry<'_>,
    ) -> Result<(), serde_json::Error> {
        // What is no JSON would make the line unreadable.
        let metadata: &RawValue = serde_json::from_str(entry.metadata.as_deref().unwrap_or("{}"))?;
        self.address.clear();
        let address = entry.ip_address.and_then(|address| {
            write!(self.address, "{address}").ok()?;
            Some(self.address.as_str())
        });
        let fields = Fields { metadata: metadata.get(), ..Fields::of_entry(stamp, entry, address) };
        let seal = self.sealer.seal_with(&mut self.scratch, self.writer, head.seq(), &fields);
        macro_rules! field {
            ($key:literal, $value:expr) => {{
                buffer.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
                serde_json::to_writer(&mut *buffer, &$value)?;
            }};
        }
        match head {
            Head::Record { seq, begun } => {
                buffer.extend_from_slice(b"{\"seq\":");
                serde_json::to_writer(&mut *buffer, &seq)?;
                if let Some(begun) = begun {
                    field!("begun", begun);
                }
                field!("id", fields.id);
            }
            Head::Begin => {
                buffer.extend_from_slice(BEGIN);
                serde_json::to_writer(&mut *buffer, &fields.id)?;
            }
        }
        field!("timestamp", fields.timestamp);
        if head.is_record() {
            field!("user_id", fields.user_id);
        }
        field!("username", fields.username);
        field!("action", fields.action);
        field!("resource_type", fields.resource_type);
        field!("resource_id", fields.resource_id);
        field!("ip_address", fields.ip_address);
        field!("user_agent", fields.user_agent);
        field!("request_method", fields.request_method);
        field!("request_path", fields.request_path);
        if head.is_record() {
            field!("response_status", fields.response_status);
            field!("outcome", fields.outcome);
            field!("duration_ms", fields.duration_ms);
        }
        field!("request_id", fields.request_id);
        field!("metadata", metadata);
        field!("source", fields.source);
        buffer.extend_from_slice(b",\"mac\":\"");
        buffer.extend_from_slice(seal.write_text(&mut [0; 43]));
        buffer.extend_from_slice(b"\"}\n");
        Ok(())
    }
}

/// How a line begins.
#[derive(Clone, Copy)]
enum Head {
    Record { seq: u64, begun: Option<Begun> },
    Begin,
}

impl Head {
    fn seq(self) -> u64 {
        match self {
            Self::Record { seq, .. } => seq,
            Self::Begin => UNNUMBERED,
        }
    }

    fn is_record(self) -> bool {
        matches!(self, Self::Record { .. })
    }
}

/// All text of an entry but its metadata, which is JSON and so has none.
macro_rules! texts {
    ($entry:ident) => {
        [
            &$entry.username,
            &$entry.resource_type,
            &$entry.resource_id,
            &$entry.user_agent,
            &$entry.request_method,
            &$entry.request_path,
            &$entry.request_id,
        ]
    };
}

fn has_nul(entry: &AuditEntry<'_>) -> bool {
    entry.action.contains('\0') || texts!(entry).into_iter().flatten().any(|text| text.contains('\0'))
}

/// PostgreSQL has no place for NUL: a caller must not be able to turn a record into a stub.
fn without_nul<'a>(entry: &'a AuditEntry<'_>) -> AuditEntry<'a> {
    let clean = |text: &'a str| -> Cow<'a, str> {
        if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
    };
    let [username, resource_type, resource_id, user_agent, request_method, request_path, request_id] =
        texts!(entry).map(|text| text.as_deref().map(clean));
    AuditEntry {
        username,
        action: clean(&entry.action),
        resource_type,
        resource_id,
        user_agent,
        request_method,
        request_path,
        request_id,
        metadata: entry.metadata.as_deref().map(Cow::Borrowed),
        ..*entry
    }
}
