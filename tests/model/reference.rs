//! The plain reference: what the design promises of each operation, in as few words as possible.
//!
//! It knows no codes, no hashes, no records and no writes: only papers, by their numbers.

use std::collections::BTreeMap;

use backup_codes::audit::{EventKind, Reason};
use backup_codes::outcome::{Level, NoticeKind, Reissue};
use backup_codes::policy::Denial;

use crate::words::{
    Answer, Code, Deed, Outcome, Owed, Saved, Told, View, Who, no, refusal, refused, unwritten,
    written, yes,
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;

/// Codes on a sheet, and how many left are few.
pub(crate) const SET_SIZE: u8 = 5;
const LOW: u8 = 3;
/// Wrong codes in a row: every tenth locks for half an hour, the tenth voids an override.
const LOCK_EVERY: u8 = 10;
const LOCK_FOR: i64 = 30 * MINUTE;
const REVOKE_OVERRIDE_AFTER: u8 = 10;
/// Lifetimes, here the shortest that can be configured.
const PREPARED_LIFETIME: i64 = 60 * MINUTE;
const SET_LIFETIME: i64 = DAY;
const KEEP_USES: i64 = 62 * DAY;
const TOMBSTONE_GRACE: i64 = DAY;
/// A node's copy of the settings is not used beyond this age.
pub(crate) const SETTINGS_AGE: i64 = 60 * MINUTE;

/// What the application chose, and what an administrator saved.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) disable_after: u8,
    pub(crate) sets_expire: bool,
    pub(crate) reissue_after_every_use: bool,
    pub(crate) void_before: i64,
    pub(crate) saved: Saved,
    pub(crate) settings_read_at: i64,
}

/// One user.
#[derive(Debug, Default, Clone)]
pub(crate) struct User {
    pub(crate) active: Option<Sheet>,
    pub(crate) prepared: Option<Sheet>,
    over: Option<Override>,
    /// Wrong codes in a row.
    pub(crate) run: u8,
    locked_until: i64,
    disabled_at: Option<i64>,
    uses: Vec<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
    tombstone: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    pub(crate) paper: usize,
    prepared_at: i64,
    activated_at: i64,
    used: BTreeMap<u8, i64>,
    burned: BTreeMap<u8, i64>,
}

#[derive(Debug, Clone)]
struct Override {
    paper: usize,
    issued_at: i64,
    until: i64,
    wrong: u8,
    used: bool,
}

impl Sheet {
    fn unspent(&self) -> u8 {
        SET_SIZE - u8::try_from(self.used.len() + self.burned.len()).unwrap()
    }
}

impl Rules {
    /// Why a sheet does not count, if it does not.
    fn standing(&self, sheet: &Sheet, now: i64) -> Result<(), Reason> {
        if self.expiry(sheet).is_some_and(|expiry| now >= expiry) {
            Err(Reason::Expired)
        } else if sheet.prepared_at < self.void_before {
            Err(Reason::Void)
        } else {
            Ok(())
        }
    }

    fn expiry(&self, sheet: &Sheet) -> Option<i64> {
        self.sets_expire.then_some(sheet.prepared_at + SET_LIFETIME)
    }

    fn can_be_activated(&self, sheet: &Sheet, now: i64) -> bool {
        now - sheet.prepared_at < PREPARED_LIFETIME && self.standing(sheet, now).is_ok()
    }

    fn counts(&self, over: &Override, now: i64) -> bool {
        now < over.until && over.issued_at >= self.void_before
    }

    /// Codes that would be accepted.
    fn remaining(&self, user: &User, now: i64) -> u8 {
        match &user.active {
            Some(sheet) if self.standing(sheet, now).is_ok() => sheet.unspent(),
            _ => 0,
        }
    }

    fn notice(&self, kind: NoticeKind, user: &User, now: i64) -> Owed {
        Owed {
            kind,
            paper: user.active.as_ref().map(|sheet| sheet.paper),
            remaining: user.active.is_some().then(|| self.remaining(user, now)),
        }
    }

