//! The `tracing` sink: one event, one line, whatever is in it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fmt;
use std::sync::{Arc, Mutex};

use backup_codes::audit::{AuditSink, Durability, TracingAudit, is_forging};
use backup_codes::{Context, MemoryRepository, Redeem, Timestamp};
use pollster::block_on;
use support::operations::backup_codes;
use support::people::subject;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Visit for Lines {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push(format!("{value:?}"));
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "backup_codes::audit"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_hostile_request_cannot_forge_a_line() {
    assert_eq!(TracingAudit.durability(), Durability::Lossy);
    let lines = Lines::default();
    let user = subject("x\r\nforged", "staff");
    let cx = Context::new(Timestamp::MIN, &user).with_user_agent("a\r\nforged");
    let codes = backup_codes(MemoryRepository::new()).with_audit(TracingAudit);
    tracing::subscriber::with_default(lines.clone(), || {
        let outcome = block_on(codes.redeem(&user, "no code", &cx)).unwrap();
        assert!(matches!(outcome, Redeem::NotACode(_)));
    });
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains(['\r', '\n']), "{}", lines[0]);
    assert!(lines[0].contains("not_a_code_shape"), "{}", lines[0]);
}

#[test]
fn a_tampered_event_cannot_forge_a_line() {
    let hostile =
        "a\n\u{7f}\u{85}\u{61c}\u{200e}\u{200f}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}b";
    let event = serde_json::json!({
        "id": "01010101010101010101010101010101",
        "at": 0,
        "kind": "redeem",
        "outcome": "failure",
        "actor": { "user": hostile },
        "subject": hostile,
        "user_agent": hostile,
        "correlation": hostile,
    });
    let event: backup_codes::audit::Event = serde_json::from_value(event).unwrap();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        block_on(TracingAudit.record(&[event])).unwrap();
    });
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains(is_forging), "{:?}", lines[0]);
}
