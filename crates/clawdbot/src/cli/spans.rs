//! Spans of time, as people write and read them: `90d`, `10m`, `2 days ago`.

use clawdbot_domain::UnixTime;
use std::time::Duration;

const UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3600),
    ('d', 86_400),
    ('w', 604_800),
];

/// Reads `90d`, `10m`, `3600s`: a whole number and a unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "write a whole number and a unit, such as 90d, 12h or 10m".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let (_, seconds) = UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?;
    let number: u64 = text
        .strip_suffix(unit)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(wrong)?;
    let seconds = number.checked_mul(*seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// `3d`, `5h`, `10m`, `20s`: the largest unit that fits, rounded down.
pub fn short(span: Duration) -> String {
    let days = [('d', 86_400), ('h', 3600), ('m', 60)];
    let seconds = span.as_secs();
    days.iter().find(|(_, unit)| seconds >= *unit).map_or_else(
        || format!("{seconds}s"),
        |(name, unit)| format!("{}{name}", seconds / unit),
    )
}

/// How long ago, or how long until.
pub fn from_now(at: UnixTime, now: UnixTime) -> String {
    if at > now {
        format!("in {}", short(at.since(now)))
    } else {
        format!("{} ago", short(now.since(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        assert_eq!(parse("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse("10m"), Ok(Duration::from_secs(600)));
        for odd in [
            "",
            "d",
            "10",
            "-5d",
            "+5d",
            "1.5h",
            "10 m",
            "5µ",
            "99999999999999999999d",
        ] {
            assert!(parse(odd).is_err(), "{odd}");
        }
        assert!(parse("9999999999999999999w").is_err());
    }

    #[test]
    fn a_span_is_shown_in_its_largest_unit() {
        let shown = [59, 60, 7199, 7200, 200_000].map(|s| short(Duration::from_secs(s)));
        assert_eq!(shown, ["59s", "1m", "1h", "2h", "2d"]);
    }
}
