//! All operations against a plain reference: after each step of long random sequences, every
//! thing a caller sees, and every event, is what `reference.rs` says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod reference;
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backup_codes::audit::{Event, EventActor, Reason};
use backup_codes::code::NotACode;
use backup_codes::outcome::Refusal;
use backup_codes::policy::OnRoleLoss;
use backup_codes::repository::{CodeRepository, Freshness, Loaded, Record};
use backup_codes::{
    Activation, BackupCodes, Burn, Check, Config, Confirmation, Context, Effect, Error,
    MemoryRepository, Notice, Periods, Redeem, ReissueRule, Reports, RevokeReason, SavedSettings,
    SetId, SetSize, Settings, SettingsSaved, SharedSettings, Status, Subject, Switch, Timestamp,
    UserId,
};
use pollster::block_on;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use reference::{DAY, MINUTE, Reference, Rules, SET_SIZE, SETTINGS_AGE, User, quarter};
use support::hashing::cheap_hashing;
use support::moments::at;
use support::operations;
use support::people::{alice, subject};
use support::sinks::Lossy;
use words::{Answer, Code, Deed, Outcome, Owed, Saved, Told, View, Who};

const START: i64 = 20_000 * DAY;

/// What each deed has to come to in one case or another, and what is stored: a test that silently
/// stopped reaching one of these would prove less than it says.
const REACHED: &[(&str, &str)] = &[
    (
        "Prepare",
        "Done Erased only_own role_not_permitted settings_unreadable switched_off",
    ),
    (
        "Issue",
        "Issued Replaced Erased only_own role_not_permitted settings_unreadable \
         switched_off",
    ),
    (
        "Activate",
        "Issued Replaced AlreadyActive NoSuchSet only_own role_not_permitted \
         settings_unreadable switched_off",
    ),
    (
        "ActivateConfirmed",
        "Issued Replaced AlreadyActive NoSuchSet WrongConfirmation Shape Typo \
         only_own role_not_permitted settings_unreadable switched_off",
    ),
    (
        "Discard",
        "Done Nothing only_own role_not_permitted settings_unreadable switched_off",
    ),
    (
        "Redeem",
        "Ok+NotNeeded Ok+Required Low+Suggested Low+Required Exhausted+Required Override \
         Override/locked Override/disabled wrong wrong+Locked wrong+Disabled locked disabled \
         used burned no_codes no_override expired void Shape Typo only_own role_not_permitted \
         settings_unreadable switched_off",
    ),
    (
        "Check",
        "Valid Override Override/locked Override/disabled wrong wrong+Locked wrong+Disabled \
         locked disabled used burned no_codes no_override expired void Shape Typo only_own \
         role_not_permitted settings_unreadable switched_off",
    ),
    (
        "Burn",
        "Done Nothing Locked Disabled locked disabled expired void Shape Typo only_own \
         settings_unreadable",
    ),
    (
        "IssueOverride",
        "OverrideIssued OverrideLifetime Erased not_oneself not_administrator \
         role_not_permitted settings_unreadable switched_off",
    ),
    (
        "RevokeOverride",
        "Done Nothing not_administrator settings_unreadable",
    ),
    (
        "Revoke",
        "Revoked Nothing not_administrator settings_unreadable",
    ),
    (
        "Unlock",
        "Done Nothing not_oneself not_administrator settings_unreadable",
    ),
    (
        "Erase",
        "Done Nothing not_administrator settings_unreadable",
    ),
    (
        "ReadStatus",
        "Nothing not_administrator settings_unreadable",
    ),
    (
        "Purge",
        "Nothing Trimmed Removed Both ClockAhead not_administrator settings_unreadable",
    ),
    (
        "ForcePurge",
        "Nothing Trimmed Removed Both not_administrator settings_unreadable",
    ),
    ("Save", "Done not_administrator settings_unreadable"),
    (
        "stored",
        "prepare activate activate/replaced discard discard/replaced redeem redeem/override \
         redeem/wrong redeem/used redeem/burned check check/override check/wrong check/used \
         check/burned burn burn/override burn/wrong burn/used burn/burned low exhausted \
         lock/too_many_wrong disable/too_many_wrong unlock issue_override revoke_override \
         revoke_override/burned revoke_override/replaced revoke_override/too_many_wrong \
         revoke/user_request revoke/factor_removed revoke/compromised revoke/administrative \
         erase save_settings",
    ),
];

