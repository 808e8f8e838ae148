//! Audit records: who did what to which resource, from where, and how it ended.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::redact::redact_object;
use super::{RecordId, Timestamp, UserId};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Below 400.
    Success,
    /// 401, 403 or 429.
    Denied,
    /// Any other 4xx.
    Failure,
    /// 5xx.
    Error,
}

impl Outcome {
    /// The outcome that a status stands for.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..=399 => Self::Success,
            401 | 403 | 429 => Self::Denied,
            400..=499 => Self::Failure,
            _ => Self::Error,
        }
    }

    /// Reads what [`Outcome::as_str`] writes; anything else is an error.
    pub fn parse(text: &str) -> Self {
        match text {
            "success" => Self::Success,
            "denied" => Self::Denied,
            "failure" => Self::Failure,
            _ => Self::Error,
        }
    }

    /// As in the API and the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The service saw a request.
    Request,
    /// A caller or the host application told it.
    Event,
    /// The command line.
    Cli,
}

impl Source {
    /// Reads what [`Source::as_str`] writes; anything else is somebody's event.
    pub fn parse(text: &str) -> Self {
        match text {
            "request" => Self::Request,
            "cli" => Self::Cli,
            _ => Self::Event,
        }
    }

    /// As in the API and the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Event => "event",
            Self::Cli => "cli",
        }
    }
}

/// Metadata as a record holds it: JSON without what looks like a token; `None` where there is none.
pub fn metadata_text(metadata: Map<String, Value>) -> Option<String> {
    // Nothing in a map of strings and values can fail to be written.
    (!metadata.is_empty()).then(|| Value::Object(redact_object(metadata)).to_string())
}

/// What a record that stands in for others is called: an action that only the service records.
pub const STAND_IN: &str = "SET_ASIDE";

/// What a record that stands in for others says, in its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// Why.
    #[serde(rename = "set_aside")]
    pub reason: String,
    /// The number of the first of several; the record has the number of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}

impl StandIn {
    /// What a record says of others; `None` where it speaks for itself.
    pub fn of(action: &str, metadata: &str) -> Option<Self> {
        (action == STAND_IN).then(|| serde_json::from_str(metadata).ok())?
    }
}

impl From<StandIn> for Metadata {
    fn from(stand_in: StandIn) -> Self {
        // Nothing in it can fail to be written.
        Self(serde_json::to_string(&stand_in).unwrap_or_else(|_| "{}".to_owned()).into())
    }
}

/// A record's metadata: a JSON object as text, byte for byte as it was written, for its seal is over these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Any JSON.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self::of)
    }

    /// What was read as JSON.
    pub fn of(json: &RawValue) -> Self {
        Self(json.get().into())
    }

    /// What stands in the database, whatever it is by now.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(metadata: Map<String, Value>) -> Self {
        Self(metadata_text(metadata).unwrap_or_else(|| "{}".to_owned()).into())
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(json) => json.serialize(serializer),
            // Somebody has changed it in the database: it shows as it is.
            Err(_) => self.0.serialize(serializer),
        }
    }
}

/// A record before it is written: id, time, writer and number come with the append.
/// All text is already bounded, without NUL, and without secrets.
#[derive(Debug, Clone)]
pub struct AuditEntry<'a> {
    /// Who, if that is known.
    pub user_id: Option<UserId>,
    /// Who, by the name at that time.
    pub username: Option<Cow<'a, str>>,
    /// What: `LOGIN`, `CREATE_PROJECT`.
    pub action: Cow<'a, str>,
    /// On what kind of thing: `project`.
    pub resource_type: Option<Cow<'a, str>>,
    /// On which one.
    pub resource_id: Option<Cow<'a, str>>,
    /// From where; null for the command line.
    pub ip_address: Option<IpAddr>,
    /// With what; at most 512 characters.
    pub user_agent: Option<Cow<'a, str>>,
    /// `GET`.
    pub request_method: Option<Cow<'a, str>>,
    /// As sent, without the query; at most 2,048 characters.
    pub request_path: Option<Cow<'a, str>>,
    /// The answer's status.
    pub response_status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// From the first to the last byte of the handling, in milliseconds.
    pub duration_ms: u32,
    /// The request's id.
    pub request_id: Option<Cow<'a, str>>,
    /// A JSON object as text; `None` stands for `{}`.
    pub metadata: Option<Cow<'a, str>>,
    /// Where the record comes from.
    pub source: Source,
}

