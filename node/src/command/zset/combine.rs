//! `ZUNION`, `ZINTER`, `ZDIFF`, their storing forms and `ZINTERCARD`. Plain sets are welcome as inputs; their
//! members score 1.

use std::{borrow::Cow, collections::HashMap};

use ahash::RandomState;
use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{begin, pair, store};
use crate::{
    store::Db,
    value::{
        Set, Typed, Value, Zset,
        packed::Elem,
        zset::{Pair, sort, text},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores of a member that several inputs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => number_or_zero(a + b),
            // Written so that a `b` that is not a number changes nothing.
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// By Redis's convention `inf - inf` and `0 * inf` are 0.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Which options a command has.
#[derive(Debug, Clone, Copy)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Index of the number of keys: 2 after a destination.
    keys_at: usize,
    /// Whether only the number of members is asked for.
    count_only: bool,
}

impl Form {
    const fn reply(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, keys_at: 1, count_only: false }
    }

    const fn store(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, keys_at: 2, count_only: false }
    }
}

pub(super) fn zunion(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    answer(db, args, Form::reply("zunion", Operation::Union), out)
}

pub(super) fn zinter(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    answer(db, args, Form::reply("zinter", Operation::Intersection), out)
}

pub(super) fn zdiff(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    answer(db, args, Form::reply("zdiff", Operation::Difference), out)
}

pub(super) fn zunionstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    keep(db, args, Form::store("zunionstore", Operation::Union), out)
}

pub(super) fn zinterstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    keep(db, args, Form::store("zinterstore", Operation::Intersection), out)
}

pub(super) fn zdiffstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    keep(db, args, Form::store("zdiffstore", Operation::Difference), out)
}

pub(super) fn zintercard(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let form = Form { count_only: true, ..Form::reply("zintercard", Operation::Intersection) };
    let query = Query::read(db, args, form)?;
    let mut n = 0;
    query.intersect(|_, _| {
        n += 1;
        n != query.limit
    });
    out.int(n);
    Ok(())
}

/// Answers the members of the result.
fn answer(db: &mut Db<'_>, args: Args<'_>, form: Form, out: &mut Reply<'_>) -> Result {
    let query = Query::read(db, args, form)?;
    let mut result = query.run(form.operation);
    sort(&mut result);
    begin(out, result.len(), query.scores);
    for (member, score) in &result {
        pair(out, Elem::Bytes(member), *score, query.scores);
    }
    Ok(())
}

/// Stores the result.
fn keep(db: &mut Db<'_>, args: Args<'_>, form: Form, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let result = Zset::from_pairs(Query::read(db, args, form)?.run(form.operation), &limits);
    store(db, args.at(1), result, out);
    Ok(())
}

