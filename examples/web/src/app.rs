//! The application: what it holds, how it starts, what it does on a schedule.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup_codes::hash::{Cost, HashError, KeyId, PoolSize};
use backup_codes::policy::{Action, Decision, Request, RolePolicy};
use backup_codes::{
    BackupCodes, Config, Context, HashParams, Hashing, Keyring, Notice, Override, Pepper, Reports,
    SavedSettings, SettingsSaved, SharedSettings, Subject, Switch, Timestamp,
};
use backup_codes_sqlx::SqliteRepository;
use jiff::tz::TimeZone;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::time::interval;

use crate::clock::Clock;
use crate::key_file;
use crate::password_tries::PasswordTries;
use crate::passwords::Passwords;
use crate::session_store::SqliteSessions;
use crate::throttle::Throttle;
use crate::users::{ROLES, Users};
use crate::zone::Zone;

/// How often the settings are read.
const SETTINGS_REFRESH: Duration = Duration::from_secs(10);
/// The age from which the cached settings are too old to trust.
const SETTINGS_MAX_AGE: Duration = Duration::from_secs(300);

/// Writers wait for each other, each with a connection, and pages that only read need one beside
/// them: with 8, `benches/load.rs` had them wait for 200 ms; with 64, for 15 ms. They are opened when
/// needed.
const CONNECTIONS: u32 = 64;

/// How long the audit log is kept.
const KEEP_EVENTS: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The options of the application.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file; the pepper lies beside it.
    pub database: PathBuf,
    /// The site's name, as sheets show it.
    pub site: String,
    /// The site's time zone.
    pub zone: TimeZone,
    /// The clock that the application reads.
    pub clock: Clock,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: BTreeSet<IpAddr>,
    /// How the session cookie is set.
    pub cookies: Cookies,
    /// The moment before which codes are invalid: set after a restore from a backup.
    pub void_before: Option<Timestamp>,
    /// The cost of new hashes of codes.
    pub code_cost: Cost,
    /// The size of the pool that hashes codes.
    pub code_pool: PoolSize,
    /// Creates the hashing of codes: a pool, or the fast hashing of a test.
    pub code_hashing: fn(HashParams, PoolSize) -> Result<Hashing, HashError>,
    /// The cost of new hashes of passwords.
    pub password_cost: Cost,
}

/// The attributes of the session cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    /// `Secure`, with the prefix `__Host-`. Chromium and Firefox take it on <http://localhost>.
    Secure,
    /// Neither `Secure` nor the prefix: for other browsers, on a loopback address.
    PlainLoopback,
}

impl Options {
    /// The usual options for this database.
    #[must_use]
    pub fn new(database: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            site: "backup-codes-web".to_owned(),
            zone: TimeZone::UTC,
            clock: Clock::system(),
            trusted_proxies: BTreeSet::new(),
            cookies: Cookies::Secure,
            code_cost: Cost::MIB_19,
            void_before: None,
            code_pool: PoolSize::default(),
            code_hashing: Hashing::pool_with,
            password_cost: Cost::MIB_19,
        }
    }
}

/// The application could not start.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct StartError {
    doing: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Adds to an error what was being done when it happened.
pub(crate) fn while_doing<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    doing: &'static str,
) -> impl FnOnce(E) -> StartError {
    move |source| StartError {
        doing,
        source: source.into(),
    }
}

/// The running application.
#[derive(Debug)]
pub struct App {
    pub(crate) codes: BackupCodes,
    pub(crate) reports: Reports,
    pub(crate) settings: SavedSettings,
    /// The cached settings, which are the role policy.
    shared: SharedSettings,
    pub(crate) store: SqliteRepository,
    pub(crate) users: Users,
    pub(crate) sessions: SqliteSessions,
    pub(crate) passwords: Passwords,
    pub(crate) password_tries: PasswordTries,
    /// Limits attempts of codes of authenticator apps. Backup codes have a throttle of their own,
    /// which cannot be left out.
    pub(crate) authenticator_tries: Throttle,
    pub(crate) zone: Zone,
    clock: Clock,
    pub(crate) site: String,
    pub(crate) trusted_proxies: BTreeSet<IpAddr>,
    pub(crate) cookies: Cookies,
}

