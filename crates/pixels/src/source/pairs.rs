//! Pairs of frames with the optical flow between them.

mod file;
mod layout;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use file::Field;

use super::channels::decoded;
use super::folder::{Files, list, read_into};
use super::table::group_number;
use super::uri::Uri;
use super::{Fingerprint, Flow, Motion, Source, SourceError, Stored, Truth};

/// Frames with the next frame and the flow to it in [`Truth::motion`], in the order of the flow files' paths.
///
/// The layouts of Middlebury, KITTI, Sintel and FlyingChairs (both versions) are known, in any mixture below the folder:
/// each flow file (`.flo`, `.pfm`, or a PNG in `flow_occ`) has its frames where its set keeps them. Where the set says
/// which pixels are hidden, [`Flow::occluded`] has it. Frames of one scene of Sintel are a group.
pub struct Pairs {
    root: PathBuf,
    samples: Vec<Pair>,
    problems: Vec<SourceError>,
    fingerprint: OnceLock<String>,
}

/// Paths relative to the root.
struct Pair {
    flow: String,
    first: String,
    next: String,
    occluded: Option<String>,
    invalid: Option<String>,
    group: Option<u64>,
}

impl Pairs {
    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let regions = uri.choice("flow", &["occ", "noc"])?.unwrap_or(0);
        let pass = uri.choice("pass", &["clean", "final"])?.unwrap_or(0);
        Self::open(uri.path.clone(), ["flow_occ", "flow_noc"][regions], ["clean", "final"][pass])
    }

    /// `regions` is which of KITTI's folders of flow is taken, `pass` which of Sintel's renderings.
    fn open(root: PathBuf, regions: &str, pass: &str) -> Result<Self, SourceError> {
        let images = list(&root)?;
        let frames = by_stem(&images.files);
        let mut flows = flow_files(&root)?;
        flows.extend(frames.values().filter(|path| in_folder(path, regions)).cloned());
        flows.sort();
        let (mut pairs, mut problems) = (Vec::new(), images.problems);
        for flow in flows {
            let there = |stem: &String| frames.get(stem).cloned();
            let found = layout::places(&flow).into_iter().filter_map(|place| {
                let (first, next) = (there(&place.first)?, there(&place.next)?);
                let occluded = place.occluded.as_ref().and_then(there);
                let invalid = place.invalid.as_ref().and_then(there);
                let group = in_folder(&first, "clean") || in_folder(&first, "final");
                let scene = first.rsplit_once('/').map_or("", |(scene, _)| scene);
                let group = group.then(|| group_number(scene));
                Some(Pair { flow: flow.clone(), first, next, occluded, invalid, group })
            });
            let mut found: Vec<Pair> = found.collect();
            // The rendering that is asked for goes before the other.
            found.sort_by_key(|pair| !in_folder(&pair.first, pass));
            match found.into_iter().next() {
                Some(pair) => pairs.push(pair),
                None => problems.push(SourceError::new(flow, "no frames were found for this flow")),
            }
        }
        if pairs.is_empty() {
            let also = problems.first().map_or_else(String::new, |first| format!(" ({first})"));
            let problem = format!("no flow file with its two frames{also}");
            return Err(SourceError::new(root.to_string_lossy(), problem)
                .hint("for videos without flow write frames:PATH"));
        }
        Ok(Self { root, samples: pairs, problems, fingerprint: OnceLock::new() })
    }

    fn flow(&self, pair: &Pair) -> Result<Field, SourceError> {
        let path = self.root.join(&pair.flow);
        let mut bytes = Vec::new();
        read_into(&path, &mut bytes)?;
        file::read(&bytes).map_err(|problem| SourceError::new(path.to_string_lossy(), problem))
    }

    /// Where an image beside the flow is not black.
    fn marked(&self, path: &str, field: &Field) -> Result<Vec<bool>, SourceError> {
        let path = self.root.join(path);
        let image = decoded(&path, &mut Vec::new())?;
        same_size(&path, [field.width, field.height], [image.width, image.height])?;
        let channels = image.channels;
        let image = image.into_u8();
        let samples = image.as_u8().unwrap_or_default();
        Ok(samples.chunks_exact(channels).map(|pixel| pixel.iter().any(|s| *s > 0)).collect())
    }

    fn motion(&self, pair: &Pair) -> Result<Motion, SourceError> {
        let path = self.root.join(&pair.next);
        let next = decoded(&path, &mut Vec::new())?;
        let mut field = self.flow(pair)?;
        same_size(&path, [field.width, field.height], [next.width, next.height])?;
        if let Some(path) = &pair.invalid {
            let invalid = self.marked(path, &field)?;
            let Flow { vectors, valid, .. } = &mut field.flow;
            for (place, _) in invalid.iter().enumerate().filter(|(_, invalid)| **invalid) {
                (vectors[place], valid[place]) = ([0.0; 2], false);
            }
        }
        let occluded = pair.occluded.as_ref().map(|path| self.marked(path, &field));
        field.flow.occluded = occluded.transpose()?;
        Ok(Motion { next, flow: Some(field.flow) })
    }
}

impl Source for Pairs {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        read_into(&self.root.join(&self.samples[index].first), buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let pair = &self.samples[index];
        let motion = Some(Box::new(self.motion(pair)?));
        Ok(Truth { motion, group: pair.group, ..Truth::default() })
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        self.samples[index].flow.clone()
    }

