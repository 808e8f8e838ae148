//! As much of HTTP/1.1 as the benchmark needs: requests as bytes, the head of an answer, one whole answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;

/// No single answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Where the body begins.
    pub(crate) length: usize,
    pub(crate) content_length: usize,
}

impl Head {
    /// Reads the head; `None` while its end is not there.
    ///
    /// # Errors
    /// It is none that our servers send.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        const NAME: &[u8] = b"content-length:";
        let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let mut content_length = None;
        let mut begin = 0;
        while let Some(end) = bytes[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[begin..begin + end];
            begin += end + 1;
            if line == b"\r" {
                let status = bytes.get(9..12).and_then(number).and_then(|status| u16::try_from(status).ok());
                // RFC 9110 §8.6: 204 has no content, and does not say so.
                let content_length = content_length.or((status == Some(204)).then_some(0));
                return match (status, content_length) {
                    (Some(status), Some(content_length)) => Ok(Some(Self { status, length: begin, content_length })),
                    _ => Err("an answer without status or content-length"),
                };
            }
            if let Some((name, value)) = line.split_at_checked(NAME.len())
                && name.eq_ignore_ascii_case(NAME)
            {
                content_length = number(value);
            }
        }
        Ok(None)
    }
}

/// A `GET`, as it goes over the wire; with the token as its credentials.
pub(crate) fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\n{authorization}\r\n").into_bytes()
}

/// A request without a body by any method, with a token as its credentials.
pub(crate) fn change(method: &str, path: &str, token: &str) -> Vec<u8> {
    let head = "Host: 127.0.0.1\r\nUser-Agent: load\r\nContent-Length: 0\r\n";
    format!("{method} {path} HTTP/1.1\r\n{head}Authorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// A `POST` of JSON, as it goes over the wire.
pub(crate) fn post(path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let head = "Host: 127.0.0.1\r\nUser-Agent: load\r\nContent-Type: application/json\r\n";
    format!("POST {path} HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One request on a connection of its own; gives status and body. Blocks.
///
/// # Errors
/// No connection, or no answer.
pub(crate) fn fetch(address: SocketAddr, request: &[u8]) -> Result<(u16, String), Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        if let Some(head) = Head::parse(&answer)?
            && let Some(body) = answer.get(head.length..head.length + head.content_length)
        {
            return Ok((head.status, std::str::from_utf8(body)?.to_owned()));
        }
        match stream.read(&mut part)? {
            0 => return Err("the server closed the connection".into()),
            read => answer.extend_from_slice(&part[..read]),
        }
    }
}
