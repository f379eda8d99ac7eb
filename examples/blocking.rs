//! The pure rules without async: load the record, apply a rule, write the result.
//!
//! Run it with `cargo run --example blocking`.
#![expect(
    clippy::disallowed_methods,
    reason = "an application reads the clock; the crate does not"
)]

use std::time::SystemTime;

use backup_codes::hash::{Acceptance, DefaultEngine, Engine, HashSalt};
use backup_codes::policy::{Action, Decision, Request, RolePolicy};
use backup_codes::repository::{Record, Revision};
use backup_codes::rules::{self, NewSet, Operation, Progress, Step};
use backup_codes::rules::{Attempt, OperationId, generate, hash, verify};
use backup_codes::{
    Config, Context, HashParams, Keyring, Redeem, SetId, Settings, Sheet, Subject, Timestamp,
    UserId, Wording,
};
use getrandom::SysRng;

/// The application's own table, of one row: a write replaces it if its revision is the expected
/// one.
struct Row {
    revision: Option<Revision>,
    record: String,
}

impl Row {
    /// `SELECT record, revision FROM …`
    fn load(&self) -> Result<(Record, Option<Revision>), Box<dyn std::error::Error>> {
        Ok((Record::from_json(&self.record)?, self.revision))
    }

    /// `UPDATE … WHERE revision = expected`, with the events in the same transaction.
    fn write(&mut self, expected: Option<Revision>, revision: Revision, step: &Step) -> bool {
        if self.revision != expected {
            return false;
        }
        for event in &step.events {
            println!("  event: {} {}", event.kind.as_str(), event.outcome_text());
        }
        *self = Self {
            revision: Some(revision),
            record: step.record.to_json(),
        };
        true
    }
}

trait OutcomeText {
    fn outcome_text(&self) -> &'static str;
}

impl OutcomeText for backup_codes::audit::Event {
    fn outcome_text(&self) -> &'static str {
        self.reason
            .map_or("went through", backup_codes::audit::Reason::as_str)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut rng, mut engine) = (SysRng, DefaultEngine::new());
    let (config, params) = (
        Config::default(),
        HashParams::new(Keyring::without_pepper())?,
    );
    let acceptance = Acceptance::new(&config, &params);
    let settings = Settings::default();
    let alice = Subject::new(UserId::new("alice")?, ["staff"]);
    let context = Context::new(Timestamp::try_from(SystemTime::now())?, &alice);
    let mut row = Row {
        revision: None,
        record: Record::new().to_json(),
    };

    println!("Issue a set:");
    let set = SetId::random(&mut rng)?;
    let codes = generate(config.formats().issued(), config.set_size(), &mut rng)?;
    let mut hashes = Vec::new();
    for code in &codes {
        let salt = HashSalt::random(&mut rng)?;
        hashes.push(hash(&params, &mut engine, alice.id(), set, code, salt)?);
    }
    engine.wipe();
    let (record, expected) = row.load()?;
    let revision = Revision::random(&mut rng)?;
    let operation = Operation {
        user: alice.id(),
        context: &context,
        config: &config,
        acceptance: &acceptance,
        low_threshold: 3,
        id: OperationId::random(&mut rng)?,
        revision,
    };
    let new = NewSet::new(set, config.formats().issued(), hashes)?;
    let issued = rules::issue(&record, new, &operation)?;
    let step = issued.step.ok_or("issuing always writes")?;
    assert!(
        row.write(expected, revision, &step),
        "nobody else writes here"
    );
    // The codes are shown after the set is stored, and never again.
    let third = codes[2].expose();
    let sheet = Sheet::new(set, context.now(), None, codes);
    let wording = Wording::english(&sheet, "example.org", "alice");
    print!("{}", *sheet.expose().text(&wording));

    for title in ["Redeem code 3:", "Redeem it again:"] {
        println!("{title}");
        let attempt = Attempt::parse(&third, config.formats(), OperationId::random(&mut rng)?)?;
        let mut verified = None;
        let mut outcome = None;
        // Starts over if another process wrote first, and checks policy, throttle and slot again.
        for _ in 0..16 {
            let request = Request::new(context.actor(), &alice, Action::Redeem, context.now());
            if let Decision::Deny(denial) = settings.decide(request) {
                return Err(denial.into());
            }
            let (record, expected) = row.load()?;
            let revision = Revision::random(&mut rng)?;
            let operation = Operation {
                id: attempt.id(),
                revision,
                ..operation
            };
            let transition = loop {
                match rules::consume(&record, &attempt, verified.as_ref(), &operation) {
                    Progress::Done(transition) => break transition,
                    Progress::Compare(target) => {
                        // Hashes outside any transaction: this takes tens of milliseconds.
                        let user = alice.id();
                        verified = Some(verify(&params, &mut engine, user, &attempt, &target)?);
                        engine.wipe();
                    }
                }
            };
            match &transition.step {
                Some(step) if !row.write(expected, revision, step) => {}
                // Written, or nothing to write: only now may the caller learn the outcome.
                _ => {
                    // Events that are not stored, such as a denial: an application sends them to
                    // its log.
                    for event in &transition.unstored {
                        println!("  unstored: {}", event.kind.as_str());
                    }
                    outcome = Some(transition.outcome);
                    break;
                }
            }
        }
        match outcome.ok_or("others kept changing the record: try again")? {
            Redeem::Accepted(receipt) => println!("  accepted, {} left", receipt.remaining()),
            Redeem::Refused(refusal) => println!("  refused: {}", refusal.reason().as_str()),
            Redeem::NotACode(hint) => println!("  {hint}"),
        }
    }
    Ok(())
}
