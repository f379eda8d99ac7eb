//! What counts against a user: a wrong code, and no error of the configuration or of the
//! repository.
//!
//! Whether an attempt can count is decided before anything is compared. So there is no record and
//! no configuration in which a wrong code is uncounted and a right one accepted, which would be
//! guessing without a limit.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use backup_codes::audit::{Event, EventOutcome, Reason};
use backup_codes::code::Code;
use backup_codes::hash::{
    Acceptance, DefaultEngine, HashSalt, KeyId, StoredHash, Target, Verified,
};
use backup_codes::repository::{Record, Revision};
use backup_codes::rules::{self, NewSet, Operation, Progress, Step, Transition};
use backup_codes::rules::{Attempt, OperationId, generate, generate_override, hash, verify};
use backup_codes::{
    Burn, Check, Config, Context, Format, Formats, HashParams, Keyring, Pepper, Redeem, SetId,
    SetSize, Timestamp,
};
use getrandom::SysRng;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use support::checksum::sum_again;
use support::hashing::{cheap, keyring};
use support::moments;
use support::people::alice;

const DAY: i64 = 86_400_000;
const NOW: i64 = 20_000 * DAY;
const CODES: u8 = 3;

fn at(millis: i64) -> Timestamp {
    moments::at(millis.clamp(0, Timestamp::MAX.unix_millis()))
}

/// The params the sets are made with, and those that another configuration has.
static HASHERS: LazyLock<[HashParams; 6]> = LazyLock::new(|| {
    let older = (KeyId::new("a").unwrap(), Pepper::new([1; 32]).unwrap());
    [
        cheap(keyring("a", 1)),
        cheap(keyring("b", 2).with_older(older.0, older.1).unwrap()),
        cheap(keyring("a", 2)),
        cheap(keyring("b", 1)),
        cheap(keyring("b", 2).accepting_unpeppered()),
        cheap(Keyring::without_pepper()),
    ]
});

fn configs() -> [Config; 4] {
    let both = Formats::new(Format::CROCKFORD).accepting(Format::HIGH_ENTROPY);
    let formats = |formats| Config::default().with_formats(formats);
    [
        formats(Formats::new(Format::HIGH_ENTROPY)),
        formats(both.unwrap()),
        formats(Formats::new(Format::CROCKFORD)),
        formats(Formats::new(Format::HIGH_ENTROPY)).with_void_before(at(NOW)),
    ]
}

/// What a user has on paper, and a record of it.
struct Paper {
    record: Record,
    /// By slot, that of the override first.
    right: Vec<Code>,
    /// Codes of another user, by slot: up to one more than the set has.
    wrong: Vec<Code>,
}

fn hashed(set: SetId, code: &Code) -> StoredHash {
    let salt = HashSalt::random(&mut SysRng).unwrap();
    let user = alice();
    hash(
        &HASHERS[0],
        &mut DefaultEngine::new(),
        user.id(),
        set,
        code,
        salt,
    )
    .unwrap()
}

fn draw(codes: u8) -> Vec<Code> {
    let size = SetSize::new(codes).unwrap();
    let mut drawn = vec![generate_override(Format::HIGH_ENTROPY, &mut SysRng).unwrap()];
    drawn.extend(generate(Format::HIGH_ENTROPY, size, &mut SysRng).unwrap());
    drawn
}

