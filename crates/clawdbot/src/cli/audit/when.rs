//! Times as people say them: `2h`, `yesterday`, `22:00`, `2026-11-25`. All of them are UTC, as the log is.

use clawdbot_domain::UnixTime;

/// Seconds.
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What is said when a time is none.
const EXAMPLES: &str = "such as 2h, 3 days ago, today, yesterday, last night, 22:00, 2026-11-25 or 2026-11-25T22:00 (UTC)";

/// The time that was meant, as the beginning of a time in the log: their order is that of their text.
pub(super) fn parse(said: &str, now: UnixTime) -> Result<String, String> {
    let text = said.trim().to_lowercase();
    let now = now.as_secs();
    let midnight = now - now.rem_euclid(DAY);
    let at = match text.as_str() {
        "now" => now,
        "today" => midnight,
        "yesterday" => midnight - DAY,
        // From the evening on: what somebody means who asks in the morning.
        "last night" => midnight - 6 * HOUR,
        _ => {
            if let Some(span) = ago(&text) {
                now.saturating_sub(span)
            } else if let Some(of_day) = time_of_day(&text) {
                // The last time the clock showed it.
                let today = midnight + of_day;
                if today > now { today - DAY } else { today }
            } else {
                return beginning(said.trim())
                    .ok_or_else(|| format!("`{said}` is no time: {EXAMPLES}"));
            }
        }
    };
    Ok(UnixTime::from_secs(at).to_string())
}

/// `90m`, `2 hours`, `3 days ago`.
fn ago(text: &str) -> Option<i64> {
    let text = text.strip_suffix("ago").unwrap_or(text).trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "h" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds)
}

/// `22:00` as seconds.
fn time_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: i64| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| text.parse::<i64>().ok()).flatten()?;
        (number < below).then_some(number)
    };
    Some(number(hours, 24)? * HOUR + number(minutes, 60)? * MINUTE)
}

/// A date, or a date and as much of a time as was given, as the log would write it.
fn beginning(text: &str) -> Option<String> {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd.ddddddddd";
    // Less than a day is too little to be a time; `2026` may as well be a number of something.
    const DATE: usize = "2026-11-25".len();
    let whole = text.ends_with(['Z', 'z']);
    let text = text
        .trim_end_matches(['Z', 'z'])
        .replacen([' ', 't'], "T", 1);
    let text = text.trim_end_matches(['.', ':', 'T']);
    let fits = text.len() >= DATE && text.len() <= FORM.len();
    let alike = text.bytes().zip(FORM).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        other => byte == *other,
    });
    let number = |from: usize, most: u32| {
        let two = text.get(from..from + 2);
        two.is_none_or(|two| two.parse::<u32>().is_ok_and(|n| n <= most))
    };
    let real = number(5, 12) && number(8, 31) && number(11, 23) && number(14, 59) && number(17, 60);
    if !(fits && alike && real) {
        return None;
    }
    // `…:00Z` is a moment, before all that the log writes as `…:00.123`.
    let moment = whole && text.len() == "2026-11-25T22:00:00".len();
    Some(if moment {
        format!("{text}.")
    } else {
        text.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use clawdbot_domain::UnixTime;

    /// Thursday 2026-11-26, 08:30 UTC.
    const NOW: UnixTime = UnixTime::from_secs(1_795_681_800);

    #[test]
    fn what_people_say_is_the_time_they_mean() {
        for (said, meant) in [
            ("now", "2026-11-26T08:30:00.000000000Z"),
            ("2h", "2026-11-26T06:30:00.000000000Z"),
            ("90 minutes ago", "2026-11-26T07:00:00.000000000Z"),
            ("1 week", "2026-11-19T08:30:00.000000000Z"),
            ("today", "2026-11-26T00:00:00.000000000Z"),
            ("Yesterday", "2026-11-25T00:00:00.000000000Z"),
            ("last night", "2026-11-25T18:00:00.000000000Z"),
            ("08:00", "2026-11-26T08:00:00.000000000Z"),
            ("22:00", "2026-11-25T22:00:00.000000000Z"),
            ("2026-11-25", "2026-11-25"),
            ("2026-11-25 22:00", "2026-11-25T22:00"),
            ("2026-11-25T22:00:00Z", "2026-11-25T22:00:00."),
            ("2026-11-25T22:00:00.5Z", "2026-11-25T22:00:00.5"),
        ] {
            assert_eq!(parse(said, NOW).as_deref(), Ok(meant), "{said}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_and_never_just_finds_nothing() {
        for said in [
            "",
            "2",
            "h",
            "soon",
            "25:00",
            "8:00",
            "2026",
            "2026-13-01",
            "2026-11-25T25",
            "25.11.2026",
            "9999999999999999999w",
            "2026-11-25T22:00:00+01:00",
            "-2h",
        ] {
            let refused = parse(said, NOW).unwrap_err();
            assert!(refused.contains("yesterday"), "{said}: {refused}");
        }
    }
}
