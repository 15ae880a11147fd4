//! Two ranks give what one gives: real processes, real MPI.
//!
//! `mpirun -n 2 cargo test --features mpi --test ranks`; started alone, it says so and does nothing. One `main`, because MPI begins
//! and ends once in a process.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../it/tiny.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod tiny;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use report::record::{self, JournalLine};
use tch::{Kind, Tensor};
use vertebra::methods::MethodConfig;
use vertebra::models::BackboneConfig;
use vertebra::pretrain::{Job, Outcome, Watch, backward, pretrain};
use vertebra::recipe::RawRecipe;
use vertebra::training::collective::{Alone, Collective, Mpi};
use vertebra::training::groups;
use vertebra::training::optim::{Optimizer, OptimizerConfig};

use tiny::{CPU, build, largest, tiny_backbones, tiny_methods, two_views};

/// f32 rounds each sum to 6e-8; products of matrices with half the rows sum in another order, and layers add up.
const ANOTHER_ORDER: f64 = 1e-5;

fn main() {
    let mpi = Mpi::begin().unwrap();
    if mpi.ranks() == 1 {
        println!("skipped: one process; start this with mpirun -n 2");
        return;
    }
    tch::set_num_threads(1);
    let mpi: Arc<dyn Collective> = Arc::new(mpi);
    the_collective_is_right(mpi.as_ref());
    for method in tiny_methods() {
        for micro_batches in [1, 2] {
            a_step_of_the_ranks_is_the_step_of_one(&method, micro_batches, mpi.as_ref());
        }
    }
    a_run_of_the_ranks_is_the_run_of_one(&mpi);
    if mpi.rank() == 0 {
        println!("{} ranks: every method, and a run with its resumption, as with one", mpi.ranks());
    }
}

fn the_collective_is_right(mpi: &dyn Collective) {
    let (rank, ranks) = (mpi.rank() as i64, mpi.ranks() as i64);
    for kind in [Kind::Float, Kind::BFloat16, Kind::Int64] {
        let mine = Tensor::full([2, 3], rank, (kind, tch::Device::Cpu));
        let all = mpi.gather(&mine).unwrap();
        assert_eq!((all.size(), all.kind()), (vec![2 * ranks, 3], kind));
        for row in 0..2 * ranks {
            assert_eq!(all.double_value(&[row, 2]), (row / 2) as f64, "rows stand by rank");
        }
    }
    let mut sums = [Tensor::from(rank as f32 + 1.0), Tensor::ones([2, 2], tch::kind::FLOAT_CPU)];
    mpi.sum(&mut sums).unwrap();
    assert_eq!(sums[0].double_value(&[]), (ranks * (ranks + 1) / 2) as f64);
    assert_eq!(sums[1].double_value(&[1, 1]), ranks as f64);
    assert!(mpi.any(rank == 1).unwrap() && !mpi.any(false).unwrap());
}

/// Loss, gradients, and all variables after the step: weights, teachers, queues, centres.
///
/// On a transformer: batch norm in a backbone sees the images of one rank, so a ResNet's step is that of as many micro-batches.
fn a_step_of_the_ranks_is_the_step_of_one(
    config: &MethodConfig,
    micro_batches: usize,
    mpi: &dyn Collective,
) {
    let [resnet, vit, _] = tiny_backbones();
    let pieces = mpi.ranks() * micro_batches;
    for (backbone, alone_pieces) in [(&vit, 1), (&resnet, pieces)] {
        let fits = matches!(backbone, BackboneConfig::VitTiny(_)) || tiny::fits(config, backbone);
        if !fits {
            continue;
        }
        let what = format!("{} on {}", config.title(), backbone.name());
        let wanted = stepped(config, backbone, alone_pieces, &Alone);
        let found = stepped(config, backbone, micro_batches, mpi);
        let largest_of_all = wanted.values().map(largest).fold(0.0, f64::max);
        for (name, wanted) in &wanted {
            let off = largest(&(&found[name] - wanted));
            let allowed = ANOTHER_ORDER * largest(wanted).max(1e-2 * largest_of_all);
            assert!(off <= allowed, "{what}: `{name}` is off by {off:e}, allowed {allowed:e}");
        }
    }
}

