//! The effect that cancels a declined charge at the gateway, so that nobody pays it later.

use effects::payments::{Cancellation, Gateway};
use events::{OrderId, TicketPaymentLeftOpen};
use pushbox::{Context, Document, Effect, Failure, reject};
use serde::{Deserialize, Serialize};

pub(super) struct LeftOpen {
    gateway: Gateway,
}

impl LeftOpen {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

/// A declined charge. Each has its own document, because an order may have several.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declined {
    charge_id: String,
    order_id: OrderId,
    is_cancelled: bool,
}

impl Effect for LeftOpen {
    type Event = TicketPaymentLeftOpen;
    type Call = TicketPaymentLeftOpen;
    type Outcome = ();

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(
        &self,
        open: TicketPaymentLeftOpen,
        cx: Context,
    ) -> Result<Option<TicketPaymentLeftOpen>, Failure> {
        // Another event about the charge, for example published by hand.
        Ok(cx.create(&Declined::of(&open, false)).is_new().then_some(open))
    }

    async fn perform(&self, open: TicketPaymentLeftOpen, key: String) -> Result<(), Failure> {
        match self.gateway.clone().cancel(open.charge_id, key).await? {
            Cancellation::Cancelled => Ok(()),
            Cancellation::Paid => {
                let order = open.order_id;
                Err(reject(format_args!("a declined charge of order {order} was paid after all: refund it")))
            }
        }
    }

    async fn complete(&self, open: TicketPaymentLeftOpen, (): (), cx: Context) -> Result<(), Failure> {
        cx.put(&Declined::of(&open, true));
        Ok(())
    }

    async fn abandon(&self, open: TicketPaymentLeftOpen, cx: Context) -> Result<(), Failure> {
        cx.delete::<Declined>(&open.charge_id);
        Ok(())
    }
}

impl Declined {
    fn of(TicketPaymentLeftOpen { order_id, charge_id }: &TicketPaymentLeftOpen, is_cancelled: bool) -> Self {
        Self { charge_id: charge_id.clone(), order_id: order_id.clone(), is_cancelled }
    }
}

impl Document for Declined {
    const COLLECTION: &'static str = "declined";
    fn id(&self) -> String {
        self.charge_id.clone()
    }
}
