//! The words of the model: deeds, answers, events.
//!
//! A sheet, or an override code, is a *paper* with a number; a code is a paper and a slot. Time is
//! in milliseconds.

use backup_codes::RevokeReason;
use backup_codes::audit::{EventKind, EventOutcome, Reason};
use backup_codes::code::NotACode;
use backup_codes::outcome::{Level, NoticeKind, Reissue};
use backup_codes::policy::Denial;

/// The saved settings: the master switch, whether user 0 has a permitted role, and whether
/// losing it stops redeeming. User 1 always has one, and administers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved {
    pub(crate) on: bool,
    pub(crate) permitted: bool,
    pub(crate) loss_stops: bool,
}

/// Who does something to a user's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Own,
    /// The other of the two users.
    Other,
    System,
}

/// What is done, with what was typed as the paper and slot it was copied from.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Prepare,
    Issue,
    Activate(usize),
    ActivateConfirmed(usize, Result<Code, NotACode>),
    Discard(usize),
    Redeem(Result<Code, NotACode>),
    Check(Result<Code, NotACode>),
    Burn(Result<Code, NotACode>),
    IssueOverride { minutes: i64 },
    RevokeOverride,
    Revoke(RevokeReason),
    Unlock,
    Erase,
    ReadStatus,
    Purge,
    ForcePurge,
    Save(Saved),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) paper: usize,
    pub(crate) slot: u8,
}

/// What the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Nothing,
    Owed(Owed),
    Accepted {
        slot: u8,
        remaining: u8,
        level: Level,
        reissue: Reissue,
        notice: Owed,
    },
    Valid(u8),
    Refused {
        reason: Reason,
        tries_left: Option<u8>,
        wait: Option<i64>,
        notice: Option<Owed>,
    },
    NotACode(NotACode),
    AlreadyActive,
    NoSuchSet,
    WrongConfirmation,
    Denied(Denial),
    Erased,
    OverrideLifetime,
    ClockAhead,
    Purged {
        trimmed: usize,
        removed: usize,
    },
}

/// A message owed to the user: about which paper, leaving how many codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) kind: NoticeKind,
    pub(crate) paper: Option<usize>,
    pub(crate) remaining: Option<u8>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) kind: EventKind,
    pub(crate) outcome: EventOutcome,
    pub(crate) reason: Option<Reason>,
    pub(crate) paper: Option<usize>,
    pub(crate) remaining: Option<u8>,
}

pub(crate) fn yes(kind: EventKind) -> Told {
    Told {
        kind,
        outcome: EventOutcome::Success,
        reason: None,
        paper: None,
        remaining: None,
    }
}

pub(crate) fn no(kind: EventKind, reason: impl Into<Reason>) -> Told {
    Told {
        outcome: EventOutcome::Failure,
        ..yes(kind).because(reason)
    }
}

impl Told {
    pub(crate) fn because(self, reason: impl Into<Reason>) -> Self {
        let reason = Some(reason.into());
        Self { reason, ..self }
    }

    pub(crate) fn of(self, paper: usize) -> Self {
        let paper = Some(paper);
        Self { paper, ..self }
    }

    pub(crate) fn leaving(self, codes: u8) -> Self {
        let remaining = Some(codes);
        Self { remaining, ..self }
    }
}

/// What one step comes to: the answer, the events kept by its write, and those of an outcome that
/// changes nothing, which are only offered to the sink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) stored: Vec<Told>,
    pub(crate) offered: Vec<Told>,
}

pub(crate) fn written(answer: Answer, stored: Vec<Told>) -> Outcome {
    Outcome {
        answer,
        stored,
        offered: Vec::new(),
    }
}

pub(crate) fn unwritten(answer: Answer, offered: Vec<Told>) -> Outcome {
    Outcome {
        answer,
        stored: Vec::new(),
        offered,
    }
}

pub(crate) fn refused(kind: EventKind, reason: Reason, wait: Option<i64>) -> Outcome {
    unwritten(refusal(reason, wait), vec![no(kind, reason)])
}

pub(crate) fn refusal(reason: Reason, wait: Option<i64>) -> Answer {
    Answer::Refused {
        reason,
        tries_left: None,
        wait,
        notice: None,
    }
}

/// A status, with papers for sets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) paper: Option<usize>,
    pub(crate) total: u8,
    pub(crate) remaining: u8,
    pub(crate) level: Option<Level>,
    pub(crate) slots: Vec<(u8, Option<i64>, Option<i64>)>,
    pub(crate) prepared_at: Option<i64>,
    pub(crate) activated_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) wrong_in_a_row: u8,
    pub(crate) locked_until: Option<i64>,
    pub(crate) disabled_at: Option<i64>,
    pub(crate) prepared: Option<(usize, i64)>,
    pub(crate) override_until: Option<i64>,
}
