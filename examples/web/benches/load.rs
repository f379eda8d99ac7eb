//! The web application under load: `cargo bench -p backup-codes-web --bench load`, or with
//! `-- --brief` a short run that only shows that it can be measured.
//!
//! 64 clients log in with codes for a minute, at the usual cost, over TCP; now and then one types
//! a code that is spent. Meanwhile somebody else reads pages that need no hash. Prints lines
//! `figure <name> <value> <unit>`, and fails when an answer is neither success nor refusal nor a
//! 503 that says when to come again.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a benchmark"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use backup_codes::{Cost, PoolSize};
use backup_codes_web::{App, DEMO_USERS, Options, router};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

const PASSWORD: &str = "load-run-1";
const CODES: &str = "/profile/backup-codes";

/// A page that needs no hash answers in this time, 99 times in 100.
const PAGE_P99_BOUND_MS: f64 = 50.0;

/// Places in the queue of the hash pool: fewer than there are clients, so that it runs over.
const QUEUE: usize = 8;

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.4} {unit}");
}

/// Resident memory in MiB (Linux; elsewhere 0).
fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / 1_048_576.0
}

/// What came of the tries.
#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    other: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

/// A browser on one connection.
struct Client {
    connection: SendRequest<Body>,
    cookie: String,
    tally: Arc<Tally>,
}

struct Answer {
    status: StatusCode,
    location: String,
    retry_after: bool,
    body: String,
}

impl Client {
    async fn connect(address: SocketAddr, tally: &Arc<Tally>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self {
            connection,
            cookie: String::new(),
            tally: Arc::clone(tally),
        }
    }

    async fn send(&mut self, method: Method, path: &str, form: String) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(form))
            .unwrap();
        self.connection.ready().await.unwrap();
        let answer = self.connection.send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let text = |name| {
            let value = parts.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            cookie.clone_into(&mut self.cookie);
        }
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            location: text(header::LOCATION),
            retry_after: parts.headers.contains_key(header::RETRY_AFTER),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, String::new()).await
    }

    /// Posts a form until it is not told to come again.
    async fn post(&mut self, path: &str, form: String) -> Answer {
        loop {
            let answer = self.send(Method::POST, path, form.clone()).await;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE || !answer.retry_after {
                return answer;
            }
            count(&self.tally.busy);
            // Sooner than it says, as people do.
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn other(&self, what: &str, answer: &Answer) {
        count(&self.tally.other);
        eprintln!(
            "{what}: {} {} {}",
            answer.status, answer.location, answer.body
        );
    }

    async fn password(&mut self, user: &str, password: &str) -> Answer {
        let form = format!("user={user}&password={password}");
        self.post("/login", form).await
    }

    /// A new sheet, in force.
    async fn sheet(&mut self) -> Vec<String> {
        let answer = self
            .post(&format!("{CODES}/prepare"), format!("password={PASSWORD}"))
            .await;
        let codes = answer.body.split("<code>").skip(1);
        let codes = codes.map(|rest| rest.split('<').next().unwrap().to_owned());
        let codes: Vec<String> = codes.collect();
        let set = answer.body.split("name=\"set\" value=\"").nth(1);
        let Some(set) = set.and_then(|rest| rest.split('"').next()) else {
            panic!("no sheet: {} {}", answer.status, answer.body)
        };
        let form = format!("set={set}");
        let answer = self.post(&format!("{CODES}/activate"), form).await;
        if answer.location != CODES {
            self.other("activate", &answer);
        }
        codes
    }

    /// Types a code after the password.
    async fn code(&mut self, code: &str, right: bool) {
        let answer = self.post("/login/code", format!("code={code}")).await;
        match (&*answer.location, right) {
            (CODES, true) => count(&self.tally.accepted),
            ("/login/second", false) => count(&self.tally.refused),
            _ => self.other("code", &answer),
        }
    }

    /// Logs in with codes until the time is over.
    async fn keep_logging_in(mut self, user: String, start: Arc<Barrier>, lasts: Duration) {
        self.password(&user, PASSWORD).await;
        let mut codes = self.sheet().await;
        start.wait().await;
        let begin = Instant::now();
        let mut spent: Option<String> = None;
        while begin.elapsed() < lasts {
            self.get("/login").await;
            self.post("/logout", String::new()).await;
            let answer = self.password(&user, PASSWORD).await;
            if answer.location != "/login/second" {
                self.other("password", &answer);
                return;
            }
            if let Some(spent) = spent.take() {
                self.code(&spent, false).await;
            }
            let code = codes.pop().unwrap();
            self.code(&code, true).await;
            if codes.is_empty() {
                codes = self.sheet().await;
            } else if codes.len() % 3 == 0 {
                spent = Some(code);
            }
        }
    }
}

/// The hash of every client's password.
fn password_hash() -> String {
    let cost = Cost::MIB_19;
    let params = Params::new(cost.memory_kib(), cost.passes(), 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]);
    hash.unwrap().to_string()
}

