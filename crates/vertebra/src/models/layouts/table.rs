//! Tables of names: what each tensor of a foreign layout is here.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::models::weights::nearest;

/// The names in the file, and what is done to their tensors.
///
/// In a name of the file, `*` stands for one word or number between dots, `?` for one that is not carried over, and a
/// `**` at the end for the rest. In ours, `*` and `**` are what they stood for, in their order, and `+` is a number that
/// a `*` stood for, plus one.
pub type Row = (&'static str, Verb);

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// It has the same name here.
    Same,
    /// It has this name here.
    Is(&'static str),
    /// Leading dimensions of one are added or taken away until it has so many dimensions.
    Rank(&'static str, usize),
    /// It is one of three, at this place, that are joined along their first dimension.
    Third(usize, &'static str),
    /// Its first third along the first dimension has the first name, the rest the second.
    Cut(&'static str, &'static str),
    /// It is left out; why.
    Out(&'static str),
}

/// What a table made of a file's tensors.
#[derive(Debug, Default)]
pub struct Renamed {
    /// Under our names.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's names of those left out, and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// Renames every tensor by the first row that its name fits. A name that fits no row is an error, and so is a third
/// without the other two, and a name here that two tensors have.
pub fn apply(path: &Path, rows: &[&[Row]], tensors: BTreeMap<String, Tensor>) -> Result<Renamed> {
    let mut renamed = Renamed::default();
    let mut thirds: BTreeMap<String, [Option<Tensor>; 3]> = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some((verb, stars)) = find(rows, &name) else {
            let known: Vec<String> =
                rows.iter().copied().flatten().map(|(pattern, _)| (*pattern).into()).collect();
            return Err(Error::UnclaimedTensor {
                path: path.into(),
                nearest: nearest(&name, known.iter()),
                name,
            });
        };
        match verb {
            Verb::Out(why) => renamed.left_out.push((name, why)),
            Verb::Same => put(path, &mut renamed, name.clone(), tensor)?,
            Verb::Is(ours) => put(path, &mut renamed, fill(ours, &stars), tensor)?,
            Verb::Rank(ours, rank) => {
                put(path, &mut renamed, fill(ours, &stars), with_rank(&tensor, rank))?;
            }
            Verb::Third(place, ours) => {
                thirds.entry(fill(ours, &stars)).or_default()[place] = Some(tensor);
            }
            Verb::Cut(first, rest) => {
                let third = tensor.size().first().copied().unwrap_or(0) / 3;
                if tensor.dim() == 0 || tensor.size()[0] != 3 * third {
                    let wanted = vec![3 * third];
                    let found = tensor.size();
                    return Err(Error::WrongShape { path: path.into(), name, wanted, found });
                }
                put(path, &mut renamed, fill(first, &stars), tensor.narrow(0, 0, third))?;
                put(path, &mut renamed, fill(rest, &stars), tensor.narrow(0, third, 2 * third))?;
            }
        }
    }
    for (ours, parts) in thirds {
        let joined = join(path, rows, &ours, parts)?;
        put(path, &mut renamed, ours, joined)?;
    }
    Ok(renamed)
}

/// Whether a name fits the pattern of a row.
pub fn fits(pattern: &str, name: &str) -> bool {
    stars(pattern, name).is_some()
}

/// The file's name of a tensor of ours, with `*` where any word would do.
pub fn foreign(rows: &[&[Row]], ours: &str) -> Option<String> {
    rows.iter().copied().flatten().find_map(|(pattern, verb)| match verb {
        Verb::Same => fits(pattern, ours).then(|| ours.to_string()),
        Verb::Is(target) | Verb::Rank(target, _) | Verb::Third(_, target) => {
            let stars = stars(target, ours)?;
            Some(fill(pattern, &stars).replace('?', "*"))
        }
        Verb::Cut(first, rest) => (*first == ours || *rest == ours).then(|| pattern.to_string()),
        Verb::Out(_) => None,
    })
}

fn find<'a>(rows: &[&[Row]], name: &'a str) -> Option<(Verb, Vec<&'a str>)> {
    rows.iter()
        .copied()
        .flatten()
        .find_map(|(pattern, verb)| stars(pattern, name).map(|stars| (*verb, stars)))
}

/// What the `*` and `**` of a pattern stand for in a name; `None` where the name does not fit.
fn stars<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut rest = Some(name);
    for wanted in pattern.split('.') {
        let left = rest?;
        if wanted == "**" {
            found.push(left);
            return Some(found);
        }
        let (word, after) = match left.split_once('.') {
            Some((word, after)) => (word, Some(after)),
            None => (left, None),
        };
        match wanted {
            "*" => found.push(word),
            "?" => {}
            // A number that names here count from one, read backwards by `foreign`.
            "+" => found.push(word),
            _ if wanted == word => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(found)
}

/// A name with its `*`, `**` and `+` filled in.
fn fill(name: &str, stars: &[&str]) -> String {
    let mut stars = stars.iter();
    let words: Vec<String> = name
        .split('.')
        .map(|word| match word {
            "*" | "**" => stars.next().map_or_else(String::new, |star| (*star).to_string()),
            "+" => match stars.next().map(|star| star.parse::<usize>()) {
                Some(Ok(number)) => (number + 1).to_string(),
                _ => "+".into(),
            },
            word => word.to_string(),
        })
        .collect();
    words.join(".")
}

fn put(path: &Path, renamed: &mut Renamed, ours: String, tensor: Tensor) -> Result<()> {
    if renamed.tensors.contains_key(&ours) {
        return Err(Error::Damaged {
            what: "file of weights",
            path: path.into(),
            problem: format!("two of its tensors are `{ours}`"),
        });
    }
    renamed.tensors.insert(ours, tensor);
    Ok(())
}

fn join(path: &Path, rows: &[&[Row]], ours: &str, parts: [Option<Tensor>; 3]) -> Result<Tensor> {
    let mut present = Vec::new();
    for (place, part) in parts.into_iter().enumerate() {
        let Some(part) = part else {
            let row = rows.iter().copied().flatten().find_map(|(pattern, verb)| match verb {
                Verb::Third(at, target) if *at == place => {
                    stars(target, ours).map(|stars| fill(pattern, &stars))
                }
                _ => None,
            });
            let name = row.unwrap_or_else(|| ours.to_string());
            return Err(Error::MissingTensor { path: path.into(), name, nearest: None });
        };
        present.push(part);
    }
    if present.iter().any(|part| part.size() != present[0].size()) {
        let (wanted, found) = (present[0].size(), present[1].size());
        return Err(Error::WrongShape { path: path.into(), name: ours.into(), wanted, found });
    }
    Ok(Tensor::cat(&present, 0))
}

/// Leading dimensions of one added, or taken away while there are any, until there are `rank`.
pub fn with_rank(tensor: &Tensor, rank: usize) -> Tensor {
    let mut shape = tensor.size();
    while shape.len() < rank {
        shape.insert(0, 1);
    }
    while shape.len() > rank && shape[0] == 1 {
        shape.remove(0);
    }
    tensor.reshape(shape)
}
