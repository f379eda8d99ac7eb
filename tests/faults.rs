//! Faults of the store, one by one: what the caller is told, and what is then true.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{Fault, Faulty};
use backup_codes::policy::{Decision, Denial, Request, RolePolicy};
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
};
use backup_codes::{
    Activation, BackupCodes, Check, Confirmation, Context, Effect, Error, MemoryRepository, Redeem,
    Settings, Sheet, UserId,
};
use pollster::block_on;
use support::hashing::cheap_hashing;
use support::moments::start;
use support::operations::{backup_codes, config};
use support::people::alice;
use support::sheets::{code, wrong};
use support::{contexts, records};

fn own() -> Context {
    contexts::own(start())
}

fn issue(store: &MemoryRepository) -> Sheet {
    block_on(backup_codes(store.clone()).issue(&alice(), &own()))
        .unwrap()
        .sheet
}

fn remaining(store: &MemoryRepository) -> u8 {
    block_on(backup_codes(store.clone()).status(&alice(), &own()))
        .unwrap()
        .remaining
}

/// A redeem of a right code, whose calls meet these faults.
fn redeem(faults: &[Fault]) -> (Result<Redeem, Error>, u8) {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    let faulty = backup_codes(Faulty::new(store.clone(), faults.to_vec()));
    let outcome = block_on(faulty.redeem(&alice(), &code(&sheet, 1), &own()));
    (outcome, remaining(&store))
}

#[test]
fn a_lost_reply_is_settled_by_a_confirming_write() {
    use Fault::{ApplyThenConflict, ApplyThenFail, None};
    for lost in [ApplyThenFail, ApplyThenConflict] {
        let (outcome, left) = redeem(&[None, lost]);
        assert!(matches!(outcome, Ok(Redeem::Accepted(_))), "{outcome:?}");
        assert_eq!(left, 9);
    }
}

/// A store whose first write is applied, reported as a conflict, and followed by an erasure.
struct ErasedMeanwhile(MemoryRepository, AtomicUsize);

impl CodeRepository for ErasedMeanwhile {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        self.0.load(user, f).await
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        let outcome = self.0.put(put).await?;
        if self.1.fetch_add(1, Ordering::Relaxed) > 0 {
            return Ok(outcome);
        }
        let erased = block_on(backup_codes(self.0.clone()).erase(&alice(), &own()));
        assert_eq!(erased.unwrap(), Effect::Done);
        Ok(PutOutcome::Conflict)
    }
    async fn remove(&self, u: &UserId, at: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        self.0.remove(u, at).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.0.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.0.acknowledge(events).await
    }
}

#[test]
fn a_lost_reply_is_settled_although_the_user_was_erased_meanwhile() {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    let codes = backup_codes(ErasedMeanwhile(store, AtomicUsize::new(0)));
    let outcome = block_on(codes.redeem(&alice(), &code(&sheet, 1), &own()));
    assert!(matches!(outcome, Ok(Redeem::Accepted(_))), "{outcome:?}");
}

#[test]
fn without_an_applied_confirmation_there_is_no_acceptance() {
    use Fault::{ApplyThenFail, FailBefore, FailUnknown, None};
    // The reply is lost, and the look, or the confirming write, fails.
    for faults in [
        vec![None, ApplyThenFail, FailBefore],
        vec![None, ApplyThenFail, None, FailBefore],
        vec![None, ApplyThenFail, None, FailUnknown],
        vec![None, ApplyThenFail, None, ApplyThenFail],
    ] {
        let (outcome, left) = redeem(&faults);
        assert!(
            matches!(outcome, Err(Error::Unavailable(_))),
            "{faults:?}: {outcome:?}"
        );
        assert_eq!(left, 9, "the code is burned, never un-burned");
    }
    for faults in [
        vec![FailBefore],
        vec![None, FailBefore],
        vec![None, FailUnknown],
    ] {
        let (outcome, left) = redeem(&faults);
        assert!(
            matches!(outcome, Err(Error::Unavailable(_))),
            "{faults:?}: {outcome:?}"
        );
        assert_eq!(left, 10);
    }
}

#[test]
fn an_error_does_not_tell_whether_the_code_was_right() {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    let foreign = wrong();
    for fault in [Fault::FailBefore, Fault::FailUnknown] {
        let text = |typed: &str| {
            let faulty = backup_codes(Faulty::new(store.clone(), [Fault::None, fault]));
            let error = block_on(faulty.redeem(&alice(), typed, &own())).unwrap_err();
            format!("{error} {error:?}")
        };
        assert_eq!(text(&code(&sheet, 1)), text(&foreign));
    }
}

