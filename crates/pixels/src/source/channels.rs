//! Images whose channels are files of their own, as microscopes write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::decode;
use crate::image::{Image, Samples};

use super::folder::{Folder, read_into};
use super::names::Names;
use super::{Source, SourceError, Stored};

/// A folder in which the files that share a name up to a suffix are the channels of one image, as `01_D.tif`, `01_F.tif`
/// and `01_R.tif` with the suffixes `_D`, `_F` and `_R`.
pub(super) struct Channels {
    folder: Folder,
    /// For each sample its files in the folder, one per channel.
    files: Vec<u32>,
    names: Names,
    count: usize,
    suffixes: String,
    problems: Vec<SourceError>,
}

impl Channels {
    /// Files without any of the suffixes, and samples that lack a channel, are left out and listed as problems.
    pub(super) fn of_folder(mut folder: Folder, suffixes: &[String]) -> Result<Self, SourceError> {
        let mut samples: BTreeMap<(usize, &[u8]), Vec<Option<u32>>> = BTreeMap::new();
        let files = folder.files();
        let root = folder.root().to_string_lossy().into_owned();
        let (mut problems, mut strays) = (Vec::new(), Vec::new());
        for index in 0..files.len() {
            let stem = stem(files.name(index));
            let Some((channel, start)) = channel(stem, suffixes) else {
                strays.push(index);
                continue;
            };
            let places = samples.entry((files.folder(index), start));
            let place = &mut places.or_insert_with(|| vec![None; suffixes.len()])[channel];
            if place.is_some() {
                let problem = format!("a second file for the channel `{}`", suffixes[channel]);
                problems.push(SourceError::new(folder.name(index), problem));
            }
            place.get_or_insert(index as u32);
        }
        if let Some(first) = strays.first() {
            let problem = format!("{} files end in none of {}", strays.len(), suffixes.join(", "));
            problems.push(SourceError::new(folder.name(*first), problem));
        }
        let (mut names, mut chosen) = (Names::default(), Vec::new());
        for ((_, start), channels) in &samples {
            let first = channels.iter().flatten().next().map_or(0, |index| *index as usize);
            let path = folder.files().path(first);
            let name = path.with_file_name(String::from_utf8_lossy(start).as_ref());
            let name = name.to_string_lossy();
            if let Some(lacking) = channels.iter().position(Option::is_none) {
                let problem = format!("there is no file for the channel `{}`", suffixes[lacking]);
                problems.push(SourceError::new(name, problem));
            } else {
                names.push(name.as_bytes());
                chosen.extend(channels.iter().flatten());
            }
        }
        if names.len() == 0 {
            let problem = format!("no file has all of the suffixes {}", suffixes.join(", "));
            let example =
                format!("as in ?channels=_d0,_d1,_d2; the first file is {}", folder.name(0));
            return Err(SourceError::new(root, problem).hint(example));
        }
        problems.extend(folder.take_problems());
        let (count, suffixes) = (suffixes.len(), suffixes.join(","));
        Ok(Self { files: chosen, names, count, suffixes, problems, folder })
    }

    fn files(&self, index: usize) -> &[u32] {
        &self.files[index * self.count..][..self.count]
    }
}

impl Source for Channels {
    fn len(&self) -> usize {
        self.names.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        let paths = self.files(index).iter().map(|file| self.folder.path(*file as usize));
        read_stack(&self.name(index), paths, buffer).map(Stored::Pixels)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.folder.label(*self.files(index).first()? as usize)
    }

    fn name(&self, index: usize) -> String {
        self.names.text(index)
    }

    fn classes(&self) -> &[String] {
        self.folder.classes()
    }

