//! Pictures of keys: a line for each field, pointing at where it begins in the hex text (spec/doris-http.md 14.4).

use super::codec::Field;

/// What lines are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Unicode,
    Plain,
}

struct Marks {
    corner: char,
    dash: char,
    bar: char,
    arrow: char,
}

impl Style {
    fn marks(self) -> Marks {
        match self {
            Style::Unicode => Marks {
                corner: '┌',
                dash: '─',
                bar: '│',
                arrow: '▼',
            },
            Style::Plain => Marks {
                corner: '/',
                dash: '-',
                bar: '|',
                arrow: 'v',
            },
        }
    }
}

/// Lines for fields at their positions in bytes, then the key as it was given. Every line is ended.
pub fn draw(fields: &[(usize, Field)], key: &str, style: Style) -> String {
    let marks = style.marks();
    // A byte is two digits.
    let columns: Vec<usize> = fields.iter().map(|(position, _)| 2 * position).collect();
    let width = columns.last().map_or(0, |last| last + 2);
    let mut picture = String::new();
    for (number, (_, field)) in fields.iter().enumerate() {
        let own = columns[number];
        let line = (0..width).map(|column| match column {
            column if column == own => marks.corner,
            column if column > own => marks.dash,
            column if columns[..number].contains(&column) => marks.bar,
            _ => ' ',
        });
        picture.extend(line);
        picture.push_str(&format!(" {number}. {}\n", field.shown()));
    }
    for mark in [marks.bar, marks.arrow] {
        picture.extend((0..width).map(|column| if columns.contains(&column) { mark } else { ' ' }));
        picture.push('\n');
    }
    picture.push_str(key);
    picture.push('\n');
    picture
}
