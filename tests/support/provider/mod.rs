//! An identity provider inside the tests: a real HTTP server on a loopback port with real keys, which speaks as
//! Google, Microsoft and Okta do, and lies, stalls or breaks where a test tells it to.
//!
//! Each dialect has a folder of its own below one address: `/google`, `/microsoft`, `/graph`, `/okta/{okta_domain}`.

mod dialects;
mod flow;
mod grants;
mod keys;
mod people;
mod server;

pub(crate) use grants::Grant;
pub(crate) use keys::{KEYS, Key};
pub(crate) use people::Person;
pub(crate) use server::Fault;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Database, Forge, Launch, TestApp};
use flow::Code;

pub(crate) const GOOGLE_CLIENT: &str = "1234-portcullis.apps.googleusercontent.com";
pub(crate) const MICROSOFT_CLIENT: &str = "4f2c6a10-93d5-4b0f-8a5e-0c1f6d7e8b21";
pub(crate) const OKTA_CLIENT: &str = "0oaportcullis5d7";
pub(crate) const OKTA_DOMAIN: &str = "dev-123456.okta.com";
/// The tenant that the service under test lets in.
pub(crate) const TENANT: &str = "0b5a3c1e-6f0d-4c57-9d0a-3c1f4c0e7a11";
/// What every client proves itself with.
pub(crate) const CLIENT_SECRET: &str = "client-secret-kq7-Vw2.zR9";
/// Where the browser thinks that the service is; the tests know its real port.
pub(crate) const PUBLIC_URL: &str = "https://auth.example.com";
/// The one page that the browser flow may end at.
pub(crate) const PAGE: &str = "https://app.example/signed-in";

/// What the server and the test share.
struct State {
    base: String,
    /// Method, path and query of every request, in order.
    requests: Vec<String>,
    /// The first whose path begins like this decides.
    faults: Vec<(String, Fault)>,
    published: Vec<&'static Key>,
    signing: &'static Key,
    grants: HashMap<String, Grant>,
    /// What userinfo says of a subject, for access tokens that say themselves whose they are.
    userinfo: HashMap<String, Value>,
    /// Who sits at the browser; nobody: the provider answers `access_denied`.
    at_the_browser: Option<Person>,
    codes: HashMap<String, Code>,
    bend: Option<Box<dyn Fn(Forge) -> Forge + Send>>,
}

