//! The rules, once more.

use backup_codes::audit::Reason;

use crate::site::{Between, DAY, HOUR, KEPT, LOCK, QUARTER, SKEW};
use crate::stored::{Overriding, Stored};

pub(crate) fn in_the_future(moment: i64, now: i64) -> bool {
    moment > now + SKEW
}

pub(crate) fn void(moment: i64, void_before: Option<i64>, now: i64) -> bool {
    void_before.is_some_and(|first| moment < first || in_the_future(moment, now))
}

pub(crate) fn lock_in_force(until: i64, now: i64) -> bool {
    now < until && until <= now + LOCK + SKEW
}

/// Why an override is refused.
pub(crate) fn override_refused(
    code: &Overriding,
    void_before: Option<i64>,
    now: i64,
) -> Option<Reason> {
    if now >= code.expires_at {
        Some(Reason::Expired)
    } else if void(code.issued_at, void_before, now) {
        Some(Reason::Void)
    } else if code.used_at.is_some()
        || in_the_future(code.issued_at, now)
        || code.expires_at > code.issued_at + DAY
    {
        Some(Reason::NoOverride)
    } else {
        None
    }
}

pub(crate) fn set_refused(
    prepared: i64,
    expires: i64,
    void_before: Option<i64>,
    now: i64,
) -> Option<Reason> {
    if now >= expires {
        Some(Reason::Expired)
    } else {
        void(prepared, void_before, now).then_some(Reason::Void)
    }
}

pub(crate) fn can_be_activated(set: (i64, i64), void_before: Option<i64>, now: i64) -> bool {
    let (prepared, expires) = set;
    !in_the_future(prepared, now)
        && now - prepared < HOUR
        && set_refused(prepared, expires, void_before, now).is_none()
}

/// What a write at this time removes; whether it removes the active set.
fn forget_the_future(stored: &mut Stored, void_before: Option<i64>, now: i64) -> bool {
    stored
        .locked_until
        .take_if(|until| *until > now + LOCK + SKEW);
    stored
        .prepared
        .take_if(|(prepared, _)| in_the_future(*prepared, now));
    // No node allows more than a week.
    stored.overriding.take_if(|code| {
        in_the_future(code.issued_at, now) || code.expires_at > code.issued_at + 7 * DAY
    });
    let believed = void_before.is_some_and(|first| now + SKEW >= first);
    let removed = stored
        .active
        .take_if(|set| believed && in_the_future(set.prepared_at, now));
    removed.is_some()
}

/// What is stored after it; whether the active set was removed.
pub(crate) fn after(
    between: Between,
    stored: &mut Stored,
    void_before: Option<i64>,
    now: i64,
) -> bool {
    match between {
        Between::Nothing => return false,
        // Sets do not expire by themselves here.
        Between::Prepare => stored.prepared = Some((now, i64::MAX)),
        Between::Override => {
            stored.overriding = Some(Overriding {
                issued_at: now,
                expires_at: now + HOUR,
                used_at: None,
            });
        }
        Between::Purge => {
            let oldest = (now - KEPT) / QUARTER;
            stored.uses.retain(|used| used / QUARTER >= oldest);
            stored
                .prepared
                .take_if(|set| !can_be_activated(*set, void_before, now));
            stored.overriding.take_if(|code| {
                let refused = override_refused(code, void_before, now);
                matches!(refused, Some(Reason::Expired | Reason::Void))
            });
        }
    }
    forget_the_future(stored, void_before, now)
}