    /// The policy: nobody acts for users on their sheets and codes; administrators do the rest,
    /// and neither override nor unlock themselves. Voiding and looking need no permission to hold.
    fn permit(&self, deed: &Deed, who: Who, user: usize, now: i64) -> Result<(), Denial> {
        let own = who == Who::Own;
        let administers = match who {
            Who::System => true,
            Who::Own => user == 1,
            Who::Other => user == 0,
        };
        let need = |condition: bool, denial: Denial| if condition { Ok(()) } else { Err(denial) };
        let permitted = self.saved.permitted || user == 1;
        let keeps = permitted || !self.saved.loss_stops;
        need(
            now - self.settings_read_at <= SETTINGS_AGE,
            Denial::SettingsUnreadable,
        )?;
        match deed {
            Deed::Prepare
            | Deed::Issue
            | Deed::Discard(_)
            | Deed::Activate(_)
            | Deed::ActivateConfirmed(..) => {
                need(own, Denial::OnlyOwn)?;
                need(self.saved.on, Denial::SwitchedOff)?;
                need(permitted, Denial::RoleNotPermitted)
            }
            Deed::Redeem(_) | Deed::Check(_) => {
                need(own, Denial::OnlyOwn)?;
                need(self.saved.on, Denial::SwitchedOff)?;
                need(keeps, Denial::RoleNotPermitted)
            }
            Deed::Burn(_) => need(own, Denial::OnlyOwn),
            Deed::Revoke(_) | Deed::RevokeOverride | Deed::Erase | Deed::ReadStatus => {
                need(own || administers, Denial::NotAdministrator)
            }
            Deed::IssueOverride { .. } => {
                need(!own, Denial::NotOneself)?;
                need(administers, Denial::NotAdministrator)?;
                need(self.saved.on, Denial::SwitchedOff)?;
                need(keeps, Denial::RoleNotPermitted)
            }
            Deed::Unlock => {
                need(!own, Denial::NotOneself)?;
                need(administers, Denial::NotAdministrator)
            }
            Deed::Purge | Deed::ForcePurge | Deed::Save(_) => {
                need(administers, Denial::NotAdministrator)
            }
        }
    }
}

/// The event that says who tried to do it.
fn kind(deed: &Deed) -> EventKind {
    match deed {
        Deed::Prepare => EventKind::Prepare,
        Deed::Issue | Deed::Activate(_) | Deed::ActivateConfirmed(..) => EventKind::Activate,
        Deed::Discard(_) => EventKind::Discard,
        Deed::Redeem(_) => EventKind::Redeem,
        Deed::Check(_) => EventKind::Check,
        Deed::Burn(_) => EventKind::Burn,
        Deed::IssueOverride { .. } => EventKind::IssueOverride,
        Deed::RevokeOverride => EventKind::RevokeOverride,
        Deed::Revoke(_) => EventKind::Revoke,
        Deed::Unlock => EventKind::Unlock,
        Deed::Erase | Deed::Purge | Deed::ForcePurge => EventKind::Erase,
        Deed::ReadStatus => EventKind::ReadStatus,
        Deed::Save(_) => EventKind::SaveSettings,
    }
}

/// Two users under one set of rules.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) rules: Rules,
    pub(crate) users: [User; 2],
}

