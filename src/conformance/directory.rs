//! Cases of the directory: pages, figures and schemes equal those of the pure functions.

use std::collections::BTreeSet;

use super::Harness;
use super::fixtures::{moment, revision, user};
use super::watch::Case;
use crate::code::format::{Format, Formats};
use crate::config::Config;
use crate::hash::acceptance::{Acceptance, Scheme};
use crate::hash::cost::Cost;
use crate::hash::keyring::{KeyId, Keyring, Pepper};
use crate::hash::params::HashParams;
use crate::id::UserId;
use crate::report::users::{UserFilter, UserOrder, UsersQuery};
use crate::report::{Periods, SetSummary, Summary, UsageQuery, schemes, usage};
use crate::repository::record::{Use, quarter_of};
use crate::repository::{CodeRepository, Directory, Expected, Put, PutOutcome};
use crate::timestamp::Timestamp;

/// The moment before which sets are void, in queries that have one.
const VOID_BEFORE: i64 = -4800;

/// Returns a moment a few milliseconds away from another.
fn near(minutes: i64, millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(moment(minutes).unix_millis() + millis).unwrap()
}

/// Returns a `HashParams` with a key and a costly default, and its conditions together with two
/// formats: they accept more than the default conditions in each respect, except hashes without a
/// key.
fn wider_acceptance() -> (HashParams, Acceptance) {
    let pepper = Pepper::new([7; 32]).unwrap();
    let params = HashParams::new(Keyring::new(KeyId::new("a").unwrap(), pepper)).unwrap();
    let params = params.with_cost(Cost::new(65_536, 3).unwrap()).unwrap();
    let formats = Formats::new(Format::CROCKFORD).accepting(Format::DIGITS);
    let config = Config::default().with_formats(formats.unwrap());
    let acceptance = Acceptance::new(&config, &params);
    (params, acceptance)
}

/// Returns a scheme that is accepted by both conditions, by one of them, or by neither.
fn scheme(number: u8, params: &HashParams) -> Scheme {
    let known = params.current_key().cloned();
    let other = Some("a:00000000".parse().unwrap());
    let costly = Cost::new(65_536, 3).unwrap();
    let cheap = Cost::new(4096, 1).unwrap();
    match number % 8 {
        0..=2 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, None),
        3 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, known),
        4 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, other),
        5 => Scheme::new(Format::DIGITS, Cost::MIB_19, known),
        6 => Scheme::new(Format::CROCKFORD, costly, known),
        _ => Scheme::new(Format::CROCKFORD, cheap, known),
    }
}

/// Returns the summary of the `number`th user, with users of every kind, in its `version`th state.
fn summary(number: u8, version: u8, params: &HashParams) -> Summary {
    let minutes = i64::from(number) * 97 % 1000 + i64::from(version) * 7;
    let edge = i64::from(number % 3) - 1;
    let set = ((number + version) % 5 != 4).then(|| SetSummary {
        scheme: scheme(number / 2, params),
        total: 10,
        unused: (number + version) % 11 % 10,
        prepared_at: match number % 4 {
            // Just before, at, or just after the moment that voids sets.
            1 => near(VOID_BEFORE, edge),
            // And the moment from which a set counts as written by a clock that was ahead.
            2 => near(5, edge),
            _ => moment(minutes - 5000),
        },
        activated_at: moment(minutes - 4990),
        // Some expire just before, at, or just after the moment asked about.
        expires_at: match number % 7 {
            0 => Some(moment(minutes - 500)),
            1 => Some(near(0, edge)),
            _ => None,
        },
        proved_at: (number % 3 == 1).then(|| moment(minutes - 3000)),
    });
    let quarters = (0..(number + version) % 4).map(|n| {
        let quarter = quarter_of(moment(-i64::from(n) * 1500 - minutes));
        Use {
            quarter,
            count: u16::from(n + version) + 1,
        }
    });
    let mut uses: Vec<Use> = quarters.collect();
    uses.sort_unstable();
    Summary {
        set,
        last_used_at: (!uses.is_empty()).then(|| moment(-minutes)),
        uses,
        erased_at: (number % 13 == 12).then(|| moment(0)),
    }
}

