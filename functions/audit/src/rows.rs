//! Which of the Treasure Map's rows is which alert's, as a person would say who sees all of them.

use treasuremap::Row;

use crate::notice::Expected;

/// The rows of one type beside its alerts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Paired {
    /// The row of each alert, by its place.
    pub(crate) of: Vec<Option<usize>>,
    /// Rows that repeat an earlier one.
    pub(crate) doubled: Vec<usize>,
    /// Rows that are no alert's.
    pub(crate) foreign: Vec<usize>,
}

/// Pairs the alerts of a type, in order, with its rows, in the order in which they came: first what agrees, as this
/// software posts it and then as gwtm_cron does; then, of what is left, copies apart, the first alert with the first row.
pub(crate) fn pair(alerts: &[&Expected], rows: &[&Row]) -> Paired {
    let mut of: Vec<Option<usize>> = vec![None; alerts.len()];
    let mut used = vec![false; rows.len()];
    let ours = |alert: &Expected, row: &Row| alert.times.differences(row).next().is_none();
    let cron = |alert: &Expected, row: &Row| alert.times.is_cron(row);
    for agrees in [&ours as &dyn Fn(&Expected, &Row) -> bool, &cron] {
        for (alert, row) in alerts.iter().zip(&mut of).filter(|(_, row)| row.is_none()) {
            *row = (0..rows.len()).find(|at| !used[*at] && agrees(alert, rows[*at]));
            if let Some(at) = *row {
                used[at] = true;
            }
        }
    }
    let unused: Vec<usize> = (0..rows.len()).filter(|at| !used[*at]).collect();
    let repeats = |at: &usize| rows[*at].repeats(rows[..*at].iter().copied());
    let (doubled, mut left): (Vec<usize>, Vec<usize>) = unused.into_iter().partition(repeats);
    for row in of.iter_mut().filter(|row| row.is_none()) {
        if left.is_empty() {
            break;
        }
        *row = Some(left.remove(0));
    }
    Paired { of, doubled, foreign: left }
}
