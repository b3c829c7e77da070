//! Every released event still decodes, and its fields are unchanged.

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use events::{UserCreated, Visitor, visit_all};
use pushbox::Event;
use serde_json::Value;

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"))
}

/// The names of the golden files that were read.
#[derive(Default)]
struct Golden(BTreeSet<String>);

impl Visitor for Golden {
    fn visit<E: Event + PartialEq + Debug>(&mut self) {
        let name = format!("{}.json", E::TYPE);
        let file = fs::read(golden().join(&name)).expect(&name);
        let golden: Value = serde_json::from_slice(&file).expect(&name);
        let event: E = serde_json::from_value(golden.clone()).expect(&name);
        let mut again = serde_json::to_value(event).expect(&name);
        again["event"] = E::TYPE.into();
        assert_eq!(again, golden, "the fields of {} have changed", E::TYPE);
        self.0.insert(name);
    }
}

#[test]
fn released_events_still_decode() {
    let mut read = Golden::default();
    visit_all(&mut read);
    let entries = fs::read_dir(golden()).expect("folder");
    let files = entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"));
    assert_eq!(read.0, files.collect(), "the golden files do not match the event types");
}

#[test]
fn normalises_the_address_of_an_older_event() {
    let older = r#"{"userId":"test-123","email":"Ann@Bücher.example","name":"Ann","event":"user.created"}"#;
    let user: UserCreated = serde_json::from_str(older).expect("user.created");
    assert_eq!(user.email.as_str(), "ann@xn--bcher-kva.example");
}