    fn group(&self, index: usize) -> Option<u64> {
        self.samples[index].group
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        let text = self.fingerprint.get_or_init(|| {
            let mut fingerprint = Fingerprint::new();
            for pair in &self.samples {
                for path in [&pair.flow, &pair.first, &pair.next] {
                    fingerprint.bytes(path.as_bytes());
                    fingerprint.file_at(&self.root.join(path));
                }
            }
            format!("pairs {}", fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

fn same_size(path: &Path, wanted: [usize; 2], found: [usize; 2]) -> Result<(), SourceError> {
    if wanted == found {
        return Ok(());
    }
    let size = |[width, height]: [usize; 2]| format!("{width}×{height}");
    let problem = format!("the flow has {} vectors, the image {}", size(wanted), size(found));
    Err(SourceError::new(path.to_string_lossy(), problem))
}

/// Images by their paths without the extensions. Names that are not UTF-8 are no set's.
fn by_stem(files: &Files) -> BTreeMap<String, String> {
    let paths =
        (0..files.len()).filter_map(|index| files.path(index).into_os_string().into_string().ok());
    paths.filter_map(|path| Some((path.rsplit_once('.')?.0.to_owned(), path))).collect()
}

fn flow_files(root: &Path) -> Result<Vec<String>, SourceError> {
    let files = super::folder::list_ending(root, &["flo", "pfm"])?.files;
    let paths = (0..files.len()).map(|index| files.path(index));
    Ok(paths.filter_map(|path| path.into_os_string().into_string().ok()).collect())
}

fn in_folder(path: &str, folder: &str) -> bool {
    path.split('/').any(|part| part == folder)
}

/// For fuzzing: reads the bytes as a flow file.
pub(super) fn fuzz(bytes: &[u8]) {
    if let Ok(Field { width, height, flow }) = file::read(bytes) {
        assert_eq!([flow.vectors.len(), flow.valid.len()], [width * height; 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{open, real_data};

    /// Mean absolute difference of grey between the frame and the next one, looked up by the flow or in place.
    fn difference(source: &dyn Source, index: usize, moved: bool) -> f64 {
        let sample = source.get(index).expect("a sample");
        let motion = sample.truth.motion.expect("motion");
        let flow = motion.flow.expect("a flow");
        let grey = |image: crate::image::Image| -> Vec<f64> {
            let image = image.into_rgb().expect("colour");
            let samples = image.as_u8().expect("8 bits").as_chunks::<3>().0;
            samples.iter().map(|p| p.iter().map(|s| f64::from(*s)).sum::<f64>() / 3.0).collect()
        };
        let (width, height) = (sample.image.width as f32, sample.image.height as f32);
        let (first, next) = (grey(sample.image), grey(motion.next));
        let (mut sum, mut count) = (0.0, 0.0);
        for at in (0..first.len()).filter(|at| flow.valid[*at]) {
            let [dx, dy] = if moved { flow.vectors[at] } else { [0.0; 2] };
            let x = (at % width as usize) as f32 + dx;
            let y = (at / width as usize) as f32 + dy;
            if x >= 0.0 && y >= 0.0 && x.round() < width && y.round() < height {
                let there = y.round() as usize * width as usize + x.round() as usize;
                sum += (first[at] - next[there]).abs();
                count += 1.0;
            }
        }
        sum / count
    }

    #[test]
    fn real_pairs_of_four_sets_belong_to_their_flow() {
        let Some(path) = real_data("flow") else { return };
        let source = open(&format!("pairs:{}", path.display())).expect("a source");
        let names: Vec<String> = (0..source.len()).map(|i| source.name(i)).collect();
        assert_eq!(
            names,
            [
                "flyingchairs/data/00001_flow.flo",
                "kitti/training/flow_occ/000000_10.png",
                "middlebury/other-gt-flow/RubberWhale/flow10.flo",
                "sintel/training/flow/alley_1/frame_0001.flo",
                "tiny-50x50/0000000-flow_01.flo",
                "tiny-50x50/0000000-flow_10.flo",
                "tiny-50x50/00001_flow.flo",
            ]
        );
        for index in [0, 1, 2, 3, 6] {
            let (still, moved) =
                (difference(&*source, index, false), difference(&*source, index, true));
            // The pack's own check, with bilinear look-up, finds 0.32 to 0.66.
            assert!(moved < 0.75 * still, "{}: {still} {moved}", names[index]);
        }
        let flow =
            |index| source.truth(index).expect("truth").motion.expect("motion").flow.expect("flow");
        let share = |index| {
            let valid = flow(index).valid;
            valid.iter().filter(|valid| **valid).count() as f64 / valid.len() as f64
        };
        assert!(
            (share(1) - 0.162).abs() < 1e-3 && (share(2) - 0.984).abs() < 1e-3,
            "{} {}",
            share(1),
            share(2)
        );
        assert!(flow(4).occluded.is_some() && flow(6).occluded.is_none());
        assert!(source.group(3).is_some() && source.group(0).is_none());
        // The weights of the tiny pairs are files of one channel: not flow, and no frames fit their names.
        assert_eq!(source.problems().len(), 2);
    }

    #[test]
    fn frames_of_another_size_than_their_flow_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [
            ("1_img1.ppm", &b"P6 1 1 255\nabc"[..]),
            ("1_img2.ppm", b"P6 2 1 255\nabcabc"),
            ("1_flow.flo", b"PIEH\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"),
            ("2_flow.flo", b""),
        ] {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let source = open(&format!("pairs:{}", folder.path().display())).expect("a source");
        let error = source.truth(0).expect_err("an error");
        assert!(error.problem.contains("1×1 vectors, the image 2×1"), "{error}");
        assert!(source.problems()[0].name.contains("2_flow"));
    }
}
