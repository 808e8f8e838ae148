//! What each of the three answers to whom: discovery, key set, and questions about an access token.

use serde_json::{Value, json};

use super::server::{Reply, Request};
use super::{State, flow};
use crate::support::claims;

/// An issuer and where its endpoints are.
pub(super) struct Dialect {
    pub(super) issuer: String,
    pub(super) endpoints: String,
    /// Whether it names itself in the answer of the browser flow (RFC 9207).
    pub(super) names_itself: bool,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Google,
    Microsoft,
    Okta,
}

pub(super) fn answer(state: &mut State, request: &Request) -> Reply {
    let base = state.base.clone();
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["google", rest @ ..] => {
            let issuer = format!("{base}/google");
            let dialect = Dialect { endpoints: issuer.clone(), issuer, names_itself: true, kind: Kind::Google };
            endpoint(state, request, &dialect, rest)
        }
        ["microsoft", tenant, "v2.0", rest @ ..]
        | ["microsoft", tenant, "oauth2", "v2.0", rest @ ..]
        | ["microsoft", tenant, "discovery", "v2.0", rest @ ..] => {
            let is_shared = ["common", "organizations"].contains(tenant);
            if !is_shared && tenant.parse::<uuid::Uuid>().is_err() {
                return Reply::refusal(400, "invalid_tenant", tenant);
            }
            // Of the shared ones the issuer is a template.
            let issuer_of = if is_shared { "{tenantid}" } else { tenant };
            let dialect = Dialect {
                issuer: format!("{base}/microsoft/{issuer_of}/v2.0"),
                endpoints: format!("{base}/microsoft/{tenant}"),
                names_itself: false,
                kind: Kind::Microsoft,
            };
            endpoint(state, request, &dialect, rest)
        }
        ["graph", "v1.0", what] => match (state.grants.get(request.bearer()), *what) {
            (Some(grant), "me") => Reply::Json(200, grant.userinfo.clone()),
            (Some(grant), "organization") => Reply::Json(200, grant.info.clone()),
            _ => Reply::refusal(401, "InvalidAuthenticationToken", "no such token"),
        },
        ["okta", domain, "oauth2", "default", rest @ ..] => {
            okta(state, request, &format!("{base}/okta/{domain}/oauth2/default"), "", rest)
        }
        ["okta", domain, "oauth2", rest @ ..] => {
            okta(state, request, &format!("{base}/okta/{domain}"), "/oauth2", rest)
        }
        ["okta", domain, rest @ ..] => okta(state, request, &format!("{base}/okta/{domain}"), "/oauth2", rest),
        _ => Reply::refusal(404, "not_found", &request.path),
    }
}

fn okta(state: &mut State, request: &Request, issuer: &str, folder: &str, rest: &[&str]) -> Reply {
    let endpoints = format!("{issuer}{folder}/v1");
    let dialect = Dialect { issuer: issuer.to_owned(), endpoints, names_itself: false, kind: Kind::Okta };
    endpoint(state, request, &dialect, rest.strip_prefix(&["v1"]).unwrap_or(rest))
}

fn endpoint(state: &mut State, request: &Request, dialect: &Dialect, rest: &[&str]) -> Reply {
    match (request.method.as_str(), rest) {
        ("GET", [".well-known", "openid-configuration" | "oauth-authorization-server"]) => {
            Reply::Json(200, discovery(dialect))
        }
        ("GET", ["keys"]) => {
            let keys: Vec<&Value> = state.published.iter().map(|key| &key.jwk).collect();
            Reply::Json(200, json!({"keys": keys}))
        }
        ("GET" | "POST", ["tokeninfo"]) => match state.grants.get(request.value("access_token")) {
            Some(grant) => Reply::Json(200, grant.info.clone()),
            None => Reply::refusal(400, "invalid_token", "Invalid Value"),
        },
        ("GET" | "POST", ["userinfo"]) => userinfo(state, request.bearer()),
        ("POST", ["introspect"]) if !flow::is_client(request) => Reply::refusal(401, "invalid_client", "who asks?"),
        ("POST", ["introspect"]) => match state.grants.get(request.value("token")) {
            Some(grant) => Reply::Json(200, grant.info.clone()),
            None => Reply::Json(200, json!({"active": false})),
        },
        ("GET", ["authorize"]) => flow::authorize(state, request, dialect),
        ("POST", ["token"]) => flow::token(state, request, dialect),
        _ => Reply::refusal(404, "not_found", &request.path),
    }
}

fn userinfo(state: &State, token: &str) -> Reply {
    let by_grant = state.grants.get(token).map(|grant| grant.userinfo.clone());
    let by_subject = || {
        let is_jwt = token.split('.').count() == 3 && token.starts_with("eyJ");
        let subject = is_jwt.then(|| claims(token)["uid"].as_str().map(str::to_owned)).flatten()?;
        state.userinfo.get(&subject).cloned()
    };
    match by_grant.or_else(by_subject) {
        Some(userinfo) => Reply::Json(200, userinfo),
        None => Reply::refusal(401, "invalid_token", "no such token"),
    }
}

fn discovery(dialect: &Dialect) -> Value {
    let Dialect { issuer, endpoints, names_itself, kind } = dialect;
    let (browser, keys) = match kind {
        Kind::Microsoft => (format!("{endpoints}/oauth2/v2.0"), format!("{endpoints}/discovery/v2.0/keys")),
        Kind::Google | Kind::Okta => (endpoints.clone(), format!("{endpoints}/keys")),
    };
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{browser}/authorize"),
        "token_endpoint": format!("{browser}/token"),
        "userinfo_endpoint": format!("{browser}/userinfo"),
        "jwks_uri": keys,
        "response_types_supported": ["code", "id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
    });
    if *names_itself {
        document["authorization_response_iss_parameter_supported"] = json!(true);
    }
    if *kind == Kind::Okta {
        document["introspection_endpoint"] = json!(format!("{browser}/introspect"));
    }
    document
}
