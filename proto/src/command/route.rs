//! What the router does with a command.

/// How the router treats a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Forward to the owner of its keys' slot; keys in several slots answer `CROSSSLOT`.
    Slot,
    /// Split by node, run the parts concurrently and merge; keys may be in any slots. `step` arguments
    /// belong to each key.
    Split {
        /// Arguments per key (1: `MGET`; 2: `MSET`).
        step: u8,
        /// How the partial replies become one.
        merge: Merge,
    },
    /// Send to every node and merge.
    AllNodes(Merge),
    /// Answered by the router itself.
    Local,
    /// Not through the router.
    Refused(&'static str),
}

/// How partial replies become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// One array; each key's element keeps its place.
    Values,
    /// The sum of integers.
    Sum,
    /// `+OK` if every part says so, else the first error.
    AllOk,
    /// Arrays one after another.
    Concat,
    /// A cursor over the whole cluster.
    Scan,
    /// One of the nodes that has an answer, weighted by its share.
    Random,
    /// `INFO`-like text, sections merged field by field.
    Info,
    /// Rule of its own, written in the router next to the command.
    Special,
}

/// Whether Shoal executes a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Complete.
    Built,
    /// Known, on the way: answers an error that says so.
    Planned,
    /// Known, and will not come: the text says why.
    Never(&'static str),
}
