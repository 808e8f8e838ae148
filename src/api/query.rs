//! Queries: each key at most once, empty ones absent, unknown ones ignored.

use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use std::future::{Ready, ready};

use crate::domain::{FieldCode, FieldError, MAX_LIMIT, Page, Timestamp};
use crate::problem::ApiError;

/// The greatest offset of the audit log: beyond it a question would cost unbounded work.
pub(super) const MAX_AUDIT_OFFSET: u64 = 10_000;

/// The greatest offset of a list that stays small.
pub(super) const MAX_OFFSET: u64 = i64::MAX as u64;

/// A request's query as a handler's argument; faults are gathered and told at once by [`Query::finish`].
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::parse(request.query_string())))
    }
}

impl Query {
    fn parse(query: &str) -> Self {
        let pairs =
            form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self { pairs: pairs.collect(), errors: Vec::new() }
    }

    /// All pairs, as they came.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Whether a key is there and not empty.
    pub(super) fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(name, value)| name == key && !value.is_empty())
    }

    pub(super) fn refuse(&mut self, field: &str, code: FieldCode, message: &str) {
        self.errors.push(FieldError::new(field, code, message));
    }

    /// The text of a key that is there and not empty.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone());
        let value = values.next()?;
        if values.next().is_some() {
            self.refuse(key, FieldCode::Repeated, "Given more often than once");
            return None;
        }
        if value.contains('\0') || value.contains('\u{FFFD}') {
            self.refuse(key, FieldCode::Invalid, "Not text");
            return None;
        }
        (!value.is_empty()).then_some(value)
    }

    /// A value of some form.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, message: &str) -> Option<T> {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.refuse(key, FieldCode::Invalid, message);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn one_of(&mut self, key: &str, words: &[&str]) -> Option<String> {
        let text = self.text(key)?;
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        self.refuse(key, FieldCode::Invalid, &format!("Expected {}", words.join(", ")));
        None
    }

    /// An HTTP status.
    pub(super) fn status(&mut self, key: &str) -> Option<u16> {
        let status = self.number(key, 100, 599, "Expected a status from 100 to 599")?;
        u16::try_from(status).ok()
    }

    /// An instant, RFC 3339.
    pub(super) fn time(&mut self, key: &str) -> Option<Timestamp> {
        let text = self.text(key)?;
        // In a query a plus sign is a blank: `+01:00` comes as ` 01:00`.
        match Timestamp::parse(&text.replace(' ', "+")) {
            Ok(time) => Some(time),
            Err(_) => {
                self.refuse(key, FieldCode::Invalid, "Expected a time, as in 2026-11-23T10:10:05.406Z");
                None
            }
        }
    }

    /// `limit` in 1..=1000 and `offset` from 0 to `max_offset`.
    pub(super) fn page(&mut self, max_offset: u64) -> Page {
        let default = Page::default();
        let limit = self.number("limit", 1, u64::from(MAX_LIMIT), "Expected a number from 1 to 1000");
        let message = if max_offset == MAX_AUDIT_OFFSET {
            "Expected a number from 0 to 10000; beyond it, go on with cursor"
        } else {
            "Expected a number from 0 on"
        };
        let offset = self.number("offset", 0, max_offset, message);
        Page {
            limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(default.limit),
            offset: offset.unwrap_or(default.offset),
        }
    }

    fn number(&mut self, key: &str, min: u64, max: u64, message: &str) -> Option<u64> {
        let text = self.text(key)?;
        match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            Ok(_) => {
                self.refuse(key, FieldCode::OutOfRange, message);
                None
            }
            Err(_) => {
                let code = if text.parse::<i128>().is_ok() { FieldCode::OutOfRange } else { FieldCode::Invalid };
                self.refuse(key, code, message);
                None
            }
        }
    }

    /// All faults that were found.
    ///
    /// # Errors
    /// 422 with each fault.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Vec<(String, FieldCode)>> {
        let mut query = Query::parse(query);
        let page = query.page(MAX_OFFSET);
        match query.finish() {
            Ok(()) => Ok(page),
            Err(ApiError::Validation(errors)) => Err(errors.into_iter().map(|e| (e.field, e.code)).collect()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_is_within_bounds() {
        assert_eq!(page(""), Ok(Page { limit: 100, offset: 0 }));
        assert_eq!(page("limit=1000&offset=7"), Ok(Page { limit: 1000, offset: 7 }));
        assert_eq!(page("limit="), Ok(Page::default()));
        for (query, field, code) in [
            ("limit=0", "limit", FieldCode::OutOfRange),
            ("limit=1001", "limit", FieldCode::OutOfRange),
            ("limit=-1", "limit", FieldCode::OutOfRange),
            ("limit=x", "limit", FieldCode::Invalid),
            ("offset=-1", "offset", FieldCode::OutOfRange),
            ("limit=1&limit=2", "limit", FieldCode::Repeated),
        ] {
            assert_eq!(page(query), Err(vec![(field.to_owned(), code)]), "{query}");
        }
    }

    #[test]
    fn a_time_with_a_plus_is_read() {
        let mut query = Query::parse("since=2026-11-23T10:10:05+01:00");
        assert_eq!(query.time("since").unwrap().to_string(), "2026-11-23T09:10:05.000Z");
    }
}
