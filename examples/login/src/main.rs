//! A login with password and backup code, to copy. "A real application" marks what to change.
#![expect(clippy::disallowed_methods, reason = "it reads the clock")]

use std::{env, io::Write as _, net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use anyhow::Context as _;
use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use askama::Template;
use axum::extract::{ConnectInfo, FromRequestParts, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use axum::{Form, Router, routing::get, routing::post};
use backup_codes::{Activation, BackupCodes, Context, Error, Hashing, JsonLines, Keyring, Pepper};
use backup_codes::{Config, Redeem, SetId, Settings, Sheet, Status, Subject, Timestamp, UserId};
use backup_codes::{hash::KeyId, outcome::Level, outcome::Notice};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::{net::TcpListener, sync::Semaphore, task::spawn_blocking};
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder};
use tower_http::{csrf::CsrfLayer, set_header::SetResponseHeaderLayer};
use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer, cookie::time};

const STYLE: &str = include_str!("../templates/style.css");
const REJECTED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
pub(crate) const DEMO_USERS: [(&str, &str); 2] = [
    ("alice", "correct horse battery staple"),
    ("bob", "seven silent yellow tractors"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let address = setting("BACKUP_CODES_LISTEN", "127.0.0.1:3000");
    let codes = open(setting("BACKUP_CODES_DB", "backup-codes-login.db").as_ref()).await?;
    tokio::spawn(deliver_events(codes.clone()));
    let users = demo_users()?;
    let app = app(AppState { codes, users }).into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(&address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    // Browsers send the session cookie over https, or to localhost. Behind a proxy, use https there.
    println!("http://localhost:{}", listener.local_addr()?.port());
    for (name, password) in DEMO_USERS {
        println!("user name: {name}, password: {password}");
    }
    let end = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let server = axum::serve(listener, app).with_graceful_shutdown(end);
    Ok(server.await?)
}

/// Opens backup codes over SQLite, with the audit log in a file.
pub(crate) async fn open(db: &std::path::Path) -> anyhow::Result<BackupCodes> {
    let keyring = Keyring::new(KeyId::new("key-file")?, pepper(db)?);
    let options = SqliteConnectOptions::new()
        .filename(db)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_with(options).await;
    let pool = pool.with_context(|| format!("cannot open {}", db.display()))?;
    let audit = db.with_extension("audit.jsonl");
    println!("database: {}, audit log: {}", db.display(), audit.display());
    let repository = backup_codes_sqlx::SqliteRepository::open(pool).await?;
    let codes = BackupCodes::new(repository, Settings::default(), Hashing::pool(keyring)?);
    let mut codes = codes.with_audit(JsonLines::open(audit)?);
    // Set after the database was restored from a backup, in which spent codes are unspent again.
    if let Some(moment) = env::var_os("BACKUP_CODES_VOID_BEFORE") {
        let moment = moment.to_string_lossy().parse();
        let moment = moment.context("BACKUP_CODES_VOID_BEFORE")?;
        codes = codes.with_config(Config::default().with_void_before(moment));
    }
    Ok(codes)
}

/// Reads the pepper from a key file, made at the first start. A real application takes it from its
/// secret store: an attacker who copies the database must not get the pepper too.
fn pepper(db: &std::path::Path) -> anyhow::Result<Pepper> {
    let path = db.with_extension("key");
    let (key, db_name) = (path.display(), db.display());
    if !path.exists() {
        // With a new key every code would be invalid.
        anyhow::ensure!(!db.exists(), "{db_name} is there: restore {key} too");
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        // Whole or not at all, and readable by its owner only.
        let mut file = tempfile::NamedTempFile::new_in(db.parent().unwrap_or(db))?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path)?;
        println!("made the key file {key}: without it all backup codes are invalid");
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {key}"))?;
    Pepper::new(bytes).with_context(|| format!("{key} is damaged: restore it"))
}

/// Delivers events that the audit log does not have yet. A real application also purges each day.
async fn deliver_events(codes: BackupCodes) {
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        minutes.tick().await;
        if let Err(error) = codes.deliver_events().await {
            tracing::error!(%error, "events could not be delivered to the audit log");
        }
    }
}

/// A user. A real application has a table of users, and a page to sign up.
pub(crate) struct User {
    name: &'static str,
    password: PasswordHash,
    subject: Subject,
}

pub(crate) fn demo_users() -> anyhow::Result<Arc<[User]>> {
    let mut users = Vec::new();
    for (row, (name, password)) in DEMO_USERS.into_iter().enumerate() {
        users.push(User {
            name,
            password: Argon2::default().hash_password(password.as_bytes())?,
            // The key of the row, not the name: a name can pass to another user, codes must not.
            subject: Subject::new(UserId::new(row.to_string())?, ["customer"]),
        });
    }
    Ok(users.into())
}

/// The state that all requests share. Tests put a memory repository behind `codes`.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) codes: BackupCodes,
    pub(crate) users: Arc<[User]>,
}