#[test]
fn an_issue_without_an_answer_gives_the_sheet_as_unconfirmed() {
    let store = MemoryRepository::new();
    let old = issue(&store);
    for (fault, in_force) in [
        (Fault::ApplyThenFail, true),
        (Fault::ApplyThenConflict, true),
        (Fault::FailUnknown, false),
    ] {
        let faults = [Fault::None, fault, Fault::FailBefore];
        let faulty = backup_codes(Faulty::new(store.clone(), faults));
        let issued = block_on(faulty.issue(&alice(), &own())).unwrap();
        assert_eq!(issued.confirmation, Confirmation::Unconfirmed);
        let status = block_on(backup_codes(store.clone()).status(&alice(), &own())).unwrap();
        assert_eq!(status.set == Some(issued.sheet.id()), in_force);
        assert_eq!(status.total, 10, "the old set or the new one");
    }
    let _ = old;
    // Where it is certain that nothing was written, it is an error.
    let faulty = backup_codes(Faulty::new(store, [Fault::None, Fault::FailBefore]));
    assert!(matches!(
        block_on(faulty.issue(&alice(), &own())),
        Err(Error::Unavailable(_))
    ));
}

#[test]
fn a_fault_at_every_call_of_a_replacement_leaves_the_old_set_or_the_new_one() {
    let faults = [
        Fault::FailBefore,
        Fault::ApplyThenFail,
        Fault::FailUnknown,
        Fault::ApplyThenConflict,
    ];
    for call in 0..8 {
        for fault in faults {
            let store = MemoryRepository::new();
            let old = issue(&store);
            let mut plan = vec![Fault::None; call];
            plan.push(fault);
            let faulty = backup_codes(Faulty::new(store.clone(), plan));
            let new = block_on(faulty.prepare(&alice(), &own())).ok();
            let activated = new
                .as_ref()
                .and_then(|new| block_on(faulty.activate(&alice(), new.id(), &own())).ok());
            let status = block_on(backup_codes(store.clone()).status(&alice(), &own())).unwrap();
            if matches!(activated, Some(Activation::Activated(_))) {
                assert_eq!(status.set, new.as_ref().map(Sheet::id));
            }
            let valid = [Some(&old), new.as_ref()].into_iter().flatten();
            let working = valid.filter(|sheet| {
                let redeemed =
                    block_on(backup_codes(store.clone()).redeem(&alice(), &code(sheet, 1), &own()));
                matches!(redeemed, Ok(Redeem::Accepted(_)))
            });
            assert_eq!(working.count(), 1, "{fault:?} at call {call}");
        }
    }
}

/// A store in which somebody else is always faster.
struct Overtaken(MemoryRepository, Arc<AtomicUsize>);

impl CodeRepository for Overtaken {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        self.0.load(user, f).await
    }
    async fn put(&self, _: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(PutOutcome::Conflict)
    }
    async fn remove(&self, _: &UserId, _: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        Ok(PutOutcome::Conflict)
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.0.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.0.acknowledge(events).await
    }
}

/// A redeem in a store in which somebody else is always faster: the rounds, and the evaluations.
fn always_overtaken() -> (usize, u64) {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    let rounds = Arc::new(AtomicUsize::new(0));
    let hashing = cheap_hashing();
    let codes = BackupCodes::new(
        Overtaken(store, rounds.clone()),
        Settings::default(),
        hashing.clone(),
    )
    .with_config(config());
    let outcome = block_on(codes.redeem(&alice(), &code(&sheet, 1), &own()));
    assert!(matches!(outcome, Err(Error::Contended)));
    (rounds.load(Ordering::Relaxed), hashing.evaluations())
}

#[test]
fn an_operation_that_is_always_overtaken_ends_after_sixteen_rounds() {
    assert_eq!(always_overtaken().0, 16);
}

#[test]
fn a_code_is_hashed_once_however_many_rounds_there_are() {
    assert_eq!(always_overtaken().1, 1, "the slot's hash did not change");
}

#[test]
fn a_store_that_is_down_lets_nobody_in() {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    let down = Arc::new(Faulty::new(store.clone(), []));
    down.set_down(true);
    let faulty = backup_codes(Arc::clone(&down));
    for _ in 0..20 {
        let outcome = block_on(faulty.redeem(&alice(), &code(&sheet, 1), &own()));
        assert!(matches!(outcome, Err(Error::Unavailable(_))));
    }
    down.set_down(false);
    let outcome = block_on(faulty.redeem(&alice(), &code(&sheet, 1), &own()));
    assert!(
        matches!(outcome, Ok(Redeem::Accepted(_))),
        "nothing was counted: {outcome:?}"
    );
}

