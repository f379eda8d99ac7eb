//! Figures and the list of users.

use std::time::Duration;

use backup_codes::{
    Context, Effect, Periods, RevokeReason, Timestamp, UserFilter, UserId, UserOrder, UsersQuery,
};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, fixture, own};
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

#[test]
fn the_list_of_users_has_filters_orders_and_pages() {
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