/// Returns the router: the pages, and the layers around them.
pub(crate) fn app(state: AppState) -> Router {
    let csp = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
               frame-ancestors 'none'";
    let [csp, no_store] = [csp, "no-store"].map(HeaderValue::from_static);
    let set = SetResponseHeaderLayer::<HeaderValue>::overriding;
    // A real application keeps sessions in its database, and ends others when a password changes.
    let sessions = SessionManagerLayer::new(MemoryStore::default())
        .with_name("__Host-session")
        .with_expiry(Expiry::OnInactivity(time::Duration::hours(8)));
    // Passwords by address: 20 at once, then one in 10 s. A real application also limits by name.
    let mut limit = GovernorConfigBuilder::default();
    let limit = limit.per_second(10).burst_size(20).finish();
    let limit = GovernorLayer::new(limit.unwrap_or_default())
        .error_handler(|_| Failure(StatusCode::TOO_MANY_REQUESTS).into_response());
    let show_login = async || login_page(StatusCode::OK, Step::Password, "", "");
    let style = ([(header::CONTENT_TYPE, "text/css")], STYLE);
    Router::new()
        .route("/", get(profile))
        .route("/login", post(login).layer(limit.clone()).get(show_login))
        .route("/login/code", post(redeem).get(show_redeem))
        .route("/logout", post(logout))
        .route("/codes/prepare", post(prepare).layer(limit))
        .route("/codes/{set}/activate", post(activate))
        .layer(sessions)
        .layer(CsrfLayer::new())
        .route("/style.css", get(style))
        .fallback(async || Failure(StatusCode::NOT_FOUND))
        .layer(set(header::CONTENT_SECURITY_POLICY, csp))
        .layer(set(header::CACHE_CONTROL, no_store))
        .with_state(state)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    step: Step,
    user: &'a str,
    error: &'a str,
}

fn login_page(status: StatusCode, step: Step, user: &str, error: &str) -> Page {
    page(status, &LoginPage { step, user, error })
}

#[derive(Deserialize)]
struct LoginForm {
    user: String,
    password: String,
}

async fn login(visit: Visit, Form(form): Form<LoginForm>) -> Page {
    let Some(user) = visit.check_password(&form.user, form.password).await? else {
        let error = "The user name or the password is wrong.";
        return login_page(REJECTED, Step::Password, &form.user, error);
    };
    let cx = visit.context(user)?;
    let status = visit.app.codes.status(&user.subject, &cx).await?;
    if status.is_enrolled() {
        return visit.sign_in(user, Step::Code).await;
    }
    visit.sign_in(user, Step::Complete).await
}

async fn show_redeem(visit: Visit) -> Page {
    let (user, _) = visit.user(Step::Code).await?;
    login_page(StatusCode::OK, Step::Code, user.name, "")
}

#[derive(Deserialize)]
struct CodeForm {
    code: String,
}

async fn redeem(visit: Visit, Form(CodeForm { code }): Form<CodeForm>) -> Page {
    let (user, cx) = visit.user(Step::Code).await?;
    let error = match visit.app.codes.redeem(&user.subject, &code, &cx).await? {
        Redeem::Accepted(receipt) => {
            notify(receipt.notice());
            let signed_in = visit.sign_in(user, Step::Complete).await?;
            let message = format!("You are signed in. Codes left: {}.", receipt.remaining());
            visit.session.insert("message", message).await?;
            return Ok(signed_in);
        }
        Redeem::Refused(refusal) => {
            refusal.notice().map(notify);
            // One text for every reason. The reason itself is in the audit log.
            match refusal.wait().map(|wait| wait.as_secs().div_ceil(60)) {
                Some(minutes) => format!("{refusal} Try again in {minutes} minutes."),
                None => format!("{refusal} Try another one, or ask an administrator."),
            }
        }
        Redeem::NotACode(hint) => format!("Please correct the code – {hint}."),
    };
    login_page(REJECTED, Step::Code, user.name, &error)
}

async fn logout(session: Session) -> Result<Redirect, Failure> {
    session.flush().await?;
    Ok(Redirect::to("/login"))
}

#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage<'a> {
    user: &'a str,
    message: Option<String>,
    error: Option<String>,
    status: Status,
}

async fn profile(visit: Visit) -> Page {
    let (user, cx) = visit.user(Step::Complete).await?;
    let profile = ProfilePage {
        user: user.name,
        message: visit.take("message").await?,
        error: visit.take("error").await?,
        status: visit.app.codes.status(&user.subject, &cx).await?,
    };
    page(StatusCode::OK, &profile)
}

#[derive(Template)]
#[template(path = "sheet.html")]
struct SheetPage(Sheet);

