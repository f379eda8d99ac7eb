//! Properties of generation, transitions and usage.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backup_codes::audit::{Event, Reason};
use backup_codes::code::Code;
use backup_codes::hash::{Acceptance, DefaultEngine, HashSalt, KeyId, StoredHash, Verified};
use backup_codes::outcome::Refusal;
use backup_codes::report::{Summary, UsageQuery};
use backup_codes::repository::{Record, Revision};
use backup_codes::rules::{self, NewSet, Operation, Progress, Purge, PurgeClock, Step, Transition};
use backup_codes::rules::{Attempt, OperationId, generate, generate_override, hash, usage, verify};
use backup_codes::{
    Activation, Burn, Check, Config, Context, Effect, Format, Formats, HashParams, Keyring,
    MemoryRepository, Pepper, Periods, Redeem, RevokeReason, SetId, SetSize, Status, Timestamp,
    Usage, UserId,
};
use getrandom::SysRng;
use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use support::hashing::{cheap, cheap_hasher};
use support::moments::at;
use support::operations::{backup_codes, config};
use support::people::alice;
use support::records::load;
use support::sheets::code;

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![
        (13u8..=29).prop_map(|n| Format::crockford(n).unwrap()),
        (20u8..=36).prop_map(|n| Format::digits(n).unwrap()),
    ]
}

/// The codes of a new set as they are shown.
fn shown(format: Format, size: u8) -> Vec<String> {
    let codes = generate(format, SetSize::new(size).unwrap(), &mut SysRng).unwrap();
    codes.iter().map(|code| code.expose().to_string()).collect()
}

fn id() -> OperationId {
    OperationId::from_bytes([7; 16])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_codes_of_a_set_are_numbered_from_one(format in any_format(), size in 1u8..=31) {
        let codes = generate(format, SetSize::new(size).unwrap(), &mut SysRng).unwrap();
        let slots: Vec<u8> = codes.iter().map(Code::slot).collect();
        prop_assert_eq!(slots, (1..=size).collect::<Vec<u8>>());
    }

    #[test]
    fn codes_are_shown_in_groups_of_three_or_four(format in any_format(), size in 1u8..=31) {
        for text in shown(format, size) {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            prop_assert!(groups.iter().all(|group| (3..=4).contains(group)), "{}", text);
        }
    }

    #[test]
    fn the_codes_of_a_set_are_distinct(format in any_format(), size in 1u8..=31) {
        let mut shown = shown(format, size);
        shown.sort();
        shown.dedup();
        prop_assert_eq!(shown.len(), usize::from(size));
    }

    #[test]
    fn usage_of_shards_adds_up_to_the_usage_of_their_union(
        users in proptest::collection::vec((0u8..8, 0i64..100), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let all: Vec<Summary> = users.iter().map(|(used, day)| summary(*used, *day)).collect();
        let cut = cut.index(all.len() + 1);
        let query = query();
        let mut sum = usage(&all[..cut], &query);
        sum.add(&usage(&all[cut..], &query));
        prop_assert_eq!(sum, usage(&all, &query));
    }

    #[test]
    fn usage_equals_a_plain_count(users in proptest::collection::vec((0u8..8, 0i64..100), 0..12)) {
        let all: Vec<Summary> = users.iter().map(|(used, day)| summary(*used, *day)).collect();
        let figures = usage(&all, &query());
        let used = |days: std::ops::Range<i64>| -> u64 {
            users.iter().filter(|(_, day)| days.contains(day)).map(|(used, _)| u64::from(*used)).sum()
        };
        let expected = {
            let mut expected = Usage::empty(&query());
            expected.users_with_codes = users.len() as u64;
            expected.users_low = users.iter().filter(|(used, _)| *used >= 7).count() as u64;
            expected.used_today = used(0..1);
            expected.used_this_month = used(0..21);
            expected.used_by_day = (0..30).rev().map(|day| used(day..day + 1)).collect();
            expected
        };
        prop_assert_eq!(figures, expected);
    }
}

const DAY: i64 = 86_400_000;
const TODAY: i64 = 20_000 * DAY;

fn acceptance() -> Acceptance {
    Acceptance::new(&config(), &cheap_hasher())
}

/// A user with ten codes of which so many were used so many days ago.
fn summary(used: u8, days_ago: i64) -> Summary {
    let store = MemoryRepository::new();
    let codes = backup_codes(store.clone());
    let cx = Context::new(at(TODAY - days_ago * DAY + 12_345), alice());
    let sheet = block_on(codes.issue(&alice(), &cx)).unwrap().sheet;
    for slot in 1..=used {
        let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, slot), &cx)).unwrap();
        assert!(matches!(redeemed, Redeem::Accepted(_)));
    }
    let loaded = load(&store);
    Record::from_json(&loaded.record).unwrap().summary()
}

