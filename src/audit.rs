//! Audit sinks: where events go once they are stored.

pub(crate) mod event;

pub use self::event::{Event, EventActor, EventKind, EventOutcome, Reason, RevokeReason};
pub use crate::id::{EventId, is_forging};

use std::convert::Infallible;
#[cfg(unix)]
use std::fs::Metadata;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

/// Whether a sink keeps what it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Accepted events survive a crash of this process and of the machine.
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
///    over again by [`deliver_events`](crate::BackupCodes::deliver_events).
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

    /// Returns the events received so far, repetitions included.
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
///
/// [`JsonLines::open`] is the one for a log file: it is durable, and follows log rotation.
#[derive(Debug)]
pub struct JsonLines<W> {
    output: Mutex<Output<W>>,
    durability: Durability,
    sync: fn(&mut W) -> io::Result<()>,
    /// Where the writer is a file that may be renamed.
    place: Option<Place<W>>,
}

#[derive(Debug)]
struct Output<W> {
    writer: W,
    /// Whether the writer may stand in the middle of a line.
    torn: bool,
}

/// A path, and the file that it is to name.
#[derive(Debug)]
struct Place<W> {
    path: PathBuf,
    /// Opens the path again where it names another file than the writer, or none.
    follow: fn(&Path, &mut Output<W>) -> io::Result<()>,
    /// Whether the path still names the writer.
    is_there: fn(&Path, &W) -> bool,
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
            place: None,
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
    /// Lines to the file at this path, which is made if it is not there, synchronised to the disk
    /// before they are acknowledged; durable.
    ///
    /// # Log rotation
    /// When the file was renamed or removed, the next lines go to a new file at the path: one that
    /// the rotation has made already, or one made here, with the permissions of the file before.
    /// Lines that meet a rotation half way are written to the new file once more, so none is lost
    /// and the renamed file may be compressed at once. The application is not signalled:
    ///
    /// ```text
    /// /var/log/example/audit.jsonl {
    ///     weekly
    ///     rotate 60
    ///     create
    ///     compress
    /// }
    /// ```
    ///
    /// Do not use `copytruncate`. It copies the file and then empties it: a line written between
    /// the two is lost although it was acknowledged, and nothing can notice that.
    ///
    /// On Unix a new file is recognised by its device and inode, and its folder is synchronised
    /// too. On other systems the path is opened again for each call; a line that meets a rotation
    /// half way is then in the renamed file alone.
    ///
    /// # Errors
    /// When the file can be neither opened nor made. While running, `record` returns such an error,
    /// and the events stay in the repository.
    ///
    /// ```no_run
    /// use backup_codes::JsonLines;
    ///
    /// let log = JsonLines::open("/var/log/example/audit.jsonl")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        // The working folder may change meanwhile.
        let path = std::path::absolute(path)?;
        let writer = open_to_append(&path, None)?;
        let torn = writer.metadata()?.len() > 0;
        Ok(Self {
            output: Mutex::new(Output { writer, torn }),
            place: Some(Place {
                path,
                follow,
                is_there: |path, file| is_at(path, file) != Some(false),
            }),
            durability: Durability::Durable,
            sync: |file| file.sync_data(),
        })
    }

    /// Lines to a file opened for appending, synchronised to the disk before they are
    /// acknowledged; durable.
    ///
    /// It keeps to this file: after a rotation it goes on writing to the renamed one. Where logs
    /// are rotated, use [`JsonLines::open`].
    #[must_use]
    pub fn file(file: File) -> Self {
        Self {
            // The process before may have ended in the middle of a line.
            output: Mutex::new(Output {
                writer: file,
                torn: true,
            }),
            durability: Durability::Durable,
            sync: |file| file.sync_data(),
            place: None,
        }
    }
}

