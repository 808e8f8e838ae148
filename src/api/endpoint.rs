//! The table of endpoints: what each needs stands beside its path, so none can
//! be added without saying so.

use std::collections::BTreeMap;

use actix_web::guard::{self, Guard, GuardContext};
use actix_web::http::Method;
use actix_web::{HttpRequest, Route, web};

use crate::guard::{Naming, RouteName, require_permission, require_role};
use crate::problem::ApiError;

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: a public endpoint.
    Nothing,
    /// An account.
    Account,
    /// A permission.
    Permission(&'static str),
    /// A role.
    Role(&'static str),
}

/// One method of one path.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// `None`: any method.
    pub method: Option<fn() -> Method>,
    /// The pattern: `/admin/users/{id}`.
    pub path: &'static str,
    /// What a caller needs.
    pub needs: Needs,
    /// What the audit log calls it.
    pub name: RouteName,
    /// Its handler.
    handler: fn() -> Route,
}

impl Endpoint {
    /// A public endpoint that is not recorded.
    pub(super) fn unrecorded(path: &'static str, handler: fn() -> Route) -> Self {
        let name = RouteName { action: None, resource_type: None };
        Self { method: Some(|| Method::GET), path, needs: Needs::Nothing, name, handler }
    }

    /// An endpoint with its name in the audit log.
    pub(super) fn new(
        method: fn() -> Method,
        path: &'static str,
        needs: Needs,
        action: &'static str,
        handler: fn() -> Route,
    ) -> Self {
        let name = RouteName { action: Some(action), resource_type: None };
        Self { method: Some(method), path, needs, name, handler }
    }

    /// The same for every method.
    pub(super) fn any_method(path: &'static str, needs: Needs, action: &'static str, handler: fn() -> Route) -> Self {
        let name = RouteName { action: Some(action), resource_type: None };
        Self { method: None, path, needs, name, handler }
    }

    /// About a kind of resource; its id is the path's `{id}`, or what the path calls like the kind.
    pub(super) fn about(mut self, resource_type: &'static str) -> Self {
        self.name.resource_type = Some(resource_type);
        self
    }

    /// The method's name, `*` for any.
    pub fn method_name(&self) -> String {
        self.method.map_or_else(|| "*".to_owned(), |method| method().to_string())
    }

    /// Whether the pattern fits more than one path.
    pub(super) fn has_variables(&self) -> bool {
        self.path.contains('{')
    }

    fn route(&self) -> Route {
        let route = (self.handler)();
        let route = match self.method.map(|method| method()) {
            // HEAD works wherever GET does.
            Some(Method::GET) => route.guard(guard::Any(guard::Get()).or(guard::Head())),
            Some(method) => route.guard(MethodGuard(method)),
            None => route,
        };
        match self.needs {
            Needs::Nothing | Needs::Account => route,
            Needs::Permission(permission) => route.wrap(require_permission(permission)),
            Needs::Role(role) => route.wrap(require_role(role)),
        }
    }
}

struct MethodGuard(Method);

impl Guard for MethodGuard {
    fn check(&self, ctx: &GuardContext<'_>) -> bool {
        ctx.head().method == self.0
    }
}

/// Mounts those of the endpoints below `prefix` that `belongs` picks: a resource for each path, with
/// 405 and `Allow` for the methods that it does not have.
pub(super) fn mount(
    cfg: &mut web::ServiceConfig,
    prefix: &str,
    endpoints: &[Endpoint],
    belongs: impl Fn(&Endpoint) -> bool,
) {
    // Patterns without variables first: they are compared, the others are matched by regular
    // expressions, and the router tries them in this order. No two of ours fit the same path.
    let mut by_path: BTreeMap<(bool, &'static str), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| belongs(endpoint)) {
        let Some(path) = endpoint.path.strip_prefix(prefix) else { continue };
        by_path.entry((endpoint.has_variables(), path)).or_default().push(endpoint);
    }
    for ((_, path), endpoints) in by_path {
        let allow = allowed_methods(&endpoints);
        let mut resource = web::resource(path);
        for endpoint in &endpoints {
            resource = resource.route(endpoint.route());
        }
        cfg.service(resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { Err::<String, _>(ApiError::MethodNotAllowed(allow)) }
        })));
    }
}

fn allowed_methods(endpoints: &[&Endpoint]) -> String {
    let mut methods: Vec<String> = endpoints.iter().map(|endpoint| endpoint.method_name()).collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.sort();
    methods.join(", ")
}

/// The names of the endpoints for the audit log.
pub(super) fn naming(endpoints: &[Endpoint]) -> Naming {
    let mut naming = Naming::default();
    for endpoint in endpoints {
        naming.add(endpoint.method.map(|method| method()), endpoint.path, endpoint.name);
    }
    naming
}

/// What answers where no path fits.
pub(super) async fn not_found(_: HttpRequest) -> Result<String, ApiError> {
    Err(ApiError::NotFound("Not found"))
}
