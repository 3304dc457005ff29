//! The bar: how much of a limit is used, by whom, and where something stops.

use std::fmt;

use super::words;

/// Places are given in ten-thousandths of the bar's length.
const WHOLE: u64 = 10_000;

/// What is not nothing is seen: at least so long.
const LEAST: u64 = 40;

/// Labels that would be nearer to each other than this overlap on a phone.
const LABEL_DISTANCE: u64 = 900;

/// So much room is wanted for words, which a phone does not show.
const WORD_DISTANCE: u64 = 1_800;

/// Who a part of the bar belongs to, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Used through the service.
    Ours,
    /// Used by others.
    Others,
    /// Set aside and unspent.
    Held,
}

/// Why there is a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The limit itself; only seen where more is used.
    Limit,
    /// Something stops there.
    Stop,
    /// Something resumes below.
    Resume,
}

/// A place on the bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// In units.
    pub at: u64,
    /// Why.
    pub mark: Mark,
    /// A few characters, such as `40 %`; empty for none.
    pub label: String,
    /// What stops there, in a word or two, for where there is room; empty for none.
    pub word: &'static str,
}

/// A bar, drawn as SVG: as wide as the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// The limit, in units.
    pub max: u64,
    /// Used, by part, in units.
    pub parts: Vec<(Part, u64)>,
    /// In any order.
    pub ticks: Vec<Tick>,
    /// What it shows, in a sentence, for those who do not see it.
    pub text: String,
}

/// Where a part is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    part: Part,
    from: u64,
    length: u64,
}

/// Where a tick is drawn, and whether its label has room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place<'b> {
    at: u64,
    mark: Mark,
    label: &'b str,
    word: &'b str,
}

impl Bar {
    /// The units of the whole length: those of the limit, or, where more is used, as
    /// many as are used.
    fn scale(&self) -> u64 {
        let used = self.parts.iter().fold(0, |sum: u64, &(_, units)| sum.saturating_add(units));
        used.max(self.max).max(1)
    }

    fn place(&self, units: u64) -> u64 {
        let place = u128::from(units) * u128::from(WHOLE) / u128::from(self.scale());
        u64::try_from(place).unwrap_or(WHOLE).min(WHOLE)
    }

    /// The parts side by side, none beyond the end. What is too small to be seen takes
    /// a little of what is left, or of those before it.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let (mut sum, mut from) = (0_u64, 0);
        for &(part, units) in self.parts.iter().filter(|&&(_, units)| units > 0) {
            sum = sum.saturating_add(units);
            let to = self.place(sum).max(from + LEAST).min(WHOLE);
            let from_here = from.min(WHOLE - LEAST);
            segments.push(Segment { part, from: from_here, length: to - from_here });
            from = to;
        }
        segments
    }

    /// The ticks from left to right. Where labels are too near to each other those of
    /// what stops stay.
    fn places(&self) -> Vec<Place<'_>> {
        let mut by_rank: Vec<&Tick> = self.ticks.iter().collect();
        by_rank.sort_by_key(|tick| (tick.mark, tick.at));
        let mut places: Vec<Place<'_>> = Vec::new();
        for tick in by_rank {
            let at = self.place(tick.at);
            if places.iter().any(|place| place.at == at) {
                continue;
            }
            let is_near = |place: &Place<'_>| {
                !place.label.is_empty() && place.at.abs_diff(at) < LABEL_DISTANCE
            };
            let label = if places.iter().any(is_near) { "" } else { tick.label.as_str() };
            places.push(Place { at, mark: tick.mark, label, word: tick.word });
        }
        let labelled: Vec<u64> =
            places.iter().filter(|place| !place.label.is_empty()).map(|place| place.at).collect();
        for place in &mut places {
            let is_near = |&at: &u64| at != place.at && at.abs_diff(place.at) < WORD_DISTANCE;
            if place.label.is_empty() || labelled.iter().any(is_near) {
                place.word = "";
            }
        }
        places.sort_by_key(|place| place.at);
        places
    }
}

/// A place as SVG wants it.
fn length(place: u64) -> String {
    format!("{}.{:02}%", place / 100, place % 100)
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places();
        let has_labels = places.iter().any(|place| !place.label.is_empty());
        let (class, height) = if has_labels { ("bar labelled", 34) } else { ("bar", 18) };
        let text =
            askama::filters::escape(&self.text, askama::filters::Html).map_err(|_| fmt::Error)?;
        write!(
            f,
            "<svg class=\"{class}\" role=\"img\" aria-label=\"{text}\" height=\"{height}\">"
        )?;
        write!(f, "<rect class=\"left\" y=\"3\" width=\"100%\" height=\"12\"/>")?;
        for Segment { part, from, length: long } in self.segments() {
            let class = match part {
                Part::Ours => "ours",
                Part::Others => "others",
                Part::Held => "held\" fill=\"url(#hatch)",
            };
            let (x, width) = (length(from), length(long));
            write!(
                f,
                "<rect class=\"{class}\" x=\"{x}\" y=\"3\" width=\"{width}\" height=\"12\"/>"
            )?;
        }
        for Place { at, mark, label, word } in places {
            let class = match mark {
                Mark::Limit => "limit",
                Mark::Stop => "stop",
                Mark::Resume => "resume",
            };
            let x = length(at);
            // At the ends half of a line would be cut off.
            if at > 0 && at < WHOLE || mark == Mark::Limit {
                let ends = format!("x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"18\"");
                write!(f, "<line class=\"halo\" {ends}/><line class=\"{class}\" {ends}/>")?;
            }
            if !label.is_empty() {
                let anchor = match at {
                    0..=500 => "start",
                    9_500.. => "end",
                    _ => "middle",
                };
                let label = askama::filters::escape(label, askama::filters::Html)
                    .map_err(|_| fmt::Error)?;
                write!(f, "<text x=\"{x}\" y=\"31\" text-anchor=\"{anchor}\">{label}")?;
                if !word.is_empty() {
                    write!(f, "<tspan> {word}</tspan>")?;
                }
                f.write_str("</text>")?;
            }
        }
        f.write_str("</svg>")
    }
}

