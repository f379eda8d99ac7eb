//! Accounts and roles, in two tables of the application's own.

use std::collections::BTreeSet;

use backup_codes::{Subject, UserId};
use sqlx::SqlitePool;

use crate::failure::Failure;

// The name of an account is also its user id: there is no command that changes a name.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS console_roles (name TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS console_accounts (
    name TEXT NOT NULL PRIMARY KEY,
    roles TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO console_roles VALUES ('administrator'), ('staff');
";

pub(crate) struct Accounts(SqlitePool);

impl Accounts {
    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, Failure> {
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self(pool))
    }

    /// Closes the database, so that SQLite leaves no write-ahead log to be recovered.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    pub(crate) async fn add(&self, name: &str, roles: &[&str]) -> Result<(), Failure> {
        checked(name)?;
        let done = sqlx::query("INSERT OR IGNORE INTO console_accounts VALUES (?, ?)")
            .bind(name)
            .bind(self.existing_roles(roles).await?.join(" "))
            .execute(&self.0)
            .await?;
        if done.rows_affected() == 0 {
            let text = "this account exists already: type user roles NAME ROLE ... to change it";
            return Err(Failure::new(text));
        }
        Ok(())
    }

    pub(crate) async fn set_roles(&self, name: &str, roles: &[&str]) -> Result<(), Failure> {
        let done = sqlx::query("UPDATE console_accounts SET roles = ? WHERE name = ?")
            .bind(self.existing_roles(roles).await?.join(" "))
            .bind(name)
            .execute(&self.0)
            .await?;
        (done.rows_affected() > 0)
            .then_some(())
            .ok_or_else(no_account)
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), Failure> {
        sqlx::query("DELETE FROM console_accounts WHERE name = ?")
            .bind(name)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Returns the account of this name, with its current roles.
    pub(crate) async fn named(&self, name: &str) -> Result<Subject, Failure> {
        let roles: Option<String> =
            sqlx::query_scalar("SELECT roles FROM console_accounts WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.0)
                .await?;
        let roles = roles.ok_or_else(no_account)?;
        Ok(Subject::new(UserId::new(name)?, roles.split_whitespace()))
    }

    /// Returns the names and roles of all accounts, by name.
    pub(crate) async fn all(&self) -> Result<Vec<(String, String)>, Failure> {
        let all = "SELECT name, roles FROM console_accounts ORDER BY name";
        Ok(sqlx::query_as(all).fetch_all(&self.0).await?)
    }

    pub(crate) async fn add_role(&self, role: &str) -> Result<(), Failure> {
        checked(role)?;
        if ["all", "none"].contains(&role) {
            return Err(Failure::new(
                "a role cannot be called all or none: type another name",
            ));
        }
        sqlx::query("INSERT OR IGNORE INTO console_roles VALUES (?)")
            .bind(role)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Returns all roles, by name.
    pub(crate) async fn roles(&self) -> Result<Vec<String>, Failure> {
        let all = "SELECT name FROM console_roles ORDER BY name";
        Ok(sqlx::query_scalar(all).fetch_all(&self.0).await?)
    }

    /// Returns these roles, each once, if all exist.
    pub(crate) async fn existing_roles(&self, roles: &[&str]) -> Result<Vec<String>, Failure> {
        let existing = self.roles().await?;
        let wanted: BTreeSet<String> = roles.iter().map(ToString::to_string).collect();
        if wanted.iter().any(|role| !existing.contains(role)) {
            return Err(Failure::new(format!(
                "there is no such role: type some of {}, or role add NAME first",
                existing.join(", ")
            )));
        }
        Ok(wanted.into_iter().collect())
    }
}

fn no_account() -> Failure {
    Failure::new("there is no such account: type user list to see all, or user add NAME")
}

/// Checks the name of an account or a role: it has to be a word that any terminal shows as it is.
fn checked(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
    if name.chars().all(allowed) && name.len() <= 64 {
        return Ok(());
    }
    Err(Failure::new(
        "a name has letters, digits, - _ . @ + and at most 64 bytes: type another",
    ))
}
