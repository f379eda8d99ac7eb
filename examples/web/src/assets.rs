//! The style sheet, the script and the icon.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../templates/style.css");
const ICON: &str = include_str!("../templates/icon.svg");
const SCRIPT: &str = include_str!("../templates/script.js");

/// A hash of the assets' contents, part of their addresses: browsers may cache each version for
/// ever.
pub(crate) const VERSION: u64 = fnv(STYLE) ^ fnv(SCRIPT).rotate_left(1) ^ fnv(ICON).rotate_left(2);

/// Computes FNV-1a, which tells versions apart and protects nothing.
const fn fnv(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut i) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let forever = "public, max-age=31536000, immutable";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, forever),
    ];
    (headers, text).into_response()
}

pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn icon() -> Response {
    asset("image/svg+xml", ICON)
}