/// A step before it is known which papers there are.
#[derive(Debug, Clone)]
enum Step {
    Do {
        user: usize,
        who: Who,
        what: What,
    },
    Wait {
        millis: i64,
        refresh: bool,
    },
    /// After a restored backup: what was prepared before does not count.
    VoidOlder,
}

#[derive(Debug, Clone)]
enum What {
    Prepare,
    Issue,
    Activate(Which),
    ActivateConfirmed(Which, Typed),
    Discard(Which),
    Redeem(Typed),
    Check(Typed),
    Burn(Typed),
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

#[derive(Debug, Clone)]
enum Which {
    Active,
    Prepared,
    Any(Index),
}

/// What is typed. A code that the user does not have is one of a stranger's.
#[derive(Debug, Clone)]
enum Typed {
    Code(Which, u8),
    LatestOverride,
    Wrong(u8),
    Shape,
    Typo,
}

fn any_which() -> impl Strategy<Value = Which> {
    prop_oneof![
        1 => Just(Which::Active),
        4 => Just(Which::Prepared),
        1 => any::<Index>().prop_map(Which::Any),
    ]
}

fn any_typed() -> impl Strategy<Value = Typed> {
    prop_oneof![
        8 => (1..=SET_SIZE).prop_map(|slot| Typed::Code(Which::Active, slot)),
        2 => (any_which(), 1..=SET_SIZE).prop_map(|(which, slot)| Typed::Code(which, slot)),
        3 => Just(Typed::LatestOverride),
        4 => (0..=SetSize::MAX).prop_map(Typed::Wrong),
        2 => Just(Typed::Wrong(0)),
        1 => Just(Typed::Shape),
        1 => Just(Typed::Typo),
    ]
}

/// One step, or the same one several times: double clicks, and guessing.
fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let mostly = |who: Who| {
        let anybody = prop_oneof![Just(Who::Own), Just(Who::Other), Just(Who::System)];
        prop_oneof![12 => Just(who), 1 => anybody]
    };
    let reason = prop_oneof![
        Just(RevokeReason::UserRequest),
        Just(RevokeReason::FactorRemoved),
        Just(RevokeReason::Compromised),
        Just(RevokeReason::Administrative),
    ];
    let saved = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.7),
        any::<bool>(),
    );
    let confirmed = |(which, typed)| What::ActivateConfirmed(which, typed);
    let own = prop_oneof![
        6 => Just(What::Prepare),
        4 => Just(What::Issue),
        4 => any_which().prop_map(What::Activate),
        6 => (any_which(), any_typed()).prop_map(confirmed),
        4 => (1..=SET_SIZE).prop_map(move |slot| {
            confirmed((Which::Prepared, Typed::Code(Which::Prepared, slot)))
        }),
        2 => any_which().prop_map(What::Discard),
        24 => any_typed().prop_map(What::Redeem),
        8 => any_typed().prop_map(What::Check),
        8 => any_typed().prop_map(What::Burn),
        2 => reason.prop_map(What::Revoke),
        1 => Just(What::RevokeOverride),
        1 => Just(What::Erase),
        1 => Just(What::ReadStatus),
    ];
    let others = prop_oneof![
        8 => prop_oneof![5 => Just(30), 2 => Just(1440), 1 => Just(1), 1 => Just(0), 1 => Just(1441)]
            .prop_map(|minutes| What::IssueOverride { minutes }),
        2 => Just(What::Unlock),
        1 => Just(What::RevokeOverride),
        1 => Just(What::Revoke(RevokeReason::Administrative)),
        1 => Just(What::Erase),
        2 => Just(What::Purge),
        1 => Just(What::ForcePurge),
        1 => Just(What::ReadStatus),
        3 => saved.prop_map(|(on, permitted, loss_stops)| {
            What::Save(Saved { on, permitted, loss_stops })
        }),
    ];
    let guesses = prop_oneof![
        3 => Just(What::Redeem(Typed::Wrong(1))),
        2 => Just(What::Check(Typed::Wrong(1))),
        2 => Just(What::Burn(Typed::Wrong(31))),
        2 => Just(What::Redeem(Typed::Wrong(0))),
        1 => Just(What::Check(Typed::Wrong(0))),
        1 => Just(What::Check(Typed::LatestOverride)),
        1 => Just(What::Burn(Typed::Wrong(0))),
    ];
    let wait = prop_oneof![
        Just(1),
        Just(5 * MINUTE),
        Just(30 * MINUTE - 1),
        Just(30 * MINUTE),
        Just(60 * MINUTE - 1),
        Just(60 * MINUTE),
        Just(DAY - 60 * MINUTE),
        Just(DAY),
        Just(40 * DAY),
    ];
    let user = prop_oneof![2 => Just(0usize), 1 => Just(1)];
    let deed = prop_oneof![
        9 => (own, mostly(Who::Own), 1usize..=2),
        3 => (others, mostly(Who::Other), 1usize..=1),
        2 => (guesses, Just(Who::Own), 1usize..=13),
    ];
    let spend = prop_oneof![
        3 => Just(What::Redeem as fn(Typed) -> What),
        1 => Just(What::Burn as fn(Typed) -> What),
    ];
    let spend_all = (
        user.clone(),
        proptest::collection::vec(spend, usize::from(SET_SIZE)),
    )
        .prop_map(|(user, spend)| {
            let typed = |slot| Typed::Code(Which::Active, slot);
            let whats = (1..).zip(spend).map(|(slot, spend)| spend(typed(slot)));
            whats
                .map(|what| Step::Do {
                    user,
                    who: Who::Own,
                    what,
                })
                .collect()
        });
    // Guessed at until the set is locked or disabled; then an administrator helps.
    let with_it = prop_oneof![
        2 => Just(What::Redeem as fn(Typed) -> What),
        1 => Just(What::Check as fn(Typed) -> What),
        1 => Just(What::Burn as fn(Typed) -> What),
    ];
    let rescue = (with_it, 9usize..13).prop_map(|(with_it, guesses)| {
        let step = |who, what| Step::Do { user: 0, who, what };
        let mut steps = vec![step(Who::Own, What::Redeem(Typed::Wrong(1))); guesses];
        steps.push(step(Who::Other, What::IssueOverride { minutes: 30 }));
        steps.push(step(Who::Own, with_it(Typed::LatestOverride)));
        steps
    });
    prop_oneof![
        5 => spend_all,
        3 => rescue,
        60 => (user, deed)
            .prop_map(|(user, (what, who, times))| vec![Step::Do { user, who, what }; times]),
        15 => (wait, prop::bool::weighted(0.9))
            .prop_map(|(millis, refresh)| vec![Step::Wait { millis, refresh }]),
        1 => Just(vec![Step::VoidOlder]),
    ]
}

