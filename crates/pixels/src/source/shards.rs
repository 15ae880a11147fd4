//! One path that means many files: a folder, a pattern with braces, several of these.

use std::fs;
use std::path::{Path, PathBuf};

use super::SourceError;

/// A pattern that means more files than this is a mistake.
const MOST_FILES: usize = 100_000;

/// The files that `path` names, in order: a file is itself, a folder its files that end in `extension` (by name),
/// `train-{000..012}.tar` a range and `{a,b}.tar` a choice, and `::` stands between several. Of a folder, `split`
/// takes the sub-folder of that name, or else the files whose names begin with it.
pub(super) fn expand(
    path: &Path,
    extension: &str,
    split: Option<&str>,
) -> Result<Vec<PathBuf>, SourceError> {
    // A name that is not UTF-8 is nobody's pattern.
    let patterns: Vec<PathBuf> = match path.to_str() {
        Some(text) if !path.exists() => {
            let mut names = Vec::new();
            for part in text.split("::") {
                names.extend(braces(part).map_err(|problem| SourceError::new(text, problem))?);
            }
            names.into_iter().map(PathBuf::from).collect()
        }
        _ => vec![path.to_owned()],
    };
    let mut files = Vec::new();
    for path in patterns {
        if path.is_dir() {
            files.extend(folder(&path, extension, split)?);
        } else if path.exists() {
            files.push(path);
        } else {
            let error = SourceError::new(path.to_string_lossy(), "there is no such file or folder");
            return Err(error.hint(format!(
                "as in shards, train.{extension}, train-{{000..012}}.{extension} or a.{extension}::b.{extension}"
            )));
        }
    }
    Ok(files)
}

fn folder(
    folder: &Path,
    extension: &str,
    split: Option<&str>,
) -> Result<Vec<PathBuf>, SourceError> {
    let below = split.map(|split| folder.join(split)).filter(|below| below.is_dir());
    let (folder, start) = match &below {
        Some(below) => (below.as_path(), ""),
        None => (folder, split.unwrap_or_default()),
    };
    let error = |problem: String| SourceError::new(folder.to_string_lossy(), problem);
    let listing = fs::read_dir(folder).map_err(|e| error(e.to_string()))?;
    let mut files: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let end = path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
        end && name.starts_with(start) && !name.starts_with('.')
    });
    files.sort();
    if files.is_empty() {
        let which =
            if start.is_empty() { String::new() } else { format!(" and begins with `{start}`") };
        return Err(error(format!("no file's name ends in .{extension}{which}")));
    }
    Ok(files)
}

/// The names that a pattern means; a pattern without braces is its own name.
fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{{` without `}}` in the pattern `{pattern}`"))?;
        let choices = choices(inside)?;
        if names.len() * choices.len() > MOST_FILES {
            return Err(format!("the pattern `{pattern}` means more than {MOST_FILES} files"));
        }
        let longer = |name: &String| -> Vec<String> {
            choices.iter().map(|choice| format!("{name}{before}{choice}")).collect()
        };
        names = names.iter().flat_map(longer).collect();
        rest = after;
    }
    Ok(names.into_iter().map(|name| name + rest).collect())
}

/// `a,b,c` or `000..012`; the numbers have as many digits as the first.
fn choices(inside: &str) -> Result<Vec<String>, String> {
    let Some((low, high)) = inside.split_once("..") else {
        return Ok(inside.split(',').map(str::to_owned).collect());
    };
    let wrong = || format!("a range is LOW..HIGH, as in 000..012, found `{inside}`");
    let (first, last): (u64, u64) =
        (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if first > last || last - first >= MOST_FILES as u64 {
        return Err(wrong());
    }
    let digits = low.len();
    Ok((first..=last).map(|number| format!("{number:0digits$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<String> {
        braces(pattern).expect("names")
    }

    #[test]
    fn ranges_and_choices_multiply() {
        assert_eq!(names("a-{08..10}.tar"), ["a-08.tar", "a-09.tar", "a-10.tar"]);
        assert_eq!(names("{x,y}/{1..2}"), ["x/1", "x/2", "y/1", "y/2"]);
        assert_eq!(names("plain.tar"), ["plain.tar"]);
        for bad in ["{1..", "{3..1}", "{a..b}", "{0..99999999999}", "{0..9999}{0..9999}"] {
            assert!(braces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_a_split_and_a_list_give_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["train-1.tar", "train-0.tar", "test-0.TAR", "notes.txt"] {
            fs::write(at(name), "").expect("written");
        }
        let all = |path: &Path, split| expand(path, "tar", split).expect("files");
        assert_eq!(all(folder.path(), None).len(), 3);
        assert_eq!(all(folder.path(), Some("train")), [at("train-0.tar"), at("train-1.tar")]);
        let two = format!("{}::{}", at("train-1.tar").display(), at("test-0.TAR").display());
        assert_eq!(all(Path::new(&two), None), [at("train-1.tar"), at("test-0.TAR")]);
        let missing = expand(&at("train-{0..2}.tar"), "tar", None).expect_err("an error");
        assert!(missing.name.ends_with("train-2.tar"), "{missing}");
        assert!(expand(folder.path(), "tar", Some("val")).is_err());
    }
}
