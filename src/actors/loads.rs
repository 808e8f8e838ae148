//! Loads that a revocation overtakes: they are done again, never published.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::oneshot;

/// The loads under way in one actor: one a key at a time, however many ask.
///
/// The actor that owns this is the only one that publishes to its cache and
/// the only one that forgets, so the order of its messages is the order of
/// events: what was read before a revocation is not published after it.
#[derive(Debug)]
pub(super) struct Loads<K, V> {
    under_way: HashMap<K, Load<V>>,
}

#[derive(Debug)]
struct Load<V> {
    waiting: Vec<oneshot::Sender<V>>,
    is_overtaken: bool,
}

/// What to do with a load that has come back.
#[derive(Debug)]
pub(super) enum Loaded<V> {
    /// A revocation came in between: load again.
    Again,
    /// Publish, and tell these.
    Publish(Vec<oneshot::Sender<V>>),
}

impl<K: Eq + Hash, V> Default for Loads<K, V> {
    fn default() -> Self {
        Self { under_way: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Loads<K, V> {
    /// Somebody waits for the key; true if a load has to be started for it.
    pub(super) fn join(&mut self, key: K, waiting: oneshot::Sender<V>) -> bool {
        match self.under_way.get_mut(&key) {
            Some(load) => {
                load.waiting.push(waiting);
                false
            }
            None => {
                self.under_way.insert(key, Load { waiting: vec![waiting], is_overtaken: false });
                true
            }
        }
    }

    /// The key was revoked: what is being read of it may be of before.
    pub(super) fn overtake(&mut self, key: &K) {
        if let Some(load) = self.under_way.get_mut(key) {
            load.is_overtaken = true;
        }
    }

    /// Everything may have been revoked.
    pub(super) fn overtake_all(&mut self) {
        for load in self.under_way.values_mut() {
            load.is_overtaken = true;
        }
    }

    /// A load has come back.
    pub(super) fn finish(&mut self, key: &K) -> Loaded<V> {
        match self.under_way.get_mut(key) {
            Some(load) if load.is_overtaken => {
                load.is_overtaken = false;
                Loaded::Again
            }
            _ => Loaded::Publish(self.under_way.remove(key).map(|load| load.waiting).unwrap_or_default()),
        }
    }
}
