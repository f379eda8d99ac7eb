//! The routes, and the layers around all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::CsrfLayer;
use tower_http::timeout::TimeoutLayer;

use crate::app::App;
use crate::{
    assets, audit_page, authenticator_page, backup_codes_page, error_pages, login, profile_page,
    session, settings_page, user_page,
};

/// The longest form accepted, in bytes.
const LONGEST_FORM: usize = 16 * 1024;

/// The time after which a request, its form included, is ended: longer than writers wait for each
/// other. What the request had begun to write may have happened.
const LONGEST_REQUEST: Duration = Duration::from_secs(60);

/// Returns the router of all pages.
pub fn router(app: Arc<App>) -> Router {
    around(pages(&app), LONGEST_REQUEST).with_state(app)
}

fn pages(app: &Arc<App>) -> Router<Arc<App>> {
    let sessions = session::layer(app);
    let pages = Router::new()
        .route("/", get(|| async { Redirect::to("/profile") }))
        .route("/login", get(login::show).post(login::password))
        .route("/login/second", get(login::show_second))
        .route("/login/code", post(login::code))
        .route("/login/authenticator", post(login::authenticator))
        .route("/logout", post(login::logout))
        .route("/profile", get(profile_page::show))
        .route(
            "/profile/authenticator/prepare",
            post(authenticator_page::prepare),
        )
        .route(
            "/profile/authenticator/activate",
            post(authenticator_page::activate),
        )
        .route(
            "/profile/authenticator/remove",
            post(authenticator_page::remove),
        )
        .route("/profile/backup-codes", get(backup_codes_page::show))
        .route(
            "/profile/backup-codes/prepare",
            post(backup_codes_page::prepare),
        )
        .route(
            "/profile/backup-codes/download",
            post(backup_codes_page::download),
        )
        .route(
            "/profile/backup-codes/activate",
            post(backup_codes_page::activate),
        )
        .route(
            "/profile/backup-codes/discard",
            post(backup_codes_page::discard),
        )
        .route(
            "/profile/backup-codes/revoke",
            post(backup_codes_page::revoke),
        )
        .route(
            "/profile/backup-codes/check",
            post(backup_codes_page::check),
        )
        .route(
            "/settings/backup-codes",
            get(settings_page::show).post(settings_page::save),
        )
        .route("/settings/backup-codes/users/{user}", get(user_page::show))
        .route(
            "/settings/backup-codes/users/{user}/revoke",
            post(user_page::revoke),
        )
        .route(
            "/settings/backup-codes/users/{user}/unlock",
            post(user_page::unlock),
        )
        .route(
            "/settings/backup-codes/users/{user}/override",
            post(user_page::issue_override),
        )
        .route(
            "/settings/backup-codes/users/{user}/override/revoke",
            post(user_page::revoke_override),
        )
        .route("/audit", get(audit_page::show))
        .route("/audit.csv", get(audit_page::csv))
        .route("/audit.jsonl", get(audit_page::json_lines))
        .layer(sessions)
        .layer(from_fn_with_state(Arc::clone(app), session::repair_cookies))
        .layer(from_fn(error_pages::explain_session_errors))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
        // Besides this check, the cookie is SameSite=Strict.
        .layer(from_fn(forms_say_where_they_come_from))
        .layer(CsrfLayer::new());
    Router::new()
        .merge(pages)
        .route("/assets/style.css", get(assets::style))
        .route("/assets/script.js", get(assets::script))
        .route("/assets/icon.svg", get(assets::icon))
}

/// Adds the layers of every response.
fn around<S: Clone + Send + Sync + 'static>(pages: Router<S>, longest: Duration) -> Router<S> {
    // Not 408, after which browsers send a form again by themselves.
    let too_long = StatusCode::GATEWAY_TIMEOUT;
    pages
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(too_long, longest))
        .layer(from_fn(error_pages::draw_errors))
        .layer(from_fn(safe_headers))
}

/// Refuses a form without `Sec-Fetch-Site` and `Origin`. `CsrfLayer` lets it pass, since it cannot
/// come from a browser; these pages are for browsers only.
async fn forms_say_where_they_come_from(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    if says || matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    StatusCode::FORBIDDEN.into_response()
}

/// Sets the headers of every response. The default is `no-store`; a response may set its own
/// `Cache-Control`.
async fn safe_headers(request: Request, next: Next) -> Response {
    const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let all = [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`, under which browsers send forms with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_and_a_request_without_end_are_pages_too() {
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        let pages = Router::new()
            .route("/panics", get(panics))
            .route("/waits", get(std::future::pending::<()>));
        let pages = around(pages, Duration::from_millis(1)).with_state(());
        for (path, status, title) in [
            (
                "/panics",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong",
            ),
            ("/waits", StatusCode::GATEWAY_TIMEOUT, "Too slow"),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = pages.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[header::X_FRAME_OPTIONS], "DENY");
            let body = to_bytes(response.into_body(), 16_384).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(&format!("<h1>{title}</h1>")), "{body}");
            assert!(!body.contains("on purpose"), "{body}");
        }
    }
}
