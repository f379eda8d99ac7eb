//! Every stored moment under every clock, compared with the rules.

use backup_codes::audit::Reason;
use backup_codes::{Config, SetId, Sheet};
use pollster::block_on;
use serde_json::{Value, json};

use crate::rules::{after, can_be_activated, lock_in_force, override_refused, set_refused};
use crate::site::{
    BETWEEN, HOUR, MINUTE, NOW, QUARTER, Site, YEAR, YEAR_9999, config, millis, own,
};
use crate::stored::{CLOCKS, Clock, Moment, Stored, moments, operations};
use crate::support::checksum::sum_again;
use crate::support::moments::at;
use crate::support::people::alice;
use crate::support::sheets::code;

/// All that is accepted, refused and shown.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `None` is accepted.
    code_used: Option<Reason>,
    code_burned: Option<Reason>,
    code_good: Option<Reason>,
    override_code: Option<Reason>,
    activated: bool,
    /// After the good code was tried.
    last_used_after: Option<i64>,
    uses_after: u64,
    /// Status: total, left, why not in force.
    left: (u8, u8, Option<Reason>),
    locked_until: Option<i64>,
    disabled_at: Option<i64>,
    wrong_in_a_row: u8,
    prepared: Option<i64>,
    override_until: Option<i64>,
    /// Prepared, activated, expires, proved, used, burned.
    moments: [Option<i64>; 6],
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
    /// The row: left, prepared, activated, last used.
    row: (u8, Option<i64>, Option<i64>, Option<i64>),
    /// Users with codes, users with none left, uses.
    usage: (u64, u64, u64),
}

/// By the rules.
fn expected(stored: &Stored, void_before: Option<i64>, now: i64) -> Seen {
    let active = stored.active.as_ref();
    let not_in_force =
        active.and_then(|set| set_refused(set.prepared_at, set.expires_at, void_before, now));
    let left = u8::from(active.is_some() && not_in_force.is_none());
    let locked_until = stored
        .locked_until
        .filter(|until| lock_in_force(*until, now));
    let closed = if stored.disabled_at.is_some() {
        Some(Reason::Disabled)
    } else {
        locked_until.map(|_| Reason::Locked)
    };
    let of_set = match active {
        None => closed.or(Some(Reason::NoCodes)),
        Some(_) => closed.or(not_in_force),
    };
    let overriding = stored.overriding.as_ref();
    let override_code = match overriding.map(|code| override_refused(code, void_before, now)) {
        Some(None) => None,
        Some(refused) => closed.or(refused),
        None => closed.or(Some(Reason::NoOverride)),
    };
    let prepared = stored
        .prepared
        .filter(|set| can_be_activated(*set, void_before, now));
    let uses = stored.uses.len().try_into().unwrap();
    let (users, exhausted) = (u64::from(active.is_some()), 1 - u64::from(left));
    Seen {
        code_used: of_set.or(Some(Reason::Used)),
        code_burned: of_set.or(Some(Reason::Burned)),
        code_good: of_set,
        override_code,
        activated: prepared.is_some(),
        last_used_after: Some(if of_set.is_none() {
            now
        } else {
            stored.last_used_at
        }),
        uses_after: uses + u64::from(of_set.is_none()),
        left: (active.map_or(0, |_| 3), left, not_in_force),
        locked_until,
        disabled_at: stored.disabled_at,
        wrong_in_a_row: stored.wrong_in_a_row,
        prepared: prepared.map(|(prepared, _)| prepared),
        override_until: overriding
            .filter(|_| override_code.is_none())
            .map(|code| code.expires_at),
        moments: active.map_or([None; 6], |set| {
            [
                set.prepared_at,
                set.activated_at,
                set.expires_at,
                set.proved_at,
                set.used_at,
                set.burned_at,
            ]
            .map(Some)
        }),
        last_used_at: Some(stored.last_used_at),
        revoked_at: Some(stored.revoked_at),
        row: (
            left,
            active.map(|set| set.prepared_at),
            active.map(|set| set.activated_at),
            Some(stored.last_used_at),
        ),
        usage: (users, users.min(exhausted), uses),
    }
}

/// A record as it is written, and what its user holds. The moments are put in later.
pub(crate) struct Template {
    pub(crate) record: Value,
    pub(crate) sheet: Sheet,
    pub(crate) prepared: SetId,
    pub(crate) override_code: String,
}

impl Template {
    pub(crate) fn new() -> Self {
        let site = Site::new();
        let sheet = site.issue(NOW);
        assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
        let _ = block_on(site.codes.burn(&alice(), &code(&sheet, 2), &own(NOW))).unwrap();
        let prepared = site.prepare(NOW).id();
        let override_code = site.issue_override(HOUR, NOW);
        Self {
            record: site.stored(),
            sheet,
            prepared,
            override_code,
        }
    }

