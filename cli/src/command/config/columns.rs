//! Rows of text in columns, in a time that is linear in the text: an audit has thousands of rows. Must not decide what
//! stands in them.

use std::{borrow::Cow, iter::repeat_n};

use unicode_width::UnicodeWidthStr;

/// Rows of `N` cells. A cell is one line that is safe to print.
pub(super) struct Columns<'a, const N: usize> {
    rows: Vec<[Cell<'a>; N]>,
    widths: [usize; N],
}

struct Cell<'a> {
    text: Cow<'a, str>,
    width: usize,
}

impl<'a> Cell<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        // A cell has no control characters, so one byte of ASCII is one column.
        let width = if text.is_ascii() { text.len() } else { text.width() };
        Self { text, width }
    }
}

impl<'a, const N: usize> Columns<'a, N> {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), widths: [0; N] }
    }

    pub(super) fn add(&mut self, row: [Cow<'a, str>; N]) {
        let row = row.map(Cell::new);
        for (cell, width) in row.iter().zip(&mut self.widths) {
            *width = cell.width.max(*width);
        }
        self.rows.push(row);
    }

    /// All rows. Each column is as wide as its widest cell, with a blank on both sides; no line ends in blanks.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&self.widths) {
                text.push(' ');
                text.push_str(&cell.text);
                text.extend(repeat_n(' ', width - cell.width + 1));
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_seen_in_them() {
        let mut columns = Columns::new();
        for row in [["KEY", "VALUE", "X"], ["größe", "日本", ""], ["", "a", "b"]] {
            columns.add(row.map(Cow::Borrowed));
        }
        assert_eq!(columns.text(), " KEY    VALUE  X\n größe  日本\n        a      b\n");
    }
}
