//! The record: what is stored for one user, and its JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::format::{Format, MAX_SLOT};
use crate::hash::StoredHash;
use crate::id::{AttemptId, SetId};
use crate::keyring::KeyId;
use crate::timestamp::Timestamp;

/// The format version this crate writes.
const VERSION: u32 = 1;

/// Ids of the latest operations whose writes were applied. More than could be in flight between
/// an operation's write and its look at the result.
const SETTLED_KEPT: usize = 16;

/// Beyond this many quarter hours with a use, those older than 62 days go first.
const USES_KEPT: usize = 1024;

/// The quarter hours of 62 days: more are never kept, whatever the clock did.
const USES_MOST: usize = 62 * 96 + 1;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything stored for one user. Opaque to stores: they keep its JSON.
///
/// The JSON is versioned, and documented by the golden files in `tests/golden`. It holds hashes:
/// treat it like a table of password hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub(crate) active: Option<CodeSet>,
    pub(crate) pending: Option<CodeSet>,
    pub(crate) override_code: Option<OverrideCode>,
    pub(crate) malformed_override: Option<MalformedOverride>,
    pub(crate) throttle: Throttle,
    pub(crate) uses: Vec<Use>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) settled: Vec<AttemptId>,
    pub(crate) erased_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeSet {
    pub(crate) id: SetId,
    pub(crate) format: Format,
    pub(crate) prepared_at: Timestamp,
    pub(crate) activated_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) malformed: Vec<MalformedSlot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) number: u8,
    pub(crate) hash: StoredHash,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) burned_at: Option<Timestamp>,
}

/// A slot whose stored text cannot be read. Kept as it is: nothing is lost by writing the record.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MalformedSlot {
    pub(crate) number: Option<u8>,
    raw: String,
}

// The text may hold a hash.
impl std::fmt::Debug for MalformedSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MalformedSlot")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// An override whose stored text cannot be read. Kept as it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MalformedOverride(String);

// The text may hold a hash.
impl std::fmt::Debug for MalformedOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MalformedOverride")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverrideCode {
    pub(crate) id: SetId,
    pub(crate) format: Format,
    pub(crate) hash: StoredHash,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) run: u8,
    pub(crate) used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttle {
    /// Consecutive wrong codes.
    pub(crate) run: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) locked_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_at: Option<Timestamp>,
}

/// Codes used in one quarter of an hour.
///
/// Every time zone in use today is a whole number of quarter hours from UTC, so days and months
/// of any of them are made of whole quarters: no more has to be kept about when a user was here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub(crate) quarter: u32,
    pub(crate) count: u16,
}

/// A quarter of an hour in milliseconds.
pub(crate) const QUARTER_MILLIS: i64 = 15 * 60 * 1000;

pub(crate) fn quarter_of(at: Timestamp) -> u32 {
    // The year 9999 is quarter 281 558 111, well within 32 bits.
    u32::try_from(at.unix_millis() / QUARTER_MILLIS).unwrap_or(u32::MAX)
}

impl Use {
    /// The start of the quarter hour.
    #[must_use]
    pub fn at(self) -> Timestamp {
        Timestamp::from_unix_millis(i64::from(self.quarter) * QUARTER_MILLIS)
            .unwrap_or(Timestamp::MAX)
    }

    /// Codes used in it.
    #[must_use]
    pub fn count(self) -> u16 {
        self.count
    }
}

/// A stored record cannot be read. Its user can neither redeem nor be issued codes until it is
/// repaired or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is larger than any record this crate writes.
    #[error("a record has at most {max} bytes, this one has {len}: it was not written by this crate",
        max = Record::MAX_JSON_LEN)]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// A newer version of this crate wrote it.
    #[error(
        "the record has format version {found}, this crate reads up to {VERSION}: update the crate \
         on every node before a newer one writes"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// The text is damaged. The position is where reading stopped; the text is not repeated, as
    /// it may hold a hash.
    #[error("the record is damaged at line {line}, column {column}: restore or remove it")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl CodeSet {
    /// Codes of the set, damaged ones included.
    pub(crate) fn total(&self) -> u8 {
        u8::try_from(self.slots.len() + self.malformed.len()).unwrap_or(u8::MAX)
    }

    /// Whether this slot is, or may be, one whose stored text is damaged: such a text may no longer
    /// say which slot it is.
    pub(crate) fn is_damaged_at(&self, number: u8) -> bool {
        let here = |slot: &MalformedSlot| slot.number.is_none_or(|n| n == number);
        self.malformed.iter().any(here)
    }

    /// Codes neither used nor burned nor damaged.
    pub(crate) fn unused(&self) -> u8 {
        let unused = |slot: &&Slot| slot.used_at.is_none() && slot.burned_at.is_none();
        u8::try_from(self.slots.iter().filter(unused).count()).unwrap_or(u8::MAX)
    }
}

