//! A session: who is acting, and what each command does.

use backup_codes::{
    Action, BackupCodes, Context, Decision, Effect, Error, Request, RolePolicy, SharedSettings,
    Sheet, Subject, Timestamp,
};
use backup_codes_sqlx::{SqliteAudit, SqliteStore};
use jiff::tz::TimeZone;

use crate::account::Accounts;
use crate::answer::{Answer, row};
use crate::command;
use crate::editor::Names;
use crate::failure::Failure;
use crate::moment;

pub(crate) type Codes = BackupCodes<SqliteStore, SharedSettings, SqliteAudit>;
pub(crate) type Said = Result<Vec<Answer>, Failure>;

pub(crate) struct Session {
    pub(crate) codes: Codes,
    pub(crate) accounts: Accounts,
    pub(crate) zone: TimeZone,
    /// The name of the account that is acting; without one it is the operator.
    pub(crate) acting: Option<String>,
    /// The sheet prepared last, until it is exported or somebody else acts.
    pub(crate) sheet: Option<Sheet>,
}

/// Whoever is acting, with the roles of this moment.
pub(crate) struct Actor {
    account: Option<Subject>,
    pub(crate) context: Context,
}

impl Actor {
    /// The account that acts on its own codes.
    pub(crate) fn own(&self) -> Result<&Subject, Failure> {
        let nobody = || Failure::new("nobody is logged in: type login NAME first");
        self.account.as_ref().ok_or_else(nobody)
    }
}

/// One text as a whole answer.
pub(crate) fn say(text: impl Into<String>) -> Said {
    Ok(vec![Answer::Text(text.into())])
}

impl Session {
    /// Does what a line says.
    pub(crate) async fn run(&mut self, line: &str) -> Said {
        let typed: Vec<&str> = line.split_whitespace().collect();
        let (command, arguments) = command::find(&typed)?;
        let now = moment::now()?;
        // Another console may have saved settings, or changed this account's roles, meanwhile.
        self.codes.refresh_settings(now).await?;
        let actor = self.actor(now).await?;
        let (cx, code) = (&actor.context, arguments.join(" "));
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
                // In this order: stopped in between, the account is there to be removed again.
                let user = self.accounts.named(name).await?;
                // Nothing was kept about an account that never had codes.
                let _ = self.codes.erase(&user, cx).await?;
                self.accounts.remove(name).await?;
                say("removed, with all that was kept about its codes")
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
                    Effect::Done => say("the override code is void"),
                    Effect::Nothing => say("there was no override code in force"),
                }
            }
            ("unlock", [name]) => {
                let user = self.accounts.named(name).await?;
                match self.codes.unlock(&user, cx).await? {
                    Effect::Done => say("the wrong codes are forgotten"),
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
                    [] => self.codes.purge(cx).await?,
                    _ => self.codes.force_purge(cx).await?,
                };
                say(format!(
                    "trimmed {}, removed {}",
                    purged.trimmed, purged.removed
                ))
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
        // An account that was removed meanwhile is nobody, which every policy denies.
        let context = match &account {
            Some(account) => Context::new(now).by(account),
            None if self.acting.is_some() => Context::new(now),
            None => Context::system(now),
        };
        Ok(Actor { account, context })
    }

    /// Acts as an account from now on. An application has checked a password before.
    pub(crate) async fn log_in(&mut self, name: &str) -> Said {
        self.accounts.named(name).await?;
        (self.acting, self.sheet) = (Some(name.to_owned()), None);
        say(format!("you are {name}"))
    }

    /// Accounts are this application's own; whoever may change the settings may change them.
    fn may_manage(&self, actor: &Actor) -> Result<(), Failure> {
        if self.acting.is_none() {
            return Ok(());
        }
        let cx = &actor.context;
        let request = Request::new(cx.actor(), actor.own()?, Action::SaveSettings, cx.now());
        match self.codes.policy().decide(request) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(Error::Denied(denial).into()),
        }
    }

    /// Names for completion; none where they cannot be read.
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
