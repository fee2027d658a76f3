//! Character references of HTML, which Markdown reads as well, as far as addresses are made of them.

/// The longest number that is read, in digits. Zeros may stand before it.
const MOST_DIGITS: usize = 12;

/// A text with its references to signs taken off; nothing when there are none.
pub(super) fn uncoded(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('&') {
        let (before, coded) = rest.split_at(at);
        out.push_str(before);
        let (sign, used) = match reference(coded) {
            Some(read) => {
                changed = true;
                read
            }
            None => ('&', 1),
        };
        out.push(sign);
        rest = coded.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The sign that the reference at the beginning of a text stands for, and its length.
fn reference(text: &str) -> Option<(char, usize)> {
    const NAMED: [(&str, char); 6] = [
        ("&sol;", '/'),
        ("&bsol;", '\\'),
        ("&colon;", ':'),
        ("&period;", '.'),
        ("&Tab;", '\t'),
        ("&NewLine;", '\n'),
    ];
    let Some(number) = text.strip_prefix("&#") else {
        let named = NAMED.iter().find(|(name, _)| text.starts_with(name));
        return named.map(|(name, sign)| (*sign, name.len()));
    };
    let hex = number.strip_prefix(['x', 'X']);
    let (digits, radix) = hex.map_or((number, 10), |hex| (hex, 16));
    let count = digits.chars().take_while(|c| c.is_digit(radix)).count();
    let code = digits.get(..count.min(MOST_DIGITS))?;
    let sign = char::from_u32(u32::from_str_radix(code, radix).ok()?)?;
    // Browsers read it without its last sign too.
    let closed = digits.get(count..)?.starts_with(';');
    let used = text.len() - digits.len() + count + usize::from(closed);
    sign.is_ascii().then_some((sign, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_browsers_read_them() {
        for (text, read) in [
            ("a&#47;b", "a/b"),
            ("a&#0047b", "a/b"),
            ("a&#x2F;b", "a/b"),
            ("a&#X2fg", "a/g"),
            ("a&sol;b&colon;", "a/b:"),
        ] {
            assert_eq!(uncoded(text).as_deref(), Some(read), "{text}");
        }
        for text in [
            "",
            "a & b",
            "&amp;",
            "&#;",
            "&#x;",
            "&#9999999;",
            "&#233;",
            "&",
        ] {
            assert_eq!(uncoded(text), None, "{text}");
        }
    }
}
