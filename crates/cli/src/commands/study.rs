use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vertebra::error::{Error, Result};
use vertebra::hardware;
use vertebra::studies::table::Table;
use vertebra::studies::{self, Attempt, Event, Plan, duality, world_model};

use super::pretrain::stop_on_interrupt;
use crate::show::clock;

/// Run a plan of many runs (variants of a recipe, seeds, axes) and read their results together.
///
/// Every run is an ordinary run folder, DIR/cells/NAME, with a report of its own. What is finished is never run again, what was
/// stopped goes on, what fails is noted. Several terminals may work on one study: give them the same command.
#[derive(clap::Subcommand)]
pub enum Study {
    /// Do what is left of a plan. Ctrl-C saves and stops; the same command goes on.
    Run {
        /// A plan (see recipes/studies/).
        plan: PathBuf,
        /// The study's folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The duality of sample- and dimension-contrastive methods: a plan's runs, then DIR/study.html with the claims of the
    /// paper (Garrido et al. 2023) judged by them. What is finished is shown at any time.
    Duality {
        /// A plan with families and the axes `batch` and `dimension`; that of recipes/studies/duality.toml by default.
        plan: Option<PathBuf>,
        /// The study's folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Only write the page of what is done.
        #[arg(long)]
        page: bool,
    },
    /// Image world models: a plan's runs, then DIR/study.html with the aspects of the paper (Garrido et al. 2024) judged by them: being
    /// told the action, the difficulty of the change, the size of the predictor. What is finished is shown at any time.
    WorldModel {
        /// A plan with the variant `none` and the axes `change` and `depth`; that of recipes/studies/world-model.toml by default.
        plan: Option<PathBuf>,
        /// The study's folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Only write the page of what is done.
        #[arg(long)]
        page: bool,
    },
    /// The finished runs as a table: means over seeds with 95 % intervals, beside the untrained network.
    Table {
        /// The study's folder.
        folder: PathBuf,
        /// One JSON object in place of Markdown.
        #[arg(long)]
        json: bool,
    },
}

impl Study {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Run { plan, out } => {
                let study = studies::Study::begin(Plan::read(&plan)?, &out)?;
                work(&study, &|| Ok(()))
            }
            Self::Duality { plan, out, page } => {
                const SHIPPED: &str = include_str!("../../../../recipes/studies/duality.toml");
                examine(plan.as_deref(), SHIPPED, &out, page, duality::write)
            }
            Self::WorldModel { plan, out, page } => {
                const SHIPPED: &str = include_str!("../../../../recipes/studies/world-model.toml");
                examine(plan.as_deref(), SHIPPED, &out, page, world_model::write)
            }
            Self::Table { folder, json } => {
                let table = Table::of(&studies::Study::open(&folder)?)?;
                let text =
                    if json { serde_json::to_string_pretty(&table)? } else { table.markdown() };
                // Not `print!`, which panics where the reader has gone.
                Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
            }
        }
    }
}

/// Does a study that has a page of its own, which `write` writes after each run, or (`page`) writes the page alone. `shipped` is the plan that comes
/// with the program.
fn examine(
    given: Option<&Path>,
    shipped: &str,
    out: &Path,
    page: bool,
    write: fn(&studies::Study) -> Result<PathBuf>,
) -> anyhow::Result<()> {
    let study = if page {
        studies::Study::open(out)?
    } else {
        studies::Study::begin(plan_of(given, shipped, out)?, out)?
    };
    if !page {
        work(&study, &|| write(&study).map(|_| ()))?;
    }
    let written = write(&study)?;
    Ok(writeln!(std::io::stdout(), "{}", written.display())?)
}

/// The plan that is given, else that of the study in the folder, else the one that comes with the program.
fn plan_of(given: Option<&Path>, shipped: &str, out: &Path) -> Result<Plan> {
    match given {
        Some(path) => Plan::read(path),
        None if out.join("plan.toml").is_file() => Ok(studies::Study::open(out)?.plan),
        None => Plan::parse(shipped, Path::new("")),
    }
}

