//! The audit log as a file: streamed, in constant memory whatever its length.

use std::borrow::Cow;

use actix_web::http::{Method, header};
use actix_web::{HttpResponse, Route, web};
use futures_util::stream;

use super::Services;
use super::audit::filter;
use super::endpoint::{Endpoint, Needs};
use super::query::Query;
use crate::domain::audit::AuditRecord;
use crate::domain::{AuditFilter, AuditPage, AuditSlice, RecordId};
use crate::problem::ApiError;

/// How many records are read at once.
const PART: u32 = 1000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::new(
        || Method::GET,
        "/audit/export",
        Needs::Permission("audit:read"),
        "EXPORT_AUDIT_LOGS",
        || Route::new().to(export),
    )]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// Export audit logs
///
/// All records that the filters find, newest first, without a limit: as CSV (RFC 4180) with a header of
/// the field names, or as JSON, a record a line. Where it breaks off before its end, the connection does too.
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/export", tag = "Audit", params(
        ("format" = Option<String>, Query, description = "`csv` (default) or `ndjson`"),
        ("since" = Option<String>, Query, description = "Not older than this (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Older than this (RFC 3339)")),
    responses((status = 200, description = "Newest first; the filters are those of the list", content(
        (String = "text/csv"), (AuditRecord = "application/x-ndjson")))))]
async fn export(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = filter(&mut query);
    let format = match query.one_of("format", &["csv", "ndjson"]).as_deref() {
        Some("ndjson") => Format::Ndjson,
        _ => Format::Csv,
    };
    query.finish()?;
    // Before the answer begins: then a database that is away is a 503 and no torn file.
    let first = services.audit.list(filter.clone(), part(None)).await?;
    let (name, kind) = match format {
        Format::Csv => ("audit-logs.csv", "text/csv; charset=utf-8"),
        Format::Ndjson => ("audit-logs.ndjson", "application/x-ndjson"),
    };
    let body = stream::try_unfold(Some(Step::First(first)), move |step| {
        next(web::Data::clone(&services), filter.clone(), format, step)
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(body))
}

fn part(before: Option<RecordId>) -> AuditPage {
    AuditPage { limit: PART, offset: 0, before }
}

/// What is to be sent.
enum Step {
    First(AuditSlice<AuditRecord>),
    From(RecordId),
}

/// The next piece of the file, and how it goes on.
async fn next(
    services: web::Data<Services>,
    filter: AuditFilter,
    format: Format,
    step: Option<Step>,
) -> Result<Option<(web::Bytes, Option<Step>)>, ApiError> {
    let Some(step) = step else { return Ok(None) };
    let is_first = matches!(step, Step::First(_));
    let slice = match step {
        Step::First(slice) => slice,
        Step::From(before) => services.audit.list_further(filter, part(Some(before))).await?,
    };
    let text = match format {
        Format::Csv => csv_text(&slice.items, is_first)?,
        Format::Ndjson => ndjson_text(&slice.items)?,
    };
    Ok(Some((text.into(), slice.next.map(Step::From))))
}

fn ndjson_text(records: &[AuditRecord]) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record).map_err(unwritten)?;
        text.push(b'\n');
    }
    Ok(text)
}

const FIELDS: [&str; 17] = [
    "id",
    "timestamp",
    "user_id",
    "username",
    "action",
    "resource_type",
    "resource_id",
    "ip_address",
    "user_agent",
    "request_method",
    "request_path",
    "response_status",
    "outcome",
    "duration_ms",
    "request_id",
    "metadata",
    "source",
];

fn csv_text(records: &[AuditRecord], has_header: bool) -> Result<Vec<u8>, ApiError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if has_header {
        writer.write_record(FIELDS).map_err(unwritten)?;
    }
    for record in records {
        writer.write_record(cells(record).iter().map(|cell| harmless(cell).into_owned())).map_err(unwritten)?;
    }
    writer.into_inner().map_err(unwritten)
}

/// In the order of [`FIELDS`]; what is null is empty.
fn cells(record: &AuditRecord) -> [String; FIELDS.len()] {
    fn text(value: Option<&(impl ToString + ?Sized)>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    [
        record.id.to_string(),
        record.timestamp.to_string(),
        text(record.user_id.as_ref()),
        text(record.username.as_deref()),
        record.action.to_string(),
        text(record.resource_type.as_deref()),
        text(record.resource_id.as_deref()),
        text(record.ip_address.as_deref()),
        text(record.user_agent.as_deref()),
        text(record.request_method.as_deref()),
        text(record.request_path.as_deref()),
        text(record.response_status.as_ref()),
        record.outcome.as_str().to_owned(),
        record.duration_ms.to_string(),
        text(record.request_id.as_deref()),
        record.metadata.as_str().to_owned(),
        record.source.as_str().to_owned(),
    ]
}

/// With a `'` before what a spreadsheet would run (OWASP: CSV injection).
fn harmless(cell: &str) -> Cow<'_, str> {
    if !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        return cell.into();
    }
    format!("'{cell}").into()
}

fn unwritten(error: impl std::fmt::Display) -> ApiError {
    ApiError::Internal(format!("an export can't be written: {error}"))
}