impl Reference {
    /// What a deed comes to. `new` is the number that a paper made by it has.
    pub(crate) fn step(
        &mut self,
        deed: &Deed,
        who: Who,
        user: usize,
        now: i64,
        new: usize,
    ) -> Outcome {
        // What is no code is told apart before anything else is looked at.
        if let Deed::Redeem(Err(hint))
        | Deed::Check(Err(hint))
        | Deed::Burn(Err(hint))
        | Deed::ActivateConfirmed(_, Err(hint)) = deed
        {
            return unwritten(Answer::NotACode(*hint), vec![no(kind(deed), *hint)]);
        }
        if let Err(denial) = self.rules.permit(deed, who, user, now) {
            let told = vec![no(kind(deed), denial)];
            return match deed {
                Deed::Redeem(_) | Deed::Check(_) | Deed::Burn(_) => {
                    unwritten(refusal(denial.into(), None), told)
                }
                _ => unwritten(Answer::Denied(denial), told),
            };
        }
        let Self { rules, users } = self;
        let newest = users.iter().filter_map(User::newest).max();
        match deed {
            // A clock so far ahead of everything that ever happened is not believed.
            Deed::Purge if newest.is_some_and(|newest| now - newest > KEEP_USES) => {
                return unwritten(Answer::ClockAhead, vec![]);
            }
            Deed::Purge | Deed::ForcePurge => {
                // Uses age by what happened, where nobody vouches for the clock.
                let unforced = newest.filter(|_| matches!(deed, Deed::Purge));
                let today = unforced.map_or(now, |newest| now.min(newest));
                let removed = users
                    .iter_mut()
                    .map(|user| usize::from(user.bury(now)))
                    .sum();
                let trimmed = users
                    .iter_mut()
                    .map(|user| usize::from(user.trim(now, today, rules)))
                    .sum();
                return written(Answer::Purged { trimmed, removed }, vec![]);
            }
            Deed::Save(saved) => {
                (rules.saved, rules.settings_read_at) = (*saved, now);
                return written(Answer::Done, vec![yes(EventKind::SaveSettings)]);
            }
            _ => {}
        }
        users[user].step(deed, now, new, rules)
    }
}