/// Writes users of every kind, each under a key of its own; most of them are put again in another
/// state, and some are removed. Returns those that are left.
fn various<H: Harness>(
    case: &Case<H>,
    store: &H::Repository,
    params: &HashParams,
) -> Vec<(UserId, Summary)> {
    let mut users = Vec::new();
    for number in 0..60u8 {
        let key = user([b'k', number % 3, number]);
        let mut expected = Expected::Absent;
        for version in 0..=number % 3 {
            let (summary, revision) = (summary(number, version, params), revision());
            let put = Put::new(&key, expected, revision, "{}", &summary, &[]);
            match case.call("put", store.put(put)) {
                Ok(PutOutcome::Applied) => {}
                other => panic!("a put in the state expected: {other:?}"),
            }
            expected = Expected::At(revision);
        }
        match expected {
            Expected::At(revision) if number % 10 == 7 => {
                match case.call("remove", store.remove(&key, revision)) {
                    Ok(PutOutcome::Applied) => {}
                    other => panic!("a removal at the revision it has: {other:?}"),
                }
            }
            _ => users.push((key, summary(number, number % 3, params))),
        }
    }
    users
}

/// Every filter in every order, page by page, gives the rows of [`UsersQuery::page`]: of all users,
/// of those with some bytes in their key, of those that are named.
pub fn pages_equal_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (params, wider) = wider_acceptance();
    let users = various(case, &store, &params);
    let void = |acceptance: &Acceptance| {
        let moment = moment(VOID_BEFORE);
        acceptance.clone().with_void_before(Some(moment))
    };
    let narrow = Acceptance::default();
    let all = || users.iter().map(|(user, summary)| (user, summary));
    let page = |query: &UsersQuery| {
        let page = match case.call("users", Directory::users(store.second(), query)) {
            Ok(page) => page,
            Err(error) => panic!("a page failed: {error:?}"),
        };
        assert_eq!(page, query.page(all()), "directory: {query:?}");
        page
    };
    // Some that are there, some that were removed, some that never were.
    let named: BTreeSet<UserId> = (0..80u8)
        .filter(|number| number % 5 != 1)
        .map(|number| user([b'k', number % 3, number]))
        .collect();
    for filter in [
        UserFilter::Holding,
        UserFilter::WithSet,
        UserFilter::Low,
        UserFilter::Exhausted,
        UserFilter::Every,
    ] {
        for order in [
            UserOrder::User,
            UserOrder::FewestLeft,
            UserOrder::NewestSet,
            UserOrder::LatestUse,
        ] {
            for (acceptance, among) in [
                (narrow.clone(), None),
                (wider.clone(), None),
                (void(&narrow), None),
                (void(&wider), None),
                (narrow.clone(), Some(&named)),
                (void(&wider), Some(&named)),
                (narrow.clone(), Some(&BTreeSet::new())),
            ] {
                let mut query = UsersQuery::new(moment(0))
                    .with_filter(filter)
                    .with_order(order);
                query.low_threshold = 3;
                query.acceptance = acceptance;
                query.among = among.cloned();
                query.limit = 7;
                while let Some(last) = page(&query).pop() {
                    query = query.with_after(last);
                }
            }
        }
    }
    // No user is left out for being one of many: the strangers' keys come before the others'.
    let strangers = (0..5000u16).map(|number| user([&[b'a'][..], &number.to_be_bytes()].concat()));
    let named = strangers.chain(named);
    let query = UsersQuery::new(moment(0)).with_filter(UserFilter::Every);
    let rows = page(&query.with_among(named).with_limit(1000));
    assert!(!rows.is_empty(), "directory: some of those named are there");
}

