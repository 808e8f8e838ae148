//! The API's description, generated from the handlers, and a page to try it.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{
    Flow, Http, HttpAuthScheme, OAuth2, Password, Scopes, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, ResponseBuilder};

use super::endpoint::{Endpoint, Needs};
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
        super::sessions::list, super::sessions::end, super::sessions::end_others,
        super::authz::verify, super::authz::check,
        super::users::list, super::users::find, super::users::create, super::users::update, super::users::delete,
        super::user_access::assign_role, super::user_access::revoke_role, super::user_access::list_permissions,
        super::user_access::list_sessions, super::user_access::end_sessions, super::user_access::unlock,
        super::roles::list, super::roles::find, super::roles::create, super::roles::update, super::roles::delete,
        super::role_grants::grant, super::role_grants::revoke, super::role_grants::include, super::role_grants::exclude,
        super::permissions::list, super::permissions::create, super::permissions::delete,
        super::audit::list, super::audit::create_event,
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
/// endpoints says of each: security, and the errors that it can answer.
pub fn openapi(endpoints: &[Endpoint]) -> utoipa::openapi::OpenApi {
    let mut api = Description::openapi();
    let components = api.components.get_or_insert_with(Components::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme(
        "password",
        SecurityScheme::OAuth2(OAuth2::new([Flow::Password(Password::new("/auth/login", Scopes::new()))])),
    );
    for endpoint in endpoints {
        let Some(item) = api.paths.paths.get_mut(endpoint.path) else { continue };
        let method = endpoint.method.map_or(actix_web::http::Method::GET, |method| method());
        let operation = match method.as_str() {
            "GET" => &mut item.get,
            "POST" => &mut item.post,
            "PUT" => &mut item.put,
            "PATCH" => &mut item.patch,
            "DELETE" => &mut item.delete,
            _ => continue,
        };
        if let Some(operation) = operation {
            complete(operation, endpoint);
        }
    }
    api
}

/// Adds the errors: those that the handler names get their body, and those
/// that follow from what the endpoint needs and reads are added.
fn complete(operation: &mut Operation, endpoint: &Endpoint) {
    let mut errors: Vec<(String, String)> = Vec::new();
    let mut add = |status: &str, description: &str| errors.push((status.to_owned(), description.to_owned()));
    if endpoint.needs != Needs::Nothing {
        add("401", "`not_authenticated`, `token_expired`, `token_revoked`, `token_invalid`");
        add("503", "`unavailable`; with `Retry-After`");
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
        add("503", "`unavailable`; with `Retry-After`");
    }
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query));
    if has_query {
        add("422", "`validation_error`, with what is wrong with each key");
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in errors {
        responses.entry(status).or_insert_with(|| RefOr::T(ResponseBuilder::new().description(description).build()));
    }
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && response.content.is_empty()
            && status.as_str() >= "400"
        {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
        }
    }
    let security = match endpoint.needs {
        Needs::Nothing => Vec::new(),
        Needs::Account | Needs::Permission(_) | Needs::Role(_) => {
            ["bearer", "password"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new())).to_vec()
        }
    };
    operation.security = Some(security);
}

/// The API's description
#[utoipa::path(get, path = "/openapi.json", tag = "Service", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn description(description: web::Data<utoipa::openapi::OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(description.get_ref())
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
        Ok(Some(file)) => Ok(HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
            .content_type(file.content_type)
            .body(file.bytes.into_owned())),
        Ok(None) => Err(ApiError::NotFound("No such file")),
        Err(error) => Err(ApiError::Internal(error.to_string())),
    }
}
