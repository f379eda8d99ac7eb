//! Nothing that is printed, logged or stored holds a code, a part of one, a pepper, or, outside the
//! record's own JSON, a salt or a tag.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_codes::audit::{AuditSink, Event, EventId, MemoryAudit};
use backup_codes::hash::{Acceptance, DefaultEngine, HashSalt, KeyId, StoredHash};
use backup_codes::policy::Denial;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Record, Revision,
};
use backup_codes::rules::{Attempt, OperationId, generate, hash, verify};
use backup_codes::rules::{NewSet, Operation, Progress, Purge, PurgeClock};
use backup_codes::{
    BackupCodes, Context, Effect, Error, Format, HashParams, Hashing, JsonLines, Keyring,
    MemoryRepository, Pepper, Redeem, RevokeReason, SetId, SetSize, Settings, SharedSettings,
    Timestamp, UserId, Wording, rules,
};
use pollster::block_on;
use support::generator::Numbers;
use support::hashing::cheap;
use support::moments::start;
use support::operations::config;
use support::people::{admin, alice};

/// Everything there is to search.
#[derive(Clone, Default)]
struct Kept {
    /// Texts of records, as they were handed to the store.
    records: Arc<Mutex<String>>,
    everything_else: Arc<Mutex<String>>,
}

impl Kept {
    fn text(&self, text: &str) {
        let mut kept = self.everything_else.lock().unwrap();
        kept.push_str(text);
        kept.push('\n');
    }

    fn debug(&self, value: &dyn Debug) {
        self.text(&format!("{value:?}\n{value:#?}"));
    }

    fn display(&self, value: &(impl Debug + Display)) {
        self.debug(value);
        self.text(&format!("{value}"));
    }

    /// An error with all that is behind it.
    fn error(&self, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.text(&format!("{error:?}\n{error:#?}\n{error}"));
            next = error.source();
        }
    }
}

/// A store that keeps every byte it was ever handed.
#[derive(Clone, Default)]
struct Keeping(MemoryRepository, Kept);

