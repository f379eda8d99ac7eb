//! Secrets are gone from this process's memory once they are dropped.
//!
//! Searches the writable memory through `/proc/self/mem`, so on Linux only. What is searched for
//! is kept in a disguise, or the search would find itself.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use backup_codes::hash::{DefaultEngine, HashSalt, KeyId, Target};
use backup_codes::rules::{Attempt, OperationId, generate, hash, verify};
use backup_codes::{
    Activation, Format, Formats, Keyring, MemoryRepository, Pepper, Redeem, SetId, SetSize, UserId,
    Wording,
};
use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use pollster::block_on;
use support::contexts;
use support::hashing::cheap;
use support::moments::start;
use support::operations::backup_codes;
use support::people::alice;

const DISGUISE: u8 = 0x5a;

fn disguised(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ DISGUISE).collect()
}

/// How often the disguised bytes stand undisguised in writable memory.
fn found(needle: &[u8]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut count = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, mode) = (fields.next().unwrap(), fields.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut page = [0; 4096 + 64];
        let mut at = from;
        while at < to {
            let read = memory.read_at(&mut page, at).unwrap_or(0);
            for window in page[..read].windows(needle.len()) {
                let same = window
                    .iter()
                    .zip(needle)
                    .all(|(byte, wanted)| byte ^ DISGUISE == *wanted);
                count += usize::from(same);
            }
            // Disguised in turn, so that this buffer is not found.
            page.fill(0);
            at += 4096;
        }
    }
    count
}

#[test]
fn what_is_dropped_is_gone_from_memory() {
    let mut pepper = vec![0; 48];
    SysRng.try_fill_bytes(&mut pepper).unwrap();
    let pepper_needle = disguised(&pepper[8..40]);
    let keyring = Keyring::new(KeyId::new("k").unwrap(), Pepper::new(pepper).unwrap());
    let params = cheap(keyring);
    let codes = generate(Format::HIGH_ENTROPY, SetSize::new(2).unwrap(), &mut SysRng).unwrap();
    // The groups as they are shown, and the symbols without hyphens.
    let (shown, symbols) = {
        let text = codes[0].expose();
        let symbols = zeroize::Zeroizing::new(
            text.bytes()
                .filter(|byte| *byte != b'-')
                .collect::<Vec<u8>>(),
        );
        (
            disguised(&text.as_bytes()[5..30]),
            disguised(&symbols[4..24]),
        )
    };
    assert!(found(&symbols) > 0, "the search finds what is there");
    assert!(found(&pepper_needle) > 0);

    let (user, set, mut engine) = (
        UserId::new("a").unwrap(),
        SetId::from_bytes([1; 16]),
        DefaultEngine::new(),
    );
    let salt = HashSalt::random(&mut SysRng).unwrap();
    let stored = hash(&params, &mut engine, &user, set, &codes[0], salt).unwrap();
    {
        let typed = codes[0].expose();
        let formats = Formats::new(Format::HIGH_ENTROPY);
        let attempt = Attempt::parse(&typed, &formats, OperationId::from_bytes([2; 16])).unwrap();
        let target = Target::Hash(set, stored);
        let _ = verify(&params, &mut engine, &user, &attempt, &target).unwrap();
    }
    drop(codes);
    drop(engine);
    assert_eq!(found(&shown), 0, "a shown code is left in memory");
    assert_eq!(found(&symbols), 0, "a code's symbols are left in memory");
    drop(params);
    assert_eq!(found(&pepper_needle), 0, "a pepper is left in memory");
}

#[test]
fn a_used_sheet_is_gone_from_memory() {
    let codes = backup_codes(MemoryRepository::new());
    let (alice, own) = (alice(), contexts::own(start()));

    let sheet = block_on(codes.prepare(&alice, &own)).unwrap();
    let shown: Vec<_> = sheet
        .expose()
        .codes()
        .map(|(_, code)| disguised(&code.as_bytes()[5..24]))
        .collect();
    let symbols: Vec<_> = sheet
        .expose()
        .codes()
        .map(|(_, mut code)| {
            code.retain(|c| c != '-');
            disguised(&code.as_bytes()[4..20])
        })
        .collect();
    assert!(symbols.iter().all(|needle| found(needle) > 0));
    drop(
        sheet
            .expose()
            .text(&Wording::english(&sheet, "example.org", "alice")),
    );
    for (slot, code) in sheet.expose().codes() {
        if slot == 1 {
            let activated = block_on(codes.activate_confirmed(&alice, sheet.id(), &code, &own));
            assert!(matches!(activated.unwrap(), Activation::Activated(_)));
        }
        let redeemed = block_on(codes.redeem(&alice, &code, &own)).unwrap();
        assert!(matches!(redeemed, Redeem::Accepted(_)));
    }
    drop(sheet);
    for needle in shown.iter().chain(&symbols) {
        assert_eq!(found(needle), 0, "a code is left in memory");
    }
}
