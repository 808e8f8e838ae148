//! An actor that dies ends the process: a restart beats a half-dead service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by an actor for as long as it lives.
#[derive(Debug)]
pub struct Vital {
    name: &'static str,
    lifecycle: Lifecycle,
}

/// Whether the process serves: before that and after it, actors may end.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<AtomicBool>);

impl Lifecycle {
    /// From now on no actor may end.
    pub fn serving(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// From now on actors may end.
    pub fn draining(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// A guard for the actor of this name.
    pub fn vital(&self, name: &'static str) -> Vital {
        Vital { name, lifecycle: self.clone() }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if self.lifecycle.0.load(Ordering::SeqCst) {
            log::error!("the actor {} died: the process ends, so that it can be started anew", self.name);
            std::process::exit(1);
        }
    }
}
