//! The provider's HTTP: requests read, counted, and answered as the dialects say or as a fault has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{State, dialects};

/// How a path breaks.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Takes the request and says nothing.
    Hangs,
    /// A head, and then a byte now and then: no single read is ever late.
    Trickles,
    Status(u16),
    /// A page for humans, as status 200.
    Html,
    /// The good answer in 10 MB of blanks, with its length told.
    Huge,
    /// The good answer, and then blanks without an end.
    NeverEnds,
    RedirectsTo(String),
    /// Another JSON in place of the good one.
    Says(Value),
    /// Closes the connection in the middle of the body.
    Breaks,
}

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) form: HashMap<String, String>,
    pub(super) authorization: String,
}

impl Request {
    /// A parameter of the query or the form.
    pub(super) fn value(&self, name: &str) -> &str {
        self.form.get(name).or(self.query.get(name)).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn bearer(&self) -> &str {
        self.authorization.strip_prefix("Bearer ").unwrap_or_default()
    }
}

pub(super) enum Reply {
    Json(u16, Value),
    Redirect(String),
}

impl Reply {
    /// A refusal in the form of OAuth 2.0 (RFC 6749 §5.2).
    pub(super) fn refusal(status: u16, error: &str, why: &str) -> Self {
        Self::Json(status, serde_json::json!({"error": error, "error_description": why}))
    }
}

/// Serves in a thread of its own, until the sender is dropped.
pub(super) fn spawn(listener: std::net::TcpListener, state: Arc<Mutex<State>>) -> oneshot::Sender<()> {
    listener.set_nonblocking(true).expect("an option of every socket");
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let serving = async {
                loop {
                    let (stream, _) = listener.accept().await.expect("accepts");
                    // The client may leave whenever it likes.
                    let answering = answer(stream, Arc::clone(&state));
                    tokio::spawn(async move { drop(answering.await) });
                }
            };
            tokio::select! { () = serving => {}, _ = stopped => {} }
        });
    });
    stop
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let Some(request) = read(&mut stream, &state).await? else { return Ok(()) };
    let (fault, good) = {
        let mut state = state.lock().expect("no holder panics");
        let fault = state.faults.iter().find(|(path, _)| request.path.starts_with(path)).map(|(_, it)| it.clone());
        (fault, dialects::answer(&mut state, &request))
    };
    let good_body = match &good {
        Reply::Json(_, body) => body.to_string(),
        Reply::Redirect(_) => String::new(),
    };
    let head = |status: u16, headers: &str| format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\n{headers}\r\n");
    let whole = |status: u16, kind: &str, body: &str| {
        head(status, &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len())) + body
    };
    let json = "application/json";
    let length = |length: usize| head(200, &format!("Content-Type: {json}\r\nContent-Length: {length}\r\n"));
    match (fault, good) {
        (None, Reply::Json(status, body)) => write(&mut stream, &whole(status, json, &body.to_string())).await?,
        (None, Reply::Redirect(to)) | (Some(Fault::RedirectsTo(to)), _) => {
            write(&mut stream, &head(302, &format!("Location: {to}\r\nContent-Length: 0\r\n"))).await?;
        }
        (Some(Fault::Hangs), _) => std::future::pending().await,
        (Some(Fault::Trickles), _) => {
            write(&mut stream, &length(1_000_000)).await?;
            loop {
                write(&mut stream, " ").await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        (Some(Fault::Status(status)), _) => write(&mut stream, &whole(status, json, r#"{"error":"broken"}"#)).await?,
        (Some(Fault::Html), _) => {
            write(&mut stream, &whole(200, "text/html", "<!doctype html><title>Sorry</title>")).await?;
        }
        (Some(Fault::Huge), _) => {
            let blanks = " ".repeat(10_000_000);
            write(&mut stream, &(length(good_body.len() + blanks.len()) + &good_body)).await?;
            write(&mut stream, &blanks).await?;
        }
        (Some(Fault::NeverEnds), _) => {
            let blanks = " ".repeat(16_384);
            write(&mut stream, &(head(200, &format!("Content-Type: {json}\r\n")) + &good_body)).await?;
            loop {
                write(&mut stream, &blanks).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        (Some(Fault::Says(body)), _) => write(&mut stream, &whole(200, json, &body.to_string())).await?,
        (Some(Fault::Breaks), _) => write(&mut stream, &(length(1_000) + "{")).await?,
    }
    stream.shutdown().await
}

async fn write(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await
}

/// A whole request, noted in the list of them; none where the client leaves before.
async fn read(stream: &mut TcpStream, state: &Mutex<State>) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    let mut line = head.lines().next().unwrap_or_default().split(' ');
    let (method, url) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    state.lock().expect("no holder panics").requests.push(format!("{method} {url}"));
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect();
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs(query.as_bytes()),
        form: pairs(&body),
        authorization: header("authorization").unwrap_or_default(),
    }))
}
