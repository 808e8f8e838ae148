//! Reading cookies whose names carry a promise.
//!
//! Browsers keep `__Host-` and `__Secure-` to their rules (RFC 6265bis §4.1.3) by the bytes of the name. So no
//! byte is decoded here and none is trimmed that the grammar does not have: else another host's `%5f_Host-x`
//! would pass for it.

use actix_web::HttpRequest;
use actix_web::http::header;

/// The value of the one cookie of this name; of several, somebody has put in at least one.
pub(super) fn find<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut found = values(request, name);
    let value = found.next()?;
    found.next().is_none().then_some(value)?
}

/// Whether there is one of this name, or more.
pub(super) fn is_in(request: &HttpRequest, name: &str) -> bool {
    values(request, name).next().is_some()
}

/// `None` is a value that is no text.
fn values<'a>(request: &'a HttpRequest, name: &str) -> impl Iterator<Item = Option<&'a str>> {
    let headers = request.headers().get_all(header::COOKIE);
    headers.flat_map(|header| header.as_bytes().split(|byte| *byte == b';')).filter_map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (trimmed(&pair[..at]), trimmed(&pair[at + 1..]));
        (found == name.as_bytes()).then(|| std::str::from_utf8(value).ok())
    })
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_name_is_its_bytes() {
        let asked = |cookies: &[&[u8]]| {
            let mut request = TestRequest::default();
            for cookie in cookies {
                request = request.append_header((header::COOKIE, HeaderValue::from_bytes(cookie).unwrap()));
            }
            let request = request.to_http_request();
            (find(&request, "__Host-a").map(str::to_owned), is_in(&request, "__Host-a"))
        };
        let one = (Some("x".to_owned()), true);
        assert_eq!(asked(&[b"__Host-a=x"]), one);
        assert_eq!(asked(&[b"b=1;\t__Host-a=x ; c=\xff"]), one);
        assert_eq!(asked(&[b"b=1", b"__Host-a=x"]), one);
        assert_eq!(asked(&[b"%5f_Host-a=y; \xe2\x80\x83__Host-a=z; __host-a=z; __Host-a=x"]), one);
        assert_eq!(asked(&[b"__Host-a=x; __Host-a=y"]), (None, true));
        assert_eq!(asked(&[b"__Host-a=\xff"]), (None, true));
        assert_eq!(asked(&[b"__Host-a", b""]), (None, false));
    }
}
