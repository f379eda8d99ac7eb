//! The application's own users. The login name is the user's id in the records of backup codes, and
//! never changes here. Where names change, use the number of the row instead.

use backup_codes::{Effect, Subject, UserId};
use sqlx::{Row as _, SqlitePool, sqlite::SqliteRow};

use crate::passwords::{PasswordError, Passwords};

/// A role of this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteRole {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
}

/// Every role of this site.
pub(crate) const ROLES: [SiteRole; 4] = [
    SiteRole {
        id: "administrator",
        name: "Administrator",
    },
    SiteRole {
        id: "editor",
        name: "Editor",
    },
    SiteRole {
        id: "guest",
        name: "Guest",
    },
    SiteRole {
        id: "staff",
        name: "Staff",
    },
];

/// A demo user that a new database is seeded with.
#[derive(Debug, Clone, Copy)]
pub struct DemoUser {
    /// The login name, which is the user's id.
    pub id: &'static str,
    /// The full name.
    pub name: &'static str,
    /// The password, which is no secret.
    pub password: &'static str,
    /// The role.
    pub role: &'static str,
}

/// The users that a new database is seeded with.
pub const DEMO_USERS: [DemoUser; 4] = [
    DemoUser {
        id: "alice",
        name: "Alice Arnold",
        password: "apple-garden-7",
        role: "staff",
    },
    DemoUser {
        id: "bob",
        name: "Bob Becker",
        password: "bread-window-8",
        role: "editor",
    },
    DemoUser {
        id: "carol",
        name: "Carol Chen",
        password: "cloud-bridge-9",
        role: "administrator",
    },
    DemoUser {
        id: "dave",
        name: "Dave Diaz",
        password: "drum-lantern-5",
        role: "guest",
    },
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS web_users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    password TEXT NOT NULL,
    roles TEXT NOT NULL,
    totp_secret TEXT,
    totp_pending TEXT,
    totp_last_step INTEGER NOT NULL DEFAULT 0,
    totp_tries INTEGER NOT NULL DEFAULT 0,
    sign_outs INTEGER NOT NULL DEFAULT 0
) STRICT";

/// The limit of wrong codes of an authenticator app in a row (NIST SP 800-63B-4, 3.2.2).
const MOST_TRIES: i64 = 100;

/// A user as stored in the table.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The PHC string of the password.
    pub(crate) password: String,
    pub(crate) roles: Vec<String>,
    /// The authenticator app's secret, in base 32.
    pub(crate) totp_secret: Option<String>,
    /// A secret of an authenticator app that the user has yet to confirm.
    pub(crate) totp_pending: Option<String>,
    totp_tries: i64,
    /// How often all sessions of this user were ended. A session made before the last time is over.
    /// It is a count and not a time, because a time from a clock that was ahead would end new
    /// sessions until then.
    pub(crate) sign_outs: i64,
    key: UserId,
}

// Written by hand to leave the secrets out.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl User {
    /// Returns the user as the policy sees it.
    pub(crate) fn subject(&self) -> Subject {
        Subject::new(self.key.clone(), self.roles.iter().cloned())
    }

    /// Returns whether the user can log in with the authenticator app.
    pub(crate) fn app_works(&self) -> bool {
        self.totp_secret.is_some() && self.totp_tries < MOST_TRIES
    }

    /// Returns the names of the user's roles.
    pub(crate) fn role_names(&self) -> String {
        let name = |id: &String| {
            let role = ROLES.iter().find(|role| role.id == id);
            role.map_or_else(|| id.clone(), |role| role.name.to_owned())
        };
        self.roles.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let id: String = row.try_get("id")?;
        let roles: &str = row.try_get("roles")?;
        Ok(Self {
            name: row.try_get("name")?,
            password: row.try_get("password")?,
            roles: roles.split_whitespace().map(str::to_owned).collect(),
            totp_secret: row.try_get("totp_secret")?,
            totp_pending: row.try_get("totp_pending")?,
            totp_tries: row.try_get("totp_tries")?,
            sign_outs: row.try_get("sign_outs")?,
            key: UserId::new(&id).map_err(|error| sqlx::Error::Decode(error.into()))?,
            id,
        })
    }
}

/// An error of seeding the table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// The table of users.
#[derive(Debug, Clone)]
pub(crate) struct Users(SqlitePool);

