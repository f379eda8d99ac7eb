//! A repository that fails on command.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::audit::event::Event;
use crate::id::{EventId, Revision, UserId};
use crate::repository::{CodeRepository, Freshness, Loaded, Put, PutError, PutOutcome};

/// The fault of one call of a [`Faulty`] repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// The call fails before it does anything: `NotApplied`, or an error of a read.
    FailBefore,
    /// A write is applied, then reported as [`PutError::Unknown`]; a read fails.
    ApplyThenFail,
    /// A write is not applied, and reported as [`PutError::Unknown`]; a read fails.
    FailUnknown,
    /// A read gives the state before the latest write; a write is not affected.
    StaleRead,
    /// A write is applied, then reported as a conflict, as a driver does that repeats writes by
    /// itself.
    ApplyThenConflict,
}

/// The error of an injected fault, or the repository's own error.
#[derive(Debug)]
pub enum FaultyError<E> {
    /// An injected fault.
    Injected,
    /// The repository's own error.
    Own(E),
}

impl<E: fmt::Display> fmt::Display for FaultyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("an injected fault"),
            Self::Own(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for FaultyError<E> {}

/// A repository that wraps another one and injects faults at chosen calls.
pub struct Faulty<R> {
    inner: R,
    /// The faults of the next calls, the nearest one last; calls have none once the list is empty.
    plan: Mutex<Vec<Fault>>,
    before: Mutex<Vec<(UserId, Option<Loaded>)>>,
    down: AtomicBool,
}

impl<R> fmt::Debug for Faulty<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl<R> Faulty<R> {
    /// Creates a repository with these faults at its next calls, in order, and none afterwards.
    pub fn new(inner: R, faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut plan: Vec<Fault> = faults.into_iter().collect();
        plan.reverse();
        Self {
            inner,
            plan: Mutex::new(plan),
            before: Mutex::default(),
            down: AtomicBool::new(false),
        }
    }

    /// Makes every call fail before it does anything, until this is called again with `false`.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Returns the wrapped repository.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    fn next(&self) -> Fault {
        if self.down.load(Ordering::SeqCst) {
            return Fault::FailBefore;
        }
        self.plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or(Fault::None)
    }
}

fn own<E>(error: PutError<E>) -> PutError<FaultyError<E>> {
    match error {
        PutError::NotApplied(error) => PutError::NotApplied(FaultyError::Own(error)),
        PutError::Unknown(error) => PutError::Unknown(FaultyError::Own(error)),
    }
}

impl<R: CodeRepository> CodeRepository for Faulty<R> {
    type Error = FaultyError<R::Error>;

    async fn load(
        &self,
        user: &UserId,
        freshness: Freshness,
    ) -> Result<Option<Loaded>, Self::Error> {
        let fault = self.next();
        let stale = fault == Fault::StaleRead && freshness == Freshness::Any;
        match fault {
            Fault::FailBefore | Fault::ApplyThenFail | Fault::FailUnknown => {
                Err(FaultyError::Injected)
            }
            _ if stale => {
                let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(before
                    .iter()
                    .rev()
                    .find(|(key, _)| key == user)
                    .and_then(|(_, old)| old.clone()))
            }
            _ => self
                .inner
                .load(user, freshness)
                .await
                .map_err(FaultyError::Own),
        }
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Self::Error>> {
        let fault = self.next();
        match fault {
            Fault::FailBefore => return Err(PutError::NotApplied(FaultyError::Injected)),
            Fault::FailUnknown => return Err(PutError::Unknown(FaultyError::Injected)),
            _ => {}
        }
        let old = self
            .inner
            .load(put.user, Freshness::Latest)
            .await
            .map_err(|error| PutError::NotApplied(FaultyError::Own(error)))?;
        let user = put.user.clone();
        let outcome = self.inner.put(put).await.map_err(own)?;
        if outcome == PutOutcome::Applied {
            self.before
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((user, old));
        }
        match fault {
            Fault::ApplyThenFail => Err(PutError::Unknown(FaultyError::Injected)),
            Fault::ApplyThenConflict => Ok(PutOutcome::Conflict),
            _ => Ok(outcome),
        }
    }

    async fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> Result<PutOutcome, PutError<Self::Error>> {
        match self.next() {
            Fault::FailBefore => Err(PutError::NotApplied(FaultyError::Injected)),
            Fault::FailUnknown => Err(PutError::Unknown(FaultyError::Injected)),
            Fault::ApplyThenFail => {
                let _ = self.inner.remove(user, expected).await.map_err(own)?;
                Err(PutError::Unknown(FaultyError::Injected))
            }
            _ => self.inner.remove(user, expected).await.map_err(own),
        }
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Self::Error> {
        match self.next() {
            Fault::None | Fault::StaleRead | Fault::ApplyThenConflict => self
                .inner
                .undelivered(limit)
                .await
                .map_err(FaultyError::Own),
            _ => Err(FaultyError::Injected),
        }
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Self::Error> {
        match self.next() {
            Fault::FailBefore | Fault::FailUnknown => Err(FaultyError::Injected),
            fault => {
                self.inner
                    .acknowledge(events)
                    .await
                    .map_err(FaultyError::Own)?;
                if fault == Fault::ApplyThenFail {
                    Err(FaultyError::Injected)
                } else {
                    Ok(())
                }
            }
        }
    }
}
