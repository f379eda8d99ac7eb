//! Audit sinks: where events go once they are stored.

use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::event::{Event, EventActor, EventKind, EventOutcome};
use crate::id::is_forging;

/// Whether a sink keeps what it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What it has accepted survives a crash of this process and of the machine.
    Durable,
    /// It may be lost. Events handed to such a sink stay in the repository until a durable one
    /// has had them.
    Lossy,
}

/// Receives events.
///
/// # Contract
/// 1. `record` returns `Ok` only when every event of the slice was accepted; a durable sink,
///    only when they are flushed.
/// 2. The same event may come more than once, with the same id; drop the repetition or keep it.
/// 3. A sink that fails changes no outcome: the events stay in the repository and are handed
///    over again by [`deliver_pending`](crate::BackupCodes::deliver_pending).
///
/// Operations wait for the sink, so a slow one slows logins down.
///
/// Implementations write `async fn`; the trait is not usable as `dyn`.
pub trait AuditSink: Send + Sync {
    /// The sink's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes events, in order.
    ///
    /// # Errors
    /// The sink's own.
    fn record(&self, events: &[Event]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether accepted events survive a crash.
    fn durability(&self) -> Durability;
}

impl<A: AuditSink> AuditSink for Arc<A> {
    type Error = A::Error;
    async fn record(&self, events: &[Event]) -> Result<(), A::Error> {
        (**self).record(events).await
    }
    fn durability(&self) -> Durability {
        (**self).durability()
    }
}

impl<A: AuditSink> AuditSink for &A {
    type Error = A::Error;
    async fn record(&self, events: &[Event]) -> Result<(), A::Error> {
        (**self).record(events).await
    }
    fn durability(&self) -> Durability {
        (**self).durability()
    }
}

/// No audit log at all. Events are acknowledged and gone.
///
/// For applications whose repository keeps its events as the audit log itself, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    type Error = Infallible;

    async fn record(&self, _: &[Event]) -> Result<(), Infallible> {
        Ok(())
    }

    // There is nothing to lose, and what nobody wants must not pile up in the repository.
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

/// Keeps events in memory, for tests and examples.
#[derive(Debug, Clone, Default)]
pub struct MemoryAudit(Arc<Mutex<Vec<Event>>>);

impl MemoryAudit {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it has received so far, repetitions included.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl AuditSink for MemoryAudit {
    type Error = Infallible;

    async fn record(&self, events: &[Event]) -> Result<(), Infallible> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(events);
        Ok(())
    }

    // Lives and dies with the memory store beside it.
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

/// Writes one JSON object a line, with the field names of the Elastic Common Schema (ECS 8).
///
/// Writing blocks the calling thread; put a channel between where that matters. A write that fails
/// half way, or a crash, can leave part of a line: what follows begins on a line of its own, so
/// readers skip blank lines and those that are not JSON. The events of such a line come again.
#[derive(Debug)]
pub struct JsonLines<W> {
    output: Mutex<Output<W>>,
    durability: Durability,
    sync: fn(&mut W) -> io::Result<()>,
}

#[derive(Debug)]
struct Output<W> {
    writer: W,
    /// Whether the writer may stand in the middle of a line.
    torn: bool,
}

impl<W: Write + Send> JsonLines<W> {
    /// Lines to any writer, flushed after each call; lossy.
    pub fn new(writer: W) -> Self {
        Self {
            output: Mutex::new(Output {
                writer,
                torn: false,
            }),
            durability: Durability::Lossy,
            sync: W::flush,
        }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.output
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .writer
    }
}

impl JsonLines<File> {
    /// Lines to a file opened for appending, synchronised to the disk before they are
    /// acknowledged; durable.
    #[must_use]
    pub fn file(file: File) -> Self {
        let sync = |file: &mut File| file.sync_data();
        Self {
            // The process before may have ended in the middle of a line.
            output: Mutex::new(Output {
                writer: file,
                torn: true,
            }),
            durability: Durability::Durable,
            sync,
        }
    }
}

impl<W: Write + Send> AuditSink for JsonLines<W> {
    type Error = io::Error;

