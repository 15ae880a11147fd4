//! Many names in one piece of memory.

/// Strings of bytes by number. A name takes its bytes and eight more, so that a million files fit into 30 MB.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    pub(super) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Panics for `index >= len()`.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// The name as text, with what is not UTF-8 replaced.
    pub(super) fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(self.get(index)).into_owned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        let mut names = Names::default();
        let all: [&[u8]; 4] = [b"a.png", b"", b"\xff\xfe", b"b/c.png"];
        for name in all {
            names.push(name);
        }
        assert_eq!(names.iter().collect::<Vec<_>>(), all);
        assert_eq!((names.len(), names.text(3)), (4, "b/c.png".to_owned()));
    }
}
