//! The application, in this process, on a port of its own, with a clock that only the tests
//! advance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backup_codes::hash::{Cost, KeyId, PoolSize};
use backup_codes::{
    Activation, BackupCodes, Config, Context, HashParams, Hashing, Keyring, Pepper, Redeem,
    Settings, Subject, Timestamp, UserId,
};
use backup_codes_sqlx::SqliteRepository;
use backup_codes_web::{App, Clock, DEMO_USERS, Options, router};
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::net::TcpListener;
use totp_rs::{Builder, Secret};

/// 24 November 2026, 10:00 UTC, in milliseconds.
const START: i64 = 1_795_514_400_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct Site {
    folder: TempDir,
    address: SocketAddr,
    app: Arc<App>,
    clock: Arc<AtomicI64>,
}

pub(crate) fn password(user: &str) -> &'static str {
    let user = DEMO_USERS.iter().find(|demo| demo.id == user).unwrap();
    user.password
}

impl Site {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let hand = Arc::clone(&clock);
        let options = Options {
            code_cost: Cost::MIB_12,
            password_cost: Cost::LEAST,
            site: "example.org".to_owned(),
            clock: Clock::new(move || at(hand.load(Ordering::Relaxed))),
            ..Options::new(folder.path().join("web.db"))
        };
        let app = Arc::new(App::open(options).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(Arc::clone(&app)).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            folder,
            address,
            app,
            clock,
        }
    }

    /// Returns the origin by the name `localhost`, which browsers treat as a secure context.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    fn now(&self) -> Timestamp {
        at(self.clock.load(Ordering::Relaxed))
    }

    /// Advances the clock by this time.
    pub(crate) async fn wait(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
        // The application does this every ten seconds.
        self.app.refresh_settings().await.unwrap();
    }

    /// Returns the code that an authenticator app with this secret shows.
    pub(crate) fn app_code(&self, secret: &str) -> String {
        let secret = Secret::try_from_base32(secret).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        let seconds = u64::try_from(self.now().unix_millis() / 1000).unwrap();
        totp.generate(seconds).to_string()
    }

    /// Opens another connection to the same database.
    async fn database(&self) -> SqlitePool {
        let file = self.folder.path().join("web.db");
        SqlitePool::connect(file.to_str().unwrap()).await.unwrap()
    }

    pub(crate) async fn sql(&self, sql: &'static str) {
        sqlx::query(sql)
            .execute(&self.database().await)
            .await
            .unwrap();
    }

    /// Adds thirty users, with sheets a month old and 92 codes used since, none of them today.
    pub(crate) async fn populate(&self) {
        let people = People::of(self).await;
        for (number, (name, role)) in PEOPLE.into_iter().enumerate() {
            let id = name.split(' ').next().unwrap().to_lowercase();
            let address = u8::try_from(number).unwrap();
            let sheet = people.add(&id, name, role, address).await;
            let user = Subject::new(UserId::new(id).unwrap(), [role]);
            let (start, used) = (28 - number * 11 % 25, used(number));
            for (turn, code) in sheet.iter().take(used).enumerate() {
                let day = start - turn * start / used;
                let context = people.days_ago(day, &user, address);
                let redeem = people.codes.redeem(&user, code, &context).await.unwrap();
                assert!(matches!(redeem, Redeem::Accepted(_)));
            }
        }
    }

    /// Adds a user with the role `staff`, and a sheet.
    pub(crate) async fn add(&self, id: &str, name: &str) {
        People::of(self).await.add(id, name, "staff", 99).await;
    }

    /// Disables the codes of this user of `populate`, as a hundred wrong ones do.
    pub(crate) async fn disable(&self, id: &str) {
        let people = People::of(self).await;
        let user = Subject::new(UserId::new(id).unwrap(), ["staff"]);
        let context = people.days_ago(1, &user, 99);
        let config = people.config.with_disable_after(1).unwrap();
        let codes = people.codes.with_config(config);
        // A code of a sheet that is not active yet, which is a wrong code.
        let sheet = codes.prepare(&user, &context).await.unwrap();
        let code = sheet.expose().codes().next().unwrap().1.to_string();
        let redeem = codes.redeem(&user, &code, &context).await.unwrap();
        assert!(matches!(redeem, Redeem::Refused(_)));
    }
}

