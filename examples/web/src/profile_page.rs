//! Profile: the state of two-factor authentication.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::backup_codes_page::CodesView;
use crate::error_pages::PageError;
use crate::frame::{Frame, draw};
use crate::session::SignedIn;
use crate::users::User;

#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage {
    frame: Frame,
    user: User,
    codes: CodesView,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
) -> Result<Response, PageError> {
    let frame = Frame::of(&app, &visitor, "profile").await?;
    let status = app.codes.status(&visitor.subject, &visitor.context).await?;
    draw(&ProfilePage {
        frame,
        user: visitor.user,
        codes: CodesView::new(status, &app.zone),
    })
}
