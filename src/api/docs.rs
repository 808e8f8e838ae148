//! The API's description, generated from the handlers, and a page to try it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{KnownFormat, Object, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{
    Flow, Http, HttpAuthScheme, OAuth2, Password, Scopes, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, ResponseBuilder, Responses};

use super::endpoint::{Endpoint, Needs};
use super::query::MAX_AUDIT_OFFSET;
use crate::domain::{Conflict, FieldCode, FieldError, MAX_LIMIT, Page, Provider, Refusal, RoleName};
use crate::problem::{ApiError, Problem};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::unrecorded("/docs", || Route::new().to(page)),
        // Each by its own path: a pattern would be tried for every request that is not public.
        Endpoint::unrecorded("/docs/swagger-ui.css", || Route::new().to(file)),
        Endpoint::unrecorded("/docs/swagger-ui-bundle.js", || Route::new().to(file)),
        Endpoint::unrecorded("/docs/favicon-32x32.png", || Route::new().to(file)),
        Endpoint::unrecorded("/openapi.json", || Route::new().to(description)),
    ]
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Portcullis", description = "Authentication, authorization and audit for APIs."),
    paths(
        super::health::health, super::health::alive, super::health::ready, super::health::metrics, super::health::key_set,
        super::auth::register, super::auth::login, super::auth::refresh, super::auth::logout,
        super::profile::read, super::profile::update, super::profile::change_password,
        super::oauth::login, super::oauth::exchange, super::oauth_browser::authorize, super::oauth_browser::callback,
        super::identities::list, super::identities::link, super::identities::unlink,
        super::sessions::list, super::sessions::end, super::sessions::end_others,
        super::authz::verify, super::authz::verify_token, super::authz::check,
        super::users::list, super::users::find, super::users::create, super::users::update, super::users::delete,
        super::user_access::assign_role, super::user_access::revoke_role, super::user_access::list_permissions,
        super::user_access::list_sessions, super::user_access::end_sessions, super::user_access::unlock,
        super::roles::list, super::roles::find, super::roles::create, super::roles::update, super::roles::delete,
        super::role_grants::grant, super::role_grants::revoke, super::role_grants::include, super::role_grants::exclude,
        super::permissions::list, super::permissions::create, super::permissions::delete,
        super::audit::list, super::audit::find, super::audit::count, super::audit::checkpoint, super::audit_export::export,
        super::audit_events::create_event,
        page, description,
    ),
    components(schemas(Problem)),
    tags(
        (name = "Authentication", description = "Register, sign in, refresh, sign out"),
        (name = "Account", description = "The caller's own account and sessions"),
        (name = "Users", description = "Users and their roles, for administrators"),
        (name = "Roles", description = "Roles and permissions"),
        (name = "Decisions", description = "For gateways and other services"),
        (name = "Audit", description = "Who did what"),
        (name = "Service", description = "Health, metrics, keys, documentation"),
    ),
)]
struct Description;

