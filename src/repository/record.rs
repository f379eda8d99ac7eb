//! The record of one user, and its JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::event::Reason;
use crate::code::format::MAX_SLOT;
use crate::error::record::RecordError;
use crate::hash::StoredHash;
use crate::hash::acceptance::Scheme;
use crate::id::{OperationId, SetId};
use crate::timestamp::Timestamp;

/// The format version this crate writes.
const VERSION: u32 = 1;

/// The number of ids kept of operations whose writes were applied. It exceeds the number that could
/// be in flight between an operation's write and its look at the result.
const OPERATIONS_KEPT: usize = 16;

/// The maximum number of quarter hours with uses: those of 62 days. It bounds the size of a record:
/// at most 105 KiB of uses, within [`Record::MAX_JSON_LEN`].
const USES_MOST: usize = 62 * 96 + 1;

/// The record of one user: everything that is stored. Opaque to repositories, which keep its JSON.
///
/// The JSON is versioned; [`framing`](crate::framing) lists its fields. It holds hashes:
/// treat it like a table of password hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub(crate) active: Option<CodeSet>,
    pub(crate) prepared: Option<CodeSet>,
    pub(crate) override_code: Option<OverrideCode>,
    pub(crate) damaged_override: Option<DamagedText>,
    pub(crate) throttle: Throttle,
    pub(crate) uses: Vec<Use>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) operations: Vec<OperationId>,
    pub(crate) erased_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeSet {
    pub(crate) id: SetId,
    pub(crate) scheme: Scheme,
    pub(crate) prepared_at: Timestamp,
    pub(crate) activated_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// The time at which an unused code of the set was last found right: by a redeem, a check or
    /// the confirmation of a new sheet.
    pub(crate) proved_at: Option<Timestamp>,
    /// The slots in the order in which they were stored, damaged ones included.
    pub(crate) slots: Vec<StoredSlot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredSlot {
    Intact(Slot),
    Damaged(DamagedText),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) number: u8,
    pub(crate) hash: StoredHash,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) burned_at: Option<Timestamp>,
}

/// The stored JSON of a slot or an override that cannot be read, or whose checksum is wrong. It is
/// written back unchanged, so that no write loses it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DamagedText(String);

// The text may hold a hash.
impl std::fmt::Debug for DamagedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DamagedText")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverrideCode {
    pub(crate) id: SetId,
    pub(crate) scheme: Scheme,
    pub(crate) hash: StoredHash,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) wrong_in_a_row: u8,
    pub(crate) used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttle {
    /// The number of wrong codes in a row.
    pub(crate) wrong_in_a_row: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) locked_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_at: Option<Timestamp>,
}

/// The number of codes used in one quarter of an hour.
///
/// Every time zone in use today is a whole number of quarter hours from UTC, so its days and months
/// consist of whole quarter hours. Nothing more precise about a user's logins has to be kept.
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
    /// Creates a count of codes used in the quarter hour of this moment, as a repository stored it.
    #[must_use]
    pub fn new(at: Timestamp, count: u16) -> Self {
        Self {
            quarter: quarter_of(at),
            count,
        }
    }

    /// Returns the start of the quarter hour.
    #[must_use]
    pub fn at(self) -> Timestamp {
        Timestamp::from_unix_millis(i64::from(self.quarter) * QUARTER_MILLIS)
            .unwrap_or(Timestamp::MAX)
    }

    /// Returns the number of codes used in the quarter hour.
    #[must_use]
    pub fn count(self) -> u16 {
        self.count
    }
}

impl Slot {
    /// Returns the reason why this code is spent; `None` where it is not.
    pub(crate) fn spent(&self) -> Option<Reason> {
        match (self.used_at, self.burned_at) {
            (Some(_), _) => Some(Reason::Used),
            (None, Some(_)) => Some(Reason::Burned),
            (None, None) => None,
        }
    }
}

impl CodeSet {
    /// Returns the slots that can be read.
    pub(crate) fn intact(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(|slot| match slot {
            StoredSlot::Intact(slot) => Some(slot),
            StoredSlot::Damaged(_) => None,
        })
    }

    /// Returns the slot of this number, if it can be read.
    pub(crate) fn slot(&self, number: u8) -> Option<&Slot> {
        self.intact().find(|slot| slot.number == number)
    }

