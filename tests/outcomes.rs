//! Every outcome of every operation, in one table: what the caller is told, how many Argon2id
//! evaluations it cost, and which events it left, stored with the write or only offered to the
//! sink.
//!
//! A row ends in, for example, `refused used | 1 | stored redeem failure used of set`. An event is
//! written as where it went, kind, outcome, reason, which set it is about, codes left. Time, actor, address, agent, correlation id
//! and subject are the same for all events of a row, and compared with those of the context.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use backup_codes::audit::{Event, EventActor, EventId, EventKind, Reason};
use backup_codes::hash::{Cost, PoolSize};
use backup_codes::outcome::{NoticeKind, Refusal};
use backup_codes::policy::{Actor, OnRoleLoss, RolePolicy};
use backup_codes::repository::{CodeRepository, Freshness};
use backup_codes::rules::{generate, generate_override};
use backup_codes::{
    Activation, BackupCodes, Burn, Check, Config, Confirmation, Context, Effect, Error, Format,
    Formats, HashParams, Hashing, MemoryRepository, Notice, Periods, Redeem, Reports, RevokeReason,
    SavedSettings, SetId, SetSize, Settings, SettingsSaved, SharedSettings, Sheet, Subject, Switch,
    Timestamp, UsersQuery,
};
use getrandom::SysRng;
use pollster::block_on;
use support::checksum::sum_again;
use support::hashing::{cheap, keyring};
use support::moments::{since_start, start};
use support::people::{admin, alice, bob};
use support::records::rewrite;
use support::sheets::{code, wrong};
use support::sinks::Lossy;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn config() -> Config {
    let formats = Formats::new(Format::HIGH_ENTROPY).accepting(Format::CROCKFORD);
    Config::default().with_formats(formats.unwrap())
}

/// Those are costly.
fn one_standard_code() -> Config {
    let one = SetSize::new(1).unwrap();
    Config::default().with_set_size(one)
}

fn params() -> HashParams {
    params_of("a", 7)
}

fn params_of(id: &str, byte: u8) -> HashParams {
    cheap(keyring(id, byte))
}

/// A well-formed code that nobody was issued.
fn nobodys(format: Format, slot: usize) -> String {
    let codes = generate(format, SetSize::new(31).unwrap(), &mut SysRng).unwrap();
    codes[slot - 1].expose().to_string()
}

fn wrong_override() -> String {
    let code = generate_override(Format::HIGH_ENTROPY, &mut SysRng).unwrap();
    code.expose().to_string()
}

/// One user's codes, and the operation that is looked at. What comes before it happens at the
/// beginning, the operation ten minutes later if nothing else is said.
struct World {
    /// Lets the worker of `fill_the_pool` go on; dropped first.
    _release: Option<mpsc::Sender<()>>,
    waiting: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    codes: BackupCodes,
    store: MemoryRepository,
    audit: Lossy,
    hashing: Hashing,
    now: Duration,
    policy: Arc<dyn RolePolicy>,
    actor: Actor,
    /// The sets as they were before the operation: id and place.
    before: Vec<(String, &'static str)>,
    evaluations: u64,
    seen: usize,
}

impl World {
    fn new() -> Self {
        let (store, audit) = (MemoryRepository::new(), Lossy::new());
        let hashing = Hashing::inline(params());
        let policy: Arc<dyn RolePolicy> = Arc::new(Settings::default());
        let codes = BackupCodes::new(store.clone(), Arc::clone(&policy), hashing.clone())
            .with_audit(audit.clone())
            .with_config(config());
        Self {
            _release: None,
            waiting: Vec::new(),
            codes,
            store,
            audit,
            hashing,
            now: 10 * MINUTE,
            policy,
            actor: Actor::User(alice()),
            before: Vec::new(),
            evaluations: 0,
            seen: 0,
        }
    }

    /// As they are under the configuration of this moment.
    fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    fn under(&self, policy: impl RolePolicy + 'static) -> BackupCodes {
        BackupCodes::new(self.store.clone(), policy, self.hashing.clone())
            .with_audit(self.audit.clone())
            .with_config(self.codes.config().clone())
    }

    fn set_policy(&mut self, policy: impl RolePolicy + 'static) {
        self.policy = Arc::new(policy);
        self.codes = self.under(Arc::clone(&self.policy));
    }

    fn set_settings(&mut self, change: impl Fn(&mut Settings)) {
        let mut settings = Settings::default();
        change(&mut settings);
        self.set_policy(settings);
    }

    fn switch_off(&mut self) {
        self.set_settings(|settings| settings.set_switch(Switch::Off));
    }

    fn take_the_role(&mut self) {
        self.set_settings(|settings| {
            settings.permit_roles(["boss"]);
            settings.set_on_role_loss(OnRoleLoss::StopRedeeming);
        });
    }

    fn set_config(&mut self, config: Config) {
        self.codes = self.codes.clone().with_config(config);
    }

    /// What is there was prepared before the moment from which it counts.
    fn void(&mut self) {
        self.set_config(config().with_void_before(since_start(MINUTE)));
    }

    fn one_guess_disables(&mut self) {
        self.set_config(config().with_disable_after(1).unwrap());
    }

    fn unread(&mut self) {
        self.set_policy(SharedSettings::new(MINUTE));
    }

    fn by(&mut self, subject: Subject) {
        self.actor = Actor::User(subject);
    }

    fn issue(&self) -> Sheet {
        let cx = Context::new(start(), alice());
        block_on(self.codes.issue(&alice(), &cx)).unwrap().sheet
    }

    fn prepare(&self) -> Sheet {
        let cx = Context::new(start(), alice());
        block_on(self.codes.prepare(&alice(), &cx)).unwrap()
    }

    fn issue_override(&self) -> String {
        self.issue_override_at(Duration::ZERO)
    }

    fn issue_override_at(&self, now: Duration) -> String {
        let cx = Context::new(since_start(now), admin());
        let issued = block_on(self.codes.issue_override(&alice(), 60 * MINUTE, &cx));
        issued.unwrap().expose().to_string()
    }

    fn redeem(&self, typed: &str) {
        let cx = Context::new(start(), alice());
        let redeemed = block_on(self.codes.redeem(&alice(), typed, &cx)).unwrap();
        assert!(!matches!(redeemed, Redeem::NotACode(_)));
    }

    fn guess(&self, times: usize) {
        (0..times).for_each(|_| self.redeem(&wrong()));
    }

    /// All codes but so many are spent; the last of them.
    fn down_to(&self, left: u8) -> String {
        let sheet = self.issue();
        let size = u8::try_from(sheet.len()).unwrap();
        (1..=size - left).for_each(|slot| self.redeem(&code(&sheet, slot)));
        code(&sheet, size)
    }

