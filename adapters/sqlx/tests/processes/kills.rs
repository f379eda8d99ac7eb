//! A process killed at any moment takes nothing back that it has said, and says nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::hint;
use std::mem;
use std::path::Path;
use std::sync::Mutex;

use backup_codes::audit::{AuditSink as _, Event, EventId, EventKind, EventOutcome};
use backup_codes::hash::Acceptance;
use backup_codes::report::UsageQuery;
use backup_codes::repository::{
    CodeRepository, Directory as _, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
};
use backup_codes::{
    Activation, BackupCodes, Check, Periods, Redeem, Sheet, Subject, Timestamp, UserId,
};
use backup_codes_sqlx::{AuditQuery, Error, SqliteRepository};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::{Child, START, listen, options, own, pool, say, service, subject};

const USERS: usize = 4;
const CODES: u8 = 5;
const DAY: i64 = 24 * 60 * 60 * 1000;

fn kills() -> usize {
    if std::env::var_os("BACKUP_CODES_DEEP").is_some() {
        3000
    } else {
        300
    }
}

/// Answers before it has written. What comes after waits for the write, so that only a kill shows
/// the difference.
pub(crate) struct AnswersFirst {
    store: SqliteRepository,
    writing: Mutex<Option<JoinHandle<PutOutcome>>>,
}

/// Writes a record and its events one after the other.
pub(crate) struct EventsSecond(pub(crate) SqliteRepository);

impl AnswersFirst {
    pub(crate) fn new(store: SqliteRepository) -> Self {
        Self {
            store,
            writing: Mutex::default(),
        }
    }

    async fn written(&self) {
        let writing = self.writing.lock().unwrap().take();
        if let Some(writing) = writing {
            assert_eq!(writing.await.unwrap(), PutOutcome::Applied);
        }
    }
}

impl CodeRepository for AnswersFirst {
    type Error = Error;

