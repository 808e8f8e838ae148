//! The load: keep-alive connections that each ask again as soon as they are answered, or at a pace.
//!
//! It leaves the processor to the servers: one thread, one read and one write a request, and of an
//! answer nothing is looked at but status and length.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Failure;
use crate::http::Head;

/// Where a window ends though its time is not over.
const MAX_REQUESTS: usize = 2_000_000;

/// What to ask, and how.
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) connections: usize,
    /// Each connection asks so often; `None`: as often as it is answered.
    pub(crate) every: Option<Duration>,
}

/// What was seen in a window.
pub(crate) struct Window {
    pub(crate) elapsed: Duration,
    /// In microseconds, sorted.
    latencies: Vec<u32>,
}

impl Window {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers does not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let rank = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
    }
}

/// A load that runs. Ends when dropped.
pub(crate) struct Running {
    tally: Rc<Tally>,
    connections: JoinSet<Result<(), Failure>>,
}

struct Tally {
    is_recording: Cell<bool>,
    latencies: RefCell<Vec<u32>>,
    answered: Cell<u64>,
    is_full: Notify,
}

impl Load {
    /// Begins to ask; within a `LocalSet`.
    pub(crate) fn begin(&self) -> Running {
        let tally = Rc::new(Tally {
            is_recording: Cell::new(false),
            latencies: RefCell::new(Vec::with_capacity(1 << 18)),
            answered: Cell::new(0),
            is_full: Notify::new(),
        });
        let request: Rc<[u8]> = self.request.as_slice().into();
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let (tally, request, target) = (Rc::clone(&tally), Rc::clone(&request), self.target);
            // Paced connections begin one after another, not all at once.
            let pace =
                self.every.map(|every| (Instant::now() + every * number as u32 / self.connections as u32, every));
            connections.spawn_local(async move { ask(target, &request, pace, &tally).await });
        }
        Running { tally, connections }
    }
}

impl Running {
    /// Goes on without recording; with no time at all it tells whether all is well.
    ///
    /// # Errors
    /// A connection failed, or was not answered 200.
    pub(crate) async fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            ended = self.connections.join_next() => Err(failure(ended)),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Records for a while; `observe` is called at both ends of it.
    ///
    /// # Errors
    /// A connection failed, or was not answered 200.
    pub(crate) async fn record<T>(
        &mut self,
        time: Duration,
        mut observe: impl FnMut() -> Result<T, Failure>,
    ) -> Result<(Window, T, T), Failure> {
        let before = observe()?;
        let begun = Instant::now();
        self.tally.is_recording.set(true);
        tokio::select! {
            ended = self.connections.join_next() => return Err(failure(ended)),
            () = tokio::time::sleep(time) => {}
            () = self.tally.is_full.notified() => {}
        }
        self.tally.is_recording.set(false);
        let elapsed = begun.elapsed();
        let after = observe()?;
        let mut latencies = self.tally.latencies.take();
        latencies.sort_unstable();
        Ok((Window { elapsed, latencies }, before, after))
    }

    /// Answers since the beginning, recorded or not.
    pub(crate) fn answered(&self) -> u64 {
        self.tally.answered.get()
    }
}

/// Connections end only where something went wrong.
fn failure(ended: Option<Result<Result<(), Failure>, tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Ok(Err(failure))) => failure,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => "the load ended by itself".into(),
    }
}

async fn ask(
    target: SocketAddr,
    request: &[u8],
    mut pace: Option<(Instant, Duration)>,
    tally: &Tally,
) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let begun = match &mut pace {
            None => Instant::now(),
            Some((due, every)) => {
                let begun = wait_until(*due).await;
                *due += *every;
                begun
            }
        };
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        tally.note(begun.elapsed());
    }
}

/// From when the latency counts: who is late because the last answer was late has been waiting since then.
async fn wait_until(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    // The timer's own coarseness is not the server's.
    Instant::now()
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err("the server closed the connection, or its answer is too long".into()),
            read => filled += read,
        }
        if let Some(head) = Head::parse(&buffer[..filled])?
            && filled >= head.length + head.content_length
        {
            return match head.status {
                200 => Ok(()),
                status => {
                    Err(format!("status {status}: {}", String::from_utf8_lossy(&buffer[head.length..filled])).into())
                }
            };
        }
    }
}

impl Tally {
    fn note(&self, latency: Duration) {
        self.answered.set(self.answered.get() + 1);
        if self.is_recording.get() {
            let mut latencies = self.latencies.borrow_mut();
            latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            if latencies.len() == MAX_REQUESTS {
                self.is_recording.set(false);
                self.is_full.notify_one();
            }
        }
    }
}
