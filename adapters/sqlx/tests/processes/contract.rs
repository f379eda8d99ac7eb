//! The contract of the core, its second way into the store being another process.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use backup_codes::conformance::Harness;
use backup_codes::{
    CodeRepository, Event, EventId, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    Revision, Settings, SettingsStore, Summary, UserId,
};
use backup_codes_sqlx::{Error, SqliteStore};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Child, listen, options, pool, say};

/// The store in this process, or in another one.
enum Handle {
    Here(SqliteStore),
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
    let store = SqliteStore::new(pool(options(file)).await);
    while let Some(line) = listen().first() {
        let call: Value = serde_json::from_str(line).unwrap();
        say(&answer(&store, &call).await.to_string());
    }
}

async fn answer(store: &SqliteStore, call: &Value) -> Value {
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
            let (summary, events): (_, Vec<Event>) = (Summary::default(), of(call, "events"));
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
            Self::There(child) => {
                assert_eq!(*put.summary, Summary::default(), "summaries do not travel");
                Ok(outcome(call(
                    child,
                    &json!({
                        "call": "put", "user": put.user, "expected": at(put.expected),
                        "revision": put.revision, "record": put.record, "events": put.events,
                    }),
                )))
            }
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

    fn here(&self, name: &str) -> SqliteStore {
        let options = options(&self.file(name));
        self.runtime
            .block_on(async { SqliteStore::open(pool(options).await).await })
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

    mod settings {
        backup_codes::settings_conformance_tests!(super::super::Processes::new(
            super::super::Process::Another
        ));
    }
}
