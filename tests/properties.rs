//! Properties of parsing, generation, transitions and usage.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use backup_codes::{
    Attempt, AttemptId, BackupCodes, Code, CodeRepository, Config, Context, Cost, Format, Formats,
    Freshness, Hasher, Hashing, Keyring, MemoryRepository, NotACode, Record, Redeem, SetSize,
    Settings, Sheet, Subject, Summary, Timestamp, Usage, UsageQuery, UserId, Windows, generate,
    usage,
};
use getrandom::SysRng;
use pollster::block_on;
use proptest::prelude::*;

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![
        (13u8..=29).prop_map(|n| Format::crockford(n).unwrap()),
        (20u8..=36).prop_map(|n| Format::digits(n).unwrap()),
    ]
}

fn id() -> AttemptId {
    AttemptId::from_bytes([7; 16])
}

fn parse(typed: &str, format: Format) -> Result<u8, NotACode> {
    Attempt::parse(typed, &Formats::new(format), id()).map(|attempt| attempt.slot())
}

/// One of the spellings that are folded, for each symbol and separator.
fn messy(text: &str, choices: &[u8]) -> String {
    let separators = [
        "-", "", " ", "\u{2013}", "\u{2014}", "\u{a0}", "\u{3000}", "\u{200b}", "\u{2212}",
        "\u{ad}", "\t", "\u{feff}", "\u{30a0}", "\u{2060}", "--", "\n",
    ];
    let mut choice = choices.iter().cycle().map(|c| usize::from(*c));
    let mut next = move || choice.next().unwrap_or(0);
    let mut out = String::new();
    for c in text.chars() {
        if c == '-' {
            out.push_str(separators[next() % separators.len()]);
            continue;
        }
        let c = match (c, next() % 3) {
            ('0', 1) => 'o',
            ('0', 2) => 'O',
            ('1', 1) => 'l',
            ('1', 2) => 'I',
            (c, 1) => c.to_ascii_lowercase(),
            (c, _) => c,
        };
        out.push(if next() % 4 == 0 {
            char::from_u32(c as u32 + 0xfee0).unwrap()
        } else {
            c
        });
        if next() % 5 == 0 {
            out.push_str(separators[next() % separators.len()]);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_spelling_of_a_code_is_that_code(
        format in any_format(),
        size in 1u8..=31,
        choices in proptest::collection::vec(any::<u8>(), 1..80),
    ) {
        let codes = generate(format, SetSize::new(size).unwrap(), &mut SysRng).unwrap();
        for code in &codes {
            let shown = code.expose();
            prop_assert_eq!(parse(&shown, format), Ok(code.slot()));
            let text = messy(&shown, &choices);
            prop_assert_eq!(parse(&text, format), Ok(code.slot()), "{:?}", text);
            let listed = format!("\n {}. {}\r\n", code.slot(), text);
            prop_assert_eq!(parse(&listed, format), Ok(code.slot()));
            let other = format!("{}. {}", code.slot() % 31 + 1, text);
            prop_assert_eq!(parse(&other, format), Err(NotACode::Shape));
        }
    }

    #[test]
    fn codes_of_a_set_are_distinct_and_numbered(format in any_format(), size in 1u8..=31) {
        let codes = generate(format, SetSize::new(size).unwrap(), &mut SysRng).unwrap();
        let slots: Vec<u8> = codes.iter().map(Code::slot).collect();
        prop_assert_eq!(slots, (1..=size).collect::<Vec<u8>>());
        let mut shown: Vec<String> = codes.iter().map(|code| code.expose().to_string()).collect();
        for text in &shown {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            prop_assert!(groups.iter().all(|group| (3..=4).contains(group)), "{}", text);
        }
        shown.sort();
        shown.dedup();
        prop_assert_eq!(shown.len(), usize::from(size));
    }

    #[test]
    fn one_symbol_off_is_a_typo_and_never_another_code(
        format in any_format(),
        at in any::<prop::sample::Index>(),
        step in 1u8..10,
    ) {
        let code = generate(format, SetSize::new(31).unwrap(), &mut SysRng).unwrap().remove(4);
        let mut symbols: Vec<u8> = code.expose().replace('-', "").into_bytes();
        let at = at.index(symbols.len());
        let digit = symbols[at].checked_sub(b'0').filter(|digit| *digit < 10);
        symbols[at] = match digit {
            Some(digit) => b'0' + (digit + step) % 10,
            None => b'0' + step,
        };
        let outcome = parse(std::str::from_utf8(&symbols).unwrap(), format);
        prop_assert_eq!(outcome, Err(NotACode::Typo));
    }

    #[test]
    fn arbitrary_text_never_panics(typed in ".*", format in any_format()) {
        let _ = parse(&typed, format);
    }

    #[test]
    fn whatever_has_no_right_check_is_no_code(typed in "[0-9A-TV-Za-tv-z]{16}") {
        // One of 32 such texts has the right check symbol by chance.
        match parse(&typed, Format::CROCKFORD) {
            Ok(slot) => prop_assert!(slot <= 31),
            Err(hint) => prop_assert_eq!(hint, NotACode::Typo),
        }
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
            let mut expected = Usage::none(&query());
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

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

fn config() -> Config {
    Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY))
}

fn service(store: MemoryRepository) -> BackupCodes<MemoryRepository, Settings> {
    let hasher = Hasher::new(Keyring::without_pepper()).with_high_entropy_cost(Cost::LEAST);
    BackupCodes::new(store, Settings::default(), Hashing::inline(hasher)).with_config(config())
}

fn alice() -> Subject {
    Subject::new(UserId::new("alice").unwrap(), ["staff"])
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

/// A user with ten codes of which so many were used so many days ago.
fn summary(used: u8, days_ago: i64) -> Summary {
    let store = MemoryRepository::new();
    let codes = service(store.clone());
    let cx = Context::new(at(TODAY - days_ago * DAY + 12_345)).by(&alice());
    let sheet = block_on(codes.issue(&alice(), &cx)).unwrap().sheet;
    for slot in 1..=used {
        let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, slot), &cx)).unwrap();
        assert!(matches!(redeemed, Redeem::Accepted(_)));
    }
    let loaded = block_on(store.load(alice().id(), Freshness::Latest))
        .unwrap()
        .unwrap();
    Summary::of(&Record::from_json(&loaded.record).unwrap())
}

