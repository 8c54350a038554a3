//! Durations in the text form of Go's `time.Duration`, which the API uses for BGP timers.

use std::fmt;

use thiserror::Error;

/// A signed span of time in nanoseconds, about 292 years either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

const SECOND: i64 = 1_000_000_000;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("time: invalid duration {}: write a number with a unit, such as 90s or 1m30s", crate::quote::quoted(.0))]
pub struct DurationError(String);

impl GoDuration {
    /// A span of whole seconds.
    pub fn from_seconds(seconds: u32) -> Self {
        Self(i64::from(seconds) * SECOND)
    }

    /// Whole seconds, the rest cut off towards zero.
    pub fn whole_seconds(self) -> i64 {
        self.0 / SECOND
    }

    /// Nanoseconds.
    pub fn nanoseconds(self) -> i64 {
        self.0
    }
}

/// Parses `1h2m3.5s`, `-90s`, `0` and the like: numbers with the units ns, us (µs), ms, s, m, h.
///
/// # Errors
/// Anything else, and spans beyond 292 years.
pub fn parse_go_duration(text: &str) -> Result<GoDuration, DurationError> {
    parse(text).map(GoDuration).ok_or_else(|| DurationError(text.to_owned()))
}

fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = unit_nanoseconds(unit)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(i128::from(digit - b'0') * scale)?;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

impl fmt::Display for GoDuration {
    /// Go's canonical form: `1h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let second = SECOND.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000)),
            1_000_000_000.. => {
                let (hours, minutes) = (nanos / (3600 * second), nanos / (60 * second) % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", decimal(nanos % (60 * second), second))
            }
        }
    }
}

/// `nanos / unit` with as many decimals as needed.
fn decimal(nanos: u64, unit: u64) -> String {
    let (whole, mut fraction) = (nanos / unit, nanos % unit);
    let mut out = whole.to_string();
    if fraction > 0 {
        out.push('.');
    }
    let mut scale = unit;
    while fraction > 0 {
        scale /= 10;
        out.push_str(&(fraction / scale).to_string());
        fraction %= scale;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::parse_go_duration;

    #[test]
    fn durations_read_and_print_as_in_go() {
        let table = [
            ("90s", "1m30s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1h", "1h0m0s"),
            ("5m30s", "5m30s"),
            ("1.5s", "1.5s"),
            (".5s", "500ms"),
            ("1500us", "1.5ms"),
            ("3ns", "3ns"),
            ("-5s", "-5s"),
            ("+2s", "2s"),
            ("1h2m3.004s", "1h2m3.004s"),
        ];
        for (text, printed) in table {
            assert_eq!(parse_go_duration(text).map(|d| d.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "s", "5x", "1.s.", "-", "--1s", "1 s", "9999999999h", ".s", "1s ", "é"] {
            assert!(parse_go_duration(text).is_err(), "{text}");
        }
    }
}
