//! What a misspelt word most likely means.

/// The candidate that a misspelt `word` most likely means, if any is near enough:
/// the one with the fewest letters changed, swapped, added or left out, at most
/// a third of them; otherwise one that begins alike.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let letters = folded.chars().count();
    let candidates: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (candidate.to_lowercase(), candidate))
        .collect();
    let edited = candidates
        .iter()
        .map(|(other, candidate)| (strsim::osa_distance(&folded, other), candidate))
        .filter(|(edits, _)| *edits < letters && *edits <= (letters / 3).max(1))
        .min_by_key(|(edits, _)| *edits);
    let alike = || {
        candidates
            .iter()
            .map(|(other, candidate)| (strsim::jaro_winkler(&folded, other), candidate))
            .filter(|(similarity, _)| *similarity >= 0.85)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, candidate)| candidate)
    };
    edited
        .map(|(_, candidate)| candidate)
        .or_else(alike)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_none() {
        assert_eq!(nearest("adress", ["role", "address"]), Some("address"));
        assert_eq!(nearest("routingmode", ["routingMode"]), Some("routingMode"));
        assert_eq!(
            nearest("contol-plane", ["control-plane", "worker"]),
            Some("control-plane")
        );
        assert_eq!(nearest("bfp", ["bpf", "ipam"]), Some("bpf"));
        assert_eq!(
            nearest("masq", ["masquerade", "natMax"]),
            Some("masquerade")
        );
        assert_eq!(nearest("zebra", ["role", "address"]), None);
        assert_eq!(nearest("x", ["w"]), None);
        assert_eq!(nearest("", ["w"]), None);
    }
}
