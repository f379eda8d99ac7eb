//! The audit log: pages and exports.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use backup_codes::audit::{AuditSink as _, Event, EventActor, EventKind, EventOutcome, Reason};
use backup_codes::{JsonLines, UserId};
use backup_codes_sqlx::{AuditPosition, AuditQuery, SqliteRepository};
use futures_util::stream::try_unfold;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::App;
use crate::csv;
use crate::error_pages::PageError;
use crate::frame::{Frame, draw};
use crate::session::SignedIn;
use crate::zone::Moment;

/// The number of events on a page, and in one chunk of an export.
const ROWS: u16 = 50;
const PIECE: u16 = 1000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    user: String,
    event: String,
    day: String,
    /// The last event of the previous page.
    #[serde(skip_serializing_if = "String::is_empty")]
    after: String,
}

impl Filter {
    /// Returns the query string for these filters and the page after this event.
    fn link(&self, after: String) -> Result<String, PageError> {
        let filter = Self {
            after,
            ..self.clone()
        };
        serde_urlencoded::to_string(filter).map_err(|error| PageError::broken(&error))
    }
}

/// An event as the page shows it.
#[derive(Debug)]
struct Line {
    at: Moment,
    kind: String,
    success: bool,
    reason: String,
    user: String,
    actor: String,
    address: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    filter: Filter,
    /// The kinds of events: the stored name, the name shown, and whether it is chosen.
    kinds: Vec<(&'static str, String, bool)>,
    lines: Vec<Line>,
    unreadable: usize,
    /// The links to the first page and, where there is one, the next.
    first_page: String,
    next_page: Option<String>,
    zone: String,
}

/// Returns a stored name in the form people read.
fn readable(name: &str) -> String {
    name.replace('_', " ")
}

/// Returns the text for a reason: its stored name, except where that reads badly.
fn why(reason: Reason) -> String {
    match reason {
        Reason::Wrong => "wrong code".to_owned(),
        Reason::Used => "code already used".to_owned(),
        Reason::Burned => "code invalidated before".to_owned(),
        Reason::Void => "sheet or override code no longer valid".to_owned(),
        Reason::NotACodeShape => "not a backup code".to_owned(),
        Reason::NotACodeTypo => "typing error".to_owned(),
        Reason::NotACodeOtherScript => "letters of another alphabet".to_owned(),
        Reason::NotACodeOtherFormat => "code of a format that is not accepted".to_owned(),
        Reason::Malformed => "stored code damaged".to_owned(),
        Reason::OnlyOwn => "only allowed for the user's own codes".to_owned(),
        Reason::NotOneself => "not allowed for the user's own codes".to_owned(),
        Reason::NoSuchSet => "no such prepared sheet".to_owned(),
        _ => readable(reason.as_str()),
    }
}

fn actor(event: &Event) -> String {
    match &event.actor {
        EventActor::System => "the application".to_owned(),
        EventActor::User(user) => user.to_string(),
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Makes the query for these filters.
fn query(app: &App, filter: &Filter) -> Result<AuditQuery, PageError> {
    let wrong = PageError::unprocessable;
    let mut query = AuditQuery::new().with_limit(ROWS);
    let user = filter.user.trim();
    if !user.is_empty() {
        let user = UserId::new(user).map_err(|_| wrong("This user name is too long."))?;
        query = query.with_user(user);
    }
    if !filter.event.is_empty() {
        let kind = EventKind::ALL
            .iter()
            .find(|kind| kind.as_str() == filter.event);
        query =
            query.with_kind(*kind.ok_or_else(|| {
                wrong("There is no event of this kind. Choose one from the list.")
            })?);
    }
    if !filter.day.is_empty() {
        let day = app.zone.day_of(&filter.day);
        let day = day.ok_or_else(|| wrong("Write the day as in 2026-11-24."))?;
        query = query.with_from(day.start).with_until(day.end);
    }
    if !filter.after.is_empty() {
        let position: Result<AuditPosition, _> = filter.after.parse();
        query = query.with_after(position.map_err(|_| {
            wrong("This link is not valid. Start again from the first page of the log.")
        })?);
    }
    Ok(query)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    app.codes.authorize_reports(&visitor.context).await?;
    let page = app.store.audit_page(&query(&app, &filter)?).await?;
    let line = |event: &Event| Line {
        at: app.zone.second(event.at),
        kind: readable(event.kind.as_str()),
        success: event.outcome == EventOutcome::Success,
        reason: event.reason.map(why).unwrap_or_default(),
        user: text(event.subject.as_ref()),
        actor: actor(event),
        address: text(event.address),
    };
    let kind = |kind: &EventKind| {
        let name = kind.as_str();
        (name, readable(name), name == filter.event)
    };
    let next = page.next.map(|position| position.to_string());
    draw(&AuditPage {
        frame: Frame::of(&app, &visitor, "audit").await?,
        kinds: EventKind::ALL.iter().map(kind).collect(),
        lines: page.events.iter().map(line).collect(),
        unreadable: page.unreadable,
        first_page: filter.link(String::new())?,
        next_page: next.map(|next| filter.link(next)).transpose()?,
        zone: app.zone.name(),
        filter,
    })
}

const CSV_HEAD: [&str; 10] = [
    "time",
    "event",
    "outcome",
    "reason",
    "user",
    "actor",
    "address",
    "user agent",
    "set",
    "left",
];

fn csv_line(event: &Event) -> String {
    let outcome = match event.outcome {
        EventOutcome::Success => "success",
        EventOutcome::Failure => "failure",
    };
    csv::line([
        &*event.at.to_string(),
        event.kind.as_str(),
        outcome,
        event.reason.map_or("", |reason| reason.as_str()),
        &text(event.subject.as_ref()),
        &actor(event),
        &text(event.address),
        event.user_agent.as_deref().unwrap_or_default(),
        &text(event.set.map(|set| set.label())),
        &text(event.remaining),
    ])
}

pub(crate) async fn csv(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    app.codes.authorize_reports(&visitor.context).await?;
    let query = query(&app, &filter)?;
    let lines = |events: Vec<Event>, unreadable: usize| async move {
        let mut text: String = events.iter().map(csv_line).collect();
        if unreadable > 0 {
            let count = unreadable.to_string();
            let mut cells = [""; CSV_HEAD.len()];
            (cells[1], cells[3]) = ("unreadable events", &count);
            text += &csv::line(cells);
        }
        Ok(text)
    };
    let body = export(app.store.clone(), query, csv::line(CSV_HEAD), lines);
    Ok(attachment(
        "text/csv; charset=utf-8; header=present",
        "audit.csv",
        body,
    ))
}

/// Exports the lines that the crate's own sink writes, and one that counts the events that cannot
/// be read.
pub(crate) async fn json_lines(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    app.codes.authorize_reports(&visitor.context).await?;
    let query = query(&app, &filter)?;
    let lines = |events: Vec<Event>, unreadable: usize| async move {
        let sink = JsonLines::new(Vec::new());
        sink.record(&events).await?;
        let mut text = csv::tame_json(&String::from_utf8_lossy(&sink.into_inner()));
        if unreadable > 0 {
            text += &format!("{}\n", json!({ "unreadable": unreadable }));
        }
        Ok(text)
    };
    let body = export(app.store.clone(), query, String::new(), lines);
    Ok(attachment(
        "application/jsonl; charset=utf-8",
        "audit.jsonl",
        body,
    ))
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Streams the log under these filters, a chunk at a time. Each chunk says how many of its events
/// cannot be read.
fn export<F>(
    store: SqliteRepository,
    query: AuditQuery,
    head: String,
    lines: impl Fn(Vec<Event>, usize) -> F + Send + 'static,
) -> Body
where
    F: Future<Output = Result<String, Broken>> + Send,
{
    let start = (Some(query.with_limit(PIECE)), Some(head), store, lines);
    Body::from_stream(try_unfold(
        start,
        |(query, head, store, lines)| async move {
            let Some(query) = query else {
                return Ok(None);
            };
            // The response has begun: an error here cuts it off, so that the user sees an
            // incomplete download.
            let page = store.audit_page(&query).await.inspect_err(|error| {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "an export was broken off");
            })?;
            let text = head.unwrap_or_default() + &lines(page.events, page.unreadable).await?;
            let next = page.next.map(|position| query.with_after(position));
            Ok::<_, Broken>(Some((text, (next, None, store, lines))))
        },
    ))
}

fn attachment(kind: &'static str, name: &'static str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, body).into_response()
}