impl App {
    /// Opens the database; a new one is created and seeded.
    ///
    /// # Errors
    /// [`StartError`] with what was being done.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let mut pepper = key_file::read_or_make(&options.database)
            .map_err(while_doing("reading the key file"))?;
        let pool = open_database(&options)
            .await
            .map_err(while_doing("opening the database"))?;

        // The id never changes: with another key file, codes are refused and none is counted wrong.
        let id = KeyId::new("key-file").map_err(while_doing("naming the pepper"))?;
        let pepper =
            Pepper::new(std::mem::take(&mut *pepper)).map_err(while_doing("taking the pepper"))?;
        let params = HashParams::new(Keyring::new(id, pepper))
            .map_err(while_doing("computing the check value of the key"))?
            .with_cost(options.code_cost)
            .map_err(while_doing("setting the cost of codes"))?;
        let hashing = (options.code_hashing)(params, options.code_pool)
            .map_err(while_doing("starting the hash pool"))?;

        // The events table is the audit log: no other sink needs its events.
        let store = SqliteRepository::open(pool.clone())
            .await
            .map_err(while_doing("making the tables of backup codes"))?
            .as_audit_log();
        let shared = SharedSettings::new(SETTINGS_MAX_AGE);
        let mut config = Config::default();
        if let Some(moment) = options.void_before {
            config = config.with_void_before(moment);
        }
        let codes = BackupCodes::new(store.clone(), shared.clone(), hashing)
            .with_config(config)
            .with_audit(store.audit_sink());

