//! JSON as Firestore values and back, without a loss. The crate's own serde mapping drops nulls in lists and
//! lets large numbers overflow.

use gcloud_sdk::{
    google::firestore::v1::{ArrayValue, Document, MapValue, Value as FirestoreValue, value::ValueType},
    prost_types::Timestamp as ProtoTimestamp,
};
use serde_json::Value;
use tonic::Status;

use crate::store::{Fields, StoreError, TTL_FIELD};

pub(super) fn to_document(name: String, fields: &Fields) -> Result<Document, Status> {
    let mut document = Document { name, ..Default::default() };
    document.fields.reserve(fields.len());
    for (name, value) in fields {
        let value = if name == TTL_FIELD { to_timestamp(value)? } else { to_value(value)? };
        document.fields.insert(name.clone(), value);
    }
    Ok(document)
}

pub(super) fn to_value(value: &Value) -> Result<FirestoreValue, Status> {
    let value = match value {
        Value::Null => ValueType::NullValue(0),
        Value::Bool(value) => ValueType::BooleanValue(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => ValueType::IntegerValue(value),
            (None, Some(value)) if number.is_f64() => ValueType::DoubleValue(value),
            _ => return Err(Status::invalid_argument("a number is too large")),
        },
        Value::String(text) => ValueType::StringValue(text.clone()),
        Value::Array(values) => {
            let values = values.iter().map(to_value).collect::<Result<_, _>>()?;
            ValueType::ArrayValue(ArrayValue { values })
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| Ok((name.clone(), to_value(value)?));
            let fields = fields.iter().map(field).collect::<Result<_, Status>>()?;
            ValueType::MapValue(MapValue { fields })
        }
    };
    Ok(FirestoreValue { value_type: Some(value) })
}

fn to_timestamp(value: &Value) -> Result<FirestoreValue, Status> {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let time = time.ok_or_else(|| Status::invalid_argument(format!("{TTL_FIELD} is not a time")))?;
    let time = ProtoTimestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
    Ok(FirestoreValue { value_type: Some(ValueType::TimestampValue(time)) })
}

pub(super) fn to_fields(document: &Document) -> Result<Fields, StoreError> {
    let field = |(name, value): (&String, &FirestoreValue)| Ok((name.clone(), to_json(value)?));
    document.fields.iter().map(field).collect()
}

fn to_json(value: &FirestoreValue) -> Result<Value, StoreError> {
    Ok(match &value.value_type {
        None | Some(ValueType::NullValue(_)) => Value::Null,
        Some(ValueType::BooleanValue(value)) => (*value).into(),
        Some(ValueType::IntegerValue(value)) => (*value).into(),
        Some(ValueType::DoubleValue(value)) => (*value).into(),
        Some(ValueType::StringValue(text)) => text.as_str().into(),
        Some(ValueType::TimestampValue(time)) => {
            let time = jiff::Timestamp::new(time.seconds, time.nanos);
            time.map_err(|error| StoreError(error.to_string()))?.to_string().into()
        }
        Some(ValueType::ArrayValue(array)) => array.values.iter().map(to_json).collect::<Result<_, _>>()?,
        Some(ValueType::MapValue(map)) => {
            let field = |(name, value): (&String, &FirestoreValue)| Ok((name.clone(), to_json(value)?));
            Value::Object(map.fields.iter().map(field).collect::<Result<_, StoreError>>()?)
        }
        Some(_) => return Err(StoreError("a document holds a value that is not JSON".to_owned())),
    })
}
