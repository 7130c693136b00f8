//! Sets of distinct members.
//!
//! A set is a run of integers, a packed run or a table, and changes from one to another exactly when Redis 7.2
//! changes between `intset`, `listpack` and `hashtable`. Members are given out as [`Elem`]: the text of an
//! integer may come as a number from one form and as text from another, so members of different sets are
//! compared through [`Set::contains`].

mod algebra;
mod ints;

pub use algebra::{difference, intersect, union};
use ints::Ints;
use shoal_proto::number;

use super::{
    Encodings,
    packed::{Elem, Packed},
    table::Table,
};

/// A set value.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Ints(Ints),
    Packed(Packed),
    Table(Box<Table<()>>),
}

impl Default for Set {
    fn default() -> Self {
        Self { form: Form::Ints(Ints::default()) }
    }
}

/// Decimal digits of `n`, its sign included.
fn digits(n: i64) -> usize {
    itoa::Buffer::new().format(n).len()
}

impl Set {
    /// A packed set.
    pub(crate) fn from_packed(run: Packed) -> Self {
        Self { form: Form::Packed(run) }
    }

    /// A run of integers that [`as_ints`](Self::as_ints) gave.
    pub(crate) fn from_ints(width: u8, bytes: Vec<u8>) -> Self {
        Self { form: Form::Ints(Ints::from_parts(width, bytes)) }
    }

    /// The run, if it is packed.
    pub(crate) fn as_packed(&self) -> Option<&Packed> {
        match &self.form {
            Form::Packed(run) => Some(run),
            _ => None,
        }
    }

    /// Width and bytes of the run of integers, if it is one.
    pub(crate) fn as_ints(&self) -> Option<(u8, &[u8])> {
        match &self.form {
            Form::Ints(ints) => Some(ints.parts()),
            _ => None,
        }
    }

    /// An empty set, of the form in which to add `count` members of which `first` is the first.
    pub fn fitting(first: &[u8], count: usize, limits: &Encodings) -> Self {
        if count <= limits.set_intset_entries && number::parse_i64(first).is_some() {
            Self::default()
        } else if count <= limits.set_entries {
            Self::packed()
        } else {
            Self::table()
        }
    }

    /// An empty set that begins as a packed run.
    pub fn packed() -> Self {
        Self { form: Form::Packed(Packed::new()) }
    }

    /// An empty set that begins as a table.
    pub fn table() -> Self {
        Self { form: Form::Table(Box::default()) }
    }

    /// An empty set of the form in which `self`'s members are kept, or a packed one for a table's.
    pub fn small_like(&self) -> Self {
        if self.is_intset() { Self::default() } else { Self::packed() }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.len(),
            Form::Packed(run) => run.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `intset`, `listpack` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Ints(_) => "intset",
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// Whether this is a run of integers.
    pub fn is_intset(&self) -> bool {
        matches!(self.form, Form::Ints(_))
    }

    /// Whether this is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.form, Form::Table(_))
    }

