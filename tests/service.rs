//! The service as its users see it: each test is a promise of the documentation.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/checksum.rs"]
mod checksum;

use checksum::sum_again;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread;
use std::time::Duration;

use backup_codes::audit::{
    AuditSink, Durability, Event, EventId, EventKind, EventOutcome, MemoryAudit, Reason,
};
use backup_codes::hash::{Cost, KeyId, PoolSize};
use backup_codes::outcome::{Level, NoticeKind, Refusal, Reissue};
use backup_codes::policy::{Denial, OnRoleLoss};
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Record, Revision,
};
use backup_codes::{
    Activation, BackupCodes, Burn, Check, Config, Context, Delivery, Effect, Error, Format,
    Formats, Hasher, Hashing, JsonLines, Keyring, MemoryRepository, Pepper, Periods, Redeem,
    ReissueRule, Reports, RevokeReason, SavedSettings, SetSize, Settings, SettingsDraft,
    SettingsSaved, SharedSettings, Sheet, Subject, Switch, Timestamp, UserFilter, UserId,
    UserOrder, UsersQuery, Wording,
};
use pollster::block_on;

const START: i64 = 1_790_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn at(after: Duration) -> Timestamp {
    Timestamp::from_unix_millis(START)
        .unwrap()
        .saturating_add(after)
}

fn subject(name: &str, role: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), [role])
}

fn alice() -> Subject {
    subject("alice", "staff")
}

fn admin() -> Subject {
    subject("root", "administrator")
}

fn own(after: Duration) -> Context {
    Context::new(at(after), alice())
}

fn by_admin(after: Duration) -> Context {
    Context::new(at(after), admin())
}

fn cheap(keyring: Keyring) -> Hasher {
    Hasher::new(keyring)
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST)
}

fn config() -> Config {
    Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY))
}

fn inline() -> Hashing {
    Hashing::inline(cheap(Keyring::without_pepper()))
}

struct Fixture {
    codes: BackupCodes,
    store: MemoryRepository,
    audit: MemoryAudit,
}

fn fixture_with(config: Config, settings: Settings, hashing: Hashing) -> Fixture {
    let (store, audit) = (MemoryRepository::new(), MemoryAudit::new());
    let codes = BackupCodes::new(store.clone(), settings, hashing)
        .with_audit(audit.clone())
        .with_config(config);
    Fixture {
        codes,
        store,
        audit,
    }
}

fn fixture() -> Fixture {
    fixture_with(config(), Settings::default(), inline())
}

fn code(sheet: &Sheet, slot: u8) -> String {
    sheet
        .expose()
        .codes()
        .find(|(number, _)| *number == slot)
        .unwrap()
        .1
        .to_string()
}

impl Fixture {
    fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    fn issue(&self, user: &Subject, after: Duration) -> Sheet {
        let cx = Context::new(at(after), user);
        block_on(self.codes.issue(user, &cx)).unwrap().sheet
    }

    /// A well-formed code of the format that is nobody's here.
    fn wrong(&self) -> String {
        code(
            &self.issue(&subject("somebody else", "staff"), Duration::ZERO),
            1,
        )
    }

    fn redeem(&self, typed: &str, after: Duration) -> Redeem {
        block_on(self.codes.redeem(&alice(), typed, &own(after))).unwrap()
    }

    fn accepted(&self, typed: &str, after: Duration) -> backup_codes::outcome::Receipt {
        match self.redeem(typed, after) {
            Redeem::Accepted(receipt) => receipt,
            other => panic!("not accepted: {other:?}"),
        }
    }

    fn refused(&self, typed: &str, after: Duration) -> Refusal {
        match self.redeem(typed, after) {
            Redeem::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn load(&self) -> Loaded {
        block_on(self.store.load(alice().id(), Freshness::Latest))
            .unwrap()
            .unwrap()
    }

    /// Replaces the stored text, as somebody does who can write to the database.
    fn tamper(&self, change: impl Fn(&str) -> String) {
        let loaded = self.load();
        let record = change(&loaded.record);
        assert_ne!(record, loaded.record, "the tampering changed nothing");
        let user = alice();
        let (summary, revision) = (Summary::default(), Revision::random(&mut getrandom::SysRng));
        let expected = Expected::At(loaded.revision);
        let put = Put::new(
            user.id(),
            expected,
            revision.unwrap(),
            &record,
            &summary,
            &[],
        );
        assert_eq!(block_on(self.store.put(put)).unwrap(), PutOutcome::Applied);
    }

    fn last_event(&self) -> Event {
        self.audit.events().last().unwrap().clone()
    }
}

// Once.

#[test]
fn a_code_works_once_in_any_order_and_the_reuse_is_recognised_inside() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    for (left, slot) in [(9, 7), (8, 1), (7, 10), (6, 2)] {
        let receipt = f.accepted(&code(&sheet, slot), Duration::ZERO);
        assert_eq!((receipt.slot(), receipt.remaining()), (slot, left));
        let refusal = f.refused(&code(&sheet, slot), Duration::ZERO);
        assert_eq!(refusal.reason(), Reason::Used);
        assert_eq!(f.last_event().reason, Some(Reason::Used));
    }
    // Reuse is not counted against anybody.
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(
        (status.wrong_in_a_row, status.remaining, status.total),
        (0, 6, 10)
    );
}

#[test]
fn of_64_parallel_redeems_of_one_code_one_wins() {
    for pooled in [false, true] {
        let hashing = if pooled {
            let hasher = cheap(Keyring::without_pepper());
            Hashing::pool_with(hasher, PoolSize::new(4, 64).unwrap()).unwrap()
        } else {
            inline()
        };
        let f = fixture_with(config(), Settings::default(), hashing);
        let sheet = f.issue(&alice(), Duration::ZERO);
        let typed = code(&sheet, 4);
        let barrier = Barrier::new(64);
        let accepted = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    barrier.wait();
                    loop {
                        let cx = own(Duration::ZERO);
                        match block_on(f.codes.redeem(&alice(), &typed, &cx)) {
                            Ok(Redeem::Accepted(_)) => *accepted.lock().unwrap() += 1,
                            Ok(Redeem::Refused(refusal)) => {
                                assert_eq!(refusal.reason(), Reason::Used);
                            }
                            Err(Error::Busy | Error::Contended) => continue,
                            other => panic!("{other:?}"),
                        }
                        break;
                    }
                });
            }
        });
        assert_eq!(accepted.into_inner().unwrap(), 1);
    }
}

#[test]
fn of_200_parallel_wrong_codes_no_more_verdicts_are_told_than_the_limit() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    let told = Mutex::new(0);
    let barrier = Barrier::new(50);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..4 {
                    match block_on(f.codes.redeem(&alice(), &wrong, &own(Duration::ZERO))) {
                        Ok(Redeem::Refused(refusal)) if refusal.reason() == Reason::Wrong => {
                            *told.lock().unwrap() += 1;
                        }
                        Ok(Redeem::Refused(_)) | Err(Error::Contended) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(told.into_inner().unwrap(), 10);
}

#[test]
fn a_stored_hash_typed_into_the_form_is_not_a_code() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let record = f.load().record;
    for piece in record.split('"') {
        assert!(
            matches!(f.redeem(piece, Duration::ZERO), Redeem::NotACode(_)),
            "{piece}"
        );
    }
}

#[test]
fn a_symbol_more_or_less_or_changed_is_not_accepted() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let right = code(&sheet, 1);
    for wrong in [
        right[..right.len() - 1].to_owned(),
        format!("{right}0"),
        format!("{right}{right}"),
        right.replacen(right.chars().nth(3).unwrap(), "U", 1),
    ] {
        assert!(matches!(
            f.redeem(&wrong, Duration::ZERO),
            Redeem::NotACode(_)
        ));
    }
    let _ = f.accepted(&right, Duration::ZERO);
}

// The throttle.