/// The whole description: what the handlers say, with what the table of
/// endpoints says of each: security, and the errors that it can answer. The
/// operations of a host application stand beside ours.
pub fn openapi(endpoints: &[Endpoint], host: Option<utoipa::openapi::OpenApi>) -> utoipa::openapi::OpenApi {
    let mut api = Description::openapi();
    let errors = errors();
    let components = api.components.get_or_insert_with(Components::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme(
        "password",
        SecurityScheme::OAuth2(OAuth2::new([Flow::Password(Password::new("/auth/login", Scopes::new()))])),
    );
    components.headers.extend(HEADERS.iter().map(|(name, _, description)| {
        let header = HeaderBuilder::new().schema(Some(Object::with_type(Type::String))).description(Some(*description));
        ((*name).to_owned(), RefOr::T(header.build()))
    }));
    components.examples.extend(errors.iter().map(|error| {
        let example = ExampleBuilder::new().summary(error.detail()).value(body_of(error));
        (error.code().to_owned(), RefOr::T(example.build()))
    }));
    for endpoint in endpoints {
        // Of `{path:.*}` the name.
        let Some(item) = api.paths.paths.get_mut(&endpoint.path.replace(":.*", "")) else { continue };
        let method = endpoint.method.map_or(Method::GET, |method| method());
        if let Some((_, operation)) = operations(item).find(|(name, _)| *name == method.as_str()) {
            complete(operation, endpoint);
        }
    }
    if let Some(host) = host {
        api.info = host.info.clone();
        add_host(&mut api, host);
    }
    for (_, operation) in api.paths.paths.values_mut().flat_map(operations) {
        complete_responses(&mut operation.responses, &errors);
    }
    api
}

/// The operations of a path, by their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, head, post, put, patch, delete, options, trace, .. } = item;
    [
        ("GET", get),
        ("HEAD", head),
        ("POST", post),
        ("PUT", put),
        ("PATCH", patch),
        ("DELETE", delete),
        ("OPTIONS", options),
        ("TRACE", trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// What a token is refused with.
const UNAUTHENTICATED: &str = "`not_authenticated`, `token_expired`, `token_revoked`, `token_invalid`";

const UNAVAILABLE: &str = "`unavailable`; with `Retry-After`";

/// Adds the errors that follow from what the endpoint needs and reads, where the handler does not
/// name them itself; its name, its security, and the bounds of its query.
fn complete(operation: &mut Operation, endpoint: &Endpoint) {
    let mut errors: Vec<(&str, String)> = Vec::new();
    let mut add = |status: &'static str, description: &str| errors.push((status, description.to_owned()));
    if endpoint.needs != Needs::Nothing {
        add("401", UNAUTHENTICATED);
        add("503", UNAVAILABLE);
    }
    match endpoint.needs {
        Needs::Nothing | Needs::Account => {}
        Needs::Permission(permission) => add("403", &format!("`permission_required`: {permission}")),
        Needs::Role(role) => add("403", &format!("`role_required`: {role}")),
    }
    if operation.request_body.is_some() {
        add("400", "`malformed_json`");
        add("408", "`request_timeout`");
        add("413", "`payload_too_large`: over 64 KiB");
        add("415", "`unsupported_media_type`");
        add("422", "`validation_error`, with what is wrong with each field");
        add("503", UNAVAILABLE);
    }
    let query = operation.parameters.iter_mut().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter),
        _ => None,
    });
    for parameter in query {
        add("422", "`validation_error`, with what is wrong with each key");
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            bound(schema, &parameter.name, endpoint);
        }
    }
    add_responses(&mut operation.responses, errors);
    operation.operation_id = Some(operation_id(endpoint));
    operation.security = Some(if endpoint.needs == Needs::Nothing { Vec::new() } else { signed_in() });
    if endpoint.method.is_none() {
        let description = operation.description.get_or_insert_default();
        description.push_str("\n\nAny method will do; OpenAPI has no word for that.");
    }
}

/// The bounds that [`Query`](super::query::Query) keeps, by the name of the key.
fn bound(schema: &mut Object, name: &str, endpoint: &Endpoint) {
    let page = Page::default();
    match name {
        "limit" => {
            (schema.minimum, schema.maximum) = (Some(1_u32.into()), Some(MAX_LIMIT.into()));
            schema.default = Some(page.limit.into());
        }
        "offset" => {
            let is_audit = endpoint.path.starts_with("/audit/");
            (schema.minimum, schema.maximum) = (Some(0_u32.into()), is_audit.then(|| MAX_AUDIT_OFFSET.into()));
            schema.default = Some(page.offset.into());
        }
        "since" | "until" => schema.format = Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)),
        _ => {}
    }
}

/// Of endpoints that have no action in the audit log to themselves, what generated clients call them.
const OPERATION_IDS: &[(&str, &str)] = &[
    ("GET /", "get_health"),
    ("DELETE /auth/sessions", "end_other_sessions"),
    ("POST /auth/oauth/exchange", "oauth_exchange"),
    ("* /auth/verify/{path:.*}", "verify_token"),
    ("GET /admin/users/{id}/sessions", "list_user_sessions"),
    ("DELETE /admin/users/{id}/sessions", "end_user_sessions"),
];

