//! What failed, for a person: a table, and all that is known of one.

use std::io::{self, Write};

use shared::key::Key;
use shared::message::Body;
use shared::{Context, Error, Result};
use store::Store;

use super::entry::{Entry, read, stored};
use super::{Choice, chosen};

/// How much of a reason a table shows [characters].
const SHOWN: usize = 160;

/// A text in one line, and nothing in it that moves a terminal's cursor.
fn in_one_line(text: &str, most: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line = text.chars().map(printable).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Prints entries as a table.
pub(super) fn print_table(out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
    let head = ["failed", "name", "notice", "step", "class", "reason"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(entries.iter().map(row)).collect();
    // The last column is as wide as it is.
    let widths: Vec<usize> =
        (0..5).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        for (text, width) in row.iter().zip(&widths) {
            write!(out, "{text:<width$}  ")?;
        }
        writeln!(out, "{}", row[5])?;
    }
    Ok(())
}

fn row(entry: &Entry) -> [String; 6] {
    let or_dash = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), |text| in_one_line(text, 40));
    [
        entry.time.map_or("-".to_owned(), |time| format!("{time:.0}")),
        in_one_line(&entry.name, 100),
        format!("{} {}", or_dash(&entry.id), or_dash(&entry.announces)),
        in_one_line(&entry.step_in_short(), 60),
        in_one_line(&entry.error, 40),
        in_one_line(&entry.reason, SHOWN),
    ]
}

pub(super) async fn list(store: &Store, choice: &Choice, json: bool) -> Result<bool> {
    let (found, _) = chosen(store, choice).await?;
    let mut out = io::stdout().lock();
    if json {
        for entry in &found {
            let line = serde_json::to_string(entry).permanent("JSON")?;
            writeln!(out, "{line}").permanent("standard output")?;
        }
    } else if found.is_empty() {
        writeln!(out, "nothing has failed").permanent("standard output")?;
    } else {
        print_table(&mut out, &found).permanent("standard output")?;
    }
    Ok(true)
}

pub(super) async fn show(store: &Store, key: &Key, json: bool) -> Result<bool> {
    let absent = || Error::permanent(format!("object `{key}`: expected it in the store, found none"));
    let mut out = io::stdout().lock();
    if json {
        let bytes = stored(store, key).await?.ok_or_else(absent)?;
        out.write_all(&bytes).and_then(|()| writeln!(out)).permanent("standard output")?;
        return Ok(true);
    }
    let head = store.head(key).await?.ok_or_else(absent)?;
    let entry = Entry::look(store, key.clone(), head.modified).await?.ok_or_else(absent)?;
    let or_dash = |text: Option<String>| text.map_or("-".to_owned(), |text| in_one_line(&text, usize::MAX));
    let received = entry.received.as_ref();
    let mut rows = vec![
        ("object", Some(key.to_string())),
        ("failed", entry.time.map(|time| time.to_string())),
        ("superevent", entry.id.clone()),
        ("announces", entry.announces.clone()),
        ("step", Some(entry.step.clone())),
        ("class", Some(entry.error.clone())),
    ];
    if let Some(received) = received {
        let place = received.partition.zip(received.offset).map(|(partition, offset)| format!("/{partition}/{offset}"));
        rows.push(("from Kafka", Some(received.topic.clone() + &place.unwrap_or_default())));
        rows.push(("taken", received.kafka_time.map(|time| time.to_string())));
        let body = match &received.body {
            Body::Key(key) => key.to_string(),
            Body::Inline(_) => "in this object".to_owned(),
        };
        rows.push(("notice", Some(body)));
    }
    for (what, text) in rows {
        writeln!(out, "{what:<12}{}", or_dash(text)).permanent("standard output")?;
    }
    // Line by line, since a panic's text may have many.
    writeln!(out, "\nreason").permanent("standard output")?;
    for line in entry.reason.lines() {
        writeln!(out, "  {}", in_one_line(line, usize::MAX)).permanent("standard output")?;
    }
    if let Some(failed) = read(store, key).await? {
        let text = serde_json::to_string_pretty(&failed.input).permanent("JSON")?;
        writeln!(out, "\ninput").permanent("standard output")?;
        for line in text.lines() {
            writeln!(out, "  {}", in_one_line_indented(line)).permanent("standard output")?;
        }
    }
    Ok(true)
}

/// A line of printed JSON, of which a notice's text is shown in part.
fn in_one_line_indented(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    " ".repeat(indent) + &in_one_line(line, 2000)
}

#[cfg(test)]
mod tests {
    use super::in_one_line;

    #[test]
    fn a_line_moves_no_cursor() {
        assert_eq!(in_one_line("a\u{1b}[2Jb\r\nc", 99), "a [2Jb c");
        assert_eq!(in_one_line("äöü", 2), "äö…");
    }
}
