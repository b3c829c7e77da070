//! Cancellations: one for each order that cannot be paid.

use events::{LogCreated, LogLevel, OrderCancelled, OrderId, PaymentFailed};
use jiff::Timestamp;
use pushbox::{Context, Document, Failure, Service, ServiceName};
use serde::{Deserialize, Serialize};

const NAME: ServiceName = "cancel-service";

pub fn service() -> Service {
    Service::new(NAME, "cancels orders that cannot be paid")
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
    // Another event about the same order, for example published by hand: it is cancelled already.
    if cx.create(&cancellation).exists() {
        return Ok(());
    }
    cx.publish(&LogCreated {
        service: NAME.to_owned(),
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
