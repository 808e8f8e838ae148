//! Where a request comes from, when proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

/// Whether the peer's word about others is taken.
pub(super) fn is_trusted(peer: Option<SocketAddr>, trusted: &[IpNet]) -> bool {
    peer.is_some_and(|peer| is_trusted_address(peer.ip(), trusted))
}

fn is_trusted_address(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address: the peer's, or, where the peer is a trusted proxy, the
/// rightmost untrusted address of `X-Forwarded-For` (or, without one, of
/// `Forwarded`, RFC 7239). An unreadable hop ends the walk at the last address read.
pub(super) fn address(request: &ServiceRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = request.head().peer_addr?;
    let mut last = peer.ip().to_canonical();
    if !is_trusted(Some(peer), trusted) {
        return Some(last);
    }
    for hop in hops(request.headers()).iter().rev() {
        match parse_hop(hop) {
            Some(address) => last = address,
            None => break,
        }
        if !is_trusted_address(last, trusted) {
            break;
        }
    }
    Some(last)
}

/// The hops from the client to us, as the headers list them.
fn hops(headers: &HeaderMap) -> Vec<String> {
    let listed = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .flat_map(|value| {
                String::from_utf8_lossy(value.as_bytes()).split(',').map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    };
    let forwarded_for = listed("x-forwarded-for");
    if !forwarded_for.is_empty() {
        return forwarded_for;
    }
    listed(header::FORWARDED.as_str())
        .iter()
        .map(|element| {
            element
                .split(';')
                .find_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"').to_owned())
                })
                .unwrap_or_default()
        })
        .collect()
}

/// An address with or without a port: `203.0.113.7:4711`, `[2001:db8::1]:443`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = if let Ok(address) = hop.parse::<IpAddr>() {
        address
    } else if let Ok(socket) = hop.parse::<SocketAddr>() {
        socket.ip()
    } else {
        hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?
    };
    Some(address.to_canonical())
}

/// The original method and path that a trusted gateway asks about.
pub(super) fn original_request(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let first = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| headers.get(*name))
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let method = first(["x-forwarded-method", "x-original-method"]);
    let path = first(["x-forwarded-uri", "x-original-uri"]).map(|uri| {
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        path.chars().take(2048).collect()
    });
    (method.map(|method| method.chars().take(64).collect()), path)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(peer: &str, trusted: &[&str], headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        address(&request.to_srv_request(), &trusted).unwrap().to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let claim = [("x-forwarded-for", "203.0.113.7")];
        assert_eq!(seen("10.0.0.1:1", &[], &claim), "10.0.0.1");
        assert_eq!(seen("10.0.0.1:1", &["10.0.0.0/8"], &claim), "203.0.113.7");
        assert_eq!(seen("[::ffff:10.0.0.1]:1", &["10.0.0.0/8"], &claim), "203.0.113.7");
    }

    #[test]
    fn the_rightmost_untrusted_hop_counts() {
        let trusted = ["10.0.0.0/8"];
        let through = |hops: &str| seen("10.0.0.1:1", &trusted, &[("x-forwarded-for", hops)]);
        assert_eq!(through("6.6.6.6, 203.0.113.7, 10.0.0.2"), "203.0.113.7");
        assert_eq!(through("203.0.113.7:4711"), "203.0.113.7");
        assert_eq!(through("[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(through("203.0.113.7, unknown, 10.0.0.2"), "10.0.0.2");
        assert_eq!(through("10.0.0.3, 10.0.0.2"), "10.0.0.3");
    }

    #[test]
    fn forwarded_is_read_where_the_older_header_is_absent() {
        let headers = [("forwarded", "for=192.0.2.60;proto=http, for=\"[2001:db8::2]:80\"")];
        assert_eq!(seen("10.0.0.1:1", &["10.0.0.0/8"], &headers), "2001:db8::2");
    }
}