impl User {
    fn step(&mut self, deed: &Deed, now: i64, new: usize, rules: &Rules) -> Outcome {
        let nothing = || unwritten(Answer::Nothing, vec![]);
        let fresh = Sheet {
            paper: new,
            prepared_at: now,
            activated_at: 0,
            used: BTreeMap::new(),
            burned: BTreeMap::new(),
        };
        let prepared = yes(EventKind::Prepare).of(new).leaving(SET_SIZE);
        match deed {
            // Nothing brings an erased user back before the tombstone is purged.
            Deed::Prepare | Deed::Issue | Deed::IssueOverride { minutes: 1..=1440 }
                if self.tombstone.is_some() =>
            {
                unwritten(Answer::Erased, vec![])
            }

            Deed::Prepare => {
                let old = self.prepared.replace(fresh);
                let dropped = old.map(|old| {
                    yes(EventKind::Discard)
                        .because(Reason::Replaced)
                        .of(old.paper)
                });
                written(
                    Answer::Done,
                    dropped.into_iter().chain([prepared]).collect(),
                )
            }
            Deed::Issue => self.put_in_force(fresh, vec![prepared], now, rules),
            Deed::Activate(paper) | Deed::ActivateConfirmed(paper, _) => {
                if self
                    .active
                    .as_ref()
                    .is_some_and(|sheet| sheet.paper == *paper)
                {
                    return unwritten(Answer::AlreadyActive, vec![]);
                }
                let prepared = self.prepared.clone();
                let Some(sheet) = prepared
                    .filter(|sheet| sheet.paper == *paper && rules.can_be_activated(sheet, now))
                else {
                    let told = no(EventKind::Activate, Reason::NoSuchSet).of(*paper);
                    return unwritten(Answer::NoSuchSet, vec![told]);
                };
                if matches!(deed, Deed::ActivateConfirmed(_, Ok(code)) if code.paper != *paper) {
                    let told = no(EventKind::Activate, Reason::Wrong).of(*paper);
                    return unwritten(Answer::WrongConfirmation, vec![told]);
                }
                self.prepared = None;
                self.put_in_force(sheet, vec![], now, rules)
            }
            Deed::Discard(paper) => match self.prepared.take() {
                Some(sheet) if sheet.paper == *paper => {
                    written(Answer::Done, vec![yes(EventKind::Discard).of(*paper)])
                }
                other => {
                    self.prepared = other;
                    nothing()
                }
            },

            Deed::Redeem(Ok(code)) | Deed::Check(Ok(code)) | Deed::Burn(Ok(code)) => {
                let outcome = self.attempt(*code, deed, now, rules);
                match (deed, &outcome.answer) {
                    // Burning answers the same either way; only that it was not tried is told.
                    (
                        Deed::Burn(_),
                        Answer::Refused {
                            reason: Reason::Locked | Reason::Disabled,
                            ..
                        },
                    ) => outcome,
                    // It could work again under another clock.
                    (
                        Deed::Burn(_),
                        Answer::Refused {
                            reason: Reason::Expired | Reason::Void,
                            ..
                        },
                    ) if code.slot != 0 || self.unused_override().is_some() => outcome,
                    (
                        Deed::Burn(_),
                        Answer::Refused {
                            notice: Some(owed), ..
                        },
                    ) => Outcome {
                        answer: Answer::Owed(owed.clone()),
                        ..outcome
                    },
                    (Deed::Burn(_), _) => Outcome {
                        answer: Answer::Done,
                        ..outcome
                    },
                    (Deed::Check(_), Answer::Accepted { slot, .. }) => Outcome {
                        answer: Answer::Valid(*slot),
                        ..outcome
                    },
                    _ => outcome,
                }
            }

            // One minute to the configured longest, a day.
            Deed::IssueOverride { minutes } if !(1..=1440).contains(minutes) => {
                unwritten(Answer::OverrideLifetime, vec![])
            }
            Deed::IssueOverride { minutes } => {
                let replaced = self.void_override();
                self.over = Some(Override {
                    paper: new,
                    issued_at: now,
                    until: now + minutes * MINUTE,
                    wrong: 0,
                    used: false,
                });
                let told = replaced
                    .into_iter()
                    .chain([yes(EventKind::IssueOverride).of(new)]);
                written(
                    Answer::Owed(rules.notice(NoticeKind::OverrideIssued, self, now)),
                    told.collect(),
                )
            }
            Deed::RevokeOverride => match self.unused_override() {
                Some(paper) => {
                    self.over = None;
                    written(Answer::Done, vec![yes(EventKind::RevokeOverride).of(paper)])
                }
                None => nothing(),
            },

            // Sheets and override go, in or out of their time. The throttle stays: revoking is no
            // way around it.
            Deed::Revoke(reason) => {
                let over = self.unused_override();
                if self.active.is_none() && self.prepared.is_none() && over.is_none() {
                    return nothing();
                }
                let owed = Owed {
                    remaining: Some(0),
                    ..rules.notice(NoticeKind::Revoked, self, now)
                };
                (self.active, self.prepared, self.over) = (None, None, None);
                self.revoked_at = Some(now);
                let told = yes(EventKind::Revoke).because(*reason).leaving(0);
                let paper = owed.paper;
                written(Answer::Owed(owed), vec![Told { paper, ..told }])
            }
            Deed::Unlock => {
                if self.run == 0 && self.disabled_at.is_none() {
                    return nothing();
                }
                self.clear_run();
                written(Answer::Done, vec![yes(EventKind::Unlock)])
            }
            Deed::Erase => {
                if self.tombstone.is_some() {
                    return nothing();
                }
                *self = Self {
                    tombstone: Some(now),
                    ..Self::default()
                };
                written(Answer::Done, vec![yes(EventKind::Erase)])
            }
            Deed::ReadStatus => unwritten(Answer::Done, vec![]),
            _ => unreachable!("done before"),
        }
    }

