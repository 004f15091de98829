//! Where an alert's map was posted.

use serde::Deserialize;

/// The URL of the map in a posted alert; none in one that names an object of the store, or cannot be read.
pub(crate) fn map_url(body: &[u8]) -> Option<String> {
    /// The part of `post_alert` that has it: a URL at GraceDB, or the name of an object.
    #[derive(Deserialize)]
    struct PostedMap {
        skymap_fits_url: Option<String>,
    }
    let posted: PostedMap = serde_json::from_slice(body).ok()?;
    posted.skymap_fits_url.filter(|url| is_web(url))
}

/// Whether a text is an address that a browser opens.
pub(crate) fn is_web(url: &str) -> bool {
    ["https://", "http://"].iter().any(|start| url.starts_with(start))
}
