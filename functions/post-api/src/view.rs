//! Copies a superevent's newest map to the name that the website uses.
//!
//! The server derives the name from the newest row by `datecreated` and the number of rows of its type. Duplicate rows
//! make it differ from the alert's name.

use shared::Result;
use shared::key::{AlertName, Object};
use shared::notice::parse_time;
use treasuremap::Row;

use crate::Deps;

/// Copies contours and flat map of the superevent's newest alert to the name that the server derives, if it differs.
/// `rows`: all rows of the superevent.
///
/// # Errors
/// The store's errors.
pub(crate) async fn keep(deps: &Deps, name: &AlertName, own: &Row, rows: &[Row]) -> Result<()> {
    let Some(served) = served(name, rows) else { return Ok(()) };
    if !deps.store.writes() || served == *name || rows.iter().any(|row| is_newer(row, own)) {
        return Ok(());
    }
    if deps.store.head(&Object::Notice(&served).key()?).await?.is_some() {
        tracing::warn!(alert_name = %name, "the website shows the files of `{served}`, a different alert");
        return Ok(());
    }
    for (from, to) in
        [(Object::Contours(name), Object::Contours(&served)), (Object::FlatMap(name), Object::FlatMap(&served))]
    {
        let (from, to) = (from.key()?, to.key()?);
        let Some(bytes) = deps.store.get(&from).await? else { continue };
        if deps.store.put_if_changed(&to, bytes).await? {
            tracing::info!(alert_name = %name, object_key = %to, "copied to the name that the website uses");
        }
    }
    Ok(())
}

/// The name that the server derives for the files; `None` without a valid one.
fn served(name: &AlertName, rows: &[Row]) -> Option<AlertName> {
    let newest = rows.iter().max_by(|a, b| (&a.datecreated, a.id).cmp(&(&b.datecreated, b.id)))?;
    let count = rows.iter().filter(|row| row.alert_type == newest.alert_type).count();
    let mut served: AlertName = format!("{}-{}", name.superevent_id, newest.alert_type).parse().ok()?;
    served.n = u32::try_from(count - 1).ok()?;
    Some(served)
}

/// Whether a row's alert is newer than another's, by `timesent`. Of one notice, the coincidence is newer.
pub(crate) fn is_newer(row: &Row, than: &Row) -> bool {
    let order = |row: &Row| {
        let sent = row.timesent.as_deref().and_then(|time| parse_time(time).ok());
        (sent, row.alert_type.ends_with("-ExtCoinc"))
    };
    order(row) > order(than)
}
