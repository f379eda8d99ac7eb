//! Figures and the list of users.

use std::time::Duration;

use backup_codes::report::UserRow;
use backup_codes::{
    Context, Effect, Periods, RevokeReason, Timestamp, UserFilter, UserId, UserOrder, UsersQuery,
};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, own};
use crate::support::moments::{START, since_start};
use crate::support::people::{alice, subject};
use crate::support::sheets::code;

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

/// Four users with 9, 6, 3 and no codes left, of whom the last has the newest set.
fn four_users() -> Fixture {
    let f = fixture();
    for (n, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let user = subject(name, "staff");
        let after = Duration::from_secs(60 * u64::try_from(n).unwrap());
        let sheet = f.issue(&user, after);
        for slot in 1..=(3 * u8::try_from(n).unwrap() + 1) {
            let cx = Context::new(since_start(after), &user);
            let _ = block_on(f.codes.redeem(&user, &code(&sheet, slot), &cx)).unwrap();
        }
    }
    f
}

fn query() -> UsersQuery {
    UsersQuery::new(since_start(60 * MINUTE))
}

fn every_set() -> UsersQuery {
    query().with_filter(UserFilter::WithSet)
}

fn list(f: &Fixture, query: UsersQuery) -> Vec<UserRow> {
    block_on(f.reports().users(query, &by_admin(60 * MINUTE))).unwrap()
}

fn names(f: &Fixture, query: UsersQuery) -> String {
    let rows = list(f, query).into_iter();
    rows.map(|row| row.user.to_string()).collect()
}

#[test]
fn the_list_of_users_has_the_codes_left() {
    let rows = list(&four_users(), query()).into_iter();
    let left: Vec<(String, u8)> = rows
        .map(|row| (row.user.to_string(), row.remaining))
        .collect();
    assert_eq!(left, [("a".into(), 9), ("b".into(), 6), ("c".into(), 3)]);
}

#[test]
fn the_list_of_users_can_be_filtered() {
    let f = four_users();
    assert_eq!(names(&f, query().with_filter(UserFilter::WithSet)), "abcd");
    assert_eq!(names(&f, query().with_filter(UserFilter::Low)), "cd");
    assert_eq!(names(&f, query().with_filter(UserFilter::Exhausted)), "d");
}

#[test]
fn the_list_of_users_can_be_ordered() {
    let f = four_users();
    assert_eq!(
        names(&f, every_set().with_order(UserOrder::FewestLeft)),
        "dcba"
    );
    assert_eq!(
        names(&f, every_set().with_order(UserOrder::NewestSet)),
        "dcba"
    );
}

#[test]
fn the_list_of_users_can_be_limited_to_ids() {
    let f = four_users();
    let among =
        |names: &[&str]| every_set().with_among(names.iter().map(|n| UserId::new(n).unwrap()));
    let newest = among(&["b", "nobody", "d"]).with_order(UserOrder::NewestSet);
    assert_eq!(names(&f, newest), "db");
    assert_eq!(
        names(&f, among(&["b", "d"]).with_filter(UserFilter::Exhausted)),
        "d"
    );
    assert_eq!(list(&f, among(&[])), []);
}

#[test]
fn the_list_of_users_has_pages() {
    let f = four_users();
    let page = list(&f, every_set().with_limit(3));
    // The place of the next page travels as text, in a link.
    let link = serde_json::to_string(&page[2]).unwrap();
    let last = serde_json::from_str(&link).unwrap();
    assert_eq!(last, page[2]);
    assert_eq!(names(&f, every_set().with_limit(3).with_after(last)), "d");
}
