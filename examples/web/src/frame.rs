//! What surrounds every page: who is signed in, where one can go, the message of the step before.

use std::fmt;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use backup_codes::policy::{Action, Decision};
use zeroize::Zeroizing;

use crate::app::App;
use crate::error_pages::PageError;
use crate::session::{Flash, Visitor, leave_flash, take_flash};

/// A page's frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// The name of whoever is signed in.
    pub(crate) user: Option<String>,
    /// Whether the pages of administrators are offered.
    pub(crate) administrator: bool,
    /// The part of the site the page is in: `profile`, `settings` or `audit`.
    pub(crate) part: &'static str,
    pub(crate) flash: Option<Flash>,
}

impl Frame {
    /// The frame of a page for somebody signed in.
    pub(crate) async fn of(
        app: &App,
        visitor: &Visitor,
        part: &'static str,
    ) -> Result<Self, PageError> {
        let reads = app.would_allow(&visitor.subject, Action::ReadReports);
        Ok(Self {
            user: Some(visitor.user.name.clone()),
            administrator: reads == Decision::Allow,
            part,
            flash: take_flash(&visitor.session).await?,
        })
    }

    /// The same frame with this message.
    pub(crate) fn saying(self, good: bool, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            flash: Some(Flash { good, text }),
            ..self
        }
    }
}

/// Draws a page.
pub(crate) fn draw(template: &impl Template) -> Result<Response, PageError> {
    Ok(Html(template.render()?).into_response())
}

/// Renders a page that shows a secret. The page is written into memory of its final size, because a
/// text that grows leaves copies behind, and that memory is wiped once the page was sent.
pub(crate) fn draw_secret(template: &impl Template) -> Result<Response, PageError> {
    let mut length = Length(0);
    template.render_into(&mut length)?;
    let mut page = Zeroizing::new(String::with_capacity(length.0));
    template.render_into(&mut *page)?;
    Ok(Html(wiped_when_sent(page)).into_response())
}

/// A body whose text is wiped when the server is done with it.
pub(crate) fn wiped_when_sent(text: Zeroizing<String>) -> Body {
    Bytes::from_owner(text).into()
}

/// Counts the bytes of a text instead of keeping them.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// The answer to a form: a message, to be shown where it leads to.
pub(crate) async fn done(
    visitor: &Visitor,
    text: impl Into<String>,
    to: &str,
) -> Result<Response, PageError> {
    leave_flash(&visitor.session, true, text).await?;
    Ok(Redirect::to(to).into_response())
}

/// The same where it did not work.
pub(crate) async fn not_done(
    visitor: &Visitor,
    text: impl Into<String>,
    to: &str,
) -> Result<Response, PageError> {
    leave_flash(&visitor.session, false, text).await?;
    Ok(Redirect::to(to).into_response())
}
