use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vertebra::error::Error;
use vertebra::hardware;
use vertebra::pretrain::{Event, Job, Outcome, Watch, pretrain};
use vertebra::recipe::{RawRecipe, Recipe};
use vertebra::scoring;
use vertebra::training::collective::{Alone, Collective};

use crate::show::Screen;

/// Pretrain a backbone on images without labels, then probe it and write a report.
///
/// Ctrl-C saves and says how to go on; a second one stops at once. A killed run goes on with --resume as if nothing had happened.
#[derive(clap::Args)]
pub struct Pretrain {
    /// A recipe (see recipes/). With --resume it may be left out.
    #[arg(required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// Images to train on instead of the recipe's: a folder, or a URI.
    #[arg(long, value_name = "URI")]
    data: Option<String>,
    /// Labelled images to test the probes on instead of the recipe's.
    #[arg(long, value_name = "URI")]
    test: Option<String>,
    /// The run folder; runs/RECIPE by default.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Change a value of the recipe: optimizer.lr=0.1, views.0.size=64.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Go on with the run in the folder --out.
    #[arg(long)]
    resume: bool,
    /// Stop at the first image that cannot be read, instead of skipping and listing it.
    #[arg(long)]
    strict: bool,
    /// Events as JSON lines on standard output.
    #[arg(long)]
    json: bool,
    /// The process whose end also ends the run, saved: a study that started it.
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

impl Pretrain {
    pub fn run(self) -> anyhow::Result<()> {
        let collective = ranks()?;
        let first = collective.rank() == 0;
        let folder = self.folder()?;
        let recipe = self.recipe(&folder)?;
        let job = Job {
            recipe: recipe.clone(),
            folder: folder.clone(),
            resume: self.resume,
            command: command_as_typed(),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("VERTEBRA_COMMIT").into(),
            collective,
        };
        let stop = stop_on_interrupt()?;
        let mut screen = Screen::new(self.json);
        let mut tell = |event: Event| {
            if self.parent.is_some_and(|parent| parent != parent_id()) {
                stop.store(true, Ordering::Relaxed);
            }
            // One rank speaks for all.
            if first {
                screen.event(&event);
            }
        };
        let outcome = pretrain(&job, &mut Watch { tell: &mut tell, stop: &stop })?;
        if !first {
            return Ok(());
        }
        screen.end_training();
        if outcome == Outcome::Interrupted {
            screen.say(&format!(
                "stopped and saved; go on with: vertebra pretrain --resume --out {}",
                folder.display()
            ));
            return Ok(());
        }
        // Nothing is left to save: from here the first Ctrl-C ends the process, and --resume judges again.
        stop.store(true, Ordering::Relaxed);
        let scores = scoring::score_run(&folder, &recipe, &mut |text| screen.say(text))?;
        screen.scores(&scores);
        let page = report::page::write(&folder).map_err(Error::from)?;
        screen.say(&format!("report: {}", page.display()));
        Ok(())
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        match (&self.out, &self.recipe) {
            (Some(folder), _) => Ok(folder.clone()),
            (None, Some(recipe)) => {
                Ok(PathBuf::from("runs").join(recipe.file_stem().unwrap_or_default()))
            }
            (None, None) => Err(Error::Usage {
                problem: "--resume without a recipe needs the run folder".into(),
                hint: Some("vertebra pretrain --resume --out runs/NAME".into()),
            }
            .into()),
        }
    }

    /// The recipe with the command line's changes. A resumed run without a recipe takes its own.
    fn recipe(&self, folder: &std::path::Path) -> anyhow::Result<Recipe> {
        let own = folder.join("recipe.toml");
        if self.resume && !own.is_file() {
            return Err(Error::Usage {
                problem: format!("{}: there is no run to go on with", folder.display()),
                hint: Some("give the run's folder as --out, or begin without --resume".into()),
            }
            .into());
        }
        let path = self.recipe.as_ref().unwrap_or(&own);
        let mut recipe = RawRecipe::read(path, &self.settings)?;
        if let Some(data) = &self.data {
            // Probes of the recipe's own images would say nothing of these.
            recipe.data.train.clone_from(data);
            recipe.evaluation.train = None;
            recipe.evaluation.test = None;
        }
        if let Some(test) = &self.test {
            recipe.evaluation.test = Some(test.clone());
        }
        recipe.data.strict |= self.strict;
        Ok(recipe.check()?)
    }
}

/// The processes that `mpirun` started together; one, where it did not.
#[cfg(feature = "mpi")]
fn ranks() -> anyhow::Result<Arc<dyn Collective>> {
    let started = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
    if started.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(Arc::new(Alone));
    }
    Ok(Arc::new(vertebra::training::collective::Mpi::begin()?))
}

#[cfg(not(feature = "mpi"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with MPI")]
fn ranks() -> anyhow::Result<Arc<dyn Collective>> {
    Ok(Arc::new(Alone))
}

/// Arguments need not be text; what is not is shown as near as it can be.
fn command_as_typed() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    std::iter::once("vertebra".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}

/// The first Ctrl-C asks the run to save and stop, the second ends the process.
pub(super) fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            hardware::exit_at_once(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again stops at once");
    })?;
    Ok(stop)
}
