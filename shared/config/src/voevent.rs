//! VOEVENT_STREAM: whose VOEvents are written.

use shared::settings::Reader;

/// Author and stream of the VOEvents, `ivo://treasure-map-functions/lvk`; `None` when they are disabled.
pub(super) fn stream(settings: &mut Reader<'_>) -> Option<String> {
    let name = "VOEVENT_STREAM";
    let stream = settings.text(name).unwrap_or_default();
    if stream.eq_ignore_ascii_case("none") {
        return None;
    }
    if !is_stream(&stream) {
        let expected = "`none` or an IVOA identifier such as `ivo://treasure-map-functions/lvk`";
        settings.problem(name, expected, &stream);
    }
    Some(stream)
}

/// Whether a text is an IVOA identifier with a resource and without a fragment (IVOA Identifiers 2.0, section 2.3):
/// an authority of at least three characters, then the path of the resource.
fn is_stream(text: &str) -> bool {
    let valid = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~*'()".contains(c);
        !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed)
    };
    let Some(identifier) = text.strip_prefix("ivo://") else { return false };
    let Some((authority, resource)) = identifier.split_once('/') else { return false };
    let starts = authority.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts
        && authority.len() >= 3
        && valid(authority)
        && resource.split('/').all(valid)
        && text.len() <= MAX_STREAM_BYTES
}

/// Maximum length of the identifier [bytes]; it is repeated in every citation.
const MAX_STREAM_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn stream_is_an_ivoa_identifier_without_a_fragment() {
        for text in ["ivo://treasure-map-functions/lvk", "ivo://org.example/a/b.c", "ivo://a12/x"] {
            assert!(is_stream(text), "{text}");
        }
        for text in [
            "",
            "ivo://",
            "ivo://treasure-map-functions",
            "ivo://treasure-map-functions/",
            "ivo://ab/lvk",
            "ivo://-abc/lvk",
            "ivo://abc/lvk/",
            "ivo://abc/../lvk",
            "ivo://abc/lvk#S1",
            "ivo://abc/l vk",
            "ivo://abc/lvk\"",
            "https://abc/lvk",
        ] {
            assert!(!is_stream(text), "{text}");
        }
    }

    #[test]
    fn none_disables_voevents_and_other_texts_are_refused() {
        let read = |stream: &str| {
            let stream = stream.to_owned();
            Config::read(&move |name| (name == "VOEVENT_STREAM").then(|| stream.clone()))
        };
        let default = Config::read(&|_| None).expect("defaults");
        assert_eq!(default.voevent_stream.as_deref(), Some("ivo://treasure-map-functions/lvk"));
        assert_eq!(read("none").expect("settings").voevent_stream, None);
        let error = read("lvk").expect_err("no identifier").to_string();
        assert!(error.contains("VOEVENT_STREAM") && error.contains("found `lvk`"), "{error}");
    }
}
