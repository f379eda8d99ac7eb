//! The events table as the audit log: kept once, paged exactly, removed when it may be.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use backup_codes::audit::{AuditSink as _, Event, EventKind, EventOutcome, Reason};
use backup_codes::hash::Cost;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Put, PutOutcome, Revision, SettingsStore as _,
};
use backup_codes::{
    BackupCodes, Config, Context, Effect, Format, Formats, HashParams, Hashing, Keyring, Redeem,
    Reports, Settings, Subject, Timestamp, UserId,
};
use backup_codes_sqlx::{AuditQuery, SqliteRepository};
use getrandom::SysRng;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;

const START: i64 = 1_790_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(START + millis).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn revision() -> Revision {
    Revision::random(&mut SysRng).unwrap()
}

fn event(user: &str, kind: EventKind, millis: i64) -> Event {
    let json = serde_json::json!({
        "id": revision().to_string(), "at": START + millis, "kind": kind.as_str(),
        "outcome": "success", "subject": user, "actor": "system",
    });
    serde_json::from_value(json).unwrap()
}

async fn fresh() -> (TempDir, SqliteRepository) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("site.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(2);
    let pool = pool.connect_with(options).await.unwrap();
    (folder, SqliteRepository::open(pool).await.unwrap())
}

fn service(store: SqliteRepository) -> BackupCodes {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    BackupCodes::new(store, Settings::default(), Hashing::inline(params)).with_config(config)
}

/// Puts a first record for this user, with these events.
async fn put(store: &SqliteRepository, name: &str, events: &[Event]) {
    let (user, summary) = (user(name), Summary::default());
    let put = Put::new(&user, Expected::Absent, revision(), "{}", &summary, events);
    assert_eq!(store.put(put).await.unwrap(), PutOutcome::Applied);
}

/// All pages of a query, and how many events each has.
async fn pages(store: &SqliteRepository, query: &AuditQuery) -> (Vec<Event>, Vec<usize>) {
    let (mut events, mut lengths, mut query) = (Vec::new(), Vec::new(), query.clone());
    loop {
        let page = store.audit_page(&query).await.unwrap();
        lengths.push(page.events.len());
        assert!(lengths.len() <= 1000, "there are fewer events");
        events.extend(page.events);
        match page.next {
            Some(next) => query = query.with_after(next),
            None => return (events, lengths),
        }
    }
}

