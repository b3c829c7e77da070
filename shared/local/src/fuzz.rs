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
    use std::{fs, panic::catch_unwind, path::Path};

    #[test]
    fn the_corpus_of_the_fuzzer_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/filter");
        let files: Vec<_> = fs::read_dir(folder).expect("a folder").collect();
        assert!(!files.is_empty(), "the corpus is empty");
        for file in files {
            let path = file.expect("an entry").path();
            let data = fs::read(&path).expect("a file");
            assert!(catch_unwind(|| super::filter(&data)).is_ok(), "the rules fail for {}", path.display());
        }
    }
}