async fn serve(folder: &TempDir, clients: usize) -> SocketAddr {
    let file = folder.path().join("web.db");
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        code_pool: PoolSize::new(workers, QUEUE).unwrap(),
        ..Options::new(&file)
    };
    let app = Arc::new(App::open(options).await.unwrap());
    app.start_tasks();
    let pool = SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    let hash = password_hash();
    for client in 0..clients {
        let insert =
            "INSERT INTO web_users (id, name, password, roles) VALUES (?1, ?1, ?2, 'staff')";
        let insert = sqlx::query(insert).bind(user(client)).bind(&hash);
        insert.execute(&pool).await.unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

fn user(client: usize) -> String {
    format!("client{client}")
}

#[tokio::main]
async fn main() {
    let errors = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
    errors.with_writer(std::io::stderr).init();
    let brief = std::env::args().any(|argument| argument == "--brief");
    let (clients, lasts) = if brief { (16, 3) } else { (64, 60) };
    let lasts = Duration::from_secs(lasts);
    let folder = TempDir::new().unwrap();
    let address = serve(&folder, clients).await;
    let tally = Arc::new(Tally::default());

    // Carol, an administrator, reads pages.
    let mut carol = Client::connect(address, &tally).await;
    let demo = DEMO_USERS.iter().find(|demo| demo.id == "carol").unwrap();
    let answer = carol.password(demo.id, demo.password).await;
    assert_eq!(answer.location, "/profile");

    // All have a sheet before the clock starts.
    let start = Arc::new(Barrier::new(clients + 1));
    let mut running = JoinSet::new();
    for number in 0..clients {
        let client = Client::connect(address, &tally).await;
        running.spawn(client.keep_logging_in(user(number), Arc::clone(&start), lasts));
    }
    start.wait().await;
    tally.busy.store(0, Ordering::Relaxed);
    let (begin, before) = (Instant::now(), resident_mib());
    let mut pages = Vec::new();
    let mut most = before;
    while begin.elapsed() < lasts {
        for path in [
            "/login",
            "/profile",
            CODES,
            "/settings/backup-codes",
            "/audit",
        ] {
            let asked = Instant::now();
            let answer = carol.get(path).await;
            pages.push(asked.elapsed().as_secs_f64() * 1000.0);
            // Who is signed in is sent on from the login.
            if !matches!(answer.status, StatusCode::OK | StatusCode::SEE_OTHER) {
                carol.other(path, &answer);
            }
            sleep(Duration::from_millis(5)).await;
        }
        most = most.max(resident_mib());
    }
    while let Some(client) = running.join_next().await {
        client.unwrap();
    }
    let took = begin.elapsed().as_secs_f64();
    most = most.max(resident_mib());

    pages.sort_by(f64::total_cmp);
    let (busy, other) = (read(&tally.busy), read(&tally.other));
    let answers = read(&tally.accepted) + read(&tally.refused) + busy + other;
    figure(
        "web_logins_per_second",
        read(&tally.accepted) / took,
        "per_second",
    );
    figure("web_refusals", read(&tally.refused), "answers");
    figure("web_busy_share", busy / answers, "ratio");
    figure("web_other_answers", other, "answers");
    figure("web_page_median_ms", pages[pages.len() / 2], "ms");
    figure("web_page_p99_ms", pages[pages.len() * 99 / 100], "ms");
    figure("web_page_p99_bound_ms", PAGE_P99_BOUND_MS, "ms");
    figure("web_resident_growth_mib", most - before, "MiB");
    figure("web_resident_peak_mib", most, "MiB");
    if other > 0.0 || read(&tally.accepted) == 0.0 {
        eprintln!("an answer was neither success nor refusal nor an honest 503");
        std::process::exit(1);
    }
}