    async fn record(&self, events: &[Event]) -> Result<(), io::Error> {
        let mut lines = String::new();
        for event in events {
            lines.push_str(&line(event));
            lines.push('\n');
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let Output { writer, torn } = &mut *output;
        if *torn {
            lines.insert(0, '\n');
        }
        *torn = true;
        writer.write_all(lines.as_bytes())?;
        (self.sync)(writer)?;
        *torn = false;
        Ok(())
    }

    fn durability(&self) -> Durability {
        self.durability
    }
}

/// An event as one line of JSON. JSON itself escapes the control characters of ASCII; the others
/// that could forge a line are escaped here, so that a reader gets each value as it was.
fn line(event: &Event) -> String {
    let json = ecs(event).to_string();
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_forging(c) {
            // All of them stand inside strings: compact JSON has none between.
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// An event under the field names of ECS 8.
fn ecs(event: &Event) -> serde_json::Value {
    let outcome = match event.outcome {
        EventOutcome::Success => "success",
        EventOutcome::Failure => "failure",
    };
    let mut line = json!({
        "@timestamp": event.at.to_string(),
        "ecs.version": "8.11.0",
        "event.id": event.id.to_string(),
        "event.kind": "event",
        "event.category": [category(event.kind)],
        "event.action": event.kind.as_str(),
        "event.outcome": outcome,
        "event.code": owasp_word(event.kind, event.outcome),
        "event.dataset": "backup_codes",
    });
    let mut set = |name: &str, value: Option<String>| {
        if let (Some(fields), Some(value)) = (line.as_object_mut(), value) {
            fields.insert(name.to_owned(), value.into());
        }
    };
    let actor = match &event.actor {
        EventActor::Nobody => None,
        EventActor::System => Some("system".to_owned()),
        EventActor::User(user) => Some(user.to_string()),
    };
    set("user.id", actor);
    set(
        "user.target.id",
        event.subject.as_ref().map(ToString::to_string),
    );
    set(
        "event.reason",
        event.reason.map(|reason| reason.as_str().to_owned()),
    );
    set(
        "client.ip",
        event.address.map(|address| address.to_string()),
    );
    set("user_agent.original", event.user_agent.clone());
    set("trace.id", event.correlation.clone());
    set("backup_codes.set", event.set.map(|set| set.to_string()));
    if let (Some(fields), Some(remaining)) = (line.as_object_mut(), event.remaining) {
        fields.insert("backup_codes.remaining".to_owned(), remaining.into());
    }
    line
}

fn category(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Redeem | EventKind::Check | EventKind::Lock | EventKind::Disable => {
            "authentication"
        }
        EventKind::SaveSettings => "configuration",
        _ => "iam",
    }
}

/// The event's word in the OWASP Logging Vocabulary Cheat Sheet.
fn owasp_word(kind: EventKind, outcome: EventOutcome) -> &'static str {
    match (kind, outcome) {
        (EventKind::Redeem, EventOutcome::Success) => "authn_login_success",
        (EventKind::Redeem | EventKind::Check | EventKind::Burn, EventOutcome::Failure) => {
            "authn_login_fail"
        }
        (EventKind::Lock | EventKind::Disable, _) => "authn_login_lock",
        (
            EventKind::Prepare | EventKind::Activate | EventKind::IssueOverride,
            EventOutcome::Success,
        ) => "authn_token_created",
        (
            EventKind::Revoke
            | EventKind::RevokeOverride
            | EventKind::Discard
            | EventKind::Burn
            | EventKind::Erase,
            EventOutcome::Success,
        ) => "authn_token_revoked",
        (EventKind::SaveSettings, EventOutcome::Success) => "authz_change",
        (_, EventOutcome::Failure) => "authz_fail",
        (EventKind::Unlock | EventKind::ReadStatus | EventKind::ReadReports, _) => "authz_admin",
        (EventKind::Check | EventKind::Low | EventKind::Exhausted, _) => "user_updated",
    }
}

/// Hands events to [`tracing`] at the level `INFO`, or `WARN` for failures, under the target
/// `backup_codes::audit`; lossy.
#[cfg(feature = "tracing")]
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

#[cfg(feature = "tracing")]
impl AuditSink for TracingAudit {
    type Error = Infallible;

