//! A tour of backup codes, on the memory repository, with real hashing and real randomness.
//!
//! `cargo run --example quickstart`. It shows what each step does; in a terminal it ends by
//! asking you for a code of the sheet. Codes can be piped in as well, one a line:
//! `echo 123 | cargo run --example quickstart`.
#![expect(
    clippy::disallowed_methods,
    reason = "an application reads the clock; the crate does not"
)]

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use backup_codes::audit::{AuditSink, MemoryAudit};
use backup_codes::hash::KeyId;
use backup_codes::outcome::Level;
use backup_codes::{
    Activation, BackupCodes, Context, Delivery, Hashing, JsonLines, Keyring, MemoryRepository,
    Pepper, Periods, Redeem, Reports, SavedSettings, SettingsSaved, SharedSettings, Sheet, Subject,
    Switch, Timestamp, UserId, UsersQuery, Wording,
};
use getrandom::rand_core::TryRng;

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(tour())
}

/// A clock that advances by a minute with each step, so that the log reads well.
struct Clock(Timestamp);

impl Clock {
    fn tick(&mut self) -> Timestamp {
        self.0 = self.0.saturating_add(Duration::from_secs(60));
        self.0
    }
}

async fn tour() -> Result<(), Box<dyn Error>> {
    let mut clock = Clock(Timestamp::try_from(SystemTime::now())?);
    let started = clock.0;

    // A pepper lives outside the database. Here it lasts as long as the program.
    let mut pepper = vec![0; 32];
    getrandom::SysRng.try_fill_bytes(&mut pepper)?;
    let keyring = Keyring::new(KeyId::new("2026-demo")?, Pepper::new(pepper)?);

    let audit = MemoryAudit::new();
    let repository = MemoryRepository::new();
    let shared = SharedSettings::new(Duration::from_secs(365 * 24 * 60 * 60));
    let codes = BackupCodes::new(repository.clone(), shared.clone(), Hashing::pool(keyring)?)
        .with_audit(audit.clone());
    let reports = Reports::new(&codes, repository.clone());
    let settings = SavedSettings::new(&codes, repository, &shared);
    settings.refresh(clock.0).await?;

    let alice = Subject::new(UserId::new("alice")?, ["staff"]);
    let guest = Subject::new(UserId::new("greg")?, ["guest"]);
    let admin = Subject::new(UserId::new("root")?, ["administrator"]);
    let by = |who: &Subject, now| Context::new(now, who).with_address([203, 0, 113, 7]);

    heading("An administrator lets two roles have backup codes");
    let mut draft = settings.edit().ok_or("the settings were just read")?;
    draft.settings.permit_roles(["staff", "administrator"]);
    let saved = settings.save(draft, &by(&admin, clock.tick())).await?;
    assert_eq!(saved, SettingsSaved::Saved);
    say("Saved: staff and administrator may have codes; everybody else may not.");
    match codes.prepare(&guest, &by(&guest, clock.tick())).await {
        Err(backup_codes::Error::Denied(why)) => {
            say(&format!("Greg, a guest, asks for codes: {why}."));
        }
        other => return Err(format!("a guest must be denied, not {other:?}").into()),
    }

    heading("Alice makes a set and sees it once");
    let sheet = codes.prepare(&alice, &by(&alice, clock.tick())).await?;
    let wording = Wording::english(&sheet, "example.org", "alice");
    println!("{}", *sheet.expose().text(&wording));
    let activation = codes
        .activate(&alice, sheet.id(), &by(&alice, clock.tick()))
        .await?;
    if let Activation::Activated(notice) = activation {
        say(&format!(
            "\"I have saved these codes\": the set counts. Mail to alice: {:?}.",
            notice.kind
        ));
    }

    heading("She is locked out of her phone and types code 3, messily");
    let messy = format!(
        " 3. {} \n",
        code(&sheet, 3).to_lowercase().replace('-', " – ")
    );
    show(&codes, &alice, &messy, clock.tick()).await?;
    heading("The same code once more");
    show(&codes, &alice, &code(&sheet, 3), clock.tick()).await?;
    heading("A typing error: two symbols swapped");
    show(&codes, &alice, &swapped(&code(&sheet, 5)), clock.tick()).await?;
    heading("Something that is no code at all");
    show(&codes, &alice, "correct horse battery staple", clock.tick()).await?;

    heading("Somebody who knows her password guesses");
    // Another user's codes: well formed, and wrong.
    let others = codes.issue(&admin, &by(&admin, clock.tick())).await?.sheet;
    for guess in 1..=11 {
        let number = (guess - 1) % 10 + 1;
        print!("guess {guess:2}: ");
        show(&codes, &alice, &code(&others, number), clock.0).await?;
    }

    heading("Alice's own code, while the set is locked");
    show(&codes, &alice, &code(&sheet, 5), clock.tick()).await?;
    heading("An administrator issues an override code; 2FA stays on");
    let lifetime = Duration::from_secs(60 * 60);
    let over = codes
        .issue_override(&alice, lifetime, &by(&admin, clock.tick()))
        .await?;
    say(&format!(
        "The code for Alice, until {}: {}",
        over.expires_at(),
        *over.expose()
    ));
    show(&codes, &alice, &over.expose(), clock.tick()).await?;

    heading("She uses up her sheet");
    for number in [1, 2, 4, 5, 6, 7, 8, 9, 10] {
        show(&codes, &alice, &code(&sheet, number), clock.tick()).await?;
    }

    heading("She makes a new sheet; the old one is worthless from then on");
    let new = codes.prepare(&alice, &by(&alice, clock.tick())).await?;
    let activation = codes
        .activate_confirmed(&alice, new.id(), &code(&new, 1), &by(&alice, clock.tick()))
        .await?;
    assert!(matches!(activation, Activation::Activated(_)));
    say(&format!(
        "Sheet {} replaces {}; she typed code 1 to confirm, unspent.",
        new.label(),
        sheet.label()
    ));

    heading("The administrator turns backup codes off for the site");
    switch(&settings, Switch::Off, &by(&admin, clock.tick())).await?;
    show(&codes, &alice, &code(&new, 2), clock.tick()).await?;
    switch(&settings, Switch::On, &by(&admin, clock.tick())).await?;
    say("Switched on again.");

    heading("What the administrator sees");
    let cx = by(&admin, clock.tick());
    let (today, month) = days_around(started, clock.0)?;
    let usage = reports.usage(Periods::new(today, month, &[])?, &cx).await?;
    say(&format!(
        "users with codes {}, low {}, exhausted {}, used today {}, this month {}",
        usage.users_with_codes,
        usage.users_low,
        usage.users_exhausted,
        usage.used_today,
        usage.used_this_month
    ));
    for row in reports.users(UsersQuery::new(cx.now()), &cx).await? {
        say(&format!(
            "user {}: {} of {} left",
            row.user, row.remaining, row.total
        ));
    }

    heading("The last lines of the audit log");
    let events = audit.events();
    let lines = JsonLines::new(Vec::new());
    lines
        .record(&events[events.len().saturating_sub(4)..])
        .await?;
    print!("{}", String::from_utf8_lossy(&lines.into_inner()));
    if let Delivery::Delivered(late) = codes.deliver_events().await? {
        say(&format!(
            "{} events, {late} of them delivered late.",
            events.len()
        ));
    }

    ask(&codes, &alice, &new, &mut clock).await
}

