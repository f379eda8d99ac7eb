-- Tables of backup-codes, schema version 1. `backup_codes_` is the default prefix.
--
-- Times are milliseconds since 1970-01-01 UTC. Where a value is missing, a number stands for it, so
-- that every index holds every row: -1 in `unused`, `prepared_at` and `activated_at`, and an empty
-- text in `scheme`, for no active set; -1 in `last_used_at` and `proved_at` for never;
-- 9223372036854775807 in `expires_at` for never.

CREATE TABLE backup_codes_records (
    user_key BLOB NOT NULL,
    revision BLOB NOT NULL,
    record TEXT NOT NULL,
    -- How the codes of the active set are written and hashed: format, cost, key.
    scheme TEXT NOT NULL,
    total INTEGER NOT NULL,
    unused INTEGER NOT NULL,
    prepared_at INTEGER NOT NULL,
    activated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    proved_at INTEGER NOT NULL,
    -- [[start of a quarter hour, codes used in it], ...]
    uses TEXT NOT NULL,
    -- The events of a write, on their way into the events table: the triggers below empty it.
    step TEXT
) STRICT;

CREATE UNIQUE INDEX backup_codes_records_key ON backup_codes_records (user_key);
-- Each order of a page, with all that its filters look at.
CREATE INDEX backup_codes_records_by_user
    ON backup_codes_records (user_key, unused, expires_at, prepared_at, scheme);
CREATE INDEX backup_codes_records_by_left
    ON backup_codes_records (unused, user_key, expires_at, prepared_at, scheme);
CREATE INDEX backup_codes_records_by_set
    ON backup_codes_records (activated_at DESC, user_key, unused, expires_at, prepared_at, scheme);
CREATE INDEX backup_codes_records_by_use
    ON backup_codes_records (last_used_at DESC, user_key, unused, expires_at, prepared_at, scheme);
-- Sets that may have expired, for the figures.
CREATE INDEX backup_codes_records_expiring
    ON backup_codes_records (expires_at, unused, prepared_at, scheme)
    WHERE expires_at < 9223372036854775807;
-- Active sets by scheme: which schemes there are, and the sets of one that is not accepted.
CREATE INDEX backup_codes_records_by_scheme
    ON backup_codes_records (scheme, unused)
    WHERE unused >= 0;

-- Codes used by all users together, by quarter hour.
CREATE TABLE backup_codes_uses (
    quarter INTEGER PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT;

-- The audit log. `body` is the event as JSON, the other columns are what it is looked up by.
CREATE TABLE backup_codes_events (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    user_key BLOB,
    delivered INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX backup_codes_events_id ON backup_codes_events (id);
CREATE INDEX backup_codes_events_by_time ON backup_codes_events (at);
CREATE INDEX backup_codes_events_by_user ON backup_codes_events (user_key, at);
CREATE INDEX backup_codes_events_by_kind ON backup_codes_events (kind, at);
CREATE INDEX backup_codes_events_undelivered ON backup_codes_events (seq) WHERE delivered = 0;

CREATE TABLE backup_codes_settings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision BLOB NOT NULL,
    settings TEXT NOT NULL,
    step TEXT
) STRICT;

-- One statement writes a record; these triggers make its events and its share of the figures part
-- of that statement. `step` is [[id, at, kind, user, delivered, body], ...], bytes in hex. A row
-- without `step` is a copy out of another database: its uses are in the copied table of uses
-- already. Copy all tables, or none.
--
-- Only what this schema has written itself is taken back from the figures. A damaged column `uses`
-- stops no write: what it cannot tell stays counted, and no figure falls below zero.

CREATE TRIGGER backup_codes_records_inserted AFTER INSERT ON backup_codes_records BEGIN
    INSERT INTO backup_codes_events (id, at, kind, user_key, delivered, body)
        SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
        FROM json_each(NEW.step) ORDER BY key;
    INSERT INTO backup_codes_uses (quarter, count)
        SELECT value ->> 0, value ->> 1 FROM json_each(NEW.uses) WHERE NEW.step IS NOT NULL
        ON CONFLICT (quarter) DO UPDATE SET count = count + excluded.count;
    UPDATE backup_codes_records SET step = NULL WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER backup_codes_records_updated AFTER UPDATE OF revision ON backup_codes_records BEGIN
    INSERT INTO backup_codes_events (id, at, kind, user_key, delivered, body)
        SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
        FROM json_each(NEW.step) ORDER BY key;
    INSERT INTO backup_codes_uses (quarter, count)
        SELECT quarter, sum(count) FROM (
            SELECT value ->> 0 AS quarter, value ->> 1 AS count
            FROM json_each(NEW.uses) WHERE NEW.uses <> OLD.uses AND NEW.step IS NOT NULL
            UNION ALL
            SELECT value ->> 0, -(value ->> 1)
            FROM json_each(CASE WHEN json_valid(OLD.uses) THEN OLD.uses ELSE '[]' END)
            WHERE NEW.uses <> OLD.uses AND NEW.step IS NOT NULL
                AND typeof(value ->> 0) = 'integer' AND typeof(value ->> 1) = 'integer'
                AND value ->> 1 BETWEEN 1 AND 65535
        ) AS changed GROUP BY quarter
        HAVING sum(count) > 0 OR sum(count) < 0
            AND EXISTS (SELECT 1 FROM backup_codes_uses AS u WHERE u.quarter = changed.quarter)
        ON CONFLICT (quarter) DO UPDATE SET count = max(count + excluded.count, 0);
    UPDATE backup_codes_records SET step = NULL WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER backup_codes_records_deleted AFTER DELETE ON backup_codes_records BEGIN
    INSERT INTO backup_codes_uses (quarter, count)
        SELECT value ->> 0, -(value ->> 1)
        FROM json_each(CASE WHEN json_valid(OLD.uses) THEN OLD.uses ELSE '[]' END)
        WHERE typeof(value ->> 0) = 'integer' AND typeof(value ->> 1) = 'integer'
            AND value ->> 1 BETWEEN 1 AND 65535
            AND EXISTS (SELECT 1 FROM backup_codes_uses AS u WHERE u.quarter = value ->> 0)
        ON CONFLICT (quarter) DO UPDATE SET count = max(count + excluded.count, 0);
END;

CREATE TRIGGER backup_codes_settings_inserted AFTER INSERT ON backup_codes_settings BEGIN
    INSERT INTO backup_codes_events (id, at, kind, user_key, delivered, body)
        SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
        FROM json_each(NEW.step) ORDER BY key;
    UPDATE backup_codes_settings SET step = NULL WHERE one = NEW.one;
END;

CREATE TRIGGER backup_codes_settings_updated AFTER UPDATE OF revision ON backup_codes_settings BEGIN
    INSERT INTO backup_codes_events (id, at, kind, user_key, delivered, body)
        SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
        FROM json_each(NEW.step) ORDER BY key;
    UPDATE backup_codes_settings SET step = NULL WHERE one = NEW.one;
END;