fn query() -> UsageQuery {
    let days: Vec<Timestamp> = (-1..30).rev().map(|back| at(TODAY - back * DAY)).collect();
    let periods = Periods::new(
        at(TODAY)..at(TODAY + DAY),
        at(TODAY - 20 * DAY)..at(TODAY + DAY),
        &days,
    );
    UsageQuery::new(periods.unwrap(), 3, at(TODAY + DAY / 2), acceptance())
}

#[test]
fn a_day_of_a_clock_change_has_its_23_or_25_hours() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for (noon, hours) in [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)] {
        let noon: jiff::Timestamp = format!("{noon}T12:00:00Z").parse().unwrap();
        let now = at(noon.as_millisecond());
        let periods = Periods::in_zone(now, &zone, 2).unwrap();
        // One use in each quarter hour around; those within the day are its hours times four.
        let record = |millis: i64| {
            let store = MemoryRepository::new();
            let codes = backup_codes(store.clone());
            let cx = Context::new(at(millis), alice());
            let sheet = block_on(codes.issue(&alice(), &cx)).unwrap().sheet;
            let _ = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
            let loaded = load(&store);
            Record::from_json(&loaded.record).unwrap().summary()
        };
        let around: Vec<Summary> = (-200..200)
            .map(|n| record(now.unix_millis() + n * 900_000))
            .collect();
        let query = UsageQuery::new(periods, 3, now, acceptance());
        let figures = usage(&around, &query);
        assert_eq!(figures.used_today, hours * 4);
        assert_eq!(figures.used_by_day[1], hours * 4);
    }
}

#[test]
fn windows_off_a_quarter_hour_or_out_of_order_are_refused() {
    let day = at(TODAY)..at(TODAY + DAY);
    assert!(Periods::new(at(TODAY + 1)..at(TODAY + DAY), day.clone(), &[]).is_err());
    assert!(Periods::new(at(TODAY + DAY)..at(TODAY), day.clone(), &[]).is_err());
    assert!(Periods::new(day.clone(), day.clone(), &[at(TODAY)]).is_err());
    assert!(Periods::new(day.clone(), day, &[at(TODAY + DAY), at(TODAY)]).is_err());
}

/// The record of a user with a use in each quarter of an hour of 70 days, and the end of these.
fn used_for_70_days() -> (String, i64) {
    let store = MemoryRepository::new();
    let codes = backup_codes(store.clone());
    let mut now = TODAY;
    let mut sheet = None;
    for n in 0..70 * 96i64 {
        let cx = Context::new(at(now), alice());
        if n % 31 == 0 {
            let size = SetSize::new(31).unwrap();
            let many = codes.clone().with_config(config().with_set_size(size));
            sheet = Some(block_on(many.issue(&alice(), &cx)).unwrap().sheet);
        }
        let slot = u8::try_from(n % 31).unwrap() + 1;
        let typed = code(sheet.as_ref().unwrap(), slot);
        let redeemed = block_on(codes.redeem(&alice(), &typed, &cx)).unwrap();
        assert!(matches!(redeemed, Redeem::Accepted(_)));
        now += 900_000;
    }
    (load(&store).record, now)
}

