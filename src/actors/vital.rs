//! An actor that dies ends the process: a restart beats a half-dead service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by an actor for as long as it lives.
#[derive(Debug)]
pub struct Vital {
    name: &'static str,
    draining: Draining,
}

/// Whether the process is on its way out, so that actors may end.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on actors may end.
    pub fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// A guard for the actor of this name.
    pub fn vital(&self, name: &'static str) -> Vital {
        Vital { name, draining: self.clone() }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if !self.draining.0.load(Ordering::SeqCst) {
            log::error!("the actor {} died: the process ends, so that it can be started anew", self.name);
            std::process::exit(1);
        }
    }
}
