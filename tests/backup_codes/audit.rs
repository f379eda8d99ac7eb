//! Events and the sinks that they are delivered to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backup_codes::audit::{AuditSink, Durability, Event, EventKind, EventOutcome, MemoryAudit};
use backup_codes::{Delivery, Error, JsonLines, MemoryRepository, Redeem};
use pollster::block_on;

use crate::fixture::{fixture, own};
use crate::support::moments::since_start;
use crate::support::operations::backup_codes;
use crate::support::people::alice;
use crate::support::sheets::code;

/// A writer whose next write stops half way.
struct HalfWay(Vec<u8>, Option<usize>);

impl io::Write for HalfWay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.1.take() {
            Some(0) => Err(io::Error::other("disk full")),
            Some(room) => {
                self.0.extend_from_slice(&bytes[..room]);
                self.1 = Some(0);
                Ok(room)
            }
            None => {
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_written_half_way_does_not_swallow_the_next_one() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let events = f.audit.events();
    let lines = JsonLines::new(HalfWay(Vec::new(), Some(20)));
    assert!(block_on(lines.record(&events)).is_err());
    block_on(lines.record(&events)).unwrap();
    let text = String::from_utf8(lines.into_inner().0).unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert_eq!(whole.count(), events.len(), "{text}");
}

/// A sink that fails while it is told to.
struct Failing(AtomicBool, MemoryAudit);

impl AuditSink for Failing {
    type Error = io::Error;
    async fn record(&self, events: &[Event]) -> Result<(), io::Error> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("down"));
        }
        self.1.record(events).await.map_err(|never| match never {})
    }
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

#[test]
fn a_failing_sink_neither_accepts_nor_loses() {
    let sink = Arc::new(Failing(AtomicBool::new(true), MemoryAudit::new()));
    let codes = backup_codes(MemoryRepository::new()).with_audit(Arc::clone(&sink));
    let sheet = block_on(codes.issue(&alice(), &own(Duration::ZERO)))
        .unwrap()
        .sheet;
    let typed = code(&sheet, 1);
    let redeem = || block_on(codes.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap();
    assert!(matches!(redeem(), Redeem::Accepted(_)));
    assert!(matches!(redeem(), Redeem::Refused(_)));
    assert!(matches!(
        block_on(codes.deliver_events()),
        Err(Error::Sink(_))
    ));
    sink.0.store(false, Ordering::Relaxed);
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::Delivered(4)
    );
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::Delivered(0)
    );
    let kinds: Vec<EventKind> = sink.1.events().iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Prepare,
        EventKind::Activate,
        EventKind::Redeem,
        EventKind::Redeem,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_lossy_sink_gets_events_but_does_not_clear_them() {
    let store = MemoryRepository::new();
    let codes = backup_codes(store.clone()).with_audit(JsonLines::new(Vec::new()));
    let _ = block_on(codes.issue(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::SinkIsLossy
    );
    let durable = codes.with_audit(MemoryAudit::new());
    assert_eq!(
        block_on(durable.deliver_events()).unwrap(),
        Delivery::Delivered(2)
    );
}

#[test]
fn an_event_says_who_what_when_where_from_and_why() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let cx = own(Duration::from_millis(123))
        .with_address([203, 0, 113, 7])
        .with_user_agent("browser\nforged line")
        .with_correlation("req-1");
    let _ = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
    let event = f.last_event();
    assert_eq!(event.at, since_start(Duration::from_millis(123)));
    assert_eq!(
        (event.kind, event.outcome),
        (EventKind::Redeem, EventOutcome::Success)
    );
    assert_eq!(event.subject.as_ref(), Some(alice().id()));
    assert_eq!(event.address.unwrap().to_string(), "203.0.113.7");
    assert_eq!(event.remaining, Some(9));
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    let lines = JsonLines::new(Vec::new());
    block_on(lines.record(&[event])).unwrap();
    let line = String::from_utf8(lines.into_inner()).unwrap();
    assert_eq!(line.lines().count(), 1);
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("@timestamp", "2026-09-21T14:13:20.123Z"),
        ("event.action", "redeem"),
        ("event.outcome", "success"),
        ("event.code", "authn_login_success"),
        ("user.id", "alice"),
        ("user.target.id", "alice"),
        ("client.ip", "203.0.113.7"),
        ("trace.id", "req-1"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
}