#[test]
fn a_record_of_many_uses_stays_bounded() {
    let (record, _) = used_for_70_days();
    assert!(record.len() <= Record::MAX_JSON_LEN, "{}", record.len());
}

#[test]
fn the_uses_of_the_latest_62_days_are_kept_whole() {
    let (record, now) = used_for_70_days();
    let kept = Record::from_json(&record).unwrap().summary().uses;
    let within = |used: &backup_codes::repository::Use| {
        used.at() >= at(now).saturating_sub(Duration::from_secs(62 * 86_400))
    };
    assert_eq!(kept.iter().filter(|used| within(used)).count(), 62 * 96);
}

/// What a rule is asked to do.
#[derive(Debug, Clone)]
enum Ask {
    Prepare,
    Issue,
    Activate,
    ActivateConfirmed(Typed),
    Discard,
    Redeem(Typed),
    Check(Typed),
    Burn(Typed),
    IssueOverride,
    RevokeOverride,
    RevokeAll,
    Unlock,
    Erase,
    Purge,
}

/// A code of the newest set or the one before it, the newest override, or nobody's.
#[derive(Debug, Clone)]
enum Typed {
    Newest(u8),
    Older(u8),
    Override,
    Wrong(u8),
}

const CODES: u8 = 6;

fn any_ask() -> impl Strategy<Value = Ask> {
    let typed = || {
        prop_oneof![
            4 => (1..=CODES).prop_map(Typed::Newest),
            2 => (1..=CODES).prop_map(Typed::Older),
            2 => Just(Typed::Override),
            10 => Just(Typed::Wrong(1)),
            2 => Just(Typed::Wrong(0)),
        ]
    };
    prop_oneof![
        2 => Just(Ask::Prepare),
        1 => Just(Ask::Issue),
        2 => Just(Ask::Activate),
        2 => typed().prop_map(Ask::ActivateConfirmed),
        1 => Just(Ask::Discard),
        14 => typed().prop_map(Ask::Redeem),
        6 => typed().prop_map(Ask::Check),
        6 => typed().prop_map(Ask::Burn),
        2 => Just(Ask::IssueOverride),
        1 => Just(Ask::RevokeOverride),
        1 => Just(Ask::RevokeAll),
        1 => Just(Ask::Unlock),
        1 => Just(Ask::Erase),
        2 => Just(Ask::Purge),
    ]
}

