//! A service that breaks a rule. If no world noticed it, the rules would prove nothing.

use pushbox::{Context, Effect, Event, Failure, Ports, Service, System, store::Fields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use simulation::{NoAnswer, Outside, Repeats, Scenario, World};

const ADDRESS: &str = "ann@example.com";

/// What the service does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Careless {
    CallsTwice,
    CallsWithAnotherKey,
    LogsAnAddress,
}

impl Event for Careless {
    const TYPE: &'static str = "careless";
    const TOPIC: &'static str = "careless-events";
}

struct Call {
    outside: Outside,
}

impl Effect for Call {
    type Event = Careless;
    type Call = Careless;
    type Outcome = ();

    const SECRETS: &[&str] = &[];

    async fn claim(&self, careless: Careless, _: Context) -> Result<Option<Careless>, Failure> {
        Ok(Some(careless))
    }

    async fn perform(&self, careless: Careless, key: String) -> Result<(), Failure> {
        let keys = match careless {
            Careless::CallsTwice => vec![key.clone(), key],
            Careless::CallsWithAnotherKey => vec![key.clone(), format!("{key}, again")],
            Careless::LogsAnAddress => vec![key],
        };
        for key in keys {
            let answer = self.outside.call(Repeats::Harmful, &key, Fields::new()).await;
            if let Err(NoAnswer::NotReached) = answer {
                return Err(Failure::Retry("the outside is not reachable".to_owned()));
            }
        }
        if careless == Careless::LogsAnAddress {
            tracing::info!("a mail to {ADDRESS}");
        }
        Ok(())
    }

    async fn complete(&self, _: Careless, (): (), _: Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn abandon(&self, _: Careless, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

impl Scenario for Careless {
    const PERSONAL: &'static [&'static str] = &[ADDRESS];

    fn systems(_: &Ports, outside: &Outside) -> Vec<System> {
        let service = Service::new("caller", "breaks a rule").effect(Call { outside: outside.clone() });
        vec![System { name: "careless", services: vec![service] }]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let attributes = [("ce-type", Self::TYPE), ("ce-id", "1"), ("ce-source", "//careless")];
        world.publish(Self::TOPIC, &attributes, &json!(self));
        world.settle().await
    }
}

#[test]
fn the_rules_catch_a_careless_service() {
    for (careless, rule) in [
        (Careless::CallsTwice, "a call is repeated only after a crash: "),
        (Careless::CallsWithAnotherKey, "a repeated call has the same idempotency key: "),
        (Careless::LogsAnAddress, "no log line holds personal data: "),
    ] {
        let broken: Vec<String> =
            (0..20).filter_map(|seed| simulation::play(&careless, seed).err()).collect();
        assert!(broken.iter().any(|broken| broken.starts_with(rule)), "{careless:?}: {broken:?}");
    }
}
