//! What methods with one encoder and one projector for all views are made of.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, nn};

use super::Context;
use crate::error::{Error, Result};
use crate::models::heads::{Mlp, MlpConfig};
use crate::models::{Backbone, BackboneConfig, Mode, named_parameters, named_variables, no_tap};

/// A backbone and a projector over one store of variables.
pub struct Siamese {
    store: nn::VarStore,
    pub backbone: Box<dyn Backbone>,
    pub projector: Mlp,
}

impl Siamese {
    pub fn new(config: &BackboneConfig, channels: i64, head: &MlpConfig, device: Device) -> Self {
        let store = nn::VarStore::new(device);
        let backbone = config.build(&(store.root() / "backbone"), channels);
        let projector = Mlp::new(&(store.root() / "projector"), backbone.width(), head);
        Self { store, backbone, projector }
    }

    /// Each view through the backbone by itself, as the authors of VICReg do: batch norm never mixes views.
    pub fn represent(&self, views: &[Tensor], context: &Context) -> Vec<Tensor> {
        context.autocast(|| {
            let pooled = |view| self.backbone.forward(view, Mode::Train, &mut no_tap).pooled;
            views.iter().map(pooled).collect()
        })
    }

    /// Each representation through the projector, in f32, gathered over the ranks.
    pub fn project(&self, representations: &[Tensor], context: &Context) -> Vec<Tensor> {
        let embeddings: Vec<Tensor> = context.autocast(|| {
            representations.iter().map(|y| self.projector.forward(y, Mode::Train)).collect()
        });
        embeddings.iter().map(|z| context.collective.gather(&z.to_kind(Kind::Float))).collect()
    }

    pub fn variables(&self) -> BTreeMap<String, Tensor> {
        named_variables(&self.store)
    }

    pub fn parameters(&self) -> BTreeMap<String, Tensor> {
        named_parameters(&self.store)
    }
}

/// Refuses heads without layers and plans without exactly two views.
pub fn check(head: &MlpConfig, views: usize) -> Result<()> {
    if head.widths.is_empty() || head.widths.iter().any(|&width| width < 1) {
        return Err(Error::Recipe {
            field: "method.projector.widths".into(),
            problem: format!("expected at least one width, all positive, got {:?}", head.widths),
            hint: None,
        });
    }
    if views != 2 {
        return Err(Error::Recipe {
            field: "views".into(),
            problem: format!("this method compares two views of an image, the plan gives {views}"),
            hint: Some("one `[[views]]` with `count = 2`, or two of them".into()),
        });
    }
    Ok(())
}
