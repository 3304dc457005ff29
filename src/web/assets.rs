//! What pages load: style sheets, scripts and icons, embedded in the program.
//!
//! Each is served under a name that has the hash of its content, so a browser keeps
//! it for ever and a new version is another file.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ring::digest;

use super::status;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, kind and content.
const FILES: [(&str, &str, &str); 9] = [
    ("tokens.css", CSS, include_str!("assets/tokens.css")),
    ("app.css", CSS, include_str!("assets/app.css")),
    ("tools.css", CSS, include_str!("assets/tools.css")),
    ("forms.css", CSS, include_str!("assets/forms.css")),
    ("app.js", JS, include_str!("assets/app.js")),
    ("theme.js", JS, include_str!("assets/theme.js")),
    ("icon.svg", SVG, include_str!("assets/icon.svg")),
    ("uplot.css", CSS, include_str!("assets/vendor/uplot.css")),
    ("uplot.js", JS, include_str!("assets/vendor/uplot.js")),
];

/// A year, which is as long as browsers keep anything.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

struct Asset {
    name: &'static str,
    url: String,
    kind: &'static str,
    content: &'static str,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |(name, kind, content): (&'static str, _, &'static str)| {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let url = format!("/assets/{stem}.{}.{extension}", short_hash(content.as_bytes()));
        Asset { name, url, kind, content }
    };
    FILES.into_iter().map(asset).collect()
});

/// Where pages find an asset; empty for a name that there is not, which a test of
/// the templates would notice.
pub fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.url.as_str())
}

/// Serves them. They are nobody's secret: the page to sign in needs them.
pub fn router() -> Router {
    Router::new().route("/assets/{file}", get(serve))
}

async fn serve(Path(file): Path<String>) -> Response {
    let wanted = ASSETS.iter().find(|asset| asset.url.strip_prefix("/assets/") == Some(&file));
    let Some(asset) = wanted else { return status::not_found().await };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    (headers, asset.content).into_response()
}

/// The first 64 bits of its SHA-256, which nobody attacks here: they tell versions
/// apart.
fn short_hash(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    hash.as_ref().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_asset_is_served_under_its_hash_and_for_ever() {
        for (name, kind, content) in FILES {
            let file = url(name).strip_prefix("/assets/").expect("a URL").to_owned();
            let answer = serve(Path(file)).await;
            assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
            assert_eq!(answer.headers()[header::CACHE_CONTROL], IMMUTABLE);
            assert!(!content.is_empty(), "{name}");
        }
        for stale in ["app.css", "app.0000000000000000.css", "", "../Cargo.toml"] {
            assert_eq!(serve(Path(stale.to_owned())).await.status(), 404, "{stale}");
        }
    }
}
