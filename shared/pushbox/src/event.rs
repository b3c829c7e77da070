//! Events: the facts that services exchange.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A fact that one service announces and that other services may act on.
///
/// On the wire it is a [CloudEvent](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md).
/// Its data is the flat JSON of the implementing type, with `"event": TYPE` added.
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The CloudEvents `type`, such as `user.created`.
    const TYPE: &'static str;
    /// The Pub/Sub topic that carries it.
    const TOPIC: &'static str;

    /// The JSON schema of the event's data on the wire, `event` included. It accepts the data that the
    /// type's decoder accepts.
    #[must_use]
    fn schema() -> Schema {
        // Validators in strict mode refuse the names of Rust's integers.
        let drop_formats = RecursiveTransform(|schema: &mut Schema| {
            if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                schema.remove("format");
            }
        });
        let settings = SchemaSettings::draft2020_12().with_transform(drop_formats);
        let mut schema = settings.into_generator().into_root_schema_for::<Self>();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let description = "The event's type, for a message without the attribute `ce-type`.";
            properties.insert("event".to_owned(), json!({ "const": Self::TYPE, "description": description }));
        }
        schema
    }
}