/// Makes a sheet and shows it in this response: a redirect would have to keep the codes somewhere.
/// It asks for the password again, because sessions get stolen.
async fn prepare(visit: Visit, Form(form): Form<LoginForm>) -> Page {
    let (user, cx) = visit.user(Step::Complete).await?;
    let right = visit.check_password(user.name, form.password).await?;
    if right.is_none() {
        let error = "This is not your password. Nothing was changed.";
        visit.session.insert("error", error).await?;
        return Ok(Redirect::to("/").into_response());
    }
    let sheet = visit.app.codes.prepare(&user.subject, &cx).await?;
    page(StatusCode::OK, &SheetPage(sheet))
}

async fn activate(visit: Visit, Path(set): Path<SetId>) -> Result<Redirect, Failure> {
    let (user, cx) = visit.user(Step::Complete).await?;
    let message = match visit.app.codes.activate(&user.subject, set, &cx).await? {
        Activation::Activated(notice) => {
            notify(&notice);
            "Your new backup codes are active. Older ones are invalid."
        }
        Activation::AlreadyActive => "These backup codes are active already.",
        _ => "This sheet is not valid any more: throw it away and make a new one.",
    };
    visit.session.insert("message", message).await?;
    Ok(Redirect::to("/"))
}

/// Notifies the user. A real application sends a mail, or uses another channel than the request's.
fn notify(notice: &Notice) {
    tracing::info!(user = %notice.user, kind = ?notice.kind, "mail to the user");
}

/// The step of the sign-in that comes next. Until `Complete`, the user may do nothing else.
#[derive(PartialEq, Serialize, Deserialize)]
enum Step {
    Password,
    Code,
    Complete,
}

/// A request, whichever page it is for.
#[derive(FromRequestParts)]
#[from_request(state(AppState))]
struct Visit {
    #[from_request(via(State))]
    app: AppState,
    session: Session,
    peer: ConnectInfo<SocketAddr>,
}

impl Visit {
    /// Returns the user, if the sign-in has reached exactly this step.
    async fn user(&self, step: Step) -> Result<(&User, Context), Failure> {
        let sign_in: Option<(String, Step)> = self.session.get("sign_in").await?;
        let sign_in = sign_in.filter(|(_, reached)| *reached == step);
        let user = sign_in.and_then(|(name, _)| self.find(&name));
        let user = user.ok_or(Failure(StatusCode::UNAUTHORIZED))?;
        Ok((user, self.context(user)?))
    }

    /// Returns user, time and address. Behind a proxy, take the address from the proxy's header.
    fn context(&self, user: &User) -> Result<Context, Failure> {
        let now = Timestamp::try_from(SystemTime::now())?;
        Ok(Context::new(now, &user.subject).with_address(self.peer.ip()))
    }

    /// Takes a step of the sign-in, under a new session id, and redirects to the next page.
    async fn sign_in(&self, user: &User, step: Step) -> Page {
        self.session.clear().await;
        self.session.cycle_id().await?;
        let mut next = "/";
        if step == Step::Code {
            let soon = Expiry::OnInactivity(time::Duration::minutes(10));
            self.session.set_expiry(Some(soon));
            next = "/login/code";
        }
        self.session.insert("sign_in", (user.name, step)).await?;
        Ok(Redirect::to(next).into_response())
    }

    /// Takes a message. A page that only reads must store no session: it could undo a logout.
    async fn take(&self, key: &str) -> Result<Option<String>, Failure> {
        if self.session.get::<String>(key).await?.is_none() {
            return Ok(None);
        }
        Ok(self.session.remove(key).await?)
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.app.users.iter().find(|user| user.name == name)
    }

    async fn check_password(&self, name: &str, typed: String) -> Result<Option<&User>, Failure> {
        // Bounds the memory for passwords, as `Hashing::pool` does for codes.
        static TURNS: Semaphore = Semaphore::const_new(4);
        let user = self.find(name);
        // An unknown name takes as long as a known one.
        let hash = user.unwrap_or(&self.app.users[0]).password.clone();
        let turn = TURNS.acquire().await?;
        let verified = spawn_blocking(move || {
            let _turn = turn;
            Argon2::default().verify_password(typed.as_bytes(), &hash)
        });
        Ok(verified.await?.ok().and(user))
    }
}

type Page = Result<Response, Failure>;

fn page(status: StatusCode, template: &impl Template) -> Page {
    Ok((status, Html(template.render()?)).into_response())
}

/// An error page, by its status.
#[derive(Template)]
#[template(path = "base.html")]
struct Failure(StatusCode);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self(match error.downcast_ref() {
            Some(Error::Busy | Error::Contended) => StatusCode::SERVICE_UNAVAILABLE,
            Some(Error::Denied(_)) => StatusCode::FORBIDDEN,
            _ => {
                tracing::error!(?error, "a page could not be shown");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.0 == StatusCode::UNAUTHORIZED {
            return Redirect::to("/login").into_response();
        }
        let busy = matches!(self.0.as_u16(), 429 | 503);
        let wait = AppendHeaders(busy.then_some((header::RETRY_AFTER, "10")));
        (self.0, wait, Html(self.render().unwrap_or_default())).into_response()
    }
}