fn operation_id(endpoint: &Endpoint) -> String {
    let method = endpoint.method_name();
    let route = format!("{method} {}", endpoint.path);
    match (OPERATION_IDS.iter().find(|(known, _)| *known == route), endpoint.name.action) {
        (Some((_, id)), _) => (*id).to_owned(),
        (None, Some(action)) => action.to_lowercase(),
        (None, None) => id_of_route(&method, endpoint.path),
    }
}

/// `get_openapi_json` of `GET /openapi.json`.
fn id_of_route(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    iter::once(method).chain(words).collect::<Vec<_>>().join("_").to_lowercase()
}

/// Either is enough: a pasted token, or the page's own sign-in.
fn signed_in() -> Vec<SecurityRequirement> {
    ["bearer", "password"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new())).to_vec()
}

/// Adds the operations of a host application. Those that say nothing of security are taken for
/// guarded, with what our guards refuse them with: the page sends its token only to such.
fn add_host(api: &mut utoipa::openapi::OpenApi, mut host: utoipa::openapi::OpenApi) {
    let ours = api.paths.paths.values_mut().flat_map(operations);
    let mut taken: BTreeSet<String> = ours.filter_map(|(_, operation)| operation.operation_id.clone()).collect();
    let security = host.security.clone().unwrap_or_else(signed_in);
    for (path, item) in &mut host.paths.paths {
        for (method, operation) in operations(item) {
            if operation.security.is_none() {
                operation.security = Some(security.clone());
                let refusals =
                    [("401", UNAUTHENTICATED), ("403", "`permission_required`, `role_required`"), ("503", UNAVAILABLE)];
                let refusals = refusals.map(|(status, description)| (status, description.to_owned()));
                add_responses(&mut operation.responses, refusals);
            }
            // Handlers of one name, in two modules or in theirs and ours.
            let id = operation.operation_id.get_or_insert_with(|| id_of_route(method, path));
            if taken.contains(id) {
                *id = id_of_route(method, path);
            }
            taken.insert(id.clone());
        }
    }
    api.merge(host);
}

fn add_responses<'a>(responses: &mut Responses, errors: impl IntoIterator<Item = (&'a str, String)>) {
    for (status, description) in errors {
        let response = || RefOr::T(ResponseBuilder::new().description(description).build());
        responses.responses.entry(status.to_owned()).or_insert_with(response);
    }
}

/// The headers of answers, with the statuses that have them; none stands for all.
const HEADERS: &[(&str, &[&str], &str)] = &[
    ("X-Request-Id", &[], "The request's, if it is 1 to 128 visible ASCII characters, else a fresh UUIDv7"),
    ("WWW-Authenticate", &["401"], "`Bearer`, with `error=\"invalid_token\"` where a token was sent (RFC 6750)"),
    ("Allow", &["405"], "The methods that the path has"),
    ("Retry-After", &["429", "503"], "How many seconds to wait"),
];

/// Says of each response its headers, and of an error its body, with an example for each code that
/// the description names.
fn complete_responses(responses: &mut Responses, errors: &[ApiError]) {
    for (status, response) in &mut responses.responses {
        let RefOr::T(response) = response else { continue };
        let is_problem = response.content.is_empty() && status.parse().is_ok_and(|status: u16| status >= 400);
        for (name, statuses, _) in HEADERS {
            if statuses.is_empty() || (is_problem && statuses.contains(&status.as_str())) {
                let header = Ref::new(format!("#/components/headers/{name}"));
                response.headers.entry((*name).to_owned()).or_insert(RefOr::Ref(header));
            }
        }
        if is_problem {
            let possible = || errors.iter().filter(|error| error.status().as_str() == status).map(ApiError::code);
            let named = possible().filter(|code| response.description.contains(&format!("`{code}`")));
            let mut codes: Vec<&str> = named.collect();
            if codes.is_empty() {
                codes.extend(possible().next());
            }
            let examples =
                codes.into_iter().map(|code| (code, RefOr::Ref(Ref::new(format!("#/components/examples/{code}")))));
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            let problem = problem.examples_from_iter(examples).build();
            response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
        }
    }
}

