//! What this machine has, and a short measurement of what bounds training on it.

use tch::{Cuda, Device};

use crate::bench::{self, Length, ViewBench};
use crate::error::Result;
use crate::hardware;
use crate::recipe::{Precision, RawRecipe, Recipe};

/// A small run like many first runs: ResNet-18 at 32 pixels, VICReg.
const RECIPE: &str = r#"
epochs = 1
batch = 64
data.train = "world:?size=32&count=2048"
views = [{ count = 2, size = 32 }]
backbone = { name = "resnet18", stem = "small" }
method = { name = "vicreg" }
optimizer = { name = "lars" }
"#;

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: &'static str,
    pub value: String,
}

/// What can be known without measuring.
pub fn facts() -> Vec<Fact> {
    let device = Device::cuda_if_available();
    let precision = hardware::precision_name(hardware::autocast(Precision::Auto, device));
    let gpus = match Cuda::device_count() {
        0 => "none that libtorch can use".to_string(),
        count => format!("{count}"),
    };
    let fact = |name, value: String| Fact { name, value };
    vec![
        fact("processor", hardware::processor()),
        fact("cores", hardware::cores().to_string()),
        fact("instructions", instruction_sets().join(" ")),
        fact("memory", format!("{:.1} GiB", hardware::memory_gib())),
        fact("GPUs", gpus),
        fact("device", hardware::device_name(device)),
        fact("precision", format!("{precision} (precision = \"auto\")")),
        fact("libtorch", libtorch().unwrap_or_else(|| "linked".into())),
        fact("JPEG decoder", pixels::decode::JPEG_DECODER.into()),
        fact("free disk", free_disk().map_or("unknown".into(), |gib| format!("{gib:.0} GiB here"))),
    ]
}

/// Views per second and the time of a step of a small recipe, and which of the two bounds training.
pub fn measure() -> Result<Vec<Fact>> {
    let recipe = RawRecipe::parse(RECIPE, &[])?.check()?;
    let views = ViewBench::of_recipe(&recipe)?.run(Length::Seconds(4.0))?;
    let step = bench::step(&recipe, 1, 4)?;
    let share = step.images_per_s / views.images_per_s;
    let verdict = if share > 1.0 {
        format!("the making of views: the step could take {share:.1} times as many")
    } else {
        format!(
            "the network: views could be made {:.1} times as fast as it takes them",
            1.0 / share
        )
    };
    let fact = |name, value: String| Fact { name, value };
    let mut facts = vec![
        fact("views", format!("{:.0} images/s, two views of 32 px each", views.images_per_s)),
        fact(
            "step",
            format!(
                "{:.0} images/s, {:.0} ms (VICReg, ResNet-18, 32 px, batch 64, {})",
                step.images_per_s, step.ms_per_step, step.precision
            ),
        ),
        fact("bound by", verdict),
    ];
    if share > 1.0 && Device::cuda_if_available() != Device::Cpu {
        facts.push(fact("advice", finish_advice(&recipe, views.images_per_s)?));
    }
    Ok(facts)
}

/// Whether a GPU that waits for views should compute a part of them.
fn finish_advice(recipe: &Recipe, images_per_s: f64) -> Result<String> {
    let mut bench = ViewBench::of_recipe(recipe)?;
    bench.options.form.geometry_only = true;
    let gain = bench.run(Length::Seconds(4.0))?.images_per_s / images_per_s;
    Ok(if gain > 1.1 {
        format!(
            "data.finish = \"device\": {gain:.1} times as many views when the GPU does their colour"
        )
    } else {
        "data.finish = \"loader\": the GPU would save nothing".into()
    })
}

/// The vector instructions that matter here, as this processor has them.
fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![std::env::consts::ARCH]
    }
}

/// The folder that libtorch was loaded from.
fn libtorch() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.contains("libtorch_cpu.so"))?;
    let path = std::path::Path::new(line.split_whitespace().last()?);
    Some(path.parent()?.display().to_string())
}

/// GiB that the present folder's disk has left.
fn free_disk() -> Option<f64> {
    let disk = rustix::fs::statvfs(".").ok()?;
    Some((disk.f_bavail * disk.f_frsize) as f64 / f64::from(1 << 30))
}
