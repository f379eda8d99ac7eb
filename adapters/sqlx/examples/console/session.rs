//! A session: the acting account, and the commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_codes::policy::{Action, Decision, Request, RolePolicy};
use backup_codes::repository::Directory;
use backup_codes::{
    BackupCodes, Context, Effect, Error, Hashing, Reports, SavedSettings, SharedSettings, Sheet,
    Subject, Timestamp, UserFilter, UsersQuery,
};
use backup_codes_sqlx::SqliteRepository;
use jiff::tz::TimeZone;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use zeroize::Zeroizing;

use crate::account::Accounts;
use crate::answer::{Answer, row};
use crate::command;
use crate::editor::Names;
use crate::failure::{Failure, complain};
use crate::{key, moment};

pub(crate) type Said = Result<Vec<Answer>, Failure>;

/// How long the cached settings may be used. Each command reads the settings again.
const SETTINGS_AGE: Duration = Duration::from_secs(60);

pub(crate) struct Session {
    pub(crate) codes: BackupCodes,
    pub(crate) reports: Reports,
    pub(crate) saved: SavedSettings,
    /// The cached settings, which are the role policy.
    pub(crate) shared: SharedSettings,
    pub(crate) store: SqliteRepository,
    pub(crate) accounts: Accounts,
    pub(crate) zone: TimeZone,
    /// The name of the acting account; `None` for the operator.
    pub(crate) acting: Option<String>,
    /// The sheet prepared last, until it is exported or another account acts.
    pub(crate) sheet: Option<Sheet>,
}

/// The acting account or operator, with the current roles.
pub(crate) struct Actor {
    account: Option<Subject>,
    pub(crate) context: Context,
}

impl Actor {
    /// Returns the account that acts on its own codes.
    pub(crate) fn own(&self) -> Result<&Subject, Failure> {
        let nobody = || Failure::new("no account is logged in: type login NAME first");
        self.account.as_ref().ok_or_else(nobody)
    }
}

/// Returns the path of this file with a suffix.
pub(crate) fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(db);
    name.push(suffix);
    name.into()
}

/// Returns an answer of one text.
pub(crate) fn say(text: impl Into<String>) -> Said {
    Ok(vec![Answer::Text(Zeroizing::new(text.into()))])
}

/// Returns an answer of these parts, some of which show a code.
pub(crate) fn say_secret(parts: &[&str]) -> Said {
    // `concat` makes the text in one piece, so that no copy of a part is left behind.
    say(parts.concat())
}

impl Session {
    /// Opens the database, and everything that uses it.
    pub(crate) async fn open(db: &Path, zone: TimeZone) -> Result<Self, Failure> {
        if db.is_dir() {
            return Err(Failure::new(
                "this is a directory: type --db with a file in it",
            ));
        }
        if db
            .metadata()
            .is_ok_and(|found| found.permissions().readonly())
        {
            let text = "this file is read-only: make it writable, or type --db with another";
            return Err(Failure::new(text));
        }
        let options = SqliteConnectOptions::new()
            .filename(db)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().connect_with(options).await;
        let pool = pool.map_err(|error| {
            let why = Failure::from(backup_codes_sqlx::Error::from_sqlite(error));
            let advice = "check the file and its folder, or type --db with another";
            Failure::new(format!("{why}; {advice}"))
        })?;
        // The events table is the audit log; the sink adds what is not stored with a record.
        let store = SqliteRepository::open(pool.clone()).await?.as_audit_log();
        let now = moment::now()?;
        let any = UsersQuery::new(now)
            .with_filter(UserFilter::Every)
            .with_limit(1);
        let without_codes = Directory::users(&store, &any).await?.is_empty();
        let keyring = key::keyring(&beside(db, ".key"), without_codes)?;
        let shared = SharedSettings::new(SETTINGS_AGE);
        let codes = BackupCodes::new(store.clone(), shared.clone(), Hashing::pool(keyring)?)
            .with_audit(store.audit_sink());
        let settings = SavedSettings::new(&codes, store.clone(), &shared);
        settings.refresh(now).await?;
        let _ = codes.deliver_events().await?;
        let accounts = Accounts::open(pool).await?;
        if accounts.all().await?.is_empty() {
            complain(
                "no accounts yet: type user add root administrator, then login root, then help",
            );
        }
        Ok(Self {
            reports: Reports::new(&codes, store.clone()),
            codes,
            saved: settings,
            shared,
            store,
            accounts,
            zone,
            acting: None,
            sheet: None,
        })
    }

