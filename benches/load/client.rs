//! The load: keep-alive connections that each ask again as soon as they are answered, or at a pace.
//!
//! It leaves the processor to the servers: one read and one write a request, and of an answer nothing is
//! looked at but status and length. It has as many threads as the servers have, so that it is never the
//! load that a figure is bounded by.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::Failure;
use crate::http::Head;

/// What a thread records in a window at most.
const MAX_REQUESTS: usize = 20_000_000;

const THREADS: usize = crate::service::WORKERS;

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
    threads: Vec<Asking>,
    failures: mpsc::Receiver<Failure>,
}

/// One of its threads.
struct Asking {
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Tally {
    is_recording: AtomicBool,
    /// In microseconds.
    latencies: Mutex<Vec<u32>>,
    answered: AtomicU64,
    end: Notify,
}

impl Load {
    /// Begins to ask.
    ///
    /// # Errors
    /// A thread can't be started.
    pub(crate) fn begin(&self) -> Result<Running, Failure> {
        let (failed, failures) = mpsc::channel();
        let mut running = Running { threads: Vec::new(), failures };
        let begin = Instant::now();
        let count = THREADS.min(self.connections);
        for thread in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let tally = Arc::new(Tally::default());
            let (request, target, tallied) = (self.request.clone(), self.target, Arc::clone(&tally));
            let paces: Vec<Option<Pace>> = (0..self.connections)
                .filter(|number| number % count == thread)
                .map(|number| {
                    // One after another, not all at once.
                    self.every.map(|every| Pace {
                        due: begin + every.mul_f64(number as f64 / self.connections as f64),
                        every,
                    })
                })
                .collect();
            let failed = failed.clone();
            let thread = std::thread::spawn(move || {
                let asking = LocalSet::new();
                let ended = asking.block_on(&runtime, ask_all(target, request.into(), paces, tallied));
                if let Err(failure) = ended {
                    // Nobody listens once the load is dropped.
                    let _ = failed.send(failure);
                }
            });
            running.threads.push(Asking { tally, thread: Some(thread) });
        }
        Ok(running)
    }
}

impl Running {
    /// Goes on without recording; with no time at all it tells whether all is well.
    ///
    /// # Errors
    /// A connection failed, or was not answered 200.
    pub(crate) fn pass(&self, time: Duration) -> Result<(), Failure> {
        match self.failures.recv_timeout(time) {
            Ok(failure) => Err(failure),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err("the load ended by itself".into()),
        }
    }

    /// Records for a while; `observe` is called at both ends of it.
    ///
    /// # Errors
    /// A connection failed, or was not answered 200.
    pub(crate) fn record<T>(
        &self,
        time: Duration,
        mut observe: impl FnMut() -> Result<T, Failure>,
    ) -> Result<(Window, T, T), Failure> {
        let before = observe()?;
        let begun = Instant::now();
        self.set_recording(true);
        self.pass(time)?;
        self.set_recording(false);
        let elapsed = begun.elapsed();
        let after = observe()?;
        let mut latencies = Vec::new();
        for asking in &self.threads {
            latencies.append(&mut asking.tally.latencies());
        }
        latencies.sort_unstable();
        Ok((Window { elapsed, latencies }, before, after))
    }

    fn set_recording(&self, is_recording: bool) {
        for asking in &self.threads {
            asking.tally.is_recording.store(is_recording, Ordering::Relaxed);
        }
    }

    /// Answers since the beginning, recorded or not.
    pub(crate) fn answered(&self) -> u64 {
        self.threads.iter().map(|asking| asking.tally.answered.load(Ordering::Relaxed)).sum()
    }

    /// Ends the load; gives all its answers, recorded or not.
    pub(crate) fn end(mut self) -> u64 {
        self.stop();
        self.answered()
    }

    fn stop(&mut self) {
        for asking in &self.threads {
            asking.tally.end.notify_one();
        }
        for asking in &mut self.threads {
            if let Some(thread) = asking.thread.take() {
                // It tells its failures itself.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// When a connection asks next.
struct Pace {
    due: Instant,
    every: Duration,
}

/// The connections of one thread, until the end is told.
async fn ask_all(
    target: SocketAddr,
    request: Rc<[u8]>,
    paces: Vec<Option<Pace>>,
    tally: Arc<Tally>,
) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    for pace in paces {
        let (request, tally) = (Rc::clone(&request), Arc::clone(&tally));
        connections.spawn_local(async move { ask(target, &request, pace, &tally).await });
    }
    tokio::select! {
        () = tally.end.notified() => Ok(()),
        // They end only where something went wrong.
        Some(ended) = connections.join_next() => ended?,
    }
}

async fn ask(target: SocketAddr, request: &[u8], mut pace: Option<Pace>, tally: &Tally) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let begun = match &mut pace {
            None => Instant::now(),
            Some(pace) => {
                let begun = wait_until(pace.due).await;
                pace.due += pace.every;
                begun
            }
        };
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        tally.note(begun.elapsed())?;
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
    fn latencies(&self) -> MutexGuard<'_, Vec<u32>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, latency: Duration) -> Result<(), Failure> {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.is_recording.load(Ordering::Relaxed) {
            let mut latencies = self.latencies();
            latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            if latencies.len() > MAX_REQUESTS {
                return Err("more answers than a window holds: give fewer --seconds".into());
            }
        }
        Ok(())
    }
}