    /// The record with these moments, as if they had been written so.
    pub(crate) fn record(&self, stored: &Stored) -> String {
        let mut record = self.record.clone();
        let set = &mut record["active"];
        match &stored.active {
            None => *set = Value::Null,
            Some(active) => {
                set["prepared_at"] = json!(active.prepared_at);
                set["activated_at"] = json!(active.activated_at);
                set["expires_at"] = json!(active.expires_at);
                set["proved_at"] = json!(active.proved_at);
                set["slots"][0]["used_at"] = json!(active.used_at);
                set["slots"][1]["burned_at"] = json!(active.burned_at);
            }
        }
        let set = &mut record["prepared"];
        match stored.prepared {
            None => *set = Value::Null,
            Some((prepared, expires)) => {
                set["prepared_at"] = json!(prepared);
                set["expires_at"] = json!(expires);
            }
        }
        let code = &mut record["override"];
        match &stored.overriding {
            None => *code = Value::Null,
            Some(overriding) => {
                code["issued_at"] = json!(overriding.issued_at);
                code["expires_at"] = json!(overriding.expires_at);
                if let Some(used) = overriding.used_at {
                    code["used_at"] = json!(used);
                }
            }
        }
        let mut throttle = json!({ "wrong_in_a_row": stored.wrong_in_a_row });
        if let Some(until) = stored.locked_until {
            throttle["locked_until"] = json!(until);
        }
        if let Some(disabled) = stored.disabled_at {
            throttle["disabled_at"] = json!(disabled);
        }
        record["throttle"] = throttle;
        let uses = stored.uses.iter().map(|used| json!([used / QUARTER, 1]));
        record["uses"] = uses.collect();
        record["last_used_at"] = json!(stored.last_used_at);
        record["revoked_at"] = json!(stored.revoked_at);
        sum_again(&record.to_string())
    }

    /// By the operations: each question is asked of a store of its own, so that none changes the
    /// answer to another.
    fn seen(&self, record: &str, override_code: &str, config: &Config, now: i64) -> Seen {
        let site = || Site::holding(record, config.clone());
        let shown = site();
        let (status, row, usage) = (shown.status(now), shown.row(now), shown.usage(now));
        assert_eq!(shown.record(), record, "looking changes nothing");
        let stored: Value = serde_json::from_str(record).unwrap();
        let prepared = match stored["prepared"]["id"].as_str() {
            Some(id) => SetId::from_bytes(u128::from_str_radix(id, 16).unwrap().to_be_bytes()),
            None => self.prepared,
        };
        let tried = site();
        let code_good = tried.redeem(&code(&self.sheet, 3), now);
        let slot = |number: usize| status.slots.get(number - 1);
        Seen {
            code_used: site().redeem(&code(&self.sheet, 1), now),
            code_burned: site().redeem(&code(&self.sheet, 2), now),
            code_good,
            override_code: site().redeem(override_code, now),
            activated: site().activates(prepared, now),
            last_used_after: millis(tried.status(now).last_used_at),
            uses_after: tried.usage(now).used_today,
            left: (status.total, status.remaining, status.not_in_force),
            locked_until: millis(status.locked_until),
            disabled_at: millis(status.disabled_at),
            wrong_in_a_row: status.wrong_in_a_row,
            prepared: status.prepared.map(|set| set.prepared_at.unix_millis()),
            override_until: millis(status.override_until),
            moments: [
                status.prepared_at,
                status.activated_at,
                status.expires_at,
                status.proved_at,
                slot(1).and_then(|slot| slot.used_at),
                slot(2).and_then(|slot| slot.burned_at),
            ]
            .map(millis),
            last_used_at: millis(status.last_used_at),
            revoked_at: millis(status.revoked_at),
            row: (
                row.remaining,
                millis(row.prepared_at),
                millis(row.activated_at),
                millis(row.last_used_at),
            ),
            usage: (
                usage.users_with_codes,
                usage.users_exhausted,
                usage.used_today,
            ),
        }
    }
}

/// Compares operations and rules for these moments under every clock, before and after each of the
/// things that may happen at these times, then and when the clock reaches what was stored.
fn compare(moments: &[Moment], clocks: &[Clock], writes_at: &[i64]) {
    let template = Template::new();
    let written_by = |moment: &Moment, clock: Clock| {
        let mut stored = (moment.stored)();
        (moment.write)(&mut stored, clock);
        let record = template.record(&stored);
        let reached = (moment.shown)(&stored);
        for void_before in [None, Some(NOW - 50 * MINUTE)] {
            let config = config(void_before);
            for (between, then) in BETWEEN
                .into_iter()
                .flat_map(|between| writes_at.iter().map(move |then| (between, *then)))
            {
                let name = format!(
                    "{} under {clock:?}, void before {void_before:?}, then {between:?} at {}",
                    moment.name,
                    at(then)
                );
                let site = Site::holding(&record, config.clone());
                let new_code = between.run(&site, then);
                let override_code = new_code.as_ref().unwrap_or(&template.override_code);
                let mut stored = stored.clone();
                let removed = after(between, &mut stored, void_before, then);
                assert_eq!(site.voided(), usize::from(removed), "{name}");
                let written = site.record();
                let looks = [NOW, reached - 10 * MINUTE, reached, reached + 10 * MINUTE];
                for now in looks.into_iter().filter(|now| *now >= 0) {
                    let seen = template.seen(&written, override_code, &config, now);
                    let expected = expected(&stored, void_before, now);
                    assert_eq!(seen, expected, "{name}, seen at {}", at(now));
                }
            }
        }
    };
    for moment in moments {
        for clock in clocks {
            written_by(moment, *clock);
        }
    }
}

#[test]
fn each_stored_moment_means_what_the_rules_say_whatever_clock_wrote_it() {
    compare(&moments(), &CLOCKS, &[NOW]);
}

#[test]
fn what_one_operation_stores_means_what_the_rules_say_whatever_clock_wrote_it() {
    compare(&operations(), &CLOCKS, &[NOW]);
}

#[test]
fn a_write_under_a_wrong_clock_removes_exactly_what_the_rules_say() {
    let wrong = [0, NOW - YEAR, NOW - HOUR, NOW + HOUR, NOW + YEAR, YEAR_9999];
    compare(&moments(), &[Clock::Off(0)], &wrong);
}