#[test]
fn the_tenth_try_may_be_right_and_the_tenth_wrong_one_locks_for_half_an_hour() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    for left in (1..=9).rev() {
        assert_eq!(f.refused(&wrong, Duration::ZERO).tries_left(), Some(left));
    }
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    for _ in 0..9 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    let tenth = f.refused(&wrong, Duration::ZERO);
    assert_eq!(
        (tenth.tries_left(), tenth.wait()),
        (Some(0), Some(30 * MINUTE))
    );
    assert_eq!(
        tenth.notice().map(|notice| notice.kind),
        Some(NoticeKind::Locked)
    );
    let almost = 30 * MINUTE - Duration::from_millis(1);
    let locked = f.refused(&code(&sheet, 2), almost);
    assert_eq!(locked.reason(), Reason::Locked);
    assert_eq!(locked.wait(), Some(Duration::from_millis(1)));
    let _ = f.accepted(&code(&sheet, 2), 30 * MINUTE);
}

#[test]
fn a_hundred_wrong_codes_in_a_row_disable_the_set_for_good() {
    assert!(Config::default().with_disable_after(101).is_err());
    assert!(Config::default().with_disable_after(0).is_err());
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    let mut time = Duration::ZERO;
    for number in 1..=100 {
        let refusal = f.refused(&wrong, time);
        assert_eq!(refusal.reason(), Reason::Wrong, "{number}");
        time += refusal.wait().unwrap_or_default();
        let disabled = refusal
            .notice()
            .is_some_and(|n| n.kind == NoticeKind::Disabled);
        assert_eq!(disabled, number == 100);
    }
    let years = 5 * 365 * 24 * 60 * MINUTE;
    assert_eq!(
        f.refused(&code(&sheet, 1), years).reason(),
        Reason::Disabled
    );
    // Only an unlock or a new set ends it.
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(years)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let _ = f.accepted(&code(&sheet, 1), years);
}

#[test]
fn locking_and_disabling_one_user_leaves_another_alone() {
    let f = fixture_with(
        config().with_disable_after(20).unwrap(),
        Settings::default(),
        inline(),
    );
    let bob = subject("bob", "staff");
    let (_, bobs) = (
        f.issue(&alice(), Duration::ZERO),
        f.issue(&bob, Duration::ZERO),
    );
    let wrong = f.wrong();
    let mut slots = 1..;
    let mut bob_gets_in_after = |reason: Reason, after: Duration| {
        assert_eq!(f.refused(&wrong, after).reason(), reason);
        let cx = Context::new(at(after), &bob);
        let redeem = |typed: &str| block_on(f.codes.redeem(&bob, typed, &cx)).unwrap();
        let Redeem::Refused(refusal) = redeem(&wrong) else {
            panic!("a wrong code of Bob's")
        };
        assert_eq!(refusal.tries_left(), Some(9), "his run is his own");
        let accepted = redeem(&code(&bobs, slots.next().unwrap()));
        assert!(matches!(accepted, Redeem::Accepted(_)), "{accepted:?}");
        let status = block_on(f.codes.status(&bob, &cx)).unwrap();
        assert_eq!(
            (
                status.wrong_in_a_row,
                status.locked_until,
                status.disabled_at
            ),
            (0, None, None)
        );
    };
    bob_gets_in_after(Reason::Wrong, Duration::ZERO);
    for _ in 0..9 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    bob_gets_in_after(Reason::Locked, Duration::ZERO);
    for _ in 0..10 {
        let _ = f.refused(&wrong, 30 * MINUTE);
    }
    bob_gets_in_after(Reason::Disabled, 30 * MINUTE);
}

#[test]
fn a_lifetime_run_of_one_disables_at_the_first_wrong_code() {
    let f = fixture_with(
        config().with_disable_after(1).unwrap(),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(f.refused(&f.wrong(), Duration::ZERO).tries_left(), Some(0));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Disabled
    );
}

#[test]
fn what_is_no_guess_is_not_counted() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let typo = {
        let mut text = code(&sheet, 1);
        let last = text.pop().unwrap();
        text.push(if last == '0' { '1' } else { '0' });
        text
    };
    for _ in 0..50 {
        for text in ["123456", "", "ü", &typo] {
            assert!(matches!(
                f.redeem(text, Duration::ZERO),
                Redeem::NotACode(_)
            ));
        }
    }
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(status.wrong_in_a_row, 0);
}

#[test]
fn only_a_right_code_an_unlock_or_a_new_set_clears_the_run() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    let run = || {
        block_on(f.codes.status(&alice(), &own(Duration::ZERO)))
            .unwrap()
            .wrong_in_a_row
    };
    let guess = || {
        let _ = f.refused(&wrong, Duration::ZERO);
    };
    guess();
    assert_eq!(
        block_on(
            f.codes
                .check(&alice(), &code(&sheet, 1), &own(Duration::ZERO))
        )
        .unwrap(),
        Check::Valid(1)
    );
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(run(), 1, "neither a check nor a prepared set clears");
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    assert_eq!(run(), 0);
    guess();
    let _ = block_on(
        f.codes
            .activate(&alice(), prepared.id(), &own(Duration::ZERO)),
    )
    .unwrap();
    assert_eq!(run(), 0);
    guess();
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    assert_eq!(run(), 0);
}

#[test]
fn checking_and_burning_use_the_same_budget() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    for _ in 0..5 {
        let checked = block_on(f.codes.check(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
        assert!(matches!(checked, Check::Refused(_)));
        let burned = block_on(f.codes.burn(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
        assert!(matches!(burned, Burn::Done(_)), "burning tells nothing");
    }
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Locked
    );
    let burned = block_on(f.codes.burn(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
    assert!(matches!(burned, Burn::Refused(_)));
}

#[test]
fn a_burned_code_is_void_and_the_others_are_not() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let burned = block_on(
        f.codes
            .burn(&alice(), &code(&sheet, 2), &own(Duration::ZERO)),
    )
    .unwrap();
    assert_eq!(burned, Burn::Done(None));
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::Burned
    );
    assert_eq!(f.accepted(&code(&sheet, 3), Duration::ZERO).remaining(), 8);
}

// Issuing.

#[test]
fn the_old_set_works_until_the_new_one_is_activated() {
    let f = fixture();
    let old = f.issue(&alice(), Duration::ZERO);
    let first = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let second = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let _ = f.accepted(&code(&old, 1), Duration::ZERO);
    assert_eq!(
        f.refused(&code(&second, 1), Duration::ZERO).reason(),
        Reason::Wrong
    );
    let activate = |sheet: &Sheet, after| {
        block_on(f.codes.activate(&alice(), sheet.id(), &own(after))).unwrap()
    };
    assert_eq!(
        activate(&first, Duration::ZERO),
        Activation::NoSuchSet,
        "it was replaced"
    );
    assert!(
        matches!(activate(&second, Duration::ZERO), Activation::Activated(notice)
        if notice.kind == NoticeKind::Replaced)
    );
    assert_eq!(activate(&second, Duration::ZERO), Activation::AlreadyActive);
    assert_eq!(
        f.refused(&code(&old, 2), Duration::ZERO).reason(),
        Reason::Wrong
    );
    let _ = f.accepted(&code(&second, 1), Duration::ZERO);
}

#[test]
fn a_prepared_set_is_dropped_by_hand_or_after_an_hour() {
    let f = fixture();
    let prepare = || block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let activate = |sheet: &Sheet, after| {
        block_on(f.codes.activate(&alice(), sheet.id(), &own(after))).unwrap()
    };
    let sheet = prepare();
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
    assert_eq!(activate(&sheet, Duration::ZERO), Activation::NoSuchSet);
    let sheet = prepare();
    assert_eq!(activate(&sheet, 60 * MINUTE), Activation::NoSuchSet);
    let last = 60 * MINUTE - Duration::from_millis(1);
    assert!(
        matches!(activate(&sheet, last), Activation::Activated(notice)
        if notice.kind == NoticeKind::Issued)
    );
}

#[test]
fn a_confirmation_spends_nothing_and_a_wrong_one_changes_nothing() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let confirm = |typed: &str| {
        block_on(
            f.codes
                .activate_confirmed(&alice(), sheet.id(), typed, &own(Duration::ZERO)),
        )
        .unwrap()
    };
    assert_eq!(confirm(&f.wrong()), Activation::WrongConfirmation);
    assert!(matches!(confirm("x"), Activation::NotACode(_)));
    assert!(matches!(
        confirm(&code(&sheet, 5)),
        Activation::Activated(_)
    ));
    let _ = f.accepted(&code(&sheet, 5), Duration::ZERO);
}

#[test]
fn using_the_last_code_makes_no_new_one_and_levels_are_told() {
    let f = fixture_with(
        config().with_set_size(SetSize::new(5).unwrap()),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    let told: Vec<(Level, Reissue)> = (1..=5)
        .map(|slot| f.accepted(&code(&sheet, slot), Duration::ZERO))
        .map(|receipt| (receipt.level(), receipt.reissue()))
        .collect();
    assert_eq!(
        told,
        [
            (Level::Ok, Reissue::NotNeeded),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Exhausted, Reissue::Required),
        ]
    );
    let kinds = |kind| {
        f.audit
            .events()
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!((kinds(EventKind::Low), kinds(EventKind::Exhausted)), (1, 1));
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.total, status.remaining), (5, 0));
    assert!(status.slots.iter().all(|slot| slot.used_at.is_some()));
}

