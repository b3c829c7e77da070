//! The schema and the decoder of each event accept the same data.
//!
//! The tests apply a list of alterations to every place of each golden file. The schema and the decoder
//! must both accept the result or both reject it. `Exception` lists the exceptions.

use std::{collections::BTreeSet, fmt::Debug, fs};

use events::{UserCreated, Visitor, visit_all};
use jsonschema::Validator;
use pushbox::Event;
use serde_json::{Value, json};

/// The reasons why the schema and the decoder may disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    /// serde accepts an array of the values for a struct. The runtime rejects it earlier.
    ArrayForObject,
    /// In JSON Schema, `2.0` is an integer. No schema can distinguish it from `2`.
    WholeNumberAsFraction,
    /// `uniqueItems` compares whole lines. No schema can reject two different lines for one product.
    SameProductTwice,
    /// The decoder also accepts domains in their Unicode form, because older events have them.
    DomainBeyondAscii,
    /// A pattern cannot decode Punycode.
    MalformedPunycode,
    /// A pattern that all validators can read cannot name the letters of all scripts or count their bytes.
    LocalPartBeyondAscii,
    /// The decoder also accepts times outside RFC 3339, and a pattern cannot check the calendar.
    UnusualTime,
}

/// A new value for a place, and the exception that allows the two to disagree about it.
type Alteration = (Value, Option<Exception>);

fn anywhere(original: &Value) -> Vec<Alteration> {
    let fraction = Some(Exception::WholeNumberAsFraction);
    let array = original.is_object().then_some(Exception::ArrayForObject);
    let mut all: Vec<Alteration> = [
        json!(null),
        json!(true),
        json!({}),
        json!({ "other": 1 }),
        json!(-1),
        json!(0),
        json!(1),
        json!(1000),
        json!(1001),
        json!(u32::MAX),
        json!(u64::from(u32::MAX) + 1),
        json!((1_u64 << 53) - 1),
        json!(1_u64 << 53),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
    ]
    .map(|value| (value, None))
    .into();
    all.extend([json!(2.0), json!(0.0), json!(-0.0)].map(|value| (value, fraction)));
    let values: Vec<Value> =
        original.as_object().map(|fields| fields.values().cloned().collect()).unwrap_or_default();
    // serde needs the values in the order of the fields. In `Money` that is the reverse alphabetical order.
    let reversed: Vec<Value> = values.iter().rev().cloned().collect();
    let arrays = [json!([]), json!([1]), json!([null]), json!(values), json!(reversed)];
    all.extend(arrays.map(|value| (value, array)));
    all.extend(texts().into_iter().map(|text| (text.into(), None)));
    all
}

/// Texts that some newtypes accept and others reject.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "x",
        "X",
        "usd",
        "USD",
        "us",
        "usdd",
        "us1",
        "äbc",
        "-a",
        ".",
        "a/b",
        "a b",
        " a ",
        "\ta\n",
        "a\nb",
        "a\u{7f}b",
        "a\u{202E}b",
        "\u{200D}",
        "\u{200D}a",
        "a\u{200D}",
        "\u{3164}",
        "👩\u{200D}🚀",
        "info",
        "error",
        "unknownSku",
        "shortOfStock",
        "Info",
        "warning",
    ]
    .map(str::to_owned)
    .into();
    for length in [127, 128, 129, 199, 200, 201, 300] {
        texts.push("x".repeat(length));
        texts.push("李".repeat(length));
        texts.push(format!("  {}\u{3000}", "x".repeat(length)));
    }
    texts
}