    /// A new sheet is the only one: older codes, an override too, are void; wrong codes are
    /// forgotten.
    fn put_in_force(
        &mut self,
        sheet: Sheet,
        mut told: Vec<Told>,
        now: i64,
        rules: &Rules,
    ) -> Outcome {
        let paper = sheet.paper;
        let old = self.active.replace(Sheet {
            activated_at: now,
            ..sheet
        });
        let activated = yes(EventKind::Activate).of(paper).leaving(SET_SIZE);
        let (activated, notice) = match old {
            Some(_) => (activated.because(Reason::Replaced), NoticeKind::Replaced),
            None => (activated, NoticeKind::Issued),
        };
        told.push(activated);
        let dropped = self.prepared.take();
        told.extend(dropped.map(|old| {
            yes(EventKind::Discard)
                .because(Reason::Replaced)
                .of(old.paper)
        }));
        told.extend(self.void_override());
        self.clear_run();
        written(Answer::Owed(rules.notice(notice, self, now)), told)
    }

    /// The paper of an unused override.
    fn unused_override(&self) -> Option<usize> {
        let over = self.over.as_ref()?;
        (!over.used).then_some(over.paper)
    }

    /// Takes an override away for a newer code; told unless it was used up.
    fn void_override(&mut self) -> Option<Told> {
        let unused = self.unused_override();
        self.over = None;
        Some(
            yes(EventKind::RevokeOverride)
                .because(Reason::Replaced)
                .of(unused?),
        )
    }

    /// The latest use or activation that is known.
    fn newest(&self) -> Option<i64> {
        let activated = self.active.as_ref().map(|sheet| sheet.activated_at);
        self.last_used_at.max(activated)
    }

    fn clear_run(&mut self) {
        (self.run, self.locked_until, self.disabled_at) = (0, 0, None);
    }

    /// A code typed to redeem, check or burn.
    fn attempt(&mut self, code: Code, deed: &Deed, now: i64, rules: &Rules) -> Outcome {
        let kind = kind(deed);
        // Slot 0 is the override's. Unused and in its time it works whatever the throttle says.
        let over = self.over.clone().filter(|_| code.slot == 0);
        if let Some(over) = over
            .clone()
            .filter(|over| !over.used && rules.counts(over, now))
        {
            return if over.paper == code.paper {
                self.right_override(over, deed, now, rules)
            } else {
                self.wrong_override(over, kind)
            };
        }
        if self.disabled_at.is_some() {
            return refused(kind, Reason::Disabled, None);
        }
        if now < self.locked_until {
            return refused(kind, Reason::Locked, Some(self.locked_until - now));
        }
        // Where no override can be used there is nothing to guess, and nothing counts.
        if let Some(over) = over {
            let reason = if now >= over.until {
                Reason::Expired
            } else if !rules.counts(&over, now) {
                Reason::Void
            } else {
                Reason::NoOverride
            };
            return refused_of(kind, reason, over.paper);
        }
        if code.slot == 0 {
            return refused(kind, Reason::NoOverride, None);
        }
        let Some(sheet) = self.active.clone() else {
            return refused(kind, Reason::NoCodes, None);
        };
        if let Err(reason) = rules.standing(&sheet, now) {
            return refused_of(kind, reason, sheet.paper);
        }
        if sheet.paper != code.paper {
            self.wrong(sheet.paper, kind, now, rules)
        } else if sheet.used.contains_key(&code.slot) {
            spent(kind, Reason::Used, code.paper)
        } else if sheet.burned.contains_key(&code.slot) {
            spent(kind, Reason::Burned, code.paper)
        } else {
            self.right(sheet, code.slot, deed, now, rules)
        }
    }

