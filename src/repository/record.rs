//! The record: what is stored for one user, and its JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::event::Reason;
use crate::code::format::MAX_SLOT;
use crate::hash::StoredHash;
use crate::hash::acceptance::Scheme;
use crate::id::{OperationId, SetId};
use crate::timestamp::Timestamp;

/// The format version this crate writes.
const VERSION: u32 = 1;

/// Ids of the latest operations whose writes were applied. More than could be in flight between
/// an operation's write and its look at the result.
const OPERATIONS_KEPT: usize = 16;

/// The quarter hours of 62 days. No more are kept, which bounds the size of a record: 105 KiB of
/// uses at the most, within [`Record::MAX_JSON_LEN`].
const USES_MOST: usize = 62 * 96 + 1;

/// Everything stored for one user. Opaque to stores: they keep its JSON.
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
    /// When an unused code of the set was last found right: by a redeem, a check or the
    /// confirmation of a new sheet.
    pub(crate) proved_at: Option<Timestamp>,
    /// In the order they were stored in, damaged ones included.
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
/// written again as it is, so that no write loses it.
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
    /// Consecutive wrong codes.
    pub(crate) wrong_in_a_row: u8,
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
    /// Codes used in the quarter hour of this moment, as a repository stored them.
    #[must_use]
    pub fn new(at: Timestamp, count: u16) -> Self {
        Self {
            quarter: quarter_of(at),
            count,
        }
    }

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

impl Slot {
    /// The reason why this code is spent; `None` where it is not.
    pub(crate) fn spent(&self) -> Option<Reason> {
        match (self.used_at, self.burned_at) {
            (Some(_), _) => Some(Reason::Used),
            (None, Some(_)) => Some(Reason::Burned),
            (None, None) => None,
        }
    }
}

impl CodeSet {
    /// Slots that can be read.
    pub(crate) fn intact(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(|slot| match slot {
            StoredSlot::Intact(slot) => Some(slot),
            StoredSlot::Damaged(_) => None,
        })
    }

    /// The slot of this number, if it can be read.
    pub(crate) fn slot(&self, number: u8) -> Option<&Slot> {
        self.intact().find(|slot| slot.number == number)
    }

    /// The slot of this number, to be changed.
    pub(crate) fn slot_mut(&mut self, number: u8) -> Option<&mut Slot> {
        self.slots.iter_mut().find_map(|slot| match slot {
            StoredSlot::Intact(slot) if slot.number == number => Some(slot),
            _ => None,
        })
    }

    /// The number of codes, damaged ones included.
    pub(crate) fn total(&self) -> u8 {
        u8::try_from(self.slots.len()).unwrap_or(u8::MAX)
    }

    /// The number of damaged slots.
    pub(crate) fn damaged(&self) -> usize {
        self.slots.len() - self.intact().count()
    }

    /// Whether damage can be why there is no slot of this number: a damaged slot does not say which
    /// it was, and one with a later number beside it has been lost.
    pub(crate) fn may_have_lost(&self, number: u8) -> bool {
        let is_later = |slot: &Slot| number > 0 && slot.number > number;
        self.damaged() > 0 || self.intact().any(is_later)
    }

    /// The number of codes neither used nor burned nor damaged.
    pub(crate) fn unused(&self) -> u8 {
        let unused = |slot: &&Slot| slot.used_at.is_none() && slot.burned_at.is_none();
        u8::try_from(self.intact().filter(unused).count()).unwrap_or(u8::MAX)
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
    /// A slot or an override that is damaged, which a checksum of its own shows, is kept as it is
    /// and never matches; the other slots are not affected. Bytes that are not UTF-8 can be
    /// replaced by U+FFFD before.
    ///
    /// # Errors
    /// [`RecordError`] when the text is too large, of a newer version, or not a record.
    pub fn from_json(json: &str) -> Result<Self, RecordError> {
        if json.len() > Self::MAX_JSON_LEN {
            return Err(RecordError::TooLarge { len: json.len() });
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

    /// Counts one use. Forgets the oldest beyond the bound on their number, and none for its age:
    /// the clock of one operation may be wrong.
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
    prepared: Option<SetText<'a>>,
    #[serde(
        borrow,
        default,
        rename = "override",
        skip_serializing_if = "Option::is_none"
    )]
    override_code: Option<Raw<'a>>,
    /// Required, because damage that swallows it must not read as no wrong codes.
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
/// cause refusals with it, no acceptance.
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

/// A record that is not JSON, with each slot and override that is to blame replaced by an object
/// that holds its text: damage in one code then leaves the others readable. `None` where the
/// damage lies elsewhere.
///
/// It relies on how this crate writes them: how an element of `slots` begins, that it has no other
/// brace, that `slots` is the last field of a set, and that `throttle` follows the override.
fn quote_damaged(json: &str) -> Option<String> {
    let mut mended = String::with_capacity(json.len() + 64);
    let mut rest = json;
    // The active set and the prepared one. More of them, or of their slots, would be read again and
    // again.
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
    // It has to be read again once it is written.
    (mended.len() <= Record::MAX_JSON_LEN).then_some(mended)
}

const SLOTS: &str = "\"slots\":[";
const PREPARED: &str = ",\"prepared\":";
const OVERRIDE: &str = ",\"override\":";
const THROTTLE: &str = ",\"throttle\":";

/// Appends the slots that this text begins with; gives the text from their closing bracket on.
fn quote_damaged_slots<'a>(text: &'a str, mended: &mut String) -> Option<&'a str> {
    // A text that is quoted never reaches into the next field of the record.
    let next = [PREPARED, OVERRIDE, THROTTLE];
    let list_end = next.iter().filter_map(|field| text.find(field)).min()?;
    let close = text[..list_end].rfind(']')?;
    let mut list = &text[..close];
    for _ in 0..MAX_SLOT {
        // A slot that is whole costs no other, whatever stands where its comma was. One that is
        // not goes as far as the next, and so does one that seems to hold the next.
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

/// How a slot begins as this crate writes it.
const SLOT_STARTS: [&str; 2] = ["{\"slot\":", "{\"damaged\":"];

/// Where the next slot after the one at the start of this text begins.
fn next_slot(text: &str) -> Option<usize> {
    let rest = after_first(text)?;
    let starts = SLOT_STARTS.iter().filter_map(|start| rest.find(start));
    starts.min().map(|at| at + text.len() - rest.len())
}

/// The text after its first character.
fn after_first(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// The length of the JSON object at the start of this text, if there is one.
fn value_len(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    value.get().starts_with('{').then(|| values.byte_offset())
}

/// The most bytes of a damaged text that are kept: more than any slot or override has. Without a
/// bound a text that is damaged again and again would double each time, as its escapes do.
const MAX_DAMAGED_LEN: usize = 1024;

/// Appends an object as it is, and what is none as one that holds the text.
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

/// A hash of this scheme: one of another cost belongs to no set of it.
fn read_hash(phc: &str, scheme: &Scheme) -> Option<StoredHash> {
    let hash = StoredHash::from_phc(phc, scheme.key().cloned()).ok()?;
    (hash.cost() == scheme.cost()).then_some(hash)
}
