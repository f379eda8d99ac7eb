//! A made-up population: users with a sheet of ten, some of it used over the last 400 days.

use std::time::Duration;

use backup_codes::audit::Event;
use backup_codes::repository::{CodeRepository, Expected, Put, PutOutcome, Record, Revision};
use backup_codes::{
    BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository, Redeem, Settings,
    Subject, Timestamp, UserId,
};
use backup_codes_sqlx::SqliteRepository;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const DAY: i64 = 86_400_000;
const QUARTER: i64 = 900_000;

/// A generator of users, which draws the same users for the same number of them.
pub(crate) struct Population {
    /// The records of a real set, by the number of its used codes. The times of the set are
    /// replaced; those of its slots stay, because a checksum covers them. The hashes are another
    /// user's, so no code of these users can be redeemed.
    templates: Vec<Value>,
    now: Timestamp,
    users: u64,
    state: u64,
}

impl Population {
    /// Makes a generator of `users` users, in their state at `now`.
    pub(crate) async fn new(users: u64, now: Timestamp) -> Result<Self, Failure> {
        let store = MemoryRepository::new();
        let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper())?);
        let codes = BackupCodes::new(store.clone(), Settings::default(), hashing);
        let somebody = Subject::new(UserId::new("template")?, ["staff"]);
        let cx = Context::new(now, &somebody);
        let issued = codes.issue(&somebody, &cx).await?;
        let mut templates = Vec::new();
        let sheet = issued.sheet.expose();
        let mut unused = sheet.codes().map(|(_, code)| code);
        loop {
            let loaded = store
                .load(somebody.id(), backup_codes::repository::Freshness::Latest)
                .await?
                .ok_or("the record just issued")?;
            templates.push(serde_json::from_str(&loaded.record)?);
            let Some(code) = unused.next() else {
                break;
            };
            let Redeem::Accepted(_) = codes.redeem(&somebody, &code, &cx).await? else {
                return Err("a code just issued was not accepted".into());
            };
        }
        drop(unused);
        Ok(Self {
            templates,
            now,
            users,
            state: users,
        })
    }

    /// Returns the next number of SplitMix64 (Steele, Lea and Flood, 2014): made-up data has to be
    /// the same each time.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> i64 {
        i64::try_from(self.next() % bound.max(1)).unwrap_or(0)
    }

    /// Returns the id of the `number`th user. The ids are in no order, as those of an application
    /// are.
    pub(crate) fn user(&self, number: u64) -> Result<UserId, Failure> {
        // A step that has no divisor in common with the number of users visits each of them once.
        let step = [7_919, 7_907, 7_901]
            .into_iter()
            .find(|prime| !self.users.is_multiple_of(*prime))
            .unwrap_or(1);
        let scrambled = number.wrapping_mul(step) % self.users;
        Ok(UserId::new(format!("user-{scrambled:08}"))?)
    }

    /// Draws the times at which codes of a new user were used, oldest first: none of a third of all
    /// sheets, all of one in twenty.
    fn uses(&mut self, activated: i64) -> Vec<i64> {
        let used = match self.below(60) {
            0..20 => 0,
            20..23 => 10,
            _ => 1 + self.below(9),
        };
        let span = u64::try_from(self.now.unix_millis() - activated).unwrap_or(1);
        let mut uses: Vec<i64> = (0..used).map(|_| activated + self.below(span)).collect();
        uses.sort_unstable();
        uses
    }

    /// Makes the record of one more user.
    fn record(&mut self) -> Result<(Record, Vec<i64>), Failure> {
        let now = self.now.unix_millis();
        let activated = now - 1 - self.below(400 * DAY.unsigned_abs());
        let uses = self.uses(activated);
        let mut record = self.templates[uses.len()].clone();
        let set = &mut record["active"];
        set["prepared_at"] = json!(activated - 60_000);
        set["activated_at"] = json!(activated);
        // One sheet in ten expires, in time or long ago.
        if self.below(10) == 0 {
            set["expires_at"] = json!(activated + 300 * DAY);
        }
        let mut quarters: Vec<(i64, u64)> = Vec::new();
        for at in &uses {
            match quarters.last_mut() {
                Some((quarter, count)) if *quarter == at / QUARTER => *count += 1,
                _ => quarters.push((at / QUARTER, 1)),
            }
        }
        if let Some(last) = uses.last() {
            record["uses"] = json!(quarters);
            record["last_used_at"] = json!(last);
            record["active"]["proved_at"] = json!(last);
        }
        Ok((Record::from_json(&record.to_string())?, uses))
    }

    /// Writes one more user, with the events of its set and its uses.
    pub(crate) async fn add(
        &mut self,
        store: &SqliteRepository,
        number: u64,
    ) -> Result<(), Failure> {
        let user = self.user(number)?;
        let (record, uses) = self.record()?;
        let summary = record.summary();
        let activated = summary.set.as_ref();
        let activated = activated.map_or(self.now, |set| set.activated_at);
        let mut event = |at: i64, kind: &str, remaining: usize| {
            let id = format!("{:016x}{:016x}", self.next(), self.next());
            let event = json!({
                "id": id, "at": at, "kind": kind, "outcome": "success", "subject": user,
                "actor": { "user": user }, "address": "192.0.2.7", "set": null,
                "remaining": remaining,
            });
            serde_json::from_value::<Event>(event)
        };
        let mut events = vec![event(activated.unix_millis(), "activate", 10)?];
        for (used, at) in uses.iter().enumerate() {
            events.push(event(*at, "redeem", 9 - used)?);
        }
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&self.next().to_be_bytes());
        }
        let revision = Revision::from_bytes(bytes);
        let json = record.to_json();
        let put = Put::new(&user, Expected::Absent, revision, &json, &summary, &events);
        match store.put(put).await? {
            PutOutcome::Applied => Ok(()),
            PutOutcome::Conflict => Err(format!("{user} is there already").into()),
        }
    }
}

/// The default time of made-up data.
pub(crate) const NOW_MILLIS: i64 = 1_790_000_000_000;

/// Writes all users, and reports after each the number written.
///
/// The pool has a single connection, so a transaction begun on it holds every write up to its
/// end: one commit for ten thousand users.
pub(crate) async fn fill(
    pool: &sqlx::SqlitePool,
    population: &mut Population,
    written: impl Fn(u64),
) -> Result<(), Failure> {
    let store = SqliteRepository::new(pool.clone());
    store.migrate().await?;
    for number in 0..population.users {
        if number % 10_000 == 0 {
            let end = if number == 0 { "" } else { "COMMIT; " };
            let sql = sqlx::AssertSqlSafe(format!("{end}BEGIN"));
            sqlx::raw_sql(sql).execute(pool).await?;
        }
        population.add(&store, number).await?;
        written(number + 1);
    }
    sqlx::raw_sql("COMMIT").execute(pool).await?;
    Ok(())
}

/// Opens a database file with settings for speed: data lost in a crash can be made again.
pub(crate) async fn fast_pool(file: &std::path::Path) -> Result<sqlx::SqlitePool, sqlx::Error> {
    use sqlx::sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    };
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-262144")
        .busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new()
        .max_connections(1)
        // The connection, and the transaction open on it, stays until all is written.
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}