    fn revoke(&self) {
        let cx = Context::new(start(), alice());
        let reason = RevokeReason::UserRequest;
        let revoked = block_on(self.codes.revoke_all(&alice(), reason, &cx));
        assert!(revoked.unwrap().is_some());
    }

    fn erase(&self) {
        let cx = Context::new(start(), alice());
        let effect = block_on(self.codes.erase(&alice(), &cx));
        assert_eq!(effect.unwrap(), Effect::Done);
    }

    /// Replaces the stored text as damage does: the checksums stay.
    fn tamper(&self, from: &str, to: &str) {
        rewrite(&self.store, |record| record.replace(from, to));
    }

    /// Replaces the stored text as an attacker does who can write to the database: the checksums
    /// are right.
    fn forge(&self, from: &str, to: &str) {
        rewrite(&self.store, |record| sum_again(&record.replace(from, to)));
    }

    fn damage_slot_3(&self) {
        self.tamper(
            "\"slot\":3,\"phc\":\"$argon2id",
            "\"slot\":3,\"phc\":\"junk",
        );
    }

    /// What is there was hashed with another key than this one.
    fn set_key(&mut self, id: &str, byte: u8) {
        self.set_params(params_of(id, byte));
    }

    fn set_params(&mut self, params: HashParams) {
        self.hashing = Hashing::inline(params);
        self.codes = self.under(Arc::clone(&self.policy));
    }

    /// From here on new codes are costlier than the default conditions accept.
    fn hash_costly_once(&mut self) {
        self.set_params(params().with_high_entropy_cost(Cost::new(65_536, 1).unwrap()));
        let one = SetSize::new(1).unwrap();
        self.set_config(config().with_set_size(one));
    }

    /// From here on there is a pool with one worker and room for one job, and both are taken.
    fn fill_the_pool(&mut self) {
        /// The worker calls it when it has an answer, and is held up here.
        struct HoldUp(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);
        impl Wake for HoldUp {
            fn wake(self: Arc<Self>) {
                let _ = self.0.send(());
                let _ = self.1.lock().unwrap().recv();
            }
        }
        let size = PoolSize::new(1, 1).unwrap();
        self.hashing = Hashing::pool_with(params(), size).unwrap();
        self.codes = self.under(Arc::clone(&self.policy));
        let (reached, has_reached) = mpsc::channel();
        let (release, held_up) = mpsc::channel();
        let waker = Waker::from(Arc::new(HoldUp(reached, Mutex::new(held_up))));
        let redeem = || -> Pin<Box<dyn Future<Output = ()>>> {
            let codes = self.codes.clone();
            Box::pin(async move {
                let cx = Context::new(start(), bob());
                let _ = codes.redeem(&bob(), &wrong(), &cx).await;
            })
        };
        // An answer that is there before the future waits for it holds nobody up: once more then.
        let occupying = (0..1000).find_map(|_| {
            let mut future = redeem();
            let mut context = TaskContext::from_waker(&waker);
            let pending = future.as_mut().poll(&mut context).is_pending();
            pending.then_some(future)
        });
        let occupying = occupying.unwrap();
        has_reached.recv().unwrap();
        let mut queued = redeem();
        let mut context = TaskContext::from_waker(Waker::noop());
        assert!(queued.as_mut().poll(&mut context).is_pending());
        self.waiting = vec![occupying, queued];
        self._release = Some(release);
    }

    fn cx(&self) -> Context {
        let now = since_start(self.now);
        let cx = match &self.actor {
            Actor::System => Context::system(now),
            Actor::User(user) => Context::new(now, user),
        };
        cx.with_address([203, 0, 113, 7])
            .with_user_agent("browser")
            .with_correlation("req-1")
    }

    /// What came before is not looked at.
    fn begin(&mut self) {
        let old: Vec<EventId> = self.stored().iter().map(|event| event.id).collect();
        block_on(self.store.acknowledge(&old)).unwrap();
        self.before = self.places();
        self.seen = self.audit.events().len();
        self.evaluations = self.hashing.evaluations();
    }

    fn stored(&self) -> Vec<Event> {
        block_on(self.store.undelivered(1000)).unwrap()
    }

    fn places(&self) -> Vec<(String, &'static str)> {
        let loaded = block_on(self.store.load(alice().id(), Freshness::Latest)).unwrap();
        let Some(loaded) = loaded else {
            return Vec::new();
        };
        let record: serde_json::Value = serde_json::from_str(&loaded.record).unwrap();
        [
            ("active", "set"),
            ("prepared", "prepared"),
            ("override", "override"),
        ]
        .into_iter()
        .filter_map(|(field, place)| Some((record[field]["id"].as_str()?.to_owned(), place)))
        .collect()
    }

