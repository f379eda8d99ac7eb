//! Profile, two-factor authentication, backup codes.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use backup_codes::audit::Reason;
use backup_codes::policy::{Action, Decision, Denial};
use backup_codes::{Activation, Check, Effect, RevokeReason, SetId, Sheet, Status, Wording};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::error_pages::PageError;
use crate::frame::{Frame, done, draw, draw_secret, not_done, wiped_when_sent};
use crate::login::{CodeForm, not_a_code, refused};
use crate::password_tries::{FreshPassword, WRONG_PASSWORD, is_users_own};
use crate::session::{
    SecondFactor, SignedIn, Visitor, end_other_sessions, has_prepared, note_prepared,
};
use crate::zone::{Moment, Zone};

const PAGE: &str = "/profile/backup-codes";

/// The longest text accepted for a download, longer than any sheet.
const LONGEST_SHEET: usize = 8 * 1024;

/// A user's codes as pages show them.
#[derive(Debug)]
pub(crate) struct CodesView {
    pub(crate) status: Status,
    pub(crate) label: String,
    pub(crate) made: Option<Moment>,
    pub(crate) expires: Option<Moment>,
    pub(crate) locked: Option<Moment>,
    pub(crate) last_used: Option<Moment>,
    pub(crate) override_until: Option<Moment>,
    pub(crate) slots: Vec<Slot>,
    /// The reason why none of the codes is accepted, if none is.
    pub(crate) not_in_force: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) number: u8,
    pub(crate) used: Option<Moment>,
    pub(crate) void: bool,
}

impl CodesView {
    pub(crate) fn new(status: Status, zone: &Zone) -> Self {
        let moment = |at| zone.moment(at);
        Self {
            label: status.label.clone().unwrap_or_default(),
            made: status.activated_at.map(moment),
            expires: status.expires_at.map(moment),
            locked: status.locked_until.map(moment),
            last_used: status.last_used_at.map(moment),
            override_until: status.override_until.map(moment),
            slots: status
                .slots
                .iter()
                .map(|slot| Slot {
                    number: slot.slot,
                    used: slot.used_at.map(moment),
                    void: slot.burned_at.is_some(),
                })
                .collect(),
            not_in_force: status.not_in_force.map(why_not_in_force),
            status,
        }
    }
}

/// Returns what a user is told of a sheet whose codes are refused.
fn why_not_in_force(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "the sheet has expired. Make a new one.",
        Reason::Void => "the sheet may be older than the last restored backup. Make a new one.",
        Reason::FormatNotAccepted => {
            "codes of this format are no longer accepted. Make a new sheet."
        }
        _ => "they cannot be checked at the moment. Tell an administrator, or make a new sheet.",
    }
}

/// A sheet that was shown and not confirmed.
#[derive(Debug)]
struct Prepared {
    set: String,
    label: String,
    made: Moment,
}

#[derive(Template)]
#[template(path = "backup_codes.html")]
struct CodesPage {
    frame: Frame,
    codes: CodesView,
    prepared: Option<Prepared>,
    /// The reason why the user may not make new codes.
    denied: Option<&'static str>,
    may_check: bool,
    /// True if an authenticator app is left when the codes are revoked.
    authenticator: bool,
}

#[derive(Template)]
#[template(path = "sheet.html")]
struct SheetPage<'a> {
    frame: Frame,
    set: String,
    label: String,
    account: &'a str,
    site: &'a str,
    made: Moment,
    codes: Vec<(u8, &'a str)>,
    /// The sheet as text, for the buttons that copy and save it.
    text: &'a str,
    replaces: bool,
}

#[derive(Deserialize)]
pub(crate) struct SetForm {
    set: String,
}

#[derive(Deserialize)]
pub(crate) struct DownloadForm {
    set: String,
    text: Zeroizing<String>,
}

