//! linear
use super::{FeatureTable, Outcome};
use crate::error::Result;
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    pub seed: u64,
}
pub fn evaluate(_: &FeatureTable, _: &FeatureTable, _: &str, _: &LinearConfig) -> Result<Outcome> {
    unimplemented!()
}
