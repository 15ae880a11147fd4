//! The stack machine of pickle's protocols 0 to 5, with the instructions that describe data.

use std::collections::BTreeMap;
use std::io::Read;

use super::super::{Outcome, Problem, damaged, ended};
use super::values::{Id, Value, Values, is_harmless};

/// The longest line of protocol 0.
const MAX_LINE: usize = 1 << 16;

/// The bytes of a pickle, and how many there can be.
pub struct Input<'a> {
    bytes: &'a mut dyn Read,
    left: u64,
}

/// Runs one pickle to its STOP: all its values, and the one that it describes.
pub fn run(input: &mut Input) -> Outcome<(Values, Id)> {
    let mut machine = Machine::default();
    loop {
        match input.byte()? {
            b'.' => {
                let root = machine.pop()?;
                return Ok((machine.values, root));
            }
            code => machine.step(code, input)?,
        }
    }
}

#[derive(Default)]
struct Machine {
    values: Values,
    stack: Vec<Id>,
    /// Heights of the stack where a MARK stands.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl Machine {
    fn step(&mut self, code: u8, input: &mut Input) -> Outcome<()> {
        match code {
            0x80 => drop(input.number(1)?),
            0x95 => drop(input.number(8)?),
            b'(' => {
                self.values.spend(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'i' | b'o' | b'b' | b'Q' => {
                return self.python(code, input);
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => return self.remember(code, input),
            b'a' | b'e' | b's' | b'u' | 0x90 => return self.fill(code),
            b'P' => {
                return Err(damaged(
                    "its pickle names its storages by texts, which torch never did",
                ));
            }
            0x82..=0x84 => return Err(damaged("its pickle uses an extension code")),
            0x97 | 0x98 => return Err(damaged("its pickle keeps parts outside itself")),
            _ => {
                let value = match self.container(code)? {
                    Some(value) => value,
                    None => plain(code, input)?.ok_or_else(|| unknown(code))?,
                };
                return self.make(value);
            }
        }
        Ok(())
    }

    /// Containers made of what is on the stack.
    fn container(&mut self, code: u8) -> Outcome<Option<Value>> {
        Ok(Some(match code {
            b']' => Value::List(Vec::new()),
            b')' => Value::Tuple(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            0x8F => Value::Other("a set"),
            b'l' => Value::List(self.since_mark()?),
            b't' => Value::Tuple(self.since_mark()?),
            b'd' => Value::Dict(pairs(&self.since_mark()?)?),
            0x91 => {
                self.since_mark()?;
                Value::Other("a set")
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                Value::Tuple(items)
            }
            _ => return Ok(None),
        }))
    }

    /// What names things of Python's and calls them: data here, or the end.
    fn python(&mut self, code: u8, input: &mut Input) -> Outcome<()> {
        let made = match code {
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                self.values.global(python3(&module), &name)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) =
                    (self.values.get(module), self.values.get(name))
                else {
                    return Err(damaged("its pickle names something by what is no text"));
                };
                let (module, name) = (python3(module).to_owned(), name.clone());
                self.values.global(&module, &name)?
            }
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.values.call(callable, args)?
            }
            0x92 => {
                let (_, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.values.call(class, args)?
            }
            b'i' => {
                let (module, name) = (input.line()?, input.line()?);
                let class = self.values.global(python3(&module), &name)?;
                let args = self.since_mark()?;
                let args = self.values.add(Value::Tuple(args))?;
                self.values.call(class, args)?
            }
            b'o' => {
                let mut args = self.since_mark()?;
                if args.is_empty() {
                    return Err(damaged("its pickle makes an object of no class"));
                }
                let class = args.remove(0);
                let args = self.values.add(Value::Tuple(args))?;
                self.values.call(class, args)?
            }
            b'b' => {
                self.pop()?;
                return self.built();
            }
            _ => {
                let pid = self.pop()?;
                self.values.storage(pid)?
            }
        };
        self.push(made)
    }

    /// BUILD gives an object its attributes, by a call of its class. Those of dictionaries and tensors are notes of
    /// torch's; on a class or a function they would change Python itself.
    fn built(&mut self) -> Outcome<()> {
        match self.values.get(self.top()?) {
            Value::Dict(_) | Value::List(_) | Value::Tensor(_) | Value::Object(_) => Ok(()),
            Value::Global(name) if is_harmless(name) => Ok(()),
            Value::Global(name) => Err(Problem::Unsafe(name.clone())),
            other => {
                let what = self.values.describe(other);
                Err(damaged(format!("its pickle gives attributes to {what}")))
            }
        }
    }

    fn remember(&mut self, code: u8, input: &mut Input) -> Outcome<()> {
        let key = match code {
            0x94 => self.memo.len() as u64,
            b'p' | b'g' => {
                let line = input.line()?;
                line.parse().map_err(|_| damaged("its pickle has a memo of no number"))?
            }
            b'q' | b'h' => input.number(1)?,
            _ => input.number(4)?,
        };
        let key = u32::try_from(key).map_err(|_| damaged("its pickle has too large a memo"))?;
        if matches!(code, b'g' | b'h' | b'j') {
            let Some(&id) = self.memo.get(&key) else {
                return Err(damaged("its pickle refers to what it never made"));
            };
            return self.push(id);
        }
        self.values.spend(1)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    /// Puts values into the container below them.
    fn fill(&mut self, code: u8) -> Outcome<()> {
        let mut items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.since_mark()?,
        };
        self.values.spend(items.len())?;
        let top = self.top()?;
        match (self.values.get_mut(top), code) {
            (Value::List(list), b'a' | b'e') => list.append(&mut items),
            (Value::Dict(dict), b's' | b'u') => dict.append(&mut pairs(&items)?),
            (Value::Object(_), _) | (Value::Other("a set"), 0x90) => {}
            (_, _) => {
                let what = self.values.describe(self.values.get(top));
                return Err(damaged(format!("its pickle puts values into {what}")));
            }
        }
        Ok(())
    }

    fn make(&mut self, value: Value) -> Outcome<()> {
        let id = self.values.add(value)?;
        self.push(id)
    }

    fn push(&mut self, id: Id) -> Outcome<()> {
        self.values.spend(1)?;
        self.stack.push(id);
        Ok(())
    }

    /// The topmost value; one below a MARK is out of reach, as in Python.
    fn top(&self) -> Outcome<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.get(floor..).and_then(<[Id]>::last);
        top.copied().ok_or_else(|| damaged("its pickle takes a value where there is none"))
    }

    fn pop(&mut self) -> Outcome<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn since_mark(&mut self) -> Outcome<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its pickle lacks a mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }
}

