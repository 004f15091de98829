//! Matches the server's rows to alerts.
//!
//! The server counts rows of a type to name an alert's files. So alert n (from 0) is row n of its type, skipping
//! duplicates of earlier rows: gwtm_cron posts them when it receives a notice twice, and a very late POST is one, too.

use shared::key::{AlertKind, AlertName, Object};
use shared::notice::igwn::Notice;
use shared::notice::parse_time;
use shared::{Error, Result};
use treasuremap::{Difference, PostAlert, Row, Times};

use crate::Deps;

/// An alert's place among the rows of its type.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Its row; `None` when it is next to be posted.
    pub row: Option<Row>,
    /// Duplicate rows before it.
    pub copies: Vec<i64>,
}

/// Reads the times of an alert's archived notice, including those of gwtm_cron's row; none without a valid notice.
///
/// # Errors
/// The store's errors.
async fn archived(deps: &Deps, name: &AlertName) -> Result<Times> {
    let Some(bytes) = deps.store.get(&Object::Notice(name).key()?).await? else { return Ok(Times::default()) };
    let external = name.alert_type.external;
    let read = move || {
        let notice = Notice::parse(&bytes).ok()?;
        let (own, combined) = (notice.skymap, notice.combined_skymap);
        // For a coincidence without a combined map, gwtm_cron posts the event's own times.
        let map = if external { combined.or(own) } else { own };
        let date = |keyword: &str| parse_time(&card(map.as_ref()?, keyword)?).ok();
        Some(Times {
            created: Some(notice.time_created),
            signal: date("DATE-OBS").or(notice.event.as_ref().map(|event| event.time)),
            map_date: date("DATE"),
            retraction: notice.kind == AlertKind::Retraction,
        })
    };
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.map_err(|error| Error::permanent(error.to_string()))?.unwrap_or_default())
}

/// The first difference between a row's times and those that this software posts.
fn disagreement(times: &Times, row: &Row) -> Option<String> {
    let Difference { field, expected, found } = times.differences(row).next()?;
    Some(format!("expected {field} {expected}, found {found}"))
}

/// A keyword's string value in a FITS file's headers: cards of 80 bytes up to the END of the table's header.
fn card(file: &[u8], keyword: &str) -> Option<String> {
    let cards = file.chunks_exact(80);
    let mut ends = 0;
    let of_headers = cards.take_while(|card| {
        ends += usize::from(card.starts_with(b"END     "));
        ends < 2
    });
    let mut found = of_headers.filter_map(|card| std::str::from_utf8(card).ok()?.split_once('='));
    let (_, value) = found.find(|(name, _)| name.trim_end() == keyword)?;
    Some(value.trim_start().strip_prefix('\'')?.split('\'').next()?.trim_end().to_owned())
}

/// Finds the alert's place among the rows of its superevent and type, in order of arrival.
///
/// # Errors
/// Permanent, when its row belongs to a different alert; Retryable, when an earlier alert's row is missing; the store's
/// errors.
pub(crate) async fn place(deps: &Deps, name: &AlertName, body: &PostAlert, rows: &[Row]) -> Result<Placed> {
    let n = name.n as usize;
    let own = Times::of(body);
    let doubled = (0..rows.len()).any(|i| rows[i].repeats(&rows[..i]));
    let is_plain = rows.get(n).is_none_or(|row| own.agrees(row));
    if is_plain && !doubled {
        return align(name, &vec![Times::default(); n], &own, rows);
    }
    // The earlier alerts' times distinguish duplicates from alerts.
    let mut before = Vec::new();
    if doubled {
        for n in 0..name.n {
            before.push(archived(deps, &AlertName { n, ..name.clone() }).await?);
        }
    }
    before.resize(n, Times::default());
    align(name, &before, &with_archived(deps, name, own).await?, rows)
}