    async fn load(&self, user: &UserId, freshness: Freshness) -> Result<Option<Loaded>, Error> {
        self.written().await;
        self.store.load(user, freshness).await
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Error>> {
        self.written().await;
        let (store, user, record) = (self.store.clone(), put.user.clone(), put.record.to_owned());
        let (summary, events) = (put.summary.clone(), put.events.to_vec());
        let (expected, revision) = (put.expected, put.revision);
        let writing = tokio::spawn(async move {
            let put = Put::new(&user, expected, revision, &record, &summary, &events);
            store.put(put).await.unwrap()
        });
        *self.writing.lock().unwrap() = Some(writing);
        Ok(PutOutcome::Applied)
    }

    async fn remove(&self, _: &UserId, _: Revision) -> Result<PutOutcome, PutError<Error>> {
        unreachable!("nothing is purged here")
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Error> {
        self.store.undelivered(limit).await
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Error> {
        self.store.acknowledge(events).await
    }
}

impl CodeRepository for EventsSecond {
    type Error = Error;

    async fn load(&self, user: &UserId, freshness: Freshness) -> Result<Option<Loaded>, Error> {
        self.0.load(user, freshness).await
    }

    async fn put(&self, mut put: Put<'_>) -> Result<PutOutcome, PutError<Error>> {
        let events = mem::take(&mut put.events);
        let outcome = self.0.put(put).await?;
        let added = self.0.audit_sink().record(events).await;
        added.map_err(PutError::Unknown)?;
        Ok(outcome)
    }

    async fn remove(&self, _: &UserId, _: Revision) -> Result<PutOutcome, PutError<Error>> {
        unreachable!("nothing is purged here")
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Error> {
        self.0.undelivered(limit).await
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Error> {
        self.0.acknowledge(events).await
    }
}

/// The codes of a sheet as words: set, then number and code in turn.
fn words(sheet: &Sheet) -> String {
    let codes = sheet.expose();
    codes
        .codes()
        .fold(sheet.id().to_string(), |text, (slot, code)| {
            format!("{text} {slot} {}", *code)
        })
}

fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<(u8, String)> {
    let words: Vec<&str> = words.into_iter().collect();
    let pairs = words.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].parse().unwrap(), pair[1].to_owned()))
        .collect()
}

/// Redeems and regenerates for each user until it is killed, with a store of each user's own.
pub(crate) async fn worker<R: CodeRepository + 'static>(
    file: &Path,
    store: impl Fn(SqliteRepository) -> R,
) {
    let sqlite = SqliteRepository::open(pool(options(file)).await)
        .await
        .unwrap()
        .as_audit_log();
    let lines = listen();
    let (now, sheets) = lines.split_first().unwrap();
    let now = now.parse().unwrap();
    let tasks: Vec<_> = sheets
        .iter()
        .map(|line| {
            let mut words = line.split(' ');
            let (user, set) = (words.next().unwrap(), words.next().unwrap());
            let (user, set) = (subject(user), set.to_owned());
            tokio::spawn(work(
                service(store(sqlite.clone()), CODES),
                user,
                set,
                of_words(words),
                now,
            ))
        })
        .collect();
    for task in tasks {
        if let Err(panic) = task.await {
            say(&format!("failed {panic}"));
        }
    }
}

async fn work(
    service: BackupCodes,
    user: Subject,
    mut set: String,
    mut codes: Vec<(u8, String)>,
    now: i64,
) {
    let (id, cx) = (user.id(), own(&user, now));
    loop {
        // The first one once more: it is spent by then.
        for (slot, code) in codes.iter().chain(codes.first()) {
            match service.redeem(&user, code, &cx).await.unwrap() {
                Redeem::Accepted(receipt) => {
                    say(&format!(
                        "accepted {id} {set} {slot} {}",
                        receipt.remaining()
                    ));
                }
                Redeem::Refused(_) => say(&format!("refused {id} {set} {slot}")),
                Redeem::NotACode(_) => unreachable!("it is one"),
            }
        }
        let sheet = service.prepare(&user, &cx).await.unwrap();
        let text = words(&sheet);
        say(&format!("prepared {id} {text}"));
        let activated = service.activate(&user, sheet.id(), &cx).await.unwrap();
        assert!(matches!(activated, Activation::Activated(_)));
        set = sheet.id().to_string();
        codes = of_words(text.split(' ').skip(1));
        say(&format!("activated {id} {set}"));
    }
}

/// What the killed processes have said about a user.
#[derive(Debug, Default)]
struct User {
    active: String,
    /// Shown, and perhaps in force already.
    shown: Option<String>,
    sheets: BTreeMap<String, Vec<(u8, String)>>,
    /// Of the active set, as the record said after the kill before.
    spent: BTreeSet<u8>,
}

/// All that was said and logged up to now.
#[derive(Debug, Default)]
struct Said {
    users: BTreeMap<String, User>,
    /// Accepted: set and slot.
    accepted: BTreeSet<(String, u8)>,
    /// Accepted since the kill before: set, and codes left.
    uses: Vec<(String, u8)>,
    /// Codes left, as the events of each set's uses say.
    logged: BTreeMap<String, BTreeSet<u8>>,
    activated: usize,
}

impl Said {
    fn hear(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (verb, name, set) = (word(), word(), word());
        let Some(user) = self.users.get_mut(&name) else {
            return Err(format!("a process broke: {line}"));
        };
        match verb.as_str() {
            "accepted" => {
                let slot = word().parse().unwrap();
                self.uses.push((set.clone(), word().parse().unwrap()));
                if user.spent.contains(&slot) && user.active == set
                    || !self.accepted.insert((set, slot))
                {
                    return Err(format!("accepted twice: {line}"));
                }
            }
            "refused" => {
                let slot = word().parse().unwrap();
                let spent = user.active == set && user.spent.contains(&slot);
                if !spent && !self.accepted.contains(&(set, slot)) {
                    return Err(format!("an unspent code was refused: {line}"));
                }
            }
            "prepared" => {
                user.sheets.insert(set.clone(), of_words(words));
                user.shown = Some(set);
            }
            "activated" => {
                self.activated += 1;
                user.spent.clear();
                user.shown = None;
                user.active = set;
            }
            _ => return Err(format!("a process broke: {line}")),
        }
        Ok(())
    }

