//! The partitions of the audit log on PostgreSQL: which there are, and which there should be. Pure.
//!
//! A partition's bounds are the least ids of two Mondays (UTC). It is a week long; four weeks where
//! records are kept for more than a year, for a question that no bound narrows is planned for each of them.

use uuid::Uuid;

use crate::domain::{RecordId, Timestamp};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const WEEK_MS: i64 = 7 * DAY_MS;

/// 1970-01-05, a Monday.
const MONDAY_MS: i64 = 4 * DAY_MS;

/// How far ahead partitions are made: so long the service may stand still, and find one when it is back.
const AHEAD_MS: i64 = 4 * WEEK_MS;

/// From so many days on a partition is four weeks long.
const LONG_DAYS: u32 = 366;

/// A partition that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its table, as SQL names it.
    pub(super) table: String,
    pub(super) bounds: Bounds,
}

/// Which ids a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Those that no other has.
    Default,
    /// From the first, inclusive, to the second, exclusive; `None`: without an end.
    Range(Option<Uuid>, Option<Uuid>),
    /// Somebody has made it in a way of his own: it is let alone.
    Unknown,
}

/// A partition that there should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) table: String,
    pub(super) from: Uuid,
    pub(super) to: Uuid,
}

impl Bounds {
    /// Reads what `pg_get_expr` says of them.
    pub(super) fn parse(text: &str) -> Self {
        if text == "DEFAULT" {
            return Self::Default;
        }
        let bound = |text: &str| match text {
            "MINVALUE" | "MAXVALUE" => Some(None),
            quoted => Uuid::try_parse(quoted.trim_matches('\'')).ok().map(Some),
        };
        let range = text.strip_prefix("FOR VALUES FROM (").and_then(|rest| rest.strip_suffix(')'));
        match range.and_then(|range| range.split_once(") TO (")) {
            Some((from, to)) => bound(from).zip(bound(to)).map_or(Self::Unknown, |(from, to)| Self::Range(from, to)),
            None => Self::Unknown,
        }
    }

    /// Whether all that it can have is older than this id.
    pub(super) fn is_before(self, id: Uuid) -> bool {
        matches!(self, Self::Range(_, Some(to)) if to <= id)
    }

    /// Whether it can have ids on both sides of this one.
    pub(super) fn straddles(self, id: Uuid) -> bool {
        match self {
            Self::Default => true,
            Self::Range(from, to) => from.is_none_or(|from| from < id) && to.is_none_or(|to| id < to),
            Self::Unknown => false,
        }
    }
}

/// The Monday at or before a time; with four weeks, each fourth one.
fn monday(time: Timestamp, weeks: i64) -> Timestamp {
    let length = weeks * WEEK_MS;
    Timestamp::from_millis((time.as_millis() - MONDAY_MS).div_euclid(length) * length + MONDAY_MS)
}

/// The partitions that are missing now and for the next weeks, where records are kept for so many days; 0: for ever.
pub(super) fn wanted(present: &[Partition], now: Timestamp, days: u32) -> Vec<Wanted> {
    let weeks = if days == 0 || days > LONG_DAYS { 4 } else { 1 };
    let mut from = RecordId::least_of(monday(now, weeks));
    for partition in present {
        match partition.bounds {
            Bounds::Range(_, Some(to)) => from = from.max(RecordId(to)),
            Bounds::Range(_, None) => return Vec::new(),
            Bounds::Default | Bounds::Unknown => {}
        }
    }
    let last = RecordId::least_of(Timestamp::from_millis(now.as_millis() + AHEAD_MS));
    let mut wanted = Vec::new();
    while from <= last {
        let to = Timestamp::from_millis(monday(from.time(), weeks).as_millis() + weeks * WEEK_MS);
        let to = RecordId::least_of(to);
        let Some(first_day) = from.time().to_datetime() else { break };
        wanted.push(Wanted { table: format!("audit_logs_{}", first_day.format("%Y%m%d")), from: from.0, to: to.0 });
        from = to;
    }
    wanted
}

