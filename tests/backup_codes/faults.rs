//! Generators that fail and operations that are dropped.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use backup_codes::audit::{Event, EventId, EventKind, EventOutcome, MemoryAudit};
use backup_codes::repository::{
    CodeRepository, Freshness, Loaded, Put, PutError, PutOutcome, Record, Revision,
};
use backup_codes::{
    BackupCodes, Error, MemoryRepository, Redeem, Reports, SavedSettings, SharedSettings, Sheet,
    UserId,
};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, fixture, own};
use crate::support::generator::Numbers;
use crate::support::operations::backup_codes;
use crate::support::people::{admin, alice};
use crate::support::polling::give_way;
use crate::support::sheets::code;

#[test]
fn a_generator_that_fails_stores_nothing() {
    for calls in 0..60 {
        let store = MemoryRepository::new();
        let codes = backup_codes(store.clone()).with_rng(Numbers::failing_after(calls, 1));
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
fn a_redeem_dropped_at_any_poll_spends_no_code_without_an_event() {
    let (mut spent, mut unspent) = (0, 0);
    for polls in 0..12 {
        let f = fixture();
        let sheet = f.issue(&alice(), Duration::ZERO);
        let (user, cx, typed) = (alice(), own(Duration::ZERO), code(&sheet, 1));
        let audit = MemoryAudit::new();
        let slow = backup_codes(Slow(f.store.clone())).with_audit(audit.clone());
        {
            let mut redeem = pin!(slow.redeem(&user, &typed, &cx));
            let mut context = TaskContext::from_waker(Waker::noop());
            for _ in 0..polls {
                if redeem.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        let delivering = backup_codes(f.store.clone()).with_audit(audit.clone());
        let _ = block_on(delivering.deliver_events()).unwrap();
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
fn any_operation_dropped_at_any_poll_leaves_a_working_sheet() {
    for operation in 0..9 {
        let mut ended = false;
        for polls in 0.. {
            let f = fixture();
            let (user, root) = (alice(), admin());
            let (cx, by_root) = (own(Duration::ZERO), by_admin(Duration::ZERO));
            let sheet = f.issue(&user, Duration::ZERO);
            let prepared = block_on(f.codes.prepare(&user, &cx)).unwrap();
            let typed = code(&sheet, 1);
            let slow = backup_codes(Slow(f.store.clone())).with_audit(f.audit.clone());
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
fn types_can_be_shared_by_threads() {
    fn both<T: Send + Sync>() {}
    both::<BackupCodes>();
    both::<Reports>();
    both::<SavedSettings>();
    both::<Sheet>();
    both::<Error>();
    both::<Record>();
    both::<Redeem>();
    both::<SharedSettings>();
}

#[test]
fn futures_can_move_to_another_thread() {
    fn send<T: Send>(_: &T) {}
    let f = fixture();
    let (user, cx) = (alice(), own(Duration::ZERO));
    send(&f.codes.redeem(&user, "x", &cx));
    send(&f.codes.issue(&user, &cx));
    let reports = f.reports();
    send(&reports.purge(&cx));
    send(&f.codes.deliver_events());
}