fn any_case() -> impl Strategy<Value = (Rules, Vec<Vec<Step>>)> {
    let rules = (
        prop_oneof![Just(1u8), Just(12), Just(23)],
        any::<bool>(),
        any::<bool>(),
    );
    let rules = rules.prop_map(
        |(disable_after, sets_expire, reissue_after_every_use)| Rules {
            disable_after,
            sets_expire,
            reissue_after_every_use,
            void_before: 0,
            saved: Saved {
                on: true,
                permitted: true,
                loss_stops: false,
            },
            settings_read_at: START,
        },
    );
    (rules, proptest::collection::vec(any_steps(), 1..80))
}

/// A sheet, or an override code.
struct Paper {
    id: SetId,
    codes: BTreeMap<u8, String>,
}

/// The operations, with everything that was ever printed.
struct World {
    store: MemoryRepository,
    heard: Lossy,
    codes: BackupCodes,
    shared: SharedSettings,
    /// Looks on, whatever the settings say.
    looker: BackupCodes,
    users: [Subject; 2],
    papers: Vec<Paper>,
    overrides: [usize; 2],
    now: i64,
}

const STRANGERS: usize = 0;

impl World {
    fn new(rules: &Rules) -> Self {
        let (store, heard) = (MemoryRepository::new(), Lossy::new());
        let hashing = cheap_hashing();
        let shared = SharedSettings::new(Duration::from_millis(SETTINGS_AGE.unsigned_abs()));
        let mut world = Self {
            codes: BackupCodes::new(store.clone(), shared.clone(), hashing.clone())
                .with_audit(heard.clone()),
            shared,
            looker: BackupCodes::new(store.clone(), Settings::default(), hashing.clone()),
            store,
            heard,
            users: [
                alice(),
                Subject::new(UserId::new("bob").unwrap(), ["editor", "administrator"]),
            ],
            papers: vec![stranger()],
            overrides: [STRANGERS; 2],
            now: START,
        };
        world.configure(rules);
        world.refresh();
        world
    }

