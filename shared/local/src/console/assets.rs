//! The scripts, the style and the icon, embedded in the binary.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use pushbox::Problem;
use sha2::{Digest, Sha256};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The name, the media type and the content.
const ASSETS: [(&str, &str, &str); 9] = [
    ("console.css", "text/css; charset=utf-8", include_str!("assets/console.css")),
    ("map.css", "text/css; charset=utf-8", include_str!("assets/map.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("main.js", SCRIPT, include_str!("assets/main.js")),
    ("stream.js", SCRIPT, include_str!("assets/stream.js")),
    ("parts.js", SCRIPT, include_str!("assets/parts.js")),
    ("actions.js", SCRIPT, include_str!("assets/actions.js")),
    ("filters.js", SCRIPT, include_str!("assets/filters.js")),
    ("map.js", SCRIPT, include_str!("assets/map.js")),
];

/// A digest of all assets. A browser that has an older release loads them again.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut hash = Sha256::new();
        ASSETS.iter().for_each(|(_, _, content)| hash.update(content));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    });
    &VERSION
}

pub(crate) async fn show(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(asset, ..)| *asset == name);
    let (_, media, content) = found.ok_or_else(|| Problem::not_found(format_args!("asset: {name}")))?;
    let tag = format!("\"{}\"", version());
    // A browser asks each time, because a module imports others without the version in their URL.
    let about = [
        (ETAG, tag.clone()),
        (CACHE_CONTROL, "no-cache".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, [(CONTENT_TYPE, *media)], *content).into_response())
}
