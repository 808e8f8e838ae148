//! What a handler tells the audit record of its request.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpMessage;
use serde_json::{Map, Value};

use crate::domain::UserId;

/// A handler's part of the request's audit record; what it leaves out, the
/// route's name and the caller say.
#[derive(Debug, Default)]
pub struct AuditNote {
    pub(super) action: Option<Cow<'static, str>>,
    pub(super) user: Option<(UserId, Arc<str>)>,
    pub(super) resource_type: Option<Cow<'static, str>>,
    pub(super) resource_id: Option<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) is_event: bool,
}

impl AuditNote {
    /// Tells something of the request's record.
    pub fn on(request: &impl HttpMessage, tell: impl FnOnce(&mut Self)) {
        let mut extensions = request.extensions_mut();
        if let Some(note) = extensions.get_mut::<Self>() {
            tell(note);
            return;
        }
        let mut note = Self::default();
        tell(&mut note);
        extensions.insert(note);
    }

    /// Another action than the route's.
    pub fn action(&mut self, action: impl Into<Cow<'static, str>>) -> &mut Self {
        self.action = Some(action.into());
        self
    }

    /// Who it was, where no bearer says it.
    pub fn user(&mut self, id: UserId, username: Arc<str>) -> &mut Self {
        self.user = Some((id, username));
        self
    }

    /// What it was about.
    pub fn resource(&mut self, kind: impl Into<Cow<'static, str>>, id: Option<String>) -> &mut Self {
        self.resource_type = Some(kind.into());
        self.resource_id = id;
        self
    }

    /// Which one it was about, where its kind is not told.
    pub fn resource_id(&mut self, id: Option<String>) -> &mut Self {
        self.resource_id = id;
        self
    }

    /// Something else worth knowing. Never a secret.
    pub fn metadata(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// The same of several things.
    pub fn metadata_of(&mut self, metadata: Map<String, Value>) -> &mut Self {
        self.metadata.extend(metadata);
        self
    }

    /// The record is the caller's own event, with the caller's metadata.
    pub fn event(&mut self, metadata: Map<String, Value>) -> &mut Self {
        self.is_event = true;
        self.metadata = metadata;
        self
    }
}
