//! One record as one line of JSON.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::audit::{AuditEntry, AuditRecord, Metadata, Outcome, Source};
use crate::domain::{RecordId, Timestamp, UserId, WriterId};
use crate::proof::{Fields, Mac, Sealed, Sealer};

/// The line's shape; the field names are the API's.
#[derive(Deserialize)]
struct Shape<'a> {
    seq: u64,
    id: RecordId,
    timestamp: Timestamp,
    user_id: Option<UserId>,
    #[serde(borrow)]
    username: Option<Cow<'a, str>>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    resource_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_id: Option<Cow<'a, str>>,
    ip_address: Option<IpAddr>,
    #[serde(borrow)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_path: Option<Cow<'a, str>>,
    response_status: Option<u16>,
    outcome: Outcome,
    duration_ms: u32,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: &'a RawValue,
    source: Source,
    mac: Mac,
}

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

    /// Appends an entry's line, newline included; or nothing.
    pub(super) fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        seq: u64,
        stamp: (RecordId, Timestamp),
        entry: &AuditEntry<'_>,
    ) -> Result<(), serde_json::Error> {
        let start = buffer.len();
        let written = match has_nul(entry) {
            false => self.write_fields(buffer, seq, stamp, entry),
            true => self.write_fields(buffer, seq, stamp, &without_nul(entry)),
        };
        if written.is_err() {
            buffer.truncate(start);
        }
        written
    }

    /// Key by key, in [`Shape`]'s order: it is done for every request, and serde would look through every
    /// key for something to escape.
    fn write_fields(
        &mut self,
        buffer: &mut Vec<u8>,
        seq: u64,
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
        let seal = self.sealer.seal_with(&mut self.scratch, self.writer, seq, &fields);
        macro_rules! field {
            ($key:literal, $value:expr) => {{
                buffer.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
                serde_json::to_writer(&mut *buffer, &$value)?;
            }};
        }
        buffer.extend_from_slice(b"{\"seq\":");
        serde_json::to_writer(&mut *buffer, &seq)?;
        field!("id", fields.id);
        field!("timestamp", fields.timestamp);
        field!("user_id", fields.user_id);
        field!("username", fields.username);
        field!("action", fields.action);
        field!("resource_type", fields.resource_type);
        field!("resource_id", fields.resource_id);
        field!("ip_address", fields.ip_address);
        field!("user_agent", fields.user_agent);
        field!("request_method", fields.request_method);
        field!("request_path", fields.request_path);
        field!("response_status", fields.response_status);
        field!("outcome", fields.outcome);
        field!("duration_ms", fields.duration_ms);
        field!("request_id", fields.request_id);
        field!("metadata", metadata);
        field!("source", fields.source);
        buffer.extend_from_slice(b",\"mac\":\"");
        buffer.extend_from_slice(seal.write_text(&mut [0; 43]));
        buffer.extend_from_slice(b"\"}\n");
        Ok(())
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

/// Reads a line, without its newline. Whether its seal holds is another question.
///
/// # Errors
/// It is no record.
pub(super) fn parse_line(line: &[u8]) -> Result<Sealed, serde_json::Error> {
    let shape: Shape<'_> = serde_json::from_slice(line)?;
    let shared = |text: Option<Cow<'_, str>>| text.map(Into::into);
    Ok(Sealed {
        seal: shape.mac,
        seq: shape.seq,
        record: AuditRecord {
            id: shape.id,
            timestamp: shape.timestamp,
            user_id: shape.user_id,
            username: shared(shape.username),
            action: shape.action.into(),
            resource_type: shared(shape.resource_type),
            resource_id: shared(shape.resource_id),
            ip_address: shape.ip_address.map(|address| address.to_string().into()),
            user_agent: shared(shape.user_agent),
            request_method: shared(shape.request_method),
            request_path: shared(shape.request_path),
            response_status: shape.response_status,
            outcome: shape.outcome,
            duration_ms: shape.duration_ms,
            request_id: shared(shape.request_id),
            metadata: Metadata::of(shape.metadata),
            source: shape.source,
        },
    })
}

/// Reads the lines of one writer.
#[derive(Debug)]
pub(super) struct Checker {
    sealer: Sealer,
    writer: WriterId,
    scratch: Vec<u8>,
}

impl Checker {
    pub(super) fn new(sealer: Sealer, writer: WriterId) -> Self {
        Self { sealer, writer, scratch: Vec::with_capacity(1024) }
    }

    /// A record as this writer has written it: what somebody has changed, or brought here, is none.
    pub(super) fn parse(&mut self, line: &[u8]) -> Option<Sealed> {
        let line = parse_line(line).ok()?;
        let fields = Fields::of(&line.record);
        let seal = self.sealer.seal_with(&mut self.scratch, self.writer, line.seq, &fields);
        line.seal.is(&seal).then_some(line)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::proof::AuditKey;

    /// Of the same key each time, for what is written is read again.
    pub(crate) fn sealer() -> Sealer {
        static KEY: OnceLock<AuditKey> = OnceLock::new();
        KEY.get_or_init(|| AuditKey::generate().unwrap()).sealer().unwrap()
    }

    fn pen() -> Pen {
        Pen::new(sealer(), WriterId::generate())
    }

    pub(crate) fn entry(action: &str) -> AuditEntry<'_> {
        AuditEntry {
            user_id: None,
            username: Some("johndoe".into()),
            action: action.into(),
            resource_type: None,
            resource_id: Some("4\"2".into()),
            ip_address: Some("203.0.113.7".parse().unwrap()),
            user_agent: Some("curl/8".into()),
            request_method: Some("GET".into()),
            request_path: Some("/auth/me".into()),
            response_status: Some(200),
            outcome: Outcome::Success,
            duration_ms: 3,
            request_id: Some("r-1".into()),
            metadata: Some("{\"a\":[1]}".into()),
            source: Source::Request,
        }
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let mut buffer = Vec::new();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1_700_000_000_123));
        let mut pen = pen();
        pen.write(&mut buffer, 7, stamp, &entry("LOGIN")).unwrap();
        assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!(line.seal, pen.sealer.seal(pen.writer, 7, &Fields::of(&line.record)));
        assert_eq!((line.seq, line.record.id, line.record.timestamp), (7, stamp.0, stamp.1));
        assert_eq!((&*line.record.action, line.record.resource_id.as_deref()), ("LOGIN", Some("4\"2")));
        assert_eq!(line.record.metadata.as_str(), "{\"a\":[1]}");
        assert_eq!(line.record.ip_address.as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn a_nul_is_replaced_before_it_reaches_a_database() {
        let mut buffer = Vec::new();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let odd = AuditEntry { resource_id: Some("a\0b".into()), ..entry("LOGIN") };
        let mut pen = pen();
        pen.write(&mut buffer, 1, stamp, &odd).unwrap();
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!(line.seal, pen.sealer.seal(pen.writer, 1, &Fields::of(&line.record)));
        assert_eq!(line.record.resource_id.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn what_is_no_metadata_leaves_the_buffer_as_it_was() {
        let mut buffer = b"before\n".to_vec();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let broken = AuditEntry { metadata: Some("{".into()), ..entry("LOGIN") };
        assert!(pen().write(&mut buffer, 1, stamp, &broken).is_err());
        assert_eq!(buffer, b"before\n");
    }
}
