//! Configuration read by serde has the bounds of the constructors.

use std::time::Duration;

use backup_codes::error::ValueError;
use backup_codes::hash::{Cost, PoolSize};
use backup_codes::{Config, Format, Formats, ReissueRule, SetSize, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

fn read<T: DeserializeOwned>(text: Value) -> Result<T, String> {
    serde_json::from_value(text).map_err(|error| error.to_string())
}

/// `Config` has no equality of its own.
fn same(a: &Config, b: &Config) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn nothing_read_is_the_default() {
    same(&read(json!({})).unwrap(), &Config::default());
    assert_eq!(read(json!({})), Ok(PoolSize::default()));
}

#[test]
fn every_field_sets_what_its_constructor_sets() {
    let moment: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
    let older = Formats::new(Format::DIGITS)
        .accepting(Format::CROCKFORD)
        .unwrap();
    let default = Config::default;
    for (text, expected) in [
        (
            json!({"format": "digits-21"}),
            default().with_formats(Formats::new(Format::DIGITS)),
        ),
        (
            json!({"format": "digits-21", "older_formats": ["crockford-14"]}),
            default().with_formats(older),
        ),
        (
            json!({"set_size": 12}),
            default().with_set_size(SetSize::new(12).unwrap()),
        ),
        (
            json!({"disable_after_wrong_codes": 50}),
            default().with_disable_after(50).unwrap(),
        ),
        (
            json!({"set_lifetime_days": 365}),
            default().with_set_lifetime(365 * DAY).unwrap(),
        ),
        (json!({"set_lifetime_days": null}), default()),
        (
            json!({"max_override_lifetime_minutes": 30}),
            default().with_max_override_lifetime(DAY / 48).unwrap(),
        ),
        (
            json!({"reissue": "after_every_use"}),
            default().with_reissue(ReissueRule::AfterEveryUse),
        ),
        (json!({"reissue": "when_low"}), default()),
        (
            json!({"void_before": "2026-11-25T11:00:00+01:00"}),
            default().with_void_before(moment),
        ),
        (json!({"void_before": null}), default()),
        (json!({"older_formats": null}), default()),
        (
            json!({"keep_uses_days": 62}),
            default().with_keep_uses(62 * DAY).unwrap(),
        ),
        (
            json!({"tombstone_grace_days": 1}),
            default().with_tombstone_grace(DAY).unwrap(),
        ),
    ] {
        same(&read(text).unwrap(), &expected);
    }
}

#[test]
fn what_a_constructor_refuses_is_refused_with_its_message() {
    for (text, expected) in [
        (
            json!({"older_formats": ["crockford-14"]}),
            ValueError::SameLength,
        ),
        (json!({"set_size": 0}), ValueError::SetSize(0)),
        (json!({"set_size": 32}), ValueError::SetSize(32)),
        (
            json!({"disable_after_wrong_codes": 0}),
            ValueError::DisableAfter,
        ),
        (
            json!({"disable_after_wrong_codes": 101}),
            ValueError::DisableAfter,
        ),
        (json!({"set_lifetime_days": 0}), ValueError::SetLifetime),
        (
            json!({"max_override_lifetime_minutes": 0}),
            ValueError::OverrideLifetime,
        ),
        (
            json!({"max_override_lifetime_minutes": 10_081}),
            ValueError::OverrideLifetime,
        ),
        (
            json!({"max_override_lifetime_minutes": u32::MAX}),
            ValueError::OverrideLifetime,
        ),
        (
            json!({"void_before": "yesterday"}),
            ValueError::TimestampText,
        ),
        (
            json!({"void_before": "1969-12-31T23:59:59Z"}),
            ValueError::Timestamp,
        ),
        (json!({"keep_uses_days": 61}), ValueError::KeepUses),
        (json!({"keep_uses_days": 401}), ValueError::KeepUses),
        (
            json!({"tombstone_grace_days": 0}),
            ValueError::TombstoneGrace,
        ),
    ] {
        let said = read::<Config>(text.clone()).unwrap_err();
        assert_eq!(said, expected.to_string(), "{text}");
    }
    for text in [
        json!({"workers": 0}),
        json!({"workers": 257}),
        json!({"queue": 0}),
        json!({"queue": 65_537}),
    ] {
        let said = read::<PoolSize>(text).unwrap_err();
        assert_eq!(said, ValueError::PoolSize.to_string());
    }
    for (memory_kib, passes) in [(7, 1), (8, 0), (8, 17), (1_048_577, 1)] {
        let said = read::<Cost>(json!({"memory_kib": memory_kib, "passes": passes})).unwrap_err();
        assert_eq!(said, ValueError::Cost.to_string());
    }
}

#[test]
fn an_unknown_field_and_another_type_are_refused() {
    for text in [
        json!({"set_sise": 10}),
        json!({"void_before": 1_790_000_000_000_i64}),
        json!({"set_lifetime_days": "365"}),
        json!({"set_lifetime_days": -1}),
        json!({"reissue": "never"}),
        json!({"format": "hex-14"}),
    ] {
        assert!(read::<Config>(text.clone()).is_err(), "{text}");
    }
    assert!(read::<PoolSize>(json!({"threads": 4})).is_err());
    assert!(read::<Cost>(json!({"memory_kib": 19_456, "passes": 2, "lanes": 4})).is_err());
    assert!(read::<Cost>(json!({"memory_kib": 19_456})).is_err());
}

#[test]
fn a_queue_that_is_left_out_fits_its_workers() {
    assert_eq!(
        read(json!({"workers": 3})),
        PoolSize::new(3, 192).map_err(|_| String::new())
    );
    let Ok(PoolSize { .. }) = read::<PoolSize>(json!({"queue": 5})) else {
        panic!("the workers are those of the machine");
    };
}

#[test]
fn every_moment_is_read_as_it_is_written() {
    let mut millis = 0;
    while millis <= Timestamp::MAX.unix_millis() {
        let at = Timestamp::from_unix_millis(millis).unwrap();
        assert_eq!(at.to_string().parse(), Ok(at));
        // Some 3 days, 7 hours and odd milliseconds further.
        millis += 284_407_123;
    }
    assert_eq!(Timestamp::MAX.to_string().parse(), Ok(Timestamp::MAX));
}

#[test]
fn a_moment_has_the_forms_of_rfc_3339() {
    let at = |millis| Timestamp::from_unix_millis(millis);
    for (text, millis) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00Z", 0),
        ("1970-01-01T00:00:00.1Z", 100),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1970-01-01T01:30:00+01:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2000-02-29T23:59:59.999Z", 951_868_799_999),
        ("2026-11-25T10:00:00-00:00", 1_795_600_800_000),
    ] {
        assert_eq!(text.parse(), at(millis), "{text}");
    }
    for text in [
        "",
        "2026-11-25",
        "2026-11-25T10:00Z",
        "2026-11-25T10:00:00",
        "2026-11-25T10:00:00+01",
        "2026-11-25T10:00:00+0100",
        "2026-11-25T10:00:00+24:00",
        "2026-11-25T10:00:00+01:60",
        "2026-11-25T10:00:00.Z",
        "2026-11-25T10:00:00,5Z",
        "2026-11-25T10:00:00Z ",
        " 2026-11-25T10:00:00Z",
        "2026-11-25T24:00:00Z",
        "2026-11-25T10:60:00Z",
        "2016-12-31T23:59:60Z",
        "2026-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-00-01T10:00:00Z",
        "2026-01-00T10:00:00Z",
        "2026-04-31T10:00:00Z",
        "+026-11-25T10:00:00Z",
        "2026/11/25T10:00:00Z",
        "2026-11-25T1é:00:00Z",
        "2026-11-25T10:00:00é",
        "12026-11-25T10:00:00Z",
    ] {
        assert_eq!(
            text.parse::<Timestamp>(),
            Err(ValueError::TimestampText),
            "{text}"
        );
    }
    for text in [
        "1969-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
    ] {
        assert_eq!(
            text.parse::<Timestamp>(),
            Err(ValueError::Timestamp),
            "{text}"
        );
    }
}
