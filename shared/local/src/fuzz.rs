//! What must hold for every filter of a subscription. `fuzz/` calls this with generated input, and the test
//! below calls it with `fuzz/corpus/`.

use crate::broker::passes;

/// A filter, and below it the attributes of a message as `name=value`, one a line.
pub fn filter(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    let mut lines = input.split('\n');
    let filter = lines.next().unwrap_or_default();
    let attributes: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
    let Ok(passed) = passes(filter, &attributes) else { return };
    assert!(filter.len() <= 256, "Pub/Sub takes no longer filter");
    // The negation may be too long.
    if let Ok(negated) = passes(&format!("NOT ({filter})"), &attributes) {
        assert_ne!(passed, negated, "NOT passes what the filter does not");
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pushbox::fuzz::failures;

    #[test]
    fn the_corpus_of_the_fuzzer_passes() {
        assert_eq!(failures("fuzz/corpus/filter", super::filter), Vec::<PathBuf>::new(), "see above");
    }
}
