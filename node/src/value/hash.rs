//! Hashes: fields with values.
//!
//! Small ones are one packed run of field, value, field, value; the others a table. A hash that became a table
//! stays one, as in Redis.

use super::{
    Encodings,
    packed::{Elem, Packed},
    short::Short,
    table::Table,
};

/// A hash value.
#[derive(Debug, Clone, PartialEq)]
pub struct Hash {
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Packed(Packed),
    Table(Box<Fields>),
}

/// The large form.
#[derive(Debug, Clone, Default, PartialEq)]
struct Fields {
    table: Table<Short>,
    /// Heap bytes of all values.
    value_bytes: usize,
}

impl Default for Hash {
    fn default() -> Self {
        Self { form: Form::Packed(Packed::new()) }
    }
}

impl Hash {
    /// A packed hash.
    pub(crate) fn from_packed(run: Packed) -> Self {
        Self { form: Form::Packed(run) }
    }

    /// The run, if it is packed.
    pub(crate) fn as_packed(&self) -> Option<&Packed> {
        match &self.form {
            Form::Packed(run) => Some(run),
            Form::Table(_) => None,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(run) => run.len() / 2,
            Form::Table(fields) => fields.table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// Bytes of heap memory. O(1).
    pub fn memory(&self) -> usize {
        match &self.form {
            Form::Packed(run) => run.memory(),
            Form::Table(fields) => size_of::<Fields>() + fields.table.memory() + fields.value_bytes,
        }
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<Elem<'_>> {
        match &self.form {
            Form::Packed(run) => {
                let (_, value) = run.read(run.find(field, 0, 2)?)?;
                run.read(value).map(|(value, _)| value)
            }
            Form::Table(fields) => fields.table.get(field).map(|value| Elem::Bytes(value)),
        }
    }

    /// Names the addresses that looking up these fields will read, if it is a table.
    pub(crate) fn lead<'k>(&self, fields: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        if let Form::Table(table) = &self.form {
            table.table.lead(fields, ask);
        }
    }

    /// Whether `field` is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.form {
            Form::Packed(run) => run.find(field, 0, 2).is_some(),
            Form::Table(fields) => fields.table.contains(field),
        }
    }

    /// Prepares for a write of `count` fields of which the longest text (field or value) has `longest` bytes:
    /// what will not be packed afterwards becomes a table at once. As in Redis, this counts fields that are there
    /// already.
    pub fn prepare(&mut self, count: usize, longest: usize, limits: &Encodings) {
        if count > limits.hash_entries || longest > limits.hash_value {
            self.unpack();
        }
    }

    /// Sets the value of `field`; whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Encodings) -> bool {
        self.prepare(1, field.len().max(value.len()), limits);
        match &mut self.form {
            Form::Packed(run) => {
                if let Some(at) = run.find(field, 0, 2) {
                    let (_, at) = run.read(at).expect("the field was found there");
                    run.replace(at, value);
                    return false;
                }
                run.push(field);
                run.push(value);
                if run.len() / 2 > limits.hash_entries {
                    self.unpack();
                }
                true
            }
            Form::Table(fields) => fields.set(field, value),
        }
    }

    /// Sets the values of a group of fields that are most likely new; what that will read is named first. For large
    /// hashes: a packed one becomes a table.
    pub(crate) fn load(&mut self, group: &[(&[u8], &[u8])], ask: impl Fn(usize)) {
        self.unpack();
        if let Form::Table(fields) = &mut self.form {
            fields.load(group, ask);
        }
    }

    /// Removes `field`; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(run) => {
                let Some(at) = run.find(field, 0, 2) else { return false };
                run.remove(at, 2);
                run.shrink();
                true
            }
            Form::Table(fields) => fields.remove(field),
        }
    }

    /// Visits all fields with their values.
    pub fn each<'a>(&'a self, mut visit: impl FnMut(Elem<'a>, Elem<'a>)) {
        match &self.form {
            Form::Packed(run) => pairs(run).for_each(|(field, value)| visit(field, value)),
            Form::Table(fields) => {
                fields.table.iter().for_each(|(field, value)| visit(Elem::Bytes(field), Elem::Bytes(value)));
            }
        }
    }

    /// The field with number `i`, which is below [`len`](Self::len), and its value. A fair draw of a field is a fair
    /// draw of a number.
    pub fn at(&self, i: usize) -> (Elem<'_>, Elem<'_>) {
        match &self.form {
            Form::Packed(run) => {
                let at = run.position(2 * i as i64).expect("there are more than i fields");
                let (field, at) = run.read(at).expect("the position is that of an element");
                (field, run.read(at).expect("each field is followed by its value").0)
            }
            Form::Table(fields) => {
                let (field, value) = fields.table.at(i);
                (Elem::Bytes(field), Elem::Bytes(value))
            }
        }
    }

    /// Visits the fields with the given numbers, in the order given, until `visit` fails.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub fn pick<'a, E>(
        &'a self,
        numbers: impl Iterator<Item = usize>,
        mut visit: impl FnMut(Elem<'a>, Elem<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.form {
            Form::Packed(run) => {
                let all: Vec<_> = pairs(run).collect();
                numbers.map(|i| all[i]).try_for_each(|(field, value)| visit(field, value))
            }
            Form::Table(_) => numbers.map(|i| self.at(i)).try_for_each(|(field, value)| visit(field, value)),
        }
    }

    /// One step of a scan, as [`Table::scan`]; a packed hash is visited whole by any cursor.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Elem<'a>, Elem<'a>)) -> u64 {
        match &self.form {
            Form::Packed(_) => {
                self.each(visit);
                0
            }
            Form::Table(fields) => {
                fields.table.scan(cursor, |field, value| visit(Elem::Bytes(field), Elem::Bytes(value)))
            }
        }
    }

    fn unpack(&mut self) {
        let Form::Packed(run) = &self.form else { return };
        let mut fields = Box::<Fields>::default();
        let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
        for (field, value) in pairs(run) {
            fields.set(field.text(&mut field_text), value.text(&mut value_text));
        }
        self.form = Form::Table(fields);
    }
}

