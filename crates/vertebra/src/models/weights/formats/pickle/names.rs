//! Dotted names for the tensors of nested dictionaries and lists: `state_dict.module.conv1.weight`.

use std::collections::BTreeMap;

use super::super::{Outcome, damaged};
use super::values::{Id, Value, Values};

/// Dictionaries within dictionaries; real checkpoints have five or so.
const MAX_DEPTH: usize = 64;
/// Bytes of names altogether, and some for each value looked at: what values share is looked at once for each way
/// that leads to it, and a short pickle can have endless ways.
const MAX_NAMES: usize = 1 << 26;
const COST_OF_A_LOOK: usize = 32;

/// The tensors of a pickle, and what else was in it.
#[derive(Default)]
pub struct Named {
    pub tensors: BTreeMap<String, Id>,
    /// A container without any tensor is one entry.
    pub dropped: Vec<(String, String)>,
}

/// Names all tensors that can be reached from `root`. One that stands alone is called `tensor`.
pub fn tensors(values: &Values, root: Id) -> Outcome<Named> {
    let mut walk = Walk { values, named: Named::default(), room: MAX_NAMES };
    walk.visit(&mut String::new(), root, 0)?;
    Ok(walk.named)
}

struct Walk<'a> {
    values: &'a Values,
    named: Named,
    room: usize,
}

impl Walk<'_> {
    fn visit(&mut self, name: &mut String, id: Id, depth: usize) -> Outcome<()> {
        let room = self.room.checked_sub(name.len() + COST_OF_A_LOOK);
        self.room = room.ok_or_else(|| damaged("its pickle leads to endless names"))?;
        if depth > MAX_DEPTH {
            return Err(damaged(format!("`{name}` lies more than {MAX_DEPTH} levels deep")));
        }
        let value = self.values.get(id);
        let before = (self.named.tensors.len(), self.named.dropped.len());
        match value {
            Value::Tensor(_) => {
                let name = if name.is_empty() { "tensor" } else { name.as_str() };
                if self.named.tensors.insert(name.into(), id).is_some() {
                    return Err(damaged(format!("two of its tensors are called `{name}`")));
                }
                return Ok(());
            }
            Value::Dict(pairs) => {
                for &(key, value) in pairs {
                    match self.values.get(key) {
                        Value::Text(key) => self.enter(name, key, value, depth)?,
                        Value::Int(key) => self.enter(name, &key.to_string(), value, depth)?,
                        // Keys without a name have tensors without one.
                        other => self.enter(name, &self.values.describe(other), value, depth)?,
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (index, &item) in items.iter().enumerate() {
                    self.enter(name, &index.to_string(), item, depth)?;
                }
            }
            _ => {}
        }
        if self.named.tensors.len() == before.0 {
            self.named.dropped.truncate(before.1);
            self.named.dropped.push((name.clone(), self.values.describe(value)));
        }
        Ok(())
    }

    /// Visits a value under one more word.
    fn enter(&mut self, name: &mut String, word: &str, id: Id, depth: usize) -> Outcome<()> {
        let length = name.len();
        if self.room < length + word.len() {
            return Err(damaged("its pickle leads to endless names"));
        }
        if length > 0 {
            name.push('.');
        }
        name.push_str(word);
        self.visit(name, id, depth + 1)?;
        name.truncate(length);
        Ok(())
    }
}
