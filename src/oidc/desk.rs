//! What every question about a provider is answered with.

use std::sync::Arc;

use super::documents::Documents;
use super::http::Http;
use super::settings::OidcSettings;
use crate::clock::SharedClock;

/// What the questions are answered with.
pub(super) struct Desk {
    pub(super) settings: Arc<OidcSettings>,
    pub(super) clock: SharedClock,
    pub(super) http: Http,
    pub(super) documents: Documents,
}
