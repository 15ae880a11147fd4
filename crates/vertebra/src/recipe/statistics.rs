//! What the samples of a recipe's images are normalised by.

use std::fmt;

use pixels::plan::Normalize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a recipe asks for [`Statistics::Measured`].
const MEASURED: &str = "measured";

/// Mean and standard deviation of each channel: given in numbers, or still to be measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Statistics {
    Given(Normalize),
    /// Written `normalize = "measured"`: measured on the training images when the run begins, and written in numbers into
    /// the recipe of the run folder.
    Measured,
}

impl Default for Statistics {
    fn default() -> Self {
        Self::Given(Normalize::imagenet())
    }
}

impl Statistics {
    /// The numbers; before they are measured those of an image that fills the range, ½ and ¼ in each channel, which is
    /// enough to check a recipe and to time it. No run trains with them.
    pub fn numbers(&self, channels: usize) -> Normalize {
        match self {
            Self::Given(normalize) => normalize.clone(),
            Self::Measured => Normalize { mean: vec![0.5; channels], std: vec![0.25; channels] },
        }
    }
}

impl Serialize for Statistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(normalize) => normalize.serialize(serializer),
            Self::Measured => serializer.serialize_str(MEASURED),
        }
    }
}

impl<'de> Deserialize<'de> for Statistics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrNumbers)
    }
}

/// Reads the one or the other, so that a mistake in the numbers is named as what it is.
struct WordOrNumbers;

impl<'de> Visitor<'de> for WordOrNumbers {
    type Value = Statistics;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"{MEASURED}\", or `mean` and `std` with a number per channel")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Statistics, E> {
        match word {
            MEASURED => Ok(Statistics::Measured),
            other => Err(E::unknown_variant(other, &[MEASURED])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Statistics, A::Error> {
        Normalize::deserialize(MapAccessDeserializer::new(map)).map(Statistics::Given)
    }
}