/// A value whose members are combined.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Nothing,
    Set(&'a Set),
    Zset(&'a Zset),
}

impl<'a> Source<'a> {
    fn of(value: Option<&'a Value>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::Nothing) };
        let zset = Zset::of(value).map(Self::Zset);
        zset.or_else(|| Set::of(value).map(Self::Set)).ok_or(Error::WrongType)
    }

    fn len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Set(set) => set.len(),
            Self::Zset(zset) => zset.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Nothing => None,
            Self::Set(set) => set.contains(member).then_some(1.0),
            Self::Zset(zset) => zset.score(member),
        }
    }

    /// Visits members and scores until `visit` answers false.
    fn each_while(self, mut visit: impl FnMut(Elem<'a>, f64) -> bool) {
        match self {
            Self::Nothing => {}
            Self::Set(set) => set.each_while(|member| visit(member, 1.0)),
            Self::Zset(zset) => {
                zset.all().all(|(member, score)| visit(member, score));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    source: Source<'a>,
    weight: f64,
}

/// Inputs and options.
#[derive(Debug)]
struct Query<'a> {
    inputs: Vec<Input<'a>>,
    aggregate: Aggregate,
    scores: bool,
    /// 0: none.
    limit: i64,
}

impl<'a> Query<'a> {
    /// Looks up the keys and reads the options, in Redis's order.
    fn read(db: &'a mut Db<'_>, args: Args<'_>, form: Form) -> Result<Self> {
        let keys = number::parse_i64(args.at(form.keys_at)).ok_or(Error::NotInteger)?;
        if keys < 1 {
            let name = form.name;
            return Err(Error::owned(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let rest = args.from(form.keys_at + 1);
        let keys = usize::try_from(keys).ok().filter(|n| *n <= rest.len()).ok_or(Error::Syntax)?;
        let mut inputs = Vec::with_capacity(keys);
        for value in db.read_each(rest.iter().take(keys)) {
            inputs.push(Input { source: Source::of(value)?, weight: 1.0 });
        }
        let mut query = Self { inputs, aggregate: Aggregate::Sum, scores: false, limit: 0 };
        query.options(rest.from(keys), form)?;
        if form.operation != Operation::Difference {
            query.inputs.sort_by_key(|input| input.source.len());
        }
        Ok(query)
    }

    fn options(&mut self, args: Args<'_>, form: Form) -> Result {
        let weighted = form.operation != Operation::Difference && !form.count_only;
        let mut i = 0;
        while i < args.len() {
            let left = args.len() - i - 1;
            if weighted && left >= self.inputs.len() && args.is(i, "weights") {
                for input in &mut self.inputs {
                    i += 1;
                    let weight = number::parse_f64(args.at(i));
                    input.weight = weight.ok_or(Error::text("ERR weight value is not a float"))?;
                }
            } else if weighted && left >= 1 && args.is(i, "aggregate") {
                i += 1;
                self.aggregate = match () {
                    () if args.is(i, "sum") => Aggregate::Sum,
                    () if args.is(i, "min") => Aggregate::Min,
                    () if args.is(i, "max") => Aggregate::Max,
                    () => return Err(Error::Syntax),
                };
            } else if form.keys_at == 1 && !form.count_only && args.is(i, "withscores") {
                self.scores = true;
            } else if form.count_only && left >= 1 && args.is(i, "limit") {
                i += 1;
                let limit = number::parse_i64(args.at(i)).filter(|n| *n >= 0);
                self.limit = limit.ok_or(Error::text("ERR LIMIT can't be negative"))?;
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        Ok(())
    }

    /// The result, in no order.
    fn run(&self, operation: Operation) -> Vec<Pair<'a>> {
        match operation {
            Operation::Union => self.union(),
            Operation::Difference => self.difference(),
            Operation::Intersection => {
                let mut result = Vec::new();
                self.intersect(|member, score| {
                    result.push((text(member), score));
                    true
                });
                result
            }
        }
    }

    fn union(&self) -> Vec<Pair<'a>> {
        if let [input] = &self.inputs[..] {
            let mut result = Vec::with_capacity(input.source.len());
            input.source.each_while(|member, score| {
                result.push((text(member), number_or_zero(input.weight * score)));
                true
            });
            return result;
        }
        let largest = self.inputs.last().map_or(0, |input| input.source.len());
        let mut result: HashMap<Cow<'a, [u8]>, f64, RandomState> =
            HashMap::with_capacity_and_hasher(largest, RandomState::new());
        for input in &self.inputs {
            input.source.each_while(|member, score| {
                let score = number_or_zero(input.weight * score);
                let all = result.entry(text(member));
                all.and_modify(|sum| *sum = self.aggregate.of(*sum, score)).or_insert(score);
                true
            });
        }
        result.into_iter().collect()
    }

    /// Visits the members that all inputs have, until `visit` answers false. The smallest input comes first.
    fn intersect(&self, mut visit: impl FnMut(Elem<'a>, f64) -> bool) {
        let [first, others @ ..] = &self.inputs[..] else { return };
        first.source.each_while(|member, score| {
            let mut buffer = itoa::Buffer::new();
            let member_text = member.text(&mut buffer);
            let mut all = number_or_zero(first.weight * score);
            for other in others {
                let Some(score) = other.source.score(member_text) else { return true };
                all = self.aggregate.of(all, score * other.weight);
            }
            visit(member, all)
        });
    }

    fn difference(&self) -> Vec<Pair<'a>> {
        let mut result = Vec::new();
        let [first, others @ ..] = &self.inputs[..] else { return result };
        // The largest is the likeliest to have a member.
        let mut others: Vec<_> = others.iter().map(|input| input.source).collect();
        others.sort_by_key(|source| std::cmp::Reverse(source.len()));
        first.source.each_while(|member, score| {
            let mut buffer = itoa::Buffer::new();
            let member_text = member.text(&mut buffer);
            if !others.iter().any(|other| other.score(member_text).is_some()) {
                result.push((text(member), score));
            }
            true
        });
        result
    }
}