impl<'a> From<&'a AuditRecord> for AuditEntry<'a> {
    /// Without id and time, which come with the append.
    fn from(record: &'a AuditRecord) -> Self {
        let text = |text: &'a Option<Arc<str>>| text.as_deref().map(Cow::Borrowed);
        Self {
            user_id: record.user_id,
            username: text(&record.username),
            action: Cow::Borrowed(&record.action),
            resource_type: text(&record.resource_type),
            resource_id: text(&record.resource_id),
            ip_address: record.ip_address.as_deref().and_then(|address| address.parse().ok()),
            user_agent: text(&record.user_agent),
            request_method: text(&record.request_method),
            request_path: text(&record.request_path),
            response_status: record.response_status,
            outcome: record.outcome,
            duration_ms: record.duration_ms,
            request_id: text(&record.request_id),
            metadata: Some(Cow::Borrowed(record.metadata.as_str())),
            source: record.source,
        }
    }
}

/// A record as it stands in the log and as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AuditRecord {
    /// UUIDv7, minted in time order by each writer.
    #[schema(value_type = String, format = Uuid)]
    pub id: RecordId,
    /// The id's own time: when the answer was known.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// Who, if that is known.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub user_id: Option<UserId>,
    /// Who, by the name at that time.
    #[schema(value_type = Option<String>, example = "johndoe")]
    pub username: Option<Arc<str>>,
    /// What.
    #[schema(value_type = String, example = "LOGIN")]
    pub action: Arc<str>,
    /// On what kind of thing.
    #[schema(value_type = Option<String>, example = "project")]
    pub resource_type: Option<Arc<str>>,
    /// On which one.
    #[schema(value_type = Option<String>)]
    pub resource_id: Option<Arc<str>>,
    /// From where.
    #[schema(value_type = Option<String>, example = "203.0.113.7")]
    pub ip_address: Option<Arc<str>>,
    /// With what.
    #[schema(value_type = Option<String>, example = "curl/8.5.0")]
    pub user_agent: Option<Arc<str>>,
    /// The request's method.
    #[schema(value_type = Option<String>, example = "POST")]
    pub request_method: Option<Arc<str>>,
    /// The request's path, without its query.
    #[schema(value_type = Option<String>, example = "/auth/login")]
    pub request_path: Option<Arc<str>>,
    /// The answer's status.
    #[schema(example = 200)]
    pub response_status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    #[schema(example = 3)]
    pub duration_ms: u32,
    /// The request's id: the answer's `X-Request-Id`.
    #[schema(value_type = Option<String>)]
    pub request_id: Option<Arc<str>>,
    /// Whatever else is worth knowing.
    #[schema(value_type = Object)]
    pub metadata: Metadata,
    /// Where the record comes from.
    pub source: Source,
}

impl AuditRecord {
    /// What stands in the log for a record that the database refused: that there was one,
    /// of whom and when, and none of its other text.
    pub fn stub(refused: &Self, id: RecordId) -> Self {
        Self {
            user_id: refused.user_id,
            response_status: refused.response_status,
            duration_ms: refused.duration_ms,
            source: refused.source,
            ..Self::unreadable(id, &format!("the database refused record {}", refused.id))
        }
    }

    /// What stands in the log in the place of several that are missing from the journal.
    pub fn missing(id: RecordId, first: u64, last: u64) -> Self {
        let reason = format!("{} records are missing from the journal", last - first + 1);
        let metadata = StandIn { reason, first: Some(first) }.into();
        Self { metadata, ..Self::unreadable(id, "") }
    }

    /// What stands in the log where the journal had a record that can't be read.
    pub fn unreadable(id: RecordId, why: &str) -> Self {
        Self {
            id,
            timestamp: id.time(),
            user_id: None,
            username: None,
            action: STAND_IN.into(),
            resource_type: None,
            resource_id: None,
            ip_address: None,
            user_agent: None,
            request_method: None,
            request_path: None,
            response_status: None,
            outcome: Outcome::Error,
            duration_ms: 0,
            request_id: None,
            metadata: StandIn { reason: why.to_owned(), first: None }.into(),
            source: Source::Request,
        }
    }
}