/// Returns the reason, as a sentence, why a user may not make codes.
fn sentence(denial: Denial) -> &'static str {
    match denial {
        Denial::SwitchedOff => "Backup codes are switched off for this site.",
        Denial::RoleNotPermitted => {
            "Your role does not include backup codes. An administrator decides which roles do."
        }
        _ => "Backup codes cannot be made at this moment.",
    }
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
) -> Result<Response, PageError> {
    let frame = Frame::of(&app, &visitor, "profile").await?;
    let status = app.codes.status(&visitor.subject, &visitor.context).await?;
    let prepared = status.prepared.as_ref().map(|prepared| Prepared {
        set: prepared.set.to_string(),
        label: prepared.label.clone(),
        made: app.zone.moment(prepared.prepared_at),
    });
    let denied = match app.would_allow(&visitor.subject, Action::Prepare) {
        Decision::Allow => None,
        Decision::Deny(denial) => Some(sentence(denial)),
    };
    draw(&CodesPage {
        frame,
        prepared,
        denied,
        may_check: app.would_allow(&visitor.subject, Action::Check) == Decision::Allow,
        authenticator: visitor.user.totp_secret.is_some(),
        codes: CodesView::new(status, &app.zone),
    })
}

/// Makes a sheet and shows it in this response: a redirect would have to keep the codes somewhere.
/// The form sent again makes another sheet, and the one before becomes invalid.
pub(crate) async fn prepare(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<FreshPassword>,
) -> Result<Response, PageError> {
    if !is_users_own(&app, &visitor, &form.password).await? {
        return not_done(&visitor, WRONG_PASSWORD, PAGE).await;
    }
    let Visitor {
        subject, context, ..
    } = &visitor;
    let sheet = app.codes.prepare(subject, context).await?;
    note_prepared(&visitor.session, sheet.id()).await?;
    let replaces = app.codes.status(subject, context).await?.set.is_some();
    let made = app.zone.moment(sheet.prepared_at());
    let wording = wording(&sheet, &app, &visitor, &made);
    let text = sheet.expose().text(&wording);
    let codes: Vec<_> = sheet.expose().codes().collect();
    draw_secret(&SheetPage {
        frame: Frame::of(&app, &visitor, "profile").await?,
        set: sheet.id().to_string(),
        label: sheet.label(),
        account: &visitor.user.id,
        site: &app.site,
        made,
        codes: codes.iter().map(|(slot, code)| (*slot, &***code)).collect(),
        text: &text,
        replaces,
    })
}

/// Returns the words of the exported sheet. Its times are those of the page; the crate's own are in
/// UTC.
fn wording(sheet: &Sheet, app: &App, visitor: &Visitor, made: &Moment) -> Wording {
    let mut facts = vec![
        format!("Account: {}", visitor.user.id),
        format!("Sheet:   {}", sheet.label()),
        format!("Made on: {}", made.text),
    ];
    let expires = sheet.expires_at().map(|at| app.zone.moment(at).text);
    facts.extend(expires.map(|expires| format!("Valid until: {expires}")));
    Wording {
        facts,
        ..Wording::english(sheet, &app.site, &visitor.user.id)
    }
}

/// Returns a sheet's text as a file. The server does not keep the codes; the page that showed them
/// sends them.
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<DownloadForm>,
) -> Result<Response, PageError> {
    let set = set_id(&form.set)?;
    let status = app.codes.status(&visitor.subject, &visitor.context).await?;
    let known = status.set == Some(set) || status.prepared.is_some_and(|it| it.set == set);
    if !known || form.text.len() > LONGEST_SHEET {
        return Err(PageError::unprocessable(
            "This is not your latest sheet, and its codes are invalid. Make a new one.",
        ));
    }
    let name = format!("attachment; filename=\"backup-codes-{}.txt\"", set.label());
    let name = HeaderValue::try_from(name).map_err(|error| PageError::broken(&error))?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (header::CONTENT_DISPOSITION, name),
    ];
    // Forms end lines with CR LF. The text only gets shorter, so its memory is never reallocated.
    let mut text = Zeroizing::new(String::with_capacity(form.text.len()));
    for (number, line) in form.text.split("\r\n").enumerate() {
        if number > 0 {
            text.push('\n');
        }
        text.push_str(line);
    }
    Ok((headers, wiped_when_sent(text)).into_response())
}

