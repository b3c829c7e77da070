//! What must hold for any input from outside. `fuzz/` calls these functions with generated input, and the
//! tests below call them with `fuzz/corpus/`.

use std::{
    fmt::Debug,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode},
};
use bytes::Bytes;
use tower::ServiceExt;

use crate::{
    Event, Message, Page, PageQuery, Ports, PushAuth, Service,
    delivery::Delivery,
    json::read_object,
    publisher::{PublishError, Publisher},
    store::Memory,
    trace::Trace,
};

/// The body of a wrapped push: JSON with a `message`.
pub fn envelope(body: &[u8]) {
    delivery(&HeaderMap::new(), body);
}

/// An unwrapped push or a CloudEvent: one header per line, an empty line, and the body.
pub fn attributes(request: &[u8]) {
    let (head, body) = match request.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&request[..end], &request[end + 2..]),
        None => (request, &[][..]),
    };
    let header = |line: &[u8]| -> Option<(HeaderName, HeaderValue)> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon + 1..].trim_ascii();
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in head.split(|byte| *byte == b'\n').filter_map(header) {
        headers.append(name, value);
    }
    delivery(&headers, body);
}

fn delivery(headers: &HeaderMap, body: &[u8]) {
    let parse = || Delivery::parse(headers, Bytes::copy_from_slice(body));
    let Ok(delivery) = parse() else { return };
    assert!(!delivery.message_id.is_empty(), "a message has an id");
    assert!(!delivery.key().to_string().is_empty(), "a delivery has a key");
    let again = parse().expect("what is read once can be read again");
    assert_eq!(delivery.key(), again.key(), "a redelivery has the same key");
    // These must not panic.
    let _ = (delivery.event_type(), delivery.time());
}

/// The value of a `traceparent`.
pub fn trace(traceparent: &[u8]) {
    let Some(trace) = str::from_utf8(traceparent).ok().and_then(Trace::parse) else { return };
    assert!(trace.trace_id != 0 && trace.span_id != 0, "zero means that there is none");
    assert_eq!(Trace::parse(&trace.to_string()), Some(trace), "what is passed on is understood");
}

/// The value of `?cursor=`.
pub fn cursor(cursor: &[u8]) {
    let Some(id) = begins_after(cursor) else { return };
    // <https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields>
    assert!((1..=1500).contains(&id.len()) && !id.contains('/'), "not an id: {id:?}");
    assert!(![".", ".."].contains(&id.as_str()), "not an id: {id:?}");
    let is_reserved = id.len() >= 4 && id.starts_with("__") && id.ends_with("__");
    assert!(!is_reserved, "not an id: {id:?}");
    // A page that ends with this document has this cursor.
    let page = Page::cut(vec![id.clone(), String::new()], 1, Clone::clone);
    let next = page.next.expect("there is one more");
    assert_eq!(begins_after(next.as_bytes()), Some(id), "a page's own cursor is understood");
}

/// A publisher that is never called.
struct Nowhere;

#[async_trait]
impl Publisher for Nowhere {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        Err(PublishError { topic: message.topic, reason: "there is none".to_owned() })
    }
}

/// The id after which a list begins with this cursor; `None` if the route refuses the cursor.
fn begins_after(cursor: &[u8]) -> Option<String> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    static APP: LazyLock<Router> = LazyLock::new(|| {
        let list = async |page: PageQuery| page.after().map(Option::unwrap_or_default);
        let ports = Ports::new(Arc::new(Memory::default()), Arc::new(Nowhere));
        Service::new("fuzz", "lists").get("/list", list).app(ports, PushAuth::None)
    });
    let cursor: String = cursor.iter().map(|byte| format!("%{byte:02x}")).collect();
    RUNTIME.block_on(async {
        let request = Request::get(format!("/list?cursor={cursor}")).body(Body::empty()).ok()?;
        let response = APP.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status();
        assert!(!status.is_server_error(), "{status}");
        let id = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status == StatusCode::OK).then(|| String::from_utf8(id.into()).expect("text"))
    })
}

/// Reads the data of a message as an event of type `E`. Returns whether that is possible.
pub fn event<E: Event + PartialEq + Debug>(data: &[u8]) -> bool {
    let Ok(event) = read_object::<E>(data) else { return false };
    let json = serde_json::to_vec(&event).expect(E::TYPE);
    let again = read_object::<E>(&json);
    assert_eq!(again, Ok(event), "{} cannot read what it writes", E::TYPE);
    true
}

/// Calls a target with each file of a folder of the repository. Returns the files on which it fails.
pub fn failures(folder: &str, target: fn(&[u8])) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let fails = |file: &PathBuf| {
        let data = fs::read(file).expect("a file");
        catch_unwind(|| target(&data)).is_err()
    };
    files.into_iter().filter(fails).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_of_the_fuzzer_passes() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 4] =
            [("envelope", envelope), ("attributes", attributes), ("trace", trace), ("cursor", cursor)];
        let failures = targets.map(|(name, target)| failures(&format!("fuzz/corpus/{name}"), target));
        assert_eq!(failures.concat(), Vec::<PathBuf>::new(), "see above");
    }
}
