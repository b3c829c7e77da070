//! The rules of queues.

use std::time::Duration;

use jiff::Timestamp;
use pushbox::Message;

use super::{Queues, Refused, Work};
use crate::broker::after;

const START: Timestamp = Timestamp::constant(1_000_000_000, 0);

fn at(seconds: u64) -> Timestamp {
    after(START, Duration::from_secs(seconds))
}

fn work() -> Work {
    Work::Publish(Message { topic: "t".to_owned(), attributes: [].into(), data: "d".into() })
}

fn with_queue() -> Queues {
    let mut queues = Queues::default();
    queues.add("q").expect("a new queue");
    queues
}

fn due(queues: &mut Queues, now: Timestamp) -> Vec<String> {
    queues.due(now).into_iter().map(|due| due.id).collect()
}

#[test]
fn a_task_is_due_at_its_time_and_again_until_it_succeeds() {
    let mut queues = with_queue();
    queues.create("q", Some("a"), at(60), work(), at(0)).expect("a new task");
    assert_eq!(queues.next_wakeup(), Some(at(60)));
    assert!(due(&mut queues, at(59)).is_empty());
    let mut now = at(60);
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
        let attempts = queues.due(now);
        assert_eq!(attempts.len(), 1, "at {now}");
        assert!(queues.due(now).is_empty(), "a task has one attempt at a time");
        queues.ended(&attempts[0], false, now);
        now = after(now, Duration::from_secs(pause));
        assert_eq!(queues.next_wakeup(), Some(now));
    }
    let last = queues.due(now);
    queues.ended(&last[0], true, now);
    assert!(queues.is_empty());
}

#[test]
fn a_name_is_used_once() {
    let mut queues = with_queue();
    let create = |queues: &mut Queues| queues.create("q", Some("a"), at(60), work(), at(0)).map(drop);
    create(&mut queues).expect("a new task");
    assert_eq!(create(&mut queues), Err(Refused::Exists("a".to_owned())));
    queues.delete("q", "a").expect("a task");
    assert_eq!(create(&mut queues), Err(Refused::Exists("a".to_owned())), "after its deletion");
    assert_eq!(queues.delete("q", "a"), Err(Refused::UnknownTask("a".to_owned())));
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let long = "a".repeat(501);
    let hours = 60 * 60;
    for (queue, id, time, expected) in [
        ("q", "a", at(720 * hours), Ok(())),
        ("q", "b", at(720 * hours + 1), Err(Refused::TooFar)),
        ("other", "a", at(0), Err(Refused::UnknownQueue("other".to_owned()))),
        ("q", "", at(0), Err(Refused::InvalidName)),
        ("q", "a b", at(0), Err(Refused::InvalidName)),
        ("q", long.as_str(), at(0), Err(Refused::InvalidName)),
    ] {
        let created = with_queue().create(queue, Some(id), time, work(), at(0)).map(drop);
        assert_eq!(created, expected, "{queue} {id} {time}");
    }
}

#[test]
fn a_person_can_run_delete_and_purge() {
    let mut queues = with_queue();
    for id in ["a", "b", "c"] {
        queues.create("q", Some(id), at(60), work(), at(0)).expect("a new task");
    }
    queues.run("q", "b", at(1)).expect("a task");
    let started = queues.due(at(1));
    assert_eq!(started.iter().map(|due| due.id.as_str()).collect::<Vec<_>>(), ["b"]);
    queues.ended(&started[0], true, at(1));
    queues.delete("q", "a").expect("a task");
    assert!(queues.get("q", "a").is_err() && queues.get("q", "c").is_ok());
    queues.purge("q").expect("a queue");
    assert!(queues.is_empty() && due(&mut queues, at(60)).is_empty());
}

#[test]
fn a_task_without_a_name_gets_one() {
    let mut queues = with_queue();
    for _ in 0..2 {
        queues.create("q", None, at(60), work(), at(0)).expect("a new task");
    }
    assert_eq!(queues.tasks("q").expect("a queue").len(), 2);
}
