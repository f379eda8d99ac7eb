//! No block of memory that is given back holds a code, what was typed of one, or a key.
//!
//! Not in any form, and not a part of one: each run of six bytes is looked for, in every block that
//! the allocator gets back, of any size and on any thread, while codes are made, shown and typed.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/freed.rs"]
mod freed;
mod support;

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use backup_codes::hash::{Acceptance, DefaultEngine, HashSalt, KeyId, PoolSize, Target};
use backup_codes::repository::{Record, Revision};
use backup_codes::rules::{
    Attempt, OperationId, consume, generate, generate_override, hash, verify,
};
use backup_codes::rules::{Operation, Progress};
use backup_codes::{
    Activation, BackupCodes, Burn, Check, Config, Context, Error, Format, Formats, HashParams,
    Hashing, Keyring, MemoryRepository, Override, Pepper, Redeem, SetId, SetSize, Settings, Sheet,
    Timestamp, UserId, Wording,
};
use base64ct::{Base64Unpadded, Encoding};
use freed::{Watching, search, secret};
use pollster::block_on;
use support::contexts;
use support::generator::Numbers;
use support::hashing::{cheap, cheap_hasher};
use support::moments::start;
use support::people::{admin, alice};
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn own() -> Context {
    contexts::own(start())
}

fn by_admin() -> Context {
    contexts::by_admin(start())
}

/// A text that is wiped, in one piece that is never too small.
fn text(of: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str(of);
    text
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut hex = text("");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    hex
}

/// What a user might type for a code.
#[derive(Clone, Copy, Debug)]
enum Typed {
    AsShown,
    SmallWithoutHyphens,
    FromThePrintedList,
}

const EVERY_TYPED: [Typed; 3] = [
    Typed::AsShown,
    Typed::SmallWithoutHyphens,
    Typed::FromThePrintedList,
];

fn typed(shown: &str, slot: u8, how: Typed) -> Zeroizing<String> {
    let mut typed = text("");
    match how {
        Typed::AsShown => typed.push_str(shown),
        Typed::SmallWithoutHyphens => {
            typed.extend(shown.chars().filter(|c| *c != '-'));
            typed.make_ascii_lowercase();
        }
        Typed::FromThePrintedList => {
            let tens = char::from(b'0' + slot / 10);
            typed.extend((slot > 9).then_some(tens));
            typed.push(char::from(b'0' + slot % 10));
            typed.push_str(".  ");
            for c in shown.chars() {
                if c == '-' {
                    typed.push_str(" \u{2013} ");
                } else {
                    typed.push(c);
                }
            }
            typed.push_str(" \n");
        }
    }
    typed
}

/// Names a code as a secret in every form: as shown, without hyphens, in small letters, as the
/// values of its symbols.
fn is_secret(shown: &str) {
    let mut form = text(shown);
    secret(form.as_bytes());
    form.make_ascii_lowercase();
    secret(form.as_bytes());
    form.retain(|c| c != '-');
    secret(form.as_bytes());
    form.make_ascii_uppercase();
    secret(form.as_bytes());
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    // Wiped: a value that is moved may take what the stack held before with it.
    let mut values = Zeroizing::new([0; 64]);
    for (value, symbol) in values.iter_mut().zip(form.bytes()) {
        let at = alphabet.iter().position(|letter| *letter == symbol);
        *value = u8::try_from(at.unwrap()).unwrap();
    }
    secret(&values[..form.len()]);
}

fn all_secret(sheet: &Sheet) {
    assert!(!sheet.is_empty());
    for (_, code) in sheet.expose().codes() {
        is_secret(&code);
    }
}

fn shown(sheet: &Sheet, slot: u8) -> Zeroizing<String> {
    let (_, code) = sheet.expose().codes().nth(usize::from(slot) - 1).unwrap();
    code
}

/// A pool of one worker, which has let go of a job before it begins the next.
fn pool(params: HashParams) -> Hashing {
    Hashing::pool_with(params, PoolSize::new(1, 16).unwrap()).unwrap()
}

fn codes(hashing: Hashing, format: Format, rng: Numbers) -> BackupCodes {
    BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing)
        .with_config(Config::default().with_formats(Formats::new(format)))
        .with_rng(rng)
}

