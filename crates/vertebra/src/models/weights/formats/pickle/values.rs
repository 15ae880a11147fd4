//! What a pickle describes: values in one list, which name each other by their place in it.

use std::collections::BTreeMap;

use super::super::{Dtype, MAX_DIMENSIONS, Outcome, Problem, damaged};

/// Values and references between them that a pickle may make. Real checkpoints make some thousands; one of 100,000
/// tensors makes two million.
const MAX_VALUES: usize = 1 << 22;
/// The longest name of a thing of Python's.
const MAX_NAME: usize = 512;

pub type Id = u32;

#[derive(Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    /// What no tensor is described with: `None`, floats, bytes, sets.
    Other(&'static str),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A thing of Python's by its full name. Only a word.
    Global(String),
    /// An instance of the harmless class with that name; what is inside is dropped.
    Object(Id),
    Storage(Box<StorageValue>),
    Tensor(Box<TensorValue>),
}

#[derive(Debug)]
pub struct StorageValue {
    /// `None` for torch's untyped storages, whose elements are bytes.
    dtype: Option<Dtype>,
    key: Id,
}

#[derive(Debug)]
pub struct TensorValue {
    pub storage: Id,
    pub dtype: Dtype,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// All values of one pickle.
#[derive(Debug, Default)]
pub struct Values {
    all: Vec<Value>,
    spent: usize,
}

impl Values {
    pub fn get(&self, id: Id) -> &Value {
        &self.all[id as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.all[id as usize]
    }

    pub fn add(&mut self, value: Value) -> Outcome<Id> {
        self.spend(1)?;
        self.all.push(value);
        Ok((self.all.len() - 1) as Id)
    }

    /// Everything that takes memory is counted here, so that a short pickle cannot describe endless values.
    pub fn spend(&mut self, count: usize) -> Outcome<()> {
        self.spent = self.spent.saturating_add(count);
        if self.spent > MAX_VALUES {
            return Err(damaged(format!("its pickle describes more than {MAX_VALUES} values")));
        }
        Ok(())
    }

    pub fn global(&mut self, module: &str, name: &str) -> Outcome<Id> {
        if module.len() + name.len() > MAX_NAME {
            return Err(damaged(format!("its pickle has a name of {} bytes", name.len())));
        }
        self.add(Value::Global(format!("{module}.{name}")))
    }

    pub fn items(&self, id: Id) -> Outcome<&[Id]> {
        match self.get(id) {
            Value::List(items) | Value::Tuple(items) => Ok(items),
            other => Err(damaged(format!("a list is wanted, there is {}", self.describe(other)))),
        }
    }

    /// The value under a text in a dictionary.
    pub fn member(&self, dict: Id, key: &str) -> Option<&Value> {
        let Value::Dict(pairs) = self.get(dict) else { return None };
        let is_key = |id: Id| matches!(self.get(id), Value::Text(text) if text == key);
        pairs.iter().find(|pair| is_key(pair.0)).map(|pair| self.get(pair.1))
    }

    /// In a few words, for a person.
    pub fn describe(&self, value: &Value) -> String {
        match value {
            Value::Bool(_) => "a truth value".into(),
            Value::Int(_) => "an integer".into(),
            Value::Text(_) => "a text".into(),
            Value::Other(what) => (*what).into(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::Dict(pairs) => format!("a dictionary of {}", pairs.len()),
            Value::Global(name) => format!("the name {name}"),
            Value::Object(class) => match self.get(*class) {
                Value::Global(name) => name.clone(),
                _ => "an object".into(),
            },
            Value::Storage(_) => "a storage".into(),
            Value::Tensor(_) => "a tensor".into(),
        }
    }

    /// What a call gives, as data. `Problem::Unsafe` for all that is not on the closed lists.
    pub fn call(&mut self, callable: Id, args: Id) -> Outcome<Id> {
        let Value::Global(name) = self.get(callable) else {
            let what = self.describe(self.get(callable));
            return Err(damaged(format!("its pickle calls {what}")));
        };
        let arguments = self.items(args)?;
        let rest = name.strip_prefix("torch._utils.");
        match rest.unwrap_or(name) {
            "_rebuild_tensor" | "_rebuild_tensor_v2" if rest.is_some() => {
                let tensor = self.tensor(arguments, None)?;
                self.tensor_value(tensor)
            }
            "_rebuild_tensor_v3" if rest.is_some() => {
                let dtype = arguments.get(6).map(|&id| self.get(id));
                let Some(Value::Global(dtype)) = dtype else {
                    return Err(damaged("a tensor in its pickle has no dtype"));
                };
                let known = numbers(dtype.strip_prefix("torch.").unwrap_or_default());
                let known = known.ok_or_else(|| damaged(format!("{dtype} is not read")))?;
                let tensor = self.tensor(arguments, Some(known))?;
                self.tensor_value(tensor)
            }
            "_rebuild_parameter" | "_rebuild_parameter_with_state" if rest.is_some() => {
                match arguments.first().map(|&id| (id, self.get(id))) {
                    Some((id, Value::Tensor(_))) => Ok(id),
                    _ => Err(damaged("a parameter in its pickle has no tensor")),
                }
            }
            "collections.OrderedDict" | "builtins.dict" => self.dictionary(args),
            // Its only argument is what makes new values.
            "collections.defaultdict" => self.add(Value::Dict(Vec::new())),
            "builtins.list" if arguments.is_empty() => self.add(Value::List(Vec::new())),
            name if is_harmless(name) => self.add(Value::Object(callable)),
            name => Err(Problem::Unsafe(name.to_owned())),
        }
    }

    /// `OrderedDict()`, or with the pairs that Python 2 gives it.
    fn dictionary(&mut self, args: Id) -> Outcome<Id> {
        let Some(&list) = self.items(args)?.first() else {
            return self.add(Value::Dict(Vec::new()));
        };
        let list = self.items(list)?;
        let mut pairs = Vec::new();
        for &pair in list {
            let &[key, value] = self.items(pair)? else {
                return Err(damaged("a dictionary in its pickle is not made of pairs"));
            };
            pairs.push((key, value));
        }
        self.spend(2 * pairs.len())?;
        self.add(Value::Dict(pairs))
    }

    fn tensor_value(&mut self, tensor: TensorValue) -> Outcome<Id> {
        self.spend(2 * tensor.shape.len() + 8)?;
        self.add(Value::Tensor(Box::new(tensor)))
    }

    /// `(storage, offset, shape, strides, ...)`; the storage's dtype unless one is given.
    fn tensor(&self, args: &[Id], dtype: Option<Dtype>) -> Outcome<TensorValue> {
        let [storage, offset, shape, strides, ..] = *args else {
            return Err(damaged("a tensor in its pickle lacks its shape"));
        };
        let Value::Storage(of) = self.get(storage) else {
            return Err(damaged("a tensor in its pickle has no storage"));
        };
        let Some(dtype) = dtype.or(of.dtype) else {
            return Err(damaged("a tensor in its pickle has no dtype"));
        };
        let Value::Int(offset) = *self.get(offset) else {
            return Err(damaged("a tensor in its pickle has no offset"));
        };
        let [shape, strides] = [shape, strides].map(|id| self.whole_numbers(id));
        Ok(TensorValue { storage, dtype, offset, shape: shape?, strides: strides? })
    }

    fn whole_numbers(&self, list: Id) -> Outcome<Vec<i64>> {
        let list = self.items(list)?;
        if list.len() > MAX_DIMENSIONS {
            return Err(damaged(format!("a tensor in its pickle has {} dimensions", list.len())));
        }
        list.iter()
            .map(|&id| match self.get(id) {
                Value::Int(number) => Ok(*number),
                other => Err(damaged(format!("a size is {}", self.describe(other)))),
            })
            .collect()
    }

    /// The storage that a persistent id stands for: `("storage", class, key, place, elements)`.
    pub fn storage(&mut self, pid: Id) -> Outcome<Id> {
        let wrong = || damaged("its pickle refers to something that is no storage");
        let (class, key) = match *self.items(pid)? {
            [kind, class, key, _, _] => (self.is_storage(kind).then_some(class), key),
            // A window into another storage, which torch has not written since 0.4.
            [kind, class, key, _, _, view] if matches!(self.get(view), Value::Other("none")) => {
                (self.is_storage(kind).then_some(class), key)
            }
            _ => return Err(wrong()),
        };
        let Some((Value::Global(class), Value::Text(_))) =
            class.map(|class| (self.get(class), self.get(key)))
        else {
            return Err(wrong());
        };
        let name = class.strip_prefix("torch.").unwrap_or_default();
        let name = name.strip_prefix("storage.").or(name.strip_prefix("cuda.")).unwrap_or(name);
        let dtype = match name {
            "UntypedStorage" | "_UntypedStorage" => None,
            name => Some(storage_numbers(name).ok_or_else(|| {
                damaged(format!("its pickle has a storage of class `{class}`, which is not read"))
            })?),
        };
        self.add(Value::Storage(Box::new(StorageValue { dtype, key })))
    }

    fn is_storage(&self, kind: Id) -> bool {
        matches!(self.get(kind), Value::Text(kind) if kind == "storage")
    }

    /// The name of a storage in the file.
    pub fn storage_key(&self, storage: Id) -> Outcome<&str> {
        if let Value::Storage(storage) = self.get(storage)
            && let Value::Text(key) = self.get(storage.key)
        {
            return Ok(key);
        }
        Err(damaged("a tensor in its pickle has no storage"))
    }

    /// Bytes of one element of each storage, by its name.
    pub fn element_sizes(&self) -> BTreeMap<&str, u64> {
        let sizes = self.all.iter().filter_map(|value| {
            let Value::Storage(storage) = value else { return None };
            let Value::Text(key) = self.get(storage.key) else { return None };
            Some((key.as_str(), storage.dtype.map_or(1, Dtype::size)))
        });
        sizes.collect()
    }
}

fn storage_numbers(class: &str) -> Option<Dtype> {
    Some(match class {
        "FloatStorage" => Dtype::Float,
        "DoubleStorage" => Dtype::Double,
        "HalfStorage" => Dtype::Half,
        "BFloat16Storage" => Dtype::BFloat16,
        "LongStorage" => Dtype::Int64,
        "IntStorage" => Dtype::Int,
        "ShortStorage" => Dtype::Int16,
        "CharStorage" => Dtype::Int8,
        "ByteStorage" => Dtype::Uint8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}

fn numbers(dtype: &str) -> Option<Dtype> {
    Some(match dtype {
        "float32" => Dtype::Float,
        "float64" => Dtype::Double,
        "float16" => Dtype::Half,
        "bfloat16" => Dtype::BFloat16,
        "int64" => Dtype::Int64,
        "int32" => Dtype::Int,
        "int16" => Dtype::Int16,
        "int8" => Dtype::Int8,
        "uint8" => Dtype::Uint8,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}

/// Classes that real checkpoints carry beside their tensors and whose making does nothing outside themselves. They
/// are not made here either: what stands for them is dropped.
pub fn is_harmless(class: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "_codecs.encode",
        "argparse.Namespace",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.frozenset",
        "builtins.range",
        "builtins.set",
        "builtins.slice",
        "collections.Counter",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "lightning_fabric.utilities.data.AttributeDict",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "torch.Size",
        "torch.device",
        "types.SimpleNamespace",
    ];
    HARMLESS.contains(&class)
}
