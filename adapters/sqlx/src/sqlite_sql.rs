//! The SQL text this crate sends to SQLite, for a reviewer, or to run the schema by hand.
//!
//! It is written with the default prefix; under another prefix only the names differ. Numbered
//! parameters are named in each constant's documentation.

/// The version of [`SCHEMA`].
pub const SCHEMA_VERSION: i64 = 1;

/// All tables, indexes and triggers.
pub const SCHEMA: &str = include_str!("../sql/sqlite.sql");

/// The table that holds the version of the schema.
pub const VERSION_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS backup_codes_schema (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT";

/// Reads the version of the schema.
pub const VERSION: &str = "SELECT version FROM backup_codes_schema WHERE one = 1";

/// Stores the version of the schema: 1 version.
pub const SET_VERSION: &str = "INSERT INTO backup_codes_schema (one, version) VALUES (1, ?1)";

/// Counts those of these tables, indexes and triggers that exist: 1 their names, a JSON array.
pub const OBJECTS: &str =
    "SELECT count(*) FROM sqlite_master WHERE name IN (SELECT value FROM json_each(?1))";

/// Returns the names of all objects that [`SCHEMA`] creates.
pub fn schema_names() -> impl Iterator<Item = &'static str> {
    let made = SCHEMA
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE "));
    made.filter_map(|made| {
        made.split(' ')
            .find(|word| word.starts_with("backup_codes_"))
    })
}

/// A record: 1 user.
pub const LOAD: &str = "SELECT record, revision FROM backup_codes_records WHERE user_key = ?1";

/// A first record: 1 user, 2 revision, 3 record, 4 to 11 summary, 12 uses, 13 events.
pub const CREATE: &str = "\
INSERT INTO backup_codes_records (
    user_key, revision, record, scheme, total, unused, prepared_at, activated_at, expires_at,
    last_used_at, proved_at, uses, step
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (user_key) DO NOTHING";

/// A later record: as [`CREATE`], and 14 the revision it replaces.
pub const REPLACE: &str = "\
UPDATE backup_codes_records SET
    revision = ?2, record = ?3, scheme = ?4, total = ?5, unused = ?6, prepared_at = ?7,
    activated_at = ?8, expires_at = ?9, last_used_at = ?10, proved_at = ?11, uses = ?12, step = ?13
WHERE user_key = ?1 AND revision = ?14";

/// Removes a record: 1 user, 2 the revision it has.
pub const REMOVE: &str = "DELETE FROM backup_codes_records WHERE user_key = ?1 AND revision = ?2";

/// Events not yet acknowledged: 1 the maximum number, 2 the number of the previous event.
pub const UNDELIVERED: &str = "\
SELECT body, seq FROM backup_codes_events INDEXED BY backup_codes_events_undelivered
WHERE delivered = 0 AND seq > ?2 ORDER BY seq LIMIT ?1";

/// Acknowledges events: 1 their ids, a JSON array of hex.
pub const ACKNOWLEDGE: &str = "\
UPDATE backup_codes_events SET delivered = 1
WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND delivered = 0";

/// Acknowledges all events.
pub const ACKNOWLEDGE_ALL: &str = "\
UPDATE backup_codes_events INDEXED BY backup_codes_events_undelivered SET delivered = 1
WHERE delivered = 0";

/// Adds events that come without a write: 1 events.
pub const ADD_EVENTS: &str = "\
INSERT OR IGNORE INTO backup_codes_events (id, at, kind, user_key, delivered, body)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
FROM json_each(?1) ORDER BY key";

/// Removes delivered events that are old, by the newest event that does not lie in the future: 1
/// the time, 2 how long they are kept, 3 the maximum number.
pub const PURGE_EVENTS: &str = "\
DELETE FROM backup_codes_events WHERE seq IN (
    SELECT seq FROM backup_codes_events INDEXED BY backup_codes_events_by_time
    WHERE at < (
        SELECT max(at) FROM backup_codes_events INDEXED BY backup_codes_events_by_time
        WHERE at <= ?1
    ) - ?2 AND delivered = 1 ORDER BY at LIMIT ?3
)";

