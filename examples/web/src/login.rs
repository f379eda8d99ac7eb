//! Logging in: the password, then a second factor where one was set up.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use backup_codes::{Context, Level, NotACode, Receipt, Redeem, Refusal};
use serde::Deserialize;
use tower_sessions::Session;

use crate::app::App;
use crate::authenticator_page;
use crate::error_pages::{PageError, minutes};
use crate::frame::{Frame, done, draw, not_done};
use crate::passwords::PasswordError;
use crate::session::{
    Circumstances, HalfWay, SecondFactor, Step, Visitor, leave_flash, sign_in, take_flash, whoever,
};
use crate::throttle::Throttle;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: Frame,
    user: &'a str,
    refused: bool,
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
    password: String,
}

#[derive(Deserialize)]
pub(crate) struct CodeForm {
    pub(crate) code: String,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    session: Session,
) -> Result<Response, PageError> {
    if let Some((_, step)) = whoever(&app, &session).await? {
        let on = match step {
            Step::Password => "/login/second",
            Step::Complete => "/profile",
        };
        return Ok(Redirect::to(on).into_response());
    }
    draw(&LoginPage {
        frame: Frame::default(),
        user: "",
        refused: false,
    })
}

/// The first step. What is wrong is not said, and an unknown name costs what a known one does.
pub(crate) async fn password(
    State(app): State<Arc<App>>,
    session: Session,
    Circumstances(context): Circumstances,
    Form(form): Form<PasswordForm>,
) -> Result<Response, PageError> {
    let name = form.user.trim();
    let user = app.users.find(name).await?;
    let hash = user.as_ref().map(|user| &*user.password);
    let place = Place::of(&context);
    let right = password_is_right(&app, name, place, &form.password, hash).await?;
    let Some(user) = user.filter(|_| right) else {
        let page = LoginPage {
            frame: Frame::default(),
            user: name,
            refused: true,
        };
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, draw(&page)?).into_response());
    };
    let context = context.by(&user.subject());
    if app.has_second_factor(&user, &context).await? {
        sign_in(&app, &session, &user, Step::Password, SecondFactor::NotYet).await?;
        return Ok(Redirect::to("/login/second").into_response());
    }
    sign_in(&app, &session, &user, Step::Complete, SecondFactor::NotYet).await?;
    leave_flash(&session, true, "You are signed in.").await?;
    Ok(Redirect::to("/profile").into_response())
}

/// Where a password is typed. Who guesses from somewhere, or from everywhere, does not use up the
/// tries of people elsewhere, or of those who are signed in.
pub(crate) enum Place {
    /// The login form, from this address or its neighbours.
    Login(Option<IpAddr>),
    /// A page of somebody who is signed in.
    SignedIn,
}

impl Place {
    fn of(context: &Context) -> Self {
        Self::Login(context.address())
    }

    /// What tries are counted by. A /64 is one household's or one machine's.
    fn key(&self, name: &str) -> String {
        match self {
            Self::Login(Some(IpAddr::V6(address))) => {
                format!("{:x} {name}", address.to_bits() >> 64)
            }
            Self::Login(Some(IpAddr::V4(address))) => format!("{address} {name}"),
            Self::Login(None) => format!("nowhere {name}"),
            Self::SignedIn => format!("here {name}"),
        }
    }
}