impl Record {
    /// Records are never larger than this many bytes of JSON; larger text is not read.
    pub const MAX_JSON_LEN: usize = 128 * 1024;

    /// A record for a user who never had codes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The record as JSON, for storage.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Writing plain data into a string cannot fail: no map keys, no foreign serializer.
        serde_json::to_string(&RecordText::from(self)).unwrap_or_default()
    }

    /// Reads a stored record.
    ///
    /// A slot that cannot be read is kept as it is, counted as damaged and never matches; the
    /// other slots are not affected.
    ///
    /// # Errors
    /// [`RecordError`] when the text is too large, of a newer version, or not a record.
    pub fn from_json(json: &str) -> Result<Self, RecordError> {
        if json.len() > Self::MAX_JSON_LEN {
            return Err(RecordError::TooLarge { len: json.len() });
        }
        match serde_json::from_str::<RecordText<'_>>(json) {
            Ok(text) if text.version == VERSION => {
                Self::try_from(text).map_err(|()| RecordError::Malformed { line: 1, column: 1 })
            }
            Ok(text) => Err(version_error(text.version)),
            // What a newer version wrote need not fit this one's fields.
            Err(error) => match serde_json::from_str::<VersionOnly>(json) {
                Ok(VersionOnly { version }) if version > VERSION => Err(version_error(version)),
                _ => Err(RecordError::Malformed {
                    line: error.line(),
                    column: error.column(),
                }),
            },
        }
    }

    /// Whether the user was erased, and when.
    #[must_use]
    pub fn erased_at(&self) -> Option<Timestamp> {
        self.erased_at
    }

    /// Whether the write of this operation was applied.
    #[must_use]
    pub fn has_settled(&self, operation: AttemptId) -> bool {
        self.settled.contains(&operation)
    }

    pub(crate) fn settle(&mut self, operation: AttemptId) {
        if self.settled.len() >= SETTLED_KEPT {
            let surplus = self.settled.len() + 1 - SETTLED_KEPT;
            self.settled.drain(..surplus);
        }
        self.settled.push(operation);
    }

    /// Counts one use, and forgets those older than `keep`.
    pub(crate) fn add_use(&mut self, at: Timestamp, keep: Duration) {
        let quarter = quarter_of(at);
        let place = self.uses.partition_point(|used| used.quarter < quarter);
        match self.uses.get_mut(place) {
            Some(used) if used.quarter == quarter => used.count = used.count.saturating_add(1),
            _ => self.uses.insert(place, Use { quarter, count: 1 }),
        }
        self.last_used_at = self.last_used_at.max(Some(at));
        self.forget_uses(at, keep);
    }

    /// Forgets uses older than `keep`; and where very many are left, those older than 62 days.
    pub(crate) fn forget_uses(&mut self, now: Timestamp, keep: Duration) {
        let oldest = quarter_of(now.saturating_sub(keep));
        self.uses.retain(|used| used.quarter >= oldest);
        if self.uses.len() > USES_KEPT {
            // At most USES_MOST quarters stay, 105 KiB at the very most: within MAX_JSON_LEN.
            let oldest = quarter_of(now.saturating_sub(62 * DAY));
            let surplus = self.uses.len() - USES_KEPT;
            let mut dropped = 0;
            self.uses.retain(|used| {
                let drop = dropped < surplus && used.quarter < oldest;
                dropped += usize::from(drop);
                !drop
            });
            // A clock that was ahead leaves uses of days to come, which are never that old.
            let surplus = self.uses.len().saturating_sub(USES_MOST);
            self.uses.drain(..surplus);
        }
    }
}

fn version_error(found: u32) -> RecordError {
    if found > VERSION {
        RecordError::Newer { found }
    } else {
        RecordError::Malformed { line: 1, column: 1 }
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Format version 1.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordText<'a> {
    version: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    active: Option<SetText<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pending: Option<SetText<'a>>,
    #[serde(
        borrow,
        default,
        rename = "override",
        skip_serializing_if = "Option::is_none"
    )]
    override_code: Option<Raw<'a>>,
    #[serde(default)]
    throttle: Throttle,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uses: Vec<(u32, u16)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled: Vec<AttemptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetText<'a> {
    id: SetId,
    format: Format,
    prepared_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(borrow)]
    slots: Vec<Raw<'a>>,
}

/// A piece of JSON that is read, or kept, on its own.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Raw<'a>(#[serde(borrow)] std::borrow::Cow<'a, RawValue>);

