//! The application, in this process, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup_codes::{
    Activation, BackupCodes, Config, Context, Cost, Format, Formats, Hasher, Hashing, Keyring,
    Redeem, Settings, Subject, Timestamp, UserId,
};
use backup_codes_sqlx::SqliteStore;
use backup_codes_web::{App, DEMO_USERS, Options, router};
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) struct Site {
    folder: TempDir,
    address: SocketAddr,
}

pub(crate) fn password(user: &str) -> &'static str {
    let user = DEMO_USERS.iter().find(|demo| demo.id == user).unwrap();
    user.password
}

impl Site {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let options = Options {
            code_cost: Cost::MIB_12,
            password_cost: Cost::LEAST,
            site: "example.org".to_owned(),
            ..Options::new(folder.path().join("web.db"))
        };
        let app = Arc::new(App::open(options).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { folder, address }
    }

    /// As a secure context: `localhost`, by its name.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Thirty more users, with sheets a month old and codes used since: 92 of them, none today.
    pub(crate) async fn populate(&self) {
        let file = self.folder.path().join("web.db");
        let pool = SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
        let store = SqliteStore::open(pool.clone()).await.unwrap();
        // At 112 bits and more cheap hashing is allowed.
        let hasher = Hasher::new(Keyring::without_pepper()).with_high_entropy_cost(Cost::LEAST);
        let codes = BackupCodes::new(
            store.without_forwarding(),
            Settings::default(),
            Hashing::inline(hasher),
        )
        .with_config(Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY)));
        for (number, (name, role)) in PEOPLE.into_iter().enumerate() {
            let id = name.split(' ').next().unwrap().to_lowercase();
            let insert =
                "INSERT INTO web_users (id, name, password, roles) VALUES (?1, ?2, '', ?3)";
            let insert = sqlx::query(insert).bind(&id).bind(name).bind(role);
            insert.execute(&pool).await.unwrap();
            let user = Subject::new(UserId::new(id).unwrap(), [role]);
            let at = |days: usize| {
                let ago = Duration::from_secs(days as u64 * 24 * 60 * 60);
                Context::new(now().saturating_sub(ago))
                    .by(&user)
                    .from_address([192, 0, 2, u8::try_from(number).unwrap()])
            };
            let sheet = codes.prepare(&user, &at(29)).await.unwrap();
            let activation = codes.activate(&user, sheet.id(), &at(29)).await.unwrap();
            assert!(matches!(activation, Activation::Activated(_)));
            let sheet: Vec<String> = sheet
                .expose()
                .codes()
                .map(|(_, code)| code.to_string())
                .collect();
            let (start, used) = (28 - number * 11 % 25, used(number));
            for (turn, code) in sheet.iter().take(used).enumerate() {
                let day = start - turn * start / used;
                let redeem = codes.redeem(&user, code, &at(day)).await.unwrap();
                assert!(matches!(redeem, Redeem::Accepted(_)));
            }
        }
    }
}

/// How many codes this one of `PEOPLE` has used.
fn used(number: usize) -> usize {
    [1, 0, 3, 2, 10, 4, 0, 8, 1, 2, 5, 0, 7][number % 13]
}

#[expect(clippy::disallowed_methods, reason = "the application reads it too")]
fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap()
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
