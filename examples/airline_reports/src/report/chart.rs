//! Charts as inline SVG. Colours come from the page's style sheet, so that they follow its light and dark.

use super::text::{escape, minutes, percent};
use crate::figures::Figures;
use crate::progress::thousands;

/// Below this many arrivals a mean says little, and its bar is drawn pale.
pub(crate) const FEW_ARRIVALS: u64 = 20;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 46.0;

/// One column of a chart: its label, its full name, and its figures if there were flights.
pub(crate) struct Column<'a> {
    /// Stands under the bar.
    pub(crate) label: String,
    /// Stands in the tooltip.
    pub(crate) name: String,
    /// What the bar shows.
    pub(crate) figures: Option<&'a Figures>,
}

/// A bar for the mean delay of each column, up for late and down for early, with a dot for the median.
pub(crate) fn bars(title: &str, columns: &[Column<'_>]) -> String {
    let delays = || {
        columns.iter().filter_map(|column| column.figures).flat_map(|figures| {
            [figures.mean_delay_minutes, figures.median_delay_minutes].into_iter().flatten()
        })
    };
    let highest = delays().fold(0.0, f64::max);
    let lowest = delays().fold(0.0, f64::min);
    let step = step(highest - lowest);
    let (low, high) = ((lowest / step).floor() * step, ((highest / step).ceil() * step).max(step));
    let y = |delay: f64| TOP + (high - delay) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let pitch = (WIDTH - LEFT - RIGHT) / columns.len().max(1) as f64;
    let bar_width = (pitch * 0.62).min(40.0);

    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title)
    );
    let mut tick = low;
    while tick <= high + step / 2.0 {
        let class = if tick.abs() < step / 2.0 { "zero" } else { "grid" };
        let at = y(tick);
        svg += &format!(
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 3.5,
            minutes(tick, 0)
        );
        tick += step;
    }
    for (index, column) in columns.iter().enumerate() {
        let middle = LEFT + pitch * (index as f64 + 0.5);
        svg.push_str(&bar(column, middle, pitch, bar_width, &y));
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(column: &Column<'_>, middle: f64, pitch: f64, width: f64, y: &dyn Fn(f64) -> f64) -> String {
    let tooltip = match column.figures {
        None => format!("{}: no flights", column.name),
        Some(figures) => format!("{}\n{}", column.name, describe(figures)),
    };
    // A pane over the whole height, so that a short bar has a tooltip too.
    let mut svg = format!(
        "<g class=\"column\"><title>{}</title><rect class=\"pane\" x=\"{:.1}\" y=\"{TOP}\" width=\"{pitch:.1}\" height=\"{:.1}\"/>",
        escape(&tooltip),
        middle - pitch / 2.0,
        HEIGHT - TOP,
    );
    let text = |class: &str, at: f64, text: &str| {
        format!("<text class=\"{class}\" x=\"{middle:.1}\" y=\"{at:.1}\">{}</text>", escape(text))
    };
    let label = text("label", HEIGHT - BOTTOM + 22.0, &column.label);
    let count = column.figures.map_or(0, |figures| figures.flights);
    let count =
        text("count", HEIGHT - BOTTOM + 38.0, &if count == 0 { "–".to_owned() } else { thousands(count) });
    svg.push_str(&label);
    svg.push_str(&count);
    if let Some((figures, mean)) =
        column.figures.and_then(|figures| Some((figures, figures.mean_delay_minutes?)))
    {
        let (zero, tip) = (y(0.0), y(mean));
        let few = if figures.arrived < FEW_ARRIVALS { " few" } else { "" };
        let kind = if mean < 0.0 { "early" } else { "late" };
        let median = figures.median_delay_minutes.map(y);
        // Above the bar or, where the bar hangs down, above the zero line: the median's dot is mostly below.
        let value_at = zero.min(tip) - 6.0;
        svg.push_str(&text("value", value_at, &minutes(mean, if pitch < 34.0 { 0 } else { 1 })));
        svg += &format!(
            "<rect class=\"{kind}{few}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"/>",
            middle - width / 2.0,
            zero.min(tip),
            (zero - tip).abs().max(0.8),
        );
        if let Some(at) = median {
            svg += &format!("<circle class=\"median\" cx=\"{middle:.1}\" cy=\"{at:.1}\" r=\"3.6\"/>");
        }
    }
    svg.push_str("</g>\n");
    svg
}

/// A small bar for one row of a table: from the zero line to the right for late, to the left for early, and
/// no further than the scale goes.
pub(crate) fn row_bar(mean: Option<f64>, few: bool, lowest: f64, highest: f64) -> String {
    const WIDTH: f64 = 150.0;
    let span = (highest - lowest).max(1.0);
    let x = |delay: f64| (delay - lowest) / span * WIDTH;
    let zero = x(0.0);
    let mut svg = format!("<svg class=\"rowbar\" viewBox=\"0 0 {WIDTH} 16\" aria-hidden=\"true\">");
    if let Some(mean) = mean {
        let tip = x(mean.clamp(lowest, highest));
        svg += &format!(
            "<rect class=\"{}{}\" x=\"{:.1}\" y=\"3\" width=\"{:.1}\" height=\"10\" rx=\"1.5\"/>",
            if mean < 0.0 { "early" } else { "late" },
            if few { " few" } else { "" },
            zero.min(tip),
            (tip - zero).abs().max(0.8),
        );
    }
    svg += &format!("<line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"0\" y2=\"16\"/></svg>");
    svg
}

/// A strip of what became of the flights: on time, late, not arrived, cancelled.
pub(crate) fn outcomes(figures: &Figures, height: u32) -> String {
    const WIDTH: f64 = 1000.0;
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {WIDTH} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"what became of the flights\">"
    );
    let mut x = 0.0;
    for (class, name, count) in shares(figures) {
        let width = count as f64 / figures.flights.max(1) as f64 * WIDTH;
        svg += &format!(
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{height}\"><title>{name}: {} ({})</title></rect>",
            thousands(count),
            percent(count, figures.flights)
        );
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// The four ways a flight can end, as class, name and count, in the order of the strip.
pub(crate) fn shares(figures: &Figures) -> [(&'static str, &'static str, u64); 4] {
    [
        ("ontime", "on time", figures.arrived - figures.late),
        ("late", "15 minutes late or more", figures.late),
        ("lost", "left, not arrived", figures.not_arrived),
        ("cancelled", "cancelled", figures.cancelled),
    ]
}

/// A line of small bars, one for each month.
pub(crate) fn spark(months: &[Option<f64>; 12], lowest: f64, highest: f64) -> String {
    const PITCH: f64 = 10.0;
    const HEIGHT: f64 = 32.0;
    let span = (highest - lowest).max(1.0);
    let y = |delay: f64| (highest - delay) / span * HEIGHT;
    let zero = y(0.0);
    let width = PITCH * 12.0;
    let mut svg = format!("<svg class=\"spark\" viewBox=\"0 0 {width} {HEIGHT}\" aria-hidden=\"true\">");
    for (index, mean) in months.iter().enumerate() {
        let Some(mean) = *mean else { continue };
        let tip = y(mean.clamp(lowest, highest));
        svg += &format!(
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"{:.1}\" rx=\"1\"/>",
            if mean < 0.0 { "early" } else { "late" },
            index as f64 * PITCH + 1.5,
            zero.min(tip),
            (zero - tip).abs().max(0.8),
        );
    }
    svg += &format!("<line class=\"zero\" x1=\"0\" x2=\"{width}\" y1=\"{zero:.1}\" y2=\"{zero:.1}\"/></svg>");
    svg
}

/// The figures in words, for a tooltip.
fn describe(figures: &Figures) -> String {
    let mut text = format!("{} flights", thousands(figures.flights));
    if let (Some(mean), Some(median), Some(p90)) =
        (figures.mean_delay_minutes, figures.median_delay_minutes, figures.p90_delay_minutes)
    {
        text += &format!(
            "\nmean {} min, median {}, nine of ten at most {}\n{} were 15 minutes late or more",
            minutes(mean, 1),
            minutes(median, 0),
            minutes(p90, 0),
            percent(figures.late, figures.arrived)
        );
    }
    if figures.cancelled + figures.not_arrived > 0 {
        text += &format!(
            "\n{} cancelled, {} not arrived",
            thousands(figures.cancelled),
            thousands(figures.not_arrived)
        );
    }
    text
}

/// A round distance between grid lines that gives about five of them.
fn step(span: f64) -> f64 {
    let rough = (span / 5.0).max(1.0);
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_round_numbers() {
        assert_eq!([0.0, 4.0, 12.0, 23.0, 60.0, 400.0].map(step), [1.0, 1.0, 5.0, 5.0, 20.0, 100.0]);
    }

    #[test]
    fn a_column_without_flights_has_a_label_and_no_bar() {
        let column = Column { label: "Feb".to_owned(), name: "February".to_owned(), figures: None };
        let svg = bars("x", &[column]);
        assert!(svg.contains(">Feb</text>") && !svg.contains("class=\"late"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