/// One of each error that a description names by its code, in the order of statuses.
fn errors() -> Vec<ApiError> {
    let role = |name: &str| RoleName::parse(name).ok();
    let errors = [
        Some(ApiError::MalformedJson("The body is not JSON at line 1, column 15".into())),
        Some(ApiError::InvalidState),
        Some(ApiError::InvalidGrant),
        Some(ApiError::NotAuthenticated),
        Some(ApiError::TokenExpired),
        Some(ApiError::TokenRevoked),
        Some(ApiError::TokenInvalid("Token is malformed")),
        Some(ApiError::InvalidCredentials),
        Some(ApiError::InvalidProviderToken(Refusal::WrongAudience)),
        "projects:create".parse().ok().map(ApiError::PermissionRequired),
        role(RoleName::ADMIN).map(ApiError::RoleRequired),
        Some(ApiError::Escalation("Only who has a permission, with all that it covers, grants it")),
        Some(ApiError::RegistrationDisabled),
        Some(ApiError::AccountDisabled),
        Some(ApiError::OriginNotAllowed),
        Some(ApiError::WrongPassword),
        Some(ApiError::NotFound("Not found")),
        Some(ApiError::MethodNotAllowed(String::new())),
        Some(ApiError::RequestTimeout),
        Some(ApiError::UsernameTaken),
        Some(ApiError::EmailTaken),
        Some(ApiError::Conflict(Conflict::RoleExists)),
        Some(ApiError::Conflict(Conflict::PermissionExists)),
        Some(ApiError::Conflict(Conflict::PermissionInUse(role("analyst").into_iter().collect()))),
        Some(ApiError::Conflict(Conflict::RoleCycle(
            ["editor", "reviewer", "editor"].into_iter().filter_map(role).collect(),
        ))),
        Some(ApiError::Conflict(Conflict::BuiltIn("The three default roles stay"))),
        role("viewer")
            .map(|role| ApiError::Conflict(Conflict::DefaultRole { role, problem: "would hold users:manage" })),
        Some(ApiError::AccountExists),
        Some(ApiError::IdentityTaken),
        Some(ApiError::TooManyIdentities),
        Some(ApiError::LastCredential),
        Some(ApiError::LastAdmin),
        Some(ApiError::TooLarge(65_536)),
        Some(ApiError::UnsupportedMediaType("application/json")),
        Some(ApiError::field(FieldError::new("username", FieldCode::Required, "Field required"))),
        Some(ApiError::UnknownProvider),
        Some(ApiError::ProviderNotConfigured { provider: Provider::Google, variable: "OAUTH_GOOGLE_CLIENT_ID" }),
        Some(ApiError::RedirectNotAllowed),
        Some(ApiError::Unavailable(String::new())),
        Some(ApiError::ProviderUnavailable { provider: Provider::Google, cause: String::new() }),
    ];
    errors.into_iter().flatten().collect()
}

/// As it is answered.
fn body_of(error: &ApiError) -> Option<Value> {
    let body = error.response("0197e0a0-7c1e-7d3a-9b7e-0242ac120002").into_body().try_into_bytes().ok()?;
    serde_json::from_slice(&body).ok()
}

/// The description as JSON, written once for all requests. The wrapper tells it from bytes of a host
/// application's own.
type Written = web::Json<web::Bytes>;

/// The API's description
#[utoipa::path(get, path = "/openapi.json", tag = "Service", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn description(description: web::Data<Written>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(description.get_ref().0.clone())
}

/// The API's documentation
#[utoipa::path(get, path = "/docs", tag = "Service", responses((status = 200, description = "Swagger UI", body = String, content_type = "text/html")))]
async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE)
}

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portcullis API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false, validatorUrl: null });
</script>
</body>
</html>
"##;

/// Swagger UI's own files, from inside the binary.
async fn file(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let name = request.path().trim_start_matches("/docs/");
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => {
            let body = match file.bytes {
                Cow::Borrowed(bytes) => web::Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            };
            Ok(HttpResponse::Ok()
                .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
                .content_type(file.content_type)
                .body(body))
        }
        Ok(None) => Err(ApiError::NotFound("No such file")),
        Err(error) => Err(ApiError::Internal(error.to_string())),
    }
}