    /// Returns the slot of this number, to be changed.
    pub(crate) fn slot_mut(&mut self, number: u8) -> Option<&mut Slot> {
        self.slots.iter_mut().find_map(|slot| match slot {
            StoredSlot::Intact(slot) if slot.number == number => Some(slot),
            _ => None,
        })
    }

    /// Returns the number of codes, damaged ones included.
    pub(crate) fn total(&self) -> u8 {
        u8::try_from(self.slots.len()).unwrap_or(u8::MAX)
    }

    /// Returns the number of damaged slots.
    pub(crate) fn damaged(&self) -> usize {
        self.slots.len() - self.intact().count()
    }

    /// Returns whether damage can be the reason why there is no slot of this number: a damaged slot
    /// does not tell its number, and a slot of a later number shows that an earlier one has been
    /// lost.
    pub(crate) fn may_have_lost(&self, number: u8) -> bool {
        let is_later = |slot: &Slot| number > 0 && slot.number > number;
        self.damaged() > 0 || self.intact().any(is_later)
    }

    /// Returns the number of codes neither used nor burned nor damaged.
    pub(crate) fn unused(&self) -> u8 {
        let unused = |slot: &&Slot| slot.used_at.is_none() && slot.burned_at.is_none();
        u8::try_from(self.intact().filter(unused).count()).unwrap_or(u8::MAX)
    }
}

impl Record {
    /// The maximum length of a record's JSON in bytes; larger text is not read.
    pub const MAX_JSON_LEN: usize = 128 * 1024;

    /// Creates a record for a user who never had codes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the record as JSON, for storage.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Writing plain data into a string cannot fail: no map keys, no foreign serializer.
        serde_json::to_string(&RecordText::from(self)).unwrap_or_default()
    }

    /// Reads a stored record.
    ///
    /// Each slot and each override has a checksum of its own. A damaged one is kept unchanged and
    /// never matches; the other slots are not affected. Replace bytes that are not UTF-8 by U+FFFD
    /// before you call this.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], [`RecordError::Newer`] when a newer version wrote the text, or
    /// [`RecordError::Malformed`] when it is not a record.
    pub fn from_json(json: &str) -> Result<Self, RecordError> {
        if json.len() > Self::MAX_JSON_LEN {
            return Err(RecordError::TooLarge {
                len: json.len(),
                max: Self::MAX_JSON_LEN,
            });
        }
        let mended;
        let parsed = match serde_json::from_str::<RecordText<'_>>(json) {
            Err(error) => {
                mended = quote_damaged(json).unwrap_or_default();
                serde_json::from_str::<RecordText<'_>>(&mended).map_err(|_| error)
            }
            parsed => parsed,
        };
        match parsed {
            Ok(text) if text.version == VERSION => {
                Self::try_from(text).map_err(|()| RecordError::Malformed { line: 1, column: 1 })
            }
            Ok(text) => Err(version_error(text.version)),
            // A newer version's text need not fit this version's fields.
            Err(error) => match serde_json::from_str::<VersionOnly>(json) {
                Ok(VersionOnly { version }) if version > VERSION => Err(version_error(version)),
                _ => Err(RecordError::Malformed {
                    line: error.line(),
                    column: error.column(),
                }),
            },
        }
    }

    /// Returns the time at which the user was erased, if so.
    #[must_use]
    pub fn erased_at(&self) -> Option<Timestamp> {
        self.erased_at
    }

    /// Returns whether the write of this operation was applied.
    #[must_use]
    pub fn has_applied(&self, operation: OperationId) -> bool {
        self.operations.contains(&operation)
    }

    pub(crate) fn add_operation(&mut self, operation: OperationId) {
        if self.operations.len() >= OPERATIONS_KEPT {
            let surplus = self.operations.len() + 1 - OPERATIONS_KEPT;
            self.operations.drain(..surplus);
        }
        self.operations.push(operation);
    }

    /// Counts one use. Forgets the oldest uses beyond the maximum number, and none for its age: the
    /// clock of one operation may be wrong.
    pub(crate) fn add_use(&mut self, at: Timestamp) {
        let quarter = quarter_of(at);
        let place = self.uses.partition_point(|used| used.quarter < quarter);
        match self.uses.get_mut(place) {
            Some(used) if used.quarter == quarter => used.count = used.count.saturating_add(1),
            _ => self.uses.insert(place, Use { quarter, count: 1 }),
        }
        // This write is the latest use, whatever the clock of an earlier one said.
        self.last_used_at = Some(at);
        let surplus = self.uses.len().saturating_sub(USES_MOST);
        self.uses.drain(..surplus);
    }

    /// Forgets uses older than `keep`.
    pub(crate) fn forget_uses(&mut self, now: Timestamp, keep: Duration) {
        let oldest = quarter_of(now.saturating_sub(keep));
        self.uses.retain(|used| used.quarter >= oldest);
    }
}