#[test]
fn a_corrupt_or_newer_record_is_an_error_that_says_so() {
    for (text, expected) in [
        ("{\"version\":9}", "the record has format version 9"),
        ("garbage", "the record is damaged at line 1, column 1"),
    ] {
        let store = MemoryRepository::new();
        records::insert(&store, alice().id(), text, &Summary::default());
        let foreign = wrong();
        let error = block_on(backup_codes(store).redeem(&alice(), &foreign, &own())).unwrap_err();
        let Error::Record(source) = error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().starts_with(expected), "{source}");
    }
}

/// Load, put and acknowledgement of an issue; then a copy from before it.
const STALE: [Fault; 4] = [Fault::None, Fault::None, Fault::None, Fault::StaleRead];

/// Operations that read an old copy after this sheet was issued.
fn issued_then_stale() -> (MemoryRepository, BackupCodes, Sheet) {
    let store = MemoryRepository::new();
    let codes = backup_codes(Faulty::new(store.clone(), STALE));
    let sheet = block_on(codes.issue(&alice(), &own())).unwrap().sheet;
    (store, codes, sheet)
}

#[test]
fn an_old_copy_hides_nothing_from_revoking() {
    let (store, codes, _) = issued_then_stale();
    let reason = backup_codes::RevokeReason::FactorRemoved;
    let notice = block_on(codes.revoke_all(&alice(), reason, &own())).unwrap();
    assert!(notice.is_some(), "there was something to revoke");
    assert_eq!(remaining(&store), 0);
}

#[test]
fn an_old_copy_hides_nothing_from_burning() {
    let (store, codes, sheet) = issued_then_stale();
    let _ = block_on(codes.burn(&alice(), &code(&sheet, 1), &own())).unwrap();
    assert_eq!(remaining(&store), 9);
}

#[test]
fn a_redeem_that_reads_an_old_copy_is_refused() {
    let (_, codes, sheet) = issued_then_stale();
    let outcome = block_on(codes.redeem(&alice(), &code(&sheet, 1), &own())).unwrap();
    let Redeem::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.reason(), backup_codes::audit::Reason::NoCodes);
}

#[test]
fn debug_of_what_a_store_handles_shows_no_hash() {
    let store = MemoryRepository::new();
    let _ = issue(&store);
    let loaded = records::load(&store);
    let (user, summary) = (alice(), Summary::default());
    let put = Put::new(
        user.id(),
        backup_codes::repository::Expected::Absent,
        loaded.revision,
        &loaded.record,
        &summary,
        &[],
    );
    let damaged =
        r#"{"version":1,"override":"$argon2id$v=19$junk","throttle":{"wrong_in_a_row":0}}"#;
    let record = backup_codes::repository::Record::from_json(damaged).unwrap();
    assert!(loaded.record.contains("$argon2id") && record.to_json().contains("$argon2id"));
    for text in [
        format!("{loaded:?}"),
        format!("{put:?}"),
        format!("{record:?}"),
    ] {
        assert!(!text.contains("argon2"), "{text}");
    }
}

/// Switched off after the first question.
struct OffAfterOne(AtomicUsize);

impl RolePolicy for OffAfterOne {
    fn decide(&self, _: Request<'_>) -> Decision {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Decision::Allow,
            _ => Decision::Deny(Denial::SwitchedOff),
        }
    }

    fn low_threshold(&self) -> u8 {
        3
    }
}

#[test]
fn an_operation_that_starts_over_asks_the_policy_again() {
    let store = MemoryRepository::new();
    let sheet = issue(&store);
    // The check loads, writes and acknowledges; the redeem then reads the state before the check, so
    // that its write meets a conflict.
    let faults = [Fault::None, Fault::None, Fault::None, Fault::StaleRead];
    let stale = Arc::new(Faulty::new(store.clone(), faults));
    let checking = backup_codes(Arc::clone(&stale));
    let checked = block_on(checking.check(&alice(), &code(&sheet, 2), &own())).unwrap();
    assert_eq!(checked, Check::Valid(2));
    let policy = OffAfterOne(AtomicUsize::new(0));
    let codes = BackupCodes::new(stale, policy, cheap_hashing()).with_config(config());
    let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, 1), &own())).unwrap();
    let Redeem::Refused(refusal) = redeemed else {
        panic!("redeemed although switched off: {redeemed:?}");
    };
    assert_eq!(refusal.reason(), Denial::SwitchedOff.into());
    assert_eq!(remaining(&store), 10);
}
