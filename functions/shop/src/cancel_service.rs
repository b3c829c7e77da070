//! Cancellations: an order that cannot be paid is given up.

use events::{LogCreated, LogLevel, OrderCancelled, OrderId, PaymentFailed};
use jiff::Timestamp;
use pushbox::{Context, Document, Failure, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("cancel-service", "cancels orders that cannot be paid")
        .on(cancel)
        .publishes::<OrderCancelled>()
        .publishes::<LogCreated>()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancellation {
    order_id: OrderId,
    reason: String,
    at: Timestamp,
}

async fn cancel(failed: PaymentFailed, cx: Context) -> Result<(), Failure> {
    let PaymentFailed { order_id, code: reason, .. } = failed;
    let cancellation = Cancellation { order_id: order_id.clone(), reason: reason.clone(), at: cx.now() };
    // Another event about the same order, published by hand say: it is cancelled already.
    if cx.create(&cancellation).exists() {
        return Ok(());
    }
    cx.publish(&LogCreated {
        service: "cancel-service".to_owned(),
        level: LogLevel::Info,
        message: format!("order cancelled: {reason}"),
        reference: Some(order_id.to_string()),
    });
    cx.publish(&OrderCancelled { order_id, reason });
    Ok(())
}

impl Document for Cancellation {
    const COLLECTION: &'static str = "cancellations";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
