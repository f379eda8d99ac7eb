//! Makes a database of many users, to see how figures and pages behave:
//! `cargo run --release -p backup-codes-sqlx --example generate -- --db FILE --users 1000000`.

mod population;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use backup_codes::Timestamp;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Makes a database of made-up users, ten codes each.
#[derive(Parser)]
struct Arguments {
    /// The database file; it must not exist yet.
    #[arg(long)]
    db: PathBuf,
    /// How many users.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    users: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match generate().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn generate() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { db, users } = Arguments::parse();
    if db.exists() {
        return Err(format!("{} is there already: name a new file", db.display()).into());
    }
    let pool = population::fast_pool(&db).await?;
    let now = Timestamp::from_unix_millis(population::NOW_MILLIS)?;
    let mut population = population::Population::new(users, now).await?;

    let progress = ProgressBar::new(users).with_style(ProgressStyle::with_template(
        "{bar:40} {human_pos} of {human_len} users, {eta} to go",
    )?);
    progress.enable_steady_tick(Duration::from_millis(200));
    population::fill(&pool, &mut population, |done| progress.set_position(done)).await?;
    progress.finish();
    pool.close().await;
    let bytes = std::fs::metadata(&db)?.len();
    println!(
        "{users} users in {}, as of {}: {} bytes a user",
        db.display(),
        now.date(),
        bytes / users
    );
    Ok(())
}
