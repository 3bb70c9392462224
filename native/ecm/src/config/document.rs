//! The tables of a file, whose parts know where they stand, and from which a part that is wrong can be taken out, so
//! that the rest can be read too.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

/// A file's tables.
#[derive(Debug, Clone)]
pub(super) struct Document<'t> {
    root: Spanned<DeTable<'t>>,
    /// Where tables and lists stand of which a part was taken out.
    cut: Vec<Range<usize>>,
    /// The keys of the file, without any table, of which something was taken out.
    incomplete: Vec<String>,
}

/// Where the parts of a file stand, by their keys: `listener.0.kind`.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

/// A part of a table or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// The narrowest part so far.
struct Narrowest {
    length: usize,
    path: Vec<Step>,
}

impl<'t> Document<'t> {
    /// The tables of a text, and the errors where it is not TOML.
    pub(super) fn parse(text: &'t str) -> (Self, Vec<Error>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            root,
            cut: Vec::new(),
            incomplete: Vec::new(),
        };
        (document, errors)
    }

    /// What they say.
    pub(super) fn read<T: Deserialize<'t>>(&self) -> Result<T, Error> {
        T::deserialize(Deserializer::from(self.root.clone()))
    }

    /// Whether a part under this key was taken out.
    pub(super) fn is_incomplete(&self, key: &str) -> bool {
        self.incomplete.iter().any(|incomplete| incomplete == key)
    }

    /// Takes out the part that an error is about. Gives whether the error is one of the file: it is not if it is about
    /// a table of which something is missing here. `None` if there is no such part.
    pub(super) fn take_out(&mut self, error: &Range<usize>) -> Option<bool> {
        let mut found = None;
        narrowest(self.root.get_ref(), error, &mut Vec::new(), &mut found);
        let path = found?.path;
        if let Some(Step::Key(key)) = path.first() {
            self.incomplete.push(key.clone());
        }
        let is_own = !span_of(self.root.get_ref(), &path).is_some_and(|it| self.cut.contains(&it));
        take(self.root.get_mut(), &path, &mut self.cut);
        Some(is_own)
    }

    /// Where its parts stand.
    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        places.add_table("", self.root.get_ref());
        places
    }
}

impl Places {
    /// Where a part stands, or the one that it would be in.
    pub(super) fn of(&self, part: &str) -> usize {
        let mut part = part;
        loop {
            if let Some(place) = self.0.get(part) {
                return *place;
            }
            match part.rsplit_once('.') {
                Some((whole, _)) => part = whole,
                None => return 0,
            }
        }
    }

    /// Whether the file has it.
    pub(super) fn has(&self, part: &str) -> bool {
        self.0.contains_key(part)
    }

    fn add_table(&mut self, before: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.add(format!("{before}{}", key.get_ref()), value);
        }
    }

    fn add(&mut self, part: String, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&format!("{part}."), table),
            DeValue::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.add(format!("{part}.{place}"), item);
                }
            }
            _ => {}
        }
        self.0.insert(part, value.span().start);
    }
}

/// Finds the narrowest part that an error's place lies in; of two that are alike, the inner one.
fn narrowest(
    table: &DeTable<'_>,
    error: &Range<usize>,
    path: &mut Vec<Step>,
    found: &mut Option<Narrowest>,
) {
    for (key, value) in table {
        path.push(Step::Key(key.get_ref().to_string()));
        consider(key.span(), error, path, found);
        narrowest_of_value(value, error, path, found);
        path.pop();
    }
}

fn narrowest_of_value(
    value: &Spanned<DeValue<'_>>,
    error: &Range<usize>,
    path: &mut Vec<Step>,
    found: &mut Option<Narrowest>,
) {
    consider(value.span(), error, path, found);
    match value.get_ref() {
        DeValue::Table(table) => narrowest(table, error, path, found),
        DeValue::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                path.push(Step::Item(place));
                narrowest_of_value(item, error, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn consider(
    span: Range<usize>,
    error: &Range<usize>,
    path: &[Step],
    found: &mut Option<Narrowest>,
) {
    let length = span.len();
    let is_narrower = || found.as_ref().is_none_or(|found| length <= found.length);
    if span.start <= error.start && error.end <= span.end && is_narrower() {
        let path = path.to_vec();
        *found = Some(Narrowest { length, path });
    }
}

fn span_of(table: &DeTable<'_>, path: &[Step]) -> Option<Range<usize>> {
    let (Step::Key(key), rest) = path.split_first()? else {
        return None;
    };
    let mut value = table.get(key.as_str())?;
    for step in rest {
        value = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => table.get(key.as_str())?,
            (DeValue::Array(items), Step::Item(place)) => items.get(*place)?,
            _ => return None,
        };
    }
    Some(value.span())
}

/// Takes a part out, and notes all that it was in. A list that has nothing left goes too: it is not what the file says.
fn take(table: &mut DeTable<'_>, path: &[Step], cut: &mut Vec<Range<usize>>) {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return;
    };
    let is_empty = match table.get_mut(key.as_str()) {
        Some(value) if !rest.is_empty() => {
            take_of_value(value, rest, cut);
            matches!(value.get_ref(), DeValue::Array(items) if items.is_empty())
        }
        _ => true,
    };
    if is_empty {
        table.remove(key.as_str());
    }
}

fn take_of_value(value: &mut Spanned<DeValue<'_>>, path: &[Step], cut: &mut Vec<Range<usize>>) {
    cut.push(value.span());
    match (value.get_mut(), path) {
        (DeValue::Table(table), path) => take(table, path, cut),
        (DeValue::Array(items), [Step::Item(place)]) => {
            let all = std::mem::replace(items, DeArray::new()).into_iter();
            let others = all.enumerate().filter(|(other, _)| other != place);
            *items = others.map(|(_, item)| item).collect();
        }
        (DeValue::Array(items), [Step::Item(place), rest @ ..]) => {
            if let Some(item) = items.get_mut(*place) {
                take_of_value(item, rest, cut);
            }
        }
        _ => {}
    }
}
