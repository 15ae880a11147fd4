//! Methods with the piece taken away that keeps them from collapse: the run says which collapse it is, and what to put back.

use std::fs;

use report::record::{self, JournalLine, RunInfo};
use tempfile::tempdir;
use vertebra::recipe::RawRecipe;

use crate::{alone, trained};

#[test]
#[ignore]
fn explore() {
    let _alone = alone();
    let recipe = fs::read_to_string(std::env::var("EXPLORE").unwrap()).unwrap();
    let folder = tempdir().unwrap();
    let recipe = RawRecipe::parse(&recipe, &[]).unwrap().check().unwrap();
    let ended = trained(recipe, folder.path(), false, None);
    let lines = record::read_lines::<JournalLine>(&folder.path().join("journal.jsonl")).unwrap();
    for line in lines.values {
        println!("{:4} {:9.4} {:?}", line.step, line.loss, line.values);
    }
    let info: RunInfo = record::read_json(&folder.path().join("run.json")).unwrap();
    println!("{:?} {}", ended.is_ok(), info.advice.join("\n"));
}