#[test]
fn the_strict_rule_asks_for_a_new_sheet_after_every_use() {
    let f = fixture_with(
        config().with_reissue(ReissueRule::AfterEveryUse),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(
        f.accepted(&code(&sheet, 1), Duration::ZERO).reissue(),
        Reissue::Required
    );
}

#[test]
fn a_set_is_refused_from_the_instant_it_expires() {
    let day = 24 * 60 * MINUTE;
    let f = fixture_with(
        config().with_set_lifetime(day).unwrap(),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(sheet.expires_at(), Some(at(day)));
    let _ = f.accepted(&code(&sheet, 1), day - Duration::from_millis(1));
    assert_eq!(f.refused(&code(&sheet, 2), day).reason(), Reason::Expired);
    // Nor does a message count what is left of it.
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(day)),
    );
    assert_eq!(over.unwrap().notice().remaining, Some(0));
}

#[test]
fn sets_and_overrides_from_before_a_restore_do_not_count() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    );
    let restored = f
        .codes
        .clone()
        .with_config(config().with_void_before(at(MINUTE)));
    let redeem =
        |typed: &str| block_on(restored.redeem(&alice(), typed, &own(2 * MINUTE))).unwrap();
    let reason = |outcome| match outcome {
        Redeem::Refused(refusal) => refusal.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(redeem(&code(&sheet, 1))), Reason::Void);
    assert_eq!(reason(redeem(&over.unwrap().expose())), Reason::Void);
    let activated = block_on(restored.activate(&alice(), prepared.id(), &own(2 * MINUTE))).unwrap();
    assert_eq!(activated, Activation::NoSuchSet);
    let new = block_on(restored.issue(&alice(), &own(2 * MINUTE)))
        .unwrap()
        .sheet;
    assert!(matches!(redeem(&code(&new, 1)), Redeem::Accepted(_)));
}

#[test]
fn codes_do_not_outlive_the_factor_and_do_not_come_back_with_it() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let revoke = || {
        block_on(
            f.codes
                .revoke_all(&alice(), RevokeReason::FactorRemoved, &own(Duration::ZERO)),
        )
        .unwrap()
    };
    assert_eq!(
        revoke().map(|notice| notice.kind),
        Some(NoticeKind::Revoked)
    );
    assert_eq!(revoke(), None, "twice is fine");
    for typed in [code(&sheet, 1), code(&prepared, 1)] {
        assert_eq!(f.refused(&typed, Duration::ZERO).reason(), Reason::NoCodes);
    }
    let refusal = f.refused(&over.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let activated = block_on(
        f.codes
            .activate(&alice(), prepared.id(), &own(Duration::ZERO)),
    );
    assert_eq!(activated.unwrap(), Activation::NoSuchSet);
}

#[test]
fn the_time_of_each_step_is_kept_and_told() {
    let f = fixture();
    let status = |after| block_on(f.codes.status(&alice(), &own(after))).unwrap();
    let sheet = block_on(f.codes.prepare(&alice(), &own(MINUTE))).unwrap();
    let _ = block_on(f.codes.activate(&alice(), sheet.id(), &own(2 * MINUTE))).unwrap();
    let _ = f.accepted(&code(&sheet, 4), 3 * MINUTE);
    let _ = block_on(f.codes.burn(&alice(), &code(&sheet, 5), &own(4 * MINUTE))).unwrap();
    // Neither a look nor a second try moves a time.
    assert_eq!(
        f.refused(&code(&sheet, 4), 5 * MINUTE).reason(),
        Reason::Used
    );
    let now = status(6 * MINUTE);
    let times = (now.prepared_at, now.activated_at, now.last_used_at);
    assert_eq!(
        times,
        (Some(at(MINUTE)), Some(at(2 * MINUTE)), Some(at(3 * MINUTE)))
    );
    // The list says the same as the status.
    let cx = by_admin(6 * MINUTE);
    let rows = block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).unwrap();
    let row = &rows[0];
    let listed = (row.prepared_at, row.activated_at, row.last_used_at);
    assert_eq!(listed, times);
    for slot in now.slots {
        let used_at = (slot.slot == 4).then_some(at(3 * MINUTE));
        let burned_at = (slot.slot == 5).then_some(at(4 * MINUTE));
        assert_eq!((slot.used_at, slot.burned_at), (used_at, burned_at));
    }
    assert_eq!(now.revoked_at, None);
    let revoke = |after| {
        let reason = RevokeReason::UserRequest;
        block_on(f.codes.revoke_all(&alice(), reason, &own(after))).unwrap()
    };
    assert_eq!(
        revoke(7 * MINUTE).map(|notice| notice.at),
        Some(at(7 * MINUTE))
    );
    assert_eq!(revoke(8 * MINUTE), None);
    let now = status(9 * MINUTE);
    assert_eq!(
        now.revoked_at,
        Some(at(7 * MINUTE)),
        "the second voided nothing"
    );
    assert_eq!(
        now.last_used_at,
        Some(at(3 * MINUTE)),
        "uses outlive the set"
    );
    assert_eq!((now.prepared_at, now.activated_at), (None, None));
    // The events say the same.
    let expected = [
        (EventKind::Prepare, 1),
        (EventKind::Activate, 2),
        (EventKind::Redeem, 3),
        (EventKind::Burn, 4),
        (EventKind::Redeem, 5),
        (EventKind::Revoke, 7),
    ];
    let told: Vec<_> = f.audit.events().iter().map(|e| (e.kind, e.at)).collect();
    assert_eq!(
        told,
        expected.map(|(kind, minute)| (kind, at(minute * MINUTE)))
    );
}

// The override.