/// A running provider; it ends with the test.
pub(crate) struct Provider {
    base: String,
    state: Arc<Mutex<State>>,
    _stop: oneshot::Sender<()>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State {
            base: base.clone(),
            requests: Vec::new(),
            faults: Vec::new(),
            published: vec![&KEYS.first, &KEYS.curve, &KEYS.encryption],
            signing: &KEYS.first,
            grants: HashMap::new(),
            userinfo: HashMap::new(),
            at_the_browser: None,
            codes: HashMap::new(),
            bend: None,
        }));
        let stop = server::spawn(listener, Arc::clone(&state));
        Self { base, state, _stop: stop }
    }

    /// An instance on SQLite that lets people sign in here.
    pub(crate) async fn app(&self) -> TestApp {
        Database::sqlite().app().signing_in_with(self).start().await
    }

    /// The issuers of the three, in the order of [`Provider::id_tokens`].
    pub(crate) fn issuers(&self) -> [String; 3] {
        [self.google(), self.microsoft(TENANT), self.okta(OKTA_DOMAIN)]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    pub(crate) fn google(&self) -> String {
        format!("{}/google", self.base)
    }

    /// The issuer of a tenant's tokens.
    pub(crate) fn microsoft(&self, tenant: &str) -> String {
        format!("{}/microsoft/{tenant}/v2.0", self.base)
    }

    /// The issuer of the default custom server of a domain.
    pub(crate) fn okta(&self, domain: &str) -> String {
        format!("{}/oauth2/default", self.okta_org(domain))
    }

    /// The issuer of a domain's org server.
    pub(crate) fn okta_org(&self, domain: &str) -> String {
        format!("{}/okta/{domain}", self.base)
    }

    /// Breaks every path that begins like this, until it is [`Provider::healed`].
    pub(crate) fn breaks(&self, path: &str, fault: Fault) {
        self.state().faults.push((path.to_owned(), fault));
    }

    pub(crate) fn healed(&self) {
        self.state().faults.clear();
    }

    /// Signs by the second generation of keys from now on; the first is still published.
    pub(crate) fn rotates(&self) {
        let mut state = self.state();
        state.published.insert(0, &KEYS.second);
        state.signing = &KEYS.second;
    }

    /// How many requests have come for paths that begin like this.
    pub(crate) fn requests_to(&self, path: &str) -> usize {
        self.requests().iter().filter(|line| line.split(' ').nth(1).is_some_and(|url| url.starts_with(path))).count()
    }

    /// Method, path and query of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Seats this person at the browser.
    pub(crate) fn signs_in(&self, person: &Person) {
        self.state().at_the_browser = Some(person.clone());
    }

    /// Leaves nobody at the browser.
    pub(crate) fn signs_out(&self) {
        self.state().at_the_browser = None;
    }

    /// Bends every ID token of the browser flow.
    pub(crate) fn bends(&self, bend: impl Fn(Forge) -> Forge + Send + 'static) {
        self.state().bend = Some(Box::new(bend));
    }

    /// What userinfo says of this subject, in place of what is so.
    pub(crate) fn tells_of(&self, subject: &str, userinfo: Value) {
        self.state().userinfo.insert(subject.to_owned(), userinfo);
    }

    /// Makes an access token whose holder is told what the grant says.
    pub(crate) fn grants(&self, grant: Grant) -> String {
        let token = grant.token.clone();
        self.state().grants.insert(token.clone(), grant);
        token
    }

    /// Follows a browser here; where it is sent on to.
    pub(crate) async fn visit(&self, url: &str) -> String {
        assert!(url.starts_with(&self.base), "leads elsewhere: {url}");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let answer = client.build().expect("a client").get(url).send().await.expect("an answer");
        let location = answer.headers().get("location").map(|it| it.to_str().expect("visible ASCII").to_owned());
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        location.unwrap_or_else(|| panic!("the provider refuses {url}: {status} {text}"))
    }
}

impl Launch {
    /// Lets people sign in with each dialect of this provider.
    pub(crate) fn signing_in_with(self, provider: &Provider) -> Self {
        let Provider { base, .. } = provider;
        self.env("OAUTH_GOOGLE_CLIENT_ID", GOOGLE_CLIENT)
            .env("OAUTH_GOOGLE_CLIENT_SECRET", CLIENT_SECRET)
            .env("OAUTH_GOOGLE_ISSUER", &provider.google())
            .env("OAUTH_GOOGLE_TOKENINFO_URL", &format!("{base}/google/tokeninfo"))
            .env("OAUTH_MICROSOFT_CLIENT_ID", MICROSOFT_CLIENT)
            .env("OAUTH_MICROSOFT_CLIENT_SECRET", CLIENT_SECRET)
            .env("OAUTH_MICROSOFT_AUTHORITY", &format!("{base}/microsoft"))
            .env("OAUTH_MICROSOFT_TENANTS", TENANT)
            .env("OAUTH_MICROSOFT_GRAPH_URL", &format!("{base}/graph"))
            .env("OAUTH_OKTA_DOMAIN", OKTA_DOMAIN)
            .env("OAUTH_OKTA_CLIENT_ID", OKTA_CLIENT)
            .env("OAUTH_OKTA_CLIENT_SECRET", CLIENT_SECRET)
            .env("OAUTH_OKTA_BASE_URL", &format!("{base}/okta/{{okta_domain}}"))
            .env("OAUTH_REDIRECT_ALLOWLIST", PAGE)
            .env("PUBLIC_URL", PUBLIC_URL)
    }
}