fn version_error(found: u32) -> RecordError {
    if found > VERSION {
        RecordError::Newer {
            found,
            supported: VERSION,
        }
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
    prepared: Option<SetText<'a>>,
    #[serde(
        borrow,
        default,
        rename = "override",
        skip_serializing_if = "Option::is_none"
    )]
    override_code: Option<Raw<'a>>,
    /// Required: damage that removes it must not read as no wrong codes.
    throttle: Throttle,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uses: Vec<(u32, u16)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    operations: Vec<OperationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetText<'a> {
    id: SetId,
    scheme: String,
    prepared_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proved_at: Option<Timestamp>,
    #[serde(borrow)]
    slots: Vec<Raw<'a>>,
}

/// A piece of JSON that is read, or kept, separately.
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
    used_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burned_at: Option<Timestamp>,
    sum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideText {
    id: SetId,
    scheme: String,
    phc: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
    wrong_in_a_row: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    sum: String,
}

/// The checksum of a slot or an override: CRC-32 (ISO-HDLC, the one of zip and zlib) in eight
/// lower-case hexadecimal digits.
///
/// It shows damage, not tampering: an attacker who writes to the database can compute it, and can
/// cause refusals with it, but no acceptance.
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn new(set: SetId, scheme: &str, number: u8, phc: &str) -> Self {
        let mut sum = Self(crc32fast::Hasher::new());
        sum.0.update(&set.to_bytes());
        sum.text(scheme);
        sum.0.update(&[number]);
        sum.text(phc);
        sum
    }

    fn text(&mut self, text: &str) {
        let [.., high, low] = text.len().to_be_bytes();
        self.0.update(&[high, low]);
        self.0.update(text.as_bytes());
    }

    fn moment(mut self, at: Option<Timestamp>) -> Self {
        match at {
            None => self.0.update(&[0]),
            Some(at) => {
                self.0.update(&[1]);
                self.0.update(&at.unix_millis().to_be_bytes());
            }
        }
        self
    }

    fn digits(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

impl SlotText {
    fn checksum(&self, set: SetId, scheme: &str) -> String {
        Checksum::new(set, scheme, self.slot, &self.phc)
            .moment(self.used_at)
            .moment(self.burned_at)
            .digits()
    }
}

impl OverrideText {
    fn checksum(&self) -> String {
        let mut sum = Checksum::new(self.id, &self.scheme, 0, &self.phc)
            .moment(Some(self.issued_at))
            .moment(Some(self.expires_at))
            .moment(self.used_at);
        sum.0.update(&[self.wrong_in_a_row]);
        sum.digits()
    }
}

/// Rewrites a record that is not JSON: each damaged slot and override is replaced by an object that
/// holds its text, so that damage in one code leaves the others readable. Returns `None` where the
/// damage is elsewhere.
///
/// It relies on how this crate writes records: how an element of `slots` begins, that an element
/// has no other brace, that `slots` is the last field of a set, and that `throttle` follows the
/// override.
fn quote_damaged(json: &str) -> Option<String> {
    let mut mended = String::with_capacity(json.len() + 64);
    let mut rest = json;
    // The active set and the prepared one. More of them, or of their slots, would be read
    // repeatedly.
    for _ in 0..2 {
        let Some((before, slots)) = rest.split_once(SLOTS) else {
            break;
        };
        mended.push_str(before);
        mended.push_str(SLOTS);
        rest = quote_damaged_slots(slots, &mut mended)?;
    }
    if let Some((before, from)) = rest.split_once(OVERRIDE) {
        let (code, _) = from.split_once(THROTTLE)?;
        mended.push_str(before);
        mended.push_str(OVERRIDE);
        push_value(&mut mended, code);
        rest = &from[code.len()..];
    }
    mended.push_str(rest);
    // It has to be readable once it is written.
    (mended.len() <= Record::MAX_JSON_LEN).then_some(mended)
}

const SLOTS: &str = "\"slots\":[";
const PREPARED: &str = ",\"prepared\":";
const OVERRIDE: &str = ",\"override\":";
const THROTTLE: &str = ",\"throttle\":";

/// Appends the slots at the start of this text; returns the text from their closing bracket on.
fn quote_damaged_slots<'a>(text: &'a str, mended: &mut String) -> Option<&'a str> {
    // A quoted text never reaches into the next field of the record.
    let next = [PREPARED, OVERRIDE, THROTTLE];
    let list_end = next.iter().filter_map(|field| text.find(field)).min()?;
    let close = text[..list_end].rfind(']')?;
    let mut list = &text[..close];
    for _ in 0..MAX_SLOT {
        // A readable slot never costs another one, whatever stands in place of its comma. A damaged
        // slot ends where the next one begins, and so does a slot that seems to contain the next.
        let (whole, next) = (value_len(list), next_slot(list));
        let end = whole.into_iter().chain(next).min().unwrap_or(list.len());
        let (slot, after) = list.split_at(end);
        if !mended.ends_with(SLOTS) {
            mended.push(',');
        }
        push_value(mended, slot.strip_suffix(',').unwrap_or(slot));
        if after.is_empty() {
            return Some(&text[close..]);
        }
        let at_slot = SLOT_STARTS.iter().any(|start| after.starts_with(start));
        list = if at_slot { after } else { after_first(after)? };
    }
    None
}