// It writes no text but what it escapes.
impl askama::filters::HtmlSafe for Bar {}

/// What a bar's parts say in words: `You have used 2,918; others 3,072; 9,010 left`.
pub fn sentence(who: &str, used: u64, others: Option<u64>, held: u64, left: u64) -> String {
    let mut text = format!("{who} used {}", words::count(used));
    if let Some(others) = others {
        text.push_str(&format!("; others {}", words::count(others)));
    }
    if held > 0 {
        text.push_str(&format!("; {} held", words::count(held)));
    }
    text.push_str(&format!("; {} left", words::count(left)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(max: u64, ours: u64, others: u64, held: u64) -> Bar {
        let parts = vec![(Part::Ours, ours), (Part::Others, others), (Part::Held, held)];
        Bar { max, parts, ticks: Vec::new(), text: String::new() }
    }

    #[test]
    fn parts_stand_side_by_side_and_none_beyond_the_end() {
        let check = |bar: Bar, expected: &[(Part, u64, u64)]| {
            let found: Vec<_> =
                bar.segments().iter().map(|it| (it.part, it.from, it.length)).collect();
            assert_eq!(found, expected, "{:?} of {}", bar.parts, bar.max);
        };
        use Part::{Held, Others, Ours};
        // Intercom's own numbers.
        check(bar(15_000, 2_918, 3_072, 0), &[(Ours, 0, 1_945), (Others, 1_945, 2_048)]);
        check(bar(15_000, 0, 0, 0), &[]);
        check(bar(0, 0, 0, 0), &[]);
        check(bar(100, 100, 0, 0), &[(Ours, 0, 10_000)]);
        check(bar(100, 25, 0, 25), &[(Ours, 0, 2_500), (Held, 2_500, 2_500)]);
        // One call of many is seen.
        check(bar(1_000_000, 1, 1, 0), &[(Ours, 0, LEAST), (Others, LEAST, LEAST)]);
        check(bar(1_000_000, 999_999, 1, 0), &[(Ours, 0, 9_999), (Others, 9_960, LEAST)]);
        // More is used than there is.
        check(bar(100, 100, 100, 0), &[(Ours, 0, 5_000), (Others, 5_000, 5_000)]);
        check(bar(0, 5, 0, 0), &[(Ours, 0, 10_000)]);
        check(
            bar(u64::MAX, u64::MAX, u64::MAX, 1),
            &[(Ours, 0, 10_000), (Others, 9_960, LEAST), (Held, 9_960, LEAST)],
        );
    }

    #[test]
    fn ticks_stand_at_their_share_and_labels_do_not_overlap() {
        let check = |max: u64, used: u64, ticks: &[(u64, Mark)], expected: &[(u64, &str)]| {
            let tick = |&(at, mark)| Tick { at, mark, label: format!("{at}"), word: "" };
            let bar = Bar { ticks: ticks.iter().map(tick).collect(), ..bar(max, used, 0, 0) };
            let found: Vec<_> = bar.places().iter().map(|it| (it.at, it.label)).collect();
            assert_eq!(found, expected, "{ticks:?} of {max}, {used} used");
        };
        use Mark::{Limit, Resume, Stop};
        check(
            15_000,
            0,
            &[(6_000, Stop), (12_000, Stop), (9_000, Resume), (15_000, Stop)],
            &[(4_000, "6000"), (6_000, "9000"), (8_000, "12000"), (10_000, "15000")],
        );
        // Where bulk resumes is too near to where it pauses.
        check(100, 0, &[(38, Resume), (40, Stop)], &[(3_800, ""), (4_000, "40")]);
        check(100, 0, &[(40, Resume), (40, Stop)], &[(4_000, "40")]);
        check(100, 0, &[(0, Stop), (250, Stop)], &[(0, "0"), (10_000, "250")]);
        // Half of what is used is too much.
        check(100, 200, &[(100, Limit), (40, Stop)], &[(2_000, "40"), (5_000, "100")]);
    }

    #[test]
    fn a_bar_is_drawn_without_styles_and_texts_are_escaped() {
        let ticks = vec![
            Tick { at: 40, mark: Mark::Stop, label: "40 %".into(), word: "bulk" },
            Tick { at: 100, mark: Mark::Stop, label: "<100>".into(), word: "" },
        ];
        let svg = Bar { ticks, text: "a \"b\" <c>".into(), ..bar(100, 25, 0, 0) }.to_string();
        for part in [
            "aria-label=\"a &#34;b&#34; &#60;c&#62;\"",
            "<rect class=\"ours\" x=\"0.00%\" y=\"3\" width=\"25.00%\" height=\"12\"/>",
            "<line class=\"stop\" x1=\"40.00%\"",
            "text-anchor=\"middle\">40 %<tspan> bulk</tspan></text>",
            "text-anchor=\"end\">&#60;100&#62;<",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("style="), "{svg}");
    }

    #[test]
    fn what_a_bar_shows_can_be_said() {
        let said = sentence("You have", 2_918, Some(3_072), 0, 9_010);
        assert_eq!(said, "You have used 2,918; others 3,072; 9,010 left");
        assert_eq!(sentence("It has", 1, None, 2, 3), "It has used 1; 2 held; 3 left");
    }
}
