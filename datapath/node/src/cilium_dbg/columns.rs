//! Columns as Go's `text/tabwriter` lays them out with the settings that Cilium
//! gives it: at least five wide, three blanks behind the widest cell.

/// The least width of a column.
const MINIMUM: usize = 5;
/// Blanks behind the widest cell.
const PADDING: usize = 3;

/// Lays out rows of which every cell ends in a tab: the last column is padded as
/// well. A row may have fewer cells than others.
pub(super) fn padded(rows: &[Vec<String>]) -> String {
    layout(rows, true)
}

/// Lays out rows whose last cell ends without a tab: it is not padded.
pub(super) fn ragged(rows: &[Vec<String>]) -> String {
    layout(rows, false)
}

fn layout(rows: &[Vec<String>], pad_last: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            // An empty column has no padding, only the least width.
            if widest == 0 {
                MINIMUM
            } else {
                (widest + PADDING).max(MINIMUM)
            }
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let width = if last && !pad_last { 0 } else { widths[column] };
            text.push_str(cell);
            text.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.chars().count()),
            ));
        }
        text.push('\n');
    }
    text
}