fn addresses() -> Vec<Alteration> {
    let mut all = Vec::new();
    for c in (0..0x80_u8).map(char::from) {
        for address in [
            format!("a{c}b@example.com"),
            format!("{c}ann@example.com"),
            format!("ann{c}@example.com"),
            format!("ann@a{c}b.example"),
            format!("ann@{c}example.com"),
            format!("ann@example{c}.com"),
            format!("ann@example.{c}com"),
            format!("ann@example.com{c}"),
        ] {
            all.push((address, None));
        }
    }
    for (local, label, last) in [
        (64, 63, 57),
        (65, 1, 1),
        (1, 64, 1),
        (64, 63, 58),
        (1, 63, 120),
        (64, 63, 2),
        (1, 1, 1),
        (1, 63, 63),
    ] {
        let (local, label, last) = ("x".repeat(local), "y".repeat(label), "z".repeat(last));
        for domain in
            [format!("{label}.{label}.{last}.com"), format!("{label}.{last}"), format!("{label}.com")]
        {
            all.push((format!("{local}@{domain}"), None));
            all.push((format!("  {local}@{domain}  "), None));
        }
    }
    for address in [
        "ann",
        "ann@",
        "@example.com",
        "ann@localhost",
        "ann@127.0.0.1",
        "ann@0x7f.1",
        "ann@example.0x7f",
        "ann@[127.0.0.1]",
        "\"a b\"@example.com",
        "Ann <ann@example.com>",
        "ann@example..com",
        "an..n@example.com",
        "ann@bob@example.com",
        "ANN@EXAMPLE.COM",
        "\u{3000}ann@example.com\u{a0}",
        "ann@r3---a.example",
        "ann@xn--bcher-kva.example",
    ] {
        all.push((address.to_owned(), None));
    }
    for address in ["ann@bücher.example", "ann@例え.テスト", "ann@example。com"] {
        all.push((address.to_owned(), Some(Exception::DomainBeyondAscii)));
    }
    all.push(("ann@xn--zzzzzz.example".to_owned(), Some(Exception::MalformedPunycode)));
    for address in ["zoë@example.com", "李@example.com", "a\u{301}\u{302}@example.com", "☃@example.com"] {
        all.push((address.to_owned(), Some(Exception::LocalPartBeyondAscii)));
    }
    all.push((format!("{}@example.com", "李".repeat(40)), Some(Exception::LocalPartBeyondAscii)));
    all.into_iter().map(|(address, exception)| (address.into(), exception)).collect()
}

fn times() -> Vec<Alteration> {
    let usual = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02T03:04:05+23:59",
        "2026-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00Z",
        "8999-12-31T23:59:59Z",
        "2024-02-29T00:00:00Z",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05.Z",
        "now",
    ];
    let unusual =
        ["2026-01-02 03:04:05Z", "20260102T030405Z", "2026-02-30T00:00:00Z", "9000-01-01T00:00:00Z"];
    let usual = usual.map(|time| (time.into(), None));
    usual.into_iter().chain(unusual.map(|time| (time.into(), Some(Exception::UnusualTime)))).collect()
}

fn lines(original: &Value) -> Vec<Alteration> {
    let Some(line) = original.as_array().and_then(|lines| lines.first()) else { return Vec::new() };
    let other = |number: usize| {
        let mut line = line.clone();
        line["sku"] = format!("sku-{number}").into();
        line
    };
    let mut more = line.clone();
    more["quantity"] = json!(7);
    let several = [1, 19, 20, 21].map(|count| (Value::Array((0..count).map(other).collect()), None));
    let twice = (json!([line, line]), Some(Exception::SameProductTwice));
    let again = (json!([line, more]), Some(Exception::SameProductTwice));
    several.into_iter().chain([twice, again]).collect()
}