    async fn record(&self, events: &[Event]) -> Result<(), Infallible> {
        for event in events {
            // One field, already escaped: a subscriber that prints texts raw cannot be tricked.
            let line = line(event);
            match event.outcome {
                EventOutcome::Success => {
                    tracing::info!(target: "backup_codes::audit", event = %line);
                }
                EventOutcome::Failure => {
                    tracing::warn!(target: "backup_codes::audit", event = %line);
                }
            }
        }
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Lossy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::id::{EventId, Subject, UserId};
    use crate::timestamp::Timestamp;

    /// What an attacker would send to end a line, end a text, or turn what follows around.
    const HOSTILE: &str = "a\r\n{\"event.action\":\"forged\"}\n\u{b}\u{c}\u{85}\u{2028}\u{2029}\u{202e}\
                           \u{2066}\u{0}\u{1b}[2J\\\"'\u{7f}";

    #[test]
    fn a_line_stays_one_line_and_holds_the_value_whatever_is_in_it() {
        let user = UserId::new(HOSTILE).unwrap();
        let actor = Subject::new(user.clone(), ["staff"]);
        let cx = Context::new(Timestamp::MIN)
            .by(&actor)
            .from_address("fe80::1".parse::<std::net::IpAddr>().unwrap())
            .with_user_agent(HOSTILE)
            .with_correlation(HOSTILE);
        let id = EventId::from_bytes([1; 16]);
        let failure = EventOutcome::Failure;
        let event = Event::new(id, EventKind::Redeem, failure, Some(&user), &cx);
        let not_utf8 = UserId::new(b"\xff\n\xfe").unwrap();
        let other = Event::new(id, EventKind::Redeem, failure, Some(&not_utf8), &cx);
        let lines = JsonLines::new(Vec::new());
        pollster::block_on(lines.record(&[event.clone(), other])).unwrap();
        let text = String::from_utf8(lines.into_inner()).unwrap();
        let forging = HOSTILE.chars().filter(|c| !c.is_ascii_graphic());
        let forging: Vec<char> = forging.collect();
        let read: Vec<serde_json::Value> = text
            .split_terminator('\n')
            .map(|line| {
                assert!(!line.contains(&forging[..]), "{line:?}");
                serde_json::from_str(line).unwrap()
            })
            .collect();
        assert_eq!(read.len(), 2);
        for (field, value) in [
            ("event.action", "redeem".to_owned()),
            ("user.id", user.to_string()),
            ("user.target.id", user.to_string()),
            ("client.ip", "fe80::1".to_owned()),
            ("user_agent.original", cx.user_agent().unwrap().to_owned()),
            ("trace.id", cx.correlation().unwrap().to_owned()),
        ] {
            assert_eq!(read[0][field], value, "{field}");
        }
        assert_eq!(read[1]["user.target.id"], "\\xff\\n\\xfe");
        // What is not escaped is there to be read, and two ids never look the same.
        assert!(
            user.to_string()
                .starts_with(r#"a\r\n{"event.action":"forged"}\n"#)
        );
        assert!(cx.user_agent().unwrap().contains("forged"));
        assert_ne!(
            user.to_string(),
            UserId::new(user.to_string()).unwrap().to_string()
        );

        // An event out of a store need not have come through a `Context`.
        let raw = Event {
            user_agent: Some(HOSTILE.to_owned()),
            correlation: Some(HOSTILE.to_owned()),
            ..event
        };
        let lines = JsonLines::new(Vec::new());
        pollster::block_on(lines.record(&[raw])).unwrap();
        let text = String::from_utf8(lines.into_inner()).unwrap();
        assert_eq!(text.matches(['\n', '\r']).count(), 1, "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["user_agent.original"], HOSTILE);
        assert_eq!(read["trace.id"], HOSTILE);
    }

    #[test]
    fn a_line_of_a_tampered_event_has_each_value_and_no_forging_character() {
        let all: String = ('\0'..=char::MAX).filter(|c| is_forging(*c)).collect();
        let event = serde_json::json!({
            "id": EventId::from_bytes([1; 16]),
            "at": 0,
            "kind": "redeem",
            "outcome": "failure",
            "actor": { "user": "a\u{202e}\u{e0041}b" },
            "subject": "\u{85}\u{200f}c",
            "user_agent": all,
            "correlation": all,
        });
        // As a store reads it, which asks for no context.
        let event: Event = serde_json::from_value(event).unwrap();
        let text = line(&event);
        assert!(!text.contains(is_forging), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["user_agent.original"], all);
        assert_eq!(read["trace.id"], all);
        assert_eq!(read["user.id"], r"a\u{202e}\u{e0041}b");
        assert_eq!(read["user.target.id"], r"\u{85}\u{200f}c");
        assert!(!format!("{event:?}").contains(is_forging));
    }

    /// The words are those of the OWASP Logging Vocabulary Cheat Sheet that fit this crate.
    #[test]
    fn every_kind_has_a_word_of_the_vocabulary() {
        let words = [
            "authn_login_success",
            "authn_login_fail",
            "authn_login_lock",
            "authn_token_created",
            "authn_token_revoked",
            "authz_admin",
            "authz_change",
            "authz_fail",
            "user_updated",
        ];
        for kind in [
            EventKind::Prepare,
            EventKind::Activate,
            EventKind::Discard,
            EventKind::Redeem,
            EventKind::Check,
            EventKind::Burn,
            EventKind::Revoke,
            EventKind::IssueOverride,
            EventKind::RevokeOverride,
            EventKind::Unlock,
            EventKind::Erase,
            EventKind::Lock,
            EventKind::Disable,
            EventKind::Low,
            EventKind::Exhausted,
            EventKind::ReadStatus,
            EventKind::ReadReports,
            EventKind::SaveSettings,
        ] {
            for outcome in [EventOutcome::Success, EventOutcome::Failure] {
                let id = EventId::from_bytes([1; 16]);
                let event = Event::new(id, kind, outcome, None, &Context::system(Timestamp::MIN));
                let line = ecs(&event);
                let word = line["event.code"].as_str().unwrap();
                assert!(words.contains(&word), "{kind:?} {word}");
                assert_eq!(line["event.action"], kind.as_str());
                assert!(line["event.category"][0].is_string());
            }
        }
        assert_eq!(
            owasp_word(EventKind::Redeem, EventOutcome::Failure),
            "authn_login_fail"
        );
        assert_eq!(
            owasp_word(EventKind::Lock, EventOutcome::Success),
            "authn_login_lock"
        );
    }
}
