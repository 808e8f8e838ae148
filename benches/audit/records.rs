//! Records as a service of some size would write them: the same ones in every run, each made from its index alone.

use std::sync::Arc;

use portcullis::domain::audit::{AuditRecord, Metadata, Outcome, Source};
use portcullis::domain::{RecordId, Timestamp, UserId};
use uuid::{Builder, Uuid};

/// What the records are spread over, up to the time of the filling.
pub(crate) const SPAN_MS: u64 = 90 * 86_400_000;

const USERS: f64 = 20_000.0;
const RESOURCES: f64 = 200_000.0;

/// One record in so many is of the action [`RARE_ACTION`].
const RARE_EVERY: u64 = 100_000;
pub(crate) const RARE_ACTION: &str = "ROTATE_KEYS";

/// Action, method, kind of resource and path, the most frequent first.
const ACTIONS: [(&str, &str, Option<&str>, &str); 40] = [
    ("READ_PROFILE", "GET", None, "/auth/me"),
    ("READ_PROJECT", "GET", Some("project"), "/projects/{}"),
    ("LIST_PROJECTS", "GET", None, "/projects"),
    ("READ_RUN", "GET", Some("run"), "/runs/{}"),
    ("VERIFY_TOKEN", "GET", None, "/auth/verify"),
    ("REFRESH_TOKEN", "POST", Some("session"), "/auth/refresh"),
    ("LOGIN", "POST", Some("user"), "/auth/login"),
    ("LIST_RUNS", "GET", None, "/runs"),
    ("CREATE_RUN", "POST", Some("run"), "/runs"),
    ("READ_REPORT", "GET", Some("report"), "/reports/{}"),
    ("UPDATE_RUN", "PATCH", Some("run"), "/runs/{}"),
    ("READ_MODEL", "GET", Some("model"), "/models/{}"),
    ("CREATE_AUDIT_EVENT", "POST", None, "/audit/events"),
    ("DOWNLOAD_REPORT", "GET", Some("report"), "/reports/{}/file"),
    ("UPDATE_PROJECT", "PATCH", Some("project"), "/projects/{}"),
    ("LIST_REPORTS", "GET", None, "/reports"),
    ("LIST_MODELS", "GET", None, "/models"),
    ("CREATE_PROJECT", "POST", Some("project"), "/projects"),
    ("LOGOUT", "POST", Some("session"), "/auth/logout"),
    ("COMMENT_RUN", "POST", Some("run"), "/runs/{}/comments"),
    ("SHARE_PROJECT", "POST", Some("project"), "/projects/{}/shares"),
    ("EXPORT_REPORT", "POST", Some("report"), "/reports/{}/export"),
    ("LIST_SESSIONS", "GET", None, "/auth/sessions"),
    ("DELETE_RUN", "DELETE", Some("run"), "/runs/{}"),
    ("UPDATE_PROFILE", "PATCH", Some("user"), "/auth/me"),
    ("READ_USER", "GET", Some("user"), "/admin/users/{}"),
    ("LIST_USERS", "GET", None, "/admin/users"),
    ("LIST_AUDIT_LOGS", "GET", None, "/audit/logs"),
    ("UPLOAD_MODEL", "PUT", Some("model"), "/models/{}"),
    ("REGISTER", "POST", Some("user"), "/auth/register"),
    ("CHANGE_PASSWORD", "POST", Some("user"), "/auth/me/password"),
    ("ASSIGN_ROLE", "PUT", Some("user"), "/admin/users/{}/roles/analyst"),
    ("REMOVE_ROLE", "DELETE", Some("user"), "/admin/users/{}/roles/analyst"),
    ("DELETE_REPORT", "DELETE", Some("report"), "/reports/{}"),
    ("READ_ROLE", "GET", Some("role"), "/admin/roles/{}"),
    ("UPDATE_ROLE", "PATCH", Some("role"), "/admin/roles/{}"),
    ("DELETE_PROJECT", "DELETE", Some("project"), "/projects/{}"),
    ("DEACTIVATE_USER", "PATCH", Some("user"), "/admin/users/{}"),
    ("RETIRE_MODEL", "DELETE", Some("model"), "/models/{}"),
    ("DELETE_USER", "DELETE", Some("user"), "/admin/users/{}"),
];

const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "python-requests/2.32.4",
    "curl/8.5.0",
];

/// Random numbers by their index (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0, below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0, below `limit`, the small ones most often: the greater `skew`, the more so.
    fn skewed(&mut self, limit: f64, skew: i32) -> u64 {
        (self.share().powi(skew) * limit) as u64
    }
}

