//! `index.html`: all airlines in one table, with links to their reports.

use super::Report;
use super::chart;
use super::page::{self, DEFINITIONS, ORIGIN, count_cell, minutes_cell, share_cell};
use super::text::{escape, percent};
use crate::progress::thousands;

/// An airline of the overview.
pub(crate) enum Entry<'a> {
    /// It has a report.
    Report(&'a Report),
    /// It has none, and why.
    Failed {
        /// The airline's code.
        carrier: &'a str,
        /// Its name.
        airline: &'a str,
        /// What went wrong.
        reason: &'a str,
    },
}

/// The page.
pub(crate) fn page(entries: &[Entry<'_>]) -> String {
    let mut reports: Vec<&Report> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Report(report) => Some(*report),
            Entry::Failed { .. } => None,
        })
        .collect();
    reports.sort_by_key(|report| std::cmp::Reverse(report.total.flights));
    let sum = |figure: fn(&Report) -> u64| reports.iter().map(|report| figure(report)).sum::<u64>();
    let flights = sum(|report| report.total.flights);
    let (arrived, late) = (sum(|report| report.total.arrived), sum(|report| report.total.late));
    let years = page::years(
        reports.iter().filter_map(|report| report.years).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
    );

    let body = format!(
        "<header>\n<div class=\"eyebrow\"><span>Arrival delays{}</span></div>\n<h1>{}</h1>\n\
         <p class=\"lede\">{} flights; {} of those that arrived were less than 15 minutes late. {} never left, {} left and did \
         not arrive.</p>\n</header>\n<div class=\"scroll\" style=\"margin-top: 2.2rem\">{}</div>\n{}\n{}\n\
         <footer>\n{DEFINITIONS}\n{ORIGIN}\n</footer>",
        years.map(|years| format!(" · {years}")).unwrap_or_default(),
        match reports.len() {
            1 => "One airline".to_owned(),
            count => format!("{count} airlines"),
        },
        thousands(flights),
        percent(arrived - late, arrived),
        thousands(sum(|report| report.total.cancelled)),
        thousands(sum(|report| report.total.not_arrived)),
        table(&reports),
        LEGEND,
        failures(entries),
    );
    page::document("Arrival delays of airlines", &body)
}

const LEGEND: &str = "<ul class=\"legend\"><li><i class=\"ontime\"></i>on time</li>\
     <li><i class=\"late\"></i>15 minutes late or more, or late on average</li><li><i class=\"lost\"></i>left, not arrived</li>\
     <li><i class=\"cancelled\"></i>cancelled</li><li><i class=\"early\"></i>early on average</li></ul>";

fn table(reports: &[&Report]) -> String {
    // A month with a handful of flights may have any mean; it must not flatten the bars of all others.
    let means = || {
        reports.iter().flat_map(|report| &report.by_month).filter_map(|group| {
            group.figures.mean_delay_minutes.filter(|_| group.figures.arrived >= chart::FEW_ARRIVALS)
        })
    };
    let (lowest, highest) = (means().fold(0.0, f64::min), means().fold(0.0, f64::max));
    let mut html = String::from(
        "<table>\n<thead><tr><th data-sort=\"descending\" data-kind=\"text\">Airline</th>\
         <th data-sort aria-sort=\"descending\">Flights</th><th>What became of them</th><th>Mean delay, by month</th>\
         <th data-sort>Mean</th><th data-sort>Median</th><th data-sort>90% at most</th><th data-sort>Late</th>\
         <th data-sort>Cancelled</th></tr></thead>\n<tbody>\n",
    );
    for report in reports {
        let figures = &report.total;
        let mut months = [None; 12];
        for group in &report.by_month {
            if let Some(month) = months.get_mut(usize::from(group.key).wrapping_sub(1)) {
                *month = group.figures.mean_delay_minutes;
            }
        }
        let (carrier, airline) = (escape(&report.carrier), escape(&report.airline));
        html += &format!(
            "<tr><td data-key=\"{airline}\"><a href=\"{carrier}.html\">{airline}</a><span class=\"code\">{carrier}</span></td>\
             {}<td>{}</td><td>{}</td>{}{}{}{}{}</tr>\n",
            count_cell(figures.flights),
            chart::outcomes(figures, 20),
            chart::spark(&months, lowest, highest),
            minutes_cell(figures.mean_delay_minutes, 1),
            minutes_cell(figures.median_delay_minutes, 0),
            minutes_cell(figures.p90_delay_minutes, 0),
            share_cell(figures),
            count_cell(figures.cancelled),
        );
    }
    html + "</tbody>\n</table>"
}

fn failures(entries: &[Entry<'_>]) -> String {
    let items: String = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Report(_) => None,
            Entry::Failed { carrier, airline, reason } => Some(format!(
                "<li>{}<span class=\"soft\"> {}: {}</span></li>",
                escape(airline),
                escape(carrier),
                escape(reason)
            )),
        })
        .collect();
    if items.is_empty() { items } else { format!("<h2>Without a report</h2>\n<ul>{items}</ul>") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::of_extract;

    #[test]
    fn every_airline_is_on_the_page_also_one_that_failed() {
        let (american, skywest) = (of_extract("AA.csv.gz"), of_extract("OO.csv"));
        let failed =
            Entry::Failed { carrier: "ZZ", airline: "Zeppelin <& Sons>", reason: "the file is empty" };
        let html = page(&[Entry::Report(&skywest), failed, Entry::Report(&american)]);
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert!(at("href=\"AA.html\"") < at("href=\"OO.html\""));
        assert!(at("Without a report") < at("Zeppelin &lt;&amp; Sons&gt;"));
        assert!(html.contains("<h1>2 airlines</h1>"));
    }

    #[test]
    fn a_page_without_a_single_report_stands() {
        let html = page(&[Entry::Failed { carrier: "ZZ", airline: "ZZ", reason: "x" }]);
        assert!(html.contains("0 airlines") && !html.contains("NaN"));
    }
}