    fn configure(&mut self, rules: &Rules) {
        let config = config(rules);
        self.codes = self.codes.clone().with_config(config.clone());
        self.looker = self.looker.clone().with_config(config);
    }

    fn settings(&self) -> SavedSettings {
        SavedSettings::new(&self.codes, self.store.clone(), &self.shared)
    }

    fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    fn refresh(&self) {
        block_on(self.settings().refresh(at(self.now))).unwrap();
    }

    fn context(&self, user: usize, who: Who) -> (Context, EventActor) {
        let by = |subject: &Subject| {
            (
                Context::new(at(self.now), subject),
                EventActor::User(subject.id().clone()),
            )
        };
        match who {
            Who::Own => by(&self.users[user]),
            Who::Other => by(&self.users[1 - user]),
            Who::System => (Context::system(at(self.now)), EventActor::System),
        }
    }

    /// Which paper is meant.
    fn paper(&self, which: &Which, user: &User) -> usize {
        let of = |sheet: &Option<reference::Sheet>| sheet.as_ref().map(|sheet| sheet.paper);
        match which {
            Which::Active => of(&user.active).unwrap_or(STRANGERS),
            Which::Prepared => of(&user.prepared).unwrap_or(STRANGERS),
            Which::Any(index) => index.index(self.papers.len()),
        }
    }

    /// The code that is meant, and the text that is typed for it.
    fn typed(
        &self,
        typed: &Typed,
        user: usize,
        reference: &User,
    ) -> (Result<Code, NotACode>, String) {
        let code = |paper: usize, slot: u8| {
            let codes = &self.papers[paper].codes;
            let (slot, text) = codes
                .get_key_value(&slot)
                .or(codes.first_key_value())
                .unwrap();
            (Ok(Code { paper, slot: *slot }), text.clone())
        };
        match typed {
            Typed::Code(which, slot) => code(self.paper(which, reference), *slot),
            Typed::LatestOverride => code(self.overrides[user], 0),
            Typed::Wrong(slot) => code(STRANGERS, *slot),
            Typed::Shape => (Err(NotACode::Shape), "not a code".to_owned()),
            Typed::Typo => {
                let mut text = self.papers[STRANGERS].codes[&1].clone();
                let last = text.pop().unwrap();
                text.push(if last == '0' { '2' } else { '0' });
                (Err(NotACode::Typo), text)
            }
        }
    }

    /// The deed with papers for sets, and the text typed.
    fn resolve(&self, what: &What, user: usize, reference: &User) -> (Deed, String) {
        let paper = |which| self.paper(which, reference);
        let typed = |typed| self.typed(typed, user, reference);
        let deed = match what {
            What::ActivateConfirmed(which, input) => {
                let (code, text) = typed(input);
                return (Deed::ActivateConfirmed(paper(which), code), text);
            }
            What::Redeem(input) => {
                let (code, text) = typed(input);
                return (Deed::Redeem(code), text);
            }
            What::Check(input) => {
                let (code, text) = typed(input);
                return (Deed::Check(code), text);
            }
            What::Burn(input) => {
                let (code, text) = typed(input);
                return (Deed::Burn(code), text);
            }
            What::Activate(which) => Deed::Activate(paper(which)),
            What::Discard(which) => Deed::Discard(paper(which)),
            What::Prepare => Deed::Prepare,
            What::Issue => Deed::Issue,
            What::IssueOverride { minutes } => Deed::IssueOverride { minutes: *minutes },
            What::RevokeOverride => Deed::RevokeOverride,
            What::Revoke(reason) => Deed::Revoke(*reason),
            What::Unlock => Deed::Unlock,
            What::Erase => Deed::Erase,
            What::ReadStatus => Deed::ReadStatus,
            What::Purge => Deed::Purge,
            What::ForcePurge => Deed::ForcePurge,
            What::Save(saved) => Deed::Save(*saved),
        };
        (deed, String::new())
    }