impl Fields {
    fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let (held, added) = self.table.get_or_insert(field, || value.into());
        note(&mut self.value_bytes, held, added, value);
        added
    }

    fn load(&mut self, group: &[(&[u8], &[u8])], ask: impl Fn(usize)) {
        let Self { table, value_bytes } = self;
        table.load(group, ask, Short::from, |table, number, added, value| {
            note(value_bytes, table.payload_mut(number), added, value);
        });
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let old = self.table.remove(field);
        self.value_bytes -= old.as_ref().map_or(0, Short::heap);
        old.is_some()
    }
}

/// Gives a field its value, unless it was `added` with it, and keeps account of the values' bytes.
fn note(value_bytes: &mut usize, held: &mut Short, added: bool, value: &[u8]) {
    if !added {
        *value_bytes -= held.heap();
        held.set(value);
    }
    *value_bytes += held.heap();
}

/// The fields of a packed hash, with their values.
fn pairs(run: &Packed) -> impl Iterator<Item = (Elem<'_>, Elem<'_>)> {
    let mut elements = run.iter();
    std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn limits() -> Encodings {
        Encodings { hash_entries: 8, hash_value: 20, ..Encodings::default() }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
            (0u8..20).prop_map(|n| vec![b'x', n]),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..24),
        ]
    }

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = BTreeMap::new();
        hash.each(|field, value| assert!(all.insert(field.to_vec(), value.to_vec()).is_none()));
        all
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((0u8..3, text(), text()), 1..200)) {
            let (mut model, mut hash) = (BTreeMap::new(), Hash::default());
            let mut must_be_table = false;
            for (op, field, value) in ops {
                if op == 2 {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                } else {
                    must_be_table |= field.len() > 20 || value.len() > 20;
                    prop_assert_eq!(hash.set(&field, &value, &limits()), model.insert(field, value).is_none());
                }
                must_be_table |= model.len() > 8;
                prop_assert_eq!(hash.encoding(), if must_be_table { "hashtable" } else { "listpack" });
                prop_assert_eq!(hash.len(), model.len());
            }
            prop_assert_eq!(&contents(&hash), &model);
            for (field, value) in &model {
                prop_assert!(hash.contains(field));
                prop_assert_eq!(&hash.get(field).unwrap().to_vec(), value);
            }
            let mut picked = BTreeMap::new();
            hash.pick(0..hash.len(), |field, value| {
                picked.insert(field.to_vec(), value.to_vec());
                Ok::<(), ()>(())
            }).unwrap();
            prop_assert_eq!(&picked, &model);
            let numbered: BTreeMap<_, _> =
                (0..hash.len()).map(|i| { let (f, v) = hash.at(i); (f.to_vec(), v.to_vec()) }).collect();
            prop_assert_eq!(&numbered, &model);
            let fields: Vec<_> = model.into_keys().collect();
            fields.iter().for_each(|field| assert!(hash.remove(field)));
            prop_assert!(hash.is_empty());
            if let Form::Table(fields) = &hash.form {
                prop_assert_eq!(fields.value_bytes + fields.table.memory(), 0);
            }
        }
    }

    #[test]
    fn a_large_write_is_never_packed() {
        let mut hash = Hash::default();
        hash.prepare(8, 20, &limits());
        assert_eq!(hash.encoding(), "listpack");
        hash.prepare(9, 1, &limits());
        assert_eq!(hash.encoding(), "hashtable");
        let mut hash = Hash::default();
        hash.prepare(1, 21, &limits());
        assert_eq!(hash.encoding(), "hashtable");
    }
}
