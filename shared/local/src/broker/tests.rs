//! Tests of the rules, with a controlled clock.

use std::{collections::BTreeMap, time::Duration};

use catalog::Catalog;
use events::UserCreated;
use jiff::Timestamp;
use pushbox::wire::attribute;
use pushbox::{Context, Failure, Message, Service, System};

use super::{policy::after, *};

const SUBSCRIPTION: &str = "crm-service-user-events";
const HOLDER: &str = "crm-service-dead-letter";
const NONE: [u32; 0] = [];

/// A push subscription, its dead-letter subscription, and the seconds since the start.
struct World {
    topics: Topics,
    deliveries: Vec<Delivery>,
    seconds: f64,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Look,
    Publish,
    Wake,
    /// The index of the delivery, in the order of the deliveries, and whether the broker accepts
    /// the ack or nack.
    Ack(usize, bool),
    Nack(usize, bool),
}
use Act::{Ack, Look, Nack, Publish, Wake};

impl World {
    fn new(policy: DeliveryPolicy) -> Self {
        async fn ignore(_: UserCreated, _: Context) -> Result<(), Failure> {
            Ok(())
        }
        let services = vec![Service::new("crm-service", "does nothing").on(ignore)];
        let catalog = Catalog::of(&[System { name: "test", services }]);
        Self { topics: Topics::of(&catalog, policy).unwrap(), deliveries: Vec::new(), seconds: 0.0 }
    }

    fn now(&self) -> Timestamp {
        after("2026-01-01T00:00:00Z".parse().unwrap(), Duration::from_secs_f64(self.seconds))
    }

    fn publish(&mut self, attributes: &[(&str, &str)]) -> Result<String, Refused> {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let message =
            Message { topic: "user-events".to_owned(), attributes: attributes.collect(), data: "{}".into() };
        self.topics.publish(message, self.now())
    }

    /// Performs the act, and returns the attempt numbers of the deliveries that are due then.
    fn act(&mut self, seconds: f64, act: Act) -> Vec<u32> {
        self.seconds = seconds;
        let now = self.now();
        match act {
            Look => {}
            Publish => drop(self.publish(&[]).unwrap()),
            Wake => self.topics.wake("crm-service", now),
            Ack(index, accepted) => {
                let id = self.deliveries[index].id;
                assert_eq!(self.topics.ack(SUBSCRIPTION, id, now), accepted, "{act:?}");
            }
            Nack(index, accepted) => {
                let id = self.deliveries[index].id;
                assert_eq!(self.topics.nack(SUBSCRIPTION, id, "because", now), accepted, "{act:?}");
            }
        }
        let due = self.topics.due(now);
        let attempts = due.iter().map(|delivery| delivery.attempt).collect();
        self.deliveries.extend(due);
        attempts
    }

    fn fate(&self) -> &Fate {
        &self.topics.recent().iter().next().unwrap().deliveries[SUBSCRIPTION]
    }

    fn next_wakeup(&self) -> Option<f64> {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        self.topics.next_wakeup().map(|time| time.duration_since(start).as_secs_f64())
    }
}

/// Each step has a time, an act, and the attempt numbers of the deliveries that are due then.
fn check(policy: DeliveryPolicy, steps: &[(f64, Act, &[u32])]) -> World {
    let mut world = World::new(policy);
    for (step, (seconds, act, expected)) in steps.iter().enumerate() {
        assert_eq!(world.act(*seconds, *act), *expected, "step {step}: {act:?} at {seconds} s");
    }
    world
}

fn production() -> DeliveryPolicy {
    DeliveryPolicy::production()
}

#[test]
fn an_acked_message_is_not_delivered_again() {
    let world = check(
        production(),
        &[(0.0, Publish, &[1]), (1.0, Ack(0, true), &[]), (1e5, Look, &[]), (2e5, Nack(0, false), &[])],
    );
    let Fate { stage, outcome, attempts, failure, history } = world.fate();
    assert_eq!((stage, outcome, attempts, failure, history.len()), (&Stage::Acked, &None, &1, &None, 1));
    assert_eq!(world.next_wakeup(), None);
    assert_eq!(world.topics.backlog(SUBSCRIPTION), (0, 0));
}

