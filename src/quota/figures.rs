//! Numbers in sentences for people.

use std::fmt;

/// A number with a mark between its thousands: `15,000`.
#[must_use]
pub const fn thousands(number: u64) -> Thousands {
    Thousands(number)
}

/// See [`thousands`]. It is written without a buffer: warnings go with every permit
/// of a workspace that is near its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thousands(u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        if number < 1_000 {
            return write!(f, "{number}");
        }
        write!(f, "{},{:03}", thousands(number / 1_000), number % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_marks_between_their_thousands() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1_000, "1,000"),
            (1_007, "1,007"),
            (15_000, "15,000"),
            (2_918, "2,918"),
            (100_000_000, "100,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(number).to_string(), text);
        }
    }
}