/// Asks the user of this program for codes of the new sheet.
async fn ask(
    codes: &BackupCodes,
    alice: &Subject,
    sheet: &Sheet,
    clock: &mut Clock,
) -> Result<(), Box<dyn Error>> {
    heading("Your turn");
    for (number, code) in sheet.expose().codes() {
        println!("{number:2}. {}", *code);
    }
    let terminal = io::stdin().is_terminal();
    let mut input = io::stdin().lock();
    loop {
        if terminal {
            print!("Type one of these codes (empty line to end): ");
            io::stdout().flush()?;
        }
        let mut bytes = Vec::new();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let Ok(typed) = std::str::from_utf8(&bytes) else {
            say("That is not UTF-8 text: type letters and digits.");
            continue;
        };
        if typed.trim().is_empty() {
            return Ok(());
        }
        show(codes, alice, typed, clock.tick()).await?;
    }
}

/// Redeems a code, and prints what a login page would show.
async fn show(
    codes: &BackupCodes,
    user: &Subject,
    typed: &str,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let cx = Context::new(now, user).with_address([198, 51, 100, 23]);
    match codes.redeem(user, typed, &cx).await? {
        Redeem::Accepted(receipt) => {
            let advice = match receipt.level() {
                Level::Ok => "",
                Level::Low => " Few are left: print a new sheet soon.",
                Level::Exhausted => " That was the last: print a new sheet now.",
            };
            say(&format!(
                "Accepted code {}, {} left.{advice}",
                receipt.slot(),
                receipt.remaining()
            ));
        }
        Redeem::Refused(refusal) => {
            let mut line = format!("{refusal} (the log says: {})", refusal.reason().as_str());
            if let Some(wait) = refusal.wait() {
                line += &format!(", locked for {} minutes", wait.as_secs().div_ceil(60));
            } else if let Some(tries) = refusal.tries_left() {
                line += &format!(", {tries} tries left");
            }
            say(&line);
        }
        Redeem::NotACode(hint) => say(&format!("{hint}. (Nothing was counted.)")),
    }
    Ok(())
}

async fn switch(
    settings: &SavedSettings,
    switch: Switch,
    cx: &Context,
) -> Result<(), Box<dyn Error>> {
    let mut draft = settings
        .edit()
        .ok_or("the settings were read at the start")?;
    draft.settings.set_switch(switch);
    assert_eq!(settings.save(draft, cx).await?, SettingsSaved::Saved);
    Ok(())
}

fn code(sheet: &Sheet, number: u8) -> String {
    let found = sheet.expose().codes().find(|(slot, _)| *slot == number);
    found.map(|(_, code)| code.to_string()).unwrap_or_default()
}

/// Returns the code with two different neighbours swapped.
fn swapped(code: &str) -> String {
    let mut symbols: Vec<char> = code.chars().collect();
    let differ =
        |i: &usize| symbols[*i] != symbols[i + 1] && symbols[i + 1] != '-' && symbols[*i] != '-';
    if let Some(i) = (2..symbols.len() - 1).find(differ) {
        symbols.swap(i, i + 1);
    }
    symbols.into_iter().collect()
}

type Span = std::ops::Range<Timestamp>;

/// Returns the days in UTC that this tour took, and the same days with the thirty before them. With
/// the feature `jiff`, `Periods::in_zone` gives a time zone's days and months.
fn days_around(first: Timestamp, last: Timestamp) -> Result<(Span, Span), Box<dyn Error>> {
    const DAY: i64 = 86_400_000;
    let start = first.unix_millis() / DAY * DAY;
    let end = last.unix_millis() / DAY * DAY + DAY;
    let at = Timestamp::from_unix_millis;
    Ok((at(start)?..at(end)?, at(start - 30 * DAY)?..at(end)?))
}

fn heading(text: &str) {
    println!("\n== {text}");
}

fn say(text: &str) {
    println!("{text}");
}