#[test]
fn an_override_works_while_the_set_is_locked_or_disabled_and_once() {
    let f = fixture_with(
        config().with_disable_after(10).unwrap(),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    for _ in 0..10 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let receipt = f.accepted(&over.expose(), MINUTE);
    assert_eq!(
        (receipt.slot(), receipt.notice().kind),
        (0, NoticeKind::OverrideUsed)
    );
    // It lets in; it does not enable what a hundred guesses have disabled.
    assert_eq!(
        f.refused(&code(&sheet, 1), MINUTE).reason(),
        Reason::Disabled
    );
    assert_eq!(f.refused(&over.expose(), MINUTE).reason(), Reason::Disabled);
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(MINUTE)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let refusal = f.refused(&over.expose(), MINUTE);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let _ = f.accepted(&code(&sheet, 1), MINUTE);
}

#[test]
fn an_override_expires_is_revocable_and_has_a_run_of_its_own() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let issue = || {
        block_on(
            f.codes
                .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
        )
        .unwrap()
    };
    let over = issue();
    let last = 60 * MINUTE - Duration::from_millis(1);
    let valid = block_on(f.codes.check(&alice(), &over.expose(), &own(last))).unwrap();
    assert_eq!(valid, Check::Valid(0));
    for _ in 0..20 {
        // It was right once, so it is no guess: nothing is counted.
        let refusal = f.refused(&over.expose(), 60 * MINUTE);
        assert_eq!(refusal.reason(), Reason::Expired);
    }
    let over = issue();
    let effect = block_on(f.codes.revoke_override(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    for _ in 0..20 {
        let refusal = f.refused(&over.expose(), Duration::ZERO);
        assert_eq!(refusal.reason(), Reason::NoOverride);
    }
    let first = issue();
    let second = issue();
    for left in (0..10).rev() {
        assert_eq!(
            f.refused(&first.expose(), Duration::ZERO).tries_left(),
            Some(left)
        );
    }
    // After ten the override is revoked, and the sheet is not touched by it.
    let refusal = f.refused(&second.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.override_until, status.wrong_in_a_row), (None, 0));
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
}

#[test]
fn an_override_has_a_capped_lifetime_and_is_for_somebody_else() {
    let f = fixture();
    let issue = |subject: &Subject, lifetime, cx: &Context| {
        block_on(f.codes.issue_override(subject, lifetime, cx))
    };
    for lifetime in [
        Duration::ZERO,
        Duration::from_secs(59),
        Duration::from_secs(86_401),
    ] {
        let issued = issue(&alice(), lifetime, &by_admin(Duration::ZERO));
        assert!(matches!(issued, Err(Error::OverrideLifetime { .. })));
    }
    let denied = |result: Result<_, Error>| match result {
        Err(Error::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        denied(issue(&admin(), MINUTE, &by_admin(Duration::ZERO))),
        Denial::NotOneself
    );
    assert_eq!(
        denied(issue(&admin(), MINUTE, &own(Duration::ZERO))),
        Denial::NotAdministrator
    );
}

// Roles and settings.

#[test]
fn switched_off_nobody_generates_and_nobody_redeems() {
    let on = fixture();
    let sheet = on.issue(&alice(), Duration::ZERO);
    let mut off = Settings::default();
    off.set_switch(Switch::Off);
    let codes = BackupCodes::new(on.store.clone(), off, inline()).with_config(config());
    let cx = own(Duration::ZERO);
    assert!(matches!(
        block_on(codes.prepare(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
    assert!(matches!(
        block_on(codes.issue(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
    let Redeem::Refused(refusal) = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap()
    else {
        panic!("redeemed although switched off");
    };
    assert_eq!(refusal.reason(), Reason::SwitchedOff);
    // What is stored is untouched: switched on again, the sheet works.
    let _ = on.accepted(&code(&sheet, 1), Duration::ZERO);
}

#[test]
fn a_lost_role_stops_new_sets_and_redeeming_only_where_set_so() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let mut settings = Settings::default();
    settings.permit_roles(["boss"]);
    for (loss, works) in [
        (OnRoleLoss::KeepRedeeming, true),
        (OnRoleLoss::StopRedeeming, false),
    ] {
        settings.set_on_role_loss(loss);
        let codes =
            BackupCodes::new(f.store.clone(), settings.clone(), inline()).with_config(config());
        let cx = own(Duration::ZERO);
        assert!(matches!(
            block_on(codes.prepare(&alice(), &cx)),
            Err(Error::Denied(Denial::RoleNotPermitted))
        ));
        let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
        assert_eq!(matches!(redeemed, Redeem::Accepted(_)), works);
    }
}

#[test]
fn only_administrators_act_for_others() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let bob = subject("bob", "staff");
    let cx = Context::new(at(Duration::ZERO), &bob);
    let denied = |result: Result<(), Error>| matches!(result, Err(Error::Denied(_)));
    assert!(denied(block_on(f.codes.unlock(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.erase(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.status(&alice(), &cx)).map(drop)));
    assert!(denied(
        block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).map(drop)
    ));
    assert!(denied(block_on(f.codes.authorize_reports(&cx))));
    assert!(block_on(f.codes.authorize_reports(&by_admin(Duration::ZERO))).is_ok());
    let own = block_on(f.codes.unlock(&admin(), &by_admin(Duration::ZERO)));
    assert!(denied(own.map(drop)));
    for actor in [
        Context::system(at(Duration::ZERO)),
        cx,
        by_admin(Duration::ZERO),
    ] {
        let redeemed = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &actor)).unwrap();
        let Redeem::Refused(refusal) = redeemed else {
            panic!("redeemed for somebody else")
        };
        assert_eq!(refusal.reason(), Reason::OnlyOwn);
    }
}

#[test]
fn settings_are_in_force_when_saved_and_an_overtaken_save_is_shown() {
    let store = MemoryRepository::new();
    let node = || {
        let shared = SharedSettings::new(10 * MINUTE);
        let codes = BackupCodes::new(store.clone(), shared.clone(), inline());
        let codes = codes.with_config(config());
        let settings = SavedSettings::new(&codes, store.clone(), &shared);
        (codes, settings)
    };
    let ((first, of_first), (second, of_second)) = (node(), node());
    let cx = by_admin(Duration::ZERO);
    // Not read yet: nothing is allowed.
    assert!(matches!(
        block_on(first.prepare(&alice(), &own(Duration::ZERO))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
    block_on(of_first.refresh(at(Duration::ZERO))).unwrap();
    block_on(of_second.refresh(at(Duration::ZERO))).unwrap();
    let mut one = of_first.edit().unwrap();
    let mut other = of_second.edit().unwrap();
    one.settings.permit_no_roles();
    assert!(
        block_on(first.prepare(&alice(), &own(Duration::ZERO))).is_ok(),
        "not saved yet"
    );
    assert_eq!(
        block_on(of_first.save(one.clone(), &cx)).unwrap(),
        SettingsSaved::Saved
    );
    assert!(block_on(first.prepare(&alice(), &own(Duration::ZERO))).is_err());
    other.settings.set_switch(Switch::Off);
    let saved = block_on(of_second.save(other, &cx)).unwrap();
    let SettingsSaved::Conflict(in_force) = saved else {
        panic!("overwritten unseen")
    };
    assert_eq!(in_force.settings, one.settings);
    // A draft that travelled through a form is held to the state it was based on.
    assert_eq!(
        SettingsDraft::new(in_force.settings.clone(), in_force.based_on()),
        in_force
    );
    let stale = SettingsDraft::new(Settings::default(), one.based_on());
    assert!(matches!(
        block_on(of_second.save(stale, &cx)),
        Ok(SettingsSaved::Conflict(_))
    ));
    // By somebody without the role: denied.
    let draft = of_second.edit().unwrap();
    assert!(matches!(
        block_on(of_second.save(draft, &own(Duration::ZERO))),
        Err(Error::Denied(Denial::NotAdministrator))
    ));
    // A copy older than its bound is not gone by.
    let sheet = block_on(second.status(&alice(), &own(10 * MINUTE)));
    assert!(sheet.is_ok());
    let late = 10 * MINUTE + Duration::from_millis(1);
    assert!(matches!(
        block_on(second.status(&alice(), &own(late))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
    let events = block_on(store.undelivered(100)).unwrap();
    assert!(
        events
            .iter()
            .all(|event| event.kind != EventKind::SaveSettings),
        "delivered"
    );
}

// Work.

#[test]
fn a_fault_of_the_store_is_not_counted_and_harms_no_neighbour() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| {
        record.replacen(
            "\"slot\":3,\"phc\":\"$argon2id",
            "\"slot\":3,\"phc\":\"junk",
            1,
        )
    });
    for _ in 0..20 {
        assert_eq!(
            f.refused(&code(&sheet, 3), Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.damaged, status.remaining, status.total), (1, 9, 10));
    assert_eq!(f.accepted(&code(&sheet, 4), Duration::ZERO).remaining(), 8);
    assert!(
        f.load().record.contains("\"slot\":3,\"phc\":\"junk"),
        "nothing is lost by writing"
    );
}

#[test]
fn a_damaged_override_or_a_slot_without_a_number_is_not_counted_against_the_sheet() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    f.tamper(|record| {
        let (before, after) = record.split_once("\"override\":").unwrap();
        let after = after.replacen("$argon2id", "$junk", 1);
        format!("{before}\"override\":{after}").replacen("\"slot\":3,", "\"slot\":\"x\",", 1)
    });
    for typed in [over.expose().to_string(), code(&sheet, 3)] {
        assert_eq!(
            f.refused(&typed, Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.wrong_in_a_row, status.damaged), (0, 2));
    let effect = block_on(f.codes.revoke_override(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    assert_eq!(f.accepted(&code(&sheet, 4), Duration::ZERO).remaining(), 8);
}

#[test]
fn burning_one_wrong_code_too_many_yields_the_notice() {
    let f = fixture_with(
        config().with_disable_after(1).unwrap(),
        Settings::default(),
        inline(),
    );
    let _ = f.issue(&alice(), Duration::ZERO);
    let burned = block_on(f.codes.burn(&alice(), &f.wrong(), &own(Duration::ZERO))).unwrap();
    let Burn::Done(Some(notice)) = burned else {
        panic!("{burned:?}")
    };
    assert_eq!(notice.kind, NoticeKind::Disabled);
}

#[test]
fn burning_says_so_where_the_stored_hash_cannot_be_checked() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| {
        record.replacen(
            "\"slot\":3,\"phc\":\"$argon2id",
            "\"slot\":3,\"phc\":\"junk",
            1,
        )
    });
    let key = (KeyId::new("k").unwrap(), Pepper::new([1; 32]).unwrap());
    // This node has a pepper, and the stored hashes have none.
    let other = BackupCodes::new(
        f.store.clone(),
        Settings::default(),
        Hashing::inline(cheap(Keyring::new(key.0, key.1))),
    )
    .with_config(config());
    for (codes, slot, reason) in [
        (other.with_audit(f.audit.clone()), 4, Reason::UnknownKey),
        (f.codes.clone(), 3, Reason::Malformed),
    ] {
        let cx = own(Duration::ZERO);
        let burned = block_on(codes.burn(&alice(), &code(&sheet, slot), &cx)).unwrap();
        let Burn::Refused(refusal) = burned else {
            panic!("{burned:?}")
        };
        assert_eq!(refusal.reason(), reason);
        assert_eq!(f.last_event().reason, Some(reason));
    }
    let _ = f.accepted(&code(&sheet, 4), Duration::ZERO);
}

#[test]
fn what_cannot_be_checked_writes_nothing() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| {
        record.replacen(
            "\"slot\":3,\"phc\":\"$argon2id",
            "\"slot\":3,\"phc\":\"junk",
            1,
        )
    });
    let before = f.load();
    for _ in 0..5 {
        assert_eq!(
            f.refused(&code(&sheet, 3), Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    assert_eq!(f.load(), before);
}

#[test]
fn activating_a_set_voids_an_older_override() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let _ = f.issue(&alice(), MINUTE);
    let refusal = f.refused(&over.expose(), MINUTE);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let revoked = |event: &Event| {
        event.kind == EventKind::RevokeOverride && event.reason == Some(Reason::Replaced)
    };
    assert_eq!(
        f.audit
            .events()
            .iter()
            .filter(|event| revoked(event))
            .count(),
        1
    );
}

#[test]
fn a_damaged_record_does_not_keep_later_ones_from_being_purged() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    f.tamper(|_| "garbage".to_owned());
    let bob = subject("bob", "staff");
    let _ = f.issue(&bob, Duration::ZERO);
    let cx = Context::new(at(Duration::ZERO), &bob);
    assert_eq!(block_on(f.codes.erase(&bob, &cx)).unwrap(), Effect::Done);
    let purged = block_on(
        f.reports()
            .purge(&by_admin(Duration::from_secs(31 * 86_400))),
    )
    .unwrap();
    assert_eq!((purged.removed, purged.unreadable), (1, 1));
    assert_eq!(
        f.load().record,
        "garbage",
        "it is left for whoever repairs it"
    );
}

#[test]
fn a_copy_of_the_settings_read_under_a_clock_ahead_is_not_gone_by() {
    let (store, shared) = (MemoryRepository::new(), SharedSettings::new(10 * MINUTE));
    let codes = BackupCodes::new(store.clone(), shared.clone(), inline()).with_config(config());
    let settings = SavedSettings::new(&codes, store, &shared);
    block_on(settings.refresh(at(60 * MINUTE))).unwrap();
    let status = |after| block_on(codes.status(&alice(), &own(after)));
    assert!(status(50 * MINUTE).is_ok());
    assert!(matches!(
        status(50 * MINUTE - Duration::from_millis(1)),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
}

/// A writer whose next write stops half way.
struct HalfWay(Vec<u8>, Option<usize>);

impl io::Write for HalfWay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.1.take() {
            Some(0) => Err(io::Error::other("disk full")),
            Some(room) => {
                self.0.extend_from_slice(&bytes[..room]);
                self.1 = Some(0);
                Ok(room)
            }
            None => {
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_written_half_way_does_not_swallow_the_next_one() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let events = f.audit.events();
    let lines = JsonLines::new(HalfWay(Vec::new(), Some(20)));
    assert!(block_on(lines.record(&events)).is_err());
    block_on(lines.record(&events)).unwrap();
    let text = String::from_utf8(lines.into_inner().0).unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert_eq!(whole.count(), events.len(), "{text}");
}

#[test]
fn rotating_the_pepper_keeps_printed_codes() {
    let key = |name: &str, byte| (KeyId::new(name).unwrap(), Pepper::new([byte; 32]).unwrap());
    let keyring = |(id, pepper)| Keyring::new(id, pepper);
    let f = fixture_with(
        config(),
        Settings::default(),
        Hashing::inline(cheap(keyring(key("old", 1)))),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    let with = |keyring| {
        BackupCodes::new(
            f.store.clone(),
            Settings::default(),
            Hashing::inline(cheap(keyring)),
        )
        .with_config(config())
    };
    let redeem = |keyring, slot| {
        let cx = own(Duration::ZERO);
        match block_on(with(keyring).redeem(&alice(), &code(&sheet, slot), &cx)).unwrap() {
            Redeem::Refused(refusal) => Some(refusal.reason()),
            _ => None,
        }
    };
    let (id, pepper) = key("old", 1);
    assert_eq!(
        redeem(keyring(key("new", 2)).with_older(id, pepper).unwrap(), 1),
        None
    );
    assert_eq!(redeem(keyring(key("new", 2)), 2), Some(Reason::UnknownKey));
    assert_eq!(
        redeem(keyring(key("old", 3)), 3),
        Some(Reason::KeyMismatch),
        "another key, same name"
    );
    assert_eq!(
        redeem(Keyring::without_pepper(), 4),
        Some(Reason::UnknownKey)
    );
    // Hashes from before there was a pepper.
    let bare = fixture();
    let sheet = bare.issue(&alice(), Duration::ZERO);
    let redeem = |keyring, slot| {
        let codes = BackupCodes::new(
            bare.store.clone(),
            Settings::default(),
            Hashing::inline(cheap(keyring)),
        )
        .with_config(config());
        let typed = code(&sheet, slot);
        match block_on(codes.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap() {
            Redeem::Refused(refusal) => Some(refusal.reason()),
            _ => None,
        }
    };
    assert_eq!(redeem(keyring(key("new", 2)), 1), Some(Reason::UnknownKey));
    assert_eq!(
        redeem(keyring(key("new", 2)).accepting_unpeppered(), 1),
        None
    );
}

#[test]
fn a_hash_moved_to_another_user_slot_or_set_verifies_nothing() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let bob = subject("bob", "staff");
    let bobs = f.issue(&bob, Duration::ZERO);
    let record = |user: &Subject| {
        block_on(f.store.load(user.id(), Freshness::Latest))
            .unwrap()
            .unwrap()
            .record
    };
    // Bob's whole record under Alice's key.
    let stolen = record(&bob);
    f.tamper(|_| stolen.clone());
    assert_eq!(
        f.refused(&code(&bobs, 1), Duration::ZERO).reason(),
        Reason::Wrong
    );
    // Slots 1 and 2 exchanged, and a set id changed, by somebody who knows how to sum.
    let g = fixture();
    let own_sheet = g.issue(&alice(), Duration::ZERO);
    g.tamper(|record| {
        let exchanged = record
            .replacen("\"slot\":1,", "\"slot\":99,", 1)
            .replacen("\"slot\":2,", "\"slot\":1,", 1)
            .replacen("\"slot\":99,", "\"slot\":2,", 1);
        sum_again(&exchanged)
    });
    for slot in [1, 2] {
        assert_eq!(
            g.refused(&code(&own_sheet, slot), Duration::ZERO).reason(),
            Reason::Wrong
        );
    }
    let _ = g.accepted(&code(&own_sheet, 3), Duration::ZERO);
    g.tamper(|record| sum_again(&record.replacen("\"crockford-26,", "\"crockford-25,", 1)));
    assert_eq!(
        g.refused(&code(&own_sheet, 4), Duration::ZERO).reason(),
        Reason::FormatNotAccepted,
        "format"
    );
    g.tamper(|record| sum_again(&record.replacen("\"crockford-25,", "\"crockford-26,", 1)));
    g.tamper(|record| {
        sum_again(&record.replace(&own_sheet.id().to_string(), &sheet.id().to_string()))
    });
    assert_eq!(
        g.refused(&code(&own_sheet, 4), Duration::ZERO).reason(),
        Reason::Wrong
    );
}

#[test]
fn a_row_that_is_too_costly_or_too_cheap_is_not_evaluated() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| sum_again(&record.replace("m=8,t=1", "m=47104,t=3")));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostAboveCeiling,
        "passes count too"
    );
    f.tamper(|record| sum_again(&record.replace("m=47104,t=3", "m=1048576,t=1")));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostAboveCeiling
    );
    // A standard code whose row claims the cheap cost of the long ones.
    let standard = fixture_with(Config::default(), Settings::default(), inline());
    let sheet = standard.issue(&alice(), Duration::ZERO);
    let written = standard.load().record;
    standard.tamper(|record| sum_again(&record.replace("m=19456,t=2", "m=8,t=1")));
    assert_eq!(
        standard.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostBelowFloor
    );
    // In one row only: it is not a code of this set.
    standard.tamper(|_| sum_again(&written.replacen("m=19456,t=2,p", "m=8,t=1,p", 1)));
    assert_eq!(
        standard.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Malformed
    );
    let _ = standard.accepted(&code(&sheet, 2), Duration::ZERO);
}

#[test]
fn ten_thousand_codes_have_ten_thousand_salts() {
    let size = SetSize::new(31).unwrap();
    let f = fixture_with(config().with_set_size(size), Settings::default(), inline());
    let mut salts = BTreeSet::new();
    let mut codes = 0;
    while codes < 10_000 {
        let _ = f.issue(&alice(), Duration::ZERO);
        let record = f.load().record;
        let stored = record
            .split("p=1$")
            .skip(1)
            .map(|rest| rest[..22].to_owned());
        codes += stored.clone().count();
        salts.extend(stored);
    }
    assert_eq!(salts.len(), codes);
}

// Faults.

/// A sink that fails while it is told to.
struct Failing(AtomicBool, MemoryAudit);

impl AuditSink for Failing {
    type Error = io::Error;
    async fn record(&self, events: &[Event]) -> Result<(), io::Error> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("down"));
        }
        self.1.record(events).await.map_err(|never| match never {})
    }
    fn durability(&self) -> Durability {
        Durability::Durable
    }
}

#[test]
fn a_failing_sink_neither_accepts_nor_loses() {
    let sink = Arc::new(Failing(AtomicBool::new(true), MemoryAudit::new()));
    let codes = BackupCodes::new(MemoryRepository::new(), Settings::default(), inline())
        .with_audit(Arc::clone(&sink))
        .with_config(config());
    let sheet = block_on(codes.issue(&alice(), &own(Duration::ZERO)))
        .unwrap()
        .sheet;
    let typed = code(&sheet, 1);
    let redeem = || block_on(codes.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap();
    assert!(matches!(redeem(), Redeem::Accepted(_)));
    assert!(matches!(redeem(), Redeem::Refused(_)));
    assert!(matches!(
        block_on(codes.deliver_events()),
        Err(Error::Sink(_))
    ));
    sink.0.store(false, Ordering::Relaxed);
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::Delivered(4)
    );
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::Delivered(0)
    );
    let kinds: Vec<EventKind> = sink.1.events().iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Prepare,
        EventKind::Activate,
        EventKind::Redeem,
        EventKind::Redeem,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_lossy_sink_gets_events_but_does_not_clear_them() {
    let store = MemoryRepository::new();
    let codes = BackupCodes::new(store.clone(), Settings::default(), inline())
        .with_audit(JsonLines::new(Vec::new()))
        .with_config(config());
    let _ = block_on(codes.issue(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(
        block_on(codes.deliver_events()).unwrap(),
        Delivery::SinkIsLossy
    );
    let durable = codes.with_audit(MemoryAudit::new());
    assert_eq!(
        block_on(durable.deliver_events()).unwrap(),
        Delivery::Delivered(2)
    );
}

/// A generator that fails after so many calls.
struct Broken(u32);

impl rand_core::TryRng for Broken {
    type Error = io::Error;
    fn try_next_u32(&mut self) -> Result<u32, io::Error> {
        Err(io::Error::other("broken"))
    }
    fn try_next_u64(&mut self) -> Result<u64, io::Error> {
        Err(io::Error::other("broken"))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), io::Error> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("broken"))?;
        getrandom::SysRng
            .try_fill_bytes(bytes)
            .map_err(io::Error::other)
    }
}

impl rand_core::TryCryptoRng for Broken {}

#[test]
fn a_generator_that_fails_stores_nothing() {
    for calls in 0..60 {
        let store = MemoryRepository::new();
        let codes = BackupCodes::new(store.clone(), Settings::default(), inline())
            .with_config(config())
            .with_rng(Broken(calls));
        let issued = block_on(codes.issue(&alice(), &own(Duration::ZERO)));
        let stored = block_on(store.load(alice().id(), Freshness::Latest)).unwrap();
        match issued {
            Ok(_) => assert!(stored.is_some()),
            Err(Error::Random(_)) => assert_eq!(stored, None, "after {calls} calls"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A store that gives way before and after each call.
struct Slow(MemoryRepository);

async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|_| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        Poll::Pending
    })
    .await;
}

impl CodeRepository for Slow {
    type Error = std::convert::Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Self::Error> {
        give_way().await;
        let loaded = self.0.load(user, f).await;
        give_way().await;
        loaded
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Self::Error>> {
        give_way().await;
        let outcome = self.0.put(put).await;
        give_way().await;
        outcome
    }
    async fn remove(&self, u: &UserId, r: Revision) -> Result<PutOutcome, PutError<Self::Error>> {
        self.0.remove(u, r).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Self::Error> {
        self.0.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Self::Error> {
        give_way().await;
        self.0.acknowledge(events).await
    }
}

#[test]
fn a_redeem_dropped_at_any_poll_leaves_a_spent_code_with_its_event_or_an_unspent_one() {
    let (mut spent, mut unspent) = (0, 0);
    for polls in 0..12 {
        let f = fixture();
        let sheet = f.issue(&alice(), Duration::ZERO);
        let (user, cx, typed) = (alice(), own(Duration::ZERO), code(&sheet, 1));
        let audit = MemoryAudit::new();
        let slow = BackupCodes::new(Slow(f.store.clone()), Settings::default(), inline())
            .with_audit(audit.clone())
            .with_config(config());
        {
            let mut redeem = pin!(slow.redeem(&user, &typed, &cx));
            let mut context = TaskContext::from_waker(Waker::noop());
            for _ in 0..polls {
                if redeem.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        let _ = block_on(BackupCodes::deliver_events(
            &BackupCodes::new(f.store.clone(), Settings::default(), inline())
                .with_audit(audit.clone()),
        ))
        .unwrap();
        let ids: BTreeSet<EventId> = audit
            .events()
            .iter()
            .filter(|event| {
                event.kind == EventKind::Redeem && event.outcome == EventOutcome::Success
            })
            .map(|event| event.id)
            .collect();
        let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
        match status.remaining {
            9 => {
                assert_eq!(ids.len(), 1, "a spent code has its event");
                spent += 1;
            }
            _ => {
                assert_eq!((status.remaining, ids.len()), (10, 0));
                let _ = f.accepted(&typed, Duration::ZERO);
                unspent += 1;
            }
        }
    }
    assert!(spent > 0 && unspent > 0);
}

/// Polls a future so many times, then drops it. Whether it came to its end.
fn polled<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut context = TaskContext::from_waker(Waker::noop());
    (0..polls).any(|_| future.as_mut().poll(&mut context).is_ready())
}

#[test]
fn any_operation_dropped_at_any_poll_leaves_a_readable_record_and_a_working_sheet() {
    for operation in 0..9 {
        let mut ended = false;
        for polls in 0.. {
            let f = fixture();
            let (user, root) = (alice(), admin());
            let (cx, by_root) = (own(Duration::ZERO), by_admin(Duration::ZERO));
            let sheet = f.issue(&user, Duration::ZERO);
            let prepared = block_on(f.codes.prepare(&user, &cx)).unwrap();
            let typed = code(&sheet, 1);
            let slow = BackupCodes::new(Slow(f.store.clone()), Settings::default(), inline())
                .with_audit(f.audit.clone())
                .with_config(config());
            ended = match operation {
                0 => polled(slow.prepare(&user, &cx), polls),
                1 => polled(slow.issue(&user, &cx), polls),
                2 => polled(slow.activate(&user, prepared.id(), &cx), polls),
                3 => polled(slow.check(&user, &typed, &cx), polls),
                4 => polled(slow.burn(&user, &typed, &cx), polls),
                5 => polled(slow.issue_override(&user, MINUTE, &by_root), polls),
                6 => polled(slow.unlock(&user, &by_root), polls),
                7 => polled(slow.discard(&user, prepared.id(), &cx), polls),
                _ => polled(slow.revoke_override(&user, &by_root), polls),
            };
            let _ = root;
            // One set is in force, with all of its codes but one that may have been burned.
            let status = block_on(f.codes.status(&user, &cx)).unwrap();
            assert!(
                status.set.is_some() && status.remaining >= 9,
                "operation {operation}"
            );
            let new = status.set == Some(prepared.id());
            if status.set == Some(sheet.id()) || new {
                let sheet = if new { &prepared } else { &sheet };
                let _ = f.accepted(&code(sheet, 2), Duration::ZERO);
            }
            if ended {
                break;
            }
        }
        assert!(ended);
    }
}

#[test]
fn the_exported_text_is_this() {
    let day = 24 * 60 * MINUTE;
    let f = fixture_with(
        Config::default()
            .with_set_size(SetSize::new(1).unwrap())
            .with_set_lifetime(day)
            .unwrap(),
        Settings::default(),
        inline(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wording = Wording::english(&sheet, "example.org", "alice\n2.\u{202e}forged");
    let text = sheet.expose().text(&wording);
    let shape: String = text
        .lines()
        .map(|line| match line.strip_prefix(" 1. ") {
            Some(code) => format!(" 1. {}\n", code.replace(|c| c != '-', "X")),
            None => format!("{}\n", line.replace(&sheet.label(), "LABEL")),
        })
        .collect();
    assert_eq!(
        shape,
        "Backup codes for example.org\n\
         Account: alice 2. forged\n\
         Sheet:   LABEL\n\
         Made on: 2026-09-21 UTC\n\
         Valid until: 2026-09-22T14:13:20.000Z\n\
         \n \
         1. XXXX-XXXX-XXXX-XXXX\n\
         \n\
         Each code works once, in any order. Keep this sheet apart from your password.\n\
         A new sheet makes this one useless.\n"
    );
}

// Reports and lives.

#[test]
fn a_months_figure_never_falls() {
    let f = fixture();
    let hour = 60 * MINUTE;
    let day = |n: i64| {
        Timestamp::from_unix_millis(START / 86_400_000 * 86_400_000 + n * 86_400_000).unwrap()
    };
    let figures = || {
        let periods =
            Periods::new(day(0)..day(1), day(-20)..day(1), &[day(-1), day(0), day(1)]).unwrap();
        block_on(f.reports().usage(periods, &by_admin(hour))).unwrap()
    };
    let sheet = f.issue(&alice(), Duration::ZERO);
    for slot in 1..=8 {
        let _ = f.accepted(&code(&sheet, slot), Duration::ZERO);
    }
    let usage = figures();
    assert_eq!(
        (
            usage.users_with_codes,
            usage.users_low,
            usage.users_exhausted
        ),
        (1, 1, 0)
    );
    assert_eq!((usage.used_today, usage.used_this_month), (8, 8));
    assert_eq!(usage.used_by_day, [0, 8]);
    let _ = f.issue(&alice(), MINUTE);
    assert_eq!(figures().used_this_month, 8, "a new sheet");
    assert_eq!(figures().users_low, 0);
    let _ = block_on(
        f.codes
            .revoke_all(&alice(), RevokeReason::UserRequest, &own(MINUTE)),
    )
    .unwrap();
    assert_eq!(
        (figures().used_this_month, figures().users_with_codes),
        (8, 0),
        "a revocation"
    );
    let effect = block_on(f.codes.erase(&alice(), &own(MINUTE)));
    assert_eq!(effect.unwrap(), Effect::Done);
    assert_eq!(
        figures().used_this_month,
        0,
        "erased users leave the figures"
    );
}

#[test]
fn the_list_of_users_has_filters_orders_and_pages() {
    let f = fixture();
    for (n, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let user = subject(name, "staff");
        let after = Duration::from_secs(60 * u64::try_from(n).unwrap());
        let sheet = f.issue(&user, after);
        for slot in 1..=(3 * u8::try_from(n).unwrap() + 1) {
            let cx = Context::new(at(after), &user);
            let _ = block_on(f.codes.redeem(&user, &code(&sheet, slot), &cx)).unwrap();
        }
    }
    let cx = by_admin(60 * MINUTE);
    let list = |query: UsersQuery| -> Vec<(String, u8)> {
        let rows = block_on(f.reports().users(query, &cx)).unwrap();
        rows.into_iter()
            .map(|row| (row.user.to_string(), row.remaining))
            .collect()
    };
    let query = || UsersQuery::new(cx.now());
    let names = |rows: Vec<(String, u8)>| rows.into_iter().map(|row| row.0).collect::<String>();
    assert_eq!(
        list(query()),
        [("a".into(), 9), ("b".into(), 6), ("c".into(), 3)]
    );
    assert_eq!(names(list(query().filter(UserFilter::WithSet))), "abcd");
    assert_eq!(names(list(query().filter(UserFilter::Low))), "cd");
    assert_eq!(names(list(query().filter(UserFilter::Exhausted))), "d");
    let all = query().filter(UserFilter::WithSet);
    assert_eq!(
        names(list(all.clone().order(UserOrder::FewestLeft))),
        "dcba"
    );
    assert_eq!(names(list(all.clone().order(UserOrder::NewestSet))), "dcba");
    let among = |names: &[&str]| {
        all.clone()
            .among(names.iter().map(|n| UserId::new(n).unwrap()))
    };
    let newest = among(&["b", "nobody", "d"]).order(UserOrder::NewestSet);
    assert_eq!(names(list(newest)), "db");
    assert_eq!(
        names(list(among(&["b", "d"]).filter(UserFilter::Exhausted))),
        "d"
    );
    assert_eq!(list(among(&[])), []);
    let page = block_on(f.reports().users(all.clone().limit(3), &cx)).unwrap();
    // The place of the next page travels as text, in a link.
    let link = serde_json::to_string(&page[2]).unwrap();
    let last = serde_json::from_str(&link).unwrap();
    assert_eq!(last, page[2]);
    assert_eq!(names(list(all.limit(3).after(last))), "d");
}

#[test]
fn an_erased_user_leaves_no_personal_data_and_cannot_be_brought_back_by_a_late_write() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let stale = f.load();
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
    let tombstone = f.load();
    for gone in ["alice", "phc", "used", "uses", &sheet.id().to_string()] {
        assert!(
            !tombstone.record.contains(gone),
            "{gone} in {}",
            tombstone.record
        );
    }
    let late = Put::new;
    let (user, summary) = (alice(), Summary::default());
    let revision = Revision::random(&mut getrandom::SysRng).unwrap();
    let put = late(
        user.id(),
        Expected::At(stale.revision),
        revision,
        &stale.record,
        &summary,
        &[],
    );
    assert_eq!(block_on(f.store.put(put)).unwrap(), PutOutcome::Conflict);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO)));
    assert!(matches!(prepared, Err(Error::Erased(_))));
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::NoCodes
    );
    let month = Duration::from_secs(30 * 86_400);
    let early = block_on(f.reports().purge(&by_admin(month - MINUTE))).unwrap();
    assert_eq!(early.removed, 0);
    assert_eq!(
        block_on(f.reports().purge(&by_admin(month)))
            .unwrap()
            .removed,
        1
    );
    assert_eq!(
        block_on(f.store.load(alice().id(), Freshness::Latest)).unwrap(),
        None
    );
    let _ = f.issue(&alice(), month);
}

#[test]
fn purging_forgets_old_uses_sets_never_activated_and_overrides_past_their_end() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let _ = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let _ = block_on(
        f.codes
            .issue_override(&alice(), MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let years = Duration::from_secs(401 * 86_400);
    assert_eq!(
        block_on(f.reports().purge(&by_admin(Duration::ZERO)))
            .unwrap()
            .trimmed,
        0
    );
    let forced = block_on(f.reports().force_purge(&by_admin(years)));
    assert_eq!(forced.unwrap().trimmed, 1);
    let record = f.load().record;
    for gone in ["uses", "prepared", "override"] {
        assert!(
            !record.contains(&format!("\"{gone}\"")),
            "{gone} in {record}"
        );
    }
    assert_eq!(
        f.accepted(&code(&sheet, 2), years).remaining(),
        8,
        "the sheet is untouched"
    );
}

// What is told.

#[test]
fn every_refusal_has_the_same_public_text() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = f.wrong();
    let mut texts = BTreeSet::new();
    let mut reasons = BTreeSet::new();
    let mut note = |refusal: Refusal| {
        texts.insert(refusal.to_string());
        reasons.insert(refusal.reason().as_str());
    };
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    note(f.refused(&code(&sheet, 1), Duration::ZERO));
    for _ in 0..11 {
        note(f.refused(&wrong, Duration::ZERO));
    }
    let system = Context::system(at(Duration::ZERO));
    let Redeem::Refused(denied) = block_on(f.codes.redeem(&alice(), &wrong, &system)).unwrap()
    else {
        panic!("redeemed for another user");
    };
    note(denied);
    let _ = block_on(
        f.codes
            .revoke_all(&alice(), RevokeReason::UserRequest, &own(MINUTE)),
    )
    .unwrap();
    note(f.refused(&wrong, 60 * MINUTE));
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(reasons.len(), 5, "{reasons:?}");
}

#[test]
fn an_event_says_who_what_when_where_from_and_why() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let cx = own(Duration::from_millis(123))
        .with_address([203, 0, 113, 7])
        .with_user_agent("browser\nforged line")
        .with_correlation("req-1");
    let _ = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
    let event = f.last_event();
    assert_eq!(event.at, at(Duration::from_millis(123)));
    assert_eq!(
        (event.kind, event.outcome),
        (EventKind::Redeem, EventOutcome::Success)
    );
    assert_eq!(event.subject.as_ref(), Some(alice().id()));
    assert_eq!(event.address.unwrap().to_string(), "203.0.113.7");
    assert_eq!(event.remaining, Some(9));
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    let lines = JsonLines::new(Vec::new());
    block_on(lines.record(&[event])).unwrap();
    let line = String::from_utf8(lines.into_inner()).unwrap();
    assert_eq!(line.lines().count(), 1);
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("@timestamp", "2026-09-21T14:13:20.123Z"),
        ("event.action", "redeem"),
        ("event.outcome", "success"),
        ("event.code", "authn_login_success"),
        ("user.id", "alice"),
        ("user.target.id", "alice"),
        ("client.ip", "203.0.113.7"),
        ("trace.id", "req-1"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
}

#[test]
fn every_exported_line_pasted_whole_is_its_code() {
    for format in [Format::CROCKFORD, Format::DIGITS, Format::HIGH_ENTROPY] {
        let formats = Formats::new(format);
        let f = fixture_with(
            Config::default()
                .with_formats(formats.clone())
                .with_set_size(SetSize::new(31).unwrap()),
            Settings::default(),
            inline(),
        );
        let sheet = if format == Format::HIGH_ENTROPY {
            f.issue(&alice(), Duration::ZERO)
        } else {
            // Hashing 31 codes at full cost is not what this is about.
            let config = Config::default().with_formats(formats.clone());
            let f = fixture_with(config, Settings::default(), inline());
            f.issue(&alice(), Duration::ZERO)
        };
        let text = sheet
            .expose()
            .text(&Wording::english(&sheet, "example.org", "alice"));
        let id = backup_codes::rules::OperationId::from_bytes([1; 16]);
        let read: Vec<u8> = text
            .split_inclusive('\n')
            .filter_map(|line| backup_codes::rules::Attempt::parse(line, &formats, id).ok())
            .map(|attempt| attempt.slot())
            .collect();
        assert_eq!(
            read,
            (1..=u8::try_from(sheet.len()).unwrap()).collect::<Vec<u8>>()
        );
    }
}

#[test]
fn types_are_send_and_sync_and_futures_are_send() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>(_: &T) {}
    both::<BackupCodes>();
    both::<Reports>();
    both::<SavedSettings>();
    both::<Sheet>();
    both::<Error>();
    both::<Record>();
    both::<Redeem>();
    both::<SharedSettings>();
    let f = fixture();
    let (user, cx) = (alice(), own(Duration::ZERO));
    send(&f.codes.redeem(&user, "x", &cx));
    send(&f.codes.issue(&user, &cx));
    let reports = f.reports();
    send(&reports.purge(&cx));
    send(&f.codes.deliver_events());
}
