//! What is said of an alert.

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use shared::message::Role;
use shared::{Context, Error, Result};

use super::Content;
use crate::annotations::Annotations;
use crate::sites;
use crate::text::{chirp_mass, number, of_level, place, probabilities, rate};

/// One line about an alert.
pub(super) fn line(annotations: &Annotations) -> String {
    let mut words = vec![annotations.name.to_string()];
    if annotations.role == Role::Test {
        words.push("test event".to_owned());
    }
    if annotations.tags.iter().any(|tag| tag == "Retraction") {
        words.push("the event is retracted".to_owned());
    }
    if let Some(event) = &annotations.event {
        words.extend(probabilities(&event.classification));
        let chirp_mass = event.mchirp_source.as_ref().and_then(|bins| chirp_mass(bins, 1));
        words.extend(chirp_mass.map(|text| format!("chirp mass {text}")));
        words.extend(event.far.map(|far| format!("FAR {}", rate(far))));
    }
    if let Some(skymap) = &annotations.skymap {
        words.extend(of_level(&skymap.posted_area_deg2, "90").map(|area| format!("90 % in {} deg²", number(area))));
        words.push(place(skymap.peak.ra_deg, skymap.peak.dec_deg));
        words.extend(skymap.distance.as_ref().map(|distance| {
            let (mean, std) =
                (distance.posted_mean.unwrap_or(distance.mean), distance.posted_std.unwrap_or(distance.std));
            format!("{} ± {} Mpc", number(mean), number(std))
        }));
    }
    words.extend(annotations.sites.iter().map(sites::in_words));
    words.extend(annotations.rubin.class.as_ref().map(|class| format!("Rubin {class}")));
    words.extend(annotations.event.as_ref().and_then(|event| event.gracedb_url.clone()));
    words.extend(annotations.unread.iter().map(|key| format!("without `{key}`, which could not be read")));
    words.join(" · ")
}

/// The line, marked when it is a test.
pub(super) fn marked(content: &Content, test: bool) -> String {
    format!("{}{}", if test { "[TEST] " } else { "" }, content.line)
}

/// A message as Slack takes it.
pub(super) fn slack(content: &Content, test: bool) -> String {
    // https://api.slack.com/reference/surfaces/formatting#escaping
    let text = marked(content, test).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": text }).to_string()
}

/// A template with its fields filled in: `{{name}}`, `{{skymap.area_deg2.90}}`, `{{text}}` for the line, and a mail's
/// `{{subject}}` and `{{gcn_notice}}`.
///
/// In JSON a text is escaped as inside quotes, and what is absent is `null`; elsewhere it is nothing.
///
/// # Errors
/// Permanent, for a field that does not end, and when the result is no JSON although it is to be.
pub(super) fn filled(template: &str, content_type: &str, content: &Content, test: bool) -> Result<String> {
    let is_json = content_type.contains("json");
    let mut fields = content.fields.clone();
    fields["text"] = marked(content, test).into();
    fields["test"] = test.into();
    fields["subject"] = content.letter.subject(test).into();
    fields["gcn_notice"] = content.letter.classic.text(test).into();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (path, after) =
            after.split_once("}}").ok_or_else(|| Error::permanent("template: expected `}}` after `{{`, found none"))?;
        text.push_str(before);
        let field = path.trim().split('.').fold(&fields, |within, name| &within[name]);
        text.push_str(&written(field, is_json));
        rest = after;
    }
    text.push_str(rest);
    if is_json {
        serde_json::from_str::<IgnoredAny>(&text).permanent("template: expected JSON once it is filled in")?;
    }
    Ok(text)
}

fn written(field: &Value, is_json: bool) -> String {
    let escaped = |text: &str| match serde_json::to_string(text) {
        Ok(quoted) if is_json => quoted[1..quoted.len() - 1].to_owned(),
        _ => text.to_owned(),
    };
    match field {
        Value::Null if is_json => "null".to_owned(),
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        Value::Array(items) => items.iter().map(|item| written(item, is_json)).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
