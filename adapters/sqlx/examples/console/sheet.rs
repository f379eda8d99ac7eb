//! The commands for sheets: prepare, show once, export, activate.

use std::path::Path;

use backup_codes::{Activation, Effect, SetId, Sheet, Subject, Wording};

use crate::code::mail;
use crate::failure::Failure;
use crate::key;
use crate::session::{Actor, Said, Session, say, say_secret};

impl Session {
    pub(crate) async fn prepare(&mut self, actor: &Actor) -> Said {
        let me = actor.own()?;
        let sheet = self.codes.prepare(me, &actor.context).await?;
        let text = sheet.expose().text(&wording(&sheet, me));
        self.sheet = Some(sheet);
        let advice = "\nIt is shown this once: save it (sheet export FILE), then type activate.";
        say_secret(&[&text, advice])
    }

    /// Writes the sheet prepared last to a file, and forgets it.
    pub(crate) fn export(&mut self, file: &str, actor: &Actor) -> Said {
        let me = actor.own()?;
        let sheet = self.sheet.as_ref().ok_or_else(|| {
            Failure::new(
                "there is no sheet to write, because each is shown once: type prepare first",
            )
        })?;
        let text = sheet.expose().text(&wording(sheet, me));
        if !key::save(Path::new(file), text.as_bytes())? {
            return Err(Failure::new(
                "this file exists and is left as it is: type another name",
            ));
        }
        self.sheet = None;
        say("wrote the sheet; it is not shown again")
    }

    pub(crate) async fn activate(&self, typed: &str, actor: &Actor) -> Said {
        let (me, cx) = (actor.own()?, &actor.context);
        let set = self.prepared(me, actor).await?;
        let activation = match typed {
            "" => self.codes.activate(me, set, cx).await?,
            typed => self.codes.activate_confirmed(me, set, typed, cx).await?,
        };
        match activation {
            Activation::Activated(notice) => say(format!("the sheet is active{}", mail(&notice))),
            Activation::AlreadyActive => say("the sheet is already active"),
            Activation::NoSuchSet => Err(nothing_prepared()),
            Activation::WrongConfirmation => Err(Failure::new(
                "this code is not on the new sheet, and nothing changed: type activate CODE",
            )),
            Activation::NotACode(hint) => Err(Failure::new(hint.to_string())),
        }
    }

    pub(crate) async fn discard(&mut self, actor: &Actor) -> Said {
        let me = actor.own()?;
        let set = self.prepared(me, actor).await?;
        match self.codes.discard(me, set, &actor.context).await? {
            Effect::Done => {
                self.sheet = None;
                say("the prepared sheet is discarded")
            }
            // Another console activated or discarded the sheet first.
            Effect::Nothing => Err(nothing_prepared()),
        }
    }

    /// Returns the set that waits to be activated. It is in the repository, so it survives a
    /// restart.
    async fn prepared(&self, me: &Subject, actor: &Actor) -> Result<SetId, Failure> {
        let prepared = self.codes.status(me, &actor.context).await?.prepared;
        Ok(prepared.ok_or_else(nothing_prepared)?.set)
    }
}

fn wording(sheet: &Sheet, me: &Subject) -> Wording {
    Wording::english(sheet, "this console", &me.id().to_string())
}

fn nothing_prepared() -> Failure {
    Failure::new("there is no prepared sheet, or it is older than an hour: type prepare first")
}
