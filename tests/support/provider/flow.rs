//! The browser flow from the provider's side: a code for whoever sits at the browser, and tokens for the code
//! (RFC 6749 §4.1, RFC 7636, RFC 9207).

use serde_json::json;

use super::dialects::{Dialect, Kind};
use super::server::{Reply, Request};
use super::{CLIENT_SECRET, GOOGLE_CLIENT, Grant, MICROSOFT_CLIENT, OKTA_CLIENT, Person, State, people};
use crate::support::{Forge, base64url};

/// What a code was given for.
pub(super) struct Code {
    kind: Kind,
    person: Person,
    redirect_uri: String,
    challenge: String,
    nonce: String,
}

fn client_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Google => GOOGLE_CLIENT,
        Kind::Microsoft => MICROSOFT_CLIENT,
        Kind::Okta => OKTA_CLIENT,
    }
}

/// The client's id and secret, from the form or by HTTP Basic (RFC 6749 §2.3.1).
fn credentials(request: &Request) -> (String, String) {
    use base64::Engine;
    let basic = request.authorization.strip_prefix("Basic ").unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD.decode(basic).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    let plain = |text: &str| {
        let pairs = form_urlencoded::parse(text.as_bytes());
        pairs.map(|(name, _)| name.into_owned()).next().unwrap_or_default()
    };
    match decoded.split_once(':') {
        Some((id, secret)) => (plain(id), plain(secret)),
        None => (request.value("client_id").to_owned(), request.value("client_secret").to_owned()),
    }
}

/// Whether Okta's client asks, and proves it.
pub(super) fn is_client(request: &Request) -> bool {
    credentials(request) == (OKTA_CLIENT.to_owned(), CLIENT_SECRET.to_owned())
}

pub(super) fn authorize(state: &mut State, request: &Request, dialect: &Dialect) -> Reply {
    let is_complete = request.value("client_id") == client_of(dialect.kind)
        && request.value("response_type") == "code"
        && request.value("scope").split(' ').any(|scope| scope == "openid")
        && request.value("code_challenge_method") == "S256"
        && ["state", "nonce", "code_challenge"].iter().all(|name| request.value(name).len() >= 22);
    let Some(mut to) = reqwest::Url::parse(request.value("redirect_uri")).ok().filter(|_| is_complete) else {
        return Reply::refusal(400, "invalid_request", "client, response type, scope, state, nonce or challenge");
    };
    to.query_pairs_mut().append_pair("state", request.value("state"));
    if dialect.names_itself {
        to.query_pairs_mut().append_pair("iss", &dialect.issuer);
    }
    let Some(person) = state.at_the_browser.clone() else {
        to.query_pairs_mut().append_pair("error", "access_denied");
        return Reply::Redirect(to.into());
    };
    let code = format!("code-{}", uuid::Uuid::now_v7().simple());
    to.query_pairs_mut().append_pair("code", &code);
    let grant = Code {
        kind: dialect.kind,
        person,
        redirect_uri: request.value("redirect_uri").to_owned(),
        challenge: request.value("code_challenge").to_owned(),
        nonce: request.value("nonce").to_owned(),
    };
    state.codes.insert(code, grant);
    Reply::Redirect(to.into())
}

pub(super) fn token(state: &mut State, request: &Request, dialect: &Dialect) -> Reply {
    let verifier = request.value("code_verifier");
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let Some(code) = state.codes.remove(request.value("code")) else {
        return Reply::refusal(400, "invalid_grant", "no such code");
    };
    if credentials(request) != (client_of(dialect.kind).to_owned(), CLIENT_SECRET.to_owned()) {
        return Reply::refusal(401, "invalid_client", "who asks?");
    }
    let is_its_own = code.kind == dialect.kind
        && request.value("grant_type") == "authorization_code"
        && request.value("redirect_uri") == code.redirect_uri
        && base64url(challenge.as_ref()) == code.challenge;
    if !is_its_own {
        return Reply::refusal(400, "invalid_grant", "another's code");
    }
    let claims = match code.kind {
        Kind::Google => people::google_claims(&state.base, &code.person),
        Kind::Microsoft => people::microsoft_claims(&state.base, &code.person),
        Kind::Okta => people::okta_claims(&dialect.issuer, &code.person),
    };
    let token = Forge::with(claims).key(state.signing).claim("nonce", code.nonce);
    let token = state.bend.as_ref().map_or_else(|| token.clone(), |bend| bend(token.clone())).token();
    let grant = Grant::google(&code.person);
    let access = grant.token.clone();
    state.grants.insert(access.clone(), grant);
    Reply::Json(
        200,
        json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 3_300, "scope": "openid email profile",
            "id_token": token,
        }),
    )
}
