//! The kit behaves as production does.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use backup_codes::audit::{EventKind, Reason};
use backup_codes::error::ValueError;
use backup_codes::hash::Cost;
use backup_codes::policy::{Action, Decision, Denial, Request, RolePolicy};
use backup_codes::testing::{TestKit, TestRng, hashing};
use backup_codes::{
    BackupCodes, Config, Error, HashParams, Keyring, MemoryRepository, Pepper, Redeem, SetSize,
    Settings, Subject, UserId,
};
use pollster::block_on;

fn user(name: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), ["staff"])
}

/// Issues a set, and returns its codes.
fn issue(kit: &TestKit, user: &Subject) -> Vec<String> {
    let issued = block_on(kit.codes.issue(user, &kit.context(user))).unwrap();
    let codes = issued.sheet.expose();
    codes.codes().map(|(_, code)| code.to_string()).collect()
}

fn redeem(kit: &TestKit, user: &Subject, typed: &str) -> Redeem {
    block_on(kit.codes.redeem(user, typed, &kit.context(user))).unwrap()
}

#[test]
fn formats_costs_and_limits_are_those_of_production() {
    let kit = TestKit::new();
    let alice = user("alice");
    let codes = issue(&kit, &alice);
    assert_eq!(codes.len(), 10);
    let set = kit
        .repository
        .record(alice.id())
        .unwrap()
        .summary()
        .set
        .unwrap();
    assert_eq!(set.scheme.to_string(), "crockford-14,m=19456,t=2");
    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    assert_eq!(
        params.with_cost(Cost::LEAST).err(),
        Some(ValueError::CostBelowFloor)
    );
    assert!(ValueError::CostBelowFloor.to_string().contains("`testing`"));
}

#[test]
fn a_code_works_once_and_wrong_ones_lock_the_set() {
    let kit = TestKit::new();
    let (alice, bob) = (user("alice"), user("bob"));
    let (codes, others) = (issue(&kit, &alice), issue(&kit, &bob));
    assert!(matches!(
        redeem(&kit, &alice, &codes[0]),
        Redeem::Accepted(_)
    ));
    let reason = |typed: &str| match redeem(&kit, &alice, typed) {
        Redeem::Refused(refusal) => refusal.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&codes[0]), Reason::Used);
    for _ in 0..10 {
        assert_eq!(reason(&others[1]), Reason::Wrong);
    }
    assert_eq!(reason(&codes[1]), Reason::Locked);
    kit.clock
        .advance(Config::LOCK_FOR - Duration::from_millis(1));
    assert_eq!(reason(&codes[1]), Reason::Locked);
    kit.clock.advance(Duration::from_millis(1));
    assert!(matches!(
        redeem(&kit, &alice, &codes[1]),
        Redeem::Accepted(_)
    ));
}

#[test]
fn each_run_has_the_same_codes() {
    let (first, second) = (TestKit::new(), TestKit::new());
    let alice = user("alice");
    let codes = issue(&first, &alice);
    assert_eq!(codes, issue(&second, &alice));
    assert_ne!(
        codes,
        issue(&second, &alice),
        "a second set has codes of its own"
    );
    let reseeded = TestKit::new();
    let kit = TestKit {
        codes: reseeded.codes.with_rng(TestRng::new(2)),
        ..second
    };
    assert_ne!(codes, issue(&kit, &alice));
}

#[test]
fn events_and_times_are_there_to_be_read() {
    let kit = TestKit::new();
    let alice = user("alice");
    let start = kit.clock.now();
    let codes = issue(&kit, &alice);
    kit.clock.advance(Duration::from_secs(60));
    let _ = redeem(&kit, &alice, &codes[0]);
    let events = kit.audit.events();
    let last = events.last().unwrap();
    assert_eq!(last.kind, EventKind::Redeem);
    assert_eq!(last.at, start.saturating_add(Duration::from_secs(60)));
}

/// The kit takes the role policy and the configuration of the application.
#[test]
fn policy_and_configuration_are_the_applications() {
    struct ReadOnly;
    impl RolePolicy for ReadOnly {
        fn decide(&self, request: Request<'_>) -> Decision {
            match request.action {
                Action::ReadStatus => Decision::Allow,
                _ => Decision::Deny(Denial::RoleNotPermitted),
            }
        }

        fn low_threshold(&self) -> u8 {
            3
        }
    }
    let kit = TestKit::with_policy(ReadOnly);
    let alice = user("alice");
    let denied = block_on(kit.codes.issue(&alice, &kit.context(&alice)));
    assert!(matches!(denied, Err(Error::Denied(_))));
    let config = Config::default().with_set_size(SetSize::new(3).unwrap());
    let kit = TestKit::new();
    let codes = kit.codes.clone().with_config(config);
    let issued = block_on(codes.issue(&alice, &kit.context(&alice))).unwrap();
    assert_eq!(issued.sheet.expose().codes().count(), 3);
}

#[test]
fn another_key_is_recognised() {
    let store = MemoryRepository::new();
    let over = |params| {
        BackupCodes::new(store.clone(), Settings::default(), hashing(params))
            .with_rng(TestRng::new(1))
    };
    let params = |byte| {
        let pepper = Pepper::new([byte; 32]).unwrap();
        HashParams::new(Keyring::new("a".parse().unwrap(), pepper)).unwrap()
    };
    let kit = TestKit::new();
    let alice = user("alice");
    let cx = kit.context(&alice);
    let sheet = block_on(over(params(1)).issue(&alice, &cx)).unwrap().sheet;
    let code = sheet.expose().codes().next().unwrap().1;
    let Redeem::Refused(refusal) = block_on(over(params(2)).redeem(&alice, &code, &cx)).unwrap()
    else {
        panic!("the key is another one");
    };
    assert_eq!(refusal.reason(), Reason::KeyMismatch);
    let redeemed = block_on(over(params(1)).redeem(&alice, &code, &cx)).unwrap();
    assert!(matches!(redeemed, Redeem::Accepted(_)));
}
