//! Numbers in words, for people.

use crate::record::{Score, Unit};

impl Score {
    /// The value for people, without its unit: `61.3` for a share in per cent, else as many figures as matter.
    pub fn value_in_words(&self) -> String {
        self.unit.in_words(self.value)
    }

    /// `[58.0, 64.6]`, in the value's unit; empty where there is no interval.
    pub fn interval_in_words(&self) -> String {
        let words = |bound| self.unit.in_words(bound);
        self.interval
            .map(|[low, high]| format!("[{}, {}]", words(low), words(high)))
            .unwrap_or_default()
    }
}

impl Unit {
    /// What follows a value: ` %` for a share.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Share => " %",
            Self::Number => "",
        }
    }

    /// What follows a difference of two values.
    pub fn difference(self) -> &'static str {
        match self {
            Self::Share => " points",
            Self::Number => "",
        }
    }

    /// A value or a difference: a share in per cent, another number to about four figures.
    pub fn in_words(self, value: f64) -> String {
        match self {
            Self::Share => percent(value),
            Self::Number => figure(value),
        }
    }
}

/// `61.3`: a share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A number to about four figures, with an SI suffix from ten thousand: `0.6132`, `12.35`, `11.7M`.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "not finite".into();
    }
    match size {
        0.0 => "0".into(),
        _ if size < 1e-3 => format!("{value:.2e}"),
        _ if size < 1.0 => format!("{value:.4}"),
        _ if size < 10.0 => format!("{value:.3}"),
        _ if size < 100.0 => format!("{value:.2}"),
        _ if size < 1e3 => format!("{value:.1}"),
        _ if size < 1e4 => format!("{value:.0}"),
        _ if size < 1e6 => format!("{:.1}k", value / 1e3),
        _ if size < 1e9 => format!("{:.1}M", value / 1e6),
        _ if size < 1e12 => format!("{:.1}G", value / 1e9),
        _ => format!("{value:.2e}"),
    }
}

/// `1 h 4 min`, `3 min 20 s`, `12 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// `10,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Seconds since 1970 as `2026-11-23 03:45 UTC`, in the Gregorian calendar.
pub(crate) fn date(seconds: u64) -> String {
    // Days are counted from 1 March 0000, so that the leap day is the last of its year; a cycle of 400 years
    // has 146,097 days. 719,468 is the day of 1 January 1970.
    let days = seconds / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (cycle * 400 + year, month + 3),
        _ => (cycle * 400 + year + 1, month - 9),
    };
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{date:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59 UTC");
    }

    #[test]
    fn figures_keep_about_four_digits() {
        let shown: Vec<String> =
            [0.0, 3e-5, 0.61323, 12.345, 11_700_000.0, f64::NAN].map(figure).into();
        assert_eq!(shown, ["0", "3.00e-5", "0.6132", "12.35", "11.7M", "not finite"]);
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([7, 1000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
    }
}