/// Does what is left of a study, each run by this program in a process of its own: its peak memory is its own, and a crash
/// is one run's. A failure of what is done after each finished run is told and ends nothing.
fn work(study: &studies::Study, after_each: &dyn Fn() -> Result<()>) -> anyhow::Result<()> {
    let stop = stop_on_interrupt()?;
    // Asked once: a program that is built anew meanwhile has no path by which to find itself.
    let program = std::env::current_exe()?;
    let mut attempt = |attempt: Attempt| child(&program, attempt, &stop);
    let mut tell = |event: Event| {
        tell(&event);
        if let Event::Done { .. } = event
            && let Err(error) = after_each()
        {
            eprintln!("note: {error}");
        }
    };
    let summary = studies::run(study, &mut attempt, &stop, &mut tell)?;
    eprintln!("{} of {} runs are done", summary.done, study.cells.len());
    for (cell, reason) in &summary.failed {
        eprintln!("{cell} failed: {reason} (delete {} to try again)", failed(study, cell));
    }
    match summary.left {
        0 => {}
        left if stop.load(Ordering::Relaxed) => {
            eprintln!("{left} are left; the same command goes on");
        }
        left => eprintln!("{left} are being done by other processes"),
    }
    Ok(())
}

fn failed(study: &studies::Study, cell: &str) -> String {
    study.folder().join("cells").join(format!("{cell}.failed")).display().to_string()
}

fn tell(event: &Event) {
    match event {
        Event::Begin { cell, number, of, seconds_left, .. } => {
            let left = seconds_left.map(|seconds| format!(", about {} left", clock(seconds)));
            eprintln!("run {number} of {of}: {}{}", cell.name, left.unwrap_or_default());
        }
        Event::Done { seconds, scores, .. } => {
            let top1 = scores.iter().filter(|it| it.metric == "top1" && it.encoder == "trained");
            let words = top1.map(|it| format!("{} {} %  ", it.protocol, it.value_in_words()));
            eprintln!("  {}{}", words.collect::<String>(), clock(*seconds));
        }
        Event::Failed { reason, .. } => eprintln!("  failed: {reason}"),
    }
}

/// `vertebra pretrain` of one run, its words in NAME.log.
fn child(program: &Path, attempt: Attempt, stop: &AtomicBool) -> Result<()> {
    let log = attempt.recipe.with_extension("log");
    let opened = OpenOptions::new().create(true).append(true).open(&log);
    let file = opened.map_err(Error::file("create", &log))?;
    let before = file.metadata().map_or(0, |about| about.len());
    let mut command = Command::new(program);
    command.arg("pretrain").arg(&attempt.recipe).arg("--out").arg(&attempt.folder);
    command.arg("--parent").arg(std::process::id().to_string());
    if attempt.resume {
        command.arg("--resume");
    }
    let errors = file.try_clone().map_err(Error::file("open", &log))?;
    // The claim is the child's standard input: it holds as long as the child lives, whatever becomes of this process. A
    // process group of its own keeps the terminal's Ctrl-C from it, which it would else get twice.
    command.stdin(attempt.lock).stdout(file).stderr(errors).process_group(0);
    let mut running = command.spawn().map_err(Error::file("start", "vertebra"))?;
    drop(command);
    let mut told = false;
    loop {
        if let Some(status) = running.try_wait().map_err(Error::file("wait for", "vertebra"))? {
            return outcome(status, &log, before);
        }
        if stop.load(Ordering::Relaxed) && !told {
            hardware::interrupt(&running)?;
            told = true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The error that a run ended with, from what it said after so many bytes of its log.
fn outcome(status: ExitStatus, log: &Path, before: u64) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(before as usize..).unwrap_or_default());
    let said = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(Into::into);
    let killed = status.signal().map(|signal| format!("ended by signal {signal}"));
    let problem = killed.or(said).unwrap_or_else(|| format!("{status}"));
    Err(Error::Usage { problem, hint: None })
}
