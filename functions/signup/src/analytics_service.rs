//! Signups: how many in all, and how many on each day.

use std::collections::BTreeMap;

use axum::Json;
use events::{UserCreated, UserId};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use pushbox::{Context, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("analytics-service", "tracks signups").on(track_signup).get("/signups", signups)
}

/// How many documents a counter is spread over, since one takes about one write a second.
/// <https://firebase.google.com/docs/firestore/solutions/counters>
const SHARDS: u64 = 10;

/// Makes a user count once, however often the event is published.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signup {
    user_id: UserId,
    at: Timestamp,
}

/// A part of the number of all signups.
#[derive(Serialize, Deserialize)]
struct Total {
    shard: u64,
    count: i64,
}

/// A part of the number of a day's signups.
#[derive(Serialize, Deserialize)]
struct DayTotal {
    day: Date,
    shard: u64,
    count: i64,
}

async fn track_signup(user: UserCreated, cx: Context) -> Result<(), Failure> {
    let at = cx.occurred_at();
    if cx.create(&Signup { user_id: user.user_id, at }).is_new() {
        let (day, shard) = (at.to_zoned(TimeZone::UTC).date(), cx.shard(SHARDS));
        cx.add(&Total { shard, count: 1 }, &["count"]);
        cx.add(&DayTotal { day, shard, count: 1 }, &["count"]);
    }
    Ok(())
}

#[derive(Serialize)]
struct Signups {
    total: i64,
    /// The oldest first, in UTC; days without a signup are left out.
    days: Page<Day>,
}

#[derive(Serialize)]
struct Day {
    day: Date,
    signups: i64,
}

#[derive(Deserialize)]
struct From {
    /// The first day.
    from: Option<Date>,
}

async fn signups(documents: Documents, page: PageQuery<From>) -> Result<Json<Signups>, Problem> {
    let totals: Vec<Total> = documents.after("", SHARDS as usize).await?;
    let from = page.filter.from.map(|day| day.to_string()).unwrap_or_default();
    let after = page.after()?.unwrap_or_default().max(from);
    // With one more than the page's days can have, the next day shows, and the page's are complete.
    let shards: Vec<DayTotal> = documents.after(&after, page.limit() * SHARDS as usize + 1).await?;
    let mut days = BTreeMap::new();
    for shard in shards {
        *days.entry(shard.day).or_default() += shard.count;
    }
    let days = days.into_iter().map(|(day, signups)| Day { day, signups }).collect();
    Ok(Json(Signups {
        total: totals.iter().map(|total| total.count).sum(),
        // A cursor is the greatest id that a day's documents can have.
        days: Page::cut(days, page.limit(), |last| DayTotal::id_of(last.day, SHARDS)),
    }))
}

impl DayTotal {
    fn id_of(day: Date, shard: u64) -> String {
        format!("{day}.{shard:02}")
    }
}

impl Document for Signup {
    const COLLECTION: &'static str = "signups";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}

impl Document for Total {
    const COLLECTION: &'static str = "totals";
    fn id(&self) -> String {
        format!("{:02}", self.shard)
    }
}

impl Document for DayTotal {
    const COLLECTION: &'static str = "days";
    fn id(&self) -> String {
        Self::id_of(self.day, self.shard)
    }
}
