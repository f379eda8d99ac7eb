//! Error pages that a person understands.

use std::borrow::Cow;
use std::time::Duration;

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use backup_codes::Error;
use backup_codes::policy::Denial;

use crate::passwords::PasswordError;

/// An error of a page. Its cause is logged where the error is made; the page tells the user what to
/// do.
#[derive(Debug, Clone)]
pub(crate) struct PageError {
    status: StatusCode,
    text: Cow<'static, str>,
    retry_after: Option<u64>,
}

/// The text for the error page of a response.
#[derive(Debug, Clone)]
struct Text(Cow<'static, str>);

impl PageError {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
        }
    }

    /// Returns the error for something in a form or a link that these pages never send.
    pub(crate) fn unprocessable(text: &'static str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, standard_text(StatusCode::NOT_FOUND))
    }

    pub(crate) fn too_many(wait: Duration) -> Self {
        Self {
            retry_after: Some(wait.as_secs().max(1)),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("There were too many tries. Try again in {}.", minutes(wait)),
            )
        }
    }

    fn busy(text: &'static str) -> Self {
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }

    /// Returns the error for a failure of the repository or of another part of the server, and logs
    /// it.
    pub(crate) fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a page failed");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, standard_text(status))
    }

    fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "the database did not answer as it should");
        Self::no_database()
    }

    fn no_database() -> Self {
        Self {
            retry_after: Some(10),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database did not answer as it should. Wait a moment, check whether your \
                 change was made, and try again if it was not.",
            )
        }
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(Denial::SettingsUnreadable) => Self::unavailable(&error),
            Error::Denied(denial) => Self::new(
                StatusCode::FORBIDDEN,
                format!("You may not do this: {denial}."),
            ),
            Error::Busy => Self::busy(
                "Too many codes are being checked at this moment. Nothing was counted against \
                 you. Try again in a few seconds.",
            ),
            Error::Contended => Self::busy(
                "These codes are being changed by another request at this moment. Nothing was \
                 counted against you. Try again in a few seconds.",
            ),
            Error::OverrideLifetime { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}."))
            }
            Error::Erased => Self::new(
                StatusCode::CONFLICT,
                "This user was erased; new codes can be made in a few days.",
            ),
            Error::Unavailable(_) => Self::unavailable(&error),
            other => Self::broken(&other),
        }
    }
}

impl From<sqlx::Error> for PageError {
    fn from(error: sqlx::Error) -> Self {
        Self::unavailable(&error)
    }
}

impl From<backup_codes_sqlx::Error> for PageError {
    fn from(error: backup_codes_sqlx::Error) -> Self {
        Self::unavailable(&error)
    }
}

impl From<tower_sessions::session::Error> for PageError {
    fn from(error: tower_sessions::session::Error) -> Self {
        Self::unavailable(&error)
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        Self::broken(&error)
    }
}

impl From<backup_codes::error::ValueError> for PageError {
    fn from(error: backup_codes::error::ValueError) -> Self {
        Self::broken(&error)
    }
}

impl From<PasswordError> for PageError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::busy(
                "Too many passwords are being checked at this moment. Try again in a few seconds.",
            ),
            PasswordError::Failed(_) => Self::broken(&error),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Text(self.text));
        response
    }
}

/// Replaces the bare 500 that the session layer sends, after logging why, when it can neither read
/// nor write a session: the database failed. Errors of pages have a text of their own.
pub(crate) async fn explain_session_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let bare = response.extensions().get::<Text>().is_none();
    if bare && response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        return PageError::no_database().into_response();
    }
    response
}

/// Returns a time in the form people read, rounded up to whole minutes.
pub(crate) fn minutes(time: Duration) -> String {
    match time.as_secs().div_ceil(60) {
        0 | 1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: crate::frame::Frame,
    status: u16,
    title: &'a str,
    text: &'a str,
}

/// Adds a page to every error response that has none, whether a handler, the router, an extractor
/// or a layer made it.
pub(crate) async fn draw_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let html = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    let drawn = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(html);
    if drawn || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = response.extensions().get::<Text>();
    let page = ErrorPage {
        frame: crate::frame::Frame::default(),
        status: status.as_u16(),
        title: title(status),
        text: text.map_or_else(|| standard_text(status), |text| &text.0),
    };
    let Ok(page) = page.render() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    (parts.status, parts.headers, Html(page)).into_response()
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "Request not understood",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::GATEWAY_TIMEOUT => "Too slow",
        StatusCode::CONFLICT => "Not possible now",
        StatusCode::PAYLOAD_TOO_LARGE => "Too long",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "Not a form",
        StatusCode::UNPROCESSABLE_ENTITY => "Not accepted",
        StatusCode::TOO_MANY_REQUESTS => "Too many tries",
        StatusCode::SERVICE_UNAVAILABLE => "Temporarily unavailable",
        _ => "Something went wrong",
    }
}

fn standard_text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => {
            "The request could not be read. Go back and send the form again."
        }
        StatusCode::FORBIDDEN => {
            "This request did not come from a page of this site, so nothing was done. Go to the \
             start page and try again from there."
        }
        StatusCode::NOT_FOUND => "There is no such page. Check the address.",
        StatusCode::METHOD_NOT_ALLOWED => {
            "This address only accepts a form. Go to the start page and try again from there."
        }
        StatusCode::GATEWAY_TIMEOUT => {
            "This took too long. Check whether your change was made, and try again if it was not."
        }
        StatusCode::PAYLOAD_TOO_LARGE => "The form was too long. Shorten what you typed.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "This address only accepts a form of this site.",
        StatusCode::UNPROCESSABLE_ENTITY => {
            "A field of the form is missing or wrong. Go back and send the form again."
        }
        StatusCode::SERVICE_UNAVAILABLE => "Try again in a few seconds.",
        _ => {
            "This is an error of the site, and it was logged. Check whether your change was made, and \
             try again later if it was not."
        }
    }
}
