//! Events and the sinks that they are delivered to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backup_codes::audit::{AuditSink, Durability, Event, EventKind, EventOutcome, MemoryAudit};
use backup_codes::{BackupCodes, Delivery, Error, JsonLines, MemoryRepository, Redeem};
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

/// Operations whose sink has failed from the start, and a code that was redeemed twice.
fn redeemed_twice_while_failing() -> (BackupCodes, Arc<Failing>, [Redeem; 2]) {
    let sink = Arc::new(Failing(AtomicBool::new(true), MemoryAudit::new()));
    let codes = backup_codes(MemoryRepository::new()).with_audit(Arc::clone(&sink));
    let sheet = block_on(codes.issue(&alice(), &own(Duration::ZERO)))
        .unwrap()
        .sheet;
    let typed = code(&sheet, 1);
    let redeem = || block_on(codes.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap();
    let redeemed = [redeem(), redeem()];
    (codes, sink, redeemed)
}

#[test]
fn a_code_works_once_while_the_sink_fails() {
    let (.., redeemed) = redeemed_twice_while_failing();
    assert!(matches!(redeemed[0], Redeem::Accepted(_)));
    assert!(matches!(redeemed[1], Redeem::Refused(_)));
}

#[test]
fn a_failing_sink_loses_no_event() {
    let (codes, sink, _) = redeemed_twice_while_failing();
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
fn events_stay_stored_while_the_sink_is_lossy() {
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

/// The event of a redeem with an address, an agent and a correlation id.
fn redeem_event() -> Event {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let cx = own(Duration::from_millis(123))
        .with_address([203, 0, 113, 7])
        .with_user_agent("browser\nforged line")
        .with_correlation("req-1");
    let _ = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
    f.last_event()
}

#[test]
fn an_event_says_who_did_what_when_and_from_where() {
    let event = redeem_event();
    assert_eq!(event.at, since_start(Duration::from_millis(123)));
    assert_eq!(
        (event.kind, event.outcome),
        (EventKind::Redeem, EventOutcome::Success)
    );
    assert_eq!(event.subject.as_ref(), Some(alice().id()));
    assert_eq!(event.address.unwrap().to_string(), "203.0.113.7");
    assert_eq!(event.remaining, Some(9));
}

#[test]
fn an_event_is_read_from_json_as_it_was_written() {
    let event = redeem_event();
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
}

#[test]
fn a_line_of_json_has_the_field_names_of_ecs() {
    let lines = JsonLines::new(Vec::new());
    block_on(lines.record(&[redeem_event()])).unwrap();
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
