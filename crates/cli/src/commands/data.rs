use std::collections::BTreeMap;
use std::path::PathBuf;

use pixels::encode::encode_png;
use pixels::source::{Source, open};
use serde_json::json;
use vertebra::error::Error;

/// Look at images before training on them.
#[derive(clap::Subcommand)]
pub enum Data {
    /// Read every image once: counts, sizes, channels, classes, and what is broken.
    Inspect {
        /// A folder, or a URI.
        uri: String,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write images of the synthetic world as PNG files, in one folder per class.
    World {
        /// `world:?size=64&count=100`.
        #[arg(default_value = "world:?size=64&count=100")]
        uri: String,
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl Data {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Inspect { uri, json } => inspect(&uri, json),
            Self::World { uri, out } => write(&uri, &out),
        }
    }
}

/// What reading a whole source showed.
#[derive(Default)]
struct Findings {
    sizes: BTreeMap<String, usize>,
    forms: BTreeMap<String, usize>,
    classes: BTreeMap<String, usize>,
    broken: Vec<(String, String)>,
}

fn inspect(uri: &str, as_json: bool) -> anyhow::Result<()> {
    let source = open(uri).map_err(Error::from)?;
    let findings = read_all(source.as_ref());
    if as_json {
        println!(
            "{}",
            json!({
                "images": source.len(), "broken": findings.broken, "sizes": findings.sizes,
                "forms": findings.forms, "classes": findings.classes,
            })
        );
        return Ok(());
    }
    println!("{} images, {} of them cannot be read", source.len(), findings.broken.len());
    print_counts("channels and depth", &findings.forms);
    print_counts("width × height", &findings.sizes);
    print_counts("classes", &findings.classes);
    for (name, problem) in &findings.broken {
        println!("  {name}: {problem}");
    }
    Ok(())
}

fn read_all(source: &dyn Source) -> Findings {
    let mut findings = Findings::default();
    for problem in source.problems() {
        findings.broken.push((problem.name.clone(), problem.problem.clone()));
    }
    for index in 0..source.len() {
        match source.get(index) {
            Ok(sample) => {
                let image = &sample.image;
                let bits = if image.as_u8().is_some() { 8 } else { 16 };
                let form = format!("{} × {bits} bit", image.channels);
                *findings.forms.entry(form).or_default() += 1;
                *findings
                    .sizes
                    .entry(format!("{} × {}", image.width, image.height))
                    .or_default() += 1;
                if let Some(label) = sample.label {
                    let name = source.classes().get(label as usize).cloned();
                    *findings
                        .classes
                        .entry(name.unwrap_or_else(|| label.to_string()))
                        .or_default() += 1;
                }
            }
            Err(error) => findings.broken.push((error.name, error.problem)),
        }
    }
    findings
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

fn write(uri: &str, out: &std::path::Path) -> anyhow::Result<()> {
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
