//! The frame of every page: the signed-in user, the navigation, the message of the previous step.

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
    /// The name of the signed-in user.
    pub(crate) user: Option<String>,
    /// True if the navigation offers the pages of administrators.
    pub(crate) administrator: bool,
    /// The part of the site that the page is in: `profile`, `settings` or `audit`.
    pub(crate) part: &'static str,
    pub(crate) flash: Option<Flash>,
}

impl Frame {
    /// Returns the frame of a page for a signed-in user.
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

    /// Sets the message.
    pub(crate) fn saying(self, good: bool, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            flash: Some(Flash { good, text }),
            ..self
        }
    }
}

/// Renders a page.
pub(crate) fn draw(template: &impl Template) -> Result<Response, PageError> {
    Ok(Html(template.render()?).into_response())
}

/// Renders a page that shows a secret. The page is written into memory of its final size, because a
/// text that grows leaves copies behind, and that memory is wiped once the page has been sent.
pub(crate) fn draw_secret(template: &impl Template) -> Result<Response, PageError> {
    let mut length = Length(0);
    template.render_into(&mut length)?;
    let mut page = Zeroizing::new(String::with_capacity(length.0));
    template.render_into(&mut *page)?;
    Ok(Html(wiped_when_sent(page)).into_response())
}

/// Returns a body whose text is wiped when the server drops it.
pub(crate) fn wiped_when_sent(text: Zeroizing<String>) -> Body {
    Bytes::from_owner(text).into()
}

/// A writer that counts the bytes of a text instead of keeping them.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Answers a form that succeeded: a redirect, and a message for the page it leads to.
pub(crate) async fn done(
    visitor: &Visitor,
    text: impl Into<String>,
    to: &str,
) -> Result<Response, PageError> {
    leave_flash(&visitor.session, true, text).await?;
    Ok(Redirect::to(to).into_response())
}

/// Answers a form that failed: a redirect, and a message for the page it leads to.
pub(crate) async fn not_done(
    visitor: &Visitor,
    text: impl Into<String>,
    to: &str,
) -> Result<Response, PageError> {
    leave_flash(&visitor.session, false, text).await?;
    Ok(Redirect::to(to).into_response())
}
