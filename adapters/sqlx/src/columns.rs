//! The values of the core as columns; the same for every database.

use backup_codes::audit::Event;
use backup_codes::hash::{Cost, Scheme};
use backup_codes::report::{SetSummary, Summary};
use backup_codes::{Format, Timestamp, UserId};
use serde_json::json;

use crate::error::Error;

/// The value of a column for a time that will never come.
pub(crate) const NEVER: i64 = i64::MAX;
/// The value of a column for a missing number or time.
pub(crate) const NONE: i64 = -1;

/// A summary as columns.
pub(crate) struct SummaryColumns {
    pub(crate) scheme: String,
    pub(crate) total: i64,
    pub(crate) unused: i64,
    pub(crate) prepared_at: i64,
    pub(crate) activated_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) last_used_at: i64,
    pub(crate) proved_at: i64,
}

impl From<&Summary> for SummaryColumns {
    fn from(summary: &Summary) -> Self {
        let set = summary.set.as_ref();
        Self {
            scheme: set.map_or_else(String::new, |set| set.scheme.to_string()),
            total: set.map_or(0, |set| i64::from(set.total)),
            unused: set.map_or(NONE, |set| i64::from(set.unused)),
            prepared_at: set.map_or(NONE, |set| set.prepared_at.unix_millis()),
            activated_at: set.map_or(NONE, |set| set.activated_at.unix_millis()),
            expires_at: set
                .and_then(|set| set.expires_at)
                .map_or(NEVER, Timestamp::unix_millis),
            last_used_at: summary.last_used_at.map_or(NONE, Timestamp::unix_millis),
            proved_at: set
                .and_then(|set| set.proved_at)
                .map_or(NONE, Timestamp::unix_millis),
        }
    }
}

impl SummaryColumns {
    /// Returns the summary of these columns, without the fields that they do not hold: uses and
    /// erasure.
    pub(crate) fn summary(&self) -> Result<Summary, Error> {
        let time = |millis, column| {
            Timestamp::from_unix_millis(millis).map_err(Error::bad_time("records", column))
        };
        let known =
            |millis, none: i64, column| (millis != none).then(|| time(millis, column)).transpose();
        let mut summary = Summary::default();
        if self.unused != NONE {
            let count = |number: i64, column| {
                u8::try_from(number).map_err(|_| Error::corrupt("records", column))
            };
            // No code of a scheme that cannot be read is accepted here; a newer version of this
            // crate may have written the scheme.
            let (scheme, unused) = match scheme(&self.scheme) {
                Ok(scheme) => (scheme, self.unused),
                Err(_) => (Scheme::new(Format::CROCKFORD, Cost::MIB_19, None), 0),
            };
            let mut set = SetSummary::new(
                scheme,
                count(self.total, "total")?,
                count(unused, "unused")?,
                time(self.prepared_at, "prepared_at")?,
                time(self.activated_at, "activated_at")?,
            );
            set.expires_at = known(self.expires_at, NEVER, "expires_at")?;
            set.proved_at = known(self.proved_at, NONE, "proved_at")?;
            summary.set = Some(set);
        }
        summary.last_used_at = known(self.last_used_at, NONE, "last_used_at")?;
        Ok(summary)
    }
}

/// Parses the scheme in a column.
pub(crate) fn scheme(text: &str) -> Result<Scheme, Error> {
    text.parse()
        .map_err(|_| Error::corrupt("records", "scheme"))
}

/// Returns the uses of a summary as JSON: starts of quarter hours, with the codes used in each.
pub(crate) fn uses(summary: &Summary) -> String {
    let uses = summary.uses.iter();
    let uses: Vec<(i64, u16)> = uses
        .map(|used| (used.at().unix_millis(), used.count()))
        .collect();
    json!(uses).to_string()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns keys as one JSON text, in hex.
pub(crate) fn keys<'a>(users: impl IntoIterator<Item = &'a UserId>) -> String {
    let keys: Vec<String> = users.into_iter().map(|user| hex(user.as_bytes())).collect();
    json!(keys).to_string()
}

/// Returns events as one JSON text, so that any number of them is one bound value.
///
/// Bytes are in hex, because a key need not be text.
pub(crate) fn step(events: &[Event], delivered: bool) -> Result<String, serde_json::Error> {
    let rows = events
        .iter()
        .map(|event| {
            Ok(json!([
                hex(&event.id.to_bytes()),
                event.at.unix_millis(),
                event.kind.as_str(),
                event.subject.as_ref().map(|user| hex(user.as_bytes())),
                i64::from(delivered),
                serde_json::to_string(event)?,
            ]))
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(serde_json::Value::Array(rows).to_string())
}
