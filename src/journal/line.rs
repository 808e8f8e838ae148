//! One record, or one beginning, as one line of JSON.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::audit::{AuditEntry, AuditRecord, Metadata, Outcome, Source};
use crate::domain::{RecordId, Timestamp, UserId, WriterId};
use crate::proof::{Fields, Mac, Sealed, Sealer};

/// The line's shape; the field names are the API's.
#[derive(Deserialize)]
struct Shape<'a> {
    seq: u64,
    begun: Option<Begun>,
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

/// A line that says that a change begins; its keys are those of the record that it becomes if its end is missing.
#[derive(Deserialize)]
struct BeginShape<'a> {
    begin: Begun,
    timestamp: Timestamp,
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
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: &'a RawValue,
    source: Source,
    mac: Mac,
}

/// A change that has begun, and whose record will say so: what its line is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Begun(Uuid);

impl Begun {
    /// What its seal has in the place of a record's id.
    pub(super) fn as_id(self) -> RecordId {
        RecordId(self.0)
    }

    pub(super) fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

/// Beginnings have no number. Their seals are of this one, which no record has: neither passes for the other.
pub(super) const UNNUMBERED: u64 = 0;

/// How a line that matters to what is open begins; nothing that a caller sends stands there.
pub(super) const BEGIN: &[u8] = b"{\"begin\":";
const BEGUN: &[u8] = b",\"begun\":";

/// Whether a line may be a beginning, or the record of one, without reading all of it.
pub(super) fn may_begin_or_end(line: &[u8]) -> bool {
    // `{"seq":`, at most 20 digits, and the next key.
    line.starts_with(BEGIN)
        || line.get(..27 + BEGUN.len()).is_some_and(|head| head.windows(BEGUN.len()).any(|key| key == BEGUN))
}

/// Reads a record's line, without its newline. Whether its seal holds is another question.
///
/// # Errors
/// It is no record.
pub(super) fn parse_line(line: &[u8]) -> Result<Sealed, serde_json::Error> {
    Ok(parse_record(line)?.0)
}

fn parse_record(line: &[u8]) -> Result<(Sealed, Option<Begun>), serde_json::Error> {
    let shape: Shape<'_> = serde_json::from_slice(line)?;
    let shared = |text: Option<Cow<'_, str>>| text.map(Into::into);
    let line = Sealed {
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
    };
    Ok((line, shape.begun))
}

/// A beginning, as the entry of the record that it becomes.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub(super) begun: Begun,
    pub(super) timestamp: Timestamp,
    pub(super) entry: AuditEntry<'a>,
}

fn parse_begin(line: &[u8]) -> Result<(Beginning<'_>, Mac), serde_json::Error> {
    let shape: BeginShape<'_> = serde_json::from_slice(line)?;
    let entry = AuditEntry {
        user_id: None,
        username: shape.username,
        action: shape.action,
        resource_type: shape.resource_type,
        resource_id: shape.resource_id,
        ip_address: shape.ip_address,
        user_agent: shape.user_agent,
        request_method: shape.request_method,
        request_path: shape.request_path,
        response_status: None,
        outcome: Outcome::Error,
        duration_ms: 0,
        request_id: shape.request_id,
        metadata: Some(Cow::Borrowed(shape.metadata.get())),
        source: shape.source,
    };
    Ok((Beginning { begun: shape.begin, timestamp: shape.timestamp, entry }, shape.mac))
}

