//! Profile, two-factor authentication, authenticator app.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use backup_codes::{Effect, RevokeReason};
use rand_core::TryRng as _;
use totp_rs::{Builder, Secret, Totp};

use crate::app::App;
use crate::error_pages::{PageError, minutes};
use crate::frame::{Frame, done, draw, not_done};
use crate::login::CodeForm;
use crate::password_tries::{FreshPassword, WRONG_PASSWORD, is_users_own};
use crate::session::{SecondFactor, SignedIn, end_other_sessions};
use crate::users::User;

const PROFILE: &str = "/profile";

#[derive(Template)]
#[template(path = "authenticator.html")]
struct SecretPage<'a> {
    frame: Frame,
    user: &'a str,
    site: &'a str,
    secret: &'a str,
}

/// Makes a secret and shows it. The secret is active once a code of the app confirms it.
pub(crate) async fn prepare(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<FreshPassword>,
) -> Result<Response, PageError> {
    if !is_users_own(&app, &visitor, &form.password).await? {
        return not_done(&visitor, WRONG_PASSWORD, PROFILE).await;
    }
    let mut bytes = [0; 20];
    getrandom::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| PageError::broken(&error))?;
    let secret = Secret::from(bytes).to_base32();
    if !app.users.prepare_totp(&visitor.user.id, &secret).await? {
        return not_done(&visitor, "Remove the authenticator app first.", PROFILE).await;
    }
    draw(&SecretPage {
        frame: Frame::of(&app, &visitor, "profile").await?,
        user: &visitor.user.id,
        site: &app.site,
        secret: &secret,
    })
}

pub(crate) async fn activate(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<CodeForm>,
) -> Result<Response, PageError> {
    let user = &visitor.user;
    if let Err(wait) = begin_try(&app, user) {
        let text = format!("Too many codes were tried. Try again in {}.", minutes(wait));
        return not_done(&visitor, text, PROFILE).await;
    }
    let pending = user.totp_pending.as_deref();
    let accepted = accepts(&app, user, pending, &form.code).await?;
    let Some(secret) = pending.filter(|_| accepted) else {
        let text =
            "This is not the app's current code. Nothing was changed: wait for the next one.";
        return not_done(&visitor, text, PROFILE).await;
    };
    if app.users.activate_totp(&user.id, secret).await? {
        end_other_sessions(&app, &visitor, SecondFactor::Shown).await?;
        tracing::info!(user = %user.subject().id(), "authenticator app set up");
        done(&visitor, "The authenticator app is set up.", PROFILE).await
    } else {
        not_done(&visitor, "There is a newer secret: use that one.", PROFILE).await
    }
}

/// Removes the app, and with it the codes that stand in for it.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(form): Form<FreshPassword>,
) -> Result<Response, PageError> {
    if !is_users_own(&app, &visitor, &form.password).await? {
        return not_done(&visitor, WRONG_PASSWORD, PROFILE).await;
    }
    if visitor.user.totp_secret.is_none() {
        return not_done(&visitor, "There is no authenticator app.", PROFILE).await;
    }
    // Revokes the codes first: if the second write fails, there is one factor too many, not one too
    // few.
    let reason = RevokeReason::FactorRemoved;
    let revoked = app
        .codes
        .revoke_all(&visitor.subject, reason, &visitor.context)
        .await?;
    if let Some(notice) = revoked {
        app.tell(&notice);
    }
    app.users.remove_totp(&visitor.user.id).await?;
    end_other_sessions(&app, &visitor, SecondFactor::NotYet).await?;
    tracing::info!(user = %visitor.subject.id(), "authenticator app removed");
    let text = "The authenticator app is removed, and your backup codes are revoked.";
    done(&visitor, text, PROFILE).await
}

/// Counts an attempt of an app's code, for a quarter of an hour. `Err` is the time to wait.
pub(crate) fn begin_try(app: &App, user: &User) -> Result<(), Duration> {
    app.authenticator_tries.begin(&user.id, app.now())
}

/// Forgets wrong codes of a user's app, if any are counted.
pub(crate) async fn unlock(app: &App, user: &User, by: &User) -> Result<Effect, PageError> {
    let recent = app.authenticator_tries.clear(&user.id);
    let in_a_row = app.users.clear_totp_tries(&user.id).await?;
    if [recent, in_a_row] == [Effect::Nothing; 2] {
        return Ok(Effect::Nothing);
    }
    let (user, by) = (user.subject(), by.subject());
    tracing::info!(user = %user.id(), by = %by.id(), "tries of the authenticator app cleared");
    Ok(Effect::Done)
}

/// Returns whether this is a code of the app with this secret, not used before.
pub(crate) async fn accepts(
    app: &App,
    user: &User,
    secret: Option<&str>,
    typed: &str,
) -> Result<bool, PageError> {
    let Some(totp) = secret.and_then(totp) else {
        return Ok(false);
    };
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let seconds = u64::try_from(app.now().unix_millis() / 1000).unwrap_or(0);
    let step = totp
        .check(&digits, seconds)
        .and_then(|step| step.try_into().ok());
    let right = match step {
        Some(step) => {
            let used = app.users.use_totp_step(&user.id, step).await;
            // Without a verdict the attempt does not count; in the count of wrong codes in a row it
            // stays, because the database cannot be reached.
            used.inspect_err(|_| app.authenticator_tries.take_back(&user.id))?
        }
        None => false,
    };
    if right {
        let _ = app.authenticator_tries.clear(&user.id);
    } else {
        tracing::warn!(user = %user.subject().id(), "wrong code of an authenticator app");
    }
    Ok(right)
}

fn totp(secret: &str) -> Option<Totp> {
    let secret = Secret::try_from_base32(secret).ok()?;
    Builder::new().with_secret(secret).build().ok()
}
