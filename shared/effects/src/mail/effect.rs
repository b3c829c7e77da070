//! The effect that sends a mail for an event, and keeps its record in the mail history.

use std::marker::PhantomData;

use pushbox::{Context, Effect, Event, Failure};
use serde::{Serialize, de::DeserializeOwned};

use super::{Mail, MailDetails, MailRecord, Mailer, Sent, Status};

/// The data that a mail is written from. It is the call that the claim stores.
pub trait MailCall: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The fields of the mail's record.
    type Details: MailDetails;

    /// The fields of this mail's record. They are the same on every attempt.
    fn details(&self) -> Self::Details;

    /// Writes the mail.
    fn render(self) -> Mail;
}

/// Sends a mail for each event of type `E`. There is one mail for each [`MailDetails::id`], even if
/// several events ask for it.
pub struct MailEffect<E, C> {
    mailer: Mailer,
    types: PhantomData<fn(E) -> C>,
}

impl<E, C> MailEffect<E, C> {
    /// Sends the mails with this mailer.
    #[must_use]
    pub fn new(mailer: Mailer) -> Self {
        Self { mailer, types: PhantomData }
    }
}

impl<E: Event + Into<C>, C: MailCall> Effect for MailEffect<E, C> {
    type Event = E;
    type Call = C;
    type Outcome = Sent;

    const SECRETS: &[&str] = &[Mailer::SECRET];

    async fn claim(&self, event: E, cx: Context) -> Result<Option<C>, Failure> {
        let call = event.into();
        // The record exists if the event came before with another id, for example published by hand.
        let is_new = cx.create(&MailRecord::new(call.details(), Status::Sending, &cx)).is_new();
        Ok(is_new.then_some(call))
    }

    async fn perform(&self, call: C, key: String) -> Result<Sent, Failure> {
        self.mailer.clone().send(call.render(), key).await
    }

    async fn complete(&self, call: C, sent: Sent, cx: Context) -> Result<(), Failure> {
        cx.put(&MailRecord::new(call.details(), sent.into(), &cx));
        Ok(())
    }

    async fn abandon(&self, call: C, cx: Context) -> Result<(), Failure> {
        cx.delete::<MailRecord<C::Details>>(call.details().id());
        Ok(())
    }
}
