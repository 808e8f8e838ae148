//! Requests that go on while something breaks, each under an id of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Account, Backend, Database, TestApp, eventually};

/// Connections that ask at once.
const LANES: usize = 6;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// What is held in memory: a profile.
    Held,
    /// A write.
    Change,
    /// A path that is none, with a good token.
    Unknown,
    BadToken,
    Login,
    /// `/healthz`, which leaves no record.
    Alive,
    /// The key set, which leaves no record.
    Keys,
}

/// Everything that leaves a record, but for sign-ins, which take long.
pub(crate) const RECORDED: &[Kind] = &[Kind::Held, Kind::Change, Kind::Unknown, Kind::BadToken];

impl Kind {
    pub(crate) fn is_recorded(self) -> bool {
        !matches!(self, Self::Alive | Self::Keys)
    }

    /// The status where nothing is broken.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Held | Self::Change | Self::Login | Self::Alive | Self::Keys => 200,
            Self::Unknown => 404,
            Self::BadToken => 401,
        }
    }
}

/// An answer, and between when.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) kind: Kind,
    pub(crate) status: u16,
    pub(crate) asked: Instant,
    pub(crate) told: Instant,
}

/// By request id.
pub(crate) type Answers = BTreeMap<String, Answered>;

#[derive(Default)]
struct Shared {
    port: AtomicU16,
    is_over: AtomicBool,
    unanswered: Mutex<Vec<String>>,
    answers: Mutex<Answers>,
}

/// Requests on a thread of their own, until they are ended.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// `name`: what the request ids begin with.
    pub(crate) fn start(app: &TestApp, who: &Account, kinds: &'static [Kind], name: &'static str) -> Self {
        Self::of_two(app, [who, who], kinds, name)
    }

    /// The same as two users, of whom the second signs in and changes its profile: what is held of it is forgotten
    /// with each change.
    pub(crate) fn of_two(app: &TestApp, who: [&Account; 2], kinds: &'static [Kind], name: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        shared.port.store(app.port(), Ordering::Relaxed);
        let (of_thread, who) = (Arc::clone(&shared), who.map(Account::clone));
        let thread = std::thread::spawn(move || {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
            let lanes = (0..LANES).map(|lane| ask(&of_thread, &client, &who, kinds, name, lane));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(futures_util::future::join_all(lanes));
        });
        Self { shared, thread: Some(thread) }
    }

    /// Goes on with this instance.
    pub(crate) fn turn_to(&self, app: &TestApp) {
        self.shared.port.store(app.port(), Ordering::Relaxed);
    }

    fn count(&self, is_of_them: impl Fn(&Answered) -> bool) -> usize {
        self.shared.answers.lock().unwrap().values().filter(|answer| is_of_them(answer)).count()
    }

    /// Waits until so many more answers of this kind have come.
    pub(crate) async fn more(&self, count: usize, is_of_them: impl Fn(&Answered) -> bool) {
        let enough = self.count(&is_of_them) + count;
        eventually("answers come", Duration::from_secs(90), || async { self.count(&is_of_them) >= enough }).await;
    }

    /// What came instead of an answer.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        self.shared.unanswered.lock().unwrap().clone()
    }

    /// Ends it; all that was answered.
    pub(crate) fn end(mut self) -> Answers {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.shared.answers.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

async fn ask(
    shared: &Shared,
    client: &reqwest::Client,
    [who, changer]: &[Account; 2],
    kinds: &[Kind],
    name: &str,
    lane: usize,
) {
    for n in 0.. {
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        let (id, kind) = (format!("{name}-{lane}-{n}"), kinds[(n + lane) % kinds.len()]);
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", shared.port.load(Ordering::Relaxed));
        let call = match kind {
            Kind::Held => client.get(url("/auth/me")).bearer_auth(&who.access),
            Kind::Change => client.patch(url("/auth/me")).bearer_auth(&changer.access).json(&json!({"full_name": id})),
            Kind::Unknown => client.get(url("/nowhere")).bearer_auth(&who.access),
            Kind::BadToken => client.get(url("/auth/me")).bearer_auth("nonsense"),
            Kind::Login => client
                .post(url("/auth/login"))
                .json(&json!({"username": changer.username, "password": changer.password})),
            Kind::Alive => client.get(url("/healthz")),
            Kind::Keys => client.get(url("/.well-known/jwks.json")),
        };
        let asked = Instant::now();
        match call.header("x-request-id", &id).send().await {
            Ok(response) => {
                let answer = Answered { kind, status: response.status().as_u16(), asked, told: Instant::now() };
                shared.answers.lock().unwrap().insert(id, answer);
            }
            Err(error) => shared.unanswered.lock().unwrap().push(format!("{kind:?}: {error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The records of requests whose ids begin like this: each id with its statuses.
async fn recorded(database: &Database, name: &str) -> BTreeMap<String, Vec<u16>> {
    let joined = match database.backend() {
        Backend::Sqlite => "group_concat",
        Backend::Postgresql => "string_agg",
    };
    let query = format!(
        "SELECT {joined}(request_id || '=' || coalesce(response_status, 0), ' ') FROM audit_logs \
         WHERE request_id LIKE '{name}-%'"
    );
    let text = database.audit_scalar(&query).await.unwrap_or_default();
    let mut records: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (id, status) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
        records.entry(id.to_owned()).or_default().push(status.parse().unwrap());
    }
    records
}

/// That each of these answers is in the table once, and that no request at all is there twice.
pub(crate) async fn assert_recorded_once(database: &Database, answers: &Answers, name: &str) {
    let expected: Answers =
        answers.iter().filter(|(_, it)| it.kind.is_recorded()).map(|(id, it)| (id.clone(), it.clone())).collect();
    let found = Mutex::new(BTreeMap::new());
    eventually("every answered request is in the table", Duration::from_secs(60), || async {
        let records = recorded(database, name).await;
        let is_whole = expected.keys().all(|id| records.contains_key(id));
        *found.lock().unwrap() = records;
        is_whole
    })
    .await;
    for (id, statuses) in found.into_inner().unwrap() {
        assert_eq!(statuses.len(), 1, "{id} is there more than once: {statuses:?}");
        if let Some(answer) = expected.get(&id) {
            assert_eq!(statuses, [answer.status], "{id}");
        }
    }
}
