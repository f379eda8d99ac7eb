//! `cargo run -p backup-codes-web`: makes its database, seeds demo users, and serves.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use backup_codes::Timestamp;
use backup_codes_web::{App, Cookies, DEMO_USERS, Options, router};
use clap::Parser;
use jiff::tz::TimeZone;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// How long the program, told to end, waits for requests in progress.
const GRACE: Duration = Duration::from_secs(10);

/// A web application with backup codes, on SQLite.
#[derive(Debug, Parser)]
struct Arguments {
    /// The database file, created if it does not exist. The pepper is beside it, in FILE.key.
    #[arg(long, value_name = "FILE", default_value = "backup-codes-web.db")]
    db: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The site's time zone, by its IANA name: the days of figures and of the audit log.
    #[arg(long, value_name = "NAME", default_value = "UTC")]
    time_zone: String,
    /// Makes all codes invalid that were made before this moment, such as 2026-11-25T10:00:00Z. Give
    /// the time of the restore after the database was restored from a backup, and at every start
    /// from then on: codes that were used since the backup would be accepted again.
    #[arg(long, value_name = "MOMENT")]
    void_before: Option<Timestamp>,
    /// A proxy whose X-Forwarded-For is trusted; may be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<IpAddr>,
    /// A session cookie without Secure and the `__Host-` prefix, for browsers that refuse those
    /// on <http://localhost>. Only on a loopback address.
    #[arg(long)]
    insecure_loopback_cookies: bool,
    /// Prints an override code for this user and exits: for when no administrator can log in.
    /// Codes have to be switched on.
    #[arg(long, value_name = "NAME")]
    r#override: Option<String>,
    /// Switches backup codes on, then exits or continues with --override: for when they are off
    /// and no administrator can log in.
    #[arg(long)]
    switch_on: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                line = format!("{line}: {error}");
                source = error.source();
            }
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if arguments.insecure_loopback_cookies && !arguments.listen.ip().is_loopback() {
        return Err("--insecure-loopback-cookies is for a loopback address".into());
    }
    let helps = arguments.switch_on || arguments.r#override.is_some();
    if helps && !arguments.db.exists() {
        return Err(format!(
            "there is no database {}: name it with --db",
            arguments.db.display()
        )
        .into());
    }
    let options = Options {
        zone: TimeZone::get(&arguments.time_zone)?,
        void_before: arguments.void_before,
        trusted_proxies: arguments.trusted_proxy.into_iter().collect(),
        cookies: if arguments.insecure_loopback_cookies {
            Cookies::PlainLoopback
        } else {
            Cookies::Secure
        },
        ..Options::new(arguments.db)
    };
    let app = Arc::new(App::open(options).await?);
    if arguments.switch_on {
        app.switch_on().await?;
        println!("backup codes are switched on");
    }
    if let Some(name) = &arguments.r#override {
        let issued = app.issue_override(name).await?;
        println!("{} (until {})", *issued.expose(), issued.expires_at());
    }
    if helps {
        return Ok(());
    }
    app.start_tasks();
    let (ending, ending_too) = (told_to_end()?, told_to_end()?);
    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("listening on {}: {error}", arguments.listen))?;
    let address = listener.local_addr()?;
    if address.ip().is_loopback() {
        println!("http://localhost:{}", address.port());
    } else {
        println!("http://{address}");
        println!(
            "The passwords of the demo users are public. Browsers keep the session cookie over"
        );
        println!("https only: put a proxy with TLS in front, and name it with --trusted-proxy.");
    }
    for user in DEMO_USERS {
        println!("{:6} {:20} {}", user.id, user.password, user.role);
    }
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(ending);
    // Requests in progress are answered; a client that never finishes one cannot keep the program
    // from ending.
    let no_longer = async {
        ending_too.await;
        sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served?,
        () = no_longer => {}
    }
    Ok(())
}

/// Returns a future that ends with Ctrl-C, or with SIGTERM from a service manager. Both are caught
/// from now on, not from when the future is awaited: a request may come before.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Returns a future that ends with Ctrl-C.
#[cfg(not(unix))]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler there is no signal to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
