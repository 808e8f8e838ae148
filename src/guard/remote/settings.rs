//! What an app that only verifies is told.

use std::time::Duration;

/// Where the service is, and how long its answers hold.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// The service's address: `https://auth.example.com`; `http` on a loopback host only.
    pub url: String,
    /// Its `JWT_ISSUER`.
    pub issuer: String,
    /// Its `JWT_AUDIENCE`.
    pub audience: String,
    /// How long an answer of the service is held. It is also how long a
    /// revocation, or a role taken away, may take to hold here.
    pub max_age: Duration,
    /// How long the service may take to answer.
    pub timeout: Duration,
    /// Of how many tokens the answers are held at most.
    pub max_tokens: usize,
}

impl RemoteSettings {
    /// For the service at `url`, with its default names: answers are held for 5
    /// seconds, those about at most 10,000 tokens, and waited for 2 seconds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            issuer: "portcullis".into(),
            audience: "portcullis".into(),
            max_age: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            max_tokens: 10_000,
        }
    }
}
