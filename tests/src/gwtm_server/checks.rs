//! Validation of the GWTM: types, ranges and column lengths, naming every failing field.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

/// A time of the database: naive UTC.
pub(super) fn naive(text: &str) -> Option<DateTime> {
    text.parse::<Timestamp>()
        .map(|time| time.to_zoned(TimeZone::UTC).datetime())
        .or_else(|_| text.parse::<DateTime>())
        .ok()
}

/// A time in the server's format.
pub(super) fn iso(time: DateTime) -> String {
    let text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match time.subsec_nanosecond() / 1000 {
        0 => text,
        micros => format!("{text}.{micros:06}"),
    }
}

/// Checks one JSON object; [`Checks::errors`] is the `errors` of a 400.
pub(super) struct Checks<'a> {
    fields: &'a Map<String, Value>,
    at: String,
    pub(super) errors: Vec<Value>,
    pub(super) too_long: bool,
}

impl<'a> Checks<'a> {
    pub(super) fn new(fields: &'a Map<String, Value>, at: impl Into<String>) -> Self {
        Checks { fields, at: at.into(), errors: Vec::new(), too_long: false }
    }

    fn error(&mut self, field: &str, message: &str, kind: &str) {
        self.errors.push(json!({
            "message": message,
            "code": "validation_error",
            "params": { "field": format!("{}.{field}", self.at), "type": kind },
        }));
    }

    fn value(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, field: &str) {
        match self.fields.get(field) {
            None => self.error(field, "Field required", "missing"),
            Some(Value::Null) => self.error(field, "Input should not be null", "null_type"),
            Some(_) => {}
        }
    }

    pub(super) fn string(&mut self, field: &str, column: usize) -> Value {
        match self.value(field) {
            None => Value::Null,
            Some(Value::String(text)) => {
                self.too_long |= text.chars().count() > column;
                json!(text)
            }
            Some(_) => {
                self.error(field, "Input should be a valid string", "string_type");
                Value::Null
            }
        }
    }

    pub(super) fn time(&mut self, field: &str) -> Value {
        match self.value(field) {
            None => Value::Null,
            Some(value) => match value.as_str().and_then(naive) {
                Some(time) => json!(iso(time)),
                None => {
                    self.error(field, "Input should be a valid datetime", "datetime_parsing");
                    Value::Null
                }
            },
        }
    }

    /// An int4 column.
    pub(super) fn integer(&mut self, field: &str) -> Value {
        match self.value(field) {
            None => Value::Null,
            Some(value) => match value.as_i64() {
                Some(number) => {
                    self.too_long |= i32::try_from(number).is_err();
                    json!(number)
                }
                None => {
                    self.error(field, "Input should be a valid integer", "int_parsing");
                    Value::Null
                }
            },
        }
    }

    pub(super) fn number(&mut self, field: &str, least: f64, greatest: f64) -> Value {
        match self.value(field) {
            None => Value::Null,
            Some(value) => match value.as_f64() {
                None => {
                    self.error(field, "Input should be a valid number", "float_parsing");
                    Value::Null
                }
                Some(number) if number < least => {
                    self.error(field, "Input should be greater than or equal to the limit", "greater_than_equal");
                    Value::Null
                }
                Some(number) if number > greatest => {
                    self.error(field, "Input should be less than or equal to the limit", "less_than_equal");
                    Value::Null
                }
                Some(number) => json!(number),
            },
        }
    }

    pub(super) fn any_number(&mut self, field: &str) -> Value {
        self.number(field, f64::MIN, f64::MAX)
    }
}

/// A NUL anywhere in a body.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// The row of an alert, as `post_alert` stores it.
pub(super) fn alert_row(checks: &mut Checks) -> Map<String, Value> {
    for field in ["graceid", "role", "alert_type"] {
        checks.required(field);
    }
    let mut row = Map::new();
    let texts = [
        ("graceid", 50),
        ("role", 20),
        ("alert_type", 50),
        ("alternateid", 50),
        ("group", 50),
        ("pipeline", 50),
        ("search", 50),
        ("ext_coinc_observatory", 50),
        ("ext_coinc_search", 50),
        ("detectors", 100),
        ("ivorn", 100),
        ("description", 500),
        ("skymap_fits_url", 500),
        ("observing_run", 20),
    ];
    for (field, column) in texts {
        row.insert(field.to_owned(), checks.string(field, column));
    }
    for field in ["timesent", "time_of_signal", "datecreated"] {
        row.insert(field.to_owned(), checks.time(field));
    }
    for field in ["packet_type", "gcn_notice_id"] {
        row.insert(field.to_owned(), checks.integer(field));
    }
    for field in ["prob_bns", "prob_nsbh", "prob_bbh", "prob_gap", "prob_terrestrial", "prob_hasns", "prob_hasremenant"]
    {
        row.insert(field.to_owned(), checks.number(field, 0.0, 1.0));
    }
    row.insert("avgra".to_owned(), checks.number("avgra", 0.0, 360.0));
    row.insert("avgdec".to_owned(), checks.number("avgdec", -90.0, 90.0));
    for field in ["area_50", "area_90"] {
        row.insert(field.to_owned(), checks.number(field, 0.0, f64::MAX));
    }
    let free =
        ["centralfreq", "duration", "time_difference", "time_coincidence_far", "time_sky_position_coincidence_far"];
    for field in free {
        row.insert(field.to_owned(), checks.any_number(field));
    }
    // Null becomes 0, a negative distance null.
    let far = checks.number("far", 0.0, f64::MAX);
    row.insert("far".to_owned(), if far.is_null() { json!(0.0) } else { far });
    for field in ["distance", "distance_error"] {
        let value = checks.any_number(field);
        row.insert(field.to_owned(), if value.as_f64().is_some_and(|value| value < 0.0) { Value::Null } else { value });
    }
    row
}

/// An IceCube search and its events, as `post_icecube_notice` stores them.
pub(super) fn icecube_row(checks: &mut Checks, ref_id: &str) -> Map<String, Value> {
    checks.required(ref_id);
    checks.required("graceid");
    let mut row = Map::new();
    row.insert("ref_id".to_owned(), checks.string(ref_id, usize::MAX));
    row.insert("graceid".to_owned(), checks.string("graceid", usize::MAX));
    for field in ["alert_datetime", "observation_start", "observation_stop"] {
        row.insert(field.to_owned(), checks.time(field));
    }
    for field in [
        "pval_generic",
        "pval_bayesian",
        "most_probable_direction_ra",
        "most_probable_direction_dec",
        "flux_sens_low",
        "flux_sens_high",
        "sens_energy_range_low",
        "sens_energy_range_high",
    ] {
        row.insert(field.to_owned(), checks.any_number(field));
    }
    row
}

/// One neutrino candidate.
pub(super) fn icecube_event(checks: &mut Checks) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("uncertainty_shape".to_owned(), checks.string("uncertainty_shape", usize::MAX));
    for field in [
        "event_dt",
        "ra",
        "dec",
        "ra_uncertainty",
        "containment_probability",
        "event_pval_generic",
        "event_pval_bayesian",
    ] {
        row.insert(field.to_owned(), checks.any_number(field));
    }
    row
}

/// One galaxy of a list.
pub(super) fn galaxy(checks: &mut Checks) {
    for field in ["name", "score", "rank"] {
        checks.required(field);
    }
    checks.string("name", usize::MAX);
    checks.any_number("score");
    checks.integer("rank");
    checks.required("ra");
    checks.required("dec");
    checks.any_number("ra");
    checks.any_number("dec");
}