#[test]
fn the_backoff_doubles_up_to_its_maximum() {
    let mut world = World::new(production());
    assert_eq!(world.act(0.0, Publish), [1]);
    let mut pauses = Vec::new();
    for attempt in 0..9 {
        assert_eq!(world.act(world.seconds, Nack(attempt, true)), NONE);
        let next = world.next_wakeup().unwrap();
        pauses.push(next - world.seconds);
        assert_eq!(world.act(next - 0.001, Look), NONE, "too early");
        assert_eq!(world.act(next, Look), [attempt as u32 + 2]);
    }
    assert_eq!(
        pauses.iter().map(|pause| pause.round()).collect::<Vec<_>>(),
        [10., 20., 40., 80., 160., 320., 600., 600., 600.]
    );
}

#[test]
fn a_delivery_without_an_answer_fails_at_its_deadline() {
    let world = check(
        production(),
        &[
            (0.0, Publish, &[1]),
            (29.9, Look, &[]),
            // The backoff begins here.
            (30.0, Look, &[]),
            (39.9, Look, &[]),
            (40.0, Look, &[2]),
        ],
    );
    assert_eq!(world.fate().failure.as_deref(), Some("no answer within the ack deadline"));
    assert_eq!(world.next_wakeup(), Some(70.0));
}

#[test]
fn a_late_answer_is_ignored() {
    for answer in [Ack(0, false), Nack(0, false)] {
        check(
            production(),
            &[
                (0.0, Publish, &[1]),
                (30.0, answer, &[]),
                (35.0, answer, &[]),
                // The late answer does not change the backoff that began at the deadline.
                (40.0, Look, &[2]),
                (41.0, answer, &[]),
                (42.0, Ack(1, true), &[]),
                (1e5, Look, &[]),
            ],
        );
    }
}

#[test]
fn each_message_has_its_own_backoff() {
    check(
        production(),
        &[
            (0.0, Publish, &[1]),
            (0.0, Nack(0, true), &[]),
            (5.0, Publish, &[1]),
            (6.0, Ack(1, true), &[]),
            (10.0, Look, &[2]),
        ],
    );
}

