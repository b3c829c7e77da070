//! Signups: how many in total, and how many on each day.

use axum::Json;
use effects::shards::{self, Shard};
use events::{UserCreated, UserId};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use pushbox::{Context, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("analytics-service", "tracks signups").on(track_signup).get("/signups", signups)
}

/// The number of documents that a counter is spread over, because one document takes about one write a
/// second. <https://firebase.google.com/docs/firestore/solutions/counters>
const SHARDS: u64 = 10;

/// Ensures that a user counts once, even if the event is published several times.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signup {
    user_id: UserId,
    at: Timestamp,
}

/// A shard of the counter of all signups.
#[derive(Serialize, Deserialize)]
struct Total {
    shard: u64,
    count: i64,
}

/// A shard of the counter of a day's signups.
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
    /// The oldest day first, in UTC. Days without a signup are left out.
    days: Page<Day>,
}

#[derive(Serialize)]
struct Day {
    day: Date,
    signups: i64,
}

#[derive(Deserialize)]
struct SignupFilter {
    /// The first day.
    from: Option<Date>,
}

async fn signups(documents: Documents, page: PageQuery<SignupFilter>) -> Result<Json<Signups>, Problem> {
    let totals: Vec<Total> = documents.after("", SHARDS as usize).await?;
    let from = page.filter.from.map(|day| day.to_string()).unwrap_or_default();
    let after = page.after()?.unwrap_or_default().max(from);
    let add = |day: Option<Day>, shard: DayTotal| Day {
        day: shard.day,
        signups: day.map_or(0, |day| day.signups) + shard.count,
    };
    let days = shards::page(&documents, &after, page.limit(), SHARDS, add).await?;
    Ok(Json(Signups { total: totals.iter().map(|total| total.count).sum(), days }))
}

impl Shard for DayTotal {
    type Key = Date;

    fn key(&self) -> Date {
        self.day
    }

    fn cursor(day: &Date) -> String {
        Self::id_of(*day, SHARDS)
    }
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
