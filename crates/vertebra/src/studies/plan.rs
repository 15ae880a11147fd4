//! The plan of a study: which runs it is made of, as typed data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::recipe::{RawRecipe, Recipe, refused};

/// A study as written: variants × seeds, and along each axis its other points.
///
/// The settings of a run are those of the plan, of its variant, of its point on each axis and its seed, in this order, each
/// as `--set` takes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// One line for people.
    #[serde(default)]
    pub title: String,
    pub seeds: Vec<u64>,
    /// Settings of every run.
    #[serde(default)]
    pub set: Vec<String>,
    pub variants: Vec<Variant>,
    /// Each axis is varied alone: the others then stay at their usual point.
    #[serde(default)]
    pub axes: Vec<Axis>,
    pub base: Base,
}

/// The recipe that everything is a change of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Base {
    /// A file, relative to the plan's.
    File(PathBuf),
    Recipe(toml::Table),
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    #[serde(default)]
    pub set: Vec<String>,
    /// For the study of the duality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// What a method pushes apart (Garrido et al. 2023, definition 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Samples: SimCLR, DCL, SCL, VICReg-ctr.
    Sample,
    /// Dimensions: VICReg, Barlow Twins, VICReg-exp.
    Dimension,
}

/// One thing that is varied, such as the batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The name of the point at which the other axes are varied.
    pub usual: String,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// `128`: a number where the axis is to be drawn.
    pub name: String,
    pub set: Vec<String>,
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// `vicreg-s0`, or `vicreg-batch64-s0` beside the usual points. Also the name of its folder.
    pub name: String,
    pub variant: String,
    pub seed: u64,
    /// The axis that is not at its usual point, and the point's name.
    pub moved: Option<(String, String)>,
    pub recipe: Recipe,
}

impl Plan {
    /// Reads a plan; a base that is a file is read too.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// The same from text; `folder` is where a base's path begins.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let mut plan: Self = toml::from_str(text).map_err(|error| refused(&error))?;
        if let Base::File(path) = &plan.base {
            let path = folder.join(path);
            let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
            plan.base = Base::Recipe(toml::from_str(&text).map_err(|error| refused(&error))?);
        }
        Ok(plan)
    }

    /// Every run, checked. The usual points come first, seed by seed, so that a table of all variants is there early; then the others of
    /// each seed.
    pub fn cells(&self) -> Result<Vec<Cell>> {
        self.check()?;
        let mut moves = Vec::new();
        for axis in &self.axes {
            let others = axis.points.iter().filter(|point| point.name != axis.usual);
            moves.extend(others.map(|point| Some((axis, point))));
        }
        let mut cells = Vec::new();
        for moves in [vec![None], moves] {
            for &seed in &self.seeds {
                for moved in &moves {
                    for variant in &self.variants {
                        cells.push(self.cell(variant, *moved, seed)?);
                    }
                }
            }
        }
        let names: BTreeSet<&String> = cells.iter().map(|cell| &cell.name).collect();
        if names.len() < cells.len() {
            return Err(wrong("variants", "two runs would have one name".into()));
        }
        Ok(cells)
    }

    fn cell(&self, variant: &Variant, moved: Option<(&Axis, &Point)>, seed: u64) -> Result<Cell> {
        let mut settings = self.set.clone();
        settings.extend_from_slice(&variant.set);
        for axis in &self.axes {
            let usual = axis.points.iter().find(|point| point.name == axis.usual);
            let here = moved.filter(|(other, _)| other.name == axis.name).map(|(_, point)| point);
            settings.extend(here.or(usual).iter().flat_map(|point| point.set.iter().cloned()));
        }
        settings.push(format!("seed={seed}"));
        let moved = moved.map(|(axis, point)| (axis.name.clone(), point.name.clone()));
        let place = moved.as_ref().map_or(String::new(), |(axis, point)| format!("-{axis}{point}"));
        let name = format!("{}{place}-s{seed}", variant.name);
        let base = match &self.base {
            Base::Recipe(table) => toml::to_string(table).expect("a table is TOML"),
            Base::File(path) => std::fs::read_to_string(path).map_err(Error::file("read", path))?,
        };
        let recipe = RawRecipe::parse(&base, &settings).and_then(RawRecipe::check);
        let recipe = recipe.map_err(|error| in_cell(error, &name))?;
        Ok(Cell { name, variant: variant.name.clone(), seed, moved, recipe })
    }

    fn check(&self) -> Result<()> {
        if self.seeds.is_empty() || self.variants.is_empty() {
            return Err(wrong("seeds, variants", "at least one of each is needed".into()));
        }
        let names = self.variants.iter().map(|it| ("variants", &it.name));
        let names = names.chain(self.axes.iter().map(|it| ("axes", &it.name)));
        let points = self.axes.iter().flat_map(|axis| &axis.points);
        for (field, name) in names.chain(points.map(|it| ("axes.points", &it.name))) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                let wanted = "a folder will have this name: letters, digits, `.`, `_` and `-`";
                return Err(wrong(field, format!("{wanted}, got {name:?}")));
            }
        }
        for axis in &self.axes {
            if !axis.points.iter().any(|point| point.name == axis.usual) {
                let problem = format!("the usual point {:?} is none of its points", axis.usual);
                return Err(wrong(&format!("axes.{}", axis.name), problem));
            }
        }
        Ok(())
    }

    /// The plan as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan of plain fields is TOML")
    }
}

/// A refused recipe, with the run that it would be.
fn in_cell(error: Error, cell: &str) -> Error {
    match error {
        Error::Recipe { field, problem, hint } => {
            Error::Recipe { field: format!("of {cell}: {field}"), problem, hint }
        }
        Error::Usage { problem, hint } => {
            Error::Usage { problem: format!("{cell}: {problem}"), hint }
        }
        other => other,
    }
}

fn wrong(field: &str, problem: String) -> Error {
    Error::Recipe { field: format!("of the study: {field}"), problem, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plans_that_are_shipped_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/studies");
        for (name, runs) in [("family.toml", 2 * 3), ("duality.toml", 7 * 5 * 3)] {
            assert!(
                Plan::read(&folder.join(name)).unwrap().cells().unwrap().len() >= runs,
                "{name}"
            );
        }
    }
}