    /// Does it, and says what the caller was told.
    fn perform(
        &mut self,
        deed: &Deed,
        typed: &str,
        user: usize,
        context: &Context,
    ) -> Result<Answer, Error> {
        let codes = self.codes.clone();
        let subject = self.users[user].clone();
        let set = |paper: &usize| self.papers[*paper].id;
        Ok(match deed {
            Deed::Prepare => {
                let sheet = block_on(codes.prepare(&subject, context))?;
                self.papers
                    .push(printed(sheet.id(), sheet.expose().codes()));
                Answer::Done
            }
            Deed::Issue => {
                let issued = block_on(codes.issue(&subject, context))?;
                let Confirmation::Confirmed(notice) = issued.confirmation else {
                    panic!("the store always answers")
                };
                let sheet = issued.sheet;
                self.papers
                    .push(printed(sheet.id(), sheet.expose().codes()));
                Answer::Owed(self.owed(&notice, user))
            }
            Deed::Activate(paper) => {
                let outcome = block_on(codes.activate(&subject, set(paper), context))?;
                self.activation(outcome, user)
            }
            Deed::ActivateConfirmed(paper, _) => {
                let set = set(paper);
                let outcome = block_on(codes.activate_confirmed(&subject, set, typed, context))?;
                self.activation(outcome, user)
            }
            Deed::Discard(paper) => effect(block_on(codes.discard(&subject, set(paper), context))?),
            Deed::Redeem(_) => match block_on(codes.redeem(&subject, typed, context))? {
                Redeem::Accepted(receipt) => Answer::Accepted {
                    slot: receipt.slot(),
                    remaining: receipt.remaining(),
                    level: receipt.level(),
                    reissue: receipt.reissue(),
                    notice: self.owed(receipt.notice(), user),
                },
                Redeem::Refused(refusal) => self.refused(&refusal, user),
                Redeem::NotACode(hint) => Answer::NotACode(hint),
            },
            Deed::Check(_) => match block_on(codes.check(&subject, typed, context))? {
                Check::Valid(slot) => Answer::Valid(slot),
                Check::Refused(refusal) => self.refused(&refusal, user),
                Check::NotACode(hint) => Answer::NotACode(hint),
            },
            Deed::Burn(_) => match block_on(codes.burn(&subject, typed, context))? {
                Burn::Done(None) => Answer::Done,
                Burn::Done(Some(notice)) => Answer::Owed(self.owed(&notice, user)),
                Burn::Refused(refusal) => self.refused(&refusal, user),
                Burn::NotACode(hint) => Answer::NotACode(hint),
            },
            Deed::IssueOverride { minutes } => {
                let lifetime = Duration::from_millis((minutes * MINUTE).unsigned_abs());
                let issued = block_on(codes.issue_override(&subject, lifetime, context))?;
                assert_eq!(issued.expires_at(), at(self.now + minutes * MINUTE));
                // Its id is told by its event alone.
                let id = self.heard.events().last().unwrap().set.unwrap();
                self.overrides[user] = self.papers.len();
                self.papers.push(printed(id, [(0, issued.expose())]));
                Answer::Owed(self.owed(issued.notice(), user))
            }
            Deed::RevokeOverride => effect(block_on(codes.revoke_override(&subject, context))?),
            Deed::Revoke(reason) => match block_on(codes.revoke_all(&subject, *reason, context))? {
                Some(notice) => Answer::Owed(self.owed(&notice, user)),
                None => Answer::Nothing,
            },
            Deed::Unlock => effect(block_on(codes.unlock(&subject, context))?),
            Deed::Erase => effect(block_on(codes.erase(&subject, context))?),
            Deed::ReadStatus => {
                let seen = block_on(codes.status(&subject, context))?;
                assert_eq!(self.view(&seen), self.status(user));
                Answer::Done
            }
            Deed::Purge | Deed::ForcePurge => {
                let purged = match deed {
                    Deed::Purge => block_on(self.reports().purge(context))?,
                    _ => block_on(self.reports().force_purge(context))?,
                };
                assert_eq!((purged.unreadable, purged.ahead), (0, 0));
                Answer::Purged {
                    trimmed: purged.trimmed,
                    removed: purged.removed,
                }
            }
            Deed::Save(saved) => {
                let mut draft = self.settings().edit().unwrap();
                draft.settings = settings(*saved);
                let outcome = block_on(self.settings().save(draft, context))?;
                assert_eq!(outcome, SettingsSaved::Saved);
                Answer::Done
            }
        })
    }

