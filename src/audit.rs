//! Audit sinks: receivers of stored events.
//!
//! ```
//! use backup_codes::audit::JsonLines;
//! use backup_codes::{
//!     BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository, Settings, Subject,
//!     Timestamp, UserId,
//! };
//!
//! # let folder = std::env::temp_dir().join(format!("backup-codes-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("audit.jsonl");
//! # pollster::block_on(async {
//! let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper())?);
//! let codes = BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing)
//!     .with_audit(JsonLines::open(&path)?);
//! let alice = Subject::new(UserId::new("42")?, ["staff"]);
//! let cx = Context::new(Timestamp::from_unix_millis(1_790_000_000_000)?, &alice)
//!     .with_address([203, 0, 113, 7]);
//!
//! let _sheet = codes.prepare(&alice, &cx).await?;
//! let line = std::fs::read_to_string(&path)?;
//! assert!(line.contains("2026-09-21T14:13:20.000Z") && line.contains("203.0.113.7"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod ecs;
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

use self::ecs::line;

/// The durability of accepted events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Accepted events survive a crash of this process and of the machine.
    Durable,
    /// Accepted events may be lost. Events handed to such a sink stay in the repository until a
    /// durable one has accepted them.
    Lossy,
}

/// A receiver of audit events.
///
/// # Contract
/// 1. `record` returns `Ok` only when every event of the slice was accepted; a durable sink,
///    only when they are flushed.
/// 2. The same event may come more than once, with the same id: delivery is at-least-once. Drop
///    the repetition or keep it.
/// 3. A sink that fails changes no outcome: the events stay in the repository and are handed
///    over again by [`deliver_events`](crate::BackupCodes::deliver_events).
///
/// Operations wait for the sink, so a slow one slows logins down.
///
/// Implementations write `async fn`; the trait is not usable as `dyn`.
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use backup_codes::audit::{AuditSink, Durability, Event};
///
/// #[derive(Default)]
/// struct Counter(AtomicUsize);
///
/// impl AuditSink for Counter {
///     type Error = Infallible;
///
///     async fn record(&self, events: &[Event]) -> Result<(), Infallible> {
///         self.0.fetch_add(events.len(), Ordering::Relaxed);
///         Ok(())
///     }
///     // The events stay in the repository, for a sink that keeps them.
///     fn durability(&self) -> Durability {
///         Durability::Lossy
///     }
/// }
///
/// let counter = Counter::default();
/// pollster::block_on(counter.record(&[]))?;
/// assert_eq!(counter.0.load(Ordering::Relaxed), 0);
/// # Ok::<(), Infallible>(())
/// ```
pub trait AuditSink: Send + Sync {
    /// The sink's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Records events, in order.
    ///
    /// # Errors
    /// The sink's own error.
    fn record(&self, events: &[Event]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the durability of accepted events.
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

/// A sink that drops every event: events are acknowledged and gone.
///
/// For applications whose repository keeps its events as the audit log itself, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    type Error = Infallible;

    async fn record(&self, _: &[Event]) -> Result<(), Infallible> {
        Ok(())
    }

    // There is nothing to lose, and unwanted events must not pile up in the repository.
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

/// A sink that keeps events in memory, for tests and examples.
#[derive(Debug, Clone, Default)]
pub struct MemoryAudit(Arc<Mutex<Vec<Event>>>);

impl MemoryAudit {
    /// Creates an empty sink.
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

    // It is lost at the same time as the memory repository beside it.
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

/// A sink that writes one JSON object a line, with the field names of the Elastic Common Schema
/// (ECS 8).
///
/// Writing blocks the calling thread; where that matters, put a channel in between. A write that
/// fails half way, or a crash, can leave part of a line. The next write begins on a new line, so a
/// reader skips blank lines and lines that are not JSON. The events of such a line are delivered
/// again.
///
/// For a log file, use [`JsonLines::open`]: it is durable, and follows log rotation.
#[derive(Debug)]
pub struct JsonLines<W> {
    output: Mutex<Output<W>>,
    durability: Durability,
    sync: fn(&mut W) -> io::Result<()>,
    /// The path of the writer, where it is a file that may be renamed.
    place: Option<Place<W>>,
}

#[derive(Debug)]
struct Output<W> {
    writer: W,
    /// True while the last line may be incomplete.
    torn: bool,
}

/// A path, and the functions that keep the writer on the file at that path.
#[derive(Debug)]
struct Place<W> {
    path: PathBuf,
    /// Opens the path again if it names another file than the writer, or none.
    follow: fn(&Path, &mut Output<W>) -> io::Result<()>,
    /// Returns whether the path still names the writer.
    is_there: fn(&Path, &W) -> bool,
}

impl<W: Write + Send> JsonLines<W> {
    /// Creates a sink of lines to any writer, flushed after each call; lossy.
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

    /// Returns the writer.
    pub fn into_inner(self) -> W {
        self.output
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .writer
    }
}

impl JsonLines<File> {
    /// Opens a sink of lines to the file at this path, which is created if it does not exist. Lines
    /// are synchronised to the disk before they are acknowledged; durable.
    ///
    /// # Log rotation
    /// When the file was renamed or removed, the next lines go to a new file at the path: one that
    /// the rotation has created already, or one created here, with the permissions of the file
    /// before. Lines that meet a rotation half way are written to the new file once more, so none
    /// is lost and the renamed file may be compressed at once. The application needs no signal:
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
    /// the two is lost although it was acknowledged, and this cannot be detected.
    ///
    /// On Unix a new file is recognised by its device and inode, and its folder is synchronised
    /// too. On other systems the path is opened again for each call; a line that meets a rotation
    /// half way is then in the renamed file alone.
    ///
    /// # Errors
    /// An [`io::Error`] when the file can be neither opened nor created. While running, `record`
    /// returns such an error, and the events stay in the repository.
    ///
    /// ```no_run
    /// use backup_codes::JsonLines;
    ///
    /// let log = JsonLines::open("/var/log/example/audit.jsonl")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        // The working directory may change meanwhile.
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

    /// Creates a sink of lines to a file opened for appending, synchronised to the disk before they
    /// are acknowledged; durable.
    ///
    /// After a rotation it continues to write to the renamed file. Where logs are rotated, use
    /// [`JsonLines::open`].
    #[must_use]
    pub fn file(file: File) -> Self {
        Self {
            // An earlier process may have ended in the middle of a line.
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

/// Opens a file for appending, or creates it with the permissions of `like`, and synchronises its
/// folder: the file may be new, and its name must survive a crash.
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

/// Returns whether the path names this file, where the system can tell.
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

/// The number of times that lines are written when each write meets a rotation.
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
            // A rename after this point takes the lines along.
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

/// A sink that passes events to [`tracing`] at the level `INFO`, or `WARN` for failures, under the
/// target `backup_codes::audit`; lossy.
#[cfg(feature = "tracing")]
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

#[cfg(feature = "tracing")]
impl AuditSink for TracingAudit {
    type Error = Infallible;

    async fn record(&self, events: &[Event]) -> Result<(), Infallible> {
        for event in events {
            // One field, already escaped, so that a subscriber that prints texts raw writes no
            // forged line.
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

    /// A text with which an attacker would end a line, end a string, or reverse what follows.
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
        // Characters that are not escaped stay readable, and two ids never look the same.
        assert!(
            user.to_string()
                .starts_with(r#"a\r\n{"event.action":"forged"}\n"#)
        );
        assert!(cx.user_agent().unwrap().contains("forged"));
        assert_ne!(
            user.to_string(),
            UserId::new(user.to_string()).unwrap().to_string()
        );

        // An event read from a repository need not have come through a `Context`.
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
        // Read as a repository reads it, without a context.
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

    /// A log whose file is renamed this many times while it is written to.
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
}
