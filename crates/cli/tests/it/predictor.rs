//! What `probe predictor` refuses.

use crate::program::{Desk, said, vertebra};

#[test]
fn what_is_no_world_model_and_options_of_others_are_refused() {
    let desk = Desk::new();
    let run = desk.finished("run", &["epochs=0.5"]);
    let [train, test] = ["world:?size=32&count=8", "world:?size=32&count=8&split=test"];
    let sources = ["--train", train, "--test", test];
    let probe = |protocol: &str, more: &[&str]| {
        let mut command = vertebra(["probe", protocol, "--device", "cpu"]);
        said(command.arg(&run).args(more))
    };
    let with = |more: &[&str]| probe("predictor", &[&sources, more].concat());
    with(&[]).refused(2, &["has no predictor", "ijepa"]);
    probe("predictor", &["--task", "a", train, test]).refused(2, &["has no predictor"]);
    with(&["runs/other"]).refused(2, &["one world model, got 2"]);
    with(&["--save", "tuned"]).refused(2, &["knows no", "--save"]);
    with(&["--set", "epoch=3"]).refused(2, &["epoch"]);
    with(&["--set", "modes=[\"both\"]"]).refused(2, &["both", "pretrained"]);
    let modes = ["--task", "a", train, test, "--set", "modes=[\"random\"]"];
    probe("predictor", &modes).refused(2, &["modes are for one task"]);
    probe("knn", &["--task", "a", train, test]).refused(2, &["--task is for predictor"]);
    probe("predictor", &["--task", "a", train]).refused(2, &["--task"]);
    probe("predictor", &["--train", train]).refused(2, &["--test"]);
}
