//! The web application under load: `cargo bench -p backup-codes-web --bench load`, or with
//! `-- --brief` a short run that only shows that it can be measured.
//!
//! 64 clients log in with codes for a minute, or for as long as `--seconds N` says, at the usual
//! cost, over TCP; now and then one types a code that is used already. Meanwhile an administrator
//! reads pages that need no hash. Server and clients are one process, and its memory is that of
//! both. Prints lines `figure <name> <value> <unit>`.
//!
//! Fails when a response is wrong: a page other than the one requested, or a response that is
//! neither success nor refusal nor a 503 that says when to try again and what to do. Without
//! `--brief` it also fails when a bound is broken, and says which: pages are late, memory grows, or
//! the hash pool was not saturated.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a benchmark"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use backup_codes::hash::{Cost, PoolSize};
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

/// The pages that Carol reads, and their titles. The login has no page for a signed-in user and
/// redirects to the profile.
const PAGES: [(&str, Option<&str>); 5] = [
    ("/login", None),
    ("/profile", Some("Profile")),
    (CODES, Some("Backup codes")),
    ("/settings/backup-codes", Some("Settings")),
    ("/audit", Some("Audit log")),
];

/// The time in which 99 of 100 pages that need no hash have to be answered.
const PAGE_P99_BOUND_MS: f64 = 50.0;

/// The most that a run may add to resident memory: 1 MiB for each of 64 clients, for a connection
/// to the database (its cache may take 2 MiB, but is emptied whenever another connection writes)
/// and for both ends of a connection to the server. The matrices that hashes need, 19 MiB for each
/// thread, are allocated before the clock starts. Runs measured 13 to 18 MiB; a leak of more than
/// two matrices would break the bound.
const RESIDENT_GROWTH_BOUND_MIB: f64 = 64.0;

/// The highest ratio of the second half's peak of memory to the first's. A twentieth of 200 MiB is
/// 10 MiB, or 10 KiB for each of a thousand logins: growth like that would not end.
const SECOND_HALF_BOUND: f64 = 1.05;

/// The share of the run's seconds in which the pool has to reject a request, as a saturated pool
/// does.
const SECONDS_FULL_SHARE_BOUND: f64 = 0.90;

/// The number of places in the queue of the pool that hashes codes. Clients spend time on passwords
/// too: with 8 places, no request was rejected in one second of nine.
const QUEUE: usize = 2;

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.4} {unit}");
}

/// Returns resident memory in MiB. Where it cannot be read (it can on Linux), the result is NaN,
/// which is within no bound.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// The number of attempts by outcome.
#[derive(Default)]
struct Tally {
    accepted: u32,
    refused: u32,
    code_pool_full: u32,
    /// The seconds of the run in which the pool was full.
    seconds_full: BTreeSet<u64>,
    password_queue_full: u32,
    /// Responses that are none of these, and wrong pages.
    other: u32,
}

impl Tally {
    fn add(&mut self, mut more: Self) {
        self.accepted += more.accepted;
        self.refused += more.refused;
        self.code_pool_full += more.code_pool_full;
        self.seconds_full.append(&mut more.seconds_full);
        self.password_queue_full += more.password_queue_full;
        self.other += more.other;
    }
}

/// The part of the server that is busy.
enum Busy {
    CodePool,
    PasswordQueue,
}

struct Answer {
    status: StatusCode,
    location: String,
    retry_after: String,
    body: String,
}

impl Answer {
    fn is_page(&self, title: &str) -> bool {
        // A message of the previous step may precede the title.
        let title = format!("{title} · Backup codes</title>");
        self.status == StatusCode::OK && self.body.contains(&title)
    }

    fn sends_to(&self, path: &str) -> bool {
        self.status == StatusCode::SEE_OTHER && self.location == path
    }

    /// Returns the part that is busy, for a 503 that says when to try again, in whole seconds, and
    /// what to do.
    fn busy(&self) -> Option<Busy> {
        let digits = self.retry_after.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.retry_after.parse::<u32>().ok().filter(|_| digits);
        if self.status != StatusCode::SERVICE_UNAVAILABLE || seconds? == 0 {
            return None;
        }
        let text = self.body.split("<p id=\"error-text\">").nth(1)?;
        let text = text.split("</p>").next()?;
        let text = text.strip_suffix("Try again in a few seconds.")?;
        if text.starts_with("Too many codes are being checked at this moment.") {
            return Some(Busy::CodePool);
        }
        text.starts_with("Too many passwords are being checked at this moment.")
            .then_some(Busy::PasswordQueue)
    }
}