/// The beginnings of a slot as this crate writes it.
const SLOT_STARTS: [&str; 2] = ["{\"slot\":", "{\"damaged\":"];

/// Returns the offset of the next slot after the one at the start of this text.
fn next_slot(text: &str) -> Option<usize> {
    let rest = after_first(text)?;
    let starts = SLOT_STARTS.iter().filter_map(|start| rest.find(start));
    starts.min().map(|at| at + text.len() - rest.len())
}

/// Returns the text after its first character.
fn after_first(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// Returns the length of the JSON object at the start of this text, if there is one.
fn value_len(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    value.get().starts_with('{').then(|| values.byte_offset())
}

/// The maximum length of a damaged text that is kept, in bytes: more than any slot or override has.
/// Without a maximum, a text that is damaged repeatedly would double each time, as its escapes do.
const MAX_DAMAGED_LEN: usize = 1024;

/// Appends an object unchanged, and any other text as an object that holds it.
fn push_value(mended: &mut String, text: &str) {
    if value_len(text) == Some(text.len()) {
        mended.push_str(text);
    } else {
        let mut end = text.len().min(MAX_DAMAGED_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let quoted = serde_json::json!({ "damaged": text });
        mended.push_str(&quoted.to_string());
    }
}

impl<'a> From<&'a Record> for RecordText<'a> {
    fn from(record: &'a Record) -> Self {
        let override_code = match (&record.override_code, &record.damaged_override) {
            (Some(code), _) => {
                let mut text = OverrideText {
                    id: code.id,
                    scheme: code.scheme.to_string(),
                    phc: code.hash.expose_phc(),
                    issued_at: code.issued_at,
                    expires_at: code.expires_at,
                    wrong_in_a_row: code.wrong_in_a_row,
                    used_at: code.used_at,
                    sum: String::new(),
                };
                text.sum = text.checksum();
                Some(Raw::of(&text))
            }
            (None, Some(DamagedText(raw))) => Some(raw_text(raw)),
            (None, None) => None,
        };
        Self {
            version: VERSION,
            active: record.active.as_ref().map(SetText::from),
            prepared: record.prepared.as_ref().map(SetText::from),
            override_code,
            throttle: record.throttle.clone(),
            uses: record
                .uses
                .iter()
                .map(|used| (used.quarter, used.count))
                .collect(),
            last_used_at: record.last_used_at,
            revoked_at: record.revoked_at,
            operations: record.operations.clone(),
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
        let scheme = set.scheme.to_string();
        let slots = set.slots.iter().map(|slot| match slot {
            StoredSlot::Damaged(DamagedText(raw)) => raw_text(raw),
            StoredSlot::Intact(slot) => {
                let mut text = SlotText {
                    slot: slot.number,
                    phc: slot.hash.expose_phc(),
                    used_at: slot.used_at,
                    burned_at: slot.burned_at,
                    sum: String::new(),
                };
                text.sum = text.checksum(set.id, &scheme);
                Raw::of(&text)
            }
        });
        Self {
            id: set.id,
            prepared_at: set.prepared_at,
            activated_at: set.activated_at,
            expires_at: set.expires_at,
            proved_at: set.proved_at,
            slots: slots.collect(),
            scheme,
        }
    }
}

impl TryFrom<RecordText<'_>> for Record {
    type Error = ();

    fn try_from(text: RecordText<'_>) -> Result<Self, ()> {
        let (override_code, damaged_override) = match text.override_code {
            None => (None, None),
            Some(raw) => match read_override(raw.0.get()) {
                Some(code) => (Some(code), None),
                None => (None, Some(DamagedText(raw.0.get().to_owned()))),
            },
        };
        let mut uses: Vec<Use> = text
            .uses
            .into_iter()
            .map(|(quarter, count)| Use { quarter, count })
            .collect();
        uses.sort_unstable_by_key(|used| used.quarter);
        let operations = text.operations;
        if operations.len() > OPERATIONS_KEPT {
            return Err(());
        }
        Ok(Self {
            active: text.active.map(CodeSet::try_from).transpose()?,
            prepared: text.prepared.map(CodeSet::try_from).transpose()?,
            override_code,
            damaged_override,
            throttle: text.throttle,
            uses,
            last_used_at: text.last_used_at,
            revoked_at: text.revoked_at,
            operations,
            erased_at: text.erased_at,
        })
    }
}

impl TryFrom<SetText<'_>> for CodeSet {
    type Error = ();

    fn try_from(text: SetText<'_>) -> Result<Self, ()> {
        let scheme: Scheme = text.scheme.parse().map_err(|_| ())?;
        let mut set = Self {
            id: text.id,
            prepared_at: text.prepared_at,
            activated_at: text.activated_at,
            expires_at: text.expires_at,
            proved_at: text.proved_at,
            slots: Vec::with_capacity(text.slots.len()),
            scheme,
        };
        if text.slots.len() > usize::from(MAX_SLOT) {
            return Err(());
        }
        for raw in text.slots {
            let json = raw.0.get();
            let slot = match read_slot(json, set.id, &set.scheme, &text.scheme) {
                Some(slot) if set.slot(slot.number).is_none() => StoredSlot::Intact(slot),
                _ => StoredSlot::Damaged(DamagedText(json.to_owned())),
            };
            set.slots.push(slot);
        }
        Ok(set)
    }
}