#[tokio::test]
async fn pages_hold_every_event_that_is_asked_for_once_and_newest_first() {
    let (_folder, store) = fresh().await;
    let kinds = [EventKind::Redeem, EventKind::Check, EventKind::Burn];
    let mut all = Vec::new();
    for number in 0..60 {
        // Many at the same moment, and not in the order of their times.
        let name = ["alice", "Alice", "bob", ""][number % 4];
        let kind = kinds[number % 3];
        let mut event = event("nobody", kind, i64::try_from(number * 7 % 5).unwrap());
        event.subject = (!name.is_empty()).then(|| user(name));
        all.push(event);
    }
    store.audit_sink().record(&all).await.unwrap();
    // The latest written comes first among those of one moment.
    let mut newest_first: Vec<&Event> = all.iter().rev().collect();
    newest_first.sort_by_key(|event| std::cmp::Reverse(event.at));

    let users = [
        None,
        Some("alice"),
        Some("Alice"),
        Some("bob"),
        Some("carol"),
    ];
    let kinds = [
        None,
        Some(EventKind::Redeem),
        Some(EventKind::Burn),
        Some(EventKind::Lock),
    ];
    for (name, kind) in users
        .into_iter()
        .flat_map(|user| kinds.map(|kind| (user, kind)))
    {
        for (from, until) in [
            (None, None),
            (Some(1), Some(4)),
            (Some(2), Some(2)),
            (None, Some(2)),
        ] {
            for limit in [1, 7, 1000] {
                let mut query = AuditQuery::new().with_limit(limit);
                query.user = name.map(user);
                query.kind = kind;
                query.from = from.map_or(Timestamp::MIN, at);
                query.until = until.map_or(Timestamp::MAX, at);
                let wanted: Vec<Event> = newest_first
                    .iter()
                    .filter(|event| query.user.is_none() || event.subject == query.user)
                    .filter(|event| kind.is_none_or(|kind| event.kind == kind))
                    .filter(|event| (query.from..query.until).contains(&event.at))
                    .map(|event| (*event).clone())
                    .collect();
                let (events, lengths) = pages(&store, &query).await;
                assert_eq!(events, wanted, "{query:?}");
                let (_, full) = lengths.split_last().unwrap();
                assert!(
                    full.iter().all(|length| *length == usize::from(limit)),
                    "{lengths:?}"
                );
                let needed = wanted.len().div_ceil(limit.into()).max(1);
                assert_eq!(lengths.len(), needed, "{query:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_written_between_two_pages_moves_none_of_the_others() {
    let (_folder, store) = fresh().await;
    let events: Vec<Event> = (0..4)
        .map(|_| event("alice", EventKind::Redeem, 0))
        .collect();
    store.audit_sink().record(&events).await.unwrap();
    let query = AuditQuery::new().with_limit(2);
    let first = store.audit_page(&query).await.unwrap();
    store
        .audit_sink()
        .record(&[event("alice", EventKind::Redeem, 0)])
        .await
        .unwrap();
    let second = store
        .audit_page(&query.with_after(first.next.unwrap()))
        .await
        .unwrap();
    assert_eq!(first.events, [events[3].clone(), events[2].clone()]);
    assert_eq!(second.events, [events[1].clone(), events[0].clone()]);
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn without_forwarding_events_are_delivered_when_they_are_written() {
    let (_folder, store) = fresh().await;
    let quiet = store.clone().as_audit_log();
    let waiting = event("alice", EventKind::Redeem, 0);
    let (done, saved) = (
        event("bob", EventKind::Redeem, 1),
        event("bob", EventKind::SaveSettings, 2),
    );
    put(&store, "alice", std::slice::from_ref(&waiting)).await;
    put(&quiet, "bob", std::slice::from_ref(&done)).await;
    let settings = Settings::default();
    let events = std::slice::from_ref(&saved);
    let outcome = quiet
        .save_settings(Expected::Absent, revision(), &settings, events)
        .await;
    assert_eq!(outcome.unwrap(), PutOutcome::Applied);
    assert_eq!(
        store.undelivered(10).await.unwrap(),
        std::slice::from_ref(&waiting)
    );
    // What waited from before is settled, so that it can be removed in time.
    assert_eq!(quiet.undelivered(10).await.unwrap(), []);
    assert_eq!(store.undelivered(10).await.unwrap(), []);
    // All of them are in the log.
    let page = store.audit_page(&AuditQuery::new()).await.unwrap();
    assert_eq!(page.events, [saved, done, waiting]);
}

#[tokio::test]
async fn the_sink_keeps_an_event_once() {
    let (_folder, store) = fresh().await;
    let (stored, offered) = (
        event("alice", EventKind::Redeem, 0),
        event("alice", EventKind::Redeem, 1),
    );
    put(&store, "alice", std::slice::from_ref(&stored)).await;
    let sink = store.audit_sink();
    for _ in 0..2 {
        sink.record(&[stored.clone(), offered.clone(), offered.clone()])
            .await
            .unwrap();
    }
    let page = store.audit_page(&AuditQuery::new()).await.unwrap();
    assert_eq!(page.events, [offered, stored.clone()]);
    // What came with a write waits for whoever delivers; what was offered does not.
    assert_eq!(store.undelivered(10).await.unwrap(), [stored]);
}

#[tokio::test]
async fn the_sink_keeps_what_a_service_stores_nowhere_else() {
    for forwarding in [true, false] {
        let (_folder, mut store) = fresh().await;
        let sink = store.audit_sink();
        if !forwarding {
            store = store.as_audit_log();
        }
        let codes = service(store.clone()).with_audit(sink);
        let alice = Subject::new(user("alice"), ["staff"]);
        let cx = |millis| Context::new(at(millis), &alice);
        let sheet = codes.issue(&alice, &cx(0)).await.unwrap().sheet;
        let code = sheet.expose().codes().next().unwrap().1;
        assert!(matches!(
            codes.redeem(&alice, "?", &cx(1)).await,
            Ok(Redeem::NotACode(_))
        ));
        assert!(matches!(
            codes.redeem(&alice, &code, &cx(2)).await,
            Ok(Redeem::Accepted(_))
        ));
        let redeems = AuditQuery::new().with_kind(EventKind::Redeem);
        let page = store.audit_page(&redeems).await.unwrap();
        let told = |event: &Event| (event.at, event.outcome, event.reason);
        let told: Vec<_> = page.events.iter().map(told).collect();
        let accepted = (at(2), EventOutcome::Success, None);
        let no_code = (at(1), EventOutcome::Failure, Some(Reason::NotACodeShape));
        assert_eq!(told, [accepted, no_code]);
        assert_eq!(store.undelivered(10).await.unwrap(), []);
        // The newest stays, and none waits.
        let purged = store.purge_events(Duration::ZERO, at(10)).await;
        assert_eq!(purged.unwrap(), 3);
    }
}

#[tokio::test]
async fn retention_removes_old_events_as_far_as_they_are_delivered() {
    let (_folder, store) = fresh().await;
    // More than one statement removes.
    let delivered: Vec<Event> = (0..2500)
        .map(|_| event("alice", EventKind::Check, 0))
        .collect();
    store.audit_sink().record(&delivered).await.unwrap();
    let newer = event("alice", EventKind::Check, 1);
    store
        .audit_sink()
        .record(std::slice::from_ref(&newer))
        .await
        .unwrap();
    let waiting = event("bob", EventKind::Redeem, -1);
    put(&store, "bob", std::slice::from_ref(&waiting)).await;

    let purge = async || store.purge_events(Duration::ZERO, at(1)).await.unwrap();
    assert_eq!(purge().await, 2500);
    let page = store.audit_page(&AuditQuery::new()).await.unwrap();
    assert_eq!(page.events, [newer.clone(), waiting.clone()]);
    store.acknowledge(&[waiting.id]).await.unwrap();
    assert_eq!(purge().await, 1);
    let page = store.audit_page(&AuditQuery::new()).await.unwrap();
    assert_eq!(page.events, [newer]);
}

#[tokio::test]
async fn a_clock_that_is_ahead_removes_no_event_that_is_not_old() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let (_folder, store) = fresh().await;
    let days = |days: i64| Duration::from_millis((days * DAY).unsigned_abs());
    let all = [0, 1, 399, 400, 2000].map(|day| event("alice", EventKind::Check, day * DAY));
    store.audit_sink().record(&all).await.unwrap();
    let left = async |keep, day| {
        store.purge_events(keep, at(day * DAY)).await.unwrap();
        let page = store.audit_page(&AuditQuery::new()).await.unwrap();
        let day = |event: &Event| (event.at.unix_millis() - START) / DAY;
        page.events.iter().map(day).collect::<Vec<_>>()
    };
    // Under a clock of 1970 nothing is old.
    assert_eq!(left(days(400), 0).await, [2000, 400, 399, 1, 0]);
    for ahead in [400, 401, 799, 1000, 1999] {
        assert_eq!(left(days(400), ahead).await, [2000, 400, 399, 1, 0]);
    }
    assert_eq!(left(days(399), 1000).await, [2000, 400, 399, 1]);
    // Once the clock gets there the event of the future is one like any other.
    assert_eq!(left(days(400), 2000).await, [2000]);
    assert_eq!(left(Duration::MAX, 2000).await, [2000]);
}

#[tokio::test]
async fn purging_removes_tombstones_and_leaves_the_others_and_the_log() {
    let (_folder, store) = fresh().await;
    let codes = service(store.clone());
    for name in ["alice", "bob"] {
        let subject = Subject::new(user(name), ["staff"]);
        let cx = Context::new(at(0), &subject);
        codes.issue(&subject, &cx).await.map(drop).unwrap();
    }
    let alice = Subject::new(user("alice"), ["staff"]);
    let effect = codes.erase(&alice, &Context::system(at(1))).await;
    assert_eq!(effect.unwrap(), Effect::Done);
    let erased = AuditQuery::new().with_kind(EventKind::Erase);
    let logged = store.audit_page(&erased).await.unwrap().events;
    assert_eq!(logged.len(), 1);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let purged = Reports::new(&codes, store.clone())
        .purge(&Context::system(at(1).saturating_add(year)))
        .await
        .unwrap();
    assert_eq!((purged.removed, purged.unreadable), (1, 0));
    let load = async |name| store.load(&user(name), Freshness::Latest).await.unwrap();
    assert_eq!(load("alice").await, None);
    assert!(load("bob").await.is_some());
    assert_eq!(store.audit_page(&erased).await.unwrap().events, logged);
}