pub(crate) async fn activate(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<SetForm>,
) -> Result<Response, PageError> {
    let set = set_id(&form.set)?;
    let activation = app
        .codes
        .activate(&visitor.subject, set, &visitor.context)
        .await?;
    let label = set.label();
    match activation {
        Activation::Activated(notice) => {
            app.tell(&notice);
            // A session that showed the codes has shown a second factor. Another session made by
            // the password alone may be an attacker's: it ends, and no other does.
            if has_prepared(&visitor.session, set).await? {
                end_other_sessions(&app, &visitor, SecondFactor::Shown).await?;
            }
            let text = format!("Sheet {label} is active now. Codes of older sheets are invalid.");
            done(&visitor, text, PAGE).await
        }
        Activation::AlreadyActive => {
            let text = format!("Sheet {label} is already active.");
            done(&visitor, text, PAGE).await
        }
        _ => {
            let text = format!(
                "Sheet {label} cannot be activated: it was replaced or discarded, is older than an \
                 hour, or is no longer accepted. Throw it away."
            );
            not_done(&visitor, text, PAGE).await
        }
    }
}

pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<SetForm>,
) -> Result<Response, PageError> {
    let set = set_id(&form.set)?;
    let effect = app
        .codes
        .discard(&visitor.subject, set, &visitor.context)
        .await?;
    let label = set.label();
    if effect == Effect::Done {
        let text = format!("Sheet {label} is discarded. Throw it away.");
        return done(&visitor, text, PAGE).await;
    }
    // Another tab may have activated the sheet meanwhile: then the user must keep it.
    let status = app.codes.status(&visitor.subject, &visitor.context).await?;
    let text = if status.set == Some(set) {
        format!("Sheet {label} was not discarded: it is active. Keep it.")
    } else {
        format!("Sheet {label} was discarded, replaced or purged before. Throw it away.")
    };
    not_done(&visitor, text, PAGE).await
}

/// Revokes every code. A stolen session must not be able to remove a second factor, so the form
/// asks for the password.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<FreshPassword>,
) -> Result<Response, PageError> {
    if !is_users_own(&app, &visitor, &form.password).await? {
        return not_done(&visitor, WRONG_PASSWORD, PAGE).await;
    }
    let reason = RevokeReason::UserRequest;
    match app
        .codes
        .revoke_all(&visitor.subject, reason, &visitor.context)
        .await?
    {
        Some(notice) => {
            app.tell(&notice);
            let second_factor = match visitor.user.totp_secret {
                Some(_) => SecondFactor::Shown,
                None => SecondFactor::NotYet,
            };
            end_other_sessions(&app, &visitor, second_factor).await?;
            let text = "All your backup codes are invalid. You are logged out everywhere else.";
            done(&visitor, text, PAGE).await
        }
        None => done(&visitor, "There were no backup codes to revoke.", PAGE).await,
    }
}

/// Checks a code without consuming it.
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<CodeForm>,
) -> Result<Response, PageError> {
    let Visitor {
        subject, context, ..
    } = &visitor;
    match app.codes.check(subject, &form.code, context).await? {
        Check::Valid(0) => done(&visitor, "Your override code is valid and unused.", PAGE).await,
        Check::Valid(slot) => {
            let text = format!("Code {slot} is valid and unused.");
            done(&visitor, text, PAGE).await
        }
        Check::Refused(refusal) => {
            if let Some(notice) = refusal.notice() {
                app.tell(notice);
            }
            not_done(&visitor, refused(&refusal), PAGE).await
        }
        Check::NotACode(hint) => not_done(&visitor, not_a_code(hint), PAGE).await,
    }
}

fn set_id(text: &str) -> Result<SetId, PageError> {
    text.parse().map_err(|_| {
        PageError::unprocessable("The form does not name a sheet. Go back and try again.")
    })
}
