//! "Did you mean": the known word nearest to an unknown one.

/// The candidate nearest to a word, if it is near enough to be what was meant: a third of the word may differ, a swap
/// of neighbours counts once, ASCII case does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let most = (word.chars().count() / 3).max(1);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase());
    let scored = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    scored
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?`, or the whole list when nothing is near.
pub(super) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "there is none yet".to_owned(),
        None => format!("known: {}", quoted(candidates)),
    }
}

/// `` `a`, `b`, `c` ``
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let known = ["orders:read", "orders:write", "offers:write"];
        assert_eq!(nearest("ordres:read", known), Some("orders:read"));
        assert_eq!(nearest("Orders:Write", known), Some("orders:write"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
    }
}
