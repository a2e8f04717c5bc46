//! The table of TRACK_RECORD.md: what was found so far.

use maud::{Markup, html};

const TRACK_RECORD: &str = include_str!("../../../TRACK_RECORD.md");

pub fn track_record() -> Markup {
    table(TRACK_RECORD)
}

/// A table of Markdown, its text as it stands there.
fn table(text: &str) -> Markup {
    let mut rows = text.lines().filter_map(cells);
    let head = rows.next().unwrap_or_default();
    html! {
        div.wide { table {
            thead { tr { @for cell in head { th { (cell) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        } }
    }
}

/// Of a row; `None` of all other lines, that below the head too.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(row.split(" | ").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_a_table_and_their_text_is_escaped() {
        let page = table("# Title\n\n| when | what |\n|---|---|\n| today | `a<b>` |\n").into_string();
        assert!(page.contains("<th>when</th><th>what</th>"), "{page}");
        assert!(page.contains("<td>today</td><td>`a&lt;b&gt;`</td>"), "{page}");
        assert!(!page.contains("Title") && !page.contains("---"), "{page}");
    }

    #[test]
    fn no_row_of_the_record_is_lost_or_torn() {
        let lines = TRACK_RECORD
            .lines()
            .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
            .count();
        let rows: Vec<Vec<&str>> = TRACK_RECORD.lines().filter_map(cells).collect();
        assert_eq!(rows.len(), lines);
        assert_eq!(rows[0][..3], ["date", "found by", "defect"]);
        for row in &rows {
            assert_eq!(row.len(), rows[0].len(), "{row:?}");
        }
    }
}
