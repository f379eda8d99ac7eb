//! Every code once, whoever else tries it at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use backup_codes::audit::{EventKind, EventOutcome};
use backup_codes::{Error, Redeem, UserId};
use backup_codes_sqlx::{AuditQuery, Error as StoreError, SqliteRepository};
use tokio::runtime::Runtime;

use crate::{Child, listen, options, own, pool, say, service, subject};

const USERS: usize = 200;
const PROCESSES: usize = 4;
const TASKS: usize = 16;

/// Codes of a user. Each of them is tried by all tasks of all processes.
fn codes() -> u8 {
    if std::env::var_os("BACKUP_CODES_DEEP").is_some() {
        10
    } else {
        2
    }
}

/// Whether nothing was decided, so that a racer tries again.
fn undecided(error: &Error) -> bool {
    match error {
        Error::Contended | Error::Busy => true,
        Error::Unavailable(source) => {
            matches!(source.downcast_ref(), Some(StoreError::Busy(_)))
        }
        _ => false,
    }
}

/// One of the processes: hears all codes, and tries each of them in each of its tasks.
pub(crate) async fn racer(file: &Path) {
    let store = SqliteRepository::open(pool(options(file)).await)
        .await
        .unwrap();
    let service = service(store.as_audit_log(), codes());
    let sheets: Arc<[(String, String)]> = listen()
        .iter()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(user, code)| (user.to_owned(), code.to_owned()))
        .collect();
    say("armed");
    listen();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (service, sheets) = (service.clone(), Arc::clone(&sheets));
            tokio::spawn(async move {
                for (user, code) in &*sheets {
                    let alice = subject(user);
                    let outcome = loop {
                        match service.redeem(&alice, code, &own(&alice, 1)).await {
                            Err(error) if undecided(&error) => {}
                            outcome => break outcome.unwrap(),
                        }
                    };
                    if let Redeem::Accepted(receipt) = outcome {
                        say(&format!(
                            "{user} {} {}",
                            receipt.slot(),
                            receipt.remaining()
                        ));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    say("done");
}

#[test]
fn each_code_is_accepted_once_however_many_processes_try_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("race.db");
    let runtime = Runtime::new().unwrap();
    let store =
        runtime.block_on(async { SqliteRepository::open(pool(options(&file)).await).await });
    let store = store.unwrap().as_audit_log();

    let service = service(store.clone(), codes());
    let mut lines = Vec::new();
    let mut every = BTreeSet::new();
    for number in 0..USERS {
        let alice = subject(&format!("user-{number}"));
        let issued = runtime.block_on(service.issue(&alice, &own(&alice, 0)));
        let sheet = issued.unwrap().sheet;
        for (slot, code) in sheet.expose().codes() {
            lines.push(format!("{} {}", alice.id(), *code));
            every.insert((alice.id().to_string(), slot));
        }
    }

    let mut racers: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            let mut racer = Child::start("racer", &file);
            racer.say(&lines);
            assert_eq!(racer.hear().as_deref(), Some("armed"));
            racer
        })
        .collect();
    for racer in &mut racers {
        racer.say(&[]);
    }
    let accepted: Vec<String> = thread::scope(|scope| {
        let heard: Vec<_> = racers
            .iter_mut()
            .map(|racer| {
                scope.spawn(move || {
                    let mut heard = Vec::new();
                    loop {
                        match racer.hear() {
                            Some(line) if line == "done" => return heard,
                            line => heard.push(line.expect("a racer ends by saying so")),
                        }
                    }
                })
            })
            .collect();
        heard
            .into_iter()
            .flat_map(|racer| racer.join().unwrap())
            .collect()
    });

    assert_eq!(accepted.len(), every.len(), "accepted = codes");
    let mut told = BTreeSet::new();
    let mut once = BTreeSet::new();
    for line in &accepted {
        let [user, slot, remaining] = line.split(' ').collect::<Vec<_>>()[..] else {
            unreachable!("{line}");
        };
        once.insert((user.to_owned(), slot.parse().unwrap()));
        told.insert((UserId::new(user).unwrap(), remaining.parse::<u8>().unwrap()));
    }
    assert_eq!(once, every, "each of them once");

    // An event says how many codes are left, which no two uses of a set have in common.
    let mut logged: BTreeMap<(UserId, u8), usize> = BTreeMap::new();
    let mut query = AuditQuery::new()
        .with_kind(EventKind::Redeem)
        .with_limit(1000);
    loop {
        let page = runtime.block_on(store.audit_page(&query)).unwrap();
        for event in page.events {
            if event.outcome == EventOutcome::Success {
                let use_of = (event.subject.unwrap(), event.remaining.unwrap());
                *logged.entry(use_of).or_default() += 1;
            }
        }
        let Some(next) = page.next else { break };
        query = query.with_after(next);
    }
    assert!(logged.values().all(|events| *events == 1), "one event each");
    assert_eq!(logged.into_keys().collect::<BTreeSet<_>>(), told);
}