impl Users {
    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self(pool))
    }

    /// Adds the demo users to an empty table.
    pub(crate) async fn seed(&self, passwords: &Passwords) -> Result<(), SeedError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM web_users")
            .fetch_one(&self.0)
            .await?;
        if count > 0 {
            return Ok(());
        }
        let mut hashes = Vec::new();
        for user in DEMO_USERS {
            hashes.push(passwords.hash(user.password).await?);
        }
        // One transaction: all users or none, even if the process is stopped.
        let mut transaction = self.0.begin().await?;
        for (user, hash) in DEMO_USERS.iter().zip(hashes) {
            sqlx::query(
                "INSERT INTO web_users (id, name, password, roles) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )
            .bind(user.id)
            .bind(user.name)
            .bind(hash)
            .bind(user.role)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        let row = sqlx::query("SELECT * FROM web_users WHERE id = ?1")
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        row.as_ref().map(User::from_row).transpose()
    }

    /// Returns at most `most` users whose name or login name contains this text, by login name. The
    /// case of the letters A to Z is ignored.
    pub(crate) async fn matching(&self, part: &str, most: u16) -> Result<Vec<User>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT * FROM web_users
             WHERE instr(lower(id), lower(?1)) OR instr(lower(name), lower(?1))
             ORDER BY id LIMIT ?2",
        )
        .bind(part)
        .bind(i64::from(most))
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(User::from_row).collect()
    }

    /// Returns the users with these ids, in any order; ids that do not exist are left out.
    pub(crate) async fn find_all(&self, ids: &[String]) -> Result<Vec<User>, sqlx::Error> {
        let rows =
            sqlx::query("SELECT * FROM web_users WHERE id IN (SELECT value FROM json_each(?1))")
                .bind(serde_json::Value::from(ids).to_string())
                .fetch_all(&self.0)
                .await?;
        rows.iter().map(User::from_row).collect()
    }

    /// Counts an attempt of the authenticator app at the login, before it is made. Returns `false`
    /// after a hundred wrong ones in a row, until they are cleared (NIST SP 800-63B-4, 3.2.2).
    pub(crate) async fn begin_totp_try(&self, id: &str) -> Result<bool, sqlx::Error> {
        self.changed(
            sqlx::query(
                "UPDATE web_users SET totp_tries = totp_tries + 1 WHERE id = ?1 AND totp_tries < ?2",
            )
            .bind(id)
            .bind(MOST_TRIES),
        )
        .await
    }

    /// Clears the attempts of the authenticator app, if there are any.
    pub(crate) async fn clear_totp_tries(&self, id: &str) -> Result<Effect, sqlx::Error> {
        let query =
            sqlx::query("UPDATE web_users SET totp_tries = 0 WHERE id = ?1 AND totp_tries <> 0");
        Ok(match self.changed(query.bind(id)).await? {
            true => Effect::Done,
            false => Effect::Nothing,
        })
    }

    /// Marks a time step of the authenticator app as used, and clears wrong attempts. Returns
    /// `false` if this step, or a later one, was used before: a code of the app is valid once too
    /// (RFC 6238, 5.2). A stored step more than ten minutes ahead was written by a clock that was
    /// ahead, and is ignored; so a code could be used again if the clock falls back by more than
    /// that.
    pub(crate) async fn use_totp_step(&self, id: &str, step: i64) -> Result<bool, sqlx::Error> {
        self.changed(
            sqlx::query(
                "UPDATE web_users SET totp_last_step = ?2, totp_tries = 0
                 WHERE id = ?1 AND (totp_last_step < ?2 OR totp_last_step > ?2 + 20)",
            )
            .bind(id)
            .bind(step),
        )
        .await
    }

    /// Ends this user's sessions, and returns how often that has been done so far.
    pub(crate) async fn end_sessions(&self, id: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "UPDATE web_users SET sign_outs = sign_outs + 1 WHERE id = ?1 RETURNING sign_outs",
        )
        .bind(id)
        .fetch_one(&self.0)
        .await
    }

    /// Stores a secret that the user has yet to confirm. Returns `false` if an app is set up
    /// already.
    pub(crate) async fn prepare_totp(&self, id: &str, secret: &str) -> Result<bool, sqlx::Error> {
        // A new secret has other codes: none of them has been used, so the last used step is
        // cleared.
        let query = sqlx::query(
            "UPDATE web_users SET totp_pending = ?2, totp_last_step = 0
             WHERE id = ?1 AND totp_secret IS NULL",
        );
        self.changed(query.bind(id).bind(secret)).await
    }

    /// Activates the pending secret, if it is still this one.
    pub(crate) async fn activate_totp(&self, id: &str, secret: &str) -> Result<bool, sqlx::Error> {
        self.changed(
            sqlx::query(
                "UPDATE web_users SET totp_secret = totp_pending, totp_pending = NULL
                 WHERE id = ?1 AND totp_pending = ?2",
            )
            .bind(id)
            .bind(secret),
        )
        .await
    }

    /// Removes the authenticator app.
    pub(crate) async fn remove_totp(&self, id: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "UPDATE web_users SET totp_secret = NULL, totp_pending = NULL WHERE id = ?1",
        );
        self.changed(query.bind(id)).await.map(drop)
    }

    async fn changed<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<bool, sqlx::Error> {
        Ok(query.execute(&self.0).await?.rows_affected() > 0)
    }
}
