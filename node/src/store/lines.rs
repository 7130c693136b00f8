//! Where the items of one slot are listed: few of them need no line, the lines of most slots lie in one allocation, and those of a
//! slot with very many in segments, which never move. A table that grew by moving all of them would hold up whoever waits for
//! its shard for tens of milliseconds.

use super::{few::Few, line::Bucket};
use crate::value::segments::{SEGMENT, Segments};

/// A slot with more lines has them in segments, of which the last is not full: that is little of so many. One with a segment less
/// has them in one allocation.
const MANY: usize = 8 * SEGMENT;

/// Lines of a slot, all of them in use; see the module's documentation.
#[derive(Debug)]
pub(super) enum Lines {
    /// There are none.
    None(Few),
    /// At least one, and at most [`MANY`].
    Some(Vec<Bucket>),
    /// More than that, or a segment less.
    Many(Box<Segments<Bucket>>),
}

impl Default for Lines {
    fn default() -> Self {
        Self::None(Few::default())
    }
}

impl Lines {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None(_) => 0,
            Self::Some(lines) => lines.len(),
            Self::Many(lines) => lines.len(),
        }
    }

    /// Bytes of all of them with the room for more.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        match self {
            Self::None(_) => 0,
            Self::Some(lines) => lines.capacity() * size_of::<Bucket>(),
            Self::Many(lines) => lines.memory(),
        }
    }

    /// A line that is there.
    #[inline]
    pub(super) fn line(&self, at: usize) -> &Bucket {
        match self {
            Self::Some(lines) => &lines[at],
            Self::Many(lines) => &lines[at],
            Self::None(_) => unreachable!("few items have no lines"),
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn line_mut(&mut self, at: usize) -> &mut Bucket {
        match self {
            Self::Some(lines) => &mut lines[at],
            Self::Many(lines) => &mut lines[at],
            Self::None(_) => unreachable!("few items have no lines"),
        }
    }

    /// Adds a line, and room for few others: the table is no larger than it must be.
    pub(super) fn push(&mut self, line: Bucket) {
        match self {
            Self::None(_) => *self = Self::Some(vec![line]),
            Self::Some(lines) if lines.len() == MANY => {
                let many = std::mem::take(lines).into_iter().chain([line]).collect();
                *self = Self::Many(Box::new(many));
            }
            Self::Some(lines) => {
                if lines.len() == lines.capacity() {
                    lines.reserve_exact((1 + lines.len() / 16).min(MANY - lines.len()));
                }
                lines.push(line);
            }
            Self::Many(lines) => lines.push(line),
        }
    }

    /// Removes a line; the last one takes its place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        match self {
            Self::None(_) => unreachable!("few items have no lines"),
            Self::Some(lines) => {
                lines.swap_remove(at);
            }
            Self::Many(lines) => {
                lines.swap_remove(at);
                if lines.len() < MANY - SEGMENT {
                    *self = Self::Some(lines.iter().cloned().collect());
                }
            }
        }
    }

    /// Two lines change places.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        let line = self.line(one).clone();
        let line = std::mem::replace(self.line_mut(other), line);
        *self.line_mut(one) = line;
    }

    /// Gives room back of which much is unused.
    pub(super) fn shrink(&mut self) {
        if let Self::Some(lines) = self
            && lines.capacity() > lines.len() + lines.len() / 4 + 1
        {
            lines.shrink_to_fit();
        }
    }

    /// Puts the lines into a new allocation, with no more room than they need, unless they lie in segments.
    pub(super) fn reallocate(&mut self) {
        if let Self::Some(lines) = self {
            *lines = lines.as_slice().to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_and_go_over_the_borders_of_segments() {
        let named = |due: u32| Bucket { due, ..Bucket::new() };
        let (mut lines, mut model) = (Lines::default(), Vec::new());
        let check = |lines: &Lines, model: &[u32]| {
            assert_eq!(lines.len(), model.len());
            assert!((0..model.len()).all(|at| lines.line(at).due == model[at]));
        };
        for n in 0..(MANY + 3 * SEGMENT) as u32 {
            lines.push(named(n));
            model.push(n);
            if n > 0 {
                lines.swap(n as usize / 3, n as usize);
                model.swap(n as usize / 3, n as usize);
            }
        }
        check(&lines, &model);
        while model.len() > 1 {
            let at = (model.len() * 31 + 17) % model.len();
            lines.swap_remove(at);
            model.swap_remove(at);
            lines.shrink();
            if model.len() % 997 == 0 || model.len().abs_diff(MANY - SEGMENT) < 3 {
                lines.reallocate();
                check(&lines, &model);
                let most = model.len() * 5 / 4 + SEGMENT;
                assert!(lines.allocated() <= most * size_of::<Bucket>(), "{} lines", model.len());
                assert_eq!(matches!(lines, Lines::Many(_)), model.len() >= MANY - SEGMENT);
            }
        }
    }
}
