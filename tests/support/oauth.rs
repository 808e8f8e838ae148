//! Sign-in by a provider, in a line each, and what is asserted of every refusal.

use actix_web::cookie::Cookie;
use serde_json::{Value, json};

use super::{Account, Answer, TestApp};

impl TestApp {
    pub(crate) async fn oauth_login(&self, body: &Value) -> Answer {
        self.post("/auth/oauth/login").json(body).send().await
    }

    pub(crate) async fn with_id_token(&self, provider: &str, token: &str) -> Answer {
        self.oauth_login(&json!({"provider": provider, "id_token": token})).await
    }

    pub(crate) async fn with_access_token(&self, provider: &str, token: &str) -> Answer {
        self.oauth_login(&json!({"provider": provider, "access_token": token})).await
    }

    /// The profile of whoever these tokens were given to.
    pub(crate) async fn profile_of(&self, answer: Answer) -> Value {
        self.me(&Account::of(&answer.expect(200).json()).access).await.expect(200).json()
    }

    /// How many sign-ins by this provider have had this result; none where nobody counts them.
    pub(crate) async fn oauth_logins(&self, provider: &str, result: &str) -> Option<u64> {
        let metrics = self.get("/metrics").send().await.expect(200).text();
        let counter = format!("portcullis_oauth_logins_total{{provider=\"{provider}\",result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&counter)?.parse().ok())
    }

    /// The linked provider accounts of this user.
    pub(crate) async fn identities(&self, who: &Account) -> Vec<Value> {
        super::items(&self.ask(who, "GET", "/auth/identities").await.expect(200).json()).to_vec()
    }
}

impl Answer {
    /// Who was signed in.
    #[track_caller]
    pub(crate) fn account(self) -> Account {
        Account::of(&self.expect(200).json())
    }

    /// Asserts that the provider's token was refused for this reason.
    #[track_caller]
    pub(crate) fn refused_token(&self, reason: &str) -> Value {
        let problem = self.problem(401, "invalid_provider_token");
        assert_eq!(problem["reason"], reason, "{problem}");
        problem
    }

    /// Asserts that the provider is told to be away.
    #[track_caller]
    pub(crate) fn provider_away(&self, provider: &str) {
        let problem = self.problem(503, "provider_unavailable");
        assert_eq!(problem["detail"], format!("Sign-in provider unavailable: {provider}"));
    }

    /// The cookies that it sets.
    pub(crate) fn cookies(&self) -> Vec<Cookie<'static>> {
        let values = self.headers.get_all("set-cookie").iter();
        let cookies = values.map(|value| Cookie::parse(value.to_str().expect("visible ASCII").to_owned()));
        cookies.map(|cookie| cookie.expect("a cookie")).collect()
    }

    /// Where it sends the browser.
    #[track_caller]
    pub(crate) fn redirect(&self) -> reqwest::Url {
        assert_eq!(self.status, 302, "{}", self.text());
        let location = self.header("location").expect("a Location");
        location.parse().unwrap_or_else(|error| panic!("{location}: {error}"))
    }
}

/// A parameter of a URL.
pub(crate) fn parameter(url: &reqwest::Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}