        let passwords = Passwords::new(options.password_cost)
            .map_err(while_doing("preparing the hashing of passwords"))?;
        let app = Self {
            reports: Reports::new(&codes, store.clone()),
            settings: SavedSettings::new(&codes, store.clone(), &shared),
            codes,
            shared,
            store,
            users: Users::open(pool.clone())
                .await
                .map_err(while_doing("making the table of users"))?,
            sessions: SqliteSessions::open(pool)
                .await
                .map_err(while_doing("making the table of sessions"))?,
            passwords,
            password_tries: PasswordTries::new(),
            authenticator_tries: Throttle::new(5),
            zone: Zone::new(options.zone),
            clock: options.clock,
            site: options.site,
            trusted_proxies: options.trusted_proxies,
            cookies: options.cookies,
        };
        app.refresh_settings()
            .await
            .map_err(while_doing("reading the settings"))?;
        app.seed().await?;
        app.warn_of_refused_sets().await;
        let _ = app
            .codes
            .deliver_events()
            .await
            .map_err(while_doing("delivering events"))?;
        Ok(app)
    }

    /// Adds the demo users, and settings under which guests have no codes.
    async fn seed(&self) -> Result<(), StartError> {
        self.users
            .seed(&self.passwords)
            .await
            .map_err(while_doing("seeding users"))?;
        let unsaved = |draft: &backup_codes::SettingsDraft| draft.based_on().is_none();
        if let Some(mut draft) = self.settings.edit().filter(unsaved) {
            let permitted = ROLES.iter().map(|role| role.id).filter(|id| *id != "guest");
            draft.settings.permit_roles(permitted);
            // A conflict means that another process, starting too, saved first: its settings are as
            // good.
            let _ = self
                .settings
                .save(draft, &Context::system(self.now()))
                .await
                .map_err(while_doing("saving the first settings"))?;
        }
        Ok(())
    }

    /// Warns the operator of sets none of whose codes are accepted, before a user meets one. A
    /// report that fails keeps no user from logging in.
    async fn warn_of_refused_sets(&self) {
        let schemes = self.reports.schemes(&Context::system(self.now())).await;
        let schemes = schemes.unwrap_or_else(|error| {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "it cannot be told which sets are refused");
            Vec::new()
        });
        for kind in schemes {
            if let Some(reason) = kind.refused {
                let (users, scheme) = (kind.users, kind.scheme.to_string());
                let reason = reason.as_str();
                tracing::warn!(users, %scheme, reason, "codes of these users are refused");
            }
        }
    }

    /// Reads the settings again. Settings older than five minutes are not trusted;
    /// [`start_tasks`](Self::start_tasks) reads them often enough.
    ///
    /// # Errors
    /// The repository's error.
    pub async fn refresh_settings(&self) -> Result<(), backup_codes::Error> {
        self.settings.refresh(self.now()).await
    }

    /// Switches backup codes on for the operator: the way back when they were switched off and no
    /// administrator can log in. A program that is running follows within ten seconds.
    ///
    /// # Errors
    /// [`StartError`] with what was being done.
    pub async fn switch_on(&self) -> Result<(), StartError> {
        let doing = "switching backup codes on";
        loop {
            let draft = self.settings.edit();
            let mut draft = draft
                .ok_or("the settings were never read")
                .map_err(while_doing(doing))?;
            if draft.settings.switch() == Switch::On {
                return Ok(());
            }
            draft.settings.set_switch(Switch::On);
            let saved = self
                .settings
                .save(draft, &Context::system(self.now()))
                .await
                .map_err(while_doing(doing))?;
            // An administrator saved at this moment: try again, based on the settings they saved.
            if saved == SettingsSaved::Saved {
                return Ok(());
            }
        }
    }

    /// Issues, for the operator, an override code to a user who cannot log in: the way out when no
    /// administrator can log in either. The code is valid for a day, and while codes are switched
    /// on.
    ///
    /// # Errors
    /// [`StartError`] with what was being done.
    pub async fn issue_override(&self, name: &str) -> Result<Override, StartError> {
        let user = self.users.find(name).await;
        let user = user
            .map_err(while_doing("looking for the user"))?
            .ok_or("there is no such user")
            .map_err(while_doing("looking for the user"))?;
        let day = Duration::from_secs(24 * 60 * 60);
        let issued = self
            .codes
            .issue_override(&user.subject(), day, &Context::system(self.now()))
            .await
            .map_err(while_doing("issuing an override code"))?;
        self.tell(issued.notice());
        Ok(issued)
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts the scheduled tasks. They end with the runtime.
    pub fn start_tasks(self: &Arc<Self>) {
        self.every(SETTINGS_REFRESH, "reading the settings", |app| async move {
            app.refresh_settings().await
        });
        self.every(
            Duration::from_secs(60),
            "delivering events",
            |app| async move { app.codes.deliver_events().await.map(drop) },
        );
        self.every(
            Duration::from_secs(60 * 60),
            "removing old sessions",
            |app| async move { app.sessions.remove_expired().await },
        );
        self.every(
            Duration::from_secs(24 * 60 * 60),
            "purging",
            |app| async move {
                // The machine may have slept, and old settings allow nothing.
                app.refresh_settings().await?;
                let purged = app.reports.purge(&Context::system(app.now())).await?;
                if purged.unreadable > 0 || purged.ahead > 0 {
                    tracing::warn!(purged.unreadable, purged.ahead, "records left unpurged");
                }
                Ok::<_, backup_codes::Error>(())
            },
        );
        self.every(
            Duration::from_secs(24 * 60 * 60),
            "purging events",
            |app| async move {
                let purge = app.store.purge_events(KEEP_EVENTS, app.now());
                purge.await.map(drop)
            },
        );
    }

    fn every<F, E>(
        self: &Arc<Self>,
        period: Duration,
        doing: &'static str,
        task: impl Fn(Arc<Self>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let mut ticks = interval(period);
            loop {
                ticks.tick().await;
                if let Err(error) = task(Arc::clone(&app)).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "{doing} failed");
                }
            }
        });
    }

    /// Sends a notice to its user. A real application sends mail, or another message over a channel
    /// other than the one just used; this one prints what it would send.
    pub(crate) fn tell(&self, notice: &Notice) {
        tracing::info!(user = %notice.user, kind = ?notice.kind, "mail");
    }

    /// Returns whether the policy would let this user do this with their own codes, or, for
    /// reports, at all. It decides only what a page shows; an operation asks the policy again, and
    /// is audited.
    pub(crate) fn would_allow(&self, subject: &Subject, action: Action) -> Decision {
        let actor = backup_codes::policy::Actor::User(subject.clone());
        self.shared
            .decide(Request::new(&actor, subject, action, self.now()))
    }
}

async fn open_database(options: &Options) -> Result<SqlitePool, sqlx::Error> {
    // The file holds secrets of authenticator apps: only its owner may read it.
    let mut file = OpenOptions::new();
    file.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    drop(file.open(&options.database)?);
    let connect = SqliteConnectOptions::new()
        .filename(&options.database)
        .journal_mode(SqliteJournalMode::Wal)
        // SQLite does not queue writers: with the usual five seconds, one of 64 gave up.
        .busy_timeout(Duration::from_secs(30));
    SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect_with(connect)
        .await
}
