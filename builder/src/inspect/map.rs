//! A map of a disk, drawn to scale: for terminals, and as SVG.

use std::fmt::Write as _;

use super::{Image, shown::shown};
use crate::progress::bytes;

/// A stretch of the disk: a partition, or what lies between them.
struct Stretch {
    label: String,
    start: u64,
    size: u64,
    used: u64,
}

fn stretches(image: &Image) -> Vec<Stretch> {
    let mut list = Vec::new();
    let mut end = 0;
    let gap = |start: u64, to: u64| Stretch { label: String::new(), start, size: to - start, used: 0 };
    for partition in &image.partitions {
        if partition.start > end {
            list.push(gap(end, partition.start));
        }
        let label = format!("{} {}", partition.number, partition.name);
        list.push(Stretch { label, start: partition.start, size: partition.size, used: partition.used });
        end = end.max(partition.start.saturating_add(partition.size));
    }
    if image.size > end {
        list.push(gap(end, image.size));
    }
    list
}

/// One line of `width` columns: `█` what is in use, `░` what is not, `·` what is in no partition. Below it the number of
/// each partition where it begins. A partition has a column even when it is smaller.
#[must_use]
pub fn terminal(image: &Image, width: usize) -> String {
    let mut cells = vec!['·'; width];
    let mut numbers = vec![' '; width];
    let column = |at: u64| scale(at, image.size, width).min(width.saturating_sub(1));
    let mut free = 0;
    for (stretch, partition) in stretches(image).iter().filter(|s| !s.label.is_empty()).zip(&image.partitions) {
        let from = column(stretch.start).max(free).min(width.saturating_sub(1));
        let to = scale(stretch.start + stretch.size, image.size, width).max(from + 1).min(width);
        let used = (scale(stretch.used, stretch.size, to - from)).max(usize::from(stretch.used > 0));
        for (index, cell) in cells[from..to].iter_mut().enumerate() {
            *cell = if index < used { '█' } else { '░' };
        }
        for (cell, digit) in numbers[from..].iter_mut().zip(partition.number.to_string().chars()) {
            *cell = digit;
        }
        free = to;
    }
    let line = |cells: Vec<char>| cells.into_iter().collect::<String>();
    format!("▕{}▏\n {}\n", line(cells), line(numbers).trim_end())
}

/// `value` of `all`, as a part of `width`.
fn scale(value: u64, all: u64, width: usize) -> usize {
    let part = u128::from(value) * width as u128 / u128::from(all.max(1));
    usize::try_from(part).unwrap_or(width)
}

const WIDTH: usize = 960;
const HEIGHT: usize = 72;
const ROW: usize = 22;

/// The map as a file of its own: the disk as a bar, and a line for each partition.
#[must_use]
pub fn svg(image: &Image) -> String {
    let height = HEIGHT + ROW * image.partitions.len() + 56;
    let title = image.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>{0}</title>\n<rect width=\"1000\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"20\" font-weight=\"bold\">{0}: {1}, a disk of {2}</text>\n\
         <rect x=\"20\" y=\"32\" width=\"{WIDTH}\" height=\"40\" fill=\"#eee\" stroke=\"#999\"/>\n",
        escape(&title),
        image.format,
        bytes(image.size)
    );
    const COLOURS: [&str; 6] = ["#4878a8", "#6a9a4a", "#c08a3e", "#8a64a0", "#a85a5a", "#5a9a9a"];
    let mut row = HEIGHT + 30;
    for (index, partition) in image.partitions.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let x = 20 + scale(partition.start, image.size, WIDTH);
        let width = scale(partition.size, image.size, WIDTH).max(2);
        let used = scale(partition.used, partition.size, width);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"32\" width=\"{width}\" height=\"40\" fill=\"{colour}\" fill-opacity=\"0.35\" stroke=\"{colour}\"/>\n\
             <rect x=\"{x}\" y=\"32\" width=\"{used}\" height=\"40\" fill=\"{colour}\"/>\n\
             <rect x=\"20\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n\
             <text x=\"40\" y=\"{row}\">{} {}: {}, {} of {} in use, from {}</text>",
            row - 11,
            partition.number,
            escape(&partition.name),
            escape(partition.content),
            bytes(partition.used),
            bytes(partition.size),
            bytes(partition.start),
        );
        row += ROW;
    }
    // Partitions of a damaged table may overlap, and be more than the disk together.
    let free = image.partitions.iter().fold(image.size, |free, partition| free.saturating_sub(partition.size));
    let _ = writeln!(out, "<text x=\"40\" y=\"{row}\">in no partition: {}</text>\n</svg>", bytes(free));
    out
}

fn escape(text: &str) -> String {
    shown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::table::Partition;

    proptest! {
        #[test]
        fn any_table_is_drawn(
            size: u64, width in 0_usize..120, parts in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..5),
        ) {
            let mut image = Image { size, ..Image::default() };
            for (number, (start, length, used)) in (1..).zip(parts) {
                let start = start % size.max(1);
                let partition = Partition {
                    number, name: "<&\"".into(), kind: String::new(), id: None, start, size: length.min(size - start.min(size)), content: "fat", used,
                };
                image.partitions.push(partition);
            }
            image.partitions.sort_by_key(|partition| partition.start);
            let lines = terminal(&image, width);
            prop_assert_eq!(lines.lines().next().unwrap().chars().count(), width + 2);
            prop_assert!(!svg(&image).contains("<&"));
        }
    }
}