    /// Bytes of heap memory. O(1).
    pub fn memory(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.memory(),
            Form::Packed(run) => run.memory(),
            Form::Table(table) => size_of::<Table<()>>() + table.memory(),
        }
    }

    /// Names the addresses that looking up these members will read, if it is a table.
    pub(crate) fn lead<'k>(&self, members: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        if let Form::Table(table) = &self.form {
            table.lead(members, ask);
        }
    }

    /// Whether `member` is there.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|n| ints.contains(n)),
            Form::Packed(run) => run.find(member, 0, 1).is_some(),
            Form::Table(table) => table.contains(member),
        }
    }

    /// The same, for a member of another set.
    pub fn contains_elem(&self, member: Elem<'_>) -> bool {
        match (&self.form, member) {
            (Form::Ints(ints), Elem::Int(n)) => ints.contains(n),
            _ => self.contains(member.text(&mut itoa::Buffer::new())),
        }
    }

    /// Prepares for adding `count` members to a set that exists: one that could not stay small if all were new
    /// becomes a table at once.
    pub fn prepare(&mut self, count: usize, limits: &Encodings) {
        let most = match &self.form {
            Form::Ints(_) => limits.set_intset_entries,
            Form::Packed(_) => limits.set_entries,
            Form::Table(_) => return,
        };
        if count > most {
            self.become_table();
        }
    }

    /// Adds `member`; whether it was not there.
    pub fn add(&mut self, member: &[u8], limits: &Encodings) -> bool {
        match &mut self.form {
            Form::Ints(ints) => match number::parse_i64(member) {
                Some(n) => {
                    let added = ints.insert(n);
                    if ints.len() > limits.set_intset_entries {
                        self.become_table();
                    }
                    added
                }
                None => self.add_text_to_ints(member, limits),
            },
            Form::Packed(run) => {
                if run.find(member, 0, 1).is_some() {
                    return false;
                }
                if run.len() < limits.set_entries && member.len() <= limits.set_value {
                    run.push(member);
                } else {
                    self.become_table().insert(member, ());
                }
                true
            }
            Form::Table(table) => table.insert(member, ()).is_none(),
        }
    }

    /// Adds a group of members that are most likely new; what that will read is named first. For large sets: any other
    /// becomes a table.
    pub(crate) fn load(&mut self, group: &[(&[u8], ())], ask: impl Fn(usize)) {
        self.become_table().load(group, ask, |()| (), |_, _, _, ()| {});
    }

    /// The same, for a member of another set.
    pub fn add_elem(&mut self, member: Elem<'_>, limits: &Encodings) -> bool {
        self.add(member.text(&mut itoa::Buffer::new()), limits)
    }

    /// The first member that is not an integer ends the run of integers.
    fn add_text_to_ints(&mut self, member: &[u8], limits: &Encodings) -> bool {
        let Form::Ints(ints) = &self.form else { unreachable!("the caller saw a run of integers") };
        let n = ints.len();
        let longest = if n == 0 { 0 } else { digits(ints.at(0)).max(digits(ints.at(n - 1))) };
        if n < limits.set_entries && member.len().max(longest) <= limits.set_value {
            let mut run = Packed::new();
            let mut text = itoa::Buffer::new();
            ints.iter().for_each(|n| run.push(text.format(n).as_bytes()));
            run.push(member);
            self.form = Form::Packed(run);
        } else {
            self.become_table().insert(member, ());
        }
        true
    }

    fn become_table(&mut self) -> &mut Table<()> {
        if !self.is_table() {
            let mut table = Box::<Table<()>>::default();
            let mut text = itoa::Buffer::new();
            self.each(|member| {
                table.insert(member.text(&mut text), ());
            });
            self.form = Form::Table(table);
        }
        match &mut self.form {
            Form::Table(table) => table,
            _ => unreachable!("made a table above"),
        }
    }

    /// Makes a set whose members are all integers a run of integers, if it is not too long for one.
    pub fn become_intset(&mut self, limits: &Encodings) {
        if self.is_intset() || self.len() > limits.set_intset_entries {
            return;
        }
        let mut ints = Ints::default();
        let mut text = itoa::Buffer::new();
        self.each(|member| {
            let n = number::parse_i64(member.text(&mut text));
            ints.insert(n.expect("the caller found only integers"));
        });
        self.form = Form::Ints(ints);
    }

    /// Removes `member`; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|n| ints.remove(n)),
            Form::Packed(run) => {
                let Some(at) = run.find(member, 0, 1) else { return false };
                run.remove(at, 1);
                run.shrink();
                true
            }
            Form::Table(table) => table.remove(member).is_some(),
        }
    }

    /// Visits all members.
    pub fn each<'a>(&'a self, mut visit: impl FnMut(Elem<'a>)) {
        match &self.form {
            Form::Ints(ints) => ints.iter().for_each(|n| visit(Elem::Int(n))),
            Form::Packed(run) => run.iter().for_each(visit),
            Form::Table(table) => table.iter().for_each(|(member, ())| visit(Elem::Bytes(member))),
        }
    }

    /// The same, until `visit` says that it is enough by answering false.
    pub fn each_while<'a>(&'a self, mut visit: impl FnMut(Elem<'a>) -> bool) {
        // `all` stops at the first false, which is all that is wanted of it.
        let _ = match &self.form {
            Form::Ints(ints) => ints.iter().all(|n| visit(Elem::Int(n))),
            Form::Packed(run) => run.iter().all(visit),
            Form::Table(table) => table.iter().all(|(member, ())| visit(Elem::Bytes(member))),
        };
    }

    /// The member with number `i`, which is below [`len`](Self::len). A fair draw of a member is a fair draw of a
    /// number.
    pub fn at(&self, i: usize) -> Elem<'_> {
        match &self.form {
            Form::Ints(ints) => Elem::Int(ints.at(i)),
            Form::Packed(run) => {
                let at = run.position(i as i64).expect("there are more than i members");
                run.read(at).expect("the position is that of an element").0
            }
            Form::Table(table) => Elem::Bytes(table.at(i).0),
        }
    }

    /// Removes the member with number `i`, which is below [`len`](Self::len); other members' numbers may change.
    pub fn remove_at(&mut self, i: usize) {
        match &mut self.form {
            Form::Ints(ints) => ints.remove_at(i),
            Form::Packed(run) => {
                let at = run.position(i as i64).expect("there are more than i members");
                run.remove(at, 1);
                run.shrink();
            }
            Form::Table(table) => {
                table.remove_at(i);
            }
        }
    }

    /// Visits the members with the given numbers, in the order given, until `visit` fails.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub fn pick<'a, E>(
        &'a self,
        numbers: impl Iterator<Item = usize>,
        visit: impl FnMut(Elem<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.form {
            Form::Packed(run) => {
                let all: Vec<_> = run.iter().collect();
                numbers.map(|i| all[i]).try_for_each(visit)
            }
            _ => numbers.map(|i| self.at(i)).try_for_each(visit),
        }
    }

    /// One step of a scan, as [`Table::scan`]; a set that is no table is visited whole by any cursor.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Elem<'a>)) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, |member, ()| visit(Elem::Bytes(member))),
            _ => {
                self.each(visit);
                0
            }
        }
    }
}

#[cfg(test)]
mod tests;
