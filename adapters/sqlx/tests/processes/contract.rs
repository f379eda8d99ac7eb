//! The contract of the core, its second way into the store being another process.

use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::Mutex;

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::Harness;
use backup_codes::hash::{Acceptance, Cost, KeyId, Scheme};
use backup_codes::report::{SetSummary, Summary, UsageQuery, UserRow};
use backup_codes::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
    SettingsStore, Use,
};
use backup_codes::{
    Config, Format, Formats, HashParams, Keyring, Pepper, Periods, Settings, Timestamp, Usage,
    UserFilter, UserId, UserOrder, UsersQuery,
};
use backup_codes_sqlx::{Error, SqliteRepository};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Child, listen, options, pool, say};

/// The store in this process, or in another one.
enum Handle {
    Here(SqliteRepository),
    There(Mutex<Child>),
}

/// Calls, and answers, one a line.
fn call<T: DeserializeOwned>(child: &Mutex<Child>, call: &Value) -> T {
    let mut child = child.lock().unwrap();
    child.say(&[call.to_string()]);
    let answer = child.hear().unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Answers calls until nobody is left to ask.
pub(crate) async fn servant(file: &Path) {
    let store = SqliteRepository::new(pool(options(file)).await);
    while let Some(line) = listen().first() {
        let call: Value = serde_json::from_str(line).unwrap();
        say(&answer(&store, &call).await.to_string());
    }
}

async fn answer(store: &SqliteRepository, call: &Value) -> Value {
    fn of<T: DeserializeOwned>(call: &Value, name: &str) -> T {
        serde_json::from_value(call[name].clone()).unwrap()
    }
    fn applied(outcome: PutOutcome) -> Value {
        json!(outcome == PutOutcome::Applied)
    }
    let expected =
        || of::<Option<Revision>>(call, "expected").map_or(Expected::Absent, Expected::At);
    match of::<String>(call, "call").as_str() {
        "load" => {
            let loaded = store
                .load(&of(call, "user"), Freshness::Latest)
                .await
                .unwrap();
            json!(loaded.map(|loaded| (loaded.record, loaded.revision)))
        }
        "put" => {
            let (user, record): (UserId, String) = (of(call, "user"), of(call, "record"));
            let events: Vec<Event> = of(call, "events");
            let summary = summary_of(&call["summary"]);
            let revision = of(call, "revision");
            let put = Put::new(&user, expected(), revision, &record, &summary, &events);
            applied(store.put(put).await.unwrap())
        }
        "remove" => {
            let user: UserId = of(call, "user");
            applied(store.remove(&user, of(call, "revision")).await.unwrap())
        }
        "undelivered" => json!(store.undelivered(of(call, "limit")).await.unwrap()),
        "acknowledge" => {
            store
                .acknowledge(&of::<Vec<EventId>>(call, "events"))
                .await
                .unwrap();
            Value::Null
        }
        "users" => json!(store.users(&page_of(&call["query"])).await.unwrap()),
        "usage" => {
            let query = figures_of(&call["query"]);
            let usage = Directory::usage(store, &query).await.unwrap();
            json!([
                usage.users_with_codes,
                usage.users_low,
                usage.users_exhausted,
                usage.used_today,
                usage.used_this_month,
                usage.used_by_day
            ])
        }
        "schemes" => {
            let schemes = Directory::schemes(store).await.unwrap().into_iter();
            json!(
                schemes
                    .map(|(scheme, users)| (scheme.to_string(), users))
                    .collect::<Vec<_>>()
            )
        }
        "load settings" => json!(store.load_settings().await.unwrap()),
        "save settings" => {
            let (settings, events): (Settings, Vec<Event>) =
                (of(call, "settings"), of(call, "events"));
            let saved = store.save_settings(expected(), of(call, "revision"), &settings, &events);
            applied(saved.await.unwrap())
        }
        other => unreachable!("{other}"),
    }
}

/// What has no text of its own, as JSON for the way to the other process and back.
fn summary_text(summary: &Summary) -> Value {
    let set = summary.set.as_ref().map(|set| {
        let (scheme, counts) = (set.scheme.to_string(), (set.total, set.unused));
        let moments = (set.prepared_at, set.activated_at);
        (scheme, counts, moments, set.expires_at, set.proved_at)
    });
    let quarter = |used: &Use| (used.at(), used.count());
    let uses: Vec<(Timestamp, u16)> = summary.uses.iter().map(quarter).collect();
    json!([set, summary.last_used_at, uses, summary.erased_at])
}

type SetText = (
    String,
    (u8, u8),
    (Timestamp, Timestamp),
    Option<Timestamp>,
    Option<Timestamp>,
);
type SummaryText = (Option<SetText>, Option<Timestamp>, Value, Option<Timestamp>);

/// The conditions that the cases ask with: the default ones, and wider ones.
static CONDITIONS: LazyLock<[Acceptance; 2]> = LazyLock::new(|| {
    let pepper = Pepper::new([7; 32]).unwrap();
    let params = HashParams::new(Keyring::new(KeyId::new("a").unwrap(), pepper)).unwrap();
    let params = params.with_cost(Cost::new(65_536, 3).unwrap()).unwrap();
    let formats = Formats::new(Format::CROCKFORD).accepting(Format::DIGITS);
    let config = Config::default().with_formats(formats.unwrap());
    [Acceptance::default(), Acceptance::new(&config, &params)]
});

fn acceptance_text(acceptance: &Acceptance) -> (usize, Option<Timestamp>) {
    let (void, plain) = (
        acceptance.void_before(),
        acceptance.clone().with_void_before(None),
    );
    let known = CONDITIONS.iter().position(|known| *known == plain);
    (known.unwrap(), void)
}

fn acceptance_of((known, void): (usize, Option<Timestamp>)) -> Acceptance {
    CONDITIONS[known].clone().with_void_before(void)
}

fn summary_of(text: &Value) -> Summary {
    let (set, last_used_at, uses, erased_at): SummaryText =
        serde_json::from_value(text.clone()).unwrap();
    let mut summary = Summary::default();
    let uses: Vec<(Timestamp, u16)> = serde_json::from_value(uses).unwrap();
    summary.uses = uses
        .into_iter()
        .map(|(at, count)| Use::new(at, count))
        .collect();
    summary.last_used_at = last_used_at;
    summary.erased_at = erased_at;
    summary.set = set.map(|(scheme, counts, moments, expires_at, proved_at)| {
        let ((total, unused), (prepared, activated)) = (counts, moments);
        let scheme = scheme.parse().unwrap();
        let mut set = SetSummary::new(scheme, total, unused, prepared, activated);
        set.expires_at = expires_at;
        set.proved_at = proved_at;
        set
    });
    summary
}

const FILTERS: [UserFilter; 5] = [
    UserFilter::Holding,
    UserFilter::WithSet,
    UserFilter::Low,
    UserFilter::Exhausted,
    UserFilter::Every,
];
const ORDERS: [UserOrder; 4] = [
    UserOrder::User,
    UserOrder::FewestLeft,
    UserOrder::NewestSet,
    UserOrder::LatestUse,
];

fn page_text(query: &UsersQuery) -> Value {
    json!([
        FILTERS.iter().position(|it| *it == query.filter),
        ORDERS.iter().position(|it| *it == query.order),
        query.among,
        query.after,
        query.limit,
        query.low_threshold,
        query.now,
        acceptance_text(&query.acceptance),
    ])
}

fn page_of(text: &Value) -> UsersQuery {
    let (filter, order): (usize, usize);
    let acceptance;
    let mut query = UsersQuery::new(Timestamp::MIN);
    (
        filter,
        order,
        query.among,
        query.after,
        query.limit,
        query.low_threshold,
        query.now,
        acceptance,
    ) = serde_json::from_value(text.clone()).unwrap();
    query.acceptance = acceptance_of(acceptance);
    query.with_filter(FILTERS[filter]).with_order(ORDERS[order])
}

fn figures_text(query: &UsageQuery) -> Value {
    let (today, month) = (query.periods.today(), query.periods.month());
    let first = query.periods.days().next().map(|day| day.start);
    let ends = query.periods.days().map(|day| day.end);
    let days: Vec<Timestamp> = first.into_iter().chain(ends).collect();
    json!([
        today,
        month,
        days,
        query.low_threshold,
        query.now,
        acceptance_text(&query.acceptance)
    ])
}

fn figures_of(text: &Value) -> UsageQuery {
    type Text = (
        Range<Timestamp>,
        Range<Timestamp>,
        Vec<Timestamp>,
        u8,
        Timestamp,
        (usize, Option<Timestamp>),
    );
    let (today, month, days, low, now, acceptance): Text =
        serde_json::from_value(text.clone()).unwrap();
    let periods = Periods::new(today, month, &days).unwrap();
    UsageQuery::new(periods, low, now, acceptance_of(acceptance))
}

fn outcome(applied: bool) -> PutOutcome {
    if applied {
        PutOutcome::Applied
    } else {
        PutOutcome::Conflict
    }
}

fn at(expected: Expected) -> Option<Revision> {
    match expected {
        Expected::Absent => None,
        Expected::At(revision) => Some(revision),
    }
}

impl CodeRepository for Handle {
    type Error = Error;

    async fn load(&self, user: &UserId, freshness: Freshness) -> Result<Option<Loaded>, Error> {
        match self {
            Self::Here(store) => store.load(user, freshness).await,
            Self::There(child) => {
                let loaded: Option<(String, Revision)> =
                    call(child, &json!({ "call": "load", "user": user }));
                Ok(loaded.map(|(record, revision)| Loaded { record, revision }))
            }
        }
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Error>> {
        match self {
            Self::Here(store) => store.put(put).await,
            Self::There(child) => Ok(outcome(call(
                child,
                &json!({
                    "call": "put", "user": put.user, "expected": at(put.expected),
                    "revision": put.revision, "record": put.record, "events": put.events,
                    "summary": summary_text(put.summary),
                }),
            ))),
        }
    }

    async fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> Result<PutOutcome, PutError<Error>> {
        match self {
            Self::Here(store) => store.remove(user, expected).await,
            Self::There(child) => {
                let remove = json!({ "call": "remove", "user": user, "revision": expected });
                Ok(outcome(call(child, &remove)))
            }
        }
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Error> {
        match self {
            Self::Here(store) => store.undelivered(limit).await,
            Self::There(child) => Ok(call(
                child,
                &json!({ "call": "undelivered", "limit": limit }),
            )),
        }
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Error> {
        match self {
            Self::Here(store) => store.acknowledge(events).await,
            Self::There(child) => {
                let acknowledge = json!({ "call": "acknowledge", "events": events });
                let () = call(child, &acknowledge);
                Ok(())
            }
        }
    }
}

impl Directory for Handle {
    type Error = Error;

    async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Error> {
        match self {
            Self::Here(store) => store.users(query).await,
            Self::There(child) => {
                let users = json!({ "call": "users", "query": page_text(query) });
                Ok(call(child, &users))
            }
        }
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Usage, Error> {
        match self {
            Self::Here(store) => Directory::usage(store, query).await,
            Self::There(child) => {
                let mut usage = Usage::empty(query);
                (
                    usage.users_with_codes,
                    usage.users_low,
                    usage.users_exhausted,
                    usage.used_today,
                    usage.used_this_month,
                    usage.used_by_day,
                ) = call(
                    child,
                    &json!({ "call": "usage", "query": figures_text(query) }),
                );
                Ok(usage)
            }
        }
    }

    async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Error> {
        match self {
            Self::Here(store) => Directory::schemes(store).await,
            Self::There(child) => {
                let schemes: Vec<(String, u64)> = call(child, &json!({ "call": "schemes" }));
                let read = |(text, users): (String, u64)| (text.parse().unwrap(), users);
                Ok(schemes.into_iter().map(read).collect())
            }
        }
    }
}

impl SettingsStore for Handle {
    type Error = Error;

    async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Error> {
        match self {
            Self::Here(store) => store.load_settings().await,
            Self::There(child) => Ok(call(child, &json!({ "call": "load settings" }))),
        }
    }

    async fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> Result<PutOutcome, PutError<Error>> {
        match self {
            Self::Here(store) => {
                store
                    .save_settings(expected, revision, settings, events)
                    .await
            }
            Self::There(child) => Ok(outcome(call(
                child,
                &json!({
                    "call": "save settings", "expected": at(expected), "revision": revision,
                    "settings": settings, "events": events,
                }),
            ))),
        }
    }
}

/// Databases in a folder of their own, and a process beside this one for each second handle.
struct Processes {
    runtime: Runtime,
    folder: TempDir,
    first: Process,
}

/// Where the first handle is.
enum Process {
    This,
    Another,
}

impl Processes {
    fn new(first: Process) -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            first,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    fn here(&self, name: &str) -> SqliteRepository {
        let options = options(&self.file(name));
        self.runtime
            .block_on(async { SqliteRepository::open(pool(options).await).await })
            .unwrap()
    }

    fn there(&self, name: &str) -> Handle {
        Handle::There(Mutex::new(Child::start("servant", &self.file(name))))
    }
}

impl Harness for Processes {
    type Repository = Handle;

    fn fresh(&self, name: &str) -> Handle {
        let here = self.here(name);
        match self.first {
            Process::This => Handle::Here(here),
            Process::Another => self.there(name),
        }
    }

    fn second_handle(&self, name: &str, _: &Handle) -> Handle {
        match self.first {
            Process::This => self.there(name),
            Process::Another => Handle::Here(self.here(name)),
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// What is not about two handles runs in this process.
mod beside_another {
    mod records {
        backup_codes::conformance_tests!(super::super::Processes::new(super::super::Process::This));
    }

    mod directory {
        backup_codes::directory_conformance_tests!(super::super::Processes::new(
            super::super::Process::This
        ));
    }

    mod settings {
        backup_codes::settings_conformance_tests!(super::super::Processes::new(
            super::super::Process::This
        ));
    }
}

/// What is not about two handles runs in the other process.
mod in_another {
    mod records {
        backup_codes::conformance_tests!(super::super::Processes::new(
            super::super::Process::Another
        ));
    }

    mod directory {
        backup_codes::directory_conformance_tests!(super::super::Processes::new(
            super::super::Process::Another
        ));
    }

    mod settings {
        backup_codes::settings_conformance_tests!(super::super::Processes::new(
            super::super::Process::Another
        ));
    }
}
