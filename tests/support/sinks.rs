//! Audit sinks.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use backup_codes::audit::{AuditSink, Durability, Event};

/// A sink that keeps nothing safe, so that stored events stay in the repository.
#[derive(Clone)]
pub(crate) struct Lossy(Arc<Mutex<Vec<Event>>>);

impl Lossy {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// The events that the sink was handed.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// The events that the sink was handed since they were last taken.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl AuditSink for Lossy {
    type Error = Infallible;
    async fn record(&self, events: &[Event]) -> Result<(), Infallible> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
    fn durability(&self) -> Durability {
        Durability::Lossy
    }
}
