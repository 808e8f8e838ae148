//! One record as one line of JSON.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::audit::{AuditEntry, AuditRecord, Outcome, Source};
use crate::domain::{RecordId, Timestamp, UserId};

/// A record with its number in its writer's sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// From 1, without gaps.
    pub seq: u64,
    /// The record.
    pub record: AuditRecord,
}

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
}

/// Appends an entry's line, newline included. Written key by key, in [`Shape`]'s order: it is done
/// for every request, and serde would look through every key for something to escape.
pub(super) fn write_line(
    buffer: &mut Vec<u8>,
    seq: u64,
    (id, timestamp): (RecordId, Timestamp),
    entry: &AuditEntry<'_>,
) -> Result<(), serde_json::Error> {
    let start = buffer.len();
    let written = write_fields(buffer, seq, (id, timestamp), entry);
    if written.is_err() {
        buffer.truncate(start);
    }
    written
}

fn write_fields(
    buffer: &mut Vec<u8>,
    seq: u64,
    (id, timestamp): (RecordId, Timestamp),
    entry: &AuditEntry<'_>,
) -> Result<(), serde_json::Error> {
    macro_rules! field {
        ($key:literal, $value:expr) => {{
            buffer.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
            serde_json::to_writer(&mut *buffer, &$value)?;
        }};
    }
    buffer.extend_from_slice(b"{\"seq\":");
    serde_json::to_writer(&mut *buffer, &seq)?;
    field!("id", id);
    field!("timestamp", timestamp);
    field!("user_id", entry.user_id);
    field!("username", entry.username);
    field!("action", entry.action);
    field!("resource_type", entry.resource_type);
    field!("resource_id", entry.resource_id);
    field!("ip_address", entry.ip_address);
    field!("user_agent", entry.user_agent);
    field!("request_method", entry.request_method);
    field!("request_path", entry.request_path);
    field!("response_status", entry.response_status);
    field!("outcome", entry.outcome);
    field!("duration_ms", entry.duration_ms);
    field!("request_id", entry.request_id);
    // What is no JSON would make the line unreadable.
    let metadata: &RawValue = serde_json::from_str(entry.metadata.as_deref().unwrap_or("{}"))?;
    field!("metadata", metadata);
    field!("source", entry.source);
    buffer.extend_from_slice(b"}\n");
    Ok(())
}

/// Reads a line, without its newline.
///
/// # Errors
/// It is no record.
pub fn parse_line(line: &[u8]) -> Result<Line, serde_json::Error> {
    let shape: Shape<'_> = serde_json::from_slice(line)?;
    let shared = |text: Option<Cow<'_, str>>| text.map(|text| storable(&text));
    Ok(Line {
        seq: shape.seq,
        record: AuditRecord {
            id: shape.id,
            timestamp: shape.timestamp,
            user_id: shape.user_id,
            username: shared(shape.username),
            action: storable(&shape.action),
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
            metadata: serde_json::from_str(shape.metadata.get())?,
            source: shape.source,
        },
    })
}

/// Without NUL, which PostgreSQL has no place for: a caller must not be able to turn a record into a stub.
fn storable(text: &str) -> Arc<str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

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
        write_line(&mut buffer, 7, stamp, &entry("LOGIN")).unwrap();
        assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!((line.seq, line.record.id, line.record.timestamp), (7, stamp.0, stamp.1));
        assert_eq!((&*line.record.action, line.record.resource_id.as_deref()), ("LOGIN", Some("4\"2")));
        assert_eq!(line.record.metadata, serde_json::json!({"a": [1]}));
        assert_eq!(line.record.ip_address.as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn a_nul_is_replaced_before_it_reaches_a_database() {
        let mut buffer = Vec::new();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let odd = AuditEntry { resource_id: Some("a\0b".into()), ..entry("LOGIN") };
        write_line(&mut buffer, 1, stamp, &odd).unwrap();
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!(line.record.resource_id.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn what_is_no_metadata_leaves_the_buffer_as_it_was() {
        let mut buffer = b"before\n".to_vec();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let broken = AuditEntry { metadata: Some("{".into()), ..entry("LOGIN") };
        assert!(write_line(&mut buffer, 1, stamp, &broken).is_err());
        assert_eq!(buffer, b"before\n");
    }
}
