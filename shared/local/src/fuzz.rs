//! What must hold of every filter of a subscription. `fuzz/` calls this with what a fuzzer makes up,
//! and the test below with `fuzz/corpus/`.

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
    use std::{fs, panic::catch_unwind, path::Path};

    #[test]
    fn the_corpus_of_the_fuzzer_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/filter");
        let files: Vec<_> = fs::read_dir(folder).expect("a folder").collect();
        assert!(!files.is_empty(), "the corpus is empty");
        for file in files {
            let path = file.expect("an entry").path();
            let data = fs::read(&path).expect("a file");
            assert!(catch_unwind(|| super::filter(&data)).is_ok(), "it failed on {}", path.display());
        }
    }
}
