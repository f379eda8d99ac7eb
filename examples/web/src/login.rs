//! Logging in: the password, then a second factor where one was set up.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use backup_codes::Redeem;
use backup_codes::code::NotACode;
use backup_codes::outcome::{Level, Receipt, Refusal};
use backup_codes::policy::{Action, Decision};
use serde::Deserialize;
use tower_sessions::Session;
use zeroize::Zeroizing;

use crate::app::App;
use crate::authenticator_page;
use crate::error_pages::{PageError, minutes};
use crate::frame::{Frame, done, draw, not_done};
use crate::password_tries::{Place, password_is_right};
use crate::session::{
    Circumstances, HalfWay, SecondFactor, Step, Visitor, has_second_factor, leave_flash,
    session_user, sign_in, take_flash,
};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: Frame,
    user: &'a str,
}

#[derive(Template)]
#[template(path = "second.html")]
struct SecondPage {
    frame: Frame,
    name: String,
    authenticator: bool,
}

#[derive(Deserialize)]
pub(crate) struct PasswordForm {
    user: String,
    password: Zeroizing<String>,
}

#[derive(Deserialize)]
pub(crate) struct CodeForm {
    pub(crate) code: Zeroizing<String>,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    session: Session,
) -> Result<Response, PageError> {
    if let Some((_, step)) = session_user(&app, &session).await? {
        let on = match step {
            Step::Password => "/login/second",
            Step::Complete => "/profile",
        };
        return Ok(Redirect::to(on).into_response());
    }
    let flash = take_flash(&session).await?;
    draw(&LoginPage {
        frame: Frame {
            flash,
            ..Frame::default()
        },
        user: "",
    })
}

/// Handles the first step, the password. An error does not say which of name and password is wrong,
/// and an unknown name takes as long as a known one.
pub(crate) async fn password(
    State(app): State<Arc<App>>,
    session: Session,
    circumstances: Circumstances,
    Form(form): Form<PasswordForm>,
) -> Result<Response, PageError> {
    let name = form.user.trim();
    let user = app.users.find(name).await?;
    let hash = user.as_ref().map(|user| &*user.password);
    let place = Place::Login(circumstances.address);
    let right = password_is_right(&app, name, place, &form.password, hash).await?;
    let Some(user) = user.filter(|_| right) else {
        let page = LoginPage {
            frame: Frame::default().saying(false, "The user name or the password is wrong."),
            user: name,
        };
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, draw(&page)?).into_response());
    };
    let context = circumstances.context(&user.subject());
    let status = app.codes.status(&user.subject(), &context).await?;
    if has_second_factor(&user, &status) {
        sign_in(&app, &session, &user, Step::Password, SecondFactor::NotYet).await?;
        return Ok(Redirect::to("/login/second").into_response());
    }
    sign_in(&app, &session, &user, Step::Complete, SecondFactor::NotYet).await?;
    leave_flash(&session, true, "You are logged in.").await?;
    Ok(Redirect::to("/profile").into_response())
}

pub(crate) async fn show_second(HalfWay(visitor): HalfWay) -> Result<Response, PageError> {
    // The user is not signed in yet, so the frame has no navigation.
    let frame = Frame {
        flash: take_flash(&visitor.session).await?,
        ..Frame::default()
    };
    draw(&SecondPage {
        frame,
        name: visitor.user.name,
        authenticator: visitor.user.totp_secret.is_some(),
    })
}

/// Handles the second step with a backup code.
pub(crate) async fn code(
    State(app): State<Arc<App>>,
    HalfWay(visitor): HalfWay,
    Form(form): Form<CodeForm>,
) -> Result<Response, PageError> {
    let Visitor {
        subject, context, ..
    } = &visitor;
    match app.codes.redeem(subject, &form.code, context).await? {
        Redeem::Accepted(receipt) => {
            app.tell(receipt.notice());
            sign_in(
                &app,
                &visitor.session,
                &visitor.user,
                Step::Complete,
                SecondFactor::Shown,
            )
            .await?;
            let may_prepare = app.would_allow(subject, Action::Prepare) == Decision::Allow;
            let text = welcome(&receipt, may_prepare);
            done(&visitor, text, "/profile/backup-codes").await
        }
        Redeem::Refused(refusal) => {
            if let Some(notice) = refusal.notice() {
                app.tell(notice);
            }
            not_done(&visitor, refused(&refusal), "/login/second").await
        }
        Redeem::NotACode(hint) => not_done(&visitor, not_a_code(hint), "/login/second").await,
    }
}

/// Handles the second step with a code of the authenticator app.
pub(crate) async fn authenticator(
    State(app): State<Arc<App>>,
    HalfWay(visitor): HalfWay,
    Form(form): Form<CodeForm>,
) -> Result<Response, PageError> {
    let user = &visitor.user;
    if let Err(wait) = authenticator_page::begin_try(&app, user) {
        let wait = minutes(wait);
        let text = format!(
            "Too many codes of the app were tried. Try again in {wait}, or use a backup code."
        );
        return not_done(&visitor, text, "/login/second").await;
    }
    let begun = app.users.begin_totp_try(&user.id).await;
    if !begun.inspect_err(|_| app.authenticator_tries.take_back(&user.id))? {
        let text = "A hundred codes of the app in a row were wrong: the app no longer gives access. Use \
                    a backup code, or ask an administrator to unlock you.";
        return not_done(&visitor, text, "/login/second").await;
    }
    let secret = user.totp_secret.as_deref();
    if !authenticator_page::accepts(&app, user, secret, &form.code).await? {
        let text = "This code was not accepted. Wait for the app's next one and type that.";
        return not_done(&visitor, text, "/login/second").await;
    }
    sign_in(
        &app,
        &visitor.session,
        &visitor.user,
        Step::Complete,
        SecondFactor::Shown,
    )
    .await?;
    done(&visitor, "You are logged in.", "/profile").await
}

pub(crate) async fn logout(session: Session) -> Result<Redirect, PageError> {
    session.flush().await?;
    Ok(Redirect::to("/login"))
}

fn welcome(receipt: &Receipt, may_prepare: bool) -> String {
    let left = match receipt.remaining() {
        0 => "no code".to_owned(),
        1 => "1 code".to_owned(),
        left => format!("{left} codes"),
    };
    let spent = match receipt.slot() {
        0 => "The override code is spent.".to_owned(),
        slot => format!("Code {slot} is spent, {left} left."),
    };
    let advice = match receipt.level() {
        Level::Ok => "",
        Level::Low if may_prepare => " Few are left: make a new sheet soon.",
        Level::Exhausted if may_prepare => " Make a new sheet now.",
        Level::Low | Level::Exhausted => "",
    };
    format!("You are logged in. {spent}{advice}")
}

/// Returns what a caller who knows the password may be told (NIST SP 800-63B-4, 8.1.1): one text
/// for every reason, the attempts left, the time to wait.
pub(crate) fn refused(refusal: &Refusal) -> String {
    if let Some(wait) = refusal.wait() {
        return format!("{refusal} Too many wrong codes: wait {}.", minutes(wait));
    }
    match refusal.tries_left() {
        Some(0) => format!("{refusal} No tries are left."),
        Some(1) => format!("{refusal} 1 try is left."),
        Some(tries) => format!("{refusal} {tries} tries are left."),
        None => refusal.to_string(),
    }
}

/// Returns the hint as a sentence.
pub(crate) fn not_a_code(hint: NotACode) -> String {
    let text = hint.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!(
        "{first}{}. This was not counted as a wrong code.",
        letters.as_str()
    )
}
