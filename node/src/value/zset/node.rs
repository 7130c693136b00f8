//! The nodes of the [`Order`](super::order::Order): fixed arrays, so that a node is one allocation and a search runs
//! over numbers that lie next to each other.

/// Items of a leaf, and children of an inner node. 64 scores are eight cache lines.
pub(super) const CAP: usize = 64;

/// No leaf.
pub(super) const NONE: u32 = u32::MAX;

/// An item: its score, and the number of its member in the table.
pub(super) type Item = (f64, u32);

/// Sorted items, linked to the leaves before and after.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) len: usize,
    pub(super) scores: [f64; CAP],
    pub(super) ids: [u32; CAP],
}

impl Leaf {
    pub(super) fn new() -> Self {
        Self { prev: NONE, next: NONE, len: 0, scores: [0.0; CAP], ids: [0; CAP] }
    }

    pub(super) fn item(&self, at: usize) -> Item {
        (self.scores[at], self.ids[at])
    }

    /// How many items satisfy `before`, which holds for a first part of them.
    #[inline]
    pub(super) fn partition(&self, before: impl Fn(Item) -> bool) -> usize {
        partition(&self.scores[..self.len], &self.ids[..self.len], before)
    }

    pub(super) fn insert(&mut self, at: usize, (score, id): Item) {
        open(&mut self.scores, self.len, at, score);
        open(&mut self.ids, self.len, at, id);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.scores.copy_within(at + 1..self.len, at);
        self.ids.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// Moves the items from `at` on into a new leaf.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::new();
        right.len = self.len - at;
        right.scores[..right.len].copy_from_slice(&self.scores[at..self.len]);
        right.ids[..right.len].copy_from_slice(&self.ids[at..self.len]);
        self.len = at;
        right
    }

    pub(super) fn append(&mut self, right: &Self) {
        let end = self.len + right.len;
        self.scores[self.len..end].copy_from_slice(&right.scores[..right.len]);
        self.ids[self.len..end].copy_from_slice(&right.ids[..right.len]);
        self.len = end;
    }
}

/// Children with the first item below each and the number of items below each.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) len: usize,
    pub(super) scores: [f64; CAP],
    pub(super) ids: [u32; CAP],
    pub(super) children: [u32; CAP],
    pub(super) counts: [u32; CAP],
}

/// One child of an inner node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child {
    pub(super) first: Item,
    pub(super) node: u32,
    pub(super) count: u32,
}

impl Inner {
    pub(super) fn new() -> Self {
        Self { len: 0, scores: [0.0; CAP], ids: [0; CAP], children: [0; CAP], counts: [0; CAP] }
    }

    /// The first item below the first child.
    pub(super) fn first(&self) -> Item {
        (self.scores[0], self.ids[0])
    }

    /// The last child whose first item satisfies `before`; the first child if none does.
    #[inline]
    pub(super) fn child_for(&self, before: impl Fn(Item) -> bool) -> usize {
        partition(&self.scores[..self.len], &self.ids[..self.len], before).saturating_sub(1)
    }

    /// The child that holds the item of this rank, and the item's rank within it.
    pub(super) fn child_at(&self, mut rank: usize) -> (usize, usize) {
        let mut at = 0;
        while at + 1 < self.len && rank >= self.counts[at] as usize {
            rank -= self.counts[at] as usize;
            at += 1;
        }
        (at, rank)
    }

    /// Items below the children before `at`.
    pub(super) fn count_before(&self, at: usize) -> usize {
        self.counts[..at].iter().map(|n| *n as usize).sum()
    }

    /// Items below all children.
    pub(super) fn count(&self) -> u32 {
        self.counts[..self.len].iter().sum()
    }

    pub(super) fn set_first(&mut self, at: usize, (score, id): Item) {
        self.scores[at] = score;
        self.ids[at] = id;
    }

    pub(super) fn insert(&mut self, at: usize, child: Child) {
        open(&mut self.scores, self.len, at, child.first.0);
        open(&mut self.ids, self.len, at, child.first.1);
        open(&mut self.children, self.len, at, child.node);
        open(&mut self.counts, self.len, at, child.count);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.scores.copy_within(at + 1..self.len, at);
        self.ids.copy_within(at + 1..self.len, at);
        self.children.copy_within(at + 1..self.len, at);
        self.counts.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// Moves the children from `at` on into a new node.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::new();
        right.len = self.len - at;
        right.scores[..right.len].copy_from_slice(&self.scores[at..self.len]);
        right.ids[..right.len].copy_from_slice(&self.ids[at..self.len]);
        right.children[..right.len].copy_from_slice(&self.children[at..self.len]);
        right.counts[..right.len].copy_from_slice(&self.counts[at..self.len]);
        self.len = at;
        right
    }

    pub(super) fn append(&mut self, right: &Self) {
        let end = self.len + right.len;
        self.scores[self.len..end].copy_from_slice(&right.scores[..right.len]);
        self.ids[self.len..end].copy_from_slice(&right.ids[..right.len]);
        self.children[self.len..end].copy_from_slice(&right.children[..right.len]);
        self.counts[self.len..end].copy_from_slice(&right.counts[..right.len]);
        self.len = end;
    }
}

/// Makes room at `at` among the first `len` elements and puts `value` there.
fn open<T: Copy>(array: &mut [T], len: usize, at: usize, value: T) {
    array.copy_within(at..len, at + 1);
    array[at] = value;
}

/// Binary search over items that lie in two parallel arrays.
#[inline]
fn partition(scores: &[f64], ids: &[u32], before: impl Fn(Item) -> bool) -> usize {
    let (mut low, mut high) = (0, scores.len());
    while low < high {
        let middle = low.midpoint(high);
        if before((scores[middle], ids[middle])) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