/// The settings.
pub const LOAD_SETTINGS: &str =
    "SELECT settings, revision FROM backup_codes_settings WHERE one = 1";

/// First settings: 1 revision, 2 settings, 3 events.
pub const CREATE_SETTINGS: &str = "\
INSERT INTO backup_codes_settings (one, revision, settings, step) VALUES (1, ?1, ?2, ?3)
ON CONFLICT (one) DO NOTHING";

/// Later settings: as [`CREATE_SETTINGS`], and 4 the revision they replace.
pub const REPLACE_SETTINGS: &str = "\
UPDATE backup_codes_settings SET revision = ?1, settings = ?2, step = ?3
WHERE one = 1 AND revision = ?4";

/// The schemes of active sets, found by walking from one to the next on an index.
pub const SCHEMES: &str = "\
WITH RECURSIVE found (scheme) AS (
    SELECT min(scheme) FROM backup_codes_records INDEXED BY backup_codes_records_by_scheme
        WHERE unused >= 0
    UNION ALL
    SELECT (SELECT min(records.scheme)
        FROM backup_codes_records AS records INDEXED BY backup_codes_records_by_scheme
        WHERE records.unused >= 0 AND records.scheme > found.scheme)
    FROM found WHERE found.scheme IS NOT NULL
)
SELECT scheme FROM found WHERE scheme IS NOT NULL";

/// The schemes of active sets, with the number of users of each.
pub const COUNT_SCHEMES: &str = "\
SELECT scheme, count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_scheme
WHERE unused >= 0 GROUP BY scheme";

/// The figures: 1 now, 2 and 3 first and last time of preparation that is not void, 4 the schemes
/// that are not accepted, a JSON array, 5 low threshold, 6 and 7 the days asked for.
///
/// Users with a set, low ones, and those without a code left, by the count in their row; then two
/// corrections each for sets of a scheme that is not accepted, for sets that have expired, and for
/// void ones; then the uses.
pub const USAGE: &str = "\
SELECT
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_left
        WHERE unused >= 0),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_left
        WHERE unused BETWEEN 0 AND ?5),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_left
        WHERE unused = 0),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_scheme
        WHERE scheme IN (SELECT value FROM json_each(?4)) AND unused >= 0 AND unused > ?5),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_scheme
        WHERE scheme IN (SELECT value FROM json_each(?4)) AND unused >= 0 AND unused > 0),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_expiring
        WHERE expires_at <= ?1 AND expires_at < 9223372036854775807
            AND unused > ?5 AND prepared_at BETWEEN ?2 AND ?3
            AND scheme NOT IN (SELECT value FROM json_each(?4))),
    (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_expiring
        WHERE expires_at <= ?1 AND expires_at < 9223372036854775807
            AND unused > 0 AND prepared_at BETWEEN ?2 AND ?3
            AND scheme NOT IN (SELECT value FROM json_each(?4))),
    (CASE WHEN ?2 < 0 THEN 0 ELSE
        (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_left
            WHERE unused > ?5 AND prepared_at NOT BETWEEN ?2 AND ?3
                AND scheme NOT IN (SELECT value FROM json_each(?4))) END),
    (CASE WHEN ?2 < 0 THEN 0 ELSE
        (SELECT count(*) FROM backup_codes_records INDEXED BY backup_codes_records_by_left
            WHERE unused > 0 AND prepared_at NOT BETWEEN ?2 AND ?3
                AND scheme NOT IN (SELECT value FROM json_each(?4))) END),
    (SELECT json_group_array(json_array(quarter, count)) FROM (
        SELECT quarter, count FROM backup_codes_uses
        WHERE quarter >= ?6 AND quarter < ?7 ORDER BY quarter))";

/// Columns of a page of users, up to the index's name. Parameters of the whole page, which
/// [`users`] composes: 1 now, 2 and 3 first and last time of preparation that is not void, 4 the
/// schemes that are not accepted, a JSON array, 5 low threshold, 6 and 7 number and user of the
/// previous row, 8 the maximum number of rows.
pub const USERS: &str = "\
SELECT user_key, scheme, total, unused, prepared_at, activated_at, expires_at, last_used_at,
    proved_at
