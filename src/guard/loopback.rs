//! Without authentication everybody is a superuser: then only this machine's own programs and
//! pages are served, whatever address they use.
//!
//! A page of another site that names our address (DNS rebinding) brings its own `Host`; one that
//! sends a form to `localhost` brings its own `Origin`.

use std::net::IpAddr;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};

use crate::problem::ApiError;

/// What requests have to fulfil; for every path, the public ones too.
#[derive(Debug, Clone)]
pub struct LoopbackOnly {
    /// Origins beside those on loopback hosts whose pages may change something.
    pub allowed_origins: Vec<String>,
}

impl LoopbackOnly {
    /// Whether the request is one of this machine's own.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        check_host(headers)?;
        let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        match origin {
            Some(origin) if !method.is_safe() && !self.is_allowed(origin) => Err(ApiError::OriginNotAllowed),
            _ => Ok(()),
        }
    }

    fn is_allowed(&self, origin: &str) -> bool {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        is_loopback(host) || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

/// By the one `Host` header alone: what proxies say counts for nothing here.
pub(super) fn check_host(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST);
    let is_loopback = hosts.next().and_then(|host| host.to_str().ok()).is_some_and(is_loopback);
    if is_loopback && hosts.next().is_none() { Ok(()) } else { Err(ApiError::HostNotAllowed) }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn only_loopback_names_are_loopback() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:80", "", "[::2]:1", "127.0.0.1.example.com:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let only = LoopbackOnly { allowed_origins: vec!["https://app.example.com".into()] };
        let ask = |method: Method, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            only.check(&method, &headers).is_ok()
        };
        assert!(ask(Method::POST, None));
        assert!(ask(Method::POST, Some("http://localhost:3000")));
        assert!(ask(Method::POST, Some("https://app.example.com")));
        assert!(ask(Method::GET, Some("https://evil.example")));
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", ""] {
            assert!(!ask(Method::POST, Some(origin)), "{origin}");
        }
    }
}
