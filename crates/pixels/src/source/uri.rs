//! The parts of a source's URI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SourceError;

/// What stands before the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    Cifar,
    Idx,
    Tar,
    Csv,
    JsonLines,
    Coco,
    Voc,
    Pairs,
    Frames,
    Parquet,
    World,
}

/// A parsed URI. Each reader takes the options that it knows; [`Uri::finish`] refuses what is left.
pub(crate) struct Uri {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    text: String,
    options: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

/// Every kind by its name, in the order in which hints list them.
const KINDS: [(&str, Kind); 12] = [
    ("folder", Kind::Folder),
    ("cifar", Kind::Cifar),
    ("idx", Kind::Idx),
    ("tar", Kind::Tar),
    ("csv", Kind::Csv),
    ("jsonl", Kind::JsonLines),
    ("coco", Kind::Coco),
    ("voc", Kind::Voc),
    ("pairs", Kind::Pairs),
    ("frames", Kind::Frames),
    ("parquet", Kind::Parquet),
    ("world", Kind::World),
];

impl Kind {
    fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }

    fn hint() -> String {
        let names: Vec<String> = KINDS.iter().map(|(name, _)| format!("{name}:")).collect();
        format!("known kinds: {}; a bare path is a folder", names.join(", "))
    }
}

impl Uri {
    /// A text that is an existing path is that path, whatever colons and question marks it has.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        let uri = |kind, path: &str, options| {
            let (path, text) = (PathBuf::from(path), text.to_owned());
            Self { kind, path, text, options, known: Vec::new() }
        };
        if text.is_empty() {
            return Err(SourceError::new("source", "a path or a URI is wanted, nothing is given"));
        }
        if Path::new(text).exists() {
            return Ok(uri(Kind::Folder, text, BTreeMap::new()));
        }
        let (kind, rest) = match text.split_once(':') {
            Some((name, rest)) if !name.contains(['/', '?']) => {
                let kind = Kind::named(name).ok_or_else(|| {
                    SourceError::new(text, format!("there is no kind of source named `{name}`"))
                        .hint(Kind::hint())
                })?;
                (kind, rest)
            }
            _ => (Kind::Folder, text),
        };
        if kind != Kind::World && Path::new(rest).exists() {
            return Ok(uri(kind, rest, BTreeMap::new()));
        }
        let (path, query) = rest.rsplit_once('?').unwrap_or((rest, ""));
        if path.is_empty() != (kind == Kind::World) {
            let problem = if path.is_empty() { "a path is wanted" } else { "no path is wanted" };
            return Err(SourceError::new(text, problem).hint(
                "as in folder:photos, cifar:cifar-10-batches-bin, world:?size=64&count=5000",
            ));
        }
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                SourceError::new(text, format!("an option is `name=value`, found `{pair}`"))
            })?;
            if options.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(SourceError::new(text, format!("the option `{key}` is given twice")));
            }
        }
        Ok(uri(kind, path, options))
    }

    /// An option's text, `None` when it is not given.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.options.remove(name)
    }

    /// An option that is a whole number.
    pub(crate) fn number<N: std::str::FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<N>, SourceError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || self.wrong(name, &text, "a whole number");
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// An option that is one of a few words, as its place among them.
    pub(crate) fn choice(
        &mut self,
        name: &'static str,
        words: &[&str],
    ) -> Result<Option<usize>, SourceError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let place = words.iter().position(|word| *word == text);
        place.map(Some).ok_or_else(|| self.wrong(name, &text, &words.join(" or ")))
    }

    /// An option that is words with commas between them, each a different one.
    pub(crate) fn list(&mut self, name: &'static str) -> Result<Option<Vec<String>>, SourceError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        let different: std::collections::BTreeSet<&String> = words.iter().collect();
        if words.iter().any(String::is_empty) || different.len() < words.len() {
            return Err(self.wrong(name, &text, "different words with commas between them"));
        }
        Ok(Some(words))
    }

    /// `fraction=LOW-HIGH` with 0 ≤ LOW < HIGH ≤ 1.
    pub(crate) fn fraction(&mut self) -> Result<Option<[f64; 2]>, SourceError> {
        let Some(text) = self.text("fraction") else { return Ok(None) };
        let range = text.split_once('-').and_then(|(low, high)| {
            let (low, high): (f64, f64) = (low.parse().ok()?, high.parse().ok()?);
            (0.0 <= low && low < high && high <= 1.0).then_some([low, high])
        });
        let wanted = "a range within 0-1, as in 0-0.8";
        range.map(Some).ok_or_else(|| self.wrong("fraction", &text, wanted))
    }

    /// An error when an option was given that no reader asked for.
    pub(crate) fn finish(&self) -> Result<(), SourceError> {
        let Some(unknown) = self.options.keys().next() else { return Ok(()) };
        Err(SourceError::new(&self.text, format!("there is no option `{unknown}` here"))
            .hint(format!("known options: {}", self.known.join(", "))))
    }

    fn wrong(&self, name: &str, found: &str, wanted: &str) -> SourceError {
        SourceError::new(&self.text, format!("`{name}` is {wanted}, found `{found}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open;

    fn problem(uri: &str) -> (String, String) {
        let Err(error) = open(uri) else { panic!("{uri} was opened") };
        (error.problem, error.hint.unwrap_or_default())
    }

    #[test]
    fn an_unknown_kind_or_option_is_named_with_the_known_ones() {
        let (problem_text, hint) = problem("webdataset:x");
        assert!(problem_text.contains("`webdataset`") && hint.contains("cifar:"));
        let (problem_text, hint) = problem("world:?sise=64");
        assert!(problem_text.contains("`sise`") && hint.contains("size") && hint.contains("limit"));
    }

    #[test]
    fn a_bad_value_says_what_is_wanted() {
        assert!(problem("world:?size=big").0.contains("whole number, found `big`"));
        assert!(problem("world:?fraction=0.8-0.2").0.contains("0-0.8"));
        assert!(problem("world:?split=trian").0.contains("train or"));
        assert!(problem("world:?size").0.contains("name=value"));
        assert!(problem("world:64").0.contains("no path"));
        assert!(problem("cifar:?split=test").0.contains("a path"));
        assert!(problem("world:?limit=0").0.contains("no sample"));
    }

    #[test]
    fn a_path_with_a_question_mark_or_a_colon_is_a_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join("a:b?c=d");
        std::fs::create_dir(&odd).expect("a folder");
        let uri = Uri::parse(odd.to_str().expect("text")).expect("a path");
        assert_eq!((uri.kind, uri.path), (Kind::Folder, odd));
    }
}