    fn fingerprint(&self) -> String {
        format!("{} channels {}", self.folder.fingerprint(), self.suffixes)
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

/// One image whose channels are the given single-channel files, all of one size and depth.
pub(super) fn read_stack(
    name: &str,
    paths: impl Iterator<Item = PathBuf>,
    buffer: &mut Vec<u8>,
) -> Result<Image, SourceError> {
    let mut planes = Vec::new();
    for path in paths {
        planes.push((decoded(&path, buffer)?, path));
    }
    let planes: Vec<(&Image, &Path)> =
        planes.iter().map(|(image, path)| (image, path.as_path())).collect();
    let Some((first, others)) = planes.split_first() else {
        return Err(SourceError::new(name, "one channel or more is wanted, found none"));
    };
    let (width, height) = (first.0.width, first.0.height);
    for (image, path) in &planes {
        let same_depth = image.as_u8().is_some() == first.0.as_u8().is_some();
        if image.channels != 1 || !same_depth || (image.width, image.height) != (width, height) {
            let wanted = Image { channels: 1, ..first.0.clone() };
            let problem = format!("{wanted:?} is wanted for this channel, found {image:?}");
            return Err(SourceError::new(path.to_string_lossy(), problem)
                .hint("the files of one sample are single channels of one size and depth"));
        }
    }
    let channels = others.len() + 1;
    let samples = match &first.0.samples {
        Samples::U8(_) => Samples::U8(interleaved(&planes, |samples| match samples {
            Samples::U8(samples) => samples,
            Samples::U16(_) => &[],
        })),
        Samples::U16(_) => Samples::U16(interleaved(&planes, |samples| match samples {
            Samples::U16(samples) => samples,
            Samples::U8(_) => &[],
        })),
    };
    Ok(Image { width, height, channels, samples })
}

/// The image in a file.
pub(super) fn decoded(path: &Path, buffer: &mut Vec<u8>) -> Result<Image, SourceError> {
    read_into(path, buffer)?;
    decode::decode(buffer).map_err(|error| SourceError::undecodable(path.to_string_lossy(), error))
}

fn interleaved<T: Copy>(planes: &[(&Image, &Path)], samples: impl Fn(&Samples) -> &[T]) -> Vec<T> {
    let planes: Vec<&[T]> = planes.iter().map(|(image, _)| samples(&image.samples)).collect();
    let pixels = planes.iter().map(|plane| plane.len()).min().unwrap_or(0);
    (0..pixels).flat_map(|pixel| planes.iter().map(move |plane| plane[pixel])).collect()
}

/// A file's name without its extension.
fn stem(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
    &name[..dot]
}

/// Which suffix ends the stem, the longest that does, and what is before it.
fn channel<'a>(stem: &'a [u8], suffixes: &[String]) -> Option<(usize, &'a [u8])> {
    let ends = suffixes.iter().enumerate();
    let fitting = ends.filter_map(|(i, end)| Some((i, stem.strip_suffix(end.as_bytes())?)));
    fitting.min_by_key(|(_, start)| start.len())
}

#[cfg(test)]
mod tests {
    use crate::source::{open, real_data};

    #[test]
    fn files_with_one_stem_are_the_channels_of_one_image() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, picture) in [
            ("a/1_r.pgm", "P5 2 1 255\nab"),
            ("a/1_g.pgm", "P5 2 1 255\ncd"),
            ("b/1_g.pgm", "P5 2 1 255\nef"),
            ("b/1_r.pgm", "P5 1 1 255\ng"),
            ("b/2_r.pgm", "P5 1 1 255\ng"),
            ("b/other.pgm", "P5 1 1 255\ng"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, picture).expect("written");
        }
        let uri = format!("folder:{}?channels=_r,_g", folder.path().display());
        let source = open(&uri).expect("a source");
        assert_eq!((source.len(), source.name(0), source.label(1)), (2, "a/1".into(), Some(1)));
        let image = source.get(0).expect("a sample").image;
        assert_eq!((image.channels, image.as_u8()), (2, Some(&b"acbd"[..])));
        let error = source.get(1).expect_err("another size");
        assert!(error.problem.contains("2×1") || error.problem.contains("1×1"), "{error}");
        let problems: Vec<String> = source.problems().iter().map(ToString::to_string).collect();
        assert!(problems[0].contains("other.pgm") && problems[1].contains("`_g`"), "{problems:?}");
        assert!(open(&uri.replace("_r,_g", "_x,_y")).is_err());
    }

    #[test]
    fn real_microscopes_files_are_stacked() {
        let Some(path) = real_data("cell-multichannel") else { return };
        for (folder, suffixes, count, size) in
            [("human-3ch", "d0,d1,d2", 1, (512, 512)), ("fly-3ch", "_D,_F,_R", 2, (1000, 1006))]
        {
            let uri = format!("folder:{}?channels={suffixes}", path.join(folder).display());
            let source = open(&uri).expect("a source");
            assert_eq!((source.len(), source.problems().len()), (count, 0));
            for index in 0..count {
                let image = source.get(index).expect("a sample").image;
                assert_eq!((image.channels, (image.width, image.height)), (3, size));
            }
        }
    }
}
