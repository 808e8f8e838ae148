//! The browser flow as a page and its browser go through it: the page's own secrets, and the browser's cookie.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::provider::{PAGE, PUBLIC_URL, Provider};
use super::{Answer, Call, TestApp, base64url, parameter};

pub(crate) const PROVIDERS: [&str; 3] = ["google", "microsoft", "okta"];
/// The challenge of a page that goes no further.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A sign-in that a page has begun.
pub(crate) struct Flow {
    pub(crate) provider: &'static str,
    /// The page's secret (RFC 7636), and what it sends of it.
    pub(crate) verifier: String,
    challenge: String,
    /// The page's own state.
    pub(crate) state: String,
    /// Where the service sends the browser.
    pub(crate) to_provider: reqwest::Url,
    /// What the service gives the browser to keep.
    pub(crate) cookie: String,
}

/// The query of a request that begins, with these parameters in place of the good ones.
fn begin_query(challenge: &str, state: &str, bent: &[(&str, &str)]) -> String {
    let good = [("redirect_uri", PAGE), ("code_challenge", challenge), ("state", state)];
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in good.into_iter().filter(|(name, _)| bent.iter().all(|(other, _)| other != name)) {
        query.append_pair(name, value);
    }
    for (name, value) in bent.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    query.finish()
}

/// Begins with these parameters in place of good ones; an empty one is left out.
pub(crate) async fn begin_with(app: &TestApp, provider: &str, bent: &[(&str, &str)]) -> Answer {
    let query = begin_query(CHALLENGE, "the-pages-own-state", bent);
    app.get(&format!("/auth/oauth/{provider}/authorize?{query}")).send().await
}

/// A callback with one parameter changed, or taken out.
pub(crate) fn bent(callback: &str, name: &str, value: Option<&str>) -> String {
    let (path, query) = callback.split_once('?').unwrap();
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found != name);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs).extend_pairs(value.map(|value| (name, value)));
    format!("{path}?{}", query.finish())
}

impl Flow {
    /// A page begins, and its browser is sent to the provider.
    pub(crate) async fn begin(app: &TestApp, provider: &'static str) -> Self {
        let secret = || format!("{0}{0}", uuid::Uuid::now_v7().simple());
        let (verifier, state) = (secret(), secret());
        let challenge = base64url(digest(&SHA256, verifier.as_bytes()).as_ref());
        let query = begin_query(&challenge, &state, &[]);
        let answer = app.get(&format!("/auth/oauth/{provider}/authorize?{query}")).send().await;
        let (to_provider, cookies) = (answer.redirect(), answer.cookies());
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        let cookie = format!("{}={}", cookies[0].name(), cookies[0].value());
        Self { provider, verifier, challenge, state, to_provider, cookie }
    }

    /// Where the provider sends the browser back to, without the host, which a browser would know.
    pub(crate) async fn at_provider(&self, provider: &Provider) -> String {
        let back = provider.visit(self.to_provider.as_str()).await;
        let path = back.strip_prefix(PUBLIC_URL).unwrap_or_else(|| panic!("not back to us: {back}"));
        assert!(path.starts_with(&format!("/auth/oauth/{}/callback?", self.provider)), "{back}");
        path.to_owned()
    }

    /// The browser comes back with its cookie.
    pub(crate) async fn come_back(&self, app: &TestApp, callback: &str) -> Answer {
        app.get(callback).header("cookie", &self.cookie).send().await
    }

    /// Through the provider and back to the page; the page's one-time code.
    pub(crate) async fn code(&self, app: &TestApp, provider: &Provider) -> String {
        let at_page = self.come_back(app, &self.at_provider(provider).await).await.redirect();
        assert_eq!(at_page.as_str().split('?').next(), Some(PAGE));
        assert_eq!(parameter(&at_page, "state").as_deref(), Some(self.state.as_str()));
        assert_eq!(parameter(&at_page, "error"), None);
        parameter(&at_page, "code").unwrap_or_else(|| panic!("no code: {at_page}"))
    }

    /// Asserts that the browser is sent back to its page with this error and nothing else.
    #[track_caller]
    pub(crate) fn is_told(&self, answer: &Answer, error: &str) {
        let at_page = answer.redirect();
        assert_eq!(at_page.as_str().split('?').next(), Some(PAGE));
        assert_eq!(parameter(&at_page, "error").as_deref(), Some(error), "{at_page}");
        assert_eq!(parameter(&at_page, "state").as_deref(), Some(self.state.as_str()), "{at_page}");
        assert_eq!(parameter(&at_page, "code"), None, "{at_page}");
    }

    /// The page changes its code for tokens.
    pub(crate) fn exchange(&self, app: &TestApp, code: &str) -> Call {
        app.post("/auth/oauth/exchange").json(&self.exchange_body(code))
    }

    pub(crate) fn exchange_body(&self, code: &str) -> Value {
        json!({"code": code, "code_verifier": self.verifier})
    }

    /// That the service has kept the page's challenge to itself.
    pub(crate) fn is_hidden_from_the_provider(&self) -> bool {
        let url = self.to_provider.as_str();
        [&self.verifier, &self.challenge, &self.state].iter().all(|secret| !url.contains(secret.as_str()))
    }
}
