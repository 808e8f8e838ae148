//! What a request is called in the audit log: by its route, also where it was refused early.

use std::collections::HashMap;

use actix_web::http::Method;

/// The name of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteName {
    /// `LIST_USERS`; `None`: the route is not recorded.
    pub action: Option<&'static str>,
    /// `user`.
    pub resource_type: Option<&'static str>,
}

/// A path that is no route.
const UNKNOWN: RouteName = RouteName { action: Some("UNKNOWN_ROUTE"), resource_type: None };

/// The names of all routes, by pattern and method.
#[derive(Debug, Default)]
pub struct Naming {
    by_pattern: HashMap<String, Vec<(Option<Method>, RouteName)>>,
}

impl Naming {
    /// Names a route; without a method, every method of that pattern.
    pub fn add(&mut self, method: Option<Method>, pattern: &str, name: RouteName) {
        self.by_pattern.entry(pattern.to_owned()).or_default().push((method, name));
    }

    /// The name of a pattern's method; `HEAD` is called like `GET`.
    pub(super) fn find(&self, method: &Method, pattern: &str) -> Option<RouteName> {
        let names = self.by_pattern.get(pattern)?;
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let named = names.iter().find(|(named, _)| named.as_ref().is_none_or(|named| named == method));
        // A method that the path does not have is called like its first one.
        named.or(names.first()).map(|(_, name)| *name)
    }

    /// The name of a request: by its path where that is a pattern without
    /// variables, else by the pattern that `matched` looks up.
    pub(super) fn name(&self, method: &Method, path: &str, matched: impl FnOnce() -> Option<String>) -> RouteName {
        self.find(method, path).or_else(|| matched().and_then(|pattern| self.find(method, &pattern))).unwrap_or(UNKNOWN)
    }
}
