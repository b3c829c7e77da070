//! `functions dead-letters`: a person sees why messages became dead letters, replays them, or drops them.

mod expected;
mod output;

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use catalog::Catalog;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use pushbox::{Clock, Offset, publisher::Publisher, told_to_stop};
use redrive::{
    Desk, Letter, LocalStack, Names, Receipts, Rest, Selection, Subscriber, drop_letters, groups, new_id,
    plan, replay,
};
use tokio::sync::oneshot;

use crate::{
    block_on,
    environment::{Cloud, http_url, local_url},
    systems,
    terminal::{self, visible},
};
use output::Page;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// The project. Default: the local stack at LOCAL_URL, otherwise GOOGLE_CLOUD_PROJECT, or the emulators
    #[arg(long, global = true, value_name = "PROJECT")]
    project: Option<String>,
    /// The URL of a local stack
    #[arg(long, global = true, value_name = "URL", conflicts_with = "project", value_parser = http_url)]
    local: Option<String>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Groups the dead letters by service, type, code and reason
    Groups {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Lists dead letters, the oldest first
    List {
        #[command(flatten)]
        chosen: Chosen,
        /// The most letters to list
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one dead letter
    Show {
        /// The letter's id
        id: String,
        /// The letter's service, if another service has a letter with the same id
        #[arg(long)]
        service: Option<String>,
        /// Shows the values of the data, the attributes and the reason, which may be personal
        #[arg(long)]
        unmask: bool,
    },
    /// Publishes dead letters again, each to the service that failed on it
    Replay(Replay),
    /// Removes dead letters, after it has written them to a file
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// The letters' ids
        ids: Vec<String>,
        /// The new file. Default: dead-letters-TIME.jsonl
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
        /// Removes them. Without it, the command only shows what it would remove
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
struct Chosen {
    /// Only the letters of this service
    #[arg(long)]
    service: Option<String>,
    /// Only events of this type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Only letters with this code, such as exhausted
    #[arg(long)]
    code: Option<String>,
    /// Only letters of this group
    #[arg(long)]
    group: Option<String>,
    /// Only letters from this time on, such as 2026-11-20T12:00:00Z, or from the last time span, such as 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<When>,
}

#[derive(Args)]
struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// The letters' ids
    ids: Vec<String>,
    /// Replays the letters of all services, groups, types and codes
    #[arg(long)]
    all: bool,
    /// Only letters from before this time. Default: the start of the command, so that a letter that comes back stays
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<When>,
    /// The number of letters in the first batch. The next ones have 10 times as many, at most 100
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    canary: usize,
    /// The most publications a second, such as 10/s
    #[arg(long, default_value = "10/s", value_parser = rate)]
    rate: f64,
    /// The most letters to replay, the oldest first
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max: Option<usize>,
    /// Stops when more letters than this have come back, or have no verdict
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_failures: usize,
    /// How long each batch may take until its verdict
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// Only shows what it would do
    #[arg(long)]
    dry_run: bool,
    /// Does not ask. Without it and without a terminal, this is a dry run
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// The command is used in a wrong way.
const USAGE: u8 = 2;

/// The command was told to stop. Shells use 128 and the number of the signal; it is the same code for SIGTERM.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut code = 0;
    let result = block_on(async {
        code = act(options).await?;
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::from(code),
        Err(message) => {
            terminal::tell(&format!("functions: {}\n", visible(&message)));
            ExitCode::FAILURE
        }
    }
}

async fn act(options: &Options) -> Result<u8, String> {
    if let Some(refusal) = options.refusal() {
        terminal::tell(&format!("functions: {refusal}\n"));
        return Ok(USAGE);
    }
    let place = options.place()?;
    let clock = place.clock().await?;
    let started = clock.now();
    let selection = options.selection(started);
    let catalog = catalog(selection.service.as_deref())?;
    let desk = desk(&place, &catalog, selection.service.as_deref(), clock)?;
    let mut desk = desk.until(told_once());
    let done =
        options.with(&mut desk, &selection, started, options.expected(&place, &catalog, &selection)).await;
    // Before anything is printed, and in case of an error, too: otherwise the letters stay hidden for a minute.
    desk.close().await;
    let Done { page, code } = done?;
    page.print()?;
    Ok(code)
}

/// Ends at the first signal to stop. At the second one, the process ends at once.
fn told_once() -> impl Future<Output = ()> + Send + 'static {
    let (told, stop) = oneshot::channel();
    tokio::spawn(async move {
        // If it cannot listen for signals, they end the process.
        if told_to_stop().await.is_err() {
            return std::future::pending().await;
        }
        terminal::tell(
            "\nstopping; another signal ends the command at once, and hides its letters for a minute\n",
        );
        let _ = told.send(());
        if told_to_stop().await.is_ok() {
            std::process::exit(INTERRUPTED.into());
        }
    });
    async { drop(stop.await) }
}

/// What a command has to print, and its exit code.
struct Done {
    page: Page,
    code: u8,
}

impl Done {
    fn well(page: Page) -> Result<Self, String> {
        Ok(Self { page, code: 0 })
    }

    fn interrupted() -> Result<Self, String> {
        Ok(Self { page: Page::default(), code: INTERRUPTED })
    }
}

/// The catalog. An error if it has no such service.
fn catalog(service: Option<&str>) -> Result<Catalog, String> {
    let catalog = systems::catalog()?;
    match service.filter(|name| catalog.services.iter().all(|entry| entry.name != **name)) {
        Some(unknown) => Err(format!("there is no service {unknown}")),
        None => Ok(catalog),
    }
}

/// Where the letters are.
enum Place {
    /// With its URL.
    LocalStack(LocalStack, String),
    Deployment(Cloud),
}

impl Place {
    /// The clock that the letters' times are from.
    async fn clock(&self) -> Result<Clock, String> {
        let Self::LocalStack(stack, _) = self else { return Ok(Clock::system()) };
        let offset = Offset::default();
        offset.set(stack.now().await?.duration_since(Timestamp::now()));
        Ok(Clock::moved_by(offset))
    }
}

fn desk(place: &Place, catalog: &Catalog, service: Option<&str>, clock: Clock) -> Result<Desk, String> {
    let (names, rest, receipts) = match place {
        Place::LocalStack(stack, url) => {
            let names = Names { project: "local".to_owned(), prefix: String::new() };
            let rest = Rest::local(url, &names).map_err(|error| error.to_string())?;
            (names, rest, Receipts::LocalStack(stack.clone()))
        }
        Place::Deployment(cloud) => {
            let receipts = Receipts::Store(Arc::new(cloud.firestore()), clock.clone());
            (cloud.names(), cloud.pubsub_rest()?, receipts)
        }
    };
    let rest = Arc::new(rest);
    let (subscriber, publisher): (Arc<dyn Subscriber>, Arc<dyn Publisher>) = (rest.clone(), rest);
    Ok(Desk::new(catalog, service, names, subscriber, publisher, receipts, clock))
}

impl Options {
    /// Why these arguments choose no letters, or contradict each other.
    fn refusal(&self) -> Option<&'static str> {
        let (chosen, ids, all) = match &self.command {
            Command::Replay(Replay { chosen, ids, all, .. }) => (chosen, ids, *all),
            Command::Drop { chosen, ids, .. } => (chosen, ids, false),
            _ => return None,
        };
        let Chosen { service, r#type, code, group, since } = chosen;
        let names_some = !ids.is_empty() || [service, r#type, code, group].iter().any(|name| name.is_some());
        match (all, names_some) {
            (true, true) => Some("with --all, only --since and --before choose letters"),
            (false, false) if since.is_none() => Some(
                "choose letters: by ids, --service, --group, --type, --code or --since; replay has --all",
            ),
            _ => None,
        }
    }

    fn selection(&self, now: Timestamp) -> Selection {
        match &self.command {
            Command::Groups { chosen } | Command::List { chosen, .. } => chosen.selection(&[], now),
            Command::Show { id, service, .. } => Selection {
                ids: BTreeSet::from([id.clone()]),
                service: service.clone(),
                ..Selection::default()
            },
            Command::Drop { chosen, ids, .. } => chosen.selection(ids, now),
            Command::Replay(Replay { chosen, ids, before, .. }) => {
                let before = before.map_or(now, |before| before.seen_from(now));
                Selection { before: Some(before), ..chosen.selection(ids, now) }
            }
        }
    }

    /// The local stack, the emulators or the project.
    fn place(&self) -> Result<Place, String> {
        let url = match (&self.local, &self.project) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => None,
            (None, None) => local_url()?,
        };
        Ok(match url {
            Some(url) => Place::LocalStack(LocalStack::at(&url).map_err(|error| error.to_string())?, url),
            None => Place::Deployment(Cloud::of(self.project.as_deref())?),
        })
    }

    /// How many letters there should be, if the command prints that and Cloud Monitoring knows it.
    async fn expected(&self, place: &Place, catalog: &Catalog, selection: &Selection) -> Option<u64> {
        let prints_it = matches!(self.command, Command::Groups { .. } | Command::List { .. }) && !self.json;
        let (Place::Deployment(cloud), true) = (place, prints_it) else { return None };
        let expected = async {
            let Some(monitoring) = cloud.monitoring()? else { return Ok(None) };
            expected::expected(&monitoring, catalog, selection.service.as_deref()).await
        };
        expected.await.unwrap_or_else(|error| {
            let error = visible(&error);
            terminal::tell(&format!("functions: it is unknown how many letters there should be: {error}\n"));
            None
        })
    }

    async fn with(
        &self,
        desk: &mut Desk,
        selection: &Selection,
        now: Timestamp,
        expected: impl Future<Output = Option<u64>>,
    ) -> Result<Done, String> {
        let (gathered, expected) = tokio::join!(desk.gather(), expected);
        let gathered = gathered.map_err(|error| error.to_string())?;
        if desk.is_stopped() {
            return Done::interrupted();
        }
        let seen = output::Seen {
            letters: gathered.len(),
            expected: expected.and_then(|count| count.try_into().ok()),
            is_all: !desk.is_full(),
        };
        if let Some(group) = &selection.group
            && gathered.iter().all(|letter| letter.group() != *group)
        {
            return Err(format!("there is no group {group}. {SOMEBODY_ELSE}"));
        }
        let at_any_time = Selection { before: None, ..selection.clone() };
        let is_late = |letter: &&Letter| at_any_time.picks(letter) && !selection.picks(letter);
        let late = gathered.iter().filter(is_late).count();
        let letters: Vec<Letter> = gathered.into_iter().filter(|letter| selection.picks(letter)).collect();
        let late = selection.before.filter(|_| late > 0).map(|before| {
            format!("{} left out: newer than {before}. --before chooses", output::letters(late))
        });
        if let Some(late) = late.as_ref().filter(|_| letters.is_empty()) {
            return Err(format!("there is no letter to replay: {late}"));
        }
        if let Some(id) = selection.ids.iter().find(|id| letters.iter().all(|letter| letter.id != **id)) {
            return Err(missing(id));
        }
        if let Some((id, services)) = ambiguous(selection, &letters) {
            let mut page = Page::default();
            page.note(format_args!("functions: {services} have a letter {id} each: --service chooses"));
            return Ok(Done { page, code: USAGE });
        }
        match &self.command {
            Command::Groups { .. } => Done::well(output::groups(&groups(&letters), seen, now, self.json)),
            Command::List { limit, .. } => Done::well(output::list(&letters, *limit, seen, now, self.json)),
            Command::Show { id, unmask, .. } => {
                let letter = letters.first().ok_or_else(|| missing(id))?;
                Done::well(output::show(letter, *unmask, self.json))
            }
            Command::Replay(replay) => {
                let notes = late.into_iter().chain(seen.rest()).collect();
                self.replay(replay, desk, letters, notes, now).await
            }
            Command::Drop { export, yes, .. } => {
                self.drop(desk, &letters, seen, export.as_ref(), *yes, now).await
            }
        }
    }

    async fn replay(
        &self,
        options: &Replay,
        desk: &mut Desk,
        mut letters: Vec<Letter>,
        notes: Vec<String>,
        now: Timestamp,
    ) -> Result<Done, String> {
        letters.truncate(options.max.unwrap_or(usize::MAX));
        let stopped = desk.stopped();
        let (letters, plan) = tokio::select! {
            planned = plan(desk, letters) => planned,
            () = stopped => return Done::interrupted(),
        };
        let is_dry = options.dry_run || !(options.yes || io::stdin().is_terminal());
        let mut page = output::plan(&plan, letters.first(), now, self.json && is_dry);
        notes.into_iter().for_each(|note| page.note(note));
        if is_dry || letters.is_empty() {
            return Done::well(page);
        }
        page.print()?;
        // The answer may take longer than a lease.
        if !options.yes && !confirmed(desk, letters.len()).await? {
            return if desk.is_stopped() { Done::interrupted() } else { Done::well(Page::default()) };
        }
        let settings = redrive::Options {
            canary: options.canary,
            pause: Duration::from_secs_f64(1.0 / options.rate),
            max_failures: options.max_failures,
            wait: options.wait,
        };
        let report = replay(desk, letters, &new_id(), settings, output::progress()).await;
        Ok(Done { page: output::report(&report, self.json), code: report.exit_code() })
    }

    async fn drop(
        &self,
        desk: &mut Desk,
        letters: &[Letter],
        seen: output::Seen,
        export: Option<&PathBuf>,
        is_meant: bool,
        now: Timestamp,
    ) -> Result<Done, String> {
        if !is_meant || letters.is_empty() {
            let mut page = output::groups(
                &groups(letters),
                output::Seen { letters: letters.len(), ..seen },
                now,
                self.json,
            );
            page.note(if is_meant {
                "nothing is dropped"
            } else {
                "nothing is dropped: --yes drops these letters"
            });
            return Done::well(page);
        }
        let path = export.cloned().unwrap_or_else(|| {
            PathBuf::from(format!("dead-letters-{}.jsonl", now.strftime("%Y%m%dT%H%M%SZ")))
        });
        let mut file = create(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        let removal = drop_letters(desk, letters, |lines| {
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        });
        let removal = removal.await;
        let mut page = output::removal(&removal, &path, self.json);
        seen.rest().into_iter().for_each(|note| page.note(note));
        let code = match removal.stop {
            Some(_) if desk.is_stopped() => INTERRUPTED,
            stop => stop.is_some().into(),
        };
        Ok(Done { page, code })
    }
}

const SOMEBODY_ELSE: &str = "Perhaps somebody else holds it, for up to a minute";

fn missing(id: &str) -> String {
    format!("there is no such letter {id}. {SOMEBODY_ELSE}")
}

/// An id that letters of more than one service have, with these services. An id is unique within its holder only.
fn ambiguous<'a>(selection: &'a Selection, letters: &[Letter]) -> Option<(&'a str, String)> {
    selection.ids.iter().find_map(|id| {
        let of_id = letters.iter().filter(|letter| letter.id == *id);
        let services: BTreeSet<&str> = of_id.map(|letter| letter.service.as_str()).collect();
        (services.len() > 1).then(|| (id.as_str(), services.into_iter().collect::<Vec<_>>().join(" and ")))
    })
}

/// Asks on the terminal, and keeps the leases meanwhile.
async fn confirmed(desk: &mut Desk, letters: usize) -> Result<bool, String> {
    terminal::tell(&format!("Replay {}? [y/N] ", output::letters(letters)));
    let (told, answer) = oneshot::channel();
    // The runtime waits for its own threads, and this one waits for a person.
    std::thread::spawn(move || {
        let mut line = String::new();
        told.send(io::stdin().read_line(&mut line).map(|_| line))
    });
    let stopped = desk.stopped();
    let line = tokio::select! {
        line = answer => line,
        () = stopped => return Ok(false),
        never = desk.keep() => match never {},
    };
    let line = line.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}

/// Creates a file that only its owner can read: the data of letters may be personal. It must not exist.
fn create(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Chosen {
    fn selection(&self, ids: &[String], now: Timestamp) -> Selection {
        Selection {
            ids: ids.iter().cloned().collect(),
            group: self.group.clone(),
            service: self.service.clone(),
            event_type: self.r#type.clone(),
            code: self.code.clone(),
            since: self.since.map(|since| since.seen_from(now)),
            before: None,
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "not a number from 1 on".to_owned())
}

/// Such as `10/s`, or `10`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    let is_possible = |rate: &f64| (0.01..=1000.0).contains(rate);
    number.ok().filter(is_possible).ok_or_else(|| "not a rate from 0.01/s to 1000/s".to_owned())
}

/// Such as `60s`, `10m`, `2h` or `3d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time span such as 60s, 10m, 2h or 3d, at most 36500d".to_owned();
    let (unit, seconds) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(*unit))
        .ok_or_else(wrong)?;
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= LONGEST_SPAN);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// 100 years, in seconds. No calculation with it overflows.
const LONGEST_SPAN: u64 = 36_500 * 86_400;

/// A time, or the beginning of a time span that ends now. On a local stack, only the stack knows when that is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

impl When {
    fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

fn time(text: &str) -> Result<When, String> {
    let span =
        || duration(text).map_err(|error| format!("not a time such as 2026-11-20T12:00:00Z, and {error}"));
    text.parse().map(When::At).or_else(|_| span().map(When::Ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "2", "h", "2x", "-2h", "99999999999999999999d", "18446744073709551615d", "36501d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        assert!(["0", "-1/s", "inf", "NaN", "10/m"].iter().all(|wrong| rate(wrong).is_err()));
    }
}