impl Raw<'_> {
    fn of(value: &impl Serialize) -> Raw<'static> {
        let json = serde_json::value::to_raw_value(value);
        Raw(std::borrow::Cow::Owned(
            json.unwrap_or_else(|_| RawValue::NULL.to_owned()),
        ))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotText {
    slot: u8,
    phc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burned_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct SlotNumber {
    slot: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideText {
    id: SetId,
    format: Format,
    phc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    run: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
}

impl<'a> From<&'a Record> for RecordText<'a> {
    fn from(record: &'a Record) -> Self {
        let override_code = match (&record.override_code, &record.malformed_override) {
            (Some(code), _) => Some(Raw::of(&OverrideText {
                id: code.id,
                format: code.format,
                phc: code.hash.expose_phc(),
                key: code.hash.key().cloned(),
                issued_at: code.issued_at,
                expires_at: code.expires_at,
                run: code.run,
                used_at: code.used_at,
            })),
            (None, Some(MalformedOverride(raw))) => Some(raw_text(raw)),
            (None, None) => None,
        };
        Self {
            version: VERSION,
            active: record.active.as_ref().map(SetText::from),
            pending: record.pending.as_ref().map(SetText::from),
            override_code,
            throttle: record.throttle.clone(),
            uses: record
                .uses
                .iter()
                .map(|used| (used.quarter, used.count))
                .collect(),
            last_used_at: record.last_used_at,
            revoked_at: record.revoked_at,
            settled: record.settled.clone(),
            erased_at: record.erased_at,
        }
    }
}

fn raw_text(json: &str) -> Raw<'_> {
    let raw = serde_json::from_str::<&RawValue>(json).unwrap_or(RawValue::NULL);
    Raw(std::borrow::Cow::Borrowed(raw))
}

impl<'a> From<&'a CodeSet> for SetText<'a> {
    fn from(set: &'a CodeSet) -> Self {
        let slots = set.slots.iter().map(|slot| {
            Raw::of(&SlotText {
                slot: slot.number,
                phc: slot.hash.expose_phc(),
                key: slot.hash.key().cloned(),
                used_at: slot.used_at,
                burned_at: slot.burned_at,
            })
        });
        Self {
            id: set.id,
            format: set.format,
            prepared_at: set.prepared_at,
            activated_at: set.activated_at,
            expires_at: set.expires_at,
            slots: slots
                .chain(set.malformed.iter().map(|slot| raw_text(&slot.raw)))
                .collect(),
        }
    }
}

impl TryFrom<RecordText<'_>> for Record {
    type Error = ();

    fn try_from(text: RecordText<'_>) -> Result<Self, ()> {
        let (override_code, malformed_override) = match text.override_code {
            None => (None, None),
            Some(raw) => match read_override(raw.0.get()) {
                Some(code) => (Some(code), None),
                None => (None, Some(MalformedOverride(raw.0.get().to_owned()))),
            },
        };
        let mut uses: Vec<Use> = text
            .uses
            .into_iter()
            .map(|(quarter, count)| Use { quarter, count })
            .collect();
        uses.sort_unstable_by_key(|used| used.quarter);
        let settled = text.settled;
        if settled.len() > SETTLED_KEPT {
            return Err(());
        }
        Ok(Self {
            active: text.active.map(CodeSet::try_from).transpose()?,
            pending: text.pending.map(CodeSet::try_from).transpose()?,
            override_code,
            malformed_override,
            throttle: text.throttle,
            uses,
            last_used_at: text.last_used_at,
            revoked_at: text.revoked_at,
            settled,
            erased_at: text.erased_at,
        })
    }
}

impl TryFrom<SetText<'_>> for CodeSet {
    type Error = ();

    fn try_from(text: SetText<'_>) -> Result<Self, ()> {
        let mut set = Self {
            id: text.id,
            format: text.format,
            prepared_at: text.prepared_at,
            activated_at: text.activated_at,
            expires_at: text.expires_at,
            slots: Vec::with_capacity(text.slots.len()),
            malformed: Vec::new(),
        };
        if text.slots.len() > usize::from(MAX_SLOT) {
            return Err(());
        }
        for raw in text.slots {
            let json = raw.0.get();
            match read_slot(json) {
                Some(slot) if set.slots.iter().all(|other| other.number != slot.number) => {
                    set.slots.push(slot);
                }
                _ => set.malformed.push(MalformedSlot {
                    number: serde_json::from_str(json)
                        .ok()
                        .map(|SlotNumber { slot }| slot),
                    raw: json.to_owned(),
                }),
            }
        }
        Ok(set)
    }
}

fn read_slot(json: &str) -> Option<Slot> {
    let text: SlotText = serde_json::from_str(json).ok()?;
    if text.slot == 0 || text.slot > MAX_SLOT {
        return None;
    }
    Some(Slot {
        number: text.slot,
        hash: StoredHash::from_phc(&text.phc, text.key).ok()?,
        used_at: text.used_at,
        burned_at: text.burned_at,
    })
}

fn read_override(json: &str) -> Option<OverrideCode> {
    let text: OverrideText = serde_json::from_str(json).ok()?;
    Some(OverrideCode {
        id: text.id,
        format: text.format,
        hash: StoredHash::from_phc(&text.phc, text.key).ok()?,
        issued_at: text.issued_at,
        expires_at: text.expires_at,
        run: text.run,
        used_at: text.used_at,
    })
}
