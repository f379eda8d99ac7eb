//! Sessions: the signed-in user, and the step of the login reached. A session holds a user's name,
//! a step and a message; never a code.

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

/// The time after which a signed-in user has to log in again.
const SIGNED_IN_FOR: Duration = Duration::from_secs(8 * 60 * 60);
/// The time within which the second step of a login has to follow the first.
const HALF_WAY_FOR: Duration = Duration::from_secs(10 * 60);
/// The most that the clocks of two machines may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);
/// The time after its last write at which a session is removed.
const KEPT_FOR: cookie::time::Duration = cookie::time::Duration::hours(8);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignIn {
    user: String,
    step: Step,
    /// The state of the second factor. A session made by the password alone ends when a second
    /// factor is set up elsewhere.
    second_factor: SecondFactor,
    /// How often the user's sessions had been ended when this one was made. Every change of a
    /// second factor ends them.
    sign_outs: i64,
    /// The time of the sign-in.
    since: Timestamp,
    /// The end of the sign-in. It is kept here, since every message makes the session itself last
    /// longer.
    until: Timestamp,
}

/// The step of the login that a user has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The password was right; the second factor is missing.
    Password,
    /// Signed in.
    Complete,
}

/// The state of the second factor in a session: shown (or set up), or not yet.
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

/// Returns the session layer over this application's table.
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

/// Lets only a new session, or the log-out, change the cookie. The response to a form that was sent
/// twice, or to another tab, would remove the cookie that the first response has set meanwhile, or
/// set the old one again. A removal also has to be Secure, or browsers ignore it for a cookie with
/// the prefix `__Host-`.
pub(crate) async fn repair_cookies(
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
    // Left by the previous user of this session.
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

/// Records that this sheet was shown in this session, whose user typed the password for it.
pub(crate) async fn note_prepared(session: &Session, set: SetId) -> Result<(), PageError> {
    Ok(session.insert(PREPARED, set).await?)
}

/// Returns whether this sheet was shown in this session.
pub(crate) async fn has_prepared(session: &Session, set: SetId) -> Result<bool, PageError> {
    Ok(session.get(PREPARED).await? == Some(set))
}

/// Ends the user's other sessions; this one continues under a new id. A second factor has changed,
/// so sessions made with the old one, or without, have to log in again (ASVS 5.0, 7.4.3).
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

/// Stores a message for the next page.
pub(crate) async fn leave_flash(
    session: &Session,
    good: bool,
    text: impl Into<String>,
) -> Result<(), PageError> {
    let text = text.into();
    Ok(session.insert(FLASH, Flash { good, text }).await?)
}

/// Removes and returns the message for this page.
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
    /// The context of the operation: this user, the time and the origin of the request.
    pub(crate) context: Context,
}

/// A signed-in user. Other requests are redirected to the login.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn(pub(crate) Visitor);

/// A user whose password was right and whose second factor is missing.
#[derive(Debug, Clone)]
pub(crate) struct HalfWay(pub(crate) Visitor);

/// Returns the session's user and step. The user is read from the table, so that a revoked role is
/// gone at once.
pub(crate) async fn session_user(
    app: &App,
    session: &Session,
) -> Result<Option<(User, Step)>, PageError> {
    let Some(sign_in) = session.get::<SignIn>(SIGN_IN).await? else {
        return Ok(None);
    };
    // A sign-in that begins in the future would outlast its time by as much.
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
    // A second factor may have been set up or removed since the password was typed: then the user
    // has to type it again.
    let owed = match (sign_in.step, sign_in.second_factor) {
        (Step::Complete, SecondFactor::Shown) => return Ok(Some((user, Step::Complete))),
        (Step::Complete, SecondFactor::NotYet) => false,
        (Step::Password, _) => true,
    };
    let context = Context::new(app.now(), user.subject());
    let status = app.codes.status(&user.subject(), &context).await?;
    let goes_on = match (has_second_factor(&user, &status), owed, status.set) {
        // A session that showed the active codes has the second factor, whichever session confirmed
        // them.
        (true, false, Some(set)) => has_prepared(session, set).await?,
        (owes, owed, _) => owes == owed,
    };
    Ok(goes_on.then_some((user, sign_in.step)))
}

/// Returns whether this user has set up a second factor, even if no code of a set is left, and
/// whatever the settings say. Where codes were set up, the password alone is never enough.
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
    let found = session_user(app, &session)
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

/// The time, the address and the browser of a request.
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
