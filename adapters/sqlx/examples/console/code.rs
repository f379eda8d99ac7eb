//! The commands for single codes.

use std::time::Duration;

use backup_codes::outcome::{Refusal, Reissue};
use backup_codes::{Burn, Check, Notice, Redeem, RevokeReason};

use crate::failure::Failure;
use crate::session::{Actor, Said, Session, say, say_secret};

impl Session {
    pub(crate) async fn redeem(&self, typed: &str, actor: &Actor) -> Said {
        match self
            .codes
            .redeem(actor.own()?, typed, &actor.context)
            .await?
        {
            Redeem::Accepted(receipt) => {
                let advice = match receipt.reissue() {
                    Reissue::NotNeeded => "",
                    Reissue::Suggested => "; few are left: type prepare soon",
                    Reissue::Required => "; type prepare for a new sheet now",
                };
                let (slot, left) = (receipt.slot(), receipt.remaining());
                let mail = mail(receipt.notice());
                say(format!("accepted code {slot}, {left} left{advice}{mail}"))
            }
            Redeem::Refused(refusal) => Err(refused(&refusal)),
            Redeem::NotACode(hint) => Err(Failure::new(hint.to_string())),
        }
    }

    pub(crate) async fn check(&self, typed: &str, actor: &Actor) -> Said {
        match self
            .codes
            .check(actor.own()?, typed, &actor.context)
            .await?
        {
            Check::Valid(slot) => say(format!("code {slot} is valid and unused")),
            Check::Refused(refusal) => Err(refused(&refusal)),
            Check::NotACode(hint) => Err(Failure::new(hint.to_string())),
        }
    }

    pub(crate) async fn burn(&self, typed: &str, actor: &Actor) -> Said {
        match self.codes.burn(actor.own()?, typed, &actor.context).await? {
            Burn::Done(notice) => {
                let mail = notice.as_ref().map(mail).unwrap_or_default();
                say(format!(
                    "if this was a code of yours, it is invalid now{mail}"
                ))
            }
            Burn::Refused(refusal) => Err(refused(&refusal)),
            Burn::NotACode(hint) => Err(Failure::new(hint.to_string())),
        }
    }

    pub(crate) async fn issue_override(&self, name: &str, minutes: u32, actor: &Actor) -> Said {
        let user = self.accounts.named(name).await?;
        let lifetime = Duration::from_secs(60 * u64::from(minutes));
        let issued = self
            .codes
            .issue_override(&user, lifetime, &actor.context)
            .await?;
        let (code, until) = (issued.expose(), issued.expires_at());
        let mail = mail(issued.notice());
        let rest = format!(" is shown this once, and works once until {until}{mail}");
        say_secret(&[&code, &rest])
    }

    pub(crate) async fn revoke(&self, name: Option<&str>, actor: &Actor) -> Said {
        let (user, reason) = match name {
            Some(name) => (
                self.accounts.named(name).await?,
                RevokeReason::Administrative,
            ),
            None => (actor.own()?.clone(), RevokeReason::UserRequest),
        };
        let revoked = self.codes.revoke_all(&user, reason, &actor.context).await?;
        match revoked {
            Some(notice) => say(format!("all codes are invalid{}", mail(&notice))),
            None => say("there were no codes"),
        }
    }
}

/// Returns the text of a refusal for a caller who has passed the first factor: never the reason.
fn refused(refusal: &Refusal) -> Failure {
    let mut text = refusal.to_string();
    if let Some(wait) = refusal.wait() {
        text += &format!(" Locked for {} minutes.", wait.as_secs().div_ceil(60));
    } else if let Some(tries) = refusal.tries_left() {
        text += &format!(" {tries} tries left.");
    }
    Failure::new(text + &refusal.notice().map(mail).unwrap_or_default())
}

/// Returns the message that an application sends over another channel.
pub(crate) fn mail(notice: &Notice) -> String {
    format!(" (mail to {}: {:?})", notice.user, notice.kind)
}