/// Finds every place in a document, except `event`: the runtime selects the decoder by it.
fn places(document: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match document {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "event") {
                places(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

struct Comparison {
    event: &'static str,
    schema: Validator,
    decodes: fn(Value) -> bool,
    compared: usize,
    used: BTreeSet<Exception>,
}

impl Comparison {
    fn of<E: Event>() -> Self {
        let schema = jsonschema::draft202012::new(E::schema().as_value()).expect(E::TYPE);
        let decodes = |data| serde_json::from_value::<E>(data).is_ok();
        Self { event: E::TYPE, schema, decodes, compared: 0, used: BTreeSet::new() }
    }

    fn compare(&mut self, pointer: &str, data: Value, exception: Option<Exception>) {
        let (fits, decodes) = (self.schema.is_valid(&data), (self.decodes)(data.clone()));
        self.compared += 1;
        match exception {
            Some(exception) if fits != decodes => drop(self.used.insert(exception)),
            _ => assert_eq!(
                fits, decodes,
                "{} at {pointer:?}: schema {fits}, code {decodes}: {data}",
                self.event
            ),
        }
    }

    fn alter(&mut self, golden: &Value) {
        assert!(self.schema.is_valid(golden), "{}", self.event);
        let mut all = Vec::new();
        places(golden, "", &mut all);
        for pointer in all {
            let original = golden.pointer(&pointer).expect("the place exists");
            let mut alterations = anywhere(original);
            match pointer.rsplit('/').next() {
                Some("email" | "customerEmail") => alterations.extend(addresses()),
                Some("issuedAt" | "until") => alterations.extend(times()),
                Some("lines") => alterations.extend(lines(original)),
                _ => {}
            }
            for (value, exception) in alterations {
                let mut altered = golden.clone();
                *altered.pointer_mut(&pointer).expect("the place exists") = value;
                self.compare(&pointer, altered, exception);
            }
            let mut extended = golden.clone();
            if let Some(fields) = extended.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                fields.insert("new".to_owned(), json!({ "by": "a later version" }));
                assert!(self.schema.is_valid(&extended), "{} rejects additional fields", self.event);
                self.compare(&pointer, extended, None);
            }
            if let Some((parent, name)) = pointer.rsplit_once('/') {
                let mut lacking = golden.clone();
                if let Some(fields) = lacking.pointer_mut(parent).and_then(Value::as_object_mut) {
                    fields.remove(name);
                    self.compare(&pointer, lacking, None);
                }
            }
        }
    }
}

fn golden<E: Event>() -> Value {
    let path = format!("{}/golden/{}.json", env!("CARGO_MANIFEST_DIR"), E::TYPE);
    serde_json::from_slice(&fs::read(&path).expect(&path)).expect(E::TYPE)
}

struct Comparisons(Vec<Comparison>);

impl Visitor for Comparisons {
    fn visit<E: Event + PartialEq + Debug>(&mut self) {
        let mut comparison = Comparison::of::<E>();
        comparison.alter(&golden::<E>());
        self.0.push(comparison);
    }
}

#[test]
fn schemas_and_decoders_accept_the_same_data() {
    let mut comparisons = Comparisons(Vec::new());
    visit_all(&mut comparisons);
    let Comparisons(comparisons) = comparisons;
    let compared: usize = comparisons.iter().map(|comparison| comparison.compared).sum();
    assert!(compared > 5_000, "only {compared}");
    let used: BTreeSet<Exception> = comparisons.into_iter().flat_map(|comparison| comparison.used).collect();
    let needed = [
        Exception::ArrayForObject,
        Exception::WholeNumberAsFraction,
        Exception::SameProductTwice,
        Exception::DomainBeyondAscii,
        Exception::MalformedPunycode,
        Exception::LocalPartBeyondAscii,
        Exception::UnusualTime,
    ];
    assert_eq!(
        used,
        needed.into(),
        "the exceptions differ from the list: remove an exception that is not needed"
    );
}

/// The pattern does not reject invisible characters beyond U+FFFF, because not all validators know an
/// escape for them. Only the decoder rejects them.
#[test]
fn schemas_and_decoders_accept_the_same_characters_in_names() {
    let mut comparison = Comparison::of::<UserCreated>();
    // The range between the two contains ideographs and syllables.
    for c in ('\0'..='\u{33FF}').chain('\u{D7A4}'..='\u{FFFF}') {
        for name in [format!("{c}n"), format!("a{c}n"), format!("a{c}")] {
            let user = json!({ "userId": "u", "email": "ann@example.com", "name": name });
            comparison.compare("/name", user, None);
        }
    }
}

struct Schemas(usize);

impl Visitor for Schemas {
    fn visit<E: Event + PartialEq + Debug>(&mut self) {
        let (mut golden, schema) = (golden::<E>(), Comparison::of::<E>().schema);
        assert_eq!(golden["event"], E::TYPE);
        assert!(schema.is_valid(&golden), "{}", E::TYPE);
        golden["event"] = json!("another.type");
        assert!(!schema.is_valid(&golden), "{} accepts another type", E::TYPE);
        // Strict validators reject formats that they do not know.
        let text = E::schema().as_value().to_string().replace("\"format\":\"date-time\"", "");
        assert!(!text.contains("\"format\""), "{text}");
        self.0 += 1;
    }
}

#[test]
fn schemas_check_the_field_event_and_have_no_unusual_formats() {
    let mut checked = Schemas(0);
    visit_all(&mut checked);
    assert!(checked.0 > 20, "only {}", checked.0);
}