    fn activation(&self, outcome: Activation, user: usize) -> Answer {
        match outcome {
            Activation::Activated(notice) => Answer::Owed(self.owed(&notice, user)),
            Activation::AlreadyActive => Answer::AlreadyActive,
            Activation::NoSuchSet => Answer::NoSuchSet,
            Activation::WrongConfirmation => Answer::WrongConfirmation,
            Activation::NotACode(hint) => Answer::NotACode(hint),
        }
    }

    fn refused(&self, refusal: &Refusal, user: usize) -> Answer {
        assert_eq!(refusal.to_string(), "This code was not accepted.");
        Answer::Refused {
            reason: refusal.reason(),
            tries_left: refusal.tries_left(),
            wait: refusal
                .wait()
                .map(|wait| i64::try_from(wait.as_millis()).unwrap()),
            notice: refusal.notice().map(|notice| self.owed(notice, user)),
        }
    }

    fn owed(&self, notice: &Notice, user: usize) -> Owed {
        assert_eq!(
            (&notice.user, notice.at),
            (self.users[user].id(), at(self.now))
        );
        // A label names the latest paper that has it.
        let named = |label: &String| {
            self.papers
                .iter()
                .rposition(|paper| paper.id.label() == *label)
                .unwrap()
        };
        Owed {
            kind: notice.kind,
            paper: notice.label.as_ref().map(named),
            remaining: notice.remaining,
        }
    }

    fn number(&self, set: SetId) -> usize {
        self.papers
            .iter()
            .position(|paper| paper.id == set)
            .unwrap()
    }

    fn told(&self, event: &Event) -> Told {
        Told {
            kind: event.kind,
            outcome: event.outcome,
            reason: event.reason,
            paper: event.set.map(|set| self.number(set)),
            remaining: event.remaining,
        }
    }

    /// Events of this step: those stored, and those only offered.
    fn events(&self) -> (Vec<Event>, Vec<Event>) {
        let stored = block_on(self.store.undelivered(100)).unwrap();
        let ids: Vec<_> = stored.iter().map(|event| event.id).collect();
        block_on(self.store.acknowledge(&ids)).unwrap();
        let mut heard = self.heard.take();
        let offered = heard.split_off(stored.len());
        assert_eq!(heard, stored, "the sink hears what is stored");
        (stored, offered)
    }

    fn stored(&self, user: usize) -> Option<Loaded> {
        block_on(self.store.load(self.users[user].id(), Freshness::Latest)).unwrap()
    }

    fn status(&self, user: usize) -> View {
        let context = Context::system(at(self.now));
        self.view(&block_on(self.looker.status(&self.users[user], &context)).unwrap())
    }

    fn view(&self, status: &Status) -> View {
        let millis = |at: Option<Timestamp>| at.map(Timestamp::unix_millis);
        let prepared = status.prepared.as_ref();
        assert_eq!(status.label, status.set.map(SetId::label));
        assert_eq!(
            prepared.map(|p| p.label.clone()),
            prepared.map(|p| p.set.label())
        );
        assert_eq!(status.damaged, 0);
        View {
            paper: status.set.map(|set| self.number(set)),
            total: status.total,
            remaining: status.remaining,
            level: status.level,
            slots: status
                .slots
                .iter()
                .map(|slot| (slot.slot, millis(slot.used_at), millis(slot.burned_at)))
                .collect(),
            prepared_at: millis(status.prepared_at),
            activated_at: millis(status.activated_at),
            expires_at: millis(status.expires_at),
            last_used_at: millis(status.last_used_at),
            revoked_at: millis(status.revoked_at),
            wrong_in_a_row: status.wrong_in_a_row,
            locked_until: millis(status.locked_until),
            disabled_at: millis(status.disabled_at),
            prepared: prepared.map(|p| (self.number(p.set), p.prepared_at.unix_millis())),
            override_until: millis(status.override_until),
        }
    }

    /// Users with codes, low, exhausted; uses of the last sixty days.
    fn figures(&self) -> (u64, u64, u64, u64) {
        let edge = |at_quarter: i64| at(at_quarter * 15 * MINUTE);
        let days = edge(quarter(self.now - 60 * DAY))..edge(quarter(self.now) + 1);
        let periods = Periods::new(days.clone(), days, &[]).unwrap();
        let context = Context::system(at(self.now));
        let looker = Reports::new(&self.looker, self.store.clone());
        let usage = block_on(looker.usage(periods, &context)).unwrap();
        assert_eq!(usage.used_today, usage.used_this_month);
        (
            usage.users_with_codes,
            usage.users_low,
            usage.users_exhausted,
            usage.used_today,
        )
    }
}