/// Mostly the present, in any order; sometimes a clock that is plainly wrong.
fn any_clock() -> impl Strategy<Value = Timestamp> {
    let around = |span: i64| (-span..=span).prop_map(|by| at(TODAY + by));
    prop_oneof![
        40 => around(DAY / 288),
        10 => around(DAY / 48),
        4 => around(3 * DAY),
        2 => around(500 * DAY),
        1 => (0..=Timestamp::MAX.unix_millis()).prop_map(at),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

/// A record in which a code was used in each quarter of an hour of 62 days.
fn used_each_quarter_until(end: Timestamp) -> Record {
    let last = end.unix_millis() / 900_000;
    let uses: Vec<(i64, u16)> = (last - 62 * 96..=last).map(|at| (at, u16::MAX)).collect();
    let text = serde_json::json!({
        "version": 1, "throttle": { "wrong_in_a_row": 0 }, "uses": uses,
    });
    Record::from_json(&text.to_string()).unwrap()
}

fn any_start() -> impl Strategy<Value = Record> {
    prop_oneof![
        6 => Just(Record::new()),
        1 => Just(used_each_quarter_until(at(TODAY))),
        1 => Just(used_each_quarter_until(Timestamp::MAX)),
    ]
}

/// A record, and what its user has on paper.
struct Holder {
    user: UserId,
    config: Config,
    params: HashParams,
    record: Record,
    sets: Vec<(SetId, Vec<Code>)>,
    overrides: Vec<(SetId, Code)>,
    foreign: Vec<Code>,
    count: u8,
}

/// What a transition came to, as far as any of them have in common.
#[derive(Default)]
struct Came {
    to: &'static str,
    /// The code that was accepted.
    accepted: Option<(SetId, u8)>,
    step: Option<Step>,
    unstored: Vec<Event>,
}

impl Holder {
    fn new(record: Record) -> Self {
        let pepper = Pepper::new([3; 32]).unwrap();
        let keyring = Keyring::new(KeyId::new("k".repeat(32)).unwrap(), pepper);
        let mut foreign = vec![generate_override(Format::HIGH_ENTROPY, &mut SysRng).unwrap()];
        foreign.extend(new_codes());
        Self {
            user: alice().id().clone(),
            config: config()
                .with_disable_after(13)
                .and_then(|config| config.with_set_lifetime(Duration::from_secs(86_400)))
                .unwrap(),
            params: cheap(keyring),
            record,
            sets: Vec::new(),
            overrides: Vec::new(),
            foreign,
            count: 0,
        }
    }

    fn hash(&self, set: SetId, code: &Code) -> StoredHash {
        let salt = HashSalt::random(&mut SysRng).unwrap();
        hash(
            &self.params,
            &mut DefaultEngine::new(),
            &self.user,
            set,
            code,
            salt,
        )
        .unwrap()
    }

    fn new_set(&mut self) -> NewSet {
        let (id, codes) = (SetId::random(&mut SysRng).unwrap(), new_codes());
        let hashes = codes.iter().map(|code| self.hash(id, code)).collect();
        self.sets.push((id, codes));
        NewSet::new(id, Format::HIGH_ENTROPY, hashes).unwrap()
    }

    fn newest(&self) -> SetId {
        self.sets
            .last()
            .map_or(SetId::from_bytes([0; 16]), |(id, _)| *id)
    }

    /// The code, and the set it is of. What the user does not have is a stranger's.
    fn typed(&self, typed: &Typed) -> (SetId, &Code) {
        let of_set = |back: usize, slot: u8| {
            let (id, codes) = self.sets.iter().rev().nth(back)?;
            Some((*id, &codes[usize::from(slot) - 1]))
        };
        let found = match typed {
            Typed::Newest(slot) => of_set(0, *slot),
            Typed::Older(slot) => of_set(1, *slot),
            Typed::Override => self.overrides.last().map(|(id, code)| (*id, code)),
            Typed::Wrong(_) => None,
        };
        let slot = match typed {
            Typed::Newest(slot) | Typed::Older(slot) | Typed::Wrong(slot) => *slot,
            Typed::Override => 0,
        };
        found.unwrap_or((SetId::from_bytes([0; 16]), &self.foreign[usize::from(slot)]))
    }

    fn attempt(&self, typed: &Typed, id: OperationId) -> Attempt {
        let text = self.typed(typed).1.expose();
        Attempt::parse(&text, &Formats::new(Format::HIGH_ENTROPY), id).unwrap()
    }

    /// Asks, compares if told to, and asks again.
    fn settle<T>(
        &self,
        attempt: &Attempt,
        rule: impl Fn(Option<&Verified>) -> Progress<T>,
    ) -> Transition<T> {
        let target = match rule(None) {
            Progress::Done(transition) => return transition,
            Progress::Compare(target) => target,
        };
        let mut engine = DefaultEngine::new();
        let verified = verify(&self.params, &mut engine, &self.user, attempt, &target).unwrap();
        match rule(Some(&verified)) {
            Progress::Done(transition) => transition,
            Progress::Compare(_) => panic!("one comparison is enough"),
        }
    }

    fn ask(&mut self, ask: &Ask, now: Timestamp, operation: OperationId) -> Came {
        let context = Context::new(now, alice());
        let (user, config, record) = (self.user.clone(), self.config.clone(), self.record.clone());
        let acceptance = Acceptance::new(&config, &self.params);
        let operation = Operation {
            user: &user,
            context: &context,
            config: &config,
            acceptance: &acceptance,
            low_threshold: 3,
            id: operation,
            revision: Revision::random(&mut SysRng).unwrap(),
        };
        match ask {
            Ask::Prepare => came(
                rules::prepare(&record, self.new_set(), &operation).ok(),
                |()| "prepared",
            ),
            Ask::Issue => came(
                rules::issue(&record, self.new_set(), &operation).ok(),
                |_| "activated",
            ),
            Ask::Activate => came(
                Some(rules::activate(&record, self.newest(), &operation)),
                activation,
            ),
            Ask::ActivateConfirmed(typed) => {
                let attempt = self.attempt(typed, operation.id);
                let transition = self.settle(&attempt, |verified| {
                    let set = self.newest();
                    rules::activate_confirmed(&record, set, &attempt, verified, &operation)
                });
                came(Some(transition), activation)
            }
            Ask::Discard => came(
                Some(rules::discard(&record, self.newest(), &operation)),
                |effect| did(*effect, "discarded"),
            ),
            Ask::Redeem(typed) => {
                let (set, slot) = (self.typed(typed).0, self.typed(typed).1.slot());
                let attempt = self.attempt(typed, operation.id);
                let transition = self.settle(&attempt, |verified| {
                    rules::consume(&record, &attempt, verified, &operation)
                });
                let accepted =
                    matches!(transition.outcome, Redeem::Accepted(_)).then_some((set, slot));
                let came = came(Some(transition), |outcome| match outcome {
                    Redeem::Accepted(_) => "accepted",
                    Redeem::Refused(refusal) => refused(refusal),
                    Redeem::NotACode(_) => "not a code",
                });
                Came { accepted, ..came }
            }
            Ask::Check(typed) => {
                let attempt = self.attempt(typed, operation.id);
                let transition = self.settle(&attempt, |verified| {
                    rules::check(&record, &attempt, verified, &operation)
                });
                came(Some(transition), |outcome| match outcome {
                    Check::Valid(_) => "valid",
                    Check::Refused(refusal) => refused(refusal),
                    Check::NotACode(_) => "not a code",
                })
            }
            Ask::Burn(typed) => {
                let attempt = self.attempt(typed, operation.id);
                let transition = self.settle(&attempt, |verified| {
                    rules::burn(&record, &attempt, verified, &operation)
                });
                came(Some(transition), |outcome| match outcome {
                    Burn::Done(_) => "burned or not",
                    Burn::Refused(refusal) => refused(refusal),
                    Burn::NotACode(_) => "not a code",
                })
            }
            Ask::IssueOverride => {
                let id = SetId::random(&mut SysRng).unwrap();
                let code = generate_override(Format::HIGH_ENTROPY, &mut SysRng).unwrap();
                let hash = self.hash(id, &code);
                self.overrides.push((id, code));
                let until = now.saturating_add(Duration::from_secs(3600));
                let format = Format::HIGH_ENTROPY;
                let issued = rules::issue_override(&record, id, format, hash, until, &operation);
                came(issued.ok(), |_| "override issued")
            }
            Ask::RevokeOverride => came(
                Some(rules::revoke_override(&record, &operation)),
                |effect| did(*effect, "override revoked"),
            ),
            Ask::RevokeAll => {
                let reason = RevokeReason::Compromised;
                came(
                    Some(rules::revoke_all(&record, reason, &operation)),
                    |_| "revoked",
                )
            }
            Ask::Unlock => came(Some(rules::unlock(&record, &operation)), |effect| {
                did(*effect, "unlocked")
            }),
            Ask::Erase => came(Some(rules::erase(&record, &operation)), |effect| {
                did(*effect, "erased")
            }),
            Ask::Purge => match rules::purge(&record, PurgeClock::Right, &operation) {
                Purge::Keep => Came {
                    to: "kept",
                    ..Came::default()
                },
                Purge::Trim(step) => Came {
                    to: "trimmed",
                    step: Some(step),
                    ..Came::default()
                },
                Purge::Ahead => unreachable!("the clock is right"),
                Purge::Remove => {
                    self.record = Record::new();
                    Came {
                        to: "removed",
                        ..Came::default()
                    }
                }
            },
        }
    }

    fn status(&self, now: Timestamp) -> Status {
        rules::status(
            &self.record,
            &Operation {
                user: &self.user,
                context: &Context::system(now),
                config: &self.config,
                acceptance: &Acceptance::new(&self.config, &self.params),
                low_threshold: 3,
                id: id(),
                revision: Revision::from_bytes([0; 16]),
            },
        )
    }
}

fn new_codes() -> Vec<Code> {
    generate(
        Format::HIGH_ENTROPY,
        SetSize::new(CODES).unwrap(),
        &mut SysRng,
    )
    .unwrap()
}

fn did(effect: Effect, name: &'static str) -> &'static str {
    match effect {
        Effect::Done => name,
        Effect::Nothing => "nothing to do",
    }
}

fn came<T>(transition: Option<Transition<T>>, name: impl Fn(&T) -> &'static str) -> Came {
    match transition {
        None => Came {
            to: "refused: erased",
            ..Came::default()
        },
        Some(transition) => Came {
            to: name(&transition.outcome),
            accepted: None,
            step: transition.step,
            unstored: transition.unstored,
        },
    }
}

fn activation(outcome: &Activation) -> &'static str {
    match outcome {
        Activation::Activated(_) => "activated",
        Activation::AlreadyActive => "active already",
        Activation::NoSuchSet => "no such set",
        Activation::WrongConfirmation => "wrong confirmation",
        Activation::NotACode(_) => "not a code",
    }
}

fn refused(refusal: &Refusal) -> &'static str {
    refusal.reason().as_str()
}

type Spent = BTreeMap<(SetId, u8), (Option<Timestamp>, Option<Timestamp>)>;

fn spent(status: &Status) -> Spent {
    let Some(set) = status.set else {
        return Spent::new();
    };
    let slots = status
        .slots
        .iter()
        .filter(|slot| slot.used_at.is_some() || slot.burned_at.is_some());
    slots
        .map(|slot| ((set, slot.slot), (slot.used_at, slot.burned_at)))
        .collect()
}

fn every_transition_holds(
    start: Record,
    asks: &[(Ask, Timestamp)],
    reached: &RefCell<BTreeSet<&str>>,
) {
    let mut holder = Holder::new(start);
    let (mut accepted, mut ever_spent, mut retired) =
        (BTreeSet::new(), Spent::new(), BTreeSet::new());
    let mut event_ids = BTreeSet::new();
    for (ask, now) in asks {
        holder.count += 1;
        let operation = OperationId::from_bytes([holder.count; 16]);
        let before = holder.status(*now);
        let came = holder.ask(ask, *now, operation);
        reached.borrow_mut().insert(came.to);
        for event in came
            .step
            .iter()
            .flat_map(|step| &step.events)
            .chain(&came.unstored)
        {
            assert_eq!(
                (event.at, event.subject.as_ref()),
                (*now, Some(&holder.user))
            );
            assert!(event_ids.insert(event.id), "an event id twice");
        }
        if let Some(step) = came.step {
            // Purging is housekeeping: it ends nothing that was still good.
            assert!(
                !step.events.is_empty() || came.to == "trimmed",
                "{ask:?} says nothing"
            );
            assert!(step.record.has_applied(operation), "{ask:?} is not settled");
            assert!(
                came.unstored.is_empty(),
                "an event is stored or unstored, not both"
            );
            let json = step.record.to_json();
            assert!(json.len() <= Record::MAX_JSON_LEN, "{}", json.len());
            assert_eq!(Record::from_json(&json).unwrap(), step.record);
            if came.to == "erased" {
                // The ids of operations, which are random, are all that stays beside it.
                let mut left: serde_json::Value = serde_json::from_str(&json).unwrap();
                left.as_object_mut().unwrap().remove("operations");
                let tombstone = serde_json::json!({
                    "version": 1, "throttle": { "wrong_in_a_row": 0 }, "erased_at": now,
                });
                assert_eq!(left, tombstone);
            }
            holder.record = step.record;
        } else if matches!(came.to, "locked" | "disabled" | "no_codes" | "expired") {
            assert_eq!(came.unstored.len(), 1, "nobody hears of {ask:?}");
        }
        let after = holder.status(*now);

        // Once means once, and nothing un-spends a slot or brings a set back.
        if let Some(code) = came.accepted {
            assert!(accepted.insert(code), "accepted twice");
            assert!(
                !ever_spent.contains_key(&code),
                "accepted after it was spent"
            );
        }
        let spent = spent(&after);
        for (code, when) in ever_spent
            .iter()
            .filter(|((set, _), _)| Some(*set) == after.set)
        {
            assert_eq!(spent.get(code), Some(when), "{ask:?} un-spent a slot");
        }
        ever_spent.extend(spent);
        if before.set != after.set {
            retired.extend(before.set);
            assert!(
                after.set.is_none_or(|set| !retired.contains(&set)),
                "a set came back"
            );
        }

        // Only a redeemed code, an unlock or a new set ends a run; erasing leaves nobody to guess at.
        let cleared = match came.to {
            "unlocked" | "activated" | "erased" => true,
            // An override does not enable a disabled set.
            "accepted" => before.disabled_at.is_none(),
            _ => false,
        };
        if !cleared {
            assert!(
                after.wrong_in_a_row >= before.wrong_in_a_row,
                "{ask:?} forgot wrong codes"
            );
            assert!(before.disabled_at.is_none() || after.disabled_at == before.disabled_at);
            assert!(after.disabled_at.is_some() || after.locked_until >= before.locked_until);
        }
        if came.to == "accepted" && cleared || came.to == "activated" {
            assert_eq!(
                (after.wrong_in_a_row, after.locked_until, after.disabled_at),
                (0, None, None)
            );
        }
        let counted = i16::from(after.wrong_in_a_row) - i16::from(before.wrong_in_a_row);
        assert!(counted <= 1, "one wrong code counts once");
    }
}

#[test]
fn every_transition_of_every_reachable_record_holds_under_any_clock() {
    let reached = RefCell::default();
    let cases = proptest::collection::vec((any_ask(), any_clock()), 1..80);
    let config = ProptestConfig {
        cases: 512,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    // Always the same cases, so that what they reach cannot depend on luck.
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&(any_start(), cases), |(start, asks)| {
            every_transition_holds(start, &asks, &reached);
            Ok(())
        })
        .unwrap();
    let reason = Reason::as_str;
    let all = [
        "prepared",
        "activated",
        "active already",
        "no such set",
        "wrong confirmation",
        "discarded",
        "accepted",
        "valid",
        "burned or not",
        "override issued",
        "override revoked",
        "revoked",
        "unlocked",
        "erased",
        "refused: erased",
        "kept",
        "trimmed",
        "removed",
        reason(Reason::Wrong),
        reason(Reason::Used),
        reason(Reason::Burned),
        reason(Reason::Locked),
        reason(Reason::Disabled),
        reason(Reason::NoCodes),
        reason(Reason::NoOverride),
        reason(Reason::Expired),
        "nothing to do",
    ];
    assert_eq!(reached.into_inner(), BTreeSet::from(all));
}

#[test]
fn a_clock_that_was_set_back_leaves_the_record_bounded() {
    // Uses of days to come do not grow old, so no cap that goes by age takes them.
    let mut holder = Holder::new(used_each_quarter_until(Timestamp::MAX));
    for n in 0..2600 {
        let now = at(TODAY + n * 900_000);
        for ask in [Ask::IssueOverride, Ask::Redeem(Typed::Override)] {
            let step = holder.ask(&ask, now, id()).step.unwrap();
            holder.record = step.record;
        }
    }
    let json = holder.record.to_json();
    assert!(json.len() <= Record::MAX_JSON_LEN, "{}", json.len());
}
