use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pixels::encode::encode_png;
use pixels::inspect::{self, Group, Inspection};
use pixels::source::open;
use pixels::stats;
use vertebra::error::Error;
use vertebra::{gallery, hardware};

use super::pack::Pack;
use crate::show::Progress;

/// Groups of duplicates that are named.
const MOST_GROUPS: usize = 10;

/// Look at images before training on them.
#[derive(clap::Subcommand)]
pub enum Data {
    /// Read every image once: counts, sizes, channels, classes, duplicates, and what is broken.
    Inspect(Inspect),
    /// Measure mean and standard deviation of each channel, ready for a recipe.
    Stats(Stats),
    Pack(Pack),
    /// Write images of the synthetic world as PNG files, in one folder per class.
    World {
        /// `world:?size=64&count=100`.
        #[arg(default_value = "world:?size=64&count=100")]
        uri: String,
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
pub struct Inspect {
    /// A folder, or a URI.
    uri: String,
    /// Name the images of another source that are in this one too: test images, for instance.
    #[arg(long, value_name = "URI")]
    against: Option<String>,
    /// Write a page with pictures of each class, and of what is there twice.
    #[arg(long, value_name = "FILE.html")]
    sheet: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Stats {
    /// A folder, or a URI.
    uri: String,
    /// Channels of the run; with 3, everything becomes RGB.
    #[arg(long, default_value_t = 3)]
    channels: usize,
    /// Read so many images at most, a fixed random choice.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Data {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
            Self::Stats(stats) => stats.run(),
            Self::Pack(pack) => pack.run(),
            Self::World { uri, out } => write(&uri, &out),
        }
    }
}

impl Inspect {
    fn run(self) -> anyhow::Result<()> {
        let source = open(&self.uri).map_err(Error::from)?;
        let against = self.against.as_deref().map(open).transpose().map_err(Error::from)?;
        let progress = Progress::over(source.len() + against.as_ref().map_or(0, |it| it.len()));
        let (cores, done) = (hardware::cores(), || progress.step());
        let found = inspect::inspect(source.as_ref(), against.as_deref(), cores, &done);
        progress.end();
        if let Some(path) = &self.sheet {
            let sheet =
                gallery::contact_sheet(&self.uri, source.as_ref(), against.as_deref(), &found);
            report::sheet::write(&sheet, path).map_err(Error::from)?;
            eprintln!("contact sheet: {}", path.display());
        }
        if self.json {
            println!("{}", serde_json::to_string(&found)?);
        } else {
            print_found(&found);
        }
        Ok(())
    }
}

impl Stats {
    fn run(self) -> anyhow::Result<()> {
        let source = open(&self.uri).map_err(Error::from)?;
        let count = self.limit.unwrap_or(usize::MAX).min(source.len());
        let progress = Progress::over(count);
        let (cores, done) = (hardware::cores(), || progress.step());
        let measured = stats::measure(source.as_ref(), self.channels, self.limit, cores, &done);
        progress.end();
        let measured = measured.map_err(Error::from)?;
        if self.json {
            println!("{}", serde_json::to_string(&measured)?);
            return Ok(());
        }
        let normalize = measured.normalize().map_err(Error::from)?;
        let stats::Measured { images, skipped, .. } = measured;
        println!("# {images} images of {}, {skipped} passed over", self.uri);
        println!("[normalize]\nmean = {:.6?}\nstd = {:.6?}", normalize.mean, normalize.std);
        Ok(())
    }
}

fn print_found(found: &Inspection) {
    println!("{} images, {} of them cannot be read", found.images, found.broken.len());
    print_counts("channels and depth", &found.forms);
    print_counts("decoded to other samples", &found.conversions);
    print_counts("width × height", &found.sizes);
    print_counts("classes", &found.classes);
    for form in &found.channels {
        println!("channels × images: {} × {}, samples in [0, 1]:", form.channels, form.images);
        println!("  channel    mean     std     min     1 %    50 %    99 %     max");
        for (channel, it) in form.statistics.iter().enumerate() {
            let [_, low, middle, high, _] = it.percentiles;
            let numbers = [it.mean, it.std, it.min, low, middle, high, it.max];
            print!("  {:7}", channel + 1);
            for number in numbers {
                print!("{number:8.4}");
            }
            println!();
        }
    }
    print_groups("images equal to the bit", &found.duplicates);
    print_groups("near duplicates", &found.near_duplicates);
    if let Some(shared) = &found.against {
        println!(
            "{} images of the second source, {} of them cannot be read: {} are in the first to the bit, {} to the bit or to the eye",
            shared.images, shared.broken, shared.equal, shared.near
        );
        print_groups("equal in both", &shared.duplicates);
        print_groups("near in both", &shared.near_duplicates);
    }
    if !found.broken.is_empty() {
        println!("cannot be read:");
    }
    for (name, problem) in &found.broken {
        println!("  {name}: {problem}");
    }
}

/// The most frequent values first, at most ten.
fn print_counts(title: &str, counts: &BTreeMap<String, usize>) {
    if counts.is_empty() {
        return;
    }
    let mut ranked: Vec<_> = counts.iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    println!("{title}:");
    for (value, count) in ranked.iter().take(10) {
        println!("  {value}: {count}");
    }
    if ranked.len() > 10 {
        println!("  and {} more", ranked.len() - 10);
    }
}

/// Groups of the same picture, those with different labels first.
fn print_groups(title: &str, groups: &[Group]) {
    if groups.is_empty() {
        return;
    }
    let conflicts = groups.iter().filter(|group| group.conflict).count();
    println!("{title}: {} groups, {conflicts} of them with different labels", groups.len());
    let mut ranked: Vec<&Group> = groups.iter().collect();
    ranked.sort_by_key(|group| !group.conflict);
    for group in ranked.iter().take(MOST_GROUPS) {
        let mark = if group.conflict { "different labels: " } else { "" };
        let names: Vec<&str> = group.members.iter().take(6).map(|it| it.name.as_str()).collect();
        let more = group.members.len() - names.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        println!("  {mark}{}{rest}", names.join(" = "));
    }
    if groups.len() > MOST_GROUPS {
        println!("  and {} more", groups.len() - MOST_GROUPS);
    }
}

fn write(uri: &str, out: &Path) -> anyhow::Result<()> {
    let source = open(uri).map_err(Error::from)?;
    for index in 0..source.len() {
        let sample = source.get(index).map_err(Error::from)?;
        let class = sample.label.and_then(|label| source.classes().get(label as usize));
        let folder = out.join(class.map_or("images", String::as_str));
        std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let path = folder.join(format!("{index:06}.png"));
        std::fs::write(&path, encode_png(&sample.image)).map_err(Error::file("write", &path))?;
    }
    println!("{} images in {}", source.len(), out.display());
    Ok(())
}