/// Compares a password, under the limits on tries.
pub(crate) async fn password_is_right(
    app: &App,
    name: &str,
    place: Place,
    typed: &str,
    hash: Option<&str>,
) -> Result<bool, PageError> {
    let key = place.key(name);
    let begin =
        |tries: &Throttle, key: &str| tries.begin(key, app.now()).map_err(PageError::too_many);
    begin(&app.password_tries, &key)?;
    if matches!(place, Place::Login(_)) {
        begin(&app.password_tries_in_all, name)?;
    }
    let verified = app.passwords.verify(typed, hash).await;
    match &verified {
        Ok(true) => app.password_tries.clear(&key),
        Ok(false) => {}
        Err(PasswordError::Busy | PasswordError::Failed(_)) => {
            app.password_tries.take_back(&key);
            if matches!(place, Place::Login(_)) {
                app.password_tries_in_all.take_back(name);
            }
        }
    }
    // Of names that do not exist only that they were typed: it may be a code, in the wrong field.
    if matches!(verified, Ok(false)) {
        let user = if hash.is_some() { name } else { "nobody" };
        tracing::warn!(user = %user.escape_debug(), "wrong password");
    }
    Ok(verified?)
}

pub(crate) async fn show_second(HalfWay(visitor): HalfWay) -> Result<Response, PageError> {
    // Not signed in yet: the frame offers nothing.
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

/// The second step, with a backup code.
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
            done(&visitor, welcome(&receipt), "/profile/backup-codes").await
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

/// The second step, with a code of the authenticator app.
pub(crate) async fn authenticator(
    State(app): State<Arc<App>>,
    HalfWay(visitor): HalfWay,
    Form(form): Form<CodeForm>,
) -> Result<Response, PageError> {
    let user = &visitor.user;
    authenticator_page::begin_try(&app, user)?;
    if !app.users.begin_totp_try(&user.id).await? {
        let text = "A hundred codes of the app in a row were wrong: it lets nobody in any more. Use a \
                    backup code, and set the app up anew; or have an administrator unlock you.";
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
    done(&visitor, "You are signed in.", "/profile").await
}

pub(crate) async fn logout(session: Session) -> Result<Redirect, PageError> {
    session.flush().await?;
    Ok(Redirect::to("/login"))
}

fn welcome(receipt: &Receipt) -> String {
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
        Level::Low => " Few are left: make a new sheet soon.",
        Level::Exhausted => " Make a new sheet now.",
    };
    format!("You are signed in. {spent}{advice}")
}

/// What somebody who knows the password may be told (NIST SP 800-63B-4, 8.1.1): one text for
/// every reason, tries left, the wait.
pub(crate) fn refused(refusal: &Refusal) -> String {
    if let Some(wait) = refusal.wait() {
        return format!("{refusal} Too many were wrong: wait {}.", minutes(wait));
    }
    match refusal.tries_left() {
        Some(0) => format!("{refusal} No tries are left."),
        Some(1) => format!("{refusal} 1 try is left."),
        Some(tries) => format!("{refusal} {tries} tries are left."),
        None => refusal.to_string(),
    }
}

/// What the hint says, as a sentence.
pub(crate) fn not_a_code(hint: NotACode) -> String {
    let text = hint.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}. Nothing was counted.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use tempfile::TempDir;

    use super::*;
    use crate::app::Options;

    #[tokio::test]
    async fn a_right_password_clears_the_tries_before_it_and_no_verdict_is_no_try() {
        let folder = TempDir::new().unwrap();
        let options = Options {
            password_cost: backup_codes::Cost::LEAST,
            ..Options::new(folder.path().join("web.db"))
        };
        let app = App::open(options).await.unwrap();
        let alice = app.users.find("alice").await.unwrap().unwrap();
        let try_one = async |typed: &str| {
            let place = Place::Login(Some([203, 0, 113, 7].into()));
            password_is_right(&app, "alice", place, typed, Some(&alice.password)).await
        };
        let wrong = async |times: usize| {
            for _ in 0..times {
                assert!(!try_one("wrong").await.unwrap());
            }
        };
        wrong(19).await;
        assert!(try_one("apple-garden-7").await.unwrap());
        // Nobody can be compared with while all places are taken.
        let places = app.passwords.take_all_places();
        for _ in 0..30 {
            let response = try_one("wrong").await.unwrap_err().into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key("retry-after"));
        }
        drop(places);
        wrong(20).await;
        let response = try_one("apple-garden-7").await.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