fn read_slot(json: &str, set: SetId, scheme: &Scheme, scheme_text: &str) -> Option<Slot> {
    let text: SlotText = serde_json::from_str(json).ok()?;
    if text.slot == 0 || text.slot > MAX_SLOT || text.sum != text.checksum(set, scheme_text) {
        return None;
    }
    Some(Slot {
        number: text.slot,
        hash: read_hash(&text.phc, scheme)?,
        used_at: text.used_at,
        burned_at: text.burned_at,
    })
}

fn read_override(json: &str) -> Option<OverrideCode> {
    let text: OverrideText = serde_json::from_str(json).ok()?;
    let scheme: Scheme = text.scheme.parse().ok()?;
    if text.sum != text.checksum() {
        return None;
    }
    Some(OverrideCode {
        id: text.id,
        hash: read_hash(&text.phc, &scheme)?,
        issued_at: text.issued_at,
        expires_at: text.expires_at,
        wrong_in_a_row: text.wrong_in_a_row,
        used_at: text.used_at,
        scheme,
    })
}

/// Reads a hash of this scheme. A hash of another cost belongs to no set of the scheme.
fn read_hash(phc: &str, scheme: &Scheme) -> Option<StoredHash> {
    let hash = StoredHash::from_phc(phc, scheme.key().cloned()).ok()?;
    (hash.cost() == scheme.cost()).then_some(hash)
}