FROM backup_codes_records INDEXED BY backup_codes_records_";

/// Users with a code that would be accepted.
pub const HOLDING: &str = "unused > 0 AND expires_at > ?1 AND prepared_at BETWEEN ?2 AND ?3 \
    AND scheme NOT IN (SELECT value FROM json_each(?4))";
/// Users with an active set.
pub const WITH_SET: &str = "unused >= 0";
/// Users with an active set, at the low threshold or below it.
pub const LOW: &str = "unused >= 0 AND (unused <= ?5 OR expires_at <= ?1 \
    OR prepared_at NOT BETWEEN ?2 AND ?3 OR scheme IN (SELECT value FROM json_each(?4)))";
/// Users with an active set and no code left.
pub const EXHAUSTED: &str = "unused >= 0 AND (unused = 0 OR expires_at <= ?1 \
    OR prepared_at NOT BETWEEN ?2 AND ?3 OR scheme IN (SELECT value FROM json_each(?4)))";
/// All users without a code that would be accepted.
pub const NOT_HOLDING: &str = "(unused <= 0 OR expires_at <= ?1 \
    OR prepared_at NOT BETWEEN ?2 AND ?3 OR scheme IN (SELECT value FROM json_each(?4)))";
/// Every record.
pub const EVERY: &str = "true";

/// By user: index, place after the previous row, order.
pub const BY_USER: [&str; 3] = ["by_user", "user_key > ?7", "user_key"];
/// Fewest codes left first, among users who hold codes.
pub const BY_LEFT: [&str; 3] = [
    "by_left",
    "unused >= ?6 AND (unused > ?6 OR user_key > ?7)",
    "unused, user_key",
];
/// Latest set first.
pub const BY_SET: [&str; 3] = [
    "by_set",
    "activated_at <= ?6 AND (activated_at < ?6 OR user_key > ?7)",
    "activated_at DESC, user_key",
];
/// Latest use first.
pub const BY_USE: [&str; 3] = [
    "by_use",
    "last_used_at <= ?6 AND (last_used_at < ?6 OR user_key > ?7)",
    "last_used_at DESC, user_key",
];

/// Returns the SQL of a page of users, composed of the parts above.
#[must_use]
pub fn users([index, place, order]: [&str; 3], filter: &str) -> String {
    format!("{USERS}{index}\nWHERE {place} AND {filter}\nORDER BY {order} LIMIT ?8")
}

/// The users among these, for a page of named users: 1 their keys, a JSON array of hex.
pub const AMONG: &str = "\
SELECT user_key, scheme, total, unused, prepared_at, activated_at, expires_at, last_used_at,
    proved_at
FROM backup_codes_records INDEXED BY backup_codes_records_key
WHERE user_key IN (SELECT unhex(value) FROM json_each(?1))";

/// Columns of a page of the audit log, up to the index's name. Parameters of the whole page, which
/// [`audit`] composes: 1 from, 2 until, 3 and 4 time and number of the previous event, 5 the
/// maximum number of events, 6 user, 7 kind.
pub const AUDIT: &str = "\
SELECT at, seq, body FROM backup_codes_events INDEXED BY backup_codes_events_";

/// Returns the SQL of a page of the audit log, by user, by kind, by both or by neither.
#[must_use]
pub fn audit(of_user: bool, of_kind: bool) -> String {
    let (index, filter) = match (of_user, of_kind) {
        (false, false) => ("by_time", ""),
        (true, false) => ("by_user", "user_key = ?6 AND "),
        (false, true) => ("by_kind", "kind = ?7 AND "),
        (true, true) => ("by_user", "user_key = ?6 AND kind = ?7 AND "),
    };
    format!(
        "{AUDIT}{index}\nWHERE {filter}at >= ?1 AND at < ?2 AND at <= ?3 AND (at < ?3 OR seq < ?4)\n\
         ORDER BY at DESC, seq DESC LIMIT ?5"
    )
}
