//! What was probably meant.

/// The candidate nearest to `given`, when one is near enough to be worth saying.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    // Distances cost the product of the lengths: a huge key must not buy minutes.
    if given.is_empty() || given.len() > 200 {
        return None;
    }
    let given = given.to_ascii_lowercase();
    let tail = format!(".{given}");
    let ends_alike = candidates
        .clone()
        .find(|c| c.to_ascii_lowercase().ends_with(&tail));
    ends_alike.or_else(|| {
        candidates
            .map(|c| {
                (
                    strsim::damerau_levenshtein(&given, &c.to_ascii_lowercase()),
                    c,
                )
            })
            .min()
            .filter(|(distance, c)| *distance <= 2.max(c.len() / 3))
            .map(|(_, c)| c)
    })
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_a_tail_and_a_wrong_case_find_their_key() {
        let keys = ["gateway.port", "gateway.sandbox.mode", "models.default"];
        let find = |given| nearest(given, keys.into_iter());
        assert_eq!(find("gateway.prot"), Some("gateway.port"));
        assert_eq!(find("sandbox.mode"), Some("gateway.sandbox.mode"));
        assert_eq!(find("Gateway.Port"), Some("gateway.port"));
        assert_eq!(find("zzzz"), None);
        assert_eq!(find(&"g".repeat(100_000)), None);
    }
}