    /// The events of the operation, as they are written in the table.
    fn events(&self) -> Vec<(String, Event)> {
        let (stored, seen) = (self.stored(), &self.audit.events()[self.seen..]);
        let after = self.places();
        for event in &stored {
            assert!(seen.contains(event), "stored and not handed on: {event:?}");
        }
        let place = |id: String| {
            let find = |places: &[(String, &'static str)]| {
                places.iter().find(|(set, _)| *set == id).map(|(_, p)| *p)
            };
            match (find(&self.before), find(&after)) {
                (Some(place), _) => place.to_owned(),
                (None, Some(place)) => format!("new {place}"),
                (None, None) => "no set of hers".to_owned(),
            }
        };
        let text = |event: &Event| {
            let mut text = if stored.contains(event) {
                "stored ".to_owned()
            } else {
                "offered ".to_owned()
            };
            text += event.kind.as_str();
            text += &format!(" {:?}", event.outcome).to_lowercase();
            if let Some(reason) = event.reason {
                text += &format!(" {}", reason.as_str());
            }
            if let Some(set) = event.set {
                text += &format!(" of {}", place(set.to_string()));
            }
            if let Some(left) = event.remaining {
                text += &format!(" leaving {left}");
            }
            match &event.subject {
                Some(user) if user == alice().id() => {}
                Some(user) => text += &format!(" for {user}"),
                None => text += " for nobody",
            }
            text
        };
        seen.iter().map(|e| (text(e), e.clone())).collect()
    }

    fn notice(&self, notice: Option<&Notice>) -> String {
        notice.map_or_else(String::new, |notice| {
            assert_eq!(
                (&notice.user, notice.at),
                (alice().id(), since_start(self.now))
            );
            format!(", notice {:?}", notice.kind)
        })
    }

    fn refused(&self, refusal: &Refusal) -> String {
        let notice = self.notice(refusal.notice());
        format!("refused {}{notice}", refusal.reason().as_str())
    }

    /// What an operation came to that is `Ok` or an error.
    fn told<T>(&self, result: Result<T, Error>, ok: impl Fn(T) -> String) -> String {
        match result {
            Ok(value) => ok(value),
            Err(Error::Denied(denial)) => format!("denied {}", Reason::from(denial).as_str()),
            Err(Error::Busy) => "busy".to_owned(),
            Err(Error::Erased) => "erased".to_owned(),
            Err(Error::OverrideLifetime { .. }) => "lifetime".to_owned(),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The three operations that compare a typed code with those of the record.
#[derive(Clone, Copy, PartialEq)]
enum Typing {
    Redeem,
    Check,
    Burn,
}

impl Typing {
    fn name(self) -> &'static str {
        match self {
            Self::Redeem => "redeem",
            Self::Check => "check",
            Self::Burn => "burn",
        }
    }

    fn run(self, w: &mut World, typed: &str) -> String {
        w.begin();
        let (user, cx, codes) = (alice(), w.cx(), w.codes.clone());
        match self {
            Self::Redeem => {
                w.told(
                    block_on(codes.redeem(&user, typed, &cx)),
                    |redeemed| match redeemed {
                        Redeem::Accepted(receipt) => {
                            let (slot, notice) = (receipt.slot(), w.notice(Some(receipt.notice())));
                            format!("accepted {slot}, {} left{notice}", receipt.remaining())
                        }
                        Redeem::Refused(refusal) => w.refused(&refusal),
                        Redeem::NotACode(_) => "not a code".to_owned(),
                    },
                )
            }
            Self::Check => w.told(
                block_on(codes.check(&user, typed, &cx)),
                |checked| match checked {
                    Check::Valid(slot) => format!("valid {slot}"),
                    Check::Refused(refusal) => w.refused(&refusal),
                    Check::NotACode(_) => "not a code".to_owned(),
                },
            ),
            Self::Burn => w.told(
                block_on(codes.burn(&user, typed, &cx)),
                |burned| match burned {
                    Burn::Done(notice) => format!("done{}", w.notice(notice.as_ref())),
                    Burn::Refused(refusal) => w.refused(&refusal),
                    Burn::NotACode(_) => "not a code".to_owned(),
                },
            ),
        }
    }
}

/// What is looked at, how it comes about, and what it comes to: answer, evaluations, events.
type Row<R = Run> = (&'static str, R, &'static str);
type Run = fn(&mut World) -> String;
type Prepared = fn(&mut World) -> Sheet;
type Typed = fn(&mut World, &Sheet) -> String;

/// What a typed code comes to that is not right. The setting says what is typed; `{}` is the
/// operation.
#[rustfmt::skip]
const REFUSED: &[Row] = &[
    ("no record", |_| wrong(), "refused no_codes | 1 | offered {} failure no_codes"),
    ("no codes", |w| { let sheet = w.issue(); w.revoke(); code(&sheet, 1) },
        "refused no_codes | 1 | offered {} failure no_codes"),
    ("erased", |w| { let sheet = w.issue(); w.erase(); code(&sheet, 1) },
        "refused no_codes | 1 | offered {} failure no_codes"),
    ("wrong", |w| { let _ = w.issue(); wrong() },
        "refused wrong | 1 | stored {} failure wrong of set"),
    ("empty slot", |w| { let _ = w.issue(); nobodys(Format::HIGH_ENTROPY, 31) },
        "refused wrong | 1 | stored {} failure wrong of set"),
    ("another accepted format", |w| { let _ = w.issue(); nobodys(Format::CROCKFORD, 1) },
        "refused wrong | 1 | stored {} failure wrong of set"),
    ("of a set not yet active", |w| { let _ = w.issue(); code(&w.prepare(), 1) },
        "refused wrong | 1 | stored {} failure wrong of set"),
    ("of the set before", |w| { let sheet = w.issue(); let _ = w.issue(); code(&sheet, 1) },
        "refused wrong | 1 | stored {} failure wrong of set"),
    ("used", |w| { let typed = code(&w.issue(), 1); w.redeem(&typed); typed },
        "refused used | 1 | stored {} failure used of set"),
    ("burned", |w| { let typed = code(&w.issue(), 1); Typing::Burn.run(w, &typed); typed },
        "refused burned | 1 | stored {} failure burned of set"),
    ("void", |w| { let sheet = w.issue(); w.void(); code(&sheet, 1) },
        "refused void | 1 | offered {} failure void of set"),
    ("expired", |w| {
        w.set_config(config().with_set_lifetime(DAY).unwrap());
        w.now = DAY;
        code(&w.issue(), 1)
    }, "refused expired | 1 | offered {} failure expired of set"),
    ("damaged slot", |w| { let sheet = w.issue(); w.damage_slot_3(); code(&sheet, 3) },
        "refused malformed | 1 | offered {} failure malformed of set"),
    ("slot without a number", |w| {
        let sheet = w.issue();
        w.tamper("\"slot\":3,", "\"slot\":\"x\",");
        code(&sheet, 3)
    }, "refused malformed | 1 | offered {} failure malformed of set"),
    ("a slot that is missing while another is damaged", |w| {
        let _ = w.issue();
        w.damage_slot_3();
        nobodys(Format::HIGH_ENTROPY, 31)
    }, "refused malformed | 1 | offered {} failure malformed of set"),
    ("of a format not accepted any more", |w| {
        let _ = w.issue();
        w.set_config(Config::default());
        nobodys(Format::CROCKFORD, 1)
    }, "refused format_not_accepted | 1 | offered {} failure format_not_accepted of set"),
    ("unknown key", |w| { let sheet = w.issue(); w.set_key("b", 7); code(&sheet, 1) },
        "refused unknown_key | 1 | offered {} failure unknown_key of set"),
    ("wrong code under an unknown key", |w| { let _ = w.issue(); w.set_key("b", 7); wrong() },
        "refused unknown_key | 1 | offered {} failure unknown_key of set"),
    ("other bytes under the id of the key", |w| {
        let sheet = w.issue();
        w.set_key("a", 8);
        code(&sheet, 1)
    }, "refused key_mismatch | 1 | offered {} failure key_mismatch of set"),
    ("cost over the ceiling", |w| {
        w.hash_costly_once();
        let sheet = w.issue();
        w.set_params(params());
        code(&sheet, 1)
    }, "refused cost_above_ceiling | 1 | offered {} failure cost_above_ceiling of set"),
    ("cost under the floor", |w| {
        w.set_config(one_standard_code());
        let sheet = w.issue();
        w.forge("m=19456,t=2", "m=8,t=1");
        code(&sheet, 1)
    }, "refused cost_below_floor | 1 | offered {} failure cost_below_floor of set"),
    ("the tenth wrong code", |w| { let _ = w.issue(); w.guess(9); wrong() },
        "refused wrong, notice Locked | 1 | stored {} failure wrong of set; \
         stored lock success too_many_wrong of set"),
    ("the last wrong code", |w| { w.one_guess_disables(); let _ = w.issue(); wrong() },
        "refused wrong, notice Disabled | 1 | stored {} failure wrong of set; \
         stored disable success too_many_wrong of set"),
    ("locked", |w| { let sheet = w.issue(); w.guess(10); code(&sheet, 1) },
        "refused locked | 0 | offered {} failure locked"),
    ("disabled", |w| {
        w.one_guess_disables();
        let sheet = w.issue();
        w.guess(1);
        code(&sheet, 1)
    }, "refused disabled | 0 | offered {} failure disabled"),
    ("wrong override", |w| { let _ = w.issue(); w.issue_override(); wrong_override() },
        "refused wrong | 1 | stored {} failure wrong of override"),
    ("override in another accepted format", |w| {
        w.issue_override();
        let code = generate_override(Format::CROCKFORD, &mut SysRng).unwrap();
        code.expose().to_string()
    }, "refused wrong | 1 | stored {} failure wrong of override"),
    ("the tenth wrong override", |w| {
        w.issue_override();
        (0..9).for_each(|_| w.redeem(&wrong_override()));
        wrong_override()
    }, "refused wrong | 1 | stored {} failure wrong of override; \
        stored revoke_override success too_many_wrong of override"),
    ("used override", |w| { let typed = w.issue_override(); w.redeem(&typed); typed },
        "refused no_override | 1 | offered {} failure no_override of override"),
    ("wrong override where one is used", |w| {
        let typed = w.issue_override();
        w.redeem(&typed);
        wrong_override()
    }, "refused no_override | 1 | offered {} failure no_override of override"),
    ("used override while locked", |w| {
        let _ = w.issue();
        let typed = w.issue_override();
        w.redeem(&typed);
        w.guess(10);
        typed
    }, "refused locked | 0 | offered {} failure locked"),
    ("expired override", |w| { w.now = 60 * MINUTE; w.issue_override() },
        "refused expired | 1 | offered {} failure expired of override"),
    ("void override", |w| { let typed = w.issue_override(); w.void(); typed },
        "refused void | 1 | offered {} failure void of override"),
    ("revoked override", |w| {
        let _ = w.issue();
        let typed = w.issue_override();
        let cx = Context::new(start(), admin());
        let effect = block_on(w.codes.revoke_override(&alice(), &cx));
        assert_eq!(effect.unwrap(), Effect::Done);
        typed
    }, "refused no_override | 1 | offered {} failure no_override"),
    ("override where none was issued", |w| { let _ = w.issue(); wrong_override() },
        "refused no_override | 1 | offered {} failure no_override"),
    ("override without any codes", |_| wrong_override(),
        "refused no_override | 1 | offered {} failure no_override"),
    ("damaged override", |w| {
        let typed = w.issue_override();
        w.tamper("$argon2id", "$junk");
        typed
    }, "refused malformed | 1 | offered {} failure malformed"),
    ("override of an unknown key", |w| {
        let typed = w.issue_override();
        w.set_key("b", 7);
        typed
    }, "refused unknown_key | 1 | offered {} failure unknown_key of override"),
    ("not the shape of a code", |w| { let _ = w.issue(); "123456".to_owned() },
        "not a code | 0 | offered {} failure not_a_code_shape"),
    ("over-long", |w| { let _ = w.issue(); "x".repeat(10_000) },
        "not a code | 0 | offered {} failure not_a_code_shape"),
    ("typing error", |w| {
        let mut typed = code(&w.issue(), 1);
        let last = typed.pop().unwrap();
        typed.push(if last == '0' { '1' } else { '0' });
        typed
    }, "not a code | 0 | offered {} failure not_a_code_typo"),
    ("letters of another script", |w| code(&w.issue(), 1).replacen('1', "Ж", 1),
        "not a code | 0 | offered {} failure not_a_code_other_script"),
    ("a format that is not accepted", |w| { let _ = w.issue(); nobodys(Format::DIGITS, 1) },
        "not a code | 0 | offered {} failure not_a_code_other_format"),
    ("by somebody else", |w| { w.by(admin()); code(&w.issue(), 1) },
        "refused only_own | 0 | offered {} failure only_own"),
    ("by the application", |w| { w.actor = Actor::System; code(&w.issue(), 1) },
        "refused only_own | 0 | offered {} failure only_own"),
    ("settings not read", |w| { let typed = code(&w.issue(), 1); w.unread(); typed },
        "refused settings_unreadable | 0 | offered {} failure settings_unreadable"),
    ("no room in the pool", |w| { let typed = code(&w.issue(), 1); w.fill_the_pool(); typed },
        "busy | 0 | offered {} failure busy"),
];

/// Of these burning tells nothing.
const UNTOLD: [&str; 5] = ["wrong", "used", "burned", "no_codes", "no_override"];

/// What a typed code comes to that is right, or that only the role policy refuses.
#[rustfmt::skip]
const RIGHT: &[(Typing, Row)] = {
    use Typing::{Burn, Check, Redeem};
    &[
        (Redeem, ("right", |w| code(&w.issue(), 1),
            "accepted 1, 9 left, notice Used | 1 | stored redeem success of set leaving 9")),
        (Redeem, ("down to the low threshold", |w| w.down_to(4),
            "accepted 10, 3 left, notice Used | 1 | stored redeem success of set leaving 3; \
             stored low success of set leaving 3")),
        (Redeem, ("below it", |w| w.down_to(3),
            "accepted 10, 2 left, notice Used | 1 | stored redeem success of set leaving 2")),
        (Redeem, ("the last one", |w| w.down_to(1),
            "accepted 10, 0 left, notice Used | 1 | stored redeem success of set leaving 0; \
             stored exhausted success of set leaving 0")),
        (Redeem, ("override", |w| { let _ = w.issue(); w.issue_override() },
            "accepted 0, 10 left, notice OverrideUsed | 1 | \
             stored redeem success override of override leaving 10")),
        (Redeem, ("override while locked", |w| {
            let _ = w.issue();
            w.guess(10);
            w.issue_override()
        }, "accepted 0, 10 left, notice OverrideUsed | 1 | \
            stored redeem success override of override leaving 10")),
        (Redeem, ("override while disabled", |w| {
            w.one_guess_disables();
            let _ = w.issue();
            w.guess(1);
            w.issue_override()
        }, "accepted 0, 10 left, notice OverrideUsed | 1 | \
            stored redeem success override of override leaving 10")),
        (Redeem, ("override without a set", |w| w.issue_override(),
            "accepted 0, 0 left, notice OverrideUsed | 1 | \
             stored redeem success override of override leaving 0")),
        (Check, ("right", |w| code(&w.issue(), 1),
            "valid 1 | 1 | stored check success of set leaving 10")),
        (Check, ("the last one", |w| w.down_to(1),
            "valid 10 | 1 | stored check success of set leaving 1")),
        (Check, ("override", |w| w.issue_override(),
            "valid 0 | 1 | stored check success override of override leaving 0")),
        (Burn, ("right", |w| code(&w.issue(), 1),
            "done | 1 | stored burn success of set leaving 9")),
        (Burn, ("down to the low threshold", |w| w.down_to(4),
            "done | 1 | stored burn success of set leaving 3; stored low success of set leaving 3")),
        (Burn, ("the last one", |w| w.down_to(1),
            "done | 1 | stored burn success of set leaving 0; \
             stored exhausted success of set leaving 0")),
        (Burn, ("override", |w| { let _ = w.issue(); w.issue_override() },
            "done | 1 | stored burn success override of override leaving 10; \
             stored revoke_override success burned of override")),
        (Burn, ("override that was used before it expired", |w| {
            let typed = w.issue_override();
            w.redeem(&typed);
            w.now = 60 * MINUTE;
            typed
        }, "done | 1 | offered burn failure expired of override")),
        (Burn, ("override of a clock that was ahead", |w| w.issue_override_at(20 * MINUTE),
            "refused no_override | 1 | offered burn failure no_override of override")),
        (Redeem, ("switched off", |w| { let typed = code(&w.issue(), 1); w.switch_off(); typed },
            "refused switched_off | 0 | offered redeem failure switched_off")),
        (Check, ("switched off", |w| { let typed = code(&w.issue(), 1); w.switch_off(); typed },
            "refused switched_off | 0 | offered check failure switched_off")),
        (Burn, ("switched off", |w| { let typed = code(&w.issue(), 1); w.switch_off(); typed },
            "done | 1 | stored burn success of set leaving 9")),
        (Redeem, ("role lost", |w| { let typed = code(&w.issue(), 1); w.take_the_role(); typed },
            "refused role_not_permitted | 0 | offered redeem failure role_not_permitted")),
        (Check, ("role lost", |w| { let typed = code(&w.issue(), 1); w.take_the_role(); typed },
            "refused role_not_permitted | 0 | offered check failure role_not_permitted")),
        (Burn, ("role lost", |w| { let typed = code(&w.issue(), 1); w.take_the_role(); typed },
            "done | 1 | stored burn success of set leaving 9")),
    ]
};

fn prepare(w: &mut World) -> String {
    w.begin();
    let prepared = block_on(w.codes.prepare(&alice(), &w.cx()));
    w.told(prepared, |sheet| format!("{} codes", sheet.len()))
}

fn issue(w: &mut World) -> String {
    w.begin();
    let issued = block_on(w.codes.issue(&alice(), &w.cx()));
    w.told(issued, |issued| match issued.confirmation {
        Confirmation::Confirmed(notice) => {
            format!("{} codes{}", issued.sheet.len(), w.notice(Some(&notice)))
        }
        Confirmation::Unconfirmed => "unconfirmed".to_owned(),
    })
}

fn issue_override(w: &mut World, subject: &Subject, lifetime: Duration) -> String {
    w.begin();
    let issued = block_on(w.codes.issue_override(subject, lifetime, &w.cx()));
    w.told(issued, |over| {
        format!("a code{}", w.notice(Some(over.notice())))
    })
}

fn override_by_admin(w: &mut World) -> String {
    w.by(admin());
    issue_override(w, &alice(), 60 * MINUTE)
}

/// New sets cost an evaluation for each of their ten codes, an override one.
#[rustfmt::skip]
const ISSUING: &[Row] = &[
    ("prepare", prepare, "10 codes | 10 | stored prepare success of new prepared leaving 10"),
    ("prepare: one is prepared already", |w| { let _ = w.prepare(); prepare(w) },
        "10 codes | 10 | stored discard success replaced of prepared; \
         stored prepare success of new prepared leaving 10"),
    ("prepare: one that was prepared is too old", |w| {
        let _ = w.prepare();
        w.now = 60 * MINUTE;
        prepare(w)
    }, "10 codes | 10 | stored discard success replaced of prepared; \
         stored prepare success of new prepared leaving 10"),
    ("prepare: erased", |w| { w.erase(); prepare(w) }, "erased | 0 | "),
    ("prepare: switched off", |w| { w.switch_off(); prepare(w) },
        "denied switched_off | 0 | offered prepare failure switched_off"),
    ("prepare: role lost", |w| { w.take_the_role(); prepare(w) },
        "denied role_not_permitted | 0 | offered prepare failure role_not_permitted"),
    ("prepare: by somebody else", |w| { w.by(admin()); prepare(w) },
        "denied only_own | 0 | offered prepare failure only_own"),
    ("prepare: settings not read", |w| { w.unread(); prepare(w) },
        "denied settings_unreadable | 0 | offered prepare failure settings_unreadable"),
    ("prepare: no room in the pool", |w| { w.fill_the_pool(); prepare(w) },
        "busy | 0 | offered prepare failure busy"),
    ("issue", issue, "10 codes, notice Issued | 10 | \
        stored prepare success of new set leaving 10; \
        stored activate success of new set leaving 10"),
    ("issue: in place of everything there is", |w| {
        let (_, _) = (w.issue(), w.prepare());
        w.issue_override();
        issue(w)
    }, "10 codes, notice Replaced | 10 | stored prepare success of new set leaving 10; \
        stored activate success replaced of new set leaving 10; \
        stored discard success replaced of prepared; \
        stored revoke_override success replaced of override"),
    ("issue: erased", |w| { w.erase(); issue(w) }, "erased | 0 | "),
    ("issue: switched off", |w| { w.switch_off(); issue(w) },
        "denied switched_off | 0 | offered activate failure switched_off"),
    ("issue: by somebody else", |w| { w.by(admin()); issue(w) },
        "denied only_own | 0 | offered activate failure only_own"),
    ("issue: no room in the pool", |w| { w.fill_the_pool(); issue(w) },
        "busy | 0 | offered prepare failure busy"),
    ("issue_override", override_by_admin, "a code, notice OverrideIssued | 1 | \
        stored issue_override success of new override"),
    ("issue_override: in place of an unused one", |w| {
        w.issue_override();
        override_by_admin(w)
    }, "a code, notice OverrideIssued | 1 | \
        stored revoke_override success replaced of override; \
        stored issue_override success of new override"),
    ("issue_override: in place of a damaged one", |w| {
        w.issue_override();
        w.tamper("$argon2id", "$junk");
        override_by_admin(w)
    }, "a code, notice OverrideIssued | 1 | stored revoke_override success replaced; \
        stored issue_override success of new override"),
    ("issue: in place of a damaged override", |w| {
        w.issue_override();
        w.tamper("$argon2id", "$junk");
        issue(w)
    }, "10 codes, notice Issued | 10 | stored prepare success of new set leaving 10; \
        stored activate success of new set leaving 10; stored revoke_override success replaced"),
    ("issue_override: in place of a used one", |w| {
        let typed = w.issue_override();
        w.redeem(&typed);
        override_by_admin(w)
    }, "a code, notice OverrideIssued | 1 | stored issue_override success of new override"),
    ("issue_override: in place of an expired one", |w| {
        w.issue_override();
        w.now = 60 * MINUTE;
        override_by_admin(w)
    }, "a code, notice OverrideIssued | 1 | \
        stored revoke_override success replaced of override; \
        stored issue_override success of new override"),
    ("issue_override: erased", |w| { w.erase(); override_by_admin(w) }, "erased | 0 | "),
    ("issue_override: for too long", |w| {
        w.by(admin());
        issue_override(w, &alice(), 2 * DAY)
    }, "lifetime | 0 | "),
    ("issue_override: for oneself", |w| {
        w.by(admin());
        issue_override(w, &admin(), 60 * MINUTE)
    }, "denied not_oneself | 0 | offered issue_override failure not_oneself for root"),
    ("issue_override: without the role", |w| {
        w.by(bob());
        issue_override(w, &alice(), 60 * MINUTE)
    }, "denied not_administrator | 0 | offered issue_override failure not_administrator"),
    ("issue_override: switched off", |w| { w.switch_off(); override_by_admin(w) },
        "denied switched_off | 0 | offered issue_override failure switched_off"),
    ("issue_override: no room in the pool", |w| { w.fill_the_pool(); override_by_admin(w) },
        "busy | 0 | offered issue_override failure busy"),
];

fn activate(w: &mut World, set: SetId, typed: Option<&str>) -> String {
    w.begin();
    let (user, cx) = (alice(), w.cx());
    let activated = match typed {
        Some(typed) => block_on(w.codes.activate_confirmed(&user, set, typed, &cx)),
        None => block_on(w.codes.activate(&user, set, &cx)),
    };
    w.told(activated, |activated| match activated {
        Activation::Activated(notice) => format!("activated{}", w.notice(Some(&notice))),
        Activation::AlreadyActive => "already active".to_owned(),
        Activation::NoSuchSet => "no such set".to_owned(),
        Activation::WrongConfirmation => "wrong confirmation".to_owned(),
        Activation::NotACode(_) => "not a code".to_owned(),
    })
}

/// Activating this sheet; with a right confirmation it comes to the same. The evaluations are
/// those of the confirmation.
#[rustfmt::skip]
const ACTIVATING: &[Row<Prepared>] = &[
    ("the first", |w| w.prepare(), "activated, notice Issued | 1 | \
        stored activate success of prepared leaving 10"),
    ("in place of another, and of an override", |w| {
        let _ = w.issue();
        w.issue_override();
        w.prepare()
    }, "activated, notice Replaced | 1 | \
        stored activate success replaced of prepared leaving 10; \
        stored revoke_override success replaced of override"),
    ("while locked", |w| { let _ = w.issue(); w.guess(10); w.prepare() },
        "activated, notice Replaced | 1 | stored activate success replaced of prepared leaving 10"),
    ("active already", |w| w.issue(), "already active | 0 | "),
    ("pushed aside", |w| { let sheet = w.prepare(); let _ = w.prepare(); sheet },
        "no such set | 0 | offered activate failure no_such_set of no set of hers"),
    ("too old", |w| { w.now = 60 * MINUTE; w.prepare() },
        "no such set | 0 | offered activate failure no_such_set of prepared"),
    ("under a key that is not known any more", |w| {
        let sheet = w.prepare();
        w.set_key("b", 7);
        sheet
    }, "no such set | 0 | offered activate failure no_such_set of prepared"),
    ("void", |w| { let sheet = w.prepare(); w.void(); sheet },
        "no such set | 0 | offered activate failure no_such_set of prepared"),
    ("erased", |w| { let sheet = w.prepare(); w.erase(); sheet },
        "no such set | 0 | offered activate failure no_such_set of no set of hers"),
    ("switched off", |w| { let sheet = w.prepare(); w.switch_off(); sheet },
        "denied switched_off | 0 | offered activate failure switched_off"),
    ("role lost", |w| { let sheet = w.prepare(); w.take_the_role(); sheet },
        "denied role_not_permitted | 0 | offered activate failure role_not_permitted"),
    ("by somebody else", |w| { w.by(admin()); w.prepare() },
        "denied only_own | 0 | offered activate failure only_own"),
];

/// Activating a prepared set with this confirmation.
#[rustfmt::skip]
const CONFIRMING: &[Row<Typed>] = &[
    ("wrong", |_, _| wrong(),
        "wrong confirmation | 1 | offered activate failure wrong of prepared"),
    ("empty slot", |_, _| nobodys(Format::HIGH_ENTROPY, 31),
        "wrong confirmation | 1 | offered activate failure wrong of prepared"),
    ("another accepted format", |_, _| nobodys(Format::CROCKFORD, 1),
        "wrong confirmation | 1 | offered activate failure wrong of prepared"),
    ("an override", |w, _| w.issue_override(),
        "wrong confirmation | 1 | offered activate failure wrong of prepared"),
    ("damaged slot", |w, sheet| { w.damage_slot_3(); code(sheet, 3) },
        "wrong confirmation | 1 | offered activate failure malformed of prepared"),
    ("not the shape of a code", |_, _| "x".to_owned(),
        "not a code | 0 | offered activate failure not_a_code_shape"),
    ("no room in the pool", |w, sheet| { w.fill_the_pool(); code(sheet, 1) },
        "busy | 0 | offered activate failure busy"),
];

fn revoke_all(w: &mut World, reason: RevokeReason) -> String {
    w.begin();
    let revoked = block_on(w.codes.revoke_all(&alice(), reason, &w.cx()));
    w.told(revoked, |notice| match notice {
        Some(notice) => format!("done{}", w.notice(Some(&notice))),
        None => "nothing".to_owned(),
    })
}

/// An operation that hashes nothing and tells no more than that it is done.
fn act<T>(w: &mut World, run: impl Fn(&BackupCodes, &Context) -> Result<T, Error>) -> String {
    w.begin();
    w.told(run(&w.codes, &w.cx()), |_| "done".to_owned())
}

/// An operation that may find nothing to do.
fn try_to(w: &mut World, run: impl Fn(&BackupCodes, &Context) -> Result<Effect, Error>) -> String {
    w.begin();
    w.told(run(&w.codes, &w.cx()), |effect| match effect {
        Effect::Done => "done".to_owned(),
        Effect::Nothing => "nothing".to_owned(),
    })
}

fn revoke_override(w: &mut World) -> String {
    try_to(w, |codes, cx| block_on(codes.revoke_override(&alice(), cx)))
}

fn discard(w: &mut World, set: SetId) -> String {
    try_to(w, |codes, cx| block_on(codes.discard(&alice(), set, cx)))
}

fn unlock(w: &mut World) -> String {
    try_to(w, |codes, cx| block_on(codes.unlock(&alice(), cx)))
}

fn erase(w: &mut World) -> String {
    try_to(w, |codes, cx| block_on(codes.erase(&alice(), cx)))
}

fn status(w: &mut World) -> String {
    act(w, |codes, cx| block_on(codes.status(&alice(), cx)))
}

fn users(w: &mut World) -> String {
    let query = |cx: &Context| UsersQuery::new(cx.now());
    let reports = w.reports();
    act(w, |_, cx| block_on(reports.users(query(cx), cx)))
}

fn usage(w: &mut World) -> String {
    let (from, to) = (start(), since_start(DAY));
    let midnight = |at: Timestamp| {
        let millis = at.unix_millis() / 86_400_000 * 86_400_000;
        Timestamp::from_unix_millis(millis).unwrap()
    };
    let day = midnight(from)..midnight(to);
    let periods = Periods::new(day.clone(), day, &[midnight(from), midnight(to)]).unwrap();
    let reports = w.reports();
    act(w, |_, cx| block_on(reports.usage(periods.clone(), cx)))
}

fn schemes(w: &mut World) -> String {
    let reports = w.reports();
    act(w, |_, cx| block_on(reports.schemes(cx)))
}

fn purge(w: &mut World) -> String {
    let reports = w.reports();
    act(w, |_, cx| block_on(reports.purge(cx)))
}

/// Saves settings; with somebody else who is faster, or not.
fn save_settings(w: &mut World, faster: Option<&Subject>) -> String {
    let (shared, now) = (SharedSettings::new(DAY), since_start(w.now));
    let site = SavedSettings::new(&w.under(shared.clone()), w.store.clone(), &shared);
    block_on(site.refresh(now)).unwrap();
    let draft = site.edit().unwrap();
    if let Some(faster) = faster {
        let cx = Context::new(now, faster);
        let saved = block_on(site.save(draft.clone(), &cx)).unwrap();
        assert_eq!(saved, SettingsSaved::Saved);
    }
    w.begin();
    let saved = block_on(site.save(draft, &w.cx()));
    w.told(saved, |saved| match saved {
        SettingsSaved::Saved => "saved".to_owned(),
        SettingsSaved::Conflict(_) => "overtaken".to_owned(),
    })
}

#[rustfmt::skip]
const OTHERS: &[Row] = &[
    ("revoke_all", |w| { let _ = w.issue(); revoke_all(w, RevokeReason::UserRequest) },
        "done, notice Revoked | 0 | stored revoke success user_request of set leaving 0"),
    ("revoke_all: by the application", |w| {
        let _ = w.issue();
        w.actor = Actor::System;
        revoke_all(w, RevokeReason::FactorRemoved)
    }, "done, notice Revoked | 0 | stored revoke success factor_removed of set leaving 0"),
    ("revoke_all: compromised", |w| { let _ = w.issue(); revoke_all(w, RevokeReason::Compromised) },
        "done, notice Revoked | 0 | stored revoke success compromised of set leaving 0"),
    ("revoke_all: by an administrator", |w| {
        let _ = w.issue();
        w.by(admin());
        revoke_all(w, RevokeReason::Administrative)
    }, "done, notice Revoked | 0 | stored revoke success administrative of set leaving 0"),
    ("revoke_all: an override and a prepared set", |w| {
        w.issue_override();
        let _ = w.prepare();
        revoke_all(w, RevokeReason::UserRequest)
    }, "done, notice Revoked | 0 | stored revoke success user_request leaving 0"),
    ("revoke_all: nothing", |w| revoke_all(w, RevokeReason::UserRequest), "nothing | 0 | "),
    ("revoke_all: a used override alone", |w| {
        let typed = w.issue_override();
        w.redeem(&typed);
        revoke_all(w, RevokeReason::UserRequest)
    }, "nothing | 0 | "),
    ("revoke_all: an expired override", |w| {
        w.issue_override();
        w.now = 60 * MINUTE;
        revoke_all(w, RevokeReason::UserRequest)
    }, "done, notice Revoked | 0 | stored revoke success user_request leaving 0"),
    ("revoke_all: denied", |w| { w.by(bob()); revoke_all(w, RevokeReason::UserRequest) },
        "denied not_administrator | 0 | offered revoke failure not_administrator"),
    ("revoke_override", |w| { w.issue_override(); revoke_override(w) },
        "done | 0 | stored revoke_override success of override"),
    ("revoke_override: damaged", |w| {
        w.issue_override();
        w.tamper("$argon2id", "$junk");
        revoke_override(w)
    }, "done | 0 | stored revoke_override success"),
    ("revoke_override: nothing", revoke_override, "nothing | 0 | "),
    ("revoke_override: used", |w| {
        let typed = w.issue_override();
        w.redeem(&typed);
        revoke_override(w)
    }, "nothing | 0 | "),
    ("revoke_override: expired", |w| {
        w.issue_override();
        w.now = 60 * MINUTE;
        revoke_override(w)
    }, "done | 0 | stored revoke_override success of override"),
    ("revoke_override: of a key that is missing", |w| {
        w.issue_override();
        w.set_key("b", 7);
        revoke_override(w)
    }, "done | 0 | stored revoke_override success of override"),
    ("revoke_override: denied", |w| { w.by(bob()); revoke_override(w) },
        "denied not_administrator | 0 | offered revoke_override failure not_administrator"),
    ("discard", |w| { let set = w.prepare().id(); discard(w, set) },
        "done | 0 | stored discard success of prepared"),
    ("discard: nothing", |w| discard(w, SetId::from_bytes([9; 16])), "nothing | 0 | "),
    ("discard: active already", |w| { let set = w.issue().id(); discard(w, set) },
        "nothing | 0 | "),
    ("discard: too old", |w| {
        let set = w.prepare().id();
        w.now = 60 * MINUTE;
        discard(w, set)
    }, "done | 0 | stored discard success of prepared"),
    ("discard: of a key that is missing", |w| {
        let set = w.prepare().id();
        w.set_key("b", 7);
        discard(w, set)
    }, "done | 0 | stored discard success of prepared"),
    ("discard: denied", |w| { w.by(bob()); let set = w.prepare().id(); discard(w, set) },
        "denied only_own | 0 | offered discard failure only_own"),
    ("unlock", |w| { let _ = w.issue(); w.guess(1); w.by(admin()); unlock(w) },
        "done | 0 | stored unlock success"),
    ("unlock: nothing", |w| { w.by(admin()); unlock(w) }, "nothing | 0 | "),
    ("unlock: oneself", unlock, "denied not_oneself | 0 | offered unlock failure not_oneself"),
    ("unlock: denied", |w| { w.by(bob()); unlock(w) },
        "denied not_administrator | 0 | offered unlock failure not_administrator"),
    ("erase", |w| { let _ = w.issue(); erase(w) }, "done | 0 | stored erase success"),
    ("erase: erased", |w| { w.erase(); erase(w) }, "nothing | 0 | "),
    ("erase: denied", |w| { w.by(bob()); erase(w) },
        "denied not_administrator | 0 | offered erase failure not_administrator"),
    ("status", |w| { let _ = w.issue(); status(w) }, "done | 0 | "),
    ("status: denied", |w| { w.by(bob()); status(w) },
        "denied not_administrator | 0 | offered read_status failure not_administrator"),
    ("users", |w| { w.by(admin()); users(w) }, "done | 0 | "),
    ("users: denied", users,
        "denied not_administrator | 0 | offered read_reports failure not_administrator for nobody"),
    ("usage", |w| { w.by(admin()); usage(w) }, "done | 0 | "),
    ("usage: denied", usage,
        "denied not_administrator | 0 | offered read_reports failure not_administrator for nobody"),
    ("schemes", |w| { w.by(admin()); schemes(w) }, "done | 0 | "),
    ("schemes: denied", schemes,
        "denied not_administrator | 0 | offered read_reports failure not_administrator for nobody"),
    ("purge", |w| { w.by(admin()); purge(w) }, "done | 0 | "),
    ("purge: denied", purge,
        "denied not_administrator | 0 | offered erase failure not_administrator for nobody"),
    ("save_settings", |w| { w.by(admin()); save_settings(w, None) },
        "saved | 0 | stored save_settings success for nobody"),
    ("save_settings: overtaken", |w| { w.by(admin()); save_settings(w, Some(&admin())) },
        "overtaken | 0 | "),
    ("save_settings: denied", |w| save_settings(w, None),
        "denied not_administrator | 0 | offered save_settings failure not_administrator for nobody"),
];

type AnyRow = (String, Box<dyn Fn(&mut World) -> String>, String);

/// All rows of all tables.
fn rows() -> Vec<AnyRow> {
    let mut rows: Vec<AnyRow> = Vec::new();
    for typing in [Typing::Redeem, Typing::Check, Typing::Burn] {
        for &(what, setting, expected) in REFUSED {
            let mut expected = expected.replace("{}", typing.name());
            let untold = |reason: &&str| expected.starts_with(&format!("refused {reason}"));
            if let Some(reason) = UNTOLD
                .iter()
                .find(|reason| typing == Typing::Burn && untold(reason))
            {
                expected = expected.replacen(&format!("refused {reason}"), "done", 1);
            }
            let run = move |w: &mut World| {
                let typed = setting(w);
                typing.run(w, &typed)
            };
            rows.push((
                format!("{}: {what}", typing.name()),
                Box::new(run),
                expected,
            ));
        }
    }
    for &(typing, (what, setting, expected)) in RIGHT {
        let run = move |w: &mut World| {
            let typed = setting(w);
            typing.run(w, &typed)
        };
        let what = format!("{}: {what}", typing.name());
        rows.push((what, Box::new(run), expected.to_owned()));
    }
    for &(what, setting, expected) in ACTIVATING {
        let plain = move |w: &mut World| {
            let set = setting(w).id();
            activate(w, set, None)
        };
        let confirmed = move |w: &mut World| {
            let sheet = setting(w);
            activate(w, sheet.id(), Some(&code(&sheet, 1)))
        };
        let hashless = expected.replace("| 1 |", "| 0 |");
        rows.push((format!("activate: {what}"), Box::new(plain), hashless));
        let what = format!("activate_confirmed: {what}");
        rows.push((what, Box::new(confirmed), expected.to_owned()));
    }
    for &(what, typed, expected) in CONFIRMING {
        let run = move |w: &mut World| {
            let sheet = w.prepare();
            let typed = typed(w, &sheet);
            activate(w, sheet.id(), Some(&typed))
        };
        let what = format!("activate_confirmed: {what}");
        rows.push((what, Box::new(run), expected.to_owned()));
    }
    for &(what, run, expected) in ISSUING.iter().chain(OTHERS) {
        rows.push((what.to_owned(), Box::new(run), expected.to_owned()));
    }
    rows
}

/// The names of an enum's variants as they are stored. serde tells them all when it meets one that
/// is none of them, so a variant that is added later is in this list.
fn names<T: serde::de::DeserializeOwned + Debug>() -> BTreeSet<String> {
    let error = serde_json::from_str::<T>("\"?\"").unwrap_err().to_string();
    let names: BTreeSet<String> = error
        .split('`')
        .skip(3)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 2, "{error}");
    names
}

#[test]
fn every_outcome_is_as_the_table_says() {
    let (mut kinds, mut reasons, mut told) = (BTreeSet::new(), BTreeSet::new(), String::new());
    let mut flaws = Vec::new();
    for (what, run, expected) in rows() {
        let mut w = World::new();
        let answer = run(&mut w);
        let evaluations = w.hashing.evaluations() - w.evaluations;
        let (texts, events): (Vec<String>, Vec<Event>) = w.events().into_iter().unzip();
        let is = format!("{answer} | {evaluations} | {}", texts.join("; "));
        if is != expected {
            flaws.push(format!("{what}\n     is {is}\n    not {expected}"));
        }
        for event in &events {
            assert_eq!(event.at, since_start(w.now), "{what}");
            assert_eq!(event.actor, EventActor::from(&w.actor), "{what}");
            let address = event.address.map(|address| address.to_string());
            assert_eq!(address.as_deref(), Some("203.0.113.7"), "{what}");
            assert_eq!(event.user_agent.as_deref(), Some("browser"), "{what}");
            assert_eq!(event.correlation.as_deref(), Some("req-1"), "{what}");
            kinds.insert(event.kind.as_str().to_owned());
            reasons.extend(event.reason.map(|reason| reason.as_str().to_owned()));
        }
        let ids: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), events.len(), "{what}: each event has its own id");
        told += &answer;
    }
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    // No kind and no reason is without a row, those added later included.
    assert_eq!(kinds, names::<EventKind>());
    assert_eq!(reasons, names::<Reason>());
    for kind in [
        NoticeKind::Issued,
        NoticeKind::Replaced,
        NoticeKind::Used,
        NoticeKind::OverrideIssued,
        NoticeKind::OverrideUsed,
        NoticeKind::Locked,
        NoticeKind::Disabled,
        NoticeKind::Revoked,
    ] {
        assert!(told.contains(&format!("notice {kind:?}")), "{kind:?}");
    }
}