fn config(rules: &Rules) -> Config {
    let day = Duration::from_secs(86_400);
    let config = operations::config()
        .with_set_size(SetSize::new(SET_SIZE).unwrap())
        .with_keep_uses(62 * day)
        .and_then(|config| config.with_tombstone_grace(day))
        .and_then(|config| config.with_disable_after(rules.disable_after))
        .unwrap()
        .with_void_before(at(rules.void_before));
    let config = if rules.reissue_after_every_use {
        config.with_reissue(ReissueRule::AfterEveryUse)
    } else {
        config
    };
    if rules.sets_expire {
        config.with_set_lifetime(day).unwrap()
    } else {
        config
    }
}

fn settings(saved: Saved) -> Settings {
    let mut settings = Settings::default();
    settings.set_switch(if saved.on { Switch::On } else { Switch::Off });
    if !saved.permitted {
        settings.permit_roles(["editor"]);
    }
    settings.set_on_role_loss(if saved.loss_stops {
        OnRoleLoss::StopRedeeming
    } else {
        OnRoleLoss::KeepRedeeming
    });
    settings
}

fn effect(effect: Effect) -> Answer {
    match effect {
        Effect::Done => Answer::Done,
        Effect::Nothing => Answer::Nothing,
    }
}

fn printed<S: std::ops::Deref<Target = String>>(
    id: SetId,
    codes: impl IntoIterator<Item = (u8, S)>,
) -> Paper {
    let codes = codes
        .into_iter()
        .map(|(slot, text)| (slot, text.clone()))
        .collect();
    Paper { id, codes }
}

/// Somebody else's codes, in another store: one for each slot.
fn stranger() -> Paper {
    let config = operations::config().with_set_size(SetSize::new(SetSize::MAX).unwrap());
    let codes = operations::backup_codes(MemoryRepository::new()).with_config(config);
    let stranger = subject("stranger", "staff");
    let own = Context::new(at(START), &stranger);
    let sheet = block_on(codes.issue(&stranger, &own)).unwrap().sheet;
    let system = Context::system(at(START));
    let code = block_on(codes.issue_override(&stranger, Duration::from_secs(60), &system)).unwrap();
    let mut paper = printed(sheet.id(), sheet.expose().codes());
    paper.codes.insert(0, code.expose().to_string());
    paper
}

/// A short name for what was done and what it came to.
fn name(deed: &Deed, outcome: &Outcome, before: &View) -> (String, String) {
    let deed = format!("{deed:?}");
    let deed = deed.split(['(', ' ']).next().unwrap().to_owned();
    let answer = match &outcome.answer {
        Answer::Refused {
            reason,
            notice: Some(owed),
            ..
        } => format!("{}+{:?}", reason.as_str(), owed.kind),
        Answer::Refused { reason, .. } => reason.as_str().to_owned(),
        Answer::Accepted { slot: 0, .. } | Answer::Valid(0) => {
            if before.disabled_at.is_some() {
                "Override/disabled"
            } else if before.locked_until.is_some() {
                "Override/locked"
            } else {
                "Override"
            }
        }
        .to_owned(),
        Answer::Accepted { level, reissue, .. } => format!("{level:?}+{reissue:?}"),
        Answer::Owed(owed) => format!("{:?}", owed.kind),
        Answer::Denied(denial) => Reason::from(*denial).as_str().to_owned(),
        Answer::NotACode(hint) => format!("{hint:?}"),
        Answer::Valid(_) => "Valid".to_owned(),
        Answer::Purged { trimmed, removed } => match (trimmed, removed) {
            (0, 0) => "Nothing",
            (_, 0) => "Trimmed",
            (0, _) => "Removed",
            _ => "Both",
        }
        .to_owned(),
        // A deed that nothing came of is told apart from one that was done.
        Answer::Done if outcome.stored.is_empty() => "Nothing".to_owned(),
        answer => format!("{answer:?}"),
    };
    (deed, answer)
}

fn event_name(told: &Told) -> String {
    match told.reason {
        Some(reason) => format!("{}/{}", told.kind.as_str(), reason.as_str()),
        None => told.kind.as_str().to_owned(),
    }
}

