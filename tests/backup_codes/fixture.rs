//! People, moments, and the operations over a repository in memory.

use std::time::Duration;

use backup_codes::audit::{Event, MemoryAudit};
use backup_codes::hash::Cost;
use backup_codes::outcome::Refusal;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Loaded, Put, PutOutcome, Revision,
};
use backup_codes::{
    BackupCodes, Config, Context, Format, Formats, Hasher, Hashing, Keyring, MemoryRepository,
    Redeem, Reports, Settings, Sheet, Subject, Timestamp, UserId,
};
use pollster::block_on;

pub(crate) const START: i64 = 1_790_000_000_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn at(after: Duration) -> Timestamp {
    Timestamp::from_unix_millis(START)
        .unwrap()
        .saturating_add(after)
}

pub(crate) fn subject(name: &str, role: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), [role])
}

pub(crate) fn alice() -> Subject {
    subject("alice", "staff")
}

pub(crate) fn admin() -> Subject {
    subject("root", "administrator")
}

pub(crate) fn own(after: Duration) -> Context {
    Context::new(at(after), alice())
}

pub(crate) fn by_admin(after: Duration) -> Context {
    Context::new(at(after), admin())
}

pub(crate) fn cheap(keyring: Keyring) -> Hasher {
    Hasher::new(keyring)
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST)
}

pub(crate) fn config() -> Config {
    Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY))
}

pub(crate) fn inline() -> Hashing {
    Hashing::inline(cheap(Keyring::without_pepper()))
}

pub(crate) struct Fixture {
    pub(crate) codes: BackupCodes,
    pub(crate) store: MemoryRepository,
    pub(crate) audit: MemoryAudit,
}

pub(crate) fn fixture_with(config: Config, settings: Settings, hashing: Hashing) -> Fixture {
    let (store, audit) = (MemoryRepository::new(), MemoryAudit::new());
    let codes = BackupCodes::new(store.clone(), settings, hashing)
        .with_audit(audit.clone())
        .with_config(config);
    Fixture {
        codes,
        store,
        audit,
    }
}

pub(crate) fn fixture() -> Fixture {
    fixture_with(config(), Settings::default(), inline())
}

pub(crate) fn code(sheet: &Sheet, slot: u8) -> String {
    sheet
        .expose()
        .codes()
        .find(|(number, _)| *number == slot)
        .unwrap()
        .1
        .to_string()
}

impl Fixture {
    pub(crate) fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    pub(crate) fn issue(&self, user: &Subject, after: Duration) -> Sheet {
        let cx = Context::new(at(after), user);
        block_on(self.codes.issue(user, &cx)).unwrap().sheet
    }

    /// A well-formed code of the format that is nobody's here.
    pub(crate) fn wrong(&self) -> String {
        code(
            &self.issue(&subject("somebody else", "staff"), Duration::ZERO),
            1,
        )
    }

    pub(crate) fn redeem(&self, typed: &str, after: Duration) -> Redeem {
        block_on(self.codes.redeem(&alice(), typed, &own(after))).unwrap()
    }

    pub(crate) fn accepted(&self, typed: &str, after: Duration) -> backup_codes::outcome::Receipt {
        match self.redeem(typed, after) {
            Redeem::Accepted(receipt) => receipt,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) fn refused(&self, typed: &str, after: Duration) -> Refusal {
        match self.redeem(typed, after) {
            Redeem::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn load(&self) -> Loaded {
        block_on(self.store.load(alice().id(), Freshness::Latest))
            .unwrap()
            .unwrap()
    }

    /// Replaces the stored text, as somebody does who can write to the database.
    pub(crate) fn tamper(&self, change: impl Fn(&str) -> String) {
        let loaded = self.load();
        let record = change(&loaded.record);
        assert_ne!(record, loaded.record, "the tampering changed nothing");
        let user = alice();
        let (summary, revision) = (Summary::default(), Revision::random(&mut getrandom::SysRng));
        let expected = Expected::At(loaded.revision);
        let put = Put::new(
            user.id(),
            expected,
            revision.unwrap(),
            &record,
            &summary,
            &[],
        );
        assert_eq!(block_on(self.store.put(put)).unwrap(), PutOutcome::Applied);
    }

    pub(crate) fn last_event(&self) -> Event {
        self.audit.events().last().unwrap().clone()
    }
}
