//! Studies: many runs of one plan, each in a folder of its own, and what they say together.
//!
//! A [`Plan`] names variants of a recipe, seeds and axes; each of its cells is one ordinary run. [`run`] does what is left
//! of them, [`table`] reads their records, [`duality`] and [`world_model`] ask of them what a paper claims.

mod cells;
mod compare;
pub mod duality;
mod plan;
pub mod table;
pub mod world_model;

pub use cells::{Attempt, Event, Record, State, Study, Summary, run};
pub use plan::{Axis, Base, Cell, Family, Plan, Point, Variant};
