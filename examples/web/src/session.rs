//! Who is signed in, and how far. The session holds a user's name, a step and a message; never a
//! code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use backup_codes::{Context, SetId, Status, Subject, Timestamp};
use serde::{Deserialize, Serialize};
use tower_sessions::cookie::{self, SameSite};
use tower_sessions::{Expiry, Session, SessionManagerLayer};

use crate::app::{App, Cookies};
use crate::client_address::client_address;
use crate::error_pages::PageError;
use crate::session_store::SqliteSessions;
use crate::users::User;

const SIGN_IN: &str = "sign_in";
const FLASH: &str = "flash";
const PREPARED: &str = "prepared";

/// Who has logged in is to do it again after this time.
const SIGNED_IN_FOR: Duration = Duration::from_secs(8 * 60 * 60);
/// The second step of a login has to follow the first within this time.
const HALF_WAY_FOR: Duration = Duration::from_secs(10 * 60);
/// Clocks may differ by so much.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);
/// A session is removed this long after it was last written.
const KEPT_FOR: cookie::time::Duration = cookie::time::Duration::hours(8);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignIn {
    user: String,
    step: Step,
    /// A session that was made by the password alone ends when a second factor is set up elsewhere.
    second_factor: SecondFactor,
    /// How often the user's sessions had been ended. What changes a second factor ends them.
    sign_outs: i64,
    /// Since when.
    since: Timestamp,
    /// Kept here, since messages make the session itself last longer.
    until: Timestamp,
}

/// How far somebody has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The password was right; a second factor is owed.
    Password,
    /// Signed in.
    Complete,
}

/// Whether a second factor was shown, or set up, in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SecondFactor {
    Shown,
    NotYet,
}

/// A message for the next page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flash {
    pub(crate) good: bool,
    pub(crate) text: String,
}

/// The session layer over this application's table.
pub(crate) fn layer(app: &App) -> SessionManagerLayer<SqliteSessions> {
    let secure = app.cookies == Cookies::Secure;
    SessionManagerLayer::new(app.sessions.clone())
        .with_name(if secure { "__Host-session" } else { "session" })
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Strict)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(KEPT_FOR))
}

/// Lets only a new session, or the log-out, change the cookie. The answer to a form that was sent
/// twice, or to another tab, would remove the cookie that the first has got meanwhile, or set the
/// old one again. And a removal has to be Secure, or browsers do not take it for a cookie with the
/// prefix `__Host-`.
pub(crate) async fn mend_cookies(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let log_out = request.uri().path() == "/logout";
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let sent: Vec<String> = request
        .headers()
        .get_all(header::COOKIE)
        .iter()
        .map(text)
        .collect();
    let mut response = next.run(request).await;
    let Some(cookie) = response.headers().get(header::SET_COOKIE).map(text) else {
        return response;
    };
    let pair = cookie.split(';').next().unwrap_or_default();
    let mut pairs = sent.iter().flat_map(|line| line.split(';'));
    let known = pairs.any(|sent| sent.trim() == pair);
    let removal = cookie.contains("Max-Age=0");
    let headers = response.headers_mut();
    if known || (removal && !log_out) {
        headers.remove(header::SET_COOKIE);
    } else if removal && app.cookies == Cookies::Secure {
        let secure = format!("{cookie}; HttpOnly; SameSite=Strict; Secure");
        if let Ok(secure) = HeaderValue::try_from(secure) {
            headers.insert(header::SET_COOKIE, secure);
        }
    }
    response
}

/// Takes a step of the login, under a new session id (ASVS 5.0, 7.2.4).
pub(crate) async fn sign_in(
    app: &App,
    session: &Session,
    user: &User,
    step: Step,
    second_factor: SecondFactor,
) -> Result<(), PageError> {
    session.cycle_id().await?;
    // Of whoever was here before.
    session.remove_value(FLASH).await?;
    session.remove_value(PREPARED).await?;
    let now = app.now();
    let lasts = match step {
        Step::Password => HALF_WAY_FOR,
        Step::Complete => SIGNED_IN_FOR,
    };
    let sign_in = SignIn {
        user: user.id.clone(),
        step,
        second_factor,
        sign_outs: user.sign_outs,
        since: now,
        until: now.saturating_add(lasts),
    };
    session.insert(SIGN_IN, sign_in).await?;
    Ok(())
}

/// Notes which sheet was shown in this session, to whoever typed the password for it.
pub(crate) async fn note_prepared(session: &Session, set: SetId) -> Result<(), PageError> {
    Ok(session.insert(PREPARED, set).await?)
}

/// Whether this sheet was shown in this session.
pub(crate) async fn has_prepared(session: &Session, set: SetId) -> Result<bool, PageError> {
    Ok(session.get(PREPARED).await? == Some(set))
}

/// Ends the user's sessions but for this one, which goes on under a new id: a second factor has
/// changed, and who got in by the old one, or without, is to get in anew (ASVS 5.0, 7.4.3).
pub(crate) async fn end_other_sessions(
    app: &App,
    visitor: &Visitor,
    second_factor: SecondFactor,
) -> Result<(), PageError> {
    let session = &visitor.session;
    let Some(sign_in) = session.get::<SignIn>(SIGN_IN).await? else {
        return Ok(());
    };
    let sign_outs = app.users.end_sessions(&visitor.user.id).await?;
    session.cycle_id().await?;
    let sign_in = SignIn {
        second_factor,
        sign_outs,
        ..sign_in
    };
    Ok(session.insert(SIGN_IN, sign_in).await?)
}