/// All the records of a log, by their index in the order of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records {
    /// How many.
    pub(crate) count: u64,
    /// The time of the last one, in milliseconds.
    pub(crate) end_ms: u64,
}

impl Records {
    pub(crate) fn time_ms(&self, index: u64) -> u64 {
        let part = u128::from(SPAN_MS) * u128::from(index) / u128::from(self.count.max(1));
        self.end_ms - SPAN_MS + u64::try_from(part).unwrap_or(SPAN_MS)
    }

    /// Any of them.
    pub(crate) fn any(&self, random: &mut Random) -> AuditRecord {
        self.record(random.below(self.count))
    }

    /// The one at this place.
    pub(crate) fn record(&self, index: u64) -> AuditRecord {
        let random = &mut Random::new(index);
        let time_ms = self.time_ms(index);
        let user = random.skewed(USERS, 3);
        let (mut action, method, kind, path) = ACTIONS[random.skewed(ACTIONS.len() as f64, 2) as usize];
        if index % RARE_EVERY == RARE_EVERY / 2 {
            action = RARE_ACTION;
        }
        let (status, outcome) = ending(method, random);
        let is_known = status != 401;
        let resource = kind.map(|kind| format!("{kind}-{}", random.skewed(RESOURCES, 2)));
        let metadata = match random.below(10) {
            0 => Metadata::parse(r#"{"changed":["name","description"],"reason":"asked for by the owner"}"#),
            1 | 2 => Metadata::parse(&format!(r#"{{"attempt":{}}}"#, random.below(5))),
            _ => Metadata::parse("{}"),
        };
        // Mostly our own, which go up with time; some callers send theirs.
        let request =
            if random.below(5) == 0 { Builder::from_u128(wide(random)).into_uuid() } else { v7(time_ms, random) };
        AuditRecord {
            id: RecordId(v7(time_ms, random)),
            timestamp: Timestamp::from_millis(i64::try_from(time_ms).expect("a time of today")),
            user_id: is_known.then(|| user_id(user)),
            username: Some(username(user)),
            action: action.into(),
            resource_type: kind.map(Into::into),
            resource_id: resource.as_deref().map(Into::into),
            ip_address: Some(address(user, random).into()),
            user_agent: Some(AGENTS[random.below(AGENTS.len() as u64) as usize].into()),
            request_method: Some(method.into()),
            request_path: Some(path.replace("{}", resource.as_deref().unwrap_or_default()).into()),
            response_status: Some(status),
            outcome,
            duration_ms: u32::try_from(random.skewed(400.0, 4)).unwrap_or(0),
            request_id: Some(request.to_string().into()),
            metadata: metadata.expect("JSON"),
            source: Source::Request,
        }
    }
}

/// Somebody of whom there are few records.
pub(crate) fn rare_user(random: &mut Random) -> (UserId, Arc<str>) {
    let user = USERS as u64 / 2 + random.below(USERS as u64 / 2);
    (user_id(user), username(user))
}

/// Somebody of whom there are many: one record in a hundred or more.
pub(crate) fn frequent_user(random: &mut Random) -> (UserId, Arc<str>) {
    let user = random.below(5);
    (user_id(user), username(user))
}

/// 1 % denied, 1.5 % failures, one error in two thousand.
fn ending(method: &str, random: &mut Random) -> (u16, Outcome) {
    let status = match random.below(10_000) {
        0..=4 => 500,
        5..=74 => 403,
        75..=104 => 401,
        105..=204 => 404,
        205..=254 => 422,
        _ => match method {
            "POST" => 201,
            "DELETE" => 204,
            _ => 200,
        },
    };
    (status, Outcome::of_status(status))
}

fn v7(time_ms: u64, random: &mut Random) -> Uuid {
    let bytes = wide(random).to_be_bytes();
    Builder::from_unix_timestamp_millis(time_ms, bytes.first_chunk().expect("ten of sixteen")).into_uuid()
}

fn wide(random: &mut Random) -> u128 {
    u128::from(random.next()) << 64 | u128::from(random.next())
}

fn user_id(user: u64) -> UserId {
    UserId(v7(1_750_000_000_000 + user, &mut Random::new(user)))
}

fn username(user: u64) -> Arc<str> {
    const NAMES: [&str; 8] = ["Ada", "Grace", "Linus", "Edsger", "Barbara", "Donald", "Margaret", "Alan"];
    format!("{}.{user}", NAMES[(user % 8) as usize]).into()
}

/// Each user has four.
fn address(user: u64, random: &mut Random) -> String {
    let place = Random::new(user).next();
    format!("10.{}.{}.{}", place % 250, place / 250 % 250, place / 62_500 % 60 * 4 + random.below(4))
}