    fn right(
        &mut self,
        mut sheet: Sheet,
        slot: u8,
        deed: &Deed,
        now: i64,
        rules: &Rules,
    ) -> Outcome {
        let before = level(sheet.unspent());
        match deed {
            Deed::Redeem(_) => {
                sheet.used.insert(slot, now);
                self.clear_run();
                self.count_use(now);
            }
            Deed::Burn(_) => {
                sheet.burned.insert(slot, now);
            }
            _ => {}
        }
        let (paper, remaining) = (sheet.paper, sheet.unspent());
        self.active = Some(sheet);
        // The day the sheet runs low, and the day it runs out, are told once.
        let told = |kind| yes(kind).of(paper).leaving(remaining);
        let crossed = match level(remaining) {
            after if after == before => None,
            Level::Exhausted => Some(EventKind::Exhausted),
            _ => Some(EventKind::Low),
        };
        let events = [told(kind(deed))].into_iter().chain(crossed.map(told));
        let answer = Answer::Accepted {
            slot,
            remaining,
            level: level(remaining),
            reissue: match level(remaining) {
                Level::Exhausted => Reissue::Required,
                _ if rules.reissue_after_every_use => Reissue::Required,
                Level::Low => Reissue::Suggested,
                Level::Ok => Reissue::NotNeeded,
            },
            notice: rules.notice(NoticeKind::Used, self, now),
        };
        written(answer, events.collect())
    }

    fn wrong(&mut self, paper: usize, kind: EventKind, now: i64, rules: &Rules) -> Outcome {
        self.run += 1;
        let mut told = vec![no(kind, Reason::Wrong).of(paper)];
        let to_lock = LOCK_EVERY - self.run % LOCK_EVERY;
        let (tries_left, wait, notice) = if self.run >= rules.disable_after {
            (self.disabled_at, self.locked_until) = (Some(now), 0);
            told.push(
                yes(EventKind::Disable)
                    .because(Reason::TooManyWrong)
                    .of(paper),
            );
            (0, None, Some(NoticeKind::Disabled))
        } else if to_lock == LOCK_EVERY {
            self.locked_until = now + LOCK_FOR;
            told.push(yes(EventKind::Lock).because(Reason::TooManyWrong).of(paper));
            (0, Some(LOCK_FOR), Some(NoticeKind::Locked))
        } else {
            (to_lock.min(rules.disable_after - self.run), None, None)
        };
        let answer = Answer::Refused {
            reason: Reason::Wrong,
            tries_left: Some(tries_left),
            wait,
            notice: notice.map(|kind| rules.notice(kind, self, now)),
        };
        written(answer, told)
    }

    fn right_override(&mut self, over: Override, deed: &Deed, now: i64, rules: &Rules) -> Outcome {
        let remaining = rules.remaining(self, now);
        let paper = over.paper;
        let told = yes(kind(deed))
            .because(Reason::Override)
            .of(paper)
            .leaving(remaining);
        let mut events = vec![told];
        match deed {
            Deed::Redeem(_) => {
                self.over = Some(Override { used: true, ..over });
                // It ends run and lock; a disabled set waits for a new sheet or an unlock.
                if self.disabled_at.is_none() {
                    self.clear_run();
                }
                self.count_use(now);
            }
            Deed::Burn(_) => {
                self.over = None;
                events.push(
                    yes(EventKind::RevokeOverride)
                        .because(Reason::Burned)
                        .of(paper),
                );
            }
            _ => {}
        }
        let answer = Answer::Accepted {
            slot: 0,
            remaining,
            level: level(remaining),
            reissue: Reissue::Required,
            notice: Owed {
                remaining: Some(remaining),
                ..rules.notice(NoticeKind::OverrideUsed, self, now)
            },
        };
        written(answer, events)
    }

    /// An override has a run of its own.
    fn wrong_override(&mut self, mut over: Override, kind: EventKind) -> Outcome {
        over.wrong += 1;
        let mut told = vec![no(kind, Reason::Wrong).of(over.paper)];
        let tries_left = Some(REVOKE_OVERRIDE_AFTER - over.wrong);
        if over.wrong == REVOKE_OVERRIDE_AFTER {
            told.push(
                yes(EventKind::RevokeOverride)
                    .because(Reason::TooManyWrong)
                    .of(over.paper),
            );
            self.over = None;
        } else {
            self.over = Some(over);
        }
        let answer = Answer::Refused {
            reason: Reason::Wrong,
            tries_left,
            wait: None,
            notice: None,
        };
        written(answer, told)
    }

