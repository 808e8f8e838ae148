//! Pages of lists.

/// The greatest number of items on a page.
pub const MAX_LIMIT: u32 = 1000;

/// Which part of a list: `limit` in 1..=[`MAX_LIMIT`], `offset` from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many items.
    pub limit: u32,
    /// So many are left out before them.
    pub offset: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 100, offset: 0 }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    /// At most `limit` items.
    pub items: Vec<T>,
    /// Whether more follow.
    pub has_more: bool,
}

impl<T> Slice<T> {
    /// From a query that asked for one row more than the limit.
    pub fn from_one_more(mut rows: Vec<T>, limit: u32) -> Self {
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Self { items: rows, has_more }
    }
}