/// Access to the users' codes without the application's pages.
struct People {
    pool: SqlitePool,
    codes: BackupCodes,
    config: Config,
    now: Timestamp,
}

impl People {
    async fn of(site: &Site) -> Self {
        let pool = site.database().await;
        let store = SqliteRepository::open(pool.clone()).await.unwrap();
        // The hashing has to be the application's, or it would not accept these codes.
        let key = std::fs::read(site.folder.path().join("web.db.key")).unwrap();
        let id = KeyId::new("key-file").unwrap();
        let keyring = Keyring::new(id, Pepper::new(key).unwrap());
        let params = HashParams::new(keyring).unwrap().with_cost(Cost::MIB_12);
        let hashing = Hashing::pool_with(params.unwrap(), PoolSize::default()).unwrap();
        let config = Config::default();
        let codes = BackupCodes::new(store.as_audit_log(), Settings::default(), hashing)
            .with_config(config.clone());
        Self {
            pool,
            codes,
            config,
            now: site.now(),
        }
    }

    fn days_ago(&self, days: usize, user: &Subject, address: u8) -> Context {
        let ago = DAY * u32::try_from(days).unwrap();
        Context::new(self.now.saturating_sub(ago), user).with_address([192, 0, 2, address])
    }

    /// Adds a user with a sheet made 29 days ago.
    async fn add(&self, id: &str, name: &str, role: &str, address: u8) -> Vec<String> {
        let insert = "INSERT INTO web_users (id, name, password, roles) VALUES (?1, ?2, '', ?3)";
        let insert = sqlx::query(insert).bind(id).bind(name).bind(role);
        insert.execute(&self.pool).await.unwrap();
        let user = Subject::new(UserId::new(id).unwrap(), [role]);
        let context = self.days_ago(29, &user, address);
        let sheet = self.codes.prepare(&user, &context).await.unwrap();
        let activation = self.codes.activate(&user, sheet.id(), &context).await;
        assert!(matches!(activation, Ok(Activation::Activated(_))));
        let sheet = sheet.expose();
        sheet.codes().map(|(_, code)| code.to_string()).collect()
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

/// Returns the number of codes that this user of `PEOPLE` has used.
fn used(number: usize) -> usize {
    [1, 0, 3, 2, 10, 4, 0, 8, 1, 2, 5, 0, 7][number % 13]
}

const PEOPLE: [(&str, &str); 30] = [
    ("Amara Okafor", "staff"),
    ("Anton Lindqvist", "editor"),
    ("Beatriz Sousa", "staff"),
    ("Chiara Ricci", "staff"),
    ("Daan Visser", "editor"),
    ("Elif Kaya", "staff"),
    ("Emil Novak", "staff"),
    ("Farah Haddad", "administrator"),
    ("Freya Nilsen", "staff"),
    ("Goran Petrov", "staff"),
    ("Hana Sato", "editor"),
    ("Ines Moreau", "staff"),
    ("Ivan Horvat", "staff"),
    ("Jonas Weber", "staff"),
    ("Kavya Nair", "editor"),
    ("Leila Rahimi", "staff"),
    ("Liam Byrne", "staff"),
    ("Lucia Fernandez", "staff"),
    ("Malik Diallo", "staff"),
    ("Marta Kowalska", "editor"),
    ("Mei Tanaka", "staff"),
    ("Milan Dvorak", "staff"),
    ("Nadia Benali", "staff"),
    ("Noah Jansen", "staff"),
    ("Olga Ivanova", "editor"),
    ("Pavel Kral", "staff"),
    ("Rosa Marino", "staff"),
    ("Samir Aziz", "staff"),
    ("Tove Berg", "staff"),
    ("Yara Costa", "staff"),
];