/// A line as its writer has written it.
#[derive(Debug)]
pub(super) enum Written<'a> {
    /// And what it ends, if that was said to begin.
    Record(Sealed, Option<Begun>),
    /// No record: it has no number.
    Beginning(Beginning<'a>),
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

    /// What this writer has written: what somebody has changed, or brought here, is nothing.
    ///
    /// `begun` is under no seal: it says no more than that a beginning has its record, and who can change it
    /// can as well take the beginning away, which has no number that would be missed.
    pub(super) fn parse<'a>(&mut self, line: &'a [u8]) -> Option<Written<'a>> {
        if line.starts_with(BEGIN) {
            return self.parse_begin(line).map(Written::Beginning);
        }
        let (line, begun) = parse_record(line).ok()?;
        let fields = Fields::of(&line.record);
        let seal = self.sealer.seal_with(&mut self.scratch, self.writer, line.seq, &fields);
        (line.seq != UNNUMBERED && line.seal.is(&seal)).then_some(Written::Record(line, begun))
    }

    fn parse_begin<'a>(&mut self, line: &'a [u8]) -> Option<Beginning<'a>> {
        let (beginning, mac) = parse_begin(line).ok()?;
        let stamp = (beginning.begun.as_id(), beginning.timestamp);
        let address = beginning.entry.ip_address.map(|address| address.to_string());
        let fields = Fields::of_entry(stamp, &beginning.entry, address.as_deref());
        let seal = self.sealer.seal_with(&mut self.scratch, self.writer, UNNUMBERED, &fields);
        mac.is(&seal).then_some(beginning)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::OnceLock;

    use super::super::pen::Pen;
    use super::*;
    use crate::proof::AuditKey;

    /// Of the same key each time, for what is written is read again.
    pub(crate) fn sealer() -> Sealer {
        static KEY: OnceLock<AuditKey> = OnceLock::new();
        KEY.get_or_init(|| AuditKey::generate().unwrap()).sealer().unwrap()
    }

    fn pen() -> (Pen, WriterId) {
        let writer = WriterId::generate();
        (Pen::new(sealer(), writer), writer)
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
        let (mut pen, writer) = pen();
        pen.write(&mut buffer, 7, stamp, None, &entry("LOGIN")).unwrap();
        assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!(line.seal, sealer().seal(writer, 7, &Fields::of(&line.record)));
        assert_eq!((line.seq, line.record.id, line.record.timestamp), (7, stamp.0, stamp.1));
        assert_eq!((&*line.record.action, line.record.resource_id.as_deref()), ("LOGIN", Some("4\"2")));
        assert_eq!(line.record.metadata.as_str(), "{\"a\":[1]}");
        assert_eq!(line.record.ip_address.as_deref(), Some("203.0.113.7"));
    }

    /// As a request's is before it is handled.
    pub(crate) fn beginning(action: &str) -> AuditEntry<'_> {
        AuditEntry {
            username: None,
            response_status: None,
            outcome: Outcome::Error,
            duration_ms: 0,
            metadata: None,
            ..entry(action)
        }
    }

    #[test]
    fn a_beginning_is_no_record_and_a_record_no_beginning() {
        let (writer, mut buffer) = (WriterId::generate(), Vec::new());
        let (mut pen, mut checker) = (Pen::new(sealer(), writer), Checker::new(sealer(), writer));
        let (begun, now) = (Begun::generate(), Timestamp::from_millis(1_700_000_000_123));
        // What a caller sends stands in strings, where it can't end one.
        let odd = "\"}\n{\"begin\":\"";
        let entry = AuditEntry { user_agent: Some(odd.into()), ..beginning("CREATE_ROLE") };
        pen.write_begin(&mut buffer, begun, now, &entry).unwrap();
        let text = buffer.strip_suffix(b"\n").unwrap().to_vec();
        assert!(!text.contains(&b'\n') && may_begin_or_end(&text));
        let Some(Written::Beginning(read)) = checker.parse(&text) else { panic!("no beginning") };
        assert_eq!((read.begun, read.timestamp, &*read.entry.action), (begun, now, "CREATE_ROLE"));
        assert_eq!(read.entry.user_agent.as_deref(), Some(odd));
        // Under the name of a record its seal is of no number that a record has.
        let text = String::from_utf8(text).unwrap();
        let as_record = text.replacen(
            "\"begin\":",
            "\"seq\":0,\"user_id\":null,\"response_status\":null,\"outcome\":\"error\",\"duration_ms\":0,\"id\":",
            1,
        );
        assert!(parse_line(as_record.as_bytes()).is_ok());
        assert!(checker.parse(as_record.as_bytes()).is_none());
        assert!(checker.parse(text.replacen("CREATE", "DELETE", 1).as_bytes()).is_none());

        buffer.clear();
        let stamp = (RecordId::generate(), now);
        pen.write(&mut buffer, u64::MAX, stamp, Some(begun), &AuditEntry { metadata: None, ..entry }).unwrap();
        let text = &buffer[..buffer.len() - 1];
        assert!(may_begin_or_end(text));
        assert!(matches!(checker.parse(text), Some(Written::Record(_, Some(ended))) if ended == begun));
        buffer.clear();
        pen.write(&mut buffer, 1, stamp, None, &super::tests::entry("\"begun\"")).unwrap();
        assert!(!may_begin_or_end(&buffer));
    }

    #[test]
    fn a_nul_is_replaced_before_it_reaches_a_database() {
        let mut buffer = Vec::new();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let odd = AuditEntry { resource_id: Some("a\0b".into()), ..entry("LOGIN") };
        let (mut pen, writer) = pen();
        pen.write(&mut buffer, 1, stamp, None, &odd).unwrap();
        let line = parse_line(&buffer[..buffer.len() - 1]).unwrap();
        assert_eq!(line.seal, sealer().seal(writer, 1, &Fields::of(&line.record)));
        assert_eq!(line.record.resource_id.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn what_is_no_metadata_leaves_the_buffer_as_it_was() {
        let mut buffer = b"before\n".to_vec();
        let stamp = (RecordId::generate(), Timestamp::from_millis(1));
        let broken = AuditEntry { metadata: Some("{".into()), ..entry("LOGIN") };
        assert!(pen().0.write(&mut buffer, 1, stamp, None, &broken).is_err());
        assert_eq!(buffer, b"before\n");
    }
}
