//! Rows of text in columns, in a time that is linear in the text: an audit has thousands of rows. Must not decide what
//! stands in them.

use std::fmt::{Display, Write as _};

use unicode_width::UnicodeWidthStr;

/// Rows of `N` cells. A cell is one line that is safe to print.
pub(super) struct Columns<const N: usize> {
    /// All cells, one behind the other: a text of its own for each would be thousands.
    text: String,
    rows: Vec<[Cell; N]>,
    widths: [usize; N],
}

#[derive(Clone, Copy)]
struct Cell {
    bytes: usize,
    width: usize,
}

impl<const N: usize> Columns<N> {
    pub(super) const fn new() -> Self {
        Self { text: String::new(), rows: Vec::new(), widths: [0; N] }
    }

    pub(super) fn add(&mut self, row: [&dyn Display; N]) {
        let cells = row.map(|cell| {
            let begin = self.text.len();
            // Writing into a String cannot fail.
            let _ = write!(self.text, "{cell}");
            let text = self.text.get(begin..).unwrap_or_default();
            // A cell has no control characters, so one byte of ASCII is one column.
            Cell { bytes: text.len(), width: if text.is_ascii() { text.len() } else { text.width() } }
        });
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = cell.width.max(*width);
        }
        self.rows.push(cells);
    }

    /// All rows. Each column is as wide as its widest cell, with a blank on both sides; no line ends in blanks.
    pub(super) fn text(&self) -> String {
        let line = self.widths.iter().map(|width| width + 2).sum::<usize>() + 1;
        let mut text = String::with_capacity(line * self.rows.len());
        let blanks = " ".repeat(line);
        let mut cells = self.text.as_str();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&self.widths) {
                let (own, rest) = cells.split_at_checked(cell.bytes).unwrap_or_default();
                cells = rest;
                text.push(' ');
                text.push_str(own);
                text.push_str(blanks.get(..=width - cell.width).unwrap_or_default());
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
            columns.add(row.each_ref().map(|cell| cell as &dyn Display));
        }
        assert_eq!(columns.text(), " KEY    VALUE  X\n größe  日本\n        a      b\n");
    }
}
