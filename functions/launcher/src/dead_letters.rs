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
use pushbox::{Clock, publisher::Publisher};
use redrive::{
    Desk, Letter, Monitoring, Names, Receipts, Rest, Selection, Subscriber, drop_letters, groups, new_id,
    plan, replay,
};

use crate::{
    block_on,
    environment::{Cloud, local_url},
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
    #[arg(long, global = true, value_name = "URL", conflicts_with = "project")]
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
    since: Option<Timestamp>,
}

#[derive(Args)]
struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// The letters' ids
    ids: Vec<String>,
    /// Replays all letters
    #[arg(long)]
    all: bool,
    /// Only letters from before this time. Default: the start of the command, so that a letter that comes back stays
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
    /// The number of letters in the first batch. The next ones have 10 times as many, at most 100
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    canary: usize,
    /// The most publications a second, such as 10/s
    #[arg(long, default_value = "10/s", value_parser = rate)]
    rate: f64,
    /// The most letters to replay, the oldest first
    #[arg(long, value_name = "N")]
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
    let started = Timestamp::now();
    let selection = match &options.command {
        Command::Groups { chosen } | Command::List { chosen, .. } => chosen.selection(&[]),
        Command::Show { id, service, .. } => {
            Selection { ids: BTreeSet::from([id.clone()]), service: service.clone(), ..Selection::default() }
        }
        Command::Drop { chosen, ids, .. } => chosen.selection(ids),
        Command::Replay(Replay { chosen, ids, before, .. }) => {
            Selection { before: Some(before.unwrap_or(started)), ..chosen.selection(ids) }
        }
    };
    let is_vague = match &options.command {
        Command::Replay(replay) => selection.is_everything() != replay.all,
        Command::Drop { .. } => selection.is_everything(),
        _ => false,
    };
    if is_vague {
        terminal::tell(
            "functions: choose letters by their ids, by a group or by flags; replay also takes --all alone\n",
        );
        return Ok(USAGE);
    }
    let catalog = catalog(selection.service.as_deref())?;
    let place = options.place()?;
    let mut desk = desk(&place, &catalog, selection.service.as_deref())?;
    let done =
        options.with(&mut desk, &selection, started, options.expected(&place, &catalog, &selection)).await;
    // Before anything is printed, and in case of an error, too: otherwise the letters stay hidden for a minute.
    desk.close().await;
    let Done { page, code } = done?;
    page.print()?;
    Ok(code)
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
    LocalStack(String),
    Deployment(Cloud),
}

fn desk(place: &Place, catalog: &Catalog, service: Option<&str>) -> Result<Desk, String> {
    let (names, rest, receipts) = match place {
        Place::LocalStack(url) => {
            let names = Names { project: "local".to_owned(), prefix: String::new() };
            let receipts = Receipts::local_stack(url).map_err(|error| error.to_string())?;
            (names.clone(), Rest::local(url, &names), receipts)
        }
        Place::Deployment(cloud) => {
            let names = cloud.names();
            let rest = match &cloud.pubsub_emulator {
                Some(host) => Rest::local(&format!("http://{host}"), &names),
                None => Rest::cloud(&names),
            };
            (names, rest, Receipts::Store(Arc::new(cloud.firestore()), Clock::system()))
        }
    };
    let rest = Arc::new(rest.map_err(|error| error.to_string())?);
    let (subscriber, publisher): (Arc<dyn Subscriber>, Arc<dyn Publisher>) = (rest.clone(), rest);
    Ok(Desk::new(catalog, service, names, subscriber, publisher, receipts, Clock::system()))
}

impl Options {
    /// The local stack, the emulators or the project.
    fn place(&self) -> Result<Place, String> {
        let url = match (&self.local, &self.project) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => None,
            (None, None) => local_url()?,
        };
        Ok(match url {
            Some(url) => Place::LocalStack(url),
            None => Place::Deployment(Cloud::of(self.project.as_deref())?),
        })
    }

    /// How many letters there should be, if the command prints that and Cloud Monitoring knows it. The emulators have no
    /// Cloud Monitoring.
    async fn expected(&self, place: &Place, catalog: &Catalog, selection: &Selection) -> Option<u64> {
        let prints_it = matches!(self.command, Command::Groups { .. } | Command::List { .. }) && !self.json;
        let Place::Deployment(cloud @ Cloud { pubsub_emulator: None, .. }) = place else { return None };
        if !prints_it {
            return None;
        }
        let expected = async {
            let monitoring = Monitoring::cloud(&cloud.names()).map_err(|error| error.to_string())?;
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
        let seen = output::Seen {
            letters: gathered.len(),
            expected: expected.and_then(|count| count.try_into().ok()),
            is_all: !desk.is_full(),
        };
        let letters: Vec<Letter> = gathered.into_iter().filter(|letter| selection.picks(letter)).collect();
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
            Command::Replay(replay) => self.replay(replay, desk, letters, now).await,
            Command::Drop { export, yes, .. } => self.drop(desk, &letters, export.as_ref(), *yes, now).await,
        }
    }

    async fn replay(
        &self,
        options: &Replay,
        desk: &mut Desk,
        mut letters: Vec<Letter>,
        now: Timestamp,
    ) -> Result<Done, String> {
        letters.truncate(options.max.unwrap_or(usize::MAX));
        let (letters, plan) = plan(desk, letters).await;
        let is_dry = options.dry_run || !(options.yes || io::stdin().is_terminal());
        let page = output::plan(&plan, letters.first(), now, self.json && is_dry);
        if is_dry || letters.is_empty() {
            return Done::well(page);
        }
        page.print()?;
        // The answer may take longer than a lease.
        if !options.yes && !confirmed(desk, letters.len()).await? {
            return Done::well(Page::default());
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
        export: Option<&PathBuf>,
        is_meant: bool,
        now: Timestamp,
    ) -> Result<Done, String> {
        if !is_meant || letters.is_empty() {
            let mut page = output::groups(
                &groups(letters),
                output::Seen { letters: letters.len(), expected: None, is_all: true },
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
        Ok(Done { page: output::removal(&removal, &path, self.json), code: u8::from(removal.stop.is_some()) })
    }
}

fn missing(id: &str) -> String {
    format!("there is no such letter {id}. Somebody else may hold it for a minute, or it came after --before")
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
    let mut answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = &mut answer => line,
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
    fn selection(&self, ids: &[String]) -> Selection {
        Selection {
            ids: ids.iter().cloned().collect(),
            group: self.group.clone(),
            service: self.service.clone(),
            event_type: self.r#type.clone(),
            code: self.code.clone(),
            since: self.since,
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
    let wrong = || "not a time span such as 60s, 10m, 2h or 3d".to_owned();
    let (unit, seconds) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(*unit))
        .ok_or_else(wrong)?;
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A time, or the beginning of a time span that ends now.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let span =
        duration(text).map_err(|error| format!("not a time such as 2026-11-20T12:00:00Z, and {error}"))?;
    Timestamp::now().checked_sub(span).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "2", "h", "2x", "-2h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        assert!(["0", "-1/s", "inf", "NaN", "10/m"].iter().all(|wrong| rate(wrong).is_err()));
    }
}
