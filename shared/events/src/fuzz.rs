//! What must hold for the data of any message. `fuzz/` calls [`event`] with generated data, and the tests
//! below call it with `fuzz/corpus/event/`.

use std::fmt::Debug;

use pushbox::Event;

use crate::{Visitor, visit_all};

/// Reads the data of a message as an event of each type.
pub fn event(data: &[u8]) {
    types_of(data);
}

/// The number of types that can be read from the data.
fn types_of(data: &[u8]) -> usize {
    let mut decoding = Decoding { data, decoded: 0 };
    visit_all(&mut decoding);
    decoding.decoded
}

struct Decoding<'a> {
    data: &'a [u8],
    decoded: usize,
}

impl Visitor for Decoding<'_> {
    fn visit<E: Event + PartialEq + Debug>(&mut self) {
        self.decoded += usize::from(pushbox::fuzz::event::<E>(self.data));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pushbox::fuzz::failures;

    #[test]
    fn the_corpus_of_the_fuzzer_passes() {
        assert_eq!(failures("fuzz/corpus/event", super::event), Vec::<PathBuf>::new(), "see above");
    }

    #[test]
    fn every_released_event_is_fuzzed() {
        let reads = |data: &[u8]| assert!(super::types_of(data) > 0);
        assert_eq!(failures("shared/events/golden", reads), Vec::<PathBuf>::new(), "no type reads it");
    }
}