#[test]
fn a_message_that_fails_too_often_becomes_a_dead_letter() {
    let policy = DeliveryPolicy { max_delivery_attempts: 2, ..production() };
    let mut world = World::new(policy);
    let id = world.publish(&[("ce-id", "7")]).unwrap();
    assert_eq!(world.act(1.0, Look), [1]);
    assert_eq!(world.act(1.0, Nack(0, true)), NONE);
    assert_eq!(world.topics.dead_letters().count(), 0);
    assert_eq!(world.act(11.0, Look), [2]);
    assert_eq!(world.act(12.0, Nack(1, true)), NONE);
    assert_eq!(world.act(1e5, Look), NONE, "it is not delivered any more");
    assert_eq!(world.fate().stage, Stage::DeadLettered);

    let letters: Vec<_> = world.topics.dead_letters().collect();
    let [(service, letter)] = letters[..] else { panic!("{letters:?}") };
    assert_eq!(service, "crm-service");
    assert_ne!(letter.id(), id);
    assert_eq!(letter.data, "{}");
    assert_eq!(letter.last_failure.as_deref(), Some("because"));
    let expected = [
        (attribute::PUBSUB_DELIVERY_COUNT, "2"),
        (attribute::PUBSUB_SUBSCRIPTION, SUBSCRIPTION),
        (attribute::PUBSUB_SUBSCRIPTION_PROJECT, "local"),
        (attribute::PUBSUB_TOPIC_PUBLISH_TIME, "2026-01-01T00:00:00Z"),
        ("ce-id", "7"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(letter.attributes, expected);
}

#[test]
fn a_passed_deadline_counts_as_an_attempt() {
    let policy = DeliveryPolicy { max_delivery_attempts: 2, ..production() };
    let world = check(
        policy,
        &[(0.0, Publish, &[1]), (30.0, Look, &[]), (40.0, Look, &[2]), (70.0, Look, &[]), (1e5, Look, &[])],
    );
    assert_eq!(world.topics.dead_letters().count(), 1);
}

#[test]
fn a_restarted_service_gets_missed_messages_at_once() {
    check(
        production(),
        &[
            (0.0, Publish, &[1]),
            (0.0, Nack(0, true), &[]),
            (1.0, Publish, &[1]),
            // The second message's delivery is still in flight.
            (2.0, Wake, &[2]),
            // It began before the start, so its failure says nothing about the restarted service.
            (3.0, Nack(1, true), &[2]),
            // These deliveries began after the start.
            (4.0, Nack(2, true), &[]),
            (5.0, Nack(3, true), &[]),
            (23.9, Look, &[]),
            (24.0, Look, &[3]),
            (25.0, Look, &[3]),
        ],
    );
}

#[test]
fn limits_the_deliveries_in_flight() {
    let policy = DeliveryPolicy { max_in_flight: 2, ..production() };
    let mut world = check(policy, &[(0.0, Publish, &[1]), (1.0, Publish, &[1]), (2.0, Publish, &[])]);
    assert_eq!(world.next_wakeup(), Some(30.0), "no delivery starts before an answer or a deadline");
    assert_eq!(world.act(3.0, Ack(1, true)), [1]);
    assert_eq!(world.act(4.0, Nack(0, true)), NONE);
    assert_eq!(world.topics.backlog(SUBSCRIPTION), (1, 1));
    assert_eq!(world.next_wakeup(), Some(14.0));
}

#[test]
fn drops_unacked_messages_after_a_week() {
    let week = 7.0 * 24.0 * 3600.0;
    let mut world =
        check(production(), &[(0.0, Publish, &[1]), (1.0, Nack(0, true), &[]), (week, Look, &[])]);
    assert_eq!(world.act(week + 1e5, Look), NONE);
    assert_eq!(world.topics.backlog(SUBSCRIPTION), (0, 0));

    check(production(), &[(0.0, Publish, &[1]), (1.0, Nack(0, true), &[]), (week - 1.0, Look, &[2])]);
}

#[test]
fn a_filtered_message_is_not_delivered() {
    let mut world = World::new(production());
    world.publish(&[("ce-type", "order.created")]).unwrap();
    assert_eq!(world.act(0.0, Look), NONE);
    world.publish(&[("ce-type", "user.created")]).unwrap();
    assert_eq!(world.act(0.0, Look), [1]);
}

#[test]
fn dead_letters_are_pulled_and_acked() {
    let mut world = World::new(production());
    let message = || Message { topic: HOLDER.to_owned(), attributes: BTreeMap::new(), data: "x".into() };
    for _ in 0..3 {
        world.topics.publish(message(), world.now()).unwrap();
    }
    assert_eq!(world.act(0.0, Look), NONE, "dead letters are not pushed");
    let pull = |world: &mut World, seconds, most| {
        world.seconds = seconds;
        world.topics.pull(HOLDER, most, world.now()).unwrap()
    };
    let first = pull(&mut world, 0.0, 2);
    assert_eq!(first.len(), 2);
    assert_eq!(pull(&mut world, 1.0, 10).len(), 1);
    assert!(world.topics.ack(HOLDER, first[0].id, world.now()));
    assert_eq!(pull(&mut world, 2.0, 10).len(), 0);
    assert_eq!(world.topics.dead_letters().count(), 2, "pulled dead letters are still there");
    assert_eq!(pull(&mut world, 31.0, 10).len(), 2);
    assert!(world.topics.pull(SUBSCRIPTION, 1, world.now()).is_err());
}

#[test]
fn a_dead_letter_subscription_keeps_the_newest_messages() {
    let mut world = World::new(production());
    for _ in 0..10_005 {
        let message = Message { topic: HOLDER.to_owned(), attributes: BTreeMap::new(), data: "x".into() };
        world.topics.publish(message, world.now()).unwrap();
    }
    assert_eq!(world.topics.dead_letters().count(), 10_000);
    assert_eq!(world.topics.recent().iter().count(), 0, "dead letters are not recent events");
}

#[test]
fn keeps_the_last_2000_events() {
    let mut world = World::new(production());
    let ids: Vec<_> = (0..2005).map(|_| world.publish(&[]).unwrap()).collect();
    let kept: Vec<_> = world.topics.recent().iter().map(|event| event.message.id()).collect();
    assert_eq!(kept, ids[5..]);
}

fn large(topic: &str, bytes: usize) -> Message {
    Message { topic: topic.to_owned(), attributes: BTreeMap::new(), data: vec![b'x'; bytes].into() }
}

#[test]
fn recent_events_have_a_bounded_size() {
    let mut world = World::new(production());
    for _ in 0..5 {
        world.topics.publish(large("user-events", 5 << 20), world.now()).unwrap();
    }
    assert_eq!(world.topics.recent().iter().count(), 3);
}

#[test]
fn a_full_subscription_refuses_messages_and_loses_none() {
    for (bytes, most) in [(0, 50_000), (8 << 20, 8)] {
        let mut world = World::new(production());
        let message = || Message {
            attributes: BTreeMap::from([("a".to_owned(), String::new())]),
            ..large("user-events", bytes)
        };
        for _ in 0..most {
            world.topics.publish(message(), world.now()).unwrap();
        }
        let full = Err(Refused::Full(SUBSCRIPTION.to_owned()));
        assert_eq!(world.topics.publish(message(), world.now()), full, "{bytes} bytes each");
        assert_eq!(world.topics.backlog(SUBSCRIPTION), (most, 0));
        // A message that the filter excludes takes no room.
        let other =
            Message { attributes: BTreeMap::from([("ce-type".to_owned(), "other".to_owned())]), ..message() };
        world.topics.publish(other, world.now()).unwrap();

        world.act(0.0, Look);
        world.act(0.0, Ack(0, true));
        world.topics.publish(message(), world.now()).unwrap();
    }
}

#[test]
fn a_dead_letter_subscription_drops_the_oldest_messages_above_its_byte_limit() {
    let mut world = World::new(production());
    let ids: Vec<_> =
        (0..10).map(|_| world.topics.publish(large(HOLDER, 8 << 20), world.now()).unwrap()).collect();
    let kept: Vec<_> = world.topics.dead_letters().map(|(_, letter)| letter.id()).collect();
    assert_eq!(kept, ids[2..]);
}

/// A world with a subscription that a person created.
fn watched(filter: &str, retain_acked: bool) -> World {
    let mut world = World::new(production());
    let ten_seconds = Duration::from_secs(10);
    world.topics.subscribe("mine", "user-events", filter, ten_seconds, retain_acked).unwrap();
    world
}

impl World {
    /// Pulls from that subscription, and returns the ids of the messages.
    fn pull(&mut self, seconds: f64) -> Vec<String> {
        self.seconds = seconds;
        let pulled = self.topics.pull("mine", 100, self.now()).unwrap();
        let ids = pulled.iter().map(|delivery| delivery.message.id()).collect();
        self.deliveries = pulled;
        ids
    }

    fn ack_pulled(&mut self) {
        for delivery in std::mem::take(&mut self.deliveries) {
            assert!(self.topics.ack("mine", delivery.id, self.now()));
        }
    }
}

#[test]
fn a_pull_subscription_gets_the_messages_that_its_filter_passes() {
    let mut world = watched("attributes:a", false);
    world.publish(&[]).unwrap();
    let wanted = world.publish(&[("a", "b")]).unwrap();
    assert_eq!(world.pull(0.0)[..], [&*wanted]);
    assert_eq!(world.pull(9.9), [""; 0], "it is in flight");
    assert_eq!(world.pull(10.0), [wanted], "its own ack deadline has passed");
    world.ack_pulled();
    assert_eq!(world.pull(1e5), [""; 0]);
    assert_eq!(world.topics.dead_letters().count(), 0);
    // The service still gets both messages.
    assert_eq!(world.act(0.0, Look), [1, 1]);
}

#[test]
fn an_ack_deadline_can_be_extended_or_set_to_zero() {
    let mut world = watched("", false);
    let id = world.publish(&[]).unwrap();
    assert_eq!(world.pull(0.0)[..], [&*id]);
    let deliveries = [world.deliveries[0].id];
    let modify = |world: &mut World, seconds| {
        let deadline = Duration::from_secs(seconds);
        world.topics.modify_ack_deadline("mine", &deliveries, deadline, world.now()).unwrap();
    };
    modify(&mut world, 60);
    assert_eq!(world.pull(59.0), [""; 0]);
    modify(&mut world, 0);
    assert_eq!(world.pull(59.0), [id]);
}

#[test]
fn seeking_back_redelivers_acked_messages_if_they_are_retained() {
    for retain_acked in [true, false] {
        let mut world = watched("", retain_acked);
        let old = world.publish(&[]).unwrap();
        world.seconds = 10.0;
        let new = world.publish(&[]).unwrap();
        assert_eq!(world.pull(10.0), [old, new.clone()]);
        world.ack_pulled();
        world.topics.seek("mine", world.now(), world.now()).unwrap();
        assert_eq!(world.pull(11.0), if retain_acked { vec![new] } else { vec![] });
    }
}

#[test]
fn seeking_ahead_acks_waiting_messages() {
    let mut world = watched("", false);
    world.publish(&[]).unwrap();
    let later = after(world.now(), Duration::from_secs(1));
    world.topics.seek("mine", later, world.now()).unwrap();
    assert_eq!(world.pull(2.0), [""; 0]);
}

#[test]
fn limits_the_number_of_pull_subscriptions_and_protects_those_of_the_catalog() {
    let mut world = watched("", false);
    let subscribe = |world: &mut World, name: &str| {
        world.topics.subscribe(name, "user-events", "", Duration::from_secs(10), false)
    };
    for count in 1..limits::MOST_SUBSCRIPTIONS {
        subscribe(&mut world, &format!("mine-{count}")).unwrap();
    }
    assert_eq!(subscribe(&mut world, "another"), Err(Unchanged::TooMany));
    world.topics.unsubscribe("mine").unwrap();
    subscribe(&mut world, "another").unwrap();
    for name in [SUBSCRIPTION, HOLDER] {
        assert_eq!(world.topics.unsubscribe(name), Err(Unchanged::NotYours(name.to_owned())));
        assert_eq!(subscribe(&mut world, name), Err(Unchanged::Exists(name.to_owned())));
    }
}

#[test]
fn a_full_pull_subscription_drops_the_oldest_messages_and_refuses_none() {
    let mut world = watched("", true);
    for _ in 0..limits::MOST_PULLED + 5 {
        world.publish(&[]).unwrap();
    }
    assert_eq!(world.topics.backlog("mine"), (limits::MOST_PULLED, 0));
}

#[test]
fn refuses_the_same_messages_as_pubsub() {
    let topic = || "user-events".to_owned();
    let many = |count| (0..count).map(|n: u32| (n.to_string(), String::new())).collect();
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (attributes, data, refused) in [
        (one("a", "b"), String::new(), false),
        (BTreeMap::new(), "x".to_owned(), false),
        (BTreeMap::new(), String::new(), true),
        (BTreeMap::new(), "x".repeat(10_000_000), false),
        (BTreeMap::new(), "x".repeat(10_000_001), true),
        (many(100), String::new(), false),
        (many(101), String::new(), true),
        (one("googclient_x", ""), String::new(), true),
        (one("", "x"), String::new(), true),
        (one(&"k".repeat(257), "x"), String::new(), true),
        (one("k", &"v".repeat(1024)), String::new(), false),
        (one("k", &"v".repeat(1025)), String::new(), true),
    ] {
        let mut world = World::new(production());
        let message = Message { topic: topic(), attributes: attributes.clone(), data: data.clone().into() };
        let result = world.topics.publish(message, world.now());
        assert_eq!(result.is_err(), refused, "{} attributes, {} bytes", attributes.len(), data.len());
    }
    let mut world = World::new(production());
    let unknown = Message { topic: "nothing".to_owned(), attributes: many(1), data: "x".into() };
    assert_eq!(world.topics.publish(unknown, world.now()), Err(Refused::UnknownTopic("nothing".to_owned())));
}

/// Plays random answers from 300 seeds. A message is delivered until it is acked or becomes a dead
/// letter. Two deliveries of it never overlap, and none follows its ack.
#[test]
fn every_message_ends_once() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = DeliveryPolicy { max_delivery_attempts: 4, max_in_flight: 3, ..production() };
        let mut world = World::new(policy);
        let (mut published, mut acked) = (0, 0);
        let mut open: Vec<Delivery> = Vec::new();
        for step in 0.. {
            if step < 60 && random.u8(..3) == 0 {
                world.publish(&[]).unwrap();
                published += 1;
            }
            world.seconds += f64::from(random.u8(..12));
            let now = world.now();
            for delivery in world.topics.due(now) {
                let number = delivery.message.number;
                // An earlier delivery may still be listed, but its deadline has passed.
                open.retain(|other| other.message.number != number);
                open.push(delivery);
            }
            if !open.is_empty() {
                let delivery = open.swap_remove(random.usize(..open.len()));
                match random.u8(..4) {
                    0 => drop(world.topics.nack(SUBSCRIPTION, delivery.id, "because", now)),
                    1 => {} // no answer
                    _ if world.topics.ack(SUBSCRIPTION, delivery.id, now) => {
                        acked += 1;
                        let twice = world.topics.ack(SUBSCRIPTION, delivery.id, now);
                        assert!(!twice, "seed {seed}");
                    }
                    _ => {}
                }
            }
            let (waiting, in_flight) = world.topics.backlog(SUBSCRIPTION);
            let ended = acked + world.topics.dead_letters().count();
            assert_eq!(waiting + in_flight + ended, published, "seed {seed}, step {step}");
            assert!(in_flight <= 3, "seed {seed}");
            if step > 60 && ended == published {
                break;
            }
            assert!(step < 100_000, "seed {seed} does not settle");
        }
    }
}
