//! Answers that nobody waits for any more: a client has hung up on what may change something.
//!
//! They run to their end on their worker, which knows nothing of them: an idle worker ends at once
//! when the service stops. So the stop waits for them first.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::rt::task::{JoinError, JoinHandle};

/// How many there are, in all workers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Unfinished(Arc<AtomicUsize>);

impl Unfinished {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Runs work to its end, also when what this gives is dropped before.
    pub(super) fn see_through<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> SeenThrough<T> {
        let ticket = Rc::new(Ticket { unfinished: self.clone(), is_left: Cell::new(false) });
        let held = Rc::clone(&ticket);
        let task = actix_web::rt::spawn(async move {
            let done = work.await;
            drop(held);
            done
        });
        SeenThrough { task, ticket }
    }
}

/// Held by the work and by who waits for it.
struct Ticket {
    unfinished: Unfinished,
    is_left: Cell<bool>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_left.get() {
            self.unfinished.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What the work gives, for who waits.
pub(super) struct SeenThrough<T> {
    task: JoinHandle<T>,
    ticket: Rc<Ticket>,
}

impl<T> Future for SeenThrough<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(ctx)
    }
}

impl<T> Drop for SeenThrough<T> {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            self.ticket.is_left.set(true);
            self.ticket.unfinished.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[actix_web::test]
    async fn what_nobody_waits_for_is_counted_until_it_is_done() {
        let unfinished = Unfinished::default();
        let (go_on, told) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let waiting = unfinished.see_through(async move {
            told.await.unwrap();
            done.send(()).unwrap();
        });
        assert!(unfinished.is_none());
        drop(waiting);
        assert!(!unfinished.is_none());
        go_on.send(()).unwrap();
        is_done.await.unwrap();
        tokio::task::yield_now().await;
        assert!(unfinished.is_none());
        assert_eq!(unfinished.see_through(async { 7 }).await.unwrap(), 7);
        assert!(unfinished.is_none());
    }
}