impl CodeRepository for Keeping {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        let loaded = self.0.load(user, f).await?;
        self.1.debug(&loaded);
        Ok(loaded)
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        self.1.debug(&put);
        self.1.debug(&put.summary);
        self.1.text(&serde_json::to_string(put.events).unwrap());
        self.1.records.lock().unwrap().push_str(put.record);
        self.0.put(put).await
    }
    async fn remove(&self, u: &UserId, r: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        self.0.remove(u, r).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.0.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.0.acknowledge(events).await
    }
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for symbol in text.bytes() {
        let value = alphabet.iter().position(|a| *a == symbol).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

/// How these bytes would look: as text, as a list of numbers on a line, in hexadecimal. Of each
/// eight bytes, so that a part of them is found too.
fn shapes(bytes: &[u8]) -> Vec<String> {
    let list = format!("{:?}", &bytes[..8]);
    let hex: String = bytes[..8].iter().map(|b| format!("{b:02x}")).collect();
    vec![list.trim_matches(['[', ']']).to_owned(), hex]
}

/// Salts and tags of all PHC strings in a text, in every shape.
fn salts_and_tags(records: &str) -> Vec<String> {
    let mut found = Vec::new();
    for phc in records.split("$m=").skip(1) {
        let phc = phc.split('"').next().unwrap();
        for part in phc.split('$').skip(1) {
            found.push(part[..12].to_owned());
            found.extend(shapes(&base64(part)));
        }
    }
    found
}

/// What is printed of them, brought to one line and one case, without what stands between groups.
fn plain(text: &str) -> String {
    text.to_uppercase().replace(['-', ' ', '\n'], "")
}

/// Every run of six symbols of the payloads.
fn runs(codes: &[String]) -> Vec<String> {
    let payload = |code: &String| code.replace('-', "")[1..27].to_owned();
    let runs_of = |code: String| (0..=20).map(move |at| code[at..at + 6].to_owned());
    codes.iter().map(payload).flat_map(runs_of).collect()
}

#[cfg(feature = "tracing")]
mod traced {
    use super::{Debug, Kept};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    impl Visit for Kept {
        fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
            self.debug(value);
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}

const PEPPER: [u8; 32] = *b"this pepper must not be anywhere";

fn keyring() -> Keyring {
    Keyring::new(KeyId::new("k").unwrap(), Pepper::new(PEPPER).unwrap())
}

fn params() -> HashParams {
    cheap(keyring())
}

/// A whole life of codes through the operations; the codes that were shown.
fn life(kept: &Kept) -> Vec<String> {
    let (alice, admin, now) = (alice(), admin(), start());
    let (cx, by_admin) = (Context::new(now, &alice), Context::new(now, &admin));
    let (store, audit) = (
        Keeping(MemoryRepository::new(), kept.clone()),
        MemoryAudit::new(),
    );
    let hashing = Hashing::inline(params());
    let operations = BackupCodes::new(store.clone(), Settings::default(), hashing.clone())
        .with_audit(audit.clone())
        .with_config(config())
        .with_rng(Numbers::new(1));
    let sheet = block_on(operations.prepare(&alice, &cx)).unwrap();
    let hour = Duration::from_secs(3600);
    let over = block_on(operations.issue_override(&alice, hour, &by_admin)).unwrap();
    let mut codes: Vec<String> = sheet.expose().codes().map(|(_, c)| c.to_string()).collect();
    codes.push(over.expose().to_string());
    kept.debug(&over);
    kept.debug(&over.notice());
    kept.debug(&sheet);
    kept.debug(&sheet.expose());
    kept.debug(&Wording::english(&sheet, "example.org", "alice"));
    kept.text(&sheet.label());
    kept.debug(&block_on(operations.activate_confirmed(
        &alice,
        sheet.id(),
        &codes[5],
        &cx,
    )));
    // Voided by the new set, so issued once more.
    let over = block_on(operations.issue_override(&alice, hour, &by_admin)).unwrap();
    codes.push(over.expose().to_string());
    let wrong = generate(
        Format::HIGH_ENTROPY,
        SetSize::new(1).unwrap(),
        &mut Numbers::new(2),
    )
    .unwrap();
    codes.push(wrong[0].expose().to_string());
    for typed in [
        &codes[0],
        &codes[0],
        &codes[12],
        &codes[11],
        &codes[10],
        &codes[0][1..].into(),
    ] {
        let redeemed = block_on(operations.redeem(&alice, typed, &cx)).unwrap();
        match &redeemed {
            Redeem::Accepted(receipt) => kept.debug(&receipt.notice()),
            Redeem::Refused(refusal) => kept.display(refusal),
            Redeem::NotACode(hint) => kept.display(hint),
        }
        kept.debug(&redeemed);
    }
    kept.debug(&block_on(operations.burn(&alice, &codes[1], &cx)));
    kept.debug(&block_on(operations.check(&alice, &codes[2], &cx)));
    kept.debug(&block_on(operations.status(&alice, &cx)));
    kept.debug(&block_on(
        operations.issue_override(&admin, hour, &by_admin),
    ));
    let issued = block_on(operations.issue(&alice, &cx)).unwrap();
    kept.debug(&issued);
    codes.extend(issued.sheet.expose().codes().map(|(_, c)| c.to_string()));
    // A copy of the store with everything in it.
    kept.debug(&store.0);
    kept.debug(&operations);
    kept.debug(&hashing);
    kept.debug(&audit);
    kept.debug(&cx);
    kept.debug(&SharedSettings::new(hour));
    let revoked = operations.revoke_all(&alice, RevokeReason::Compromised, &cx);
    kept.debug(&block_on(revoked));
    let effect = block_on(operations.erase(&alice, &cx));
    assert_eq!(effect.unwrap(), Effect::Done);
    let erased = block_on(operations.issue(&alice, &cx)).unwrap_err();
    kept.error(&erased);
    let lines = JsonLines::new(Vec::new());
    block_on(lines.record(&audit.events())).unwrap();
    kept.text(&String::from_utf8(lines.into_inner()).unwrap());
    #[cfg(feature = "tracing")]
    tracing::subscriber::with_default(kept.clone(), || {
        block_on(backup_codes::audit::TracingAudit.record(&audit.events())).unwrap();
    });
    codes
}

/// The values below the shell, and every error that has seen a record, a hash or a code.
fn values(kept: &Kept) -> Vec<String> {
    let mut rng = Numbers::new(3);
    let (user, set) = (UserId::new("alice").unwrap(), SetId::from_bytes([1; 16]));
    let size = SetSize::new(2).unwrap();
    let codes = generate(Format::HIGH_ENTROPY, size, &mut rng).unwrap();
    let (params, mut engine) = (params(), DefaultEngine::new());
    let salt = HashSalt::random(&mut rng).unwrap();
    let stored = hash(&params, &mut engine, &user, set, &codes[0], salt).unwrap();
    let typed = codes[0].expose();
    let id = OperationId::from_bytes([2; 16]);
    let attempt = Attempt::parse(&typed, config().formats(), id).unwrap();
    kept.debug(&codes);
    kept.debug(&salt);
    kept.debug(&stored);
    kept.debug(&attempt);
    kept.debug(&params);
    kept.debug(&engine);
    kept.debug(&keyring());
    kept.debug(&Pepper::new(PEPPER).unwrap());
    let (context, config) = (Context::system(Timestamp::MIN), config());
    let acceptance = Acceptance::new(&config, &params);
    kept.debug(&acceptance);
    let operation = Operation {
        user: &user,
        context: &context,
        config: &config,
        acceptance: &acceptance,
        low_threshold: 3,
        id,
        revision: Revision::from_bytes([3; 16]),
    };
    kept.debug(&operation);
    let new = NewSet::new(set, Format::HIGH_ENTROPY, vec![stored.clone()]).unwrap();
    kept.debug(&new);
    let issued = rules::issue(&Record::new(), new, &operation).unwrap();
    kept.debug(&issued);
    let record = issued.step.unwrap().record;
    kept.debug(&record);
    kept.debug(&record.summary());
    let judged = rules::consume(&record, &attempt, None, &operation);
    kept.debug(&judged);
    let Progress::Compare(target) = judged else {
        panic!("nothing was compared yet")
    };
    let verified = verify(&params, &mut engine, &user, &attempt, &target).unwrap();
    kept.debug(&verified);
    kept.debug(&rules::consume(
        &record,
        &attempt,
        Some(&verified),
        &operation,
    ));
    let purged: Purge = rules::purge(&record, PurgeClock::Right, &operation);
    kept.debug(&purged);
    let json = record.to_json();
    kept.records.lock().unwrap().push_str(&json);
    let loaded = Loaded {
        record: json.clone(),
        revision: operation.revision,
    };
    kept.debug(&loaded);
    let summary = Summary::default();
    kept.debug(&Put::new(
        &user,
        Expected::Absent,
        operation.revision,
        &json,
        &summary,
        &[],
    ));
    // Records and hashes damaged in every place.
    for cut in 0..json.len() {
        if let Err(error) = Record::from_json(&json[..cut]) {
            kept.error(&error);
            kept.error(&Error::from(error));
        }
    }
    let damaged = json
        .replace("$argon2id", "$junk")
        .replace("\"slot\":1", "\"slot\":\"x\"");
    kept.debug(&Record::from_json(&damaged).unwrap());
    let phc = stored.expose_phc();
    for cut in 0..phc.len() {
        kept.error(&StoredHash::from_phc(&phc[..cut], None).unwrap_err());
    }
    for cut in 0..typed.len() {
        if let Err(hint) = Attempt::parse(&typed[..cut], config.formats(), id) {
            kept.display(&hint);
        }
        // Somebody's code where another text belongs.
        kept.error(&KeyId::new(typed[..cut].to_owned() + "\n").unwrap_err());
        kept.error(&typed[..cut].parse::<SetId>().unwrap_err());
        kept.error(
            &serde_json::from_str::<Settings>(&format!("{{\"{}", &typed[..cut])).unwrap_err(),
        );
    }
    kept.error(&Pepper::new(&PEPPER[..31]).unwrap_err());
    kept.error(&UserId::new(typed.repeat(20)).unwrap_err());
    kept.error(&Error::Denied(Denial::OnlyOwn));
    let lost = PutError::Unknown(StoredHash::from_phc("", None).unwrap_err());
    kept.error(&Error::Unavailable(Box::new(lost)));
    codes.iter().map(|code| code.expose().to_string()).collect()
}

#[test]
fn nothing_that_is_printed_logged_or_stored_holds_a_code_or_a_key() {
    let kept = Kept::default();
    let mut codes = life(&kept);
    codes.extend(values(&kept));
    let records = kept.records.lock().unwrap();
    let printed = kept.everything_else.lock().unwrap();
    assert!(printed.len() > 10_000 && records.len() > 10_000);
    let runs = runs(&codes);
    for text in [&*records, &*printed] {
        let plain = plain(text);
        for run in &runs {
            assert!(!plain.contains(run), "a part of a code: {run}");
        }
        for shape in shapes(&PEPPER) {
            assert!(!text.contains(&shape), "a pepper");
        }
        assert!(!text.contains("pepper must"), "a pepper");
    }
    // Hashes are in the stored records and nowhere else.
    assert!(!printed.contains("$argon2") && !printed.contains("$v=19"));
    let secret = salts_and_tags(&records);
    assert!(secret.len() > 100, "{}", secret.len());
    // A list printed over several lines is the same list.
    let joined = printed.replace(['\n', ' '], "").replace(',', ", ");
    for piece in &secret {
        assert!(
            !printed.contains(piece) && !joined.contains(piece),
            "{piece}"
        );
    }
}

/// The search finds what it looks for, in each shape.
#[test]
fn a_planted_code_salt_or_tag_would_be_found() {
    let kept = Kept::default();
    let codes = life(&kept);
    let (first, records) = (&codes[0], kept.records.lock().unwrap().clone());
    let seen = |text: &str| runs(&codes).iter().any(|run| plain(text).contains(run));
    assert!(seen(first) && seen(&first.to_lowercase()) && seen(&format!("x{}", &first[10..19])));
    assert!(!seen("") && !seen(&first[10..15]));
    let secret = salts_and_tags(&records);
    let tag = base64(
        records
            .split("p=1$")
            .nth(1)
            .unwrap()
            .split(['$', '"'])
            .nth(1)
            .unwrap(),
    );
    assert_eq!(tag.len(), 32);
    let found = |text: &str| secret.iter().any(|piece| text.contains(piece));
    assert!(found(&format!("{tag:?}")) && found(&records));
}