fn run(rules: Rules, steps: &[Step], reached: &RefCell<BTreeSet<(String, String)>>) {
    let mut world = World::new(&rules);
    let mut reference = Reference {
        rules,
        users: Default::default(),
    };
    let mut ids = BTreeSet::new();
    for step in steps {
        match step {
            Step::Wait { millis, refresh } => {
                world.now += millis;
                if *refresh {
                    world.refresh();
                    reference.rules.settings_read_at = world.now;
                }
            }
            Step::VoidOlder => {
                reference.rules.void_before = world.now;
                world.configure(&reference.rules);
            }
            Step::Do { user, who, what } => {
                let (deed, typed) = world.resolve(what, *user, &reference.users[*user]);
                let (context, actor) = world.context(*user, *who);
                let (mine, theirs) = (world.stored(*user), world.stored(1 - user));
                let new = world.papers.len();
                let answer = match world.perform(&deed, &typed, *user, &context) {
                    Ok(answer) => answer,
                    Err(Error::Denied(denial)) => Answer::Denied(denial),
                    Err(Error::Erased) => Answer::Erased,
                    Err(Error::OverrideLifetime { .. }) => Answer::OverrideLifetime,
                    Err(Error::ClockAhead { .. }) => Answer::ClockAhead,
                    Err(error) => panic!("{error}"),
                };
                let (stored, offered) = world.events();
                for event in stored.iter().chain(&offered) {
                    let anybody = matches!(deed, Deed::Purge | Deed::ForcePurge | Deed::Save(_));
                    let subject = (!anybody).then(|| world.users[*user].id().clone());
                    assert_eq!((event.at, &event.actor), (at(world.now), &actor));
                    assert_eq!(event.subject, subject);
                    assert!(ids.insert(event.id), "an id twice");
                }
                let told =
                    |events: &[Event]| events.iter().map(|event| world.told(event)).collect();
                let seen = Outcome {
                    answer,
                    stored: told(&stored),
                    offered: told(&offered),
                };
                let before = reference.users[*user].status(world.now, &reference.rules);
                let expected = reference.step(&deed, *who, *user, world.now, new);
                assert_eq!(seen, expected, "{who:?} {deed:?}");
                if !matches!(deed, Deed::Purge | Deed::ForcePurge) {
                    assert_eq!(world.stored(1 - user), theirs, "another user was touched");
                    let changed = !stored.is_empty() && !matches!(deed, Deed::Save(_));
                    assert_eq!(
                        world.stored(*user) != mine,
                        changed,
                        "written without an event"
                    );
                }
                let mut reached = reached.borrow_mut();
                reached.insert(name(&deed, &expected, &before));
                let told = expected.stored.iter().map(event_name);
                reached.extend(told.map(|told| ("stored".to_owned(), told)));
            }
        }
        let now = world.now;
        for (n, user) in reference.users.iter().enumerate() {
            assert_eq!(world.status(n), user.status(now, &reference.rules));
            if let Some(loaded) = world.stored(n) {
                let record = Record::from_json(&loaded.record).unwrap();
                assert_eq!(record.to_json(), loaded.record);
            }
        }
        let with_codes = || {
            reference
                .users
                .iter()
                .map(|user| user.status(now, &reference.rules))
                .filter(|view| view.paper.is_some())
        };
        let count = |at_most: u8| {
            with_codes()
                .filter(|view| view.remaining <= at_most)
                .count() as u64
        };
        let uses = reference.users.iter().map(|user| user.uses(now)).sum();
        assert_eq!(world.figures(), (count(SET_SIZE), count(3), count(0), uses));
    }
}

#[test]
fn the_operations_do_what_the_reference_says() {
    let reached = RefCell::default();
    // Always the same cases, so that what they reach cannot depend on luck.
    let config = ProptestConfig {
        cases: 1024,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&any_case(), |(rules, steps)| {
            run(rules, &steps.concat(), &reached);
            Ok(())
        })
        .unwrap();
    let reached = reached.into_inner();
    let promised: BTreeSet<(String, String)> = REACHED
        .iter()
        .flat_map(|(deed, answers)| {
            answers
                .split(' ')
                .map(|answer| (deed.to_string(), answer.to_owned()))
        })
        .collect();
    let not_reached: Vec<_> = promised.difference(&reached).collect();
    let not_listed: Vec<_> = reached.difference(&promised).collect();
    assert_eq!((not_reached, not_listed), (vec![], vec![]));
}