/// Opens a file for appending, or makes it with the permissions of another, and sees to it that its
/// name survives a crash: it may be new, whoever made it.
fn open_to_append(path: &Path, like: Option<&File>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    if let Some(like) = like {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        options.mode(like.metadata()?.mode() & 0o777);
    }
    #[cfg(not(unix))]
    let _ = like;
    let file = options.open(path)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

fn follow(path: &Path, output: &mut Output<File>) -> io::Result<()> {
    if is_at(path, &output.writer) == Some(true) {
        return Ok(());
    }
    let writer = open_to_append(path, Some(&output.writer))?;
    let torn = writer.metadata()?.len() > 0;
    *output = Output { writer, torn };
    Ok(())
}

/// Whether the path names this file, where the system can tell.
#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> Option<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |found: Metadata| (found.dev(), found.ino());
    let there = path.metadata().map(identity).ok();
    // An open file keeps its inode, so no other file can have the same.
    Some(there.is_some() && there == file.metadata().map(identity).ok())
}

#[cfg(not(unix))]
fn is_at(_: &Path, _: &File) -> Option<bool> {
    None
}

/// How often lines are written that meet a rotation each time.
const ROTATIONS_MET: usize = 3;

impl<W: Write + Send> AuditSink for JsonLines<W> {
    type Error = io::Error;

    async fn record(&self, events: &[Event]) -> Result<(), io::Error> {
        let mut lines = String::new();
        for event in events {
            lines.push_str(&line(event));
            lines.push('\n');
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = &self.place else {
            return output.append(&lines, self.sync);
        };
        for _ in 0..ROTATIONS_MET {
            (place.follow)(&place.path, &mut output)?;
            output.append(&lines, self.sync)?;
            // A rename from here on takes the lines along.
            if (place.is_there)(&place.path, &output.writer) {
                return Ok(());
            }
        }
        Err(io::Error::other(
            "the log file was renamed at each write: rotate it less often",
        ))
    }

    fn durability(&self) -> Durability {
        self.durability
    }
}

impl<W: Write> Output<W> {
    fn append(&mut self, lines: &str, sync: fn(&mut W) -> io::Result<()>) -> io::Result<()> {
        let end = if self.torn { "\n" } else { "" };
        self.torn = true;
        self.writer.write_all(format!("{end}{lines}").as_bytes())?;
        sync(&mut self.writer)?;
        self.torn = false;
        Ok(())
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
    // A user may have any name, so the application has a field of its own.
    match &event.actor {
        EventActor::System => set("backup_codes.actor", Some("system".to_owned())),
        EventActor::User(user) => set("user.id", Some(user.to_string())),
    }
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
        let cx = Context::new(Timestamp::MIN, &actor)
            .with_address("fe80::1".parse::<std::net::IpAddr>().unwrap())
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

    /// A log whose file is renamed while it is written to, so many times.
    #[derive(Debug, Default)]
    struct Rotating {
        files: Vec<Vec<u8>>,
        renamed: usize,
    }

    impl Write for Rotating {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.files.last_mut().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rotating(renamed: usize) -> JsonLines<Rotating> {
        JsonLines {
            place: Some(Place {
                path: PathBuf::new(),
                follow: |_, output| {
                    output.writer.files.push(Vec::new());
                    output.torn = false;
                    Ok(())
                },
                is_there: |_, writer| writer.files.len() > writer.renamed,
            }),
            ..JsonLines::new(Rotating {
                files: Vec::new(),
                renamed,
            })
        }
    }

    #[test]
    fn lines_that_meet_a_rotation_are_written_to_the_new_file_too() {
        let id = EventId::from_bytes([1; 16]);
        let cx = Context::system(Timestamp::MIN);
        let event = Event::new(id, EventKind::Redeem, EventOutcome::Success, None, &cx);
        for (renamed, written) in [(0, 1), (1, 2), (2, 3)] {
            let lines = rotating(renamed);
            pollster::block_on(lines.record(std::slice::from_ref(&event))).unwrap();
            let files = lines.into_inner().files;
            assert_eq!(
                files,
                vec![format!("{}\n", line(&event)).into_bytes(); written]
            );
        }
        let lines = rotating(usize::MAX);
        assert!(pollster::block_on(lines.record(&[event])).is_err());
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
