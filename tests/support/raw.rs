//! Requests byte by byte, for what no HTTP client would send.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, TestApp};

/// No answer in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

impl TestApp {
    /// Sends the bytes as they are and reads what comes until the server closes.
    ///
    /// The request must ask for `Connection: close`, or be one that the server closes after.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        raw_on(stream, request.as_ref()).await
    }

    /// Sends the bytes as they are; whatever has come back until the server closes or the time is over.
    pub(crate) async fn raw_bytes_within(&self, request: &[u8], time: Duration) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        // It may close before it has read everything, or reset.
        stream.write_all(request).await.ok();
        let mut answer = Vec::new();
        tokio::time::timeout(time, stream.read_to_end(&mut answer)).await.ok();
        answer
    }

    /// Sends a `POST` of JSON, and gives what waits for its answer.
    pub(crate) async fn begin_post(&self, path: &str, body: &str) -> impl Future<Output = Answer> + use<> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        async move {
            let mut answer = Vec::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            read.expect("an end of the answer").expect("an answer that is not cut");
            parse(&answer).unwrap_or_else(|| panic!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer)))
        }
    }

    /// Sends the bytes and hangs up without reading.
    pub(crate) async fn send_and_leave(&self, request: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        stream.write_all(request).await.expect("writes");
    }

    /// Sends the bytes and resets the connection: the server's next read or write fails.
    pub(crate) async fn send_and_reset(&self, request: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        stream.set_zero_linger().expect("an option of every socket");
        stream.write_all(request).await.expect("writes");
    }

    /// The same, but the reset comes when an answer does: to the first of several requests, the second
    /// of which is being worked on then.
    pub(crate) async fn send_and_reset_at_the_answer(&self, request: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("connects");
        stream.set_zero_linger().expect("an option of every socket");
        stream.write_all(request).await.expect("writes");
        stream.read_u8().await.expect("an answer");
    }

    /// A `POST` of JSON with its head written by hand, so that a header may be left out, doubled or wrong.
    pub(crate) async fn raw_post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(request).await
    }
}

/// Sends the bytes on this connection, to whichever server, and reads what comes until it closes.
pub(crate) async fn raw_on(mut stream: TcpStream, request: &[u8]) -> Answer {
    // The server may answer and close before it has read everything: then writing fails, reading does not.
    let written = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    match read {
        Err(_) => panic!("no end of the answer in {PATIENCE:?}: {:?}", String::from_utf8_lossy(&answer)),
        Ok(Err(error)) if answer.is_empty() && written.is_ok() => panic!("no answer: {error}"),
        Ok(_) => parse(&answer).unwrap_or_else(|| panic!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer))),
    }
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?);
    }
    let body = &answer[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { dechunk(body)? } else { body.to_vec() };
    Some(Answer::new("a raw request".to_owned(), status, headers, body))
}

fn dechunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(line + 2..line + 2 + size)?);
        body = body.get(line + 4 + size..)?;
    }
}
