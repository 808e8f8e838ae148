//! What a request is called in the audit log: by its route, also where it was refused early.

use std::borrow::Cow;
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

/// What a request is called: by its route's name, or by the method and pattern of a host
/// application's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestName {
    /// `LIST_USERS`; `None`: the request is not recorded.
    pub(super) action: Option<Cow<'static, str>>,
    /// `user`.
    pub(super) resource_type: Option<Cow<'static, str>>,
    /// The variable of the pattern that names the resource.
    pub(super) resource_variable: Option<String>,
    /// The pattern, where it has variables.
    pub(super) pattern: Option<String>,
}

impl RequestName {
    /// Whether it asks for a decision, by whatever method: it changes nothing.
    pub(super) fn is_question(&self) -> bool {
        matches!(self.action.as_deref(), Some("VERIFY" | "CHECK"))
    }

    /// The part of a path that names the resource, before the router has looked at it.
    pub(super) fn id_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let pattern = self.pattern.as_deref()?;
        let candidates = [self.resource_variable.as_deref(), Some("id"), self.resource_type.as_deref()];
        candidates.into_iter().flatten().find_map(|variable| {
            let mut parts = pattern.split('/').zip(path.split('/'));
            parts.find(|(part, _)| variable_of(part) == Some(variable)).map(|(_, value)| value)
        })
    }
}

/// `id` of `{id}` and of `{id:[0-9]+}`.
fn variable_of(part: &str) -> Option<&str> {
    let inner = part.strip_prefix('{')?.strip_suffix('}')?;
    Some(inner.split(':').next().unwrap_or(inner))
}

impl From<RouteName> for RequestName {
    fn from(name: RouteName) -> Self {
        let RouteName { action, resource_type } = name;
        Self {
            action: action.map(Cow::Borrowed),
            resource_type: resource_type.map(Cow::Borrowed),
            resource_variable: None,
            pattern: None,
        }
    }
}

/// A path that is no route.
const UNKNOWN: RouteName = RouteName { action: Some("UNKNOWN_ROUTE"), resource_type: None };

/// The names of all routes, by pattern and method.
#[derive(Debug, Clone, Default)]
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
    pub(super) fn name(&self, method: &Method, path: &str, matched: impl FnOnce() -> Option<String>) -> RequestName {
        if let Some(name) = self.find(method, path) {
            return name.into();
        }
        let Some(pattern) = matched() else { return UNKNOWN.into() };
        let name = match self.find(method, &pattern) {
            Some(name) => name.into(),
            None => derive(method, &pattern).unwrap_or_else(|| UNKNOWN.into()),
        };
        RequestName { pattern: Some(pattern), ..name }
    }
}

/// The name of a host application's route: `POST /api/projects` is
/// `CREATE_PROJECT` on a `project`, `GET` on it `LIST_PROJECTS`; `GET`, `PUT`,
/// `PATCH` and `DELETE` on `/api/projects/{id}` are `READ_`, `UPDATE_` and
/// `DELETE_PROJECT`, on the one that the variable names.
fn derive(method: &Method, pattern: &str) -> Option<RequestName> {
    let mut parts = pattern.split('/').filter(|part| !part.is_empty()).rev();
    let last = parts.next()?;
    let (collection, is_one) = match variable_of(last) {
        Some(_) => (parts.find(|part| !part.starts_with('{'))?, true),
        None => (last, false),
    };
    let singular = singular(collection);
    let (verb, is_plural) = match *method {
        Method::GET | Method::HEAD if is_one => ("READ", false),
        Method::GET | Method::HEAD => ("LIST", true),
        Method::POST => ("CREATE", false),
        Method::PUT | Method::PATCH => ("UPDATE", !is_one),
        Method::DELETE => ("DELETE", !is_one),
        _ => return None,
    };
    let noun = if is_plural { collection } else { &singular };
    let noun = noun.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_uppercase();
    Some(RequestName {
        action: Some(Cow::Owned(format!("{verb}_{noun}"))),
        resource_type: Some(Cow::Owned(singular)),
        resource_variable: variable_of(last).map(str::to_owned),
        pattern: None,
    })
}

/// `project` of `projects`, `policy` of `policies`, `address` of `addresses`.
fn singular(plural: &str) -> String {
    if let Some(stem) = plural.strip_suffix("ies") {
        return format!("{stem}y");
    }
    let has_long_plural = ["sses", "shes", "ches", "xes"].iter().any(|ending| plural.ends_with(ending));
    if has_long_plural {
        return plural[..plural.len() - 2].to_owned();
    }
    match plural.strip_suffix('s') {
        Some(stem) if !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => plural.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_applications_routes_are_named_by_method_and_pattern() {
        let named = |method, pattern| {
            let name = derive(&method, pattern).unwrap();
            let id = name.resource_variable.unwrap_or_default();
            format!("{} {} {id}", name.action.unwrap(), name.resource_type.unwrap())
        };
        assert_eq!(named(Method::POST, "/api/projects"), "CREATE_PROJECT project ");
        assert_eq!(named(Method::GET, "/api/projects"), "LIST_PROJECTS project ");
        assert_eq!(named(Method::GET, "/api/projects/{id}"), "READ_PROJECT project id");
        assert_eq!(named(Method::PUT, "/api/projects/{id}"), "UPDATE_PROJECT project id");
        assert_eq!(named(Method::PATCH, "/api/projects/{project_id:\\d+}"), "UPDATE_PROJECT project project_id");
        assert_eq!(named(Method::DELETE, "/users/{user_id}"), "DELETE_USER user user_id");
        assert_eq!(named(Method::POST, "/api/projects/{id}/data-sets"), "CREATE_DATA_SET data-set ");
        assert_eq!(named(Method::GET, "/policies/{id}"), "READ_POLICY policy id");
        assert_eq!(derive(&Method::GET, "/{anything}"), None);
        assert_eq!(derive(&Method::OPTIONS, "/api/projects"), None);
        assert_eq!(derive(&Method::GET, ""), None);
    }

    #[test]
    fn a_resource_is_named_before_the_router_has_looked() {
        let mut naming = Naming::default();
        naming.add(None, "/admin/roles/{role}", RouteName { action: Some("UPDATE_ROLE"), resource_type: Some("role") });
        let named = |pattern: &str, path: &str| {
            let name = naming.name(&Method::PUT, path, || Some(pattern.to_owned()));
            name.id_in(path).map(str::to_owned)
        };
        assert_eq!(named("/admin/roles/{role}", "/admin/roles/auditor").as_deref(), Some("auditor"));
        assert_eq!(named("/api/projects/{project_id:\\d+}", "/api/projects/42").as_deref(), Some("42"));
        assert_eq!(named("/api/projects", "/api/projects"), None);
    }

    #[test]
    fn one_of_several_is_called_as_people_call_it() {
        for (plural, one) in [
            ("projects", "project"),
            ("policies", "policy"),
            ("addresses", "address"),
            ("boxes", "box"),
            ("status", "status"),
            ("class", "class"),
            ("houses", "house"),
            ("staff", "staff"),
        ] {
            assert_eq!(singular(plural), one);
        }
    }
}
