use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use vertebra::models::weights;
use vertebra::models::weights::export::Export;

use super::Compute;

/// Weights in and out.
#[derive(clap::Subcommand)]
pub enum Weights {
    /// Write an encoder's backbone for other programs, with its preprocessing beside it in config.json.
    ///
    /// safetensors has torchvision's or timm's names, and a folder of it is what timm opens:
    /// timm.create_model("local-dir:DIR", pretrained=True). torchscript is a traced module that takes normalised images
    /// [N, C, S, S] and gives features [N, D]. ONNX goes through Python from either of them:
    /// `benchmarks/export.py` does it with torch.onnx.export and compares the features.
    Export {
        /// A run folder, a checkpoint, or ARCH=FILE.
        encoder: String,
        /// A folder, or the file to write (.safetensors, or .pt for torchscript).
        #[arg(long, value_name = "DIR_OR_FILE")]
        out: PathBuf,
        #[arg(long, value_enum, default_value = "safetensors")]
        format: Format,
        #[command(flatten)]
        compute: Compute,
    },
    /// List the tensors of a weight file, one a line, and of a pickle what was left out; nothing in it is run.
    ///
    /// The file is told by its content: safetensors, a *.safetensors.index.json with the files it lists, or what
    /// torch.save wrote.
    Inspect { file: PathBuf },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Format {
    Safetensors,
    Torchscript,
}

impl Weights {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Export { encoder, out, format, compute } => {
                let (opened, spec) = compute.open(&encoder)?;
                let export = Export {
                    backbone: &spec.backbone,
                    channels: spec.channels as i64,
                    preprocess: &spec.preprocess,
                    variables: &opened.variables,
                };
                let path = match format {
                    Format::Safetensors => {
                        let text = serde_json::to_string(&json!(spec))?;
                        export
                            .safetensors(&out, &BTreeMap::from([("encoder".to_string(), text)]))?
                    }
                    Format::Torchscript => export.torchscript(&out)?,
                };
                println!("{}: {} tensors", path.display(), opened.variables.len());
                if matches!(format, Format::Safetensors) && export.timm().is_none() {
                    eprintln!(
                        "timm has no network like this one: its config.json names no architecture"
                    );
                }
            }
            Self::Inspect { file } => inspect(&file)?,
        }
        Ok(())
    }
}

/// Tensors and metadata to standard output, for the next program; what was left out to standard error.
fn inspect(file: &Path) -> anyhow::Result<()> {
    let listing = weights::list(file)?;
    let mut out = io::stdout().lock();
    for (name, (shape, kind)) in &listing.tensors {
        writeln!(out, "{name}  {shape:?}  {kind:?}")?;
    }
    for (key, value) in &listing.metadata {
        writeln!(out, "{key} = {value}")?;
    }
    for (name, what) in &listing.dropped {
        eprintln!("left out: {name}  {what}");
    }
    Ok(())
}
