//! Pictures of keys: a line for each field, pointing at where it begins in the hex text (spec/doris-http.md 14.4).

use super::codec::Field;
use std::iter::repeat_n;

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

/// Lines for fields at their positions in bytes, which ascend, then the key as it was given. Every line is ended.
pub fn draw(fields: &[(usize, Field)], key: &str, style: Style) -> String {
    let marks = style.marks();
    // A byte is two digits.
    let column = |position: usize| 2 * position;
    let width = fields.last().map_or(0, |(last, _)| column(*last) + 2);
    let mut picture = String::new();
    // A bar for each field so far, and how many columns these take.
    let (mut bars, mut drawn) = (String::new(), 0);
    for (number, (position, field)) in fields.iter().enumerate() {
        let own = column(*position);
        bars.extend(repeat_n(' ', own - drawn));
        picture.push_str(&bars);
        picture.push(marks.corner);
        picture.extend(repeat_n(marks.dash, width - own - 1));
        picture.push_str(&format!(" {number}. {}\n", field.shown()));
        bars.push(marks.bar);
        drawn = own + 1;
    }
    bars.extend(repeat_n(' ', width - drawn));
    let arrows = bars.replace(marks.bar, &marks.arrow.to_string());
    picture.push_str(&format!("{bars}\n{arrows}\n{key}\n"));
    picture
}
