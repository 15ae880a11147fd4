//! Folders of frames as videos.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::channels::decoded;
use super::folder::{Files, Listing, list, read_into};
use super::uri::Uri;
use super::{Fingerprint, Motion, Source, SourceError, Stored, Truth};

/// The frames of videos: each folder that holds images is one, its frames in the order of their names (numbers are to
/// have leading zeros). A sample is a frame, with a later frame of the same video in [`Truth::motion`] and no flow;
/// the last frames, which have no later one, are no samples. The frames of a video are a group.
pub struct Frames {
    root: PathBuf,
    files: Files,
    /// The number of the frame and of the later one.
    pairs: Vec<[u32; 2]>,
    step: usize,
    problems: Vec<SourceError>,
    fingerprint: OnceLock<String>,
}

impl Frames {
    /// `step` is how many frames later the next one is, 1 or more.
    pub fn open(root: PathBuf, step: usize) -> Result<Self, SourceError> {
        let error = |problem: String| SourceError::new(root.to_string_lossy(), problem);
        if step == 0 {
            return Err(error("`step` is 1 or more, found 0".into()));
        }
        let Listing { files, mut problems, .. } = list(&root)?;
        let mut videos = vec![Vec::new(); files.folders().count()];
        for index in 0..files.len() {
            videos[files.folder(index)].push(index as u32);
        }
        let mut pairs = Vec::new();
        for (video, folder) in videos.iter().zip(files.folders()) {
            if video.len() <= step {
                let name = root.join(String::from_utf8_lossy(folder).as_ref());
                let problem = format!("{} frames are too few for a step of {step}", video.len());
                problems.push(SourceError::new(name.to_string_lossy(), problem));
            }
            pairs.extend(video.iter().zip(video.iter().skip(step)).map(|(a, b)| [*a, *b]));
        }
        if pairs.is_empty() {
            let problem = format!("no folder below has more than {step} frames");
            return Err(
                error(problem).hint("frames are images in folders, one folder for each video")
            );
        }
        Ok(Self { root, files, pairs, step, problems, fingerprint: OnceLock::new() })
    }

    pub(super) fn of_uri(uri: &mut Uri) -> Result<Self, SourceError> {
        let step = uri.number("step")?.unwrap_or(1);
        Self::open(uri.path.clone(), step)
    }

    fn path(&self, index: usize, which: usize) -> PathBuf {
        self.files.path(self.pairs[index][which] as usize)
    }
}

impl Source for Frames {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn fetch(&self, index: usize, buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        read_into(&self.root.join(self.path(index, 0)), buffer)?;
        Ok(Stored::File)
    }

    fn truth(&self, index: usize) -> Result<Truth, SourceError> {
        let next = decoded(&self.root.join(self.path(index, 1)), &mut Vec::new())?;
        let motion = Some(Box::new(Motion { next, flow: None }));
        Ok(Truth { motion, group: self.group(index), ..Truth::default() })
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        self.path(index, 0).to_string_lossy().into_owned()
    }

    fn group(&self, index: usize) -> Option<u64> {
        Some(self.files.folder(self.pairs[index][0] as usize) as u64)
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        let text = self.fingerprint.get_or_init(|| {
            let mut fingerprint = Fingerprint::new();
            for index in 0..self.files.len() {
                let path = self.files.path(index);
                fingerprint.bytes(path.as_os_str().as_encoded_bytes());
                fingerprint.file_at(&self.root.join(path));
            }
            format!("frames {} {}", self.step, fingerprint.text())
        });
        text.clone()
    }

    fn problems(&self) -> &[SourceError] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use crate::source::{open, real_data};

    #[test]
    fn a_sample_is_a_frame_and_a_later_one_of_its_video() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, grey) in [("a/1", 1), ("a/2", 2), ("a/3", 3), ("b/1", 4), ("b/2", 5), ("c/1", 6)]
        {
            let path = folder.path().join(format!("{name}.pgm"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, [b"P5 1 1 255\n", &[grey][..]].concat()).expect("written");
        }
        let uri = format!("frames:{}", folder.path().display());
        let greys = |step: usize| {
            let source = open(&format!("{uri}?step={step}")).expect("a source");
            let pair = |index| {
                let sample = source.get(index).expect("a sample");
                let next = sample.truth.motion.expect("motion").next;
                [sample.image, next].map(|image| image.as_u8().expect("8 bits")[0])
            };
            (0..source.len()).map(pair).collect::<Vec<_>>()
        };
        assert_eq!((greys(1), greys(2)), (vec![[1, 2], [2, 3], [4, 5]], vec![[1, 3]]));
        let source = open(&uri).expect("a source");
        assert!(source.group(0) == source.group(1) && source.group(1) != source.group(2));
        assert_eq!(source.problems().len(), 1);
        assert!(open(&format!("{uri}?step=0")).is_err() && open(&format!("{uri}?step=3")).is_err());
    }

    #[test]
    fn real_videos_are_read() {
        let Some(path) = real_data("davis-3seq") else { return };
        let source =
            open(&format!("frames:{}/DAVIS/JPEGImages/480p", path.display())).expect("a source");
        // 50, 40 and 40 frames.
        assert_eq!((source.len(), source.problems().len()), (127, 0));
        assert_eq!(source.name(48), "blackswan/00048.jpg");
        let sample = source.get(126).expect("a sample");
        assert_eq!(
            (sample.image.width, sample.truth.motion.expect("motion").next.width),
            (854, 854)
        );
    }
}
