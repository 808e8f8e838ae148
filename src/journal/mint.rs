//! Ids of records: UUIDv7 in strict order for each writer (RFC 9562 §6.2, method 2).

use uuid::{Builder, Uuid};

use crate::domain::{RecordId, Timestamp};

/// Mints ids whose order is the order of minting, also when the clock steps back.
#[derive(Debug, Default)]
pub(super) struct Mint {
    last: u128,
}

impl Mint {
    /// Whose ids come after this one.
    pub(super) fn after(last: Option<RecordId>) -> Self {
        Self { last: last.map_or(0, |id| id.0.as_u128()) }
    }

    /// The next id, and its time: `now`, or the last id's where the clock has stepped back.
    pub(super) fn next(&mut self, now: Timestamp) -> (RecordId, Timestamp) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        // A fresh one where the millisecond is new: its 74 random bits keep writers apart.
        let last_millis = u64::try_from(self.last >> 80).unwrap_or(0);
        let id = if millis > last_millis {
            let mut random = [0; 10];
            random.copy_from_slice(&Uuid::now_v7().as_bytes()[6..]);
            // The counter starts low enough to have room.
            random[0] &= 0x07;
            Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
        } else {
            Uuid::from_u128(after(self.last))
        };
        self.last = id.as_u128();
        (RecordId(id), RecordId(id).time())
    }
}

/// The next greater id.
pub(super) fn following(id: RecordId) -> RecordId {
    RecordId(Uuid::from_u128(after(id.0.as_u128())))
}

/// The next greater UUIDv7: counts in the 74 bits that are neither version nor variant.
fn after(id: u128) -> u128 {
    const LOW: u128 = (1 << 62) - 1;
    let (time, high, low) = (id >> 80, (id >> 64) & 0xfff, id & LOW);
    let (high, low) = if low == LOW { (high + 1, 0) } else { (high, low + 1) };
    // Beyond 2^74 in one millisecond the next millisecond is borrowed.
    let (time, high) = if high > 0xfff { (time + 1, 0) } else { (time, high) };
    (time << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_also_when_the_clock_steps_back() {
        let mut mint = Mint::default();
        let mut last = mint.next(Timestamp::from_millis(1_000_000)).0;
        for now in [1_000_000, 999_000, 1_000_000, 1_000_001, 5, 1_000_002] {
            let (id, time) = mint.next(Timestamp::from_millis(now));
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.0.get_version_num(), 7);
            assert!(time.as_millis() >= 1_000_000);
            last = id;
        }
    }

    #[test]
    fn counting_carries_around_version_and_variant() {
        let full = Uuid::from_u128((5 << 80) | (0x7 << 76) | (0xfff << 64) | (0b10 << 62) | ((1 << 62) - 1));
        let next = Uuid::from_u128(after(full.as_u128()));
        assert!(next > full);
        assert_eq!((next.get_version_num(), RecordId(next).time().as_millis()), (7, 6));
    }
}