    /// Runs the command of a line.
    pub(crate) async fn run(&mut self, line: &str) -> Said {
        let typed: Vec<&str> = line.split_whitespace().collect();
        let (command, arguments) = command::find(&typed)?;
        let now = moment::now()?;
        // Another console may have saved settings, or changed this account's roles, meanwhile.
        self.saved.refresh(now).await?;
        let actor = self.actor(now).await?;
        let (cx, code) = (&actor.context, command::joined(arguments));
        match (command.words, arguments) {
            ("help", asked) => help(asked),
            ("login", [name]) => self.log_in(name).await,
            ("logout", []) => {
                (self.acting, self.sheet) = (None, None);
                say("you are the operator of this console")
            }
            ("user add", [name, roles @ ..]) => {
                self.may_manage(&actor)?;
                self.accounts.add(name, roles).await?;
                say("added")
            }
            ("user roles", [name, roles @ ..]) => {
                self.may_manage(&actor)?;
                self.accounts.set_roles(name, roles).await?;
                say("changed")
            }
            ("user remove", [name]) => {
                self.may_manage(&actor)?;
                // The codes are erased first: if the program stops in between, the account still
                // exists and can be removed again.
                let user = self.accounts.named(name).await?;
                // An account that never had codes has no record to erase.
                let _ = self.codes.erase(&user, cx).await?;
                self.accounts.remove(name).await?;
                say("removed, with all data about its codes")
            }
            ("user list", []) => {
                let all = self.accounts.all().await?.into_iter();
                let rows = all.map(|(name, roles)| vec![name, roles]).collect();
                Ok(vec![Answer::Table(&["account", "roles"], rows)])
            }
            ("role add", [name]) => {
                self.may_manage(&actor)?;
                self.accounts.add_role(name).await?;
                say("added")
            }
            ("role list", []) => {
                let all = self.accounts.roles().await?.into_iter();
                Ok(vec![Answer::Table(
                    &["role"],
                    all.map(|role| vec![role]).collect(),
                )])
            }
            ("settings", []) => self.settings(),
            ("prepare", []) => self.prepare(&actor).await,
            ("sheet export", [file]) => self.export(file, &actor),
            ("activate", _) => self.activate(&code, &actor).await,
            ("discard", []) => self.discard(&actor).await,
            ("redeem", [_, ..]) => self.redeem(&code, &actor).await,
            ("check", [_, ..]) => self.check(&code, &actor).await,
            ("burn", [_, ..]) => self.burn(&code, &actor).await,
            ("override", [name, minutes @ ..]) if minutes.len() <= 1 => {
                let minutes = minutes.first().map_or(Ok(60), |minutes| minutes.parse());
                let minutes = minutes.map_err(|_| command.misused())?;
                self.issue_override(name, minutes, &actor).await
            }
            ("revoke-override", [name]) => {
                let user = self.accounts.named(name).await?;
                match self.codes.revoke_override(&user, cx).await? {
                    Effect::Done => say("the override code is revoked"),
                    Effect::Nothing => say("there was no unused override code"),
                }
            }
            ("unlock", [name]) => {
                let user = self.accounts.named(name).await?;
                match self.codes.unlock(&user, cx).await? {
                    Effect::Done => say("the count of wrong codes is reset"),
                    Effect::Nothing => say("no wrong codes were counted"),
                }
            }
            ("revoke", []) => self.revoke(None, &actor).await,
            ("revoke", [name]) => self.revoke(Some(name), &actor).await,
            ("status", []) => self.status(actor.own()?, &actor).await,
            ("status", [name]) => {
                let user = self.accounts.named(name).await?;
                self.status(&user, &actor).await
            }
            ("users", []) => self.users("with", command, &actor).await,
            ("users", [filter]) => self.users(filter, command, &actor).await,
            ("usage", []) => self.usage("7", command, &actor).await,
            ("usage", [days]) => self.usage(days, command, &actor).await,
            ("schemes", []) => self.schemes(&actor).await,
            ("audit", filters) => self.audit(filters, command, &actor).await,
            ("purge", [] | ["force"]) => {
                let purged = match arguments {
                    [] => self.reports.purge(cx).await?,
                    _ => self.reports.force_purge(cx).await?,
                };
                let mut told = format!("trimmed {}, removed {}", purged.trimmed, purged.removed);
                if purged.unreadable > 0 {
                    told += &format!(", left {} that cannot be read", purged.unreadable);
                }
                if purged.ahead > 0 {
                    told += &format!(
                        ", left {} of the future: if the clock is right, type purge force",
                        purged.ahead
                    );
                }
                say(told)
            }
            (words, _) if words.starts_with("settings ") => {
                self.save_settings(command, arguments, &actor).await
            }
            _ => Err(command.misused()),
        }
    }

    async fn actor(&self, now: Timestamp) -> Result<Actor, Failure> {
        let account = match &self.acting {
            Some(name) => self.accounts.named(name).await.ok(),
            None => None,
        };
        let context = match (&account, &self.acting) {
            (Some(account), _) => Context::new(now, account),
            // An account that was removed meanwhile has no role any more.
            (None, Some(name)) => Context::new(
                now,
                Subject::new(backup_codes::UserId::new(name)?, [] as [&str; 0]),
            ),
            (None, None) => Context::system(now),
        };
        Ok(Actor { account, context })
    }

    /// Acts as an account from now on. A real application checks a password first.
    pub(crate) async fn log_in(&mut self, name: &str) -> Said {
        self.accounts.named(name).await?;
        (self.acting, self.sheet) = (Some(name.to_owned()), None);
        say(format!("you are {name}"))
    }

    /// Checks that the actor may manage accounts. The crate knows no accounts, so the right to
    /// change the settings is taken for it.
    fn may_manage(&self, actor: &Actor) -> Result<(), Failure> {
        if self.acting.is_none() {
            return Ok(());
        }
        let cx = &actor.context;
        let request = Request::new(cx.actor(), actor.own()?, Action::SaveSettings, cx.now());
        match self.shared.decide(request) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(Error::Denied(denial).into()),
        }
    }

    /// Returns the names for completion; none if they cannot be read.
    pub(crate) async fn names(&self) -> Names {
        let accounts = self.accounts.all().await.unwrap_or_default();
        Names {
            accounts: accounts.into_iter().map(|(name, _)| name).collect(),
            roles: self.accounts.roles().await.unwrap_or_default(),
        }
    }
}

fn help(asked: &[&str]) -> Said {
    let asked = asked.join(" ");
    let rows: Vec<Vec<String>> = command::all()
        .filter(|command| command.words.starts_with(&asked))
        .map(|command| row![command.words, command.arguments, command.help])
        .collect();
    if rows.is_empty() {
        return Err(Failure::new(
            "there is no such command: type help to see all",
        ));
    }
    let head = &["command", "arguments", "what it does"];
    Ok(vec![Answer::Table(head, rows)])
}
