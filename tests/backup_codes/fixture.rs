//! The operations over a repository and a sink in memory.

use std::time::Duration;

use backup_codes::audit::{Event, MemoryAudit};
use backup_codes::outcome::Refusal;
use backup_codes::repository::Loaded;
use backup_codes::{
    BackupCodes, Config, Context, Hashing, Keyring, MemoryRepository, Redeem, Reports, Settings,
    Sheet, Subject,
};
use pollster::block_on;

use crate::support::hashing::{cheap, cheap_hashing};
use crate::support::moments::since_start;
use crate::support::operations::config;
use crate::support::people::alice;
use crate::support::{contexts, records};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn own(after: Duration) -> Context {
    contexts::own(since_start(after))
}

pub(crate) fn by_admin(after: Duration) -> Context {
    contexts::by_admin(since_start(after))
}

pub(crate) struct Fixture {
    pub(crate) codes: BackupCodes,
    pub(crate) store: MemoryRepository,
    pub(crate) audit: MemoryAudit,
}

pub(crate) fn fixture() -> Fixture {
    fixture_of(cheap_hashing())
}

pub(crate) fn fixture_with(config: Config) -> Fixture {
    let fixture = fixture();
    let codes = fixture.codes.with_config(config);
    Fixture { codes, ..fixture }
}

pub(crate) fn fixture_of(hashing: Hashing) -> Fixture {
    let (store, audit) = (MemoryRepository::new(), MemoryAudit::new());
    let codes = BackupCodes::new(store.clone(), Settings::default(), hashing)
        .with_audit(audit.clone())
        .with_config(config());
    Fixture {
        codes,
        store,
        audit,
    }
}

impl Fixture {
    pub(crate) fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    /// The operations on a node with this keyring.
    pub(crate) fn with_keyring(&self, keyring: Keyring) -> BackupCodes {
        let hashing = Hashing::inline(cheap(keyring));
        BackupCodes::new(self.store.clone(), Settings::default(), hashing).with_config(config())
    }

    pub(crate) fn issue(&self, user: &Subject, after: Duration) -> Sheet {
        let cx = Context::new(since_start(after), user);
        block_on(self.codes.issue(user, &cx)).unwrap().sheet
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
        records::load(&self.store)
    }

    /// Replaces the stored text, as an attacker does who can write to the database.
    pub(crate) fn tamper(&self, change: impl Fn(&str) -> String) {
        records::rewrite(&self.store, change);
    }

    pub(crate) fn damage_slot_3(&self) {
        let stored = "\"slot\":3,\"phc\":\"$argon2id";
        self.tamper(|record| record.replacen(stored, "\"slot\":3,\"phc\":\"junk", 1));
    }

    pub(crate) fn last_event(&self) -> Event {
        self.audit.events().last().unwrap().clone()
    }
}
