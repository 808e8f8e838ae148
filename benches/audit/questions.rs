//! Questions about the log, as users ask them: over HTTP, with a token, another value each time.
//!
//! A question costs what a page costs and not what the log holds, so each is asked of the large log and of
//! the small one in turn.

use std::time::Instant;

use portcullis::domain::Timestamp;
use portcullis::domain::audit::AuditRecord;
use serde_json::Value;

use crate::log::{Log, Place};
use crate::records::{RARE_ACTION, Random, Records, SPAN_MS, frequent_user, rare_user};
use crate::report::Report;
use crate::service::Server;
use crate::{Failure, http, progress};

/// For any one filter, and any pair of which one is selective.
const MOST_MS: f64 = 10.0;
/// For any other pair, by a short page.
const MOST_OTHER_MS: f64 = 50.0;
/// Against the small log.
const MOST_TIMES: f64 = 3.0;

/// Unrecorded, before a question's asks.
const WARM_UP: usize = 10;

/// How a question is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One filter, a pair of which one is selective, or a page deep in them.
    Quick,
    /// Any other pair.
    Bounded,
}

/// What a question's text is made of.
struct Draw<'a> {
    records: Records,
    random: &'a mut Random,
    /// Any one.
    record: AuditRecord,
}

type Ask = fn(&mut Draw<'_>) -> String;

impl Draw<'_> {
    fn id(&self) -> String {
        text(self.record.user_id.map(|id| id.to_string()))
    }

    fn name(&self) -> String {
        text(self.record.username.as_ref()).to_uppercase()
    }

    fn action(&self) -> String {
        self.record.action.to_string()
    }

    /// One that has a resource.
    fn resource(&mut self) -> (String, String) {
        while self.record.resource_id.is_none() {
            self.record = self.records.any(self.random);
        }
        (text(self.record.resource_id.as_ref()), text(self.record.resource_type.as_ref()))
    }

    fn time(&mut self) -> String {
        let at = self.records.time_ms(self.random.below(self.records.count));
        Timestamp::from_millis(i64::try_from(at).unwrap_or(0)).to_string()
    }

    /// Where a page ended, anywhere in the log.
    fn cursor(&mut self) -> String {
        self.records.any(self.random).id.0.simple().to_string()
    }

    /// A week's length before the end of the log.
    fn last_week(&self) -> String {
        let at = self.records.end_ms - SPAN_MS / 13;
        Timestamp::from_millis(i64::try_from(at).unwrap_or(0)).to_string()
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

const QUESTIONS: &[(Kind, &str, Ask)] = &[
    (Kind::Quick, "no filter", |_| String::new()),
    (Kind::Quick, "user_id, as records have it", |draw| format!("user_id={}", draw.id())),
    (Kind::Quick, "user_id, frequent", |draw| format!("user_id={}", frequent_user(draw.random).0)),
    (Kind::Quick, "user_id, rare", |draw| format!("user_id={}", rare_user(draw.random).0)),
    (Kind::Quick, "username, as records have it", |draw| format!("username={}", draw.name())),
    (Kind::Quick, "username, frequent", |draw| format!("username={}", frequent_user(draw.random).1)),
    (Kind::Quick, "username, rare", |draw| format!("username={}", rare_user(draw.random).1)),
    (Kind::Quick, "username, nobody's", |draw| format!("username=nobody{}", draw.random.below(1000))),
    (Kind::Quick, "action, as records have it", |draw| format!("action={}", draw.action())),
    (Kind::Quick, "action, one record in 100 000", |_| format!("action={RARE_ACTION}")),
    (Kind::Quick, "resource_type", |draw| format!("resource_type={}", draw.resource().1)),
    (Kind::Quick, "resource_type, none such", |_| "resource_type=planet".to_owned()),
    (Kind::Quick, "resource_id", |draw| format!("resource_id={}", draw.resource().0)),
    (Kind::Quick, "outcome=success", |_| "outcome=success".to_owned()),
    (Kind::Quick, "outcome=denied", |_| "outcome=denied".to_owned()),
    (Kind::Quick, "outcome=error, one in 2 000", |_| "outcome=error".to_owned()),
    (Kind::Quick, "method=GET", |_| "method=GET".to_owned()),
    (Kind::Quick, "method=DELETE", |_| "method=DELETE".to_owned()),
    (Kind::Quick, "method=TRACE, none such", |_| "method=TRACE".to_owned()),
    (Kind::Quick, "status=200", |_| "status=200".to_owned()),
    (Kind::Quick, "status=403", |_| "status=403".to_owned()),
    (Kind::Quick, "status=500, one in 2 000", |_| "status=500".to_owned()),
    (Kind::Quick, "status=418, none such", |_| "status=418".to_owned()),
    (Kind::Quick, "path=/runs", |_| "path=/runs".to_owned()),
    (Kind::Quick, "path of one resource", |draw| {
        draw.resource();
        format!("path={}", text(draw.record.request_path.as_ref()))
    }),
    (Kind::Quick, "ip_address", |draw| format!("ip_address={}", text(draw.record.ip_address.as_ref()))),
    (Kind::Quick, "ip_address, none such", |draw| format!("ip_address=192.0.2.{}", draw.random.below(250))),
    (Kind::Quick, "request_id", |draw| format!("request_id={}", text(draw.record.request_id.as_ref()))),
    (Kind::Quick, "request_id, none such", |draw| format!("request_id=none-{}", draw.random.next())),
    (Kind::Quick, "since", |draw| format!("since={}", draw.time())),
    (Kind::Quick, "until", |draw| format!("until={}", draw.time())),
    (Kind::Quick, "deep cursor", |draw| format!("cursor={}", draw.cursor())),
    (Kind::Quick, "deep cursor, user_id frequent", |draw| {
        format!("user_id={}&cursor={}", frequent_user(draw.random).0, draw.cursor())
    }),
    (Kind::Quick, "deep cursor, username frequent", |draw| {
        format!("username={}&cursor={}", frequent_user(draw.random).1, draw.cursor())
    }),
    (Kind::Quick, "deep cursor, action", |draw| format!("action={}&cursor={}", draw.action(), draw.cursor())),
    (Kind::Quick, "deep cursor, outcome=denied", |draw| format!("outcome=denied&cursor={}", draw.cursor())),
    (Kind::Quick, "request_id + action", |draw| {
        format!("request_id={}&action={}", text(draw.record.request_id.as_ref()), draw.action())
    }),
    (Kind::Quick, "resource_id + resource_type", |draw| {
        let (id, kind) = draw.resource();
        format!("resource_id={id}&resource_type={kind}")
    }),
    (Kind::Quick, "resource_id + outcome=denied", |draw| format!("resource_id={}&outcome=denied", draw.resource().0)),
    (Kind::Quick, "user_id rare + outcome=denied", |draw| {
        format!("user_id={}&outcome=denied", rare_user(draw.random).0)
    }),
    (Kind::Quick, "user_id rare + action", |draw| {
        format!("user_id={}&action={}", rare_user(draw.random).0, draw.action())
    }),
    (Kind::Quick, "user_id rare + path", |draw| format!("user_id={}&path=/runs", rare_user(draw.random).0)),
    (Kind::Quick, "username rare + status=404", |draw| format!("username={}&status=404", rare_user(draw.random).1)),
    (Kind::Quick, "ip_address + method=DELETE", |draw| {
        format!("ip_address={}&method=DELETE", text(draw.record.ip_address.as_ref()))
    }),
    (Kind::Quick, "action rare + method=GET", |_| format!("action={RARE_ACTION}&method=GET")),
    (Kind::Quick, "action rare + outcome=error", |_| format!("action={RARE_ACTION}&outcome=error")),
    (Kind::Quick, "user_id + since", |draw| format!("user_id={}&since={}", draw.id(), draw.last_week())),
    (Kind::Quick, "action + until", |draw| format!("action={}&until={}", draw.action(), draw.time())),
    (Kind::Bounded, "user_id frequent + outcome=denied", |draw| {
        format!("user_id={}&outcome=denied", frequent_user(draw.random).0)
    }),
    (Kind::Bounded, "user_id frequent + outcome=error", |draw| {
        format!("user_id={}&outcome=error", frequent_user(draw.random).0)
    }),
    (Kind::Bounded, "user_id frequent + action", |draw| {
        format!("user_id={}&action={}", frequent_user(draw.random).0, draw.action())
    }),
    (Kind::Bounded, "user_id frequent + path", |draw| {
        format!("user_id={}&path=/admin/users", frequent_user(draw.random).0)
    }),
    (Kind::Bounded, "user_id frequent + cursor + status=500", |draw| {
        format!("user_id={}&status=500&cursor={}", frequent_user(draw.random).0, draw.cursor())
    }),
    (Kind::Bounded, "username frequent + method=DELETE", |draw| {
        format!("username={}&method=DELETE", frequent_user(draw.random).1)
    }),
    (Kind::Bounded, "action + outcome=denied", |draw| format!("action={}&outcome=denied", draw.action())),
    (Kind::Bounded, "action + status=500", |draw| format!("action={}&status=500", draw.action())),
    (Kind::Bounded, "action + another's resource_type", |_| "action=LOGIN&resource_type=project".to_owned()),
    (Kind::Bounded, "action + resource_type + cursor", |draw| {
        format!("action=LOGIN&resource_type=project&cursor={}", draw.cursor())
    }),
    (Kind::Bounded, "outcome=error + method=DELETE", |_| "outcome=error&method=DELETE".to_owned()),
    (Kind::Bounded, "outcome=denied + path", |_| "outcome=denied&path=/models".to_owned()),
    (Kind::Bounded, "resource_type + status=404", |draw| format!("resource_type={}&status=404", draw.resource().1)),
    (Kind::Bounded, "method + path that never meet", |_| "method=DELETE&path=/auth/me".to_owned()),
    (Kind::Bounded, "status=200 + path, none such", |_| "status=200&path=/nowhere".to_owned()),
];

/// A log and the service on it.
struct Subject {
    log: Log,
    server: Server,
    token: String,
    random: Random,
}

/// The answers to one question from one log.
#[derive(Default)]
struct Answers {
    ms: Vec<f64>,
    items: usize,
    /// Pages that were not full, and yet not the last.
    short: usize,
}

impl Subject {
    fn start(log: Log) -> Result<Self, Failure> {
        let server = log.serve()?;
        let token = server.token()?;
        Ok(Self { log, server, token, random: Random::new(7) })
    }

    fn ask(&mut self, ask: Ask, answers: &mut Answers) -> Result<(), Failure> {
        let record = self.log.records.any(&mut self.random);
        let query = ask(&mut Draw { records: self.log.records, random: &mut self.random, record });
        let request = http::get(&format!("/audit/logs?{query}"), Some(&self.token));
        let begun = Instant::now();
        let (status, body) = http::fetch(self.server.address, &request)?;
        answers.ms.push(begun.elapsed().as_secs_f64() * 1e3);
        if status != 200 {
            return Err(format!("{query}: {status}: {body}").into());
        }
        let page: Value = serde_json::from_str(&body)?;
        let items = page["items"].as_array().ok_or("no items")?.len();
        answers.items += items;
        answers.short += usize::from(items < 100 && page["has_more"] == true);
        Ok(())
    }
}

impl Answers {
    /// What this share of the answers does not exceed.
    fn percentile(&mut self, share: f64) -> f64 {
        self.ms.sort_by(f64::total_cmp);
        let rank = (self.ms.len() as f64 * share).ceil() as usize;
        self.ms.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Asks every question of a small log and of a large one, and reports it.
///
/// # Errors
/// A log can't be filled, or an answer is none.
pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> Result<(), Failure> {
    let options = place.options;
    let mut small = Subject::start(place.log(options.small())?)?;
    let mut large = Subject::start(place.log(options.records)?)?;
    report.heading(format!("Questions on {}", place.backend.name()));
    report.line(format!(
        "  {:<42}{:>9} {:>7}{:>8}{:>10} {:>7}{:>8}{:>7}{:>7}",
        "(ms)", "small p50", "p99", "items", "large p50", "p99", "items", "short", "times"
    ));
    for (kind, name, ask) in QUESTIONS {
        progress(name);
        let (mut few, mut many) = (Answers::default(), Answers::default());
        for round in 0..WARM_UP + options.asks {
            if round == WARM_UP {
                (few, many) = (Answers::default(), Answers::default());
            }
            small.ask(*ask, &mut few)?;
            large.ask(*ask, &mut many)?;
        }
        let (few_p99, many_p99) = (few.percentile(0.99), many.percentile(0.99));
        let times = many_p99 / few_p99;
        let is_met = match kind {
            Kind::Quick => many_p99 <= MOST_MS && times <= MOST_TIMES,
            Kind::Bounded => many_p99 <= MOST_OTHER_MS,
        };
        report.line(format!(
            "  {name:<42}{:>9.2} {few_p99:>7.2}{:>8.0}{:>10.2} {many_p99:>7.2}{:>8.0}{:>6.0}%{times:>7.1}  {}{}",
            few.percentile(0.5),
            few.items as f64 / options.asks as f64,
            many.percentile(0.5),
            many.items as f64 / options.asks as f64,
            many.short as f64 / options.asks as f64 * 100.0,
            if is_met { "met" } else { "MISSED" },
            if *kind == Kind::Bounded { " (50 ms)" } else { "" },
        ));
    }
    Ok(())
}
