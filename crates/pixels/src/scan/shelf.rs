//! Images in memory, for tests.

use crate::image::Image;
use crate::source::{Source, SourceError, Stored};

/// Images with or without labels; `None` cannot be read.
pub(crate) struct Shelf {
    images: Vec<Option<Image>>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

impl Shelf {
    pub fn of(images: Vec<Option<Image>>) -> Self {
        let labels = vec![None; images.len()];
        Self { images, labels, classes: Vec::new() }
    }

    /// Images of the classes "cat" (0) and "dog" (1).
    pub fn labelled(images: Vec<(Image, u32)>) -> Self {
        let (images, labels) =
            images.into_iter().map(|(image, label)| (Some(image), Some(label))).unzip();
        Self { images, labels, classes: vec!["cat".into(), "dog".into()] }
    }
}

impl Source for Shelf {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let image = self.images[index].clone();
        image.map(Stored::Pixels).ok_or_else(|| SourceError::new(self.name(index), "broken"))
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fingerprint(&self) -> String {
        String::new()
    }
}