/// Waits for an operation whose future is in memory of its own, as on an executor.
fn wait<T>(operation: impl Future<Output = T>) -> T {
    block_on(Box::pin(operation))
}

/// Waits until a pool has let go of what it was handed, by handing it something else.
fn wait_for_pool(codes: &BackupCodes) {
    let other = generate(
        codes.config().formats().issued(),
        SetSize::default(),
        &mut Numbers::new(99),
    );
    let other = other.unwrap()[0].expose();
    let refused = wait(codes.redeem(&admin(), &other, &by_admin()));
    assert!(matches!(refused.unwrap(), Redeem::Refused(_)));
}

/// Searches while this is done on a pool, and on the calling thread.
#[track_caller]
fn clean(work: impl Fn(&BackupCodes)) {
    for place in [pool, Hashing::inline] {
        let found = search(|| {
            let codes = codes(place(cheap_hasher()), Format::HIGH_ENTROPY, Numbers::new(1));
            work(&codes);
            wait_for_pool(&codes);
        });
        assert!(
            found.is_empty(),
            "in freed blocks of these sizes: {found:?}"
        );
    }
}

fn prepared(codes: &BackupCodes) -> Sheet {
    let sheet = wait(codes.prepare(&alice(), &own())).unwrap();
    all_secret(&sheet);
    sheet
}

fn issued(codes: &BackupCodes) -> Sheet {
    let issued = wait(codes.issue(&alice(), &own())).unwrap();
    all_secret(&issued.sheet);
    issued.sheet
}

fn overridden(codes: &BackupCodes) -> Override {
    let hour = Duration::from_secs(3600);
    let issued = wait(codes.issue_override(&alice(), hour, &by_admin())).unwrap();
    is_secret(&issued.expose());
    issued
}

#[test]
fn preparing_a_set_leaves_no_code() {
    clean(|codes| drop(prepared(codes)));
}

#[test]
fn issuing_a_set_leaves_no_code() {
    clean(|codes| drop(issued(codes)));
}

#[test]
fn issuing_an_override_leaves_no_code() {
    clean(|codes| drop(overridden(codes)));
}

#[test]
fn activating_by_a_typed_code_leaves_none() {
    for how in EVERY_TYPED {
        clean(|codes| {
            let sheet = prepared(codes);
            let typed = typed(&shown(&sheet, 5), 5, how);
            let activated = wait(codes.activate_confirmed(&alice(), sheet.id(), &typed, &own()));
            assert!(
                matches!(activated.unwrap(), Activation::Activated(_)),
                "{how:?}"
            );
        });
    }
}

#[test]
fn redeeming_a_code_leaves_none() {
    for how in EVERY_TYPED {
        clean(|codes| {
            let sheet = issued(codes);
            let typed = typed(&shown(&sheet, 10), 10, how);
            let redeem = || wait(codes.redeem(&alice(), &typed, &own())).unwrap();
            assert!(matches!(redeem(), Redeem::Accepted(_)), "{how:?}");
            assert!(matches!(redeem(), Redeem::Refused(_)), "{how:?}");
        });
    }
}

#[test]
fn redeeming_an_override_leaves_no_code() {
    clean(|codes| {
        let over = overridden(codes);
        let redeemed = wait(codes.redeem(&alice(), &over.expose(), &own()));
        assert!(matches!(redeemed.unwrap(), Redeem::Accepted(_)));
    });
}

#[test]
fn checking_a_code_leaves_none() {
    for how in EVERY_TYPED {
        clean(|codes| {
            let sheet = issued(codes);
            let typed = typed(&shown(&sheet, 3), 3, how);
            let checked = wait(codes.check(&alice(), &typed, &own())).unwrap();
            assert_eq!(checked, Check::Valid(3), "{how:?}");
        });
    }
}

#[test]
fn burning_a_code_leaves_none() {
    for how in EVERY_TYPED {
        clean(|codes| {
            let sheet = issued(codes);
            let typed = typed(&shown(&sheet, 3), 3, how);
            let burned = wait(codes.burn(&alice(), &typed, &own())).unwrap();
            assert!(matches!(burned, Burn::Done(_)), "{how:?}");
        });
    }
}