/// Leaves a message for the next page.
pub(crate) async fn leave_flash(
    session: &Session,
    good: bool,
    text: impl Into<String>,
) -> Result<(), PageError> {
    let text = text.into();
    Ok(session.insert(FLASH, Flash { good, text }).await?)
}

/// Takes the message for this page.
pub(crate) async fn take_flash(session: &Session) -> Result<Option<Flash>, PageError> {
    // Most pages have none, and a session that is not written costs no write.
    if session.get_value(FLASH).await?.is_none() {
        return Ok(None);
    }
    Ok(session.remove(FLASH).await?)
}

/// A user at some step of the login, with the circumstances of the request.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) user: User,
    pub(crate) subject: Subject,
    pub(crate) session: Session,
    /// By this user, from where the request comes.
    pub(crate) context: Context,
}

/// A user who is signed in. Others are sent to the login.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn(pub(crate) Visitor);

/// A user whose password was right and who owes a second factor.
#[derive(Debug, Clone)]
pub(crate) struct HalfWay(pub(crate) Visitor);

/// The session's user as stored now, so that a role that was taken away is gone at once.
pub(crate) async fn whoever(
    app: &App,
    session: &Session,
) -> Result<Option<(User, Step)>, PageError> {
    let Some(sign_in) = session.get::<SignIn>(SIGN_IN).await? else {
        return Ok(None);
    };
    // One that begins in the future would last until the clock has got there, and longer.
    let latest = app.now().saturating_add(CLOCKS_DIFFER);
    if app.now() >= sign_in.until || sign_in.since > latest {
        session.flush().await?;
        return Ok(None);
    }
    let Some(user) = app.users.find(&sign_in.user).await? else {
        return Ok(None);
    };
    if sign_in.sign_outs != user.sign_outs {
        return Ok(None);
    }
    // What was owed or not owed when the password was typed may have changed since: then it is to be
    // typed again.
    let owed = match (sign_in.step, sign_in.second_factor) {
        (Step::Complete, SecondFactor::Shown) => return Ok(Some((user, Step::Complete))),
        (Step::Complete, SecondFactor::NotYet) => false,
        (Step::Password, _) => true,
    };
    let context = Context::new(app.now(), user.subject());
    let status = app.codes.status(&user.subject(), &context).await?;
    let goes_on = match (has_second_factor(&user, &status), owed, status.set) {
        // Whoever has seen the codes in force here has the second factor, whoever confirmed them.
        (true, false, Some(set)) => has_prepared(session, set).await?,
        (owes, owed, _) => owes == owed,
    };
    Ok(goes_on.then_some((user, sign_in.step)))
}

/// Whether this user has anything that stands beside the password: whatever is left of a set, and
/// whatever the settings say. Where codes were set up, the password alone never is enough.
pub(crate) fn has_second_factor(user: &User, status: &Status) -> bool {
    user.totp_secret.is_some() || status.set.is_some() || status.override_until.is_some()
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?;
    Some(String::from_utf8_lossy(agent.as_bytes()).into_owned())
}

async fn visitor(app: &App, parts: &mut Parts, wanted: Step) -> Result<Visitor, Response> {
    let session = Session::from_request_parts(parts, &())
        .await
        .map_err(|rejection| rejection.into_response())?;
    let found = whoever(app, &session)
        .await
        .map_err(|error| error.into_response())?;
    let elsewhere = match (found, wanted) {
        (Some((user, step)), _) if step == wanted => {
            let subject = user.subject();
            let context = Circumstances::new(app, parts).context(&subject);
            return Ok(Visitor {
                user,
                subject,
                session,
                context,
            });
        }
        (Some(_), Step::Complete) => "/login/second",
        (Some(_), Step::Password) => "/profile",
        (None, _) => "/login",
    };
    Err(Redirect::to(elsewhere).into_response())
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        visitor(app, parts, Step::Complete).await.map(Self)
    }
}

impl FromRequestParts<Arc<App>> for HalfWay {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        visitor(app, parts, Step::Password).await.map(Self)
    }
}

/// When a request came, from where, and from which browser.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances {
    now: Timestamp,
    pub(crate) address: Option<IpAddr>,
    user_agent: Option<String>,
}

impl Circumstances {
    fn new(app: &App, parts: &Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = |peer: IpAddr| client_address(peer, &parts.headers, &app.trusted_proxies);
        Self {
            now: app.now(),
            address: peer.map(|ConnectInfo(peer)| address(peer.ip())),
            user_agent: user_agent(&parts.headers),
        }
    }

    pub(crate) fn context(&self, actor: &Subject) -> Context {
        let mut context = Context::new(self.now, actor);
        if let Some(address) = self.address {
            context = context.with_address(address);
        }
        if let Some(agent) = &self.user_agent {
            context = context.with_user_agent(agent);
        }
        context
    }
}

impl FromRequestParts<Arc<App>> for Circumstances {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::new(app, parts))
    }
}
