//! The rules that hold for every subscription filter. `fuzz/` checks them with generated input, and
//! the test below checks them with `fuzz/corpus/`.

use crate::broker::passes;

/// The first line of the input is a filter. Each further line is a message attribute, `name=value`.
pub fn filter(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    let mut lines = input.split('\n');
    let filter = lines.next().unwrap_or_default();
    let attributes: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
    let Ok(passed) = passes(filter, &attributes) else { return };
    assert!(filter.len() <= 256, "Pub/Sub refuses filters of more than 256 bytes");
    // The negation may be too long.
    if let Ok(negated) = passes(&format!("NOT ({filter})"), &attributes) {
        assert_ne!(passed, negated, "a filter and its negation agree");
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
