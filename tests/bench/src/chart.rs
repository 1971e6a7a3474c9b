//! Bar charts as SVG, for documents that are read on light and on dark pages: a grid of panels, one for each measure,
//! with a bar and its value for each of those who are compared.

use std::fmt::Write;

/// A measure.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is measured.
    pub title: String,
    /// Of what, or how; a second, smaller line.
    pub note: String,
    /// Stands behind each value; may be empty.
    pub unit: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One of those who are compared.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Who it is.
    pub name: String,
    /// What it came to, from 0 up. Anything else, as where nothing was measured, is drawn as no bar.
    pub value: f64,
    /// Whether the eye should find it first.
    pub is_marked: bool,
}

/// Panels in a row.
const COLUMNS: usize = 2;
/// The width of it all, the same as that of other pictures in the documents.
const WIDTH: usize = 880;
const MARGIN: usize = 20;
/// From the left edge of a panel to its bars.
const NAMES: usize = 120;
/// For a value behind the longest bar.
const VALUES: usize = 96;
const PANEL: usize = (WIDTH - MARGIN) / COLUMNS - MARGIN;
const LONGEST: usize = PANEL - NAMES - VALUES;
/// From one bar to the next, and how thick they are.
const STEP: usize = 26;
const THICK: usize = 16;
/// Over the first bar of a panel, and under the last.
const HEAD: usize = 52;
const FOOT: usize = 28;
/// Over all panels.
const TITLE: usize = 78;
/// A scale is logarithmic if the largest value is more than so many times the smallest.
const TOO_FAR: f64 = 50.0;