    fn count_use(&mut self, now: i64) {
        self.uses.push(now);
        self.last_used_at = Some(now);
    }

    fn forget_uses(&mut self, now: i64) {
        self.uses
            .retain(|used| quarter(*used) >= quarter(now - KEEP_USES));
    }

    /// Purging: whether a tombstone has stood long enough, and is gone.
    fn bury(&mut self, now: i64) -> bool {
        let old = self.tombstone.is_some_and(|at| now - at >= TOMBSTONE_GRACE);
        if old {
            *self = Self::default();
        }
        old
    }

    /// Purging: whether something was old enough to be forgotten; uses age by `today`.
    fn trim(&mut self, now: i64, today: i64, rules: &Rules) -> bool {
        let kept = |user: &Self| {
            (
                user.uses.len(),
                user.prepared.is_some(),
                user.over.is_some(),
            )
        };
        let before = kept(self);
        self.forget_uses(today);
        self.prepared = self
            .prepared
            .take()
            .filter(|sheet| rules.can_be_activated(sheet, now));
        self.over = self.over.take().filter(|over| rules.counts(over, now));
        kept(self) != before
    }

    /// What the user has, as `status` tells it.
    pub(crate) fn status(&self, now: i64, rules: &Rules) -> View {
        let sheet = self.active.as_ref();
        let remaining = rules.remaining(self, now);
        let lapsing = self
            .prepared
            .as_ref()
            .filter(|sheet| rules.can_be_activated(sheet, now));
        let over = self
            .over
            .as_ref()
            .filter(|over| !over.used && rules.counts(over, now));
        View {
            paper: sheet.map(|sheet| sheet.paper),
            total: sheet.map_or(0, |_| SET_SIZE),
            remaining,
            level: sheet.map(|_| level(remaining)),
            slots: sheet.map_or(vec![], |sheet| {
                let at = |slot| {
                    (
                        slot,
                        sheet.used.get(&slot).copied(),
                        sheet.burned.get(&slot).copied(),
                    )
                };
                (1..=SET_SIZE).map(at).collect()
            }),
            prepared_at: sheet.map(|sheet| sheet.prepared_at),
            activated_at: sheet.map(|sheet| sheet.activated_at),
            expires_at: sheet.and_then(|sheet| rules.expiry(sheet)),
            last_used_at: self.last_used_at,
            revoked_at: self.revoked_at,
            wrong_in_a_row: self.run,
            locked_until: (now < self.locked_until).then_some(self.locked_until),
            disabled_at: self.disabled_at,
            prepared: lapsing.map(|sheet| (sheet.paper, sheet.prepared_at)),
            override_until: over.map(|over| over.until),
        }
    }

    /// Uses of the last sixty days, to the quarter of an hour.
    pub(crate) fn uses(&self, now: i64) -> u64 {
        let recent = |used: &&i64| quarter(**used) >= quarter(now - 60 * DAY);
        self.uses.iter().filter(recent).count() as u64
    }
}

pub(crate) fn quarter(at: i64) -> i64 {
    at / (15 * MINUTE)
}

/// A refusal that counts nothing, of a paper that cannot be used.
fn refused_of(kind: EventKind, reason: Reason, paper: usize) -> Outcome {
    unwritten(refusal(reason, None), vec![no(kind, reason).of(paper)])
}

fn spent(kind: EventKind, reason: Reason, paper: usize) -> Outcome {
    // Logged, not counted: a double click.
    written(refusal(reason, None), vec![no(kind, reason).of(paper)])
}

pub(crate) fn level(remaining: u8) -> Level {
    match remaining {
        0 => Level::Exhausted,
        1..=LOW => Level::Low,
        _ => Level::Ok,
    }
}
