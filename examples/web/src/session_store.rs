//! The session store for tower-sessions, in the application's database. The store for SQLite of
//! tower-sessions is built on another version of sqlx, and one program cannot link two copies of
//! SQLite.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqlitePool};
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result, SessionStore};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS web_sessions (
    key BLOB PRIMARY KEY,
    data TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID";

#[derive(Debug, Clone)]
pub(crate) struct SqliteSessions(SqlitePool);

/// Returns the key that a session is stored under. An attacker who reads the table, or a backup of
/// it, cannot take over a session: the id itself is not there.
fn key(id: &Id) -> Vec<u8> {
    Sha256::digest(id.0.to_be_bytes()).to_vec()
}

fn backend(error: sqlx::Error) -> Error {
    Error::Backend(error.to_string())
}

/// Returns the time by the system's clock, which tower-sessions uses for the expiry of sessions.
fn seconds() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

impl SqliteSessions {
    pub(crate) async fn open(pool: SqlitePool) -> std::result::Result<Self, sqlx::Error> {
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self(pool))
    }

    pub(crate) async fn remove_expired(&self) -> std::result::Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM web_sessions WHERE expires_at <= ?1")
            .bind(seconds())
            .execute(&self.0)
            .await
            .map(drop)
    }

    async fn write(&self, sql: &'static str, record: &Record) -> Result<bool> {
        let data = serde_json::to_string(&record.data)
            .map_err(|error| Error::Encode(error.to_string()))?;
        let done = sqlx::query(sql)
            .bind(key(&record.id))
            .bind(data)
            .bind(record.expiry_date.unix_timestamp())
            .execute(&self.0)
            .await
            .map_err(backend)?;
        Ok(done.rows_affected() > 0)
    }
}

#[async_trait]
impl SessionStore for SqliteSessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        const SQL: &str = "INSERT INTO web_sessions VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        while !self.write(SQL, record).await? {
            record.id = Id::default();
        }
        Ok(())
    }

    /// Updates a session and never inserts one, so that a request that ends late does not bring
    /// back a session that has ended.
    async fn save(&self, record: &Record) -> Result<()> {
        const SQL: &str = "UPDATE web_sessions SET data = ?2, expires_at = ?3 WHERE key = ?1";
        self.write(SQL, record).await.map(drop)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let row = sqlx::query(
            "SELECT data, expires_at FROM web_sessions WHERE key = ?1 AND expires_at > ?2",
        )
        .bind(key(id))
        .bind(seconds())
        .fetch_optional(&self.0)
        .await
        .map_err(backend)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let decode = |error: &dyn std::error::Error| Error::Decode(error.to_string());
        let data: &str = row.try_get(0).map_err(backend)?;
        Ok(Some(Record {
            id: *id,
            data: serde_json::from_str(data).map_err(|error| decode(&error))?,
            expiry_date: OffsetDateTime::from_unix_timestamp(row.try_get(1).map_err(backend)?)
                .map_err(|error| decode(&error))?,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        sqlx::query("DELETE FROM web_sessions WHERE key = ?1")
            .bind(key(id))
            .execute(&self.0)
            .await
            .map_err(backend)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_save_brings_no_ended_session_back_and_no_id_is_stored() {
        let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
        let store = SqliteSessions::open(pool.clone()).await.unwrap();
        let mut record = Record {
            id: Id::default(),
            data: Default::default(),
            expiry_date: OffsetDateTime::from_unix_timestamp(253_402_300_000).unwrap(),
        };
        store.create(&mut record).await.unwrap();
        let (first, mut second) = (record.id, record.clone());
        store.create(&mut second).await.unwrap();
        assert_ne!(second.id, first, "an id that is taken is drawn again");
        assert_eq!(store.load(&first).await.unwrap(), Some(record.clone()));
        let keys: Vec<Vec<u8>> = sqlx::query_scalar("SELECT key FROM web_sessions")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert!(keys.iter().all(|key| key.len() == 32));
        store.delete(&first).await.unwrap();
        store.save(&record).await.unwrap();
        assert_eq!(store.load(&first).await.unwrap(), None);

        second.expiry_date = OffsetDateTime::from_unix_timestamp(1).unwrap();
        store.save(&second).await.unwrap();
        assert_eq!(
            store.load(&second.id).await.unwrap(),
            None,
            "it has expired"
        );
        store.remove_expired().await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM web_sessions")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(left, 0);
    }
}
