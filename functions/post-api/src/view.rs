//! Keeps a superevent's newest map where the website looks for it.
//!
//! The server asks for the files of one alert: of the row that is newest by `datecreated`, by the count of rows of its
//! type. Where rows are doubled, that is another name than the alert's.

use shared::Result;
use shared::key::{AlertName, Object};
use shared::notice::parse_time;
use treasuremap::Row;

use crate::Deps;

/// Copies contours and flat map of the superevent's newest alert to the name that the server derives, where that is not
/// the alert's own. `rows`: all of the superevent.
///
/// # Errors
/// What the store says.
pub(crate) async fn keep(deps: &Deps, name: &AlertName, own: &Row, rows: &[Row]) -> Result<()> {
    let Some(served) = served(name, rows) else { return Ok(()) };
    if !deps.store.writes() || served == *name || rows.iter().any(|row| is_newer(row, own)) {
        return Ok(());
    }
    if deps.store.head(&Object::Notice(&served).key()?).await?.is_some() {
        tracing::warn!(alert_name = %name, "the website looks for `{served}`, which is another alert's name");
        return Ok(());
    }
    for (from, to) in
        [(Object::Contours(name), Object::Contours(&served)), (Object::FlatMap(name), Object::FlatMap(&served))]
    {
        let (from, to) = (from.key()?, to.key()?);
        let Some(bytes) = deps.store.get(&from).await? else { continue };
        if deps.store.put_if_changed(&to, bytes).await? {
            tracing::info!(alert_name = %name, object_key = %to, "copied to where the website looks");
        }
    }
    Ok(())
}

/// The name by which the server looks for files; `None` when no row has a name.
fn served(name: &AlertName, rows: &[Row]) -> Option<AlertName> {
    let newest = rows.iter().max_by(|a, b| (&a.datecreated, a.id).cmp(&(&b.datecreated, b.id)))?;
    let count = rows.iter().filter(|row| row.alert_type == newest.alert_type).count();
    let mut served: AlertName = format!("{}-{}", name.superevent_id, newest.alert_type).parse().ok()?;
    served.n = u32::try_from(count - 1).ok()?;
    Some(served)
}

/// Whether a row's alert comes after another's: by when they were sent; of one notice, the coincidence comes last.
pub(crate) fn is_newer(row: &Row, than: &Row) -> bool {
    let order = |row: &Row| {
        let sent = row.timesent.as_deref().and_then(|time| parse_time(time).ok());
        (sent, row.alert_type.ends_with("-ExtCoinc"))
    };
    order(row) > order(than)
}
