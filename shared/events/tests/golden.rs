//! Every event that was ever released still decodes, and means what it meant.

use events::{
    Event, InvoiceCreated, LogCreated, OrderCancelled, OrderCreated, OrderPersisted, OrderRejected,
    PaymentFailed, PaymentSucceeded, UserCreated,
};
use serde_json::Value;

fn check<E: Event>(file: &str) {
    let golden: Value = serde_json::from_str(file).expect("golden file");
    let event: E = serde_json::from_value(golden.clone()).expect(E::TYPE);
    let mut again = serde_json::to_value(event).expect(E::TYPE);
    again["event"] = E::TYPE.into();
    assert_eq!(again, golden, "{} reads or writes other fields than it did", E::TYPE);
}

#[test]
fn released_events_still_decode() {
    check::<UserCreated>(include_str!("../golden/user.created.json"));
    check::<OrderCreated>(include_str!("../golden/order.created.json"));
    check::<OrderPersisted>(include_str!("../golden/order.persisted.json"));
    check::<OrderRejected>(include_str!("../golden/order.rejected.json"));
    check::<PaymentSucceeded>(include_str!("../golden/payment.succeeded.json"));
    check::<PaymentFailed>(include_str!("../golden/payment.failed.json"));
    check::<OrderCancelled>(include_str!("../golden/order.cancelled.json"));
    check::<InvoiceCreated>(include_str!("../golden/invoice.created.json"));
    check::<LogCreated>(include_str!("../golden/log.created.json"));
}

#[test]
fn every_golden_file_is_checked() {
    let source = include_str!("golden.rs");
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).expect("folder") {
        let name = file.expect("entry").file_name().into_string().expect("UTF-8");
        assert!(source.contains(&format!("golden/{name}")), "{name} is not checked");
    }
}

#[test]
fn an_older_form_of_an_address_becomes_the_one_of_today() {
    let older = r#"{"userId":"test-123","email":"Ann@Bücher.example","name":"Ann","event":"user.created"}"#;
    let user: UserCreated = serde_json::from_str(older).expect("user.created");
    assert_eq!(user.email.as_str(), "ann@xn--bcher-kva.example");
}