fn with_operation<T>(
    config: &Config,
    params: &HashParams,
    now: Timestamp,
    f: impl Fn(&Operation<'_>) -> T,
) -> T {
    let (user, acceptance) = (alice(), Acceptance::new(config, params));
    f(&Operation {
        user: user.id(),
        context: &Context::new(now, &user),
        config,
        acceptance: &acceptance,
        low_threshold: 3,
        id: OperationId::from_bytes([1; 16]),
        revision: Revision::from_bytes([2; 16]),
    })
}

impl Paper {
    /// A set in force and an unused override.
    fn new() -> Self {
        let (right, wrong) = (draw(CODES), draw(CODES + 1));
        let (set, over) = (SetId::from_bytes([3; 16]), SetId::from_bytes([4; 16]));
        let hashes = right[1..].iter().map(|code| hashed(set, code)).collect();
        let new = NewSet::new(set, Format::HIGH_ENTROPY, hashes).unwrap();
        let config = &configs()[0];
        let record = with_operation(config, &HASHERS[0], at(NOW), |operation| {
            let issued = rules::issue(&Record::new(), new.clone(), operation).unwrap();
            let (hash, until) = (hashed(over, &right[0]), at(NOW + DAY));
            let record = &issued.step.unwrap().record;
            let format = Format::HIGH_ENTROPY;
            let issued = rules::issue_override(record, over, format, hash, until, operation);
            issued.unwrap().step.unwrap().record
        });
        Self {
            record,
            right,
            wrong,
        }
    }
}

/// What became of one attempt.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    accepted: bool,
    reason: Option<Reason>,
    counted: bool,
    evaluations: u32,
}

/// Wrong codes that a record counts, of the set and of the override together.
fn counted(record: &Record) -> u64 {
    let record: Value = serde_json::from_str(&record.to_json()).unwrap();
    let of = |place: &str| record[place]["wrong_in_a_row"].as_u64().unwrap_or(0);
    of("throttle") + of("override")
}

/// What a code is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Redeem,
    Check,
    Burn,
}

const PURPOSES: [Purpose; 3] = [Purpose::Redeem, Purpose::Check, Purpose::Burn];

/// Redeems a code; `None` where it is not read as a code.
fn redeem(
    record: &Record,
    code: &Code,
    config: &Config,
    params: &HashParams,
    now: Timestamp,
) -> Option<Verdict> {
    attempt(Purpose::Redeem, record, code, config, params, now)
}

fn attempt(
    purpose: Purpose,
    record: &Record,
    code: &Code,
    config: &Config,
    params: &HashParams,
    now: Timestamp,
) -> Option<Verdict> {
    let id = OperationId::from_bytes([1; 16]);
    let attempt = Attempt::parse(&code.expose(), config.formats(), id).ok()?;
    with_operation(config, params, now, |operation| {
        let mut evaluations = 0;
        let mut compare = |target| {
            evaluations += 1;
            verify(
                params,
                &mut DefaultEngine::new(),
                operation.user,
                &attempt,
                &target,
            )
            .unwrap()
        };
        // What it is told, and what is written and unstored. Burning tells little; its events tell.
        let (told, step, unstored) = match purpose {
            Purpose::Redeem => {
                let rule =
                    |verified: Option<&_>| rules::consume(record, &attempt, verified, operation);
                let Transition {
                    outcome,
                    step,
                    unstored,
                } = settle(rule, &mut compare);
                let told = match outcome {
                    Redeem::Accepted(_) => None,
                    Redeem::Refused(refusal) => Some(refusal.reason()),
                    Redeem::NotACode(_) => unreachable!("it was read"),
                };
                (Some(told), step, unstored)
            }
            Purpose::Check => {
                let rule =
                    |verified: Option<&_>| rules::check(record, &attempt, verified, operation);
                let Transition {
                    outcome,
                    step,
                    unstored,
                } = settle(rule, &mut compare);
                let told = match outcome {
                    Check::Valid(_) => None,
                    Check::Refused(refusal) => Some(refusal.reason()),
                    Check::NotACode(_) => unreachable!("it was read"),
                };
                (Some(told), step, unstored)
            }
            Purpose::Burn => {
                let rule =
                    |verified: Option<&_>| rules::burn(record, &attempt, verified, operation);
                let Transition {
                    outcome,
                    step,
                    unstored,
                } = settle(rule, &mut compare);
                let told = match outcome {
                    Burn::Done(_) => None,
                    Burn::Refused(refusal) => Some(Some(refusal.reason())),
                    Burn::NotACode(_) => unreachable!("it was read"),
                };
                (told, step, unstored)
            }
        };
        let events = match &step {
            Some(Step { events, .. }) => events,
            None => &unstored,
        };
        let reason = match events[0].outcome {
            EventOutcome::Success => None,
            EventOutcome::Failure => events[0].reason,
        };
        assert!(told.is_none_or(|told| told == reason), "{purpose:?}");
        // The tenth wrong override code removes the override, and with it its count.
        let counted = step.as_ref().is_some_and(|step| {
            let wrong = |event: &Event| event.reason == Some(Reason::Wrong);
            counted(&step.record) > counted(record) || step.events.iter().any(wrong)
        });
        Some(Verdict {
            accepted: reason.is_none(),
            reason,
            counted,
            evaluations,
        })
    })
}