/// The figures are those of [`usage`](crate::rules::usage()) over all summaries.
pub fn usage_equals_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (params, wider) = wider_acceptance();
    let users = various(case, &store, &params);
    let day = |n: i64| moment(n * 1440);
    let days: Vec<Timestamp> = (-4..=1).map(day).collect();
    let periods = Periods::new(day(-1)..day(0), day(-2)..day(0), &days).unwrap();
    let void = Some(moment(VOID_BEFORE));
    let narrow = Acceptance::default();
    for (now, acceptance, void) in [
        (moment(0), &narrow, None),
        (moment(0), &wider, None),
        (moment(0), &narrow, void),
        (near(0, 1), &wider, void),
        (moment(600), &wider, void),
    ] {
        let acceptance = acceptance.clone().with_void_before(void);
        let query = UsageQuery::new(periods.clone(), 3, now, acceptance);
        let plain = usage(users.iter().map(|(_, summary)| summary), &query);
        match case.call("usage", Directory::usage(store.second(), &query)) {
            Ok(figures) => assert_eq!(figures, plain, "directory: usage"),
            Err(error) => panic!("usage failed: {error:?}"),
        }
    }
}

/// The schemes are those of [`schemes`](crate::report::schemes()) over all summaries.
pub fn schemes_equal_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (params, _) = wider_acceptance();
    let users = various(case, &store, &params);
    let plain = schemes(users.iter().map(|(_, summary)| summary));
    match case.call("schemes", Directory::schemes(store.second())) {
        Ok(found) => assert_eq!(found, plain, "directory: schemes"),
        Err(error) => panic!("schemes failed: {error:?}"),
    }
}

/// Lists and figures include every user when there are more than fit on one page.
pub fn no_user_is_left_out_of_many<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    const USERS: u16 = 1010;
    let store = case.fresh();
    let summary = |number: u16| Summary {
        set: Some(SetSummary::new(
            Scheme::new(Format::CROCKFORD, Cost::MIB_19, None),
            10,
            5,
            moment(0),
            moment(0),
        )),
        last_used_at: Some(moment(0)),
        uses: vec![Use {
            quarter: quarter_of(moment(0)),
            count: number,
        }],
        erased_at: None,
    };
    let users: Vec<(UserId, Summary)> = (0..USERS)
        .map(|number| (user(number.to_be_bytes()), summary(number)))
        .collect();
    for (user, summary) in &users {
        let put = Put::new(user, Expected::Absent, revision(), "{}", summary, &[]);
        match case.call("put", store.put(put)) {
            Ok(PutOutcome::Applied) => {}
            other => panic!("a put in the state expected: {other:?}"),
        }
    }
    for order in [UserOrder::User, UserOrder::LatestUse] {
        // The fields can be set without the bounds that the methods keep.
        for (limit, length) in [(1000, 1000), (u16::MAX, 1000), (0, 1)] {
            let mut query = UsersQuery::new(moment(1)).with_order(order);
            query.limit = limit;
            let first = match case.call("users", Directory::users(store.second(), &query)) {
                Ok(page) => page,
                Err(error) => panic!("a page failed: {error:?}"),
            };
            assert_eq!(first.len(), length, "directory: 1 to 1000 rows a page");
            let query = query.with_after(first[length - 1].clone()).with_limit(1000);
            let rest = match case.call("users", Directory::users(store.second(), &query)) {
                Ok(page) => page,
                Err(error) => panic!("a page failed: {error:?}"),
            };
            let plain = query.page(users.iter().map(|(user, summary)| (user, summary)));
            assert_eq!(rest, plain, "directory: the page after {length} rows");
        }
    }
    let periods = Periods::new(moment(0)..moment(15), moment(0)..moment(30), &[]).unwrap();
    let query = UsageQuery::new(periods, 3, moment(1), Acceptance::default());
    let plain = usage(users.iter().map(|(_, summary)| summary), &query);
    match case.call("usage", Directory::usage(store.second(), &query)) {
        Ok(figures) => assert_eq!(figures, plain, "directory: usage of all users"),
        Err(error) => panic!("usage failed: {error:?}"),
    }
}
