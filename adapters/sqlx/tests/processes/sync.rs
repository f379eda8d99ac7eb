//! What is confirmed was handed to the disk before: system calls, and no claim beyond them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use backup_codes::Redeem;
use backup_codes_sqlx::SqliteRepository;
use sqlx::sqlite::SqliteSynchronous;
use tokio::runtime::Runtime;

use crate::{Child, SAID, listen, options, own, pool, say, service, subject};

const BEGIN: &str = "about to redeem";
const ANSWERED: &str = "redeemed";

/// Redeems one code, and says so.
pub(crate) async fn redeemer(file: &Path, synchronous: SqliteSynchronous) {
    let store = SqliteRepository::new(pool(options(file).synchronous(synchronous)).await);
    let service = service(store.as_audit_log(), 1);
    let (alice, code) = (subject("alice"), listen().remove(0));
    say(BEGIN);
    let redeemed = service
        .redeem(&alice, &code, &own(&alice, 1))
        .await
        .unwrap();
    assert!(matches!(redeemed, Redeem::Accepted(_)));
    say(ANSWERED);
}

/// The system calls of one redeem, one a line, from its beginning to its answer.
fn trace(role: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sync.db");
    let code = Runtime::new().unwrap().block_on(async {
        let sqlite = pool(options(&file)).await;
        let store = SqliteRepository::open(sqlite.clone()).await.unwrap();
        let alice = subject("alice");
        let issued = service(store, 1).issue(&alice, &own(&alice, 0)).await;
        let sheet = issued.unwrap().sheet;
        sqlite.close().await;
        sheet.expose().codes().next().unwrap().1.to_string()
    });
    let log = folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,fdatasync,write,pwrite64",
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().unwrap());
    let mut child = Child::start_under(strace, role, &file);
    child.say(&[code]);
    while child.hear().is_some() {}
    assert!(child.process.wait().unwrap().success());
    let calls = fs::read_to_string(log).unwrap();
    let says = |word: &'static str| move |call: &&str| call.contains(&format!("{SAID}{word}\\n\""));
    let calls: Vec<&str> = calls.lines().collect();
    let begin = calls.iter().position(|call| says(BEGIN)(call)).unwrap();
    let answered = calls.iter().position(|call| says(ANSWERED)(call)).unwrap();
    calls[begin..answered]
        .iter()
        .map(|call| (*call).to_owned())
        .collect()
}

/// Whether each file of the database that was written was synced after its last write. `None`
/// when none was written.
fn synced(calls: &[String]) -> Option<bool> {
    // By thread: the file of a sync that has begun and not ended.
    let mut syncing: BTreeMap<&str, &str> = BTreeMap::new();
    let mut written: BTreeMap<&str, bool> = BTreeMap::new();
    for call in calls {
        let (thread, call) = call.split_once(' ').unwrap();
        let call = call.trim_start();
        let name = call.split('(').next().unwrap();
        let file = call.split(['<', '>']).nth(1).unwrap_or_default();
        let database = file.contains("/sync.db") && !file.ends_with("-shm");
        match name {
            "write" | "pwrite64" if database => {
                written.insert(file, false);
            }
            "fsync" | "fdatasync" if database => {
                syncing.insert(thread, file);
            }
            _ => {}
        }
        // What was written after the sync began is not known to be part of it; one thread does
        // both here.
        if call.ends_with("= 0")
            && (name.ends_with("sync") || call.contains("sync resumed>"))
            && let Some(file) = syncing.remove(thread)
        {
            written.entry(file).and_modify(|synced| *synced = true);
        }
    }
    (!written.is_empty()).then(|| written.values().all(|synced| *synced))
}

#[test]
fn a_redeem_is_synced_before_it_is_answered() {
    let mut probe = Command::new("strace");
    let probe = probe
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    }
    let calls = trace("redeemer");
    assert_eq!(synced(&calls), Some(true), "{calls:#?}");
    // The same without FULL: it is the syncs that are seen.
    let calls = trace("redeemer that does not sync");
    assert_eq!(synced(&calls), Some(false), "{calls:#?}");
}