/// Asks a rule until it settles.
fn settle<T>(
    rule: impl Fn(Option<&Verified>) -> Progress<T>,
    mut compare: impl FnMut(Target) -> Verified,
) -> Transition<T> {
    let mut verified = None;
    loop {
        match rule(verified.as_ref()) {
            Progress::Done(transition) => return transition,
            Progress::Compare(target) => verified = Some(compare(target)),
        }
    }
}

/// A change of the stored JSON.
#[derive(Debug, Clone)]
enum Change {
    /// This slot gets this number.
    Number(usize, u8),
    Remove(usize),
    /// This slot is no JSON any more.
    Quote(usize),
    Repeat(usize),
    Swap,
    /// One character of a hash becomes another one.
    Hash(usize, usize),
    Scheme(&'static str, &'static str),
    OverrideScheme(&'static str, &'static str),
    Used(usize),
    OverrideUsed,
    Set(&'static str, &'static str, Value),
    Drop(&'static str),
}

fn any_change() -> impl Strategy<Value = Change> {
    use Change::*;
    let slot = || 0..usize::from(CODES);
    let schemes = || {
        prop_oneof![
            Just(("crockford-26", "crockford-14")),
            Just(("crockford-26", "crockford-25")),
            Just(("key=a:", "key=b:")),
            Just(("m=8,t=1", "m=1048576,t=1")),
            Just(("m=8,t=1", "m=9,t=1")),
        ]
    };
    let moments = prop_oneof![
        Just(0),
        Just(NOW - DAY),
        Just(NOW),
        Just(NOW + 20 * 60_000),
        Just(NOW + DAY),
        Just(NOW + 365 * DAY),
        Just(Timestamp::MAX.unix_millis())
    ];
    let fields = prop_oneof![
        Just(("active", "prepared_at")),
        Just(("active", "expires_at")),
        Just(("override", "issued_at")),
        Just(("override", "expires_at")),
        Just(("throttle", "locked_until")),
        Just(("throttle", "disabled_at")),
    ];
    prop_oneof![
        (slot(), 0..6u8).prop_map(|(slot, number)| Number(slot, number)),
        slot().prop_map(Remove),
        slot().prop_map(Quote),
        slot().prop_map(Repeat),
        Just(Swap),
        (slot(), 40..90usize).prop_map(|(slot, place)| Hash(slot, place)),
        schemes().prop_map(|(from, to)| Scheme(from, to)),
        schemes().prop_map(|(from, to)| OverrideScheme(from, to)),
        slot().prop_map(Used),
        Just(OverrideUsed),
        (fields, moments).prop_map(|((place, field), at)| Set(place, field, json!(at))),
        (0..10u8).prop_map(|run| Set("throttle", "wrong_in_a_row", json!(run * 11))),
        prop_oneof![Just("active"), Just("override")].prop_map(Drop),
    ]
}

fn change(record: &mut Value, change: &Change) {
    let replace = |text: &mut Value, from: &str, to: &str| {
        if let Some(old) = text.as_str() {
            *text = old.replace(from, to).into();
        }
    };
    let slots = |record: &mut Value| -> Option<Vec<Value>> {
        record.get("active")?["slots"].as_array().cloned()
    };
    match (change, slots(record)) {
        (Change::Set(place, field, value), _) => {
            if let Some(object) = record.get_mut(place) {
                object[field] = value.clone();
            }
        }
        (Change::Drop(place), _) => drop(record.as_object_mut().unwrap().remove(*place)),
        (Change::OverrideUsed, _) => {
            if let Some(code) = record.get_mut("override") {
                code["used_at"] = json!(NOW);
            }
        }
        (Change::OverrideScheme(from, to), _) => {
            if let Some(code) = record.get_mut("override") {
                replace(&mut code["scheme"], from, to);
                replace(&mut code["phc"], from, to);
            }
        }
        (_, None) => {}
        (change, Some(mut slots)) => {
            let has = |slot: usize| slot < slots.len();
            match change {
                Change::Number(slot, number) if has(*slot) => slots[*slot]["slot"] = json!(number),
                Change::Remove(slot) if has(*slot) => drop(slots.remove(*slot)),
                Change::Quote(slot) if has(*slot) => {
                    slots[*slot] = json!({ "damaged": slots[*slot].to_string() });
                }
                Change::Repeat(slot) if has(*slot) => slots.push(slots[*slot].clone()),
                Change::Swap => slots.reverse(),
                Change::Hash(slot, place) if has(*slot) && slots[*slot]["phc"].is_string() => {
                    let mut phc = slots[*slot]["phc"].as_str().unwrap().to_owned();
                    let other = if phc[*place..].starts_with('A') {
                        "B"
                    } else {
                        "A"
                    };
                    phc.replace_range(*place..=*place, other);
                    slots[*slot]["phc"] = phc.into();
                }
                Change::Scheme(from, to) => {
                    replace(&mut record["active"]["scheme"], from, to);
                    for slot in &mut slots {
                        replace(&mut slot["phc"], from, to);
                    }
                }
                Change::Used(slot) if has(*slot) => slots[*slot]["used_at"] = json!(NOW),
                _ => {}
            }
            record["active"]["slots"] = slots.into();
        }
    }
}

#[test]
fn where_a_wrong_code_does_not_count_no_right_one_is_accepted() {
    let paper = Paper::new();
    let reached: RefCell<BTreeSet<String>> = RefCell::default();
    let clocks = prop_oneof![
        6 => Just(NOW),
        2 => Just(NOW + DAY / 2),
        1 => Just(NOW - DAY / 2),
        1 => Just(NOW + 365 * DAY),
        1 => Just(0),
        1 => Just(Timestamp::MAX.unix_millis()),
    ];
    let changes = proptest::collection::vec((any_change(), any::<bool>()), 0..4);
    let circumstances = (
        prop_oneof![4 => Just(0usize), 2 => 1..6usize],
        prop_oneof![3 => Just(0usize), 2 => 1..4usize],
        clocks,
    );
    let config = ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Always the same cases, so that what they reach cannot depend on luck.
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(
            &(changes, circumstances),
            |(changes, (key, config, now))| {
                let mut stored = paper.record.to_json();
                for (step, forged) in &changes {
                    let mut record: Value = serde_json::from_str(&stored).unwrap();
                    change(&mut record, step);
                    stored = if *forged {
                        sum_again(&record.to_string())
                    } else {
                        record.to_string()
                    };
                }
                let record = Record::from_json(&stored).unwrap();
                let (params, config, now) = (&HASHERS[key], &configs()[config], at(now));
                let slots = 0..=usize::from(CODES) + 1;
                for (slot, purpose) in slots.flat_map(|slot| PURPOSES.map(|p| (slot, p))) {
                    let typed = |code| attempt(purpose, &record, code, config, params, now);
                    let Some(wrong) = typed(&paper.wrong[slot]) else {
                        continue;
                    };
                    assert!(!wrong.accepted, "a wrong code is accepted");
                    let mut reached = reached.borrow_mut();
                    reached.insert(format!("{purpose:?} {}", wrong.reason.unwrap().as_str()));
                    let Some(code) = paper.right.get(slot) else {
                        continue;
                    };
                    let right = typed(code).unwrap();
                    let reason = right.reason.map_or("accepted", |reason| reason.as_str());
                    reached.insert(format!("{purpose:?} right: {reason}"));
                    assert_eq!(right.evaluations, wrong.evaluations, "the work tells");
                    if !wrong.counted {
                        assert_eq!(right, wrong, "guessing without a limit");
                    }
                    // A slot that is gone, or forged with a right checksum, leaves a wrong code;
                    // nothing else makes a right one count.
                    let gone = |change: &Change| matches!(change, Change::Remove(_));
                    let forged = changes.iter().any(|(step, forged)| *forged || gone(step));
                    assert!(forged || !right.counted, "a right code counts: {right:?}");
                }
                Ok(())
            },
        )
        .unwrap();
    let reached = reached.into_inner();
    for purpose in PURPOSES {
        let is_reached = |what: &str| {
            assert!(
                reached.contains(&format!("{purpose:?} {what}")),
                "{purpose:?} {what}: {reached:?}"
            );
        };
        for reason in [
            Reason::Wrong,
            Reason::NoCodes,
            Reason::NoOverride,
            Reason::Expired,
            Reason::Void,
            Reason::Locked,
            Reason::Disabled,
            Reason::FormatNotAccepted,
            Reason::UnknownKey,
            Reason::KeyMismatch,
            Reason::CostAboveCeiling,
            Reason::CostBelowFloor,
            Reason::Malformed,
        ] {
            is_reached(reason.as_str());
        }
        for right in ["accepted", "used", "wrong"] {
            is_reached(&format!("right: {right}"));
        }
    }
}

/// The range of each slot, in order, and before them that of the override. Quoted ones included.
fn places(json: &str) -> Vec<Range<usize>> {
    let range = |start: usize, text: &str| start..start + text.len();
    let over = json.find(",\"override\":").unwrap() + ",\"override\":".len();
    let end = json.find(",\"throttle\":").unwrap();
    let mut places = vec![range(over, &json[over..end])];
    let mut start = json.find("\"slots\":[").unwrap() + "\"slots\":[".len();
    let slots = &json[start..start + json[start..].find("]},\"").unwrap()];
    for (number, slot) in slots.split(",{").enumerate() {
        let begin = start - usize::from(number > 0);
        places.push(begin..start + slot.len());
        start += slot.len() + ",{".len();
    }
    assert!(
        places
            .iter()
            .all(|place| json[place.clone()].starts_with('{'))
    );
    assert!(
        places
            .iter()
            .all(|place| json[place.clone()].ends_with('}'))
    );
    places
}

/// Flips every bit of a record. `lost` are the codes that its damage has cost before.
fn flip_every_bit(paper: &Paper, json: &str, lost: &[usize]) -> (u32, u32) {
    let (config, params, now) = (&configs()[0], &HASHERS[0], at(NOW));
    let places = places(json);
    assert_eq!(places.len(), paper.right.len());
    // The commas between the slots.
    let commas: Vec<usize> = places[1..places.len() - 1]
        .iter()
        .map(|slot| slot.end)
        .collect();
    let (mut unreadable, mut hit) = (0, 0);
    for byte in 0..json.len() {
        for bit in 0..8 {
            let mut flipped = json.to_owned().into_bytes();
            flipped[byte] ^= 1 << bit;
            // As a repository reads what is no longer text.
            let flipped = String::from_utf8_lossy(&flipped);
            let inside = places.iter().position(|place| place.contains(&byte));
            let harmless = inside.is_some() || commas.contains(&byte);
            let record = match Record::from_json(&flipped) {
                Ok(record) => record,
                Err(error) => {
                    assert!(!harmless, "byte {byte} bit {bit}: {error}");
                    unreadable += 1;
                    continue;
                }
            };
            let written = Record::from_json(&record.to_json());
            assert_eq!(written.as_ref(), Ok(&record), "byte {byte} bit {bit}");
            for (slot, code) in paper.right.iter().enumerate() {
                let verdict = redeem(&record, code, config, params, now).unwrap();
                assert!(!verdict.counted, "byte {byte} bit {bit} slot {slot}");
                if harmless {
                    let accepted = inside != Some(slot) && !lost.contains(&slot);
                    assert_eq!(
                        verdict.accepted, accepted,
                        "byte {byte} bit {bit} slot {slot}"
                    );
                    hit += u32::from(!accepted);
                }
            }
        }
    }
    (unreadable, hit)
}

#[test]
fn a_flipped_bit_costs_no_more_than_the_code_it_hits() {
    let paper = Paper::new();
    let (unreadable, hit) = flip_every_bit(&paper, &paper.record.to_json(), &[]);
    assert!(hit > 4000 && unreadable > 100, "{hit} {unreadable}");
}

/// Damages the slots of a record in one place, and says which codes this costs.
fn damage_slots(paper: &Paper, range: Range<usize>, with: &str) -> Vec<usize> {
    let mut json = paper.record.to_json();
    json.replace_range(range, with);
    let record = Record::from_json(&json).unwrap();
    let again = Record::from_json(&record.to_json());
    assert_eq!(again.as_ref(), Ok(&record), "{json}");
    let mut lost = Vec::new();
    for (slot, code) in paper.right.iter().enumerate() {
        let verdict = redeem(&record, code, &configs()[0], &HASHERS[0], at(NOW)).unwrap();
        assert!(!verdict.counted, "{slot}: {json}");
        if !verdict.accepted {
            lost.push(slot);
        }
    }
    lost
}

#[test]
fn damage_at_the_border_of_a_slot_costs_no_neighbour() {
    let paper = Paper::new();
    let json = paper.record.to_json();
    let places = places(&json);
    let (first, last) = (places[1].start, places.last().unwrap().end);
    let within = |range: &Range<usize>| {
        let overlaps = |place: &Range<usize>| place.start < range.end && range.start < place.end;
        let hit = places.iter().enumerate().filter(|(_, p)| overlaps(p));
        hit.map(|(slot, _)| slot).collect::<Vec<_>>()
    };
    // Overwritten, cut out, and put in, in one, two and three bytes; also in what is between slots.
    for start in first..last {
        for len in 1..=3.min(last - start) {
            let range = start..start + len;
            for with in [
                "", "X", "XXX", "]", "}", ",", "\"", "},", "[{", "{", "\u{fffd}",
            ] {
                let lost = damage_slots(&paper, range.clone(), with);
                let hit = within(&range);
                let is_hit = |slot: &usize| hit.contains(slot);
                assert!(lost.iter().all(is_hit), "{range:?} {with}: {lost:?}");
            }
        }
        for with in ["X", ",", "]", "}", "\""] {
            let lost = damage_slots(&paper, start..start, with);
            let hit = within(&(start.saturating_sub(1)..start + 1));
            assert!(lost.iter().all(|slot| hit.contains(slot)), "{start} {with}");
        }
    }
}

#[test]
fn a_slot_that_was_lost_does_not_count_where_a_later_one_is_left() {
    let paper = Paper::new();
    let json = paper.record.to_json();
    let places = places(&json);
    let last = places.len() - 1;
    for (slot, place) in places.iter().enumerate().take(last).skip(1) {
        // With its comma, without, and with blanks in its place.
        for (range, with) in [
            (place.start..place.end + 1, String::new()),
            (place.clone(), String::new()),
            (place.start..place.end + 1, " ".repeat(place.len() + 1)),
        ] {
            assert_eq!(damage_slots(&paper, range, &with), [slot], "{with}");
        }
    }
    let place = places[last].clone();
    assert_eq!(damage_slots(&paper, place, ""), [last]);
}

/// The record of a paper whose first slot is damaged 200 times.
fn damaged_again_and_again(paper: &Paper) -> Vec<String> {
    let mut json = paper.record.to_json();
    let rounds = (0..200).map(|round| {
        let place = places(&json)[1].clone();
        // In turn its first byte, a quote in it, and its last.
        let at = [place.start, place.start + 1, place.end - 1][round % 3];
        json.replace_range(at..=at, "s");
        json = Record::from_json(&json).unwrap().to_json();
        json.clone()
    });
    rounds.collect()
}

#[test]
fn a_slot_damaged_again_and_again_takes_bounded_space() {
    let rounds = damaged_again_and_again(&Paper::new());
    for (round, json) in rounds.iter().enumerate() {
        assert!(json.len() < 8 * 1024, "{round}: {}", json.len());
    }
}

#[test]
fn a_slot_damaged_again_and_again_costs_one_code() {
    let paper = Paper::new();
    let rounds = damaged_again_and_again(&paper);
    let record = Record::from_json(rounds.last().unwrap()).unwrap();
    for (slot, code) in paper.right.iter().enumerate() {
        let verdict = redeem(&record, code, &configs()[0], &HASHERS[0], at(NOW)).unwrap();
        assert_eq!((verdict.accepted, verdict.counted), (slot != 1, false));
    }
}

#[test]
fn a_flipped_bit_beside_damage_of_before_costs_no_more_than_in_a_sound_record() {
    let paper = Paper::new();
    let sound = paper.record.to_json();
    for damaged in 0..paper.right.len() {
        // An opening brace, a closing one, and a quote.
        let place = places(&sound)[damaged].clone();
        for byte in [place.start, place.end - 1, place.start + 1] {
            let mut json = sound.clone();
            json.replace_range(byte..=byte, "s");
            let record = Record::from_json(&json).unwrap();
            let (unreadable, hit) = flip_every_bit(&paper, &record.to_json(), &[damaged]);
            assert!(hit > 4000 && unreadable > 100, "{hit} {unreadable}");
        }
    }
}

#[test]
fn damage_to_several_slots_costs_these_alone() {
    let paper = Paper::new();
    let (config, params, now) = (&configs()[0], &HASHERS[0], at(NOW));
    let sound = paper.record.to_json();
    for damaged in 0..1 << paper.right.len() {
        let is_damaged = |slot: usize| damaged >> slot & 1 == 1;
        let mut json = sound.clone();
        for (slot, place) in places(&sound).into_iter().enumerate() {
            if is_damaged(slot) {
                json.replace_range(place.start + 1..place.start + 2, "z");
            }
        }
        let record = Record::from_json(&json).unwrap();
        for (slot, code) in paper.right.iter().enumerate() {
            let verdict = redeem(&record, code, config, params, now).unwrap();
            let expected = (!is_damaged(slot), false);
            assert_eq!((verdict.accepted, verdict.counted), expected, "{damaged:b}");
        }
    }
}

#[test]
fn damage_is_written_again_as_it_was_read() {
    let paper = Paper::new();
    let json = paper.record.to_json();
    let damaged = json.replacen("\"slot\":1,", "\"slot\"x1,", 1);
    let record = Record::from_json(&damaged).unwrap();
    let written = record.to_json();
    let slots = |text: &str| -> Vec<Value> {
        let record: Value = serde_json::from_str(text).unwrap();
        record["active"]["slots"].as_array().unwrap().clone()
    };
    let first = slots(&written)[0]["damaged"].as_str().unwrap().to_owned();
    assert!(
        first.starts_with("{\"slot\"x1,\"phc\":\"$argon2id$"),
        "{first}"
    );
    assert_eq!(slots(&written)[1..], slots(&json)[1..]);
    // Written again it stays so.
    let again = Record::from_json(&written).unwrap();
    assert_eq!((again.to_json(), again), (written, record));
}

/// Calls with the record of a paper whose first slot has another number.
fn each_renumbered(look: impl Fn(&Paper, &Record, &str)) {
    let paper = Paper::new();
    for number in ["3", "0", "31", "32", "255", "256", "-1", "1.0", "null"] {
        let json = paper.record.to_json();
        let json = json.replacen("\"slot\":1,", &format!("\"slot\":{number},"), 1);
        look(&paper, &Record::from_json(&json).unwrap(), number);
    }
}

#[test]
fn the_code_of_a_renumbered_slot_is_not_counted_as_wrong() {
    each_renumbered(|paper, record, _| {
        let code = &paper.right[1];
        let first = redeem(record, code, &configs()[0], &HASHERS[0], at(NOW)).unwrap();
        assert_eq!(
            (first.reason, first.counted),
            (Some(Reason::Malformed), false)
        );
    });
}

#[test]
fn a_renumbered_slot_leaves_the_other_codes() {
    each_renumbered(|paper, record, number| {
        for slot in [2, 3] {
            let code = &paper.right[slot];
            let code = redeem(record, code, &configs()[0], &HASHERS[0], at(NOW)).unwrap();
            assert!(code.accepted, "{number}: code {slot}");
        }
    });
}

#[test]
fn with_the_configuration_put_right_every_code_works_again() {
    let paper = Paper::new();
    let (config, now) = (&configs()[0], at(NOW));
    // A key that is missing, and other bytes under its id: twenty right codes each.
    for (params, reason) in [(3, Reason::UnknownKey), (2, Reason::KeyMismatch)] {
        for _ in 0..20 {
            let refused = redeem(
                &paper.record,
                &paper.right[1],
                config,
                &HASHERS[params],
                now,
            );
            let refused = refused.unwrap();
            assert_eq!((refused.reason, refused.counted), (Some(reason), false));
            assert_eq!(refused.evaluations, 1);
        }
    }
    // Another format: nothing is left, and the status says why.
    let other = &configs()[2];
    let status = with_operation(other, &HASHERS[0], now, |operation| {
        rules::status(&paper.record, operation)
    });
    assert_eq!(status.remaining, 0);
    assert_eq!(status.level, Some(backup_codes::outcome::Level::Exhausted));
    assert_eq!(status.not_in_force, Some(Reason::FormatNotAccepted));
    for slot in 1..=usize::from(CODES) {
        let code = redeem(&paper.record, &paper.right[slot], config, &HASHERS[0], now);
        assert!(code.unwrap().accepted);
    }
}

#[test]
fn a_set_has_1_to_31_hashes() {
    let (set, codes) = (SetId::from_bytes([3; 16]), draw(1));
    let one = hashed(set, &codes[1]);
    let format = Format::HIGH_ENTROPY;
    assert!(NewSet::new(set, format, vec![]).is_err());
    assert!(NewSet::new(set, format, vec![one.clone(); 31]).is_ok());
    assert!(NewSet::new(set, format, vec![one.clone(); 32]).is_err());
}

#[test]
fn a_set_has_hashes_of_one_key() {
    let (set, codes) = (SetId::from_bytes([3; 16]), draw(2));
    let one = hashed(set, &codes[1]);
    let salt = HashSalt::random(&mut SysRng).unwrap();
    let user = alice();
    let other = hash(
        &HASHERS[1],
        &mut DefaultEngine::new(),
        user.id(),
        set,
        &codes[2],
        salt,
    )
    .unwrap();
    assert!(NewSet::new(set, Format::HIGH_ENTROPY, vec![one, other]).is_err());
}

#[test]
fn an_override_that_is_asked_for_too_long_ends_at_the_longest_lifetime() {
    let over = SetId::from_bytes([4; 16]);
    let config = configs()[0].clone();
    let config = config
        .with_max_override_lifetime(Duration::from_secs(3600))
        .unwrap();
    let code = generate_override(Format::HIGH_ENTROPY, &mut SysRng).unwrap();
    let hash = hashed(over, &code);
    let until = with_operation(&config, &HASHERS[0], at(NOW), |operation| {
        let format = Format::HIGH_ENTROPY;
        let until = at(NOW + 365 * DAY);
        let issued =
            rules::issue_override(&Record::new(), over, format, hash.clone(), until, operation)
                .unwrap();
        rules::status(&issued.step.unwrap().record, operation).override_until
    });
    assert_eq!(until, Some(at(NOW + 3_600_000)));
}

#[test]
fn damage_beside_the_throttle_does_not_clear_it() {
    let json = Paper::new().record.to_json();
    let throttle = "\"throttle\":{\"wrong_in_a_row\":99,\"disabled_at\":5}";
    let json = json.replace("\"throttle\":{\"wrong_in_a_row\":0}", throttle);
    assert!(json.contains(throttle));
    let end = json.find("},\"throttle\"").unwrap();
    let with = |at: usize, other: &str| {
        let mut damaged = json.clone();
        damaged.replace_range(at..=at, other);
        Record::from_json(&damaged)
    };
    for other in ["]", "-", "|"] {
        // The override's brace, which costs the override, and the comma.
        let record = with(end, other).unwrap();
        assert!(record.to_json().contains(throttle), "{other}");
        assert!(with(end + 1, other).is_err(), "{other}");
    }
}

#[test]
fn a_record_without_a_throttle_is_malformed() {
    let json = Paper::new().record.to_json();
    let without = json.replace(",\"throttle\":{\"wrong_in_a_row\":0}", "");
    assert_ne!(without, json);
    assert!(Record::from_json(&without).is_err());
    assert!(Record::from_json("{\"version\":1}").is_err());
}