/// A browser on one connection.
struct Client {
    connection: SendRequest<Body>,
    cookie: String,
    /// The start of the run.
    begin: Instant,
    tally: Tally,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self {
            connection,
            cookie: String::new(),
            begin: Instant::now(),
            tally: Tally::default(),
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
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: parts.status,
            location: text(header::LOCATION),
            retry_after: text(header::RETRY_AFTER),
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        let mut cookies = parts.headers.get_all(header::SET_COOKIE).iter();
        if let Some(cookie) = cookies.next() {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            cookie.clone_into(&mut self.cookie);
        }
        if cookies.next().is_some() {
            self.other(&format!("{path}, with more than one cookie"), &answer);
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, String::new()).await
    }

    /// Posts a form until the response is not a 503.
    async fn post(&mut self, path: &str, form: String) -> Answer {
        loop {
            let answer = self.send(Method::POST, path, form.clone()).await;
            match answer.busy() {
                Some(Busy::CodePool) => {
                    self.tally.code_pool_full += 1;
                    let second = self.begin.elapsed().as_secs();
                    self.tally.seconds_full.insert(second);
                }
                Some(Busy::PasswordQueue) => self.tally.password_queue_full += 1,
                None => return answer,
            }
            // Sooner than `Retry-After` says, as people do.
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn other(&mut self, what: &str, answer: &Answer) {
        self.tally.other += 1;
        let Answer {
            status,
            location,
            retry_after,
            body,
        } = answer;
        eprintln!("{what}: {status} {location} {retry_after} {body}");
    }

    /// Returns `None`, and counts and prints the response, if it is not the right one.
    fn expect(&mut self, what: &str, right: bool, answer: &Answer) -> Option<()> {
        if !right {
            self.other(what, answer);
        }
        right.then_some(())
    }

    /// Types a password, and expects a redirect to this path.
    async fn password(&mut self, user: &str, password: &str, path: &str) -> Option<()> {
        let form = format!("user={user}&password={password}");
        let answer = self.post("/login", form).await;
        self.expect("password", answer.sends_to(path), &answer)
    }

    /// Makes a new sheet, activates it, and returns its codes.
    async fn sheet(&mut self) -> Option<Vec<String>> {
        let answer = self
            .post(&format!("{CODES}/prepare"), format!("password={PASSWORD}"))
            .await;
        let codes = answer.body.split("<code>").skip(1);
        let codes = codes.map(|rest| rest.split('<').next().unwrap().to_owned());
        let codes: Vec<String> = codes.collect();
        let set = answer.body.split("name=\"set\" value=\"").nth(1);
        let set = set.and_then(|rest| rest.split('"').next());
        let set = set.filter(|_| !codes.is_empty());
        self.expect("sheet", set.is_some(), &answer)?;
        let form = format!("set={}", set?);
        let answer = self.post(&format!("{CODES}/activate"), form).await;
        self.expect("activate", answer.sends_to(CODES), &answer)?;
        Some(codes)
    }

    /// Types a code after the password. Like a browser it follows the redirect, and expects the
    /// page there to tell the outcome of the code.
    async fn code(&mut self, code: &str, path: &str, title: &str, says: &str) -> Option<()> {
        let answer = self.post("/login/code", format!("code={code}")).await;
        self.expect("code", answer.sends_to(path), &answer)?;
        let page = self.get(path).await;
        let right = page.is_page(title) && page.body.contains(says);
        self.expect("after the code", right, &page)
    }

    async fn right_code(&mut self, code: &str) -> Option<()> {
        let says = "You are logged in.";
        self.code(code, CODES, "Backup codes", says).await?;
        self.tally.accepted += 1;
        Some(())
    }

    async fn spent_code(&mut self, code: &str) -> Option<()> {
        let says = "This code was not accepted.";
        self.code(code, "/login/second", "Two-factor authentication", says)
            .await?;
        self.tally.refused += 1;
        Some(())
    }

    /// Makes a sheet, waits for the other clients, and logs in with codes until the time is over;
    /// ends early when a response is wrong.
    async fn keep_logging_in(
        &mut self,
        user: &str,
        start: &Barrier,
        lasts: Duration,
    ) -> Option<()> {
        self.password(user, PASSWORD, "/profile").await?;
        let mut codes = self.sheet().await?;
        start.wait().await;
        self.begin = Instant::now();
        self.tally = Tally {
            other: self.tally.other,
            ..Tally::default()
        };
        let mut spent: Option<String> = None;
        loop {
            let answer = self.get("/login").await;
            self.expect("login", answer.sends_to("/profile"), &answer)?;
            let answer = self.post("/logout", String::new()).await;
            self.expect("logout", answer.sends_to("/login"), &answer)?;
            self.password(user, PASSWORD, "/login/second").await?;
            if let Some(spent) = spent.take() {
                self.spent_code(&spent).await?;
            }
            let code = codes.pop().unwrap();
            self.right_code(&code).await?;
            if codes.is_empty() {
                codes = self.sheet().await?;
            } else if codes.len() % 3 == 0 {
                spent = Some(code);
            }
            if self.begin.elapsed() >= lasts {
                return Some(());
            }
        }
    }
}

/// Reads Carol's pages once, and appends the time of each to `milliseconds`.
async fn read_pages(carol: &mut Client, milliseconds: &mut Vec<f64>) {
    for (path, title) in PAGES {
        let asked = Instant::now();
        let answer = carol.get(path).await;
        milliseconds.push(asked.elapsed().as_secs_f64() * 1000.0);
        let right = match title {
            Some(title) => answer.is_page(title),
            None => answer.sends_to("/profile"),
        };
        if !right {
            carol.other(path, &answer);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the hash of every client's password.
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

/// The results of a run.
struct Run {
    lasts: Duration,
    took: f64,
    tally: Tally,
    /// The times of the pages in milliseconds, shortest first.
    pages: Vec<f64>,
    /// Resident memory in MiB: at the start, and the peak of each half.
    before: f64,
    first_half: f64,
    second_half: f64,
}

/// Prints figures, and collects those outside their bounds.
struct Judge {
    judges: bool,
    broken: Vec<String>,
}

impl Judge {
    fn new(judges: bool) -> Self {
        let broken = Vec::new();
        Self { judges, broken }
    }

    fn at_most(&mut self, name: &str, measured: f64, allowed: f64, unit: &str) {
        let within = measured <= allowed;
        self.bounded(name, measured, within, &format!("at most {allowed}"), unit);
    }

    fn at_least(&mut self, name: &str, measured: f64, allowed: f64, unit: &str) {
        let within = measured >= allowed;
        self.bounded(name, measured, within, &format!("at least {allowed}"), unit);
    }

    fn bounded(&mut self, name: &str, measured: f64, within: bool, allowed: &str, unit: &str) {
        figure(name, measured, unit);
        if self.judges && !within {
            let broken = format!("broken: {name} is {measured:.4} {unit}, allowed is {allowed}");
            self.broken.push(broken);
        }
    }
}

/// Prints the figures. Returns the broken bounds: of responses always, of times and memory if they
/// are judged.
fn report(run: &Run, judged: bool) -> Vec<String> {
    let (mut always, mut full) = (Judge::new(true), Judge::new(judged));
    let tally = &run.tally;
    let (accepted, refused) = (f64::from(tally.accepted), f64::from(tally.refused));
    let codes = f64::from(tally.code_pool_full);
    let passwords = f64::from(tally.password_queue_full);
    let other = f64::from(tally.other);
    let answers = accepted + refused + codes + passwords + other;
    always.at_most("web_other_answers", other, 0.0, "answers");
    always.at_least("web_logins", accepted, 1.0, "answers");
    full.at_least("web_refusals", refused, 1.0, "answers");
    let per_second = accepted / run.took;
    figure("web_logins_per_second", per_second, "per_second");

    figure("web_code_pool_busy_share", codes / answers, "ratio");
    let share = passwords / answers;
    figure("web_password_queue_busy_share", share, "ratio");
    let seconds = run.lasts.as_secs();
    let seconds_full = tally.seconds_full.range(..seconds).count();
    let share = seconds_full as f64 / seconds as f64;
    full.at_least(
        "web_seconds_full_share",
        share,
        SECONDS_FULL_SHARE_BOUND,
        "ratio",
    );

    let pages = &run.pages;
    figure("web_page_median_ms", pages[pages.len() / 2], "ms");
    let p99 = pages[pages.len() * 99 / 100];
    full.at_most("web_page_p99_ms", p99, PAGE_P99_BOUND_MS, "ms");
    figure("web_page_p99_bound_ms", PAGE_P99_BOUND_MS, "ms");

    let peak = run.first_half.max(run.second_half);
    let growth = peak - run.before;
    full.at_most(
        "web_resident_growth_mib",
        growth,
        RESIDENT_GROWTH_BOUND_MIB,
        "MiB",
    );
    figure("web_resident_peak_mib", peak, "MiB");
    full.at_most(
        "web_resident_second_half_over_first",
        run.second_half / run.first_half,
        SECOND_HALF_BOUND,
        "ratio",
    );
    always.broken.append(&mut full.broken);
    always.broken
}

/// Returns the number of clients, the length of the run, and whether times and memory are judged.
fn arguments() -> (usize, Duration, bool) {
    let arguments: Vec<String> = std::env::args().collect();
    let brief = arguments.iter().any(|argument| argument == "--brief");
    let seconds = arguments
        .iter()
        .position(|argument| argument == "--seconds");
    let seconds = seconds.map(|at| {
        let seconds = arguments.get(at + 1).and_then(|text| text.parse().ok());
        let seconds: Option<u64> = seconds.filter(|seconds| *seconds > 0);
        seconds.unwrap_or_else(|| panic!("--seconds takes a whole number of at least 1"))
    });
    let (clients, usual) = if brief { (16, 3) } else { (64, 60) };
    let lasts = Duration::from_secs(seconds.unwrap_or(usual));
    (clients, lasts, !brief)
}

#[tokio::main]
async fn main() -> ExitCode {
    let errors = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
    errors.with_writer(std::io::stderr).init();
    let (clients, lasts, judged) = arguments();
    let folder = TempDir::new().unwrap();
    let address = serve(&folder, clients).await;

    // Carol is the administrator who reads pages.
    let mut carol = Client::connect(address).await;
    let demo = DEMO_USERS.iter().find(|demo| demo.id == "carol").unwrap();
    let signed_in = carol.password(demo.id, demo.password, "/profile").await;
    assert!(signed_in.is_some(), "carol cannot log in");

    // All clients make their sheet before the clock starts.
    let start = Arc::new(Barrier::new(clients + 1));
    let mut running = JoinSet::new();
    for number in 0..clients {
        let mut client = Client::connect(address).await;
        let start = Arc::clone(&start);
        running.spawn(async move {
            client.keep_logging_in(&user(number), &start, lasts).await;
            client.tally
        });
    }
    tokio::select! {
        biased;
        _ = start.wait() => {}
        _ = running.join_next() => panic!("a client ended before the clock started"),
    }
    let (begin, before) = (Instant::now(), resident_mib());
    let (mut first_half, mut second_half) = (before, 0.0_f64);
    let mut pages = Vec::new();
    loop {
        read_pages(&mut carol, &mut pages).await;
        let half = if begin.elapsed() < lasts / 2 {
            &mut first_half
        } else {
            &mut second_half
        };
        *half = half.max(resident_mib());
        if begin.elapsed() >= lasts {
            break;
        }
    }
    let mut tally = carol.tally;
    while let Some(client) = running.join_next().await {
        tally.add(client.unwrap());
    }
    pages.sort_by(f64::total_cmp);
    let run = Run {
        lasts,
        took: begin.elapsed().as_secs_f64(),
        tally,
        pages,
        before,
        first_half,
        second_half: second_half.max(resident_mib()),
    };
    let broken = report(&run, judged);
    for broken in &broken {
        eprintln!("{broken}");
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