/// Up to which id records are removed that are older than this time: whole partitions go, and in those
/// that are not of our making whole weeks.
pub(super) fn cutoff(present: &[Partition], older_than: Timestamp) -> RecordId {
    let week = RecordId::least_of(monday(older_than, 1));
    let around = present.iter().find_map(|partition| match partition.bounds {
        Bounds::Range(Some(from), _) if partition.bounds.straddles(week.0) => Some(RecordId(from)),
        _ => None,
    });
    around.unwrap_or(week)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("{text}T00:00:00Z")).unwrap()
    }

    fn range(from: &str, to: &str) -> Partition {
        let bound = |text: &str| (!text.is_empty()).then(|| RecordId::least_of(at(text)).0);
        Partition { table: String::new(), bounds: Bounds::Range(bound(from), bound(to)) }
    }

    fn default() -> Partition {
        Partition { table: "audit_logs_default".into(), bounds: Bounds::Default }
    }

    fn names(wanted: &[Wanted]) -> Vec<&str> {
        wanted.iter().map(|wanted| wanted.table.trim_start_matches("audit_logs_")).collect()
    }

    #[test]
    fn bounds_are_read_as_postgresql_writes_them() {
        let (one, two) = ("01a205b3-d000-0000-0000-000000000000", "01a229c0-5400-0000-0000-000000000000");
        let [first, second] = [one, two].map(|text| Some(Uuid::try_parse(text).unwrap()));
        let parse = |from: &str, to: &str| Bounds::parse(&format!("FOR VALUES FROM ({from}) TO ({to})"));
        assert_eq!(parse(&format!("'{one}'"), &format!("'{two}'")), Bounds::Range(first, second));
        assert_eq!(parse("MINVALUE", &format!("'{two}'")), Bounds::Range(None, second));
        assert_eq!(parse(&format!("'{one}'"), "MAXVALUE"), Bounds::Range(first, None));
        assert_eq!(parse("'x'", "'y'"), Bounds::Unknown);
        assert_eq!(Bounds::parse("DEFAULT"), Bounds::Default);
        assert_eq!(Bounds::parse("FOR VALUES IN ('x')"), Bounds::Unknown);
    }

    #[test]
    fn partitions_are_made_for_this_week_and_the_next_four() {
        // A Thursday.
        let now = at("2026-11-26");
        let weeks = ["20261123", "20261130", "20261207", "20261214", "20261221"];
        assert_eq!(names(&wanted(&[default()], now, 90)), weeks);
        let present = [range("", "2026-11-30"), range("2026-11-30", "2026-12-07"), default()];
        assert_eq!(names(&wanted(&present, now, 90)), weeks[2..]);
        let all = wanted(&[], now, 7);
        assert_eq!(all[0].from, RecordId::least_of(at("2026-11-23")).0);
        assert!(all.windows(2).all(|pair| pair[0].to == pair[1].from));
        // On the Monday itself.
        assert_eq!(names(&wanted(&[], at("2026-11-23"), 90))[0], "20261123");
        assert_eq!(wanted(&[range("2026-11-23", "")], now, 90), []);
    }

    #[test]
    fn a_partition_is_four_weeks_long_where_records_are_kept_long() {
        let now = at("2026-11-26");
        for days in [0, 1000] {
            let made = wanted(&[], now, days);
            assert_eq!(names(&made), ["20261123", "20261221"]);
            // After weeks, up to where four begin.
            let made = wanted(&[range("2026-11-23", "2026-11-30")], now, days);
            assert_eq!(names(&made), ["20261130", "20261221"]);
        }
    }

    #[test]
    fn a_service_that_was_away_for_long_begins_anew_with_this_week() {
        let present = [range("2026-01-05", "2026-01-12")];
        assert_eq!(names(&wanted(&present, at("2026-11-26"), 90))[0], "20261123");
    }

    #[test]
    fn whole_partitions_go_and_whole_weeks_of_what_was_there_before_them() {
        let least = |text| RecordId::least_of(at(text));
        let legacy = [range("", "2026-11-30"), default()];
        assert_eq!(cutoff(&legacy, at("2026-11-19")), least("2026-11-16"));
        let long = [range("2026-11-16", "2026-12-14"), default()];
        assert_eq!(cutoff(&long, at("2026-12-03")), least("2026-11-16"));
        assert_eq!(cutoff(&long, at("2026-12-15")), least("2026-12-14"));
        assert!(long[0].bounds.is_before(least("2026-12-14").0) && !long[0].bounds.is_before(least("2026-12-07").0));
        assert!(!long[0].bounds.straddles(least("2026-11-16").0) && default().bounds.straddles(Uuid::nil()));
    }
}