#[test]
fn an_input_that_is_no_code_leaves_nothing_of_it() {
    clean(|codes| {
        let sheet = issued(codes);
        let mut typo = shown(&sheet, 3);
        let other = if typo.ends_with('0') { "1" } else { "0" };
        typo.pop();
        typo.push_str(other);
        let mut cut = shown(&sheet, 4);
        cut.pop();
        for typed in [typo, cut] {
            let hint = wait(codes.redeem(&alice(), &typed, &own())).unwrap();
            assert!(matches!(hint, Redeem::NotACode(_)));
        }
    });
}

#[test]
fn a_set_for_an_erased_user_leaves_no_code() {
    clean(|codes| {
        // The codes that are drawn now are those that would be drawn again.
        let drawn = self::codes(pool(cheap_hasher()), Format::HIGH_ENTROPY, Numbers::new(7));
        drop(prepared(&drawn));
        let erased = codes.clone().with_rng(Numbers::new(7));
        let _ = wait(codes.erase(&alice(), &by_admin())).unwrap();
        let prepared = wait(erased.prepare(&alice(), &own()));
        assert!(matches!(prepared, Err(Error::Erased)), "{prepared:?}");
    });
}

#[test]
fn a_generator_that_fails_halfway_leaves_no_code() {
    let drawn = |draws| {
        let mut rng = Numbers::failing_after(draws, 7);
        generate(Format::HIGH_ENTROPY, SetSize::default(), &mut rng)
    };
    let found = search(|| {
        for code in drawn(usize::MAX).unwrap() {
            is_secret(&code.expose());
        }
        assert!(drawn(7).is_err());
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn an_operation_that_is_dropped_leaves_no_code() {
    let found = search(|| {
        let new = || codes(pool(cheap_hasher()), Format::HIGH_ENTROPY, Numbers::new(1));
        let sheet = prepared(&new());
        let (codes, alice, own) = (new(), alice(), own());
        let mut context = TaskContext::from_waker(Waker::noop());
        // Polled once it has drawn the codes of that sheet, and handed them to the pool.
        let mut preparing = Box::pin(codes.prepare(&alice, &own));
        let _ = preparing.as_mut().poll(&mut context);
        drop(preparing);
        let typed = shown(&sheet, 3);
        let mut redeeming = Box::pin(codes.redeem(&alice, &typed, &own));
        let _ = redeeming.as_mut().poll(&mut context);
        drop(redeeming);
        wait_for_pool(&codes);
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_default_format_leaves_no_code() {
    for place in [pool, Hashing::inline] {
        let found = search(|| {
            let params = HashParams::new(Keyring::without_pepper()).unwrap();
            let codes = codes(place(params), Format::CROCKFORD, Numbers::new(1));
            let sheet = issued(&codes);
            let typed = typed(&shown(&sheet, 3), 3, Typed::SmallWithoutHyphens);
            let redeemed = wait(codes.redeem(&alice(), &typed, &own())).unwrap();
            assert!(matches!(redeemed, Redeem::Accepted(_)));
            drop(overridden(&codes));
            wait_for_pool(&codes);
        });
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn every_export_of_a_sheet_leaves_no_code() {
    let found = search(|| {
        let mut rng = Numbers::new(5);
        // As an application may collect them: in a list that grows, the shortest first.
        let mut codes = Vec::new();
        for (payload, size) in [(13, 1), (14, 2), (29, 20)] {
            let format = Format::crockford(payload).unwrap();
            codes.extend(generate(format, SetSize::new(size).unwrap(), &mut rng).unwrap());
        }
        codes.push(generate_override(Format::HIGH_ENTROPY, &mut rng).unwrap());
        let now = Timestamp::MIN;
        let sheet = Sheet::new(SetId::from_bytes([7; 16]), now, Some(now), codes);
        all_secret(&sheet);
        let long = "a name that is longer than most \u{1f600}".repeat(9);
        for (site, account) in [("example.org", "alice"), (long.as_str(), long.as_str())] {
            let mut wording = Wording::english(&sheet, site, account);
            drop(sheet.expose().text(&wording));
            wording.facts.clear();
            wording.advice.clear();
            wording.title.clear();
            drop(sheet.expose().text(&wording));
        }
        drop(format!("{sheet:?} {:?}", sheet.expose()));
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_pure_functions_leave_no_code() {
    let found = search(|| {
        let mut rng = Numbers::new(6);
        let codes = generate(Format::HIGH_ENTROPY, SetSize::default(), &mut rng).unwrap();
        let one = generate_override(Format::HIGH_ENTROPY, &mut rng).unwrap();
        let shared: Arc<[_]> = codes.into_iter().chain([one]).collect::<Vec<_>>().into();
        let (user, set) = (UserId::new("alice").unwrap(), SetId::from_bytes([1; 16]));
        let (params, mut engine) = (cheap_hasher(), DefaultEngine::new());
        let (config, context) = (Config::default(), own());
        let formats = Formats::new(Format::HIGH_ENTROPY);
        let acceptance = Acceptance::new(&config, &params);
        let operation = Operation {
            user: &user,
            context: &context,
            config: &config,
            acceptance: &acceptance,
            low_threshold: 3,
            id: OperationId::from_bytes([2; 16]),
            revision: Revision::from_bytes([3; 16]),
        };
        for code in &*shared {
            is_secret(&code.expose());
            let salt = HashSalt::random(&mut rng).unwrap();
            let stored = hash(&params, &mut engine, &user, set, code, salt).unwrap();
            for how in EVERY_TYPED {
                // The override is not on a list.
                if code.slot() == 0 && matches!(how, Typed::FromThePrintedList) {
                    continue;
                }
                let typed = typed(&code.expose(), code.slot(), how);
                let id = OperationId::random(&mut rng).unwrap();
                // As an application may keep it: moved, and shared.
                let attempt = Arc::new(Some(Attempt::parse(&typed, &formats, id).unwrap()));
                let attempt = attempt.as_ref().as_ref().unwrap();
                for target in [Target::Hash(set, stored.clone()), Target::Nothing] {
                    drop(verify(&params, &mut engine, &user, attempt, &target).unwrap());
                }
                let judged = consume(&Record::new(), attempt, None, &operation);
                assert!(matches!(judged, Progress::Compare(Target::Nothing)));
                drop(format!("{code:?} {attempt:?}"));
            }
        }
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_keyring_leaves_no_key() {
    let found = search(|| {
        let mut key = [0; 48];
        rand_core::TryRng::try_fill_bytes(&mut Numbers::new(8), &mut key).unwrap();
        let (first, second) = (&key[..32], &key[16..]);
        secret(&key);
        let hex = hex(&key);
        secret(hex.as_bytes());
        let id = |name| KeyId::new(name).unwrap();
        let array = <[u8; 32]>::try_from(first).unwrap();
        // With room to spare, as it comes out of a reader.
        let mut roomy = Vec::with_capacity(256);
        roomy.extend_from_slice(second);
        let keyring = Keyring::new(id("c"), Pepper::new(roomy).unwrap())
            .with_older(id("b"), Pepper::new(array).unwrap())
            .unwrap()
            .with_older(id("a"), Pepper::new(first).unwrap())
            .unwrap();
        // What is refused is wiped too.
        assert!(Pepper::new(&key[..31]).is_err());
        assert!(Pepper::new(key.repeat(22)).is_err());
        let codes = generate(
            Format::HIGH_ENTROPY,
            SetSize::default(),
            &mut Numbers::new(9),
        );
        let code = &codes.unwrap()[0];
        let params = cheap(keyring);
        let (user, set) = (UserId::new("alice").unwrap(), SetId::from_bytes([1; 16]));
        let salt = HashSalt::random(&mut Numbers::new(10)).unwrap();
        let stored = hash(&params, &mut DefaultEngine::new(), &user, set, code, salt).unwrap();
        assert_eq!(stored.key().unwrap().id().as_str(), "c");
        drop(format!("{params:?}"));
        let again = Keyring::new(id("c"), Pepper::new(first).unwrap())
            .with_older(id("c"), Pepper::new(second).unwrap());
        assert!(again.is_err());
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_keyring_from_text_leaves_no_key() {
    let found = search(|| {
        let mut key = [0; 32];
        rand_core::TryRng::try_fill_bytes(&mut Numbers::new(11), &mut key).unwrap();
        secret(&key);
        let hex = hex(&key);
        secret(hex.as_bytes());
        let mut base64 = Zeroizing::new([0; 64]);
        let base64 = Base64Unpadded::encode(&key, &mut *base64).unwrap();
        secret(base64.as_bytes());
        let read = |parts: &[&str]| {
            let mut line = text("");
            parts.iter().for_each(|part| line.push_str(part));
            line.parse::<Keyring>()
        };
        assert!(read(&["a:hex:", &hex]).is_ok());
        assert!(read(&["a:base64:", base64]).is_ok());
        assert!(read(&["a:base64:", base64, "="]).is_ok());
        // What is refused is wiped too.
        for parts in [
            ["a:hex:", &hex, ",b"],
            ["a:hex:", &hex, "0"],
            ["a:hex:", &hex, "z0"],
            ["a:base64:", base64, "?"],
            ["a:base64:", base64, ",a:base64:QUJD"],
            ["a:hex:", &hex[..62], ""],
        ] {
            assert!(read(&parts).is_err());
        }
        assert!(read(&["a:hex:", &hex, ",b:base64:", base64]).is_err());
    });
    assert!(found.is_empty(), "{found:?}");
}

/// A secret that is wiped where it is dropped, and left behind where it is moved away from.
struct Unboxed(Zeroizing<[u8; 32]>);

#[test]
fn a_planted_leak_is_found() {
    type Leak = fn(&[u8; 32]);
    let leaks: [(&str, Leak); 9] = [
        ("a copy that is dropped", |key| {
            drop(black_box(key.to_vec()));
        }),
        (
            "a part of it, in the smallest block that can hold one",
            |key| {
                drop(black_box(Box::<[u8]>::from(&key[20..26])));
            },
        ),
        ("one at the end of a large block", |key| {
            let mut large = vec![0; 1 << 20];
            large[(1 << 20) - 32..].copy_from_slice(key);
            drop(black_box(large));
        }),
        ("a list that grows", |key| {
            let mut list = Zeroizing::new(Vec::with_capacity(20));
            for byte in key {
                list.push(*byte);
                black_box(&mut list);
            }
        }),
        ("a list that is cut to its size", |key| {
            let mut list = Vec::with_capacity(64);
            list.extend_from_slice(key);
            drop(Zeroizing::new(black_box(list).into_boxed_slice()));
        }),
        ("a list without it whose spare room still holds it", |key| {
            let mut list = key.to_vec();
            black_box(&mut list).clear();
        }),
        ("a list that becomes shared", |key| {
            let list = vec![Unboxed(Zeroizing::new(*key)), Unboxed(Zeroizing::new(*key))];
            let shared: Arc<[Unboxed]> = black_box(list).into();
            black_box(&shared);
        }),
        ("a box that is moved out of", |key| {
            let boxed = black_box(Box::new(Unboxed(Zeroizing::new(*key))));
            let Unboxed(secret) = *boxed;
            black_box(&secret);
        }),
        ("one given back on another thread", |key| {
            let copy = black_box(key.to_vec());
            std::thread::spawn(move || drop(copy)).join().unwrap();
        }),
    ];
    for (kind, leak) in leaks {
        let found = search(|| {
            let mut key = [0; 32];
            rand_core::TryRng::try_fill_bytes(&mut Numbers::new(11), &mut key).unwrap();
            secret(&key);
            leak(&key);
        });
        assert!(!found.is_empty(), "{kind}");
    }
}

#[test]
fn what_is_wiped_in_its_place_is_not_found() {
    let found = search(|| {
        let mut key = [0; 32];
        rand_core::TryRng::try_fill_bytes(&mut Numbers::new(11), &mut key).unwrap();
        secret(&key);
        let wiped = Zeroizing::new(key.to_vec());
        let pointer = Box::new(wiped);
        drop(black_box(*pointer));
    });
    assert!(found.is_empty(), "{found:?}");
}