/// What a step of plain SGD leaves. A large learning rate, so that a wrong gradient shows in the weights.
fn stepped(
    config: &MethodConfig,
    backbone: &BackboneConfig,
    pieces: usize,
    collective: &dyn Collective,
) -> BTreeMap<String, Tensor> {
    let mut method = build(config, backbone, 1);
    let groups = groups::assign(&method.parameters(), &method.rules()).unwrap();
    let sgd: OptimizerConfig = toml::from_str("name = \"sgd\"").unwrap();
    let mut optimizer = Optimizer::new(sgd, groups);
    let whole = two_views();
    let share = whole.size() / collective.ranks();
    let batch = whole.narrow(collective.rank() * share, share);
    let loss = backward(method.as_mut(), &batch, pieces, collective, &CPU).unwrap();
    let named = |(name, parameter): (String, Tensor)| {
        let gradient = parameter.grad();
        gradient.defined().then(|| (format!("gradient of {name}"), gradient.copy()))
    };
    let mut left: BTreeMap<String, Tensor> =
        method.parameters().into_iter().filter_map(named).collect();
    method.before_step(&CPU);
    optimizer.step(0.1);
    method.after_step(&CPU).unwrap();
    left.insert("loss".into(), loss.total.detach());
    left.extend(method.variables().into_iter().map(|(name, value)| (name, value.detach().copy())));
    left
}

/// Eight steps by all ranks, and eight by one; then the ranks' run again, stopped in its middle and taken up.
fn a_run_of_the_ranks_is_the_run_of_one(mpi: &Arc<dyn Collective>) {
    let here = std::env::temp_dir().join(format!("vertebra-ranks-{}", first_process(mpi.as_ref())));
    let place = |name: &str| here.join(name);
    assert_eq!(train(&place("together"), mpi.clone(), false, None), Outcome::Finished);
    assert_eq!(train(&place("again"), mpi.clone(), false, Some(3)), Outcome::Interrupted);
    assert_eq!(train(&place("again"), mpi.clone(), true, None), Outcome::Finished);
    if mpi.rank() == 0 {
        train(&place("alone"), Arc::new(Alone), false, None);
        let [together, again, alone] = ["together", "again", "alone"].map(|it| losses(&place(it)));
        assert_eq!(together.len(), 8);
        assert_eq!(together, again, "a resumed run of ranks has the same bits");
        for (step, (found, wanted)) in together.iter().zip(&alone).enumerate() {
            // Differences of rounding grow with each step of the optimizer.
            assert!((found / wanted - 1.0).abs() < 1e-3, "step {step}: {found} and {wanted}");
        }
        std::fs::remove_dir_all(&here).unwrap();
    }
    mpi.any(false).unwrap();
}

fn train(
    folder: &Path,
    collective: Arc<dyn Collective>,
    resume: bool,
    stop_after: Option<u64>,
) -> Outcome {
    let recipe = RawRecipe::parse(RECIPE, &[]).unwrap().check().unwrap();
    let stop = AtomicBool::new(false);
    let mut tell = |event: vertebra::pretrain::Event| {
        if let vertebra::pretrain::Event::Step { step, .. } = event
            && Some(step) == stop_after
        {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let job = Job {
        recipe,
        folder: folder.into(),
        resume,
        command: "a test".into(),
        version: "0".into(),
        commit: "0".into(),
        collective,
    };
    pretrain(&job, &mut Watch { tell: &mut tell, stop: &stop }).unwrap()
}

const RECIPE: &str = r#"
epochs = 2
batch = 16
log_every = 1
precision = "fp32"
device = "cpu"
workers = 1
data.train = "world:?size=32&count=64"
views = [{ count = 2, size = 16 }]
backbone = { name = "vit_tiny", image = 16, patch = 8 }
method = { name = "vicreg", projector.widths = [32, 32, 32] }
optimizer = { name = "adamw", lr = 1e-3 }
"#;

fn losses(folder: &Path) -> Vec<f64> {
    let lines = record::read_lines::<JournalLine>(&folder.join("journal.jsonl")).unwrap().values;
    lines.iter().map(|line| line.loss).collect()
}

/// The number of the first rank's process: a name that all ranks know.
fn first_process(mpi: &dyn Collective) -> i64 {
    let mine = i64::from(std::process::id());
    mpi.gather(&Tensor::from_slice(&[mine])).unwrap().int64_value(&[0])
}
