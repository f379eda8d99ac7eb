//! The page of one user, as an administrator sees it.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use askama::filters::urlencode_strict;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use backup_codes::{Effect, RevokeReason, Subject};
use serde::Deserialize;

use crate::app::App;
use crate::authenticator_page;
use crate::backup_codes_page::CodesView;
use crate::error_pages::PageError;
use crate::frame::{Frame, done, draw, draw_secret, not_done};
use crate::session::{SignedIn, Visitor};
use crate::users::User;
use crate::zone::Moment;

/// The lifetimes of an override code on offer, in minutes.
const LIFETIMES: [(u32, &str); 3] = [(60, "1 hour"), (8 * 60, "8 hours"), (24 * 60, "1 day")];

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage {
    frame: Frame,
    user: User,
    codes: CodesView,
    lifetimes: &'static [(u32, &'static str)],
    oneself: bool,
}

#[derive(Template)]
#[template(path = "override.html")]
struct OverridePage<'a> {
    frame: Frame,
    user: &'a User,
    code: &'a str,
    expires: Moment,
}

#[derive(Deserialize)]
pub(crate) struct RevokeForm {
    sure: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct OverrideForm {
    minutes: u32,
}

fn page_of(user: &User) -> String {
    // Encoding text cannot fail.
    let Ok(id) = urlencode_strict(&user.id);
    format!("/settings/backup-codes/users/{id}")
}

/// Returns the user of the address to a caller who may see reports. Other callers do not learn
/// which users exist.
async fn target(app: &App, visitor: &Visitor, id: &str) -> Result<(User, Subject), PageError> {
    app.codes.authorize_reports(&visitor.context).await?;
    let user = app.users.find(id).await?.ok_or_else(PageError::not_found)?;
    let subject = user.subject();
    Ok((user, subject))
}

/// Returns the user of the address, unless it is the caller's own account: to revoke one's own
/// codes takes the password.
async fn other_user(app: &App, visitor: &Visitor, id: &str) -> Result<(User, Subject), PageError> {
    let target = target(app, visitor, id).await?;
    if target.0.id == visitor.user.id {
        let text =
            "This is your own account: revoke your codes on your profile, with your password.";
        return Err(PageError::new(StatusCode::FORBIDDEN, text));
    }
    Ok(target)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (user, subject) = target(&app, &visitor, &id).await?;
    let status = app.codes.status(&subject, &visitor.context).await?;
    draw(&UserPage {
        frame: Frame::of(&app, &visitor, "settings").await?,
        codes: CodesView::new(status, &app.zone),
        lifetimes: &LIFETIMES,
        oneself: visitor.user.id == user.id,
        user,
    })
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<String>,
    Form(form): Form<RevokeForm>,
) -> Result<Response, PageError> {
    let (user, subject) = other_user(&app, &visitor, &id).await?;
    if form.sure.is_none() {
        return not_done(&visitor, "Tick the box if you are sure.", &page_of(&user)).await;
    }
    let reason = RevokeReason::Administrative;
    match app
        .codes
        .revoke_all(&subject, reason, &visitor.context)
        .await?
    {
        Some(notice) => {
            app.tell(&notice);
            app.users.end_sessions(&user.id).await?;
            let text = format!("All backup codes of {} are invalid.", user.name);
            done(&visitor, text, &page_of(&user)).await
        }
        None => {
            let text = format!("{} had no backup codes to revoke.", user.name);
            done(&visitor, text, &page_of(&user)).await
        }
    }
}

pub(crate) async fn unlock(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (user, subject) = target(&app, &visitor, &id).await?;
    let codes = app.codes.unlock(&subject, &visitor.context).await?;
    let authenticator = authenticator_page::unlock(&app, &user, &visitor.user).await?;
    let text = if [codes, authenticator].contains(&Effect::Done) {
        format!("The wrong codes counted against {} are cleared.", user.name)
    } else {
        format!("No wrong codes were counted against {}.", user.name)
    };
    done(&visitor, text, &page_of(&user)).await
}

/// Issues an override code and shows it in this response, as a sheet is shown.
pub(crate) async fn issue_override(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<String>,
    Form(form): Form<OverrideForm>,
) -> Result<Response, PageError> {
    let (user, subject) = target(&app, &visitor, &id).await?;
    let lifetime = Duration::from_secs(u64::from(form.minutes) * 60);
    let issued = app
        .codes
        .issue_override(&subject, lifetime, &visitor.context)
        .await?;
    app.tell(issued.notice());
    draw_secret(&OverridePage {
        frame: Frame::of(&app, &visitor, "settings").await?,
        user: &user,
        code: &issued.expose(),
        expires: app.zone.moment(issued.expires_at()),
    })
}

pub(crate) async fn revoke_override(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (user, subject) = other_user(&app, &visitor, &id).await?;
    let text = match app
        .codes
        .revoke_override(&subject, &visitor.context)
        .await?
    {
        Effect::Done => "The override code is revoked.",
        Effect::Nothing => {
            "There was no override code to revoke: it was used, revoked or purged before."
        }
    };
    done(&visitor, text, &page_of(&user)).await
}
