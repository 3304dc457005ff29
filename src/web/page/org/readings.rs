//! What Salesforce says, beside what was counted here.

use crate::{
    proto::v1::Reading,
    web::page::words::{self, Moment},
};

/// One reading in words.
pub struct ReadingRow {
    /// When Salesforce answered.
    pub at: Option<Moment>,
    /// What it had counted.
    pub used: String,
    /// Its limit.
    pub limit: String,
    /// What of it was ours.
    pub own: String,
    /// What was not.
    pub others: String,
    /// What we had counted beyond what it had; a dash for nothing.
    pub over: String,
    /// Who told.
    pub told_by: String,
}

/// The readings, newest first.
pub fn rows(readings: &[Reading]) -> Vec<ReadingRow> {
    readings.iter().map(row).collect()
}

/// How the two counts agree, as a sentence.
pub fn drift(readings: &[Reading]) -> String {
    let Some(newest) = readings.first() else { return String::new() };
    let (used, own) = (words::count(newest.used), words::count(newest.own));
    match over(newest) {
        0 => format!(
            "Of the {used} that Salesforce had counted, {own} were ours: {} were made by others.",
            words::count(newest.foreign)
        ),
        over => format!(
            "Salesforce had counted {used}, and we {own}: {} more than it. So nothing is taken \
             for others' use. Its figure may lag behind (`header_lag`), or calls that were \
             reported never reached it.",
            words::count(over)
        ),
    }
}

fn over(reading: &Reading) -> u64 {
    reading.own.saturating_sub(reading.used)
}

fn row(reading: &Reading) -> ReadingRow {
    ReadingRow {
        at: reading.answer_time.map(Moment),
        used: words::count(reading.used),
        limit: if reading.limit == 0 { "–".to_owned() } else { words::count(reading.limit) },
        own: words::count(reading.own),
        others: words::count(reading.foreign),
        over: match over(reading) {
            0 => "–".to_owned(),
            over => words::count(over),
        },
        told_by: if reading.told_by.is_empty() { "–".into() } else { reading.told_by.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counts_are_compared() {
        let check = |used, own, foreign, expected: &str| {
            let reading = Reading { used, limit: 15_000, own, foreign, ..Reading::default() };
            assert!(
                drift(std::slice::from_ref(&reading)).contains(expected),
                "{}",
                drift(std::slice::from_ref(&reading))
            );
        };
        check(
            5_990,
            2_918,
            3_072,
            "Of the 5,990 that Salesforce had counted, 2,918 were ours: 3,072",
        );
        check(2_000, 2_918, 0, "Salesforce had counted 2,000, and we 2,918: 918 more than it");
        assert_eq!(drift(&[]), "");
    }
}