const STYLE: &str = "\
    .back { fill: #ffffff }
    .line { stroke: #d0d7de }
    .bar { fill: #9aa4af }
    .marked { fill: #0969da }
    text { fill: #1f2328 }
    .soft { fill: #57606a; font-size: 13px }
    .head { font-weight: 600 }
    .value { font-size: 14px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117 }
      .line { stroke: #30363d }
      .bar { fill: #6e7681 }
      .marked { fill: #58a6ff }
      text { fill: #e6edf3 }
      .soft { fill: #9ea7b3 }
      .value { stroke: #0d1117 }
    }
";

/// Draws panels under a title and a smaller line. The description is for those who do not see the picture.
pub fn draw(title: &str, note: &str, description: &str, panels: &[Panel]) -> String {
    let rows: Vec<_> = panels.chunks(COLUMNS).collect();
    let heights: Vec<_> = rows.iter().map(|row| row.iter().map(height).max().unwrap_or_default()).collect();
    let height = TITLE + heights.iter().sum::<usize>();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"15\" role=\"img\" aria-labelledby=\"title desc\">\n  <title id=\"title\">{}</title>\n  \
         <desc id=\"desc\">{}</desc>\n  <style>\n{STYLE}  </style>\n  \
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\" rx=\"10\"/>\n  \
         <text class=\"head\" x=\"{MARGIN}\" y=\"34\" font-size=\"18\">{}</text>\n  \
         <text class=\"soft\" x=\"{MARGIN}\" y=\"55\">{}</text>\n",
        escape(title),
        escape(description),
        escape(title),
        escape(note)
    );
    let mut top = TITLE;
    for (row, height) in rows.iter().zip(heights) {
        for (column, panel) in row.iter().enumerate() {
            draw_panel(panel, MARGIN + column * (PANEL + MARGIN), top, &mut out);
        }
        top += height;
    }
    out.push_str("</svg>\n");
    out
}

fn height(panel: &Panel) -> usize {
    HEAD + panel.bars.len() * STEP + FOOT
}

fn draw_panel(panel: &Panel, left: usize, top: usize, out: &mut String) {
    let scale = Scale::of(&panel.bars);
    let note =
        [&*panel.note, scale.note()].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("; ");
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("a string takes everything");
        out.push('\n');
    };
    line(format_args!("  <text class=\"head\" x=\"{left}\" y=\"{}\">{}</text>", top + 16, escape(&panel.title)));
    line(format_args!("  <text class=\"soft\" x=\"{left}\" y=\"{}\">{}</text>", top + 35, escape(&note)));
    let (from, first) = (left + NAMES, top + HEAD);
    let last = first + panel.bars.len() * STEP - (STEP - THICK);
    for share in scale.lines() {
        let x = from as f64 + share * LONGEST as f64;
        line(format_args!("  <path class=\"line\" d=\"M{x:.1} {}V{}\"/>", first.saturating_sub(4), last + 4));
    }
    for (n, bar) in panel.bars.iter().enumerate() {
        let y = first + n * STEP;
        let length = scale.share(bar.value) * LONGEST as f64;
        let class = if bar.is_marked { "marked" } else { "bar" };
        let middle = y + THICK - 3;
        line(format_args!("  <text class=\"value\" x=\"{left}\" y=\"{middle}\">{}</text>", escape(&bar.name)));
        line(format_args!(
            "  <rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{length:.1}\" height=\"{THICK}\" rx=\"2\"/>"
        ));
        let value = if bar.value.is_finite() {
            format!("{} {}", digits(bar.value), panel.unit)
        } else {
            "not measured".to_owned()
        };
        line(format_args!(
            "  <text class=\"value\" x=\"{:.1}\" y=\"{middle}\">{}</text>",
            from as f64 + length + 6.0,
            escape(value.trim_end())
        ));
    }
}

/// How long bars are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// From 0 to this value.
    Even(f64),
    /// From this power of ten to this value.
    Log(i32, f64),
}

impl Scale {
    fn of(bars: &[Bar]) -> Self {
        let values = bars.iter().map(|bar| bar.value).filter(|value| value.is_finite() && *value >= 0.0);
        let (least, most) =
            values.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        if least > 0.0 && most > TOO_FAR * least {
            // Below the least value, so that its bar is seen.
            Self::Log(least.log10().ceil() as i32 - 1, most)
        } else {
            Self::Even(most)
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Even(_) => "",
            Self::Log(..) => "log scale, a line for every power of ten",
        }
    }

    /// The length of a bar, 0 to 1.
    fn share(self, value: f64) -> f64 {
        let share = match self {
            Self::Even(most) => value / most,
            Self::Log(from, most) => (value.log10() - f64::from(from)) / (most.log10() - f64::from(from)),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Where lines stand, 0 to 1.
    fn lines(self) -> Vec<f64> {
        match self {
            Self::Even(_) => vec![0.0],
            Self::Log(from, most) => {
                (from..=most.log10().floor() as i32).map(|power| self.share(10_f64.powi(power))).collect()
            }
        }
    }
}

/// A number with the three digits that count, and thousands set apart.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 999.5 => {
            let whole = format!("{value:.0}");
            let (sign, whole) = whole.strip_prefix('-').map_or(("", &*whole), |whole| ("-", whole));
            let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            format!("{sign}{}", groups.join("\u{a0}"))
        }
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        size if size >= 0.0995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(title: &str, values: &[f64]) -> Panel {
        let bar = |(n, &value): (usize, &f64)| Bar { name: format!("bar {n}"), value, is_marked: n == 0 };
        let bars = values.iter().enumerate().map(bar).collect();
        Panel { title: title.to_owned(), note: "a note".to_owned(), unit: "ms".to_owned(), bars }
    }

    /// Checks that tags are closed in order, that attributes are quoted, and that text has no bare `<` or `&`.
    fn assert_well_formed(xml: &str) {
        let (mut open, mut rest, mut roots) = (Vec::new(), xml, 0);
        while let Some(at) = rest.find('<') {
            let text = &rest[..at];
            assert!(!open.is_empty() || text.trim().is_empty(), "text outside of the root: {text}");
            assert_entities(text);
            let end = rest[at..].find('>').expect("a tag is closed") + at;
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "what is closed is what was opened last");
                continue;
            }
            let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "a name: {tag}");
            let parts: Vec<_> = attributes.split('"').collect();
            assert!(parts.len() % 2 == 1 && parts[parts.len() - 1].is_empty(), "quotes: {tag}");
            for pair in parts.chunks_exact(2) {
                let key = pair[0].strip_suffix('=').expect("an attribute has a value").trim();
                assert!(!key.is_empty() && !key.contains([' ', '=', '<']), "an attribute: {tag}");
                assert_entities(pair[1]);
            }
            roots += usize::from(open.is_empty());
            if !is_empty {
                open.push(name);
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty() && roots == 1, "one root, closed: {open:?} {rest}");
    }

    fn assert_entities(text: &str) {
        for after in text.split('&').skip(1) {
            let entity = after.split(';').next();
            assert!(matches!(entity, Some("amp" | "lt" | "gt" | "quot")), "a bare &: {text}");
        }
    }

    #[test]
    fn pictures_are_well_formed() {
        let mut odd = panel("Cost & <\"effect\">", &[1.0, 70.0, f64::NAN, 0.0]);
        odd.bars[0].name = "<&>".to_owned();
        for panels in [vec![], vec![odd.clone()], vec![odd, panel("a", &[0.0]), panel("none", &[])]] {
            let svg = draw("A <title> & more", "n < 3", "What \"it\" shows", &panels);
            assert_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        for bad in ["<svg><text></svg></text>", "<svg>a & b</svg>", "<svg a=b/>", "<svg a=\"b/>", "<svg/><svg/>"] {
            assert!(std::panic::catch_unwind(|| assert_well_formed(bad)).is_err(), "{bad} should be refused");
        }
    }

    #[test]
    fn every_value_is_written_beside_its_bar() {
        let svg = draw("t", "n", "d", &[panel("Requests", &[12_345.6, 0.5])]);
        for text in [">Requests<", ">bar 0<", ">bar 1<", ">12\u{a0}346 ms<", ">0.50 ms<", "log scale"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[test]
    fn far_values_have_a_log_scale_and_near_ones_do_not() {
        let scale = |values: &[f64]| Scale::of(&panel("", values).bars);
        assert_eq!(scale(&[2.0, 100.0]), Scale::Even(100.0));
        assert_eq!(scale(&[1.9, 100.0]), Scale::Log(0, 100.0));
        assert_eq!(scale(&[10.0, 5000.0]), Scale::Log(0, 5000.0));
        assert_eq!(scale(&[0.0, 100.0, f64::NAN]), Scale::Even(100.0), "a log scale has no 0");
        let log = scale(&[10.0, 1000.0]);
        assert_eq!([1.0, 10.0, 1000.0].map(|value| (log.share(value) * 30.0).round()), [0.0, 10.0, 30.0]);
        assert_eq!(log.lines().len(), 4);
        assert_eq!(scale(&[0.0]).share(0.0), 0.0);
    }

    #[test]
    fn three_digits_count() {
        let written = [0.0, 0.456, 1.0, 9.999, 99.96, 123.4, 999.7, 12_345.0, 1_234_567.0].map(digits);
        let expected = ["0", "0.46", "1.00", "10.0", "100", "123", "1\u{a0}000", "12\u{a0}345", "1\u{a0}234\u{a0}567"];
        assert_eq!(written, expected);
    }
}