    /// Compares what was said with what is in the database.
    async fn check(&mut self, file: &Path, now: i64) -> Result<(), String> {
        let sqlite = pool(options(file)).await;
        let store = SqliteRepository::open(sqlite.clone())
            .await
            .unwrap()
            .as_audit_log();
        let mut query = AuditQuery::new()
            .with_kind(EventKind::Redeem)
            .with_limit(1000);
        query.from = Timestamp::from_unix_millis(START + now).unwrap();
        loop {
            let page = store.audit_page(&query).await.unwrap();
            for event in page.events {
                if event.outcome == EventOutcome::Success {
                    let set = event.set.unwrap().to_string();
                    if !self
                        .logged
                        .entry(set)
                        .or_default()
                        .insert(event.remaining.unwrap())
                    {
                        return Err("two events of one use".to_owned());
                    }
                }
            }
            let Some(next) = page.next else { break };
            query = query.with_after(next);
        }
        for (set, remaining) in self.uses.drain(..) {
            if !self
                .logged
                .get(&set)
                .is_some_and(|logged| logged.contains(&remaining))
            {
                return Err("accepted without an event".to_owned());
            }
        }
        let service = service(store.clone(), CODES);
        for (name, user) in &mut self.users {
            let alice = subject(name);
            let status = service.status(&alice, &own(&alice, now)).await.unwrap();
            let set = status.set.map(|set| set.to_string()).unwrap_or_default();
            if set != user.active && Some(&set) != user.shown.as_ref() {
                return Err("neither the old set nor the new one".to_owned());
            }
            user.shown = None;
            user.active = set;
            let used = status.slots.iter().filter(|slot| slot.used_at.is_some());
            user.spent = used.map(|slot| slot.slot).collect();
            let logged = self.logged.get(&user.active).map_or(0, BTreeSet::len);
            let (first, last) = ((user.active.clone(), 0), (user.active.clone(), u8::MAX));
            if !self
                .accepted
                .range(first..=last)
                .all(|(_, slot)| user.spent.contains(slot))
            {
                return Err("accepted and not spent".to_owned());
            }
            if user.spent.len() != logged {
                return Err("uses and events do not match".to_owned());
            }
            let codes = &user.sheets[&user.active];
            if let Some((slot, code)) = codes.iter().find(|(slot, _)| !user.spent.contains(slot)) {
                let checked = service
                    .check(&alice, code, &own(&alice, now))
                    .await
                    .unwrap();
                if checked != Check::Valid(*slot) {
                    return Err("a code of the active set does not work".to_owned());
                }
            }
        }
        let moment = |millis| Timestamp::from_unix_millis(START + millis).unwrap();
        let periods = Periods::new(moment(0)..moment(DAY), moment(0)..moment(DAY), &[]).unwrap();
        let query = UsageQuery::new(periods, 0, moment(now), Acceptance::default());
        let figures = store.usage(&query).await.unwrap();
        let logged: usize = self.logged.values().map(BTreeSet::len).sum();
        if figures.used_today != u64::try_from(logged).unwrap() {
            return Err("the figures count other uses".to_owned());
        }
        sqlite.close().await;
        Ok(())
    }

    /// For each user one spent code, and then those that are not.
    fn sheets(&self) -> impl Iterator<Item = String> + '_ {
        self.users.iter().map(|(name, user)| {
            let codes = &user.sheets[&user.active];
            let (spent, unspent): (Vec<_>, Vec<_>) = codes
                .iter()
                .partition(|(slot, _)| user.spent.contains(slot));
            let tried = spent.into_iter().take(1).chain(unspent);
            tried.fold(format!("{name} {}", user.active), |text, (slot, code)| {
                format!("{text} {slot} {code}")
            })
        })
    }
}

/// `SplitMix64`: the same moments in every run, as far as processes run alike.
struct Moments(u64);

impl Moments {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Starts and kills so many processes one after the other, and looks after each.
fn kill(role: &str, kills: usize) -> Result<Said, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kills.db");
    let runtime = Runtime::new().unwrap();
    let mut said = Said::default();
    runtime.block_on(async {
        let sqlite = pool(options(&file)).await;
        let store = SqliteRepository::open(sqlite.clone()).await.unwrap();
        let service = service(store.as_audit_log(), CODES);
        for number in 0..USERS {
            let name = format!("user-{number}");
            let alice = subject(&name);
            let sheet = service.issue(&alice, &own(&alice, 0)).await.unwrap().sheet;
            let active = sheet.id().to_string();
            let codes = of_words(words(&sheet).split(' ').skip(1));
            let sheets = [(active.clone(), codes)].into();
            said.users.insert(
                name,
                User {
                    active,
                    sheets,
                    ..User::default()
                },
            );
        }
        sqlite.close().await;
    });
    let mut moments = Moments(0x5eed);
    for now in 1..=i64::try_from(kills).unwrap() {
        let mut child = Child::start(role, &file);
        let sheets: Vec<String> = [now.to_string()].into_iter().chain(said.sheets()).collect();
        child.say(&sheets);
        for _ in 0..moments.below(40) {
            let line = child.hear();
            said.hear(&line.ok_or("a process ended by itself")?)?;
        }
        for _ in 0..moments.below(100_000) {
            hint::spin_loop();
        }
        child.process.kill().unwrap();
        while let Some(line) = child.hear() {
            said.hear(&line)?;
        }
        child.process.wait().unwrap();
        runtime.block_on(said.check(&file, now))?;
    }
    Ok(said)
}

#[test]
fn a_process_killed_at_any_moment_leaves_what_it_has_said() {
    let said = kill("worker", kills()).unwrap();
    // It was at work when it was killed.
    assert!(said.accepted.len() > kills(), "{}", said.accepted.len());
    assert!(said.activated > USERS, "{}", said.activated);
}

#[test]
fn a_store_that_answers_before_it_has_written_is_seen() {
    let flaw = kill("worker that answers first", kills()).err();
    let seen = [
        "accepted without an event",
        "neither the old set nor the new one",
    ];
    assert!(
        seen.contains(&flaw.as_deref().unwrap_or_default()),
        "{flaw:?}"
    );
}

#[test]
fn a_store_that_writes_its_events_second_is_seen() {
    let flaw = kill("worker that writes events second", kills()).err();
    assert_eq!(flaw.as_deref(), Some("uses and events do not match"));
}