fn query() -> UsageQuery {
    let days: Vec<Timestamp> = (-1..30).rev().map(|back| at(TODAY - back * DAY)).collect();
    let windows = Windows::new(
        at(TODAY)..at(TODAY + DAY),
        at(TODAY - 20 * DAY)..at(TODAY + DAY),
        &days,
    );
    UsageQuery::new(windows.unwrap(), 3, at(TODAY + DAY / 2), &config())
}

#[test]
fn windows_of_zones_have_days_of_23_and_25_hours() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for (noon, hours) in [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)] {
        let noon: jiff::Timestamp = format!("{noon}T12:00:00Z").parse().unwrap();
        let now = at(noon.as_millisecond());
        let windows = Windows::in_zone(now, &zone, 2).unwrap();
        // One use in each quarter hour around; those within the day are its hours times four.
        let record = |millis: i64| {
            let store = MemoryRepository::new();
            let codes = service(store.clone());
            let cx = Context::new(at(millis)).by(&alice());
            let sheet = block_on(codes.issue(&alice(), &cx)).unwrap().sheet;
            let _ = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
            let loaded = block_on(store.load(alice().id(), Freshness::Latest))
                .unwrap()
                .unwrap();
            Summary::of(&Record::from_json(&loaded.record).unwrap())
        };
        let around: Vec<Summary> = (-200..200)
            .map(|n| record(now.unix_millis() + n * 900_000))
            .collect();
        let query = UsageQuery::new(windows, 3, now, &config());
        let figures = usage(&around, &query);
        assert_eq!(figures.used_today, hours * 4);
        assert_eq!(figures.used_by_day[1], hours * 4);
    }
}

#[test]
fn windows_off_a_quarter_hour_or_out_of_order_are_refused() {
    let day = at(TODAY)..at(TODAY + DAY);
    assert!(Windows::new(at(TODAY + 1)..at(TODAY + DAY), day.clone(), &[]).is_err());
    assert!(Windows::new(at(TODAY + DAY)..at(TODAY), day.clone(), &[]).is_err());
    assert!(Windows::new(day.clone(), day.clone(), &[at(TODAY)]).is_err());
    assert!(Windows::new(day.clone(), day, &[at(TODAY + DAY), at(TODAY)]).is_err());
}

#[test]
fn uses_beyond_the_cap_are_the_oldest_and_the_record_stays_bounded() {
    let store = MemoryRepository::new();
    let codes = service(store.clone());
    let mut now = TODAY;
    let mut sheet = None;
    // A use each quarter of an hour for 70 days, the latest 62 of which must be kept whole.
    for n in 0..70 * 96i64 {
        let cx = Context::new(at(now)).by(&alice());
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
    let loaded = block_on(store.load(alice().id(), Freshness::Latest))
        .unwrap()
        .unwrap();
    assert!(
        loaded.record.len() <= Record::MAX_JSON_LEN,
        "{}",
        loaded.record.len()
    );
    let kept = Summary::of(&Record::from_json(&loaded.record).unwrap()).uses;
    let within = |used: &backup_codes::Use| {
        used.at() >= at(now).saturating_sub(Duration::from_secs(62 * 86_400))
    };
    assert_eq!(kept.iter().filter(|used| within(used)).count(), 62 * 96);
}