/// Values that are made of the bytes behind their instruction. `None` for an instruction that there is not.
fn plain(code: u8, input: &mut Input) -> Outcome<Option<Value>> {
    Ok(Some(match code {
        b'N' => Value::Other("none"),
        0x88 => Value::Bool(true),
        0x89 => Value::Bool(false),
        b'J' => Value::Int(i64::from(input.number(4)? as u32 as i32)),
        b'K' => Value::Int(input.number(1)? as i64),
        b'M' => Value::Int(input.number(2)? as i64),
        b'I' => match input.line()?.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            text => whole_number(text),
        },
        b'L' => whole_number(input.line()?.trim_end_matches('L')),
        0x8A | 0x8B => {
            let length = input.number(if code == 0x8A { 1 } else { 4 })?;
            long(&input.take(length)?)
        }
        b'F' => {
            input.line()?;
            Value::Other("a float")
        }
        b'G' => {
            input.number(8)?;
            Value::Other("a float")
        }
        b'S' => Value::Text(unquoted(&input.line()?).to_owned()),
        b'V' => Value::Text(input.line()?),
        b'U' | b'T' | b'X' | 0x8C | 0x8D => {
            let width = match code {
                b'U' | 0x8C => 1,
                0x8D => 8,
                _ => 4,
            };
            let length = input.number(width)?;
            Value::Text(String::from_utf8_lossy(&input.take(length)?).into_owned())
        }
        b'C' | b'B' | 0x8E | 0x96 => {
            let width = match code {
                b'C' => 1,
                b'B' => 4,
                _ => 8,
            };
            let length = input.number(width)?;
            input.take(length)?;
            Value::Other("bytes")
        }
        _ => return Ok(None),
    }))
}

/// Names of Python 2 under those of Python 3.
fn python3(module: &str) -> &str {
    if module == "__builtin__" { "builtins" } else { module }
}

fn pairs(items: &[Id]) -> Outcome<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks();
    if !rest.is_empty() {
        return Err(damaged("a dictionary in its pickle has a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn whole_number(text: &str) -> Value {
    text.trim().parse().map_or(Value::Other("a long integer"), Value::Int)
}

/// A little-endian two's complement integer of any length.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other("a long integer");
    }
    let fill = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xFF } else { 0 };
    let mut whole = [fill; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\''].iter().find_map(|&q| text.strip_prefix(q)?.strip_suffix(q)).unwrap_or(text)
}

fn unknown(code: u8) -> Problem {
    damaged(format!("its pickle has an instruction that there is not, 0x{code:02x}"))
}

impl<'a> Input<'a> {
    /// At most `length` bytes.
    pub fn new(bytes: &'a mut dyn Read, length: u64) -> Self {
        Self { bytes, left: length }
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.number(1)? as u8)
    }

    /// A little-endian number of `width` bytes, 8 at most.
    fn number(&mut self, width: usize) -> Outcome<u64> {
        self.left = self.left.checked_sub(width as u64).ok_or_else(ended)?;
        let mut bytes = [0; 8];
        self.bytes.read_exact(&mut bytes[..width])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// So many bytes, which the file must have before there is memory for them.
    fn take(&mut self, length: u64) -> Outcome<Vec<u8>> {
        self.left = self.left.checked_sub(length).ok_or_else(ended)?;
        let mut bytes = vec![0; length as usize];
        self.bytes.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').into()),
                _ if line.len() == MAX_LINE => {
                    return Err(damaged("its pickle has a line that does not end"));
                }
                byte => line.push(byte),
            }
        }
    }
}