/// Finds the alert's row by its times only, for alerts whose `n` does not determine the place.
///
/// # Errors
/// The store's errors.
pub(crate) async fn find(deps: &Deps, name: &AlertName, body: &PostAlert, rows: &[Row]) -> Result<Option<Row>> {
    let own = Times::of(body);
    if let Some(row) = rows.iter().find(|row| own.differences(row).next().is_none()) {
        return Ok(Some(row.clone()));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let own = with_archived(deps, name, own).await?;
    Ok(rows.iter().find(|row| own.is_cron(row)).cloned())
}

/// Adds the archived notice's times of gwtm_cron's row to a body's times.
async fn with_archived(deps: &Deps, name: &AlertName, own: Times) -> Result<Times> {
    let Times { map_date, retraction, .. } = archived(deps, name).await?;
    Ok(Times { map_date, retraction, ..own })
}

/// Assigns rows to the earlier alerts in order, skipping duplicates, and returns the alert's row.
fn align(name: &AlertName, before: &[Times], own: &Times, rows: &[Row]) -> Result<Placed> {
    let mut copies = Vec::new();
    let mut at = 0;
    for (k, times) in before.iter().chain([own]).enumerate() {
        // Any row may belong to an alert without an archived notice.
        let known = times.created.is_some();
        while let Some(row) = rows.get(at).filter(|row| known && !times.agrees(row) && row.repeats(&rows[..at])) {
            copies.push(row.id);
            at += 1;
        }
        if at == rows.len() && k < before.len() {
            return Err(Error::retryable(format!(
                "waiting for row {} of type `{}` of `{}`, found {} rows",
                name.n - 1,
                name.alert_type,
                name.superevent_id,
                rows.len()
            )));
        }
        at += usize::from(k < before.len());
    }
    let Some(row) = rows.get(at) else { return Ok(Placed { row: None, copies }) };
    let elsewhere = || rows.iter().find(|row| own.differences(row).next().is_none());
    match disagreement(own, row) {
        Some(how) if !own.agrees(row) => match elsewhere() {
            Some(row) => Ok(Placed { row: Some(row.clone()), copies }),
            None => Err(Error::permanent(format!(
                "row {at} of type `{}` of `{}` (id {}) belongs to a different alert: {how}",
                name.alert_type, name.superevent_id, row.id
            ))),
        },
        _ => Ok(Placed { row: Some(row.clone()), copies }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, timesent: &str) -> Row {
        let row =
            serde_json::json!({ "id": id, "graceid": "S230518h", "alert_type": "Preliminary", "timesent": timesent });
        serde_json::from_value(row).expect("a row")
    }

    fn times(created: &str, map_date: Option<&str>) -> Times {
        let time = |text: &str| parse_time(text).expect("a time");
        Times { created: Some(time(created)), signal: None, map_date: map_date.map(time), retraction: false }
    }

    /// Row id of the last of these alerts.
    fn of(alerts: &[&Times], rows: &[Row]) -> Result<Option<i64>> {
        let mut name: AlertName = "S230518h-Preliminary".parse().expect("a name");
        let (own, before) = alerts.split_last().expect("an alert");
        name.n = before.len() as u32;
        let before: Vec<Times> = before.iter().map(|times| (*times).clone()).collect();
        align(&name, &before, own, rows).map(|placed| placed.row.map(|row| row.id))
    }

    const A: &str = "2023-05-18T12:59:30Z";
    const B: &str = "2023-05-18T13:10:00Z";
    const C: &str = "2023-05-18T14:00:00Z";
    const DATE: &str = "2023-05-18T12:58:00Z";

    #[test]
    fn alert_n_is_row_n() {
        let rows = [row(4, A), row(9, "2023-05-18T13:10:00.25")];
        let [a, b, c] = [A, B, C].map(|time| times(time, None));
        let unknown = Times::default();
        assert_eq!(of(&[&a], &rows), Ok(Some(4)));
        assert_eq!(of(&[&unknown, &b], &rows), Ok(Some(9)));
        assert_eq!(of(&[&a, &b, &c], &rows), Ok(None));
        assert_eq!(of(&[&a], &[]), Ok(None));
        let early = of(&[&a, &b, &c, &times("2023-05-18T15:00:00Z", None)], &rows).expect_err("too early");
        assert!(early.is_retryable() && early.to_string().contains("waiting for row 2"), "{early}");
        let other = of(&[&a, &c], &rows).expect_err("another alert");
        assert!(!other.is_retryable() && other.to_string().contains("timesent"), "{other}");
    }

    #[test]
    fn skips_duplicate_rows() {
        let [a, b, c] = [A, B, C].map(|time| times(time, None));
        // One or two duplicates, before and after other rows.
        assert_eq!(of(&[&a, &b], &[row(1, A), row(2, A)]), Ok(None));
        assert_eq!(of(&[&a, &b], &[row(1, A), row(2, A), row(3, B)]), Ok(Some(3)));
        assert_eq!(of(&[&a, &b, &c], &[row(1, A), row(2, B), row(3, A)]), Ok(None));
        assert_eq!(of(&[&a, &b, &c], &[row(1, A), row(2, A), row(3, A), row(4, B)]), Ok(None));
        // The earlier alert's row is missing, although there are two rows.
        let early = of(&[&a, &b, &c], &[row(1, A), row(2, A)]).expect_err("too early");
        assert!(early.is_retryable(), "{early}");
    }

    #[test]
    fn matches_rows_of_gwtm_cron_to_alerts_that_share_a_map() {
        // Two preliminaries share a map, so gwtm_cron posts the same DATE for both.
        let [a, b] = [A, B].map(|time| times(time, Some(DATE)));
        let rows = [row(1, DATE), row(2, DATE)];
        assert_eq!(of(&[&a], &rows), Ok(Some(1)));
        assert_eq!(of(&[&a, &b], &rows), Ok(Some(2)));
        assert_eq!(of(&[&a, &b, &times(C, None)], &rows), Ok(None));
        assert_eq!(of(&[&a, &b], &rows[..1]), Ok(None));
    }
}
