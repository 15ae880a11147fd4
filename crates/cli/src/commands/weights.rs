use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use vertebra::models::weights;

use super::Compute;

/// Weights in and out.
#[derive(clap::Subcommand)]
pub enum Weights {
    /// Write an encoder's backbone as safetensors under torchvision's or timm's names, with its preprocessing in the metadata.
    Export {
        /// A run folder, a checkpoint, or ARCH=FILE.
        encoder: String,
        /// The file to write, ending in .safetensors.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        compute: Compute,
    },
    /// List the tensors of a safetensors file.
    Inspect { file: PathBuf },
}

impl Weights {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Export { encoder, out, compute } => {
                let (opened, spec) = compute.open(&encoder)?;
                let tensors = &opened.variables;
                let spec = serde_json::to_string(&json!(spec))?;
                weights::save(&out, tensors, &BTreeMap::from([("encoder".to_string(), spec)]))?;
                println!("{}: {} tensors", out.display(), tensors.len());
            }
            Self::Inspect { file } => {
                let (tensors, metadata) = weights::load(&file)?;
                for (name, tensor) in &tensors {
                    println!("{name}  {:?}  {:?}", tensor.size(), tensor.kind());
                }
                for (key, value) in &metadata {
                    println!("{key} = {value}");
                }
            }
        }
        Ok(())
    }
}
