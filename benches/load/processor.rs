//! What processes cost and what the machine is, from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Failure;

/// Of the clock that `/proc/PID/stat` counts in: 100 on every architecture of today's Linux.
const TICKS_PER_SECOND: u64 = 100;

/// How actix calls the threads that answer; the kernel cuts names at 15 bytes. The service's actors have
/// such threads too: that of the audit writer is told by its lower priority, the other one has next to
/// nothing to do, and what it does is counted with the answers.
const ANSWERING: &str = "actix-rt|system";

/// Processor time that a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// By the threads that answer requests: the answer path.
    pub(crate) answering: Duration,
    /// By all threads, ended ones too.
    pub(crate) all: Duration,
}

impl Spent {
    /// What the process has used up to now.
    ///
    /// # Errors
    /// There is no such process, or no `/proc`.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let process = Stat::read(&Path::new("/proc").join(pid.to_string()))?;
        let mut answering = Duration::ZERO;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = entry?.path();
            // A thread may end meanwhile.
            let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
            if name.starts_with(ANSWERING) && Stat::read(&thread)?.niceness <= process.niceness {
                answering += of_thread(&thread)?;
            }
        }
        // In ticks, but with what threads used that have ended.
        Ok(Self { answering, all: process.own.max(answering) })
    }

    /// What this process has used up to now.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        Self::of(std::process::id())
    }

    /// Since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { answering: self.answering.saturating_sub(earlier.answering), all: self.all.saturating_sub(earlier.all) }
    }

    /// By all other threads: the copy, the store, the actors.
    pub(crate) fn beside(self) -> Duration {
        self.all.saturating_sub(self.answering)
    }
}

/// To the nanosecond where the kernel has the scheduler's count, else in ticks.
fn of_thread(thread: &Path) -> Result<Duration, Failure> {
    let counted = fs::read_to_string(thread.join("schedstat")).ok();
    match counted.and_then(|text| text.split_whitespace().next()?.parse().ok()) {
        Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        None => Ok(Stat::read(thread)?.own),
    }
}

/// What `stat` says of a process or thread.
struct Stat {
    parent: u32,
    own: Duration,
    /// Of its children that have ended.
    children: Duration,
    /// The higher, the more it leaves the processor to others.
    niceness: i32,
}

impl Stat {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(folder.join("stat"))?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = text.rsplit_once(')').ok_or("stat without a name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
        Ok(Self {
            parent: u32::try_from(number(1))?,
            own: time(number(11) + number(12)),
            children: time(number(13) + number(14)),
            niceness: fields.get(16).and_then(|field| field.parse().ok()).unwrap_or(0),
        })
    }
}

/// Processor time that a process and its children have used.
///
/// # Errors
/// There is no such process.
pub(crate) fn spent_with_children(pid: u32) -> Result<Duration, Failure> {
    let own = Stat::read(&Path::new("/proc").join(pid.to_string()))?;
    let mut spent = own.own + own.children;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
            && let Ok(stat) = Stat::read(&path)
            && stat.parent == pid
        {
            spent += stat.own;
        }
    }
    Ok(spent)
}

/// Resident memory in megabytes (10^6 bytes).
///
/// # Errors
/// There is no such process.
pub(crate) fn resident_megabytes(pid: u32) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = field.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.ok_or("no VmRSS")? * 1024.0 / 1e6)
}

/// Cores, the processor's name, and what is under the temporary folder.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let folder = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let system = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(at, _)| folder.starts_with(at))
        .max_by_key(|(at, _)| at.len())
        .map_or("unknown file system", |(_, system)| system);
    format!("{cores} cores, {}, {} on {system}", model.unwrap_or("unknown processor"), folder.display())
}
