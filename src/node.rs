//! Which process of a cluster.

use std::{fmt, num::NonZeroU64, str::FromStr};

use uuid::Uuid;

/// A life of one process: whoever comes back after it was given up for dead is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// Unlike any other.
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u64_pair().0.try_into().unwrap_or(NonZeroU64::MIN))
    }

    /// By its number, which is never 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// As a number.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Text that names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode;

impl FromStr for NodeId {
    type Err = NoNode;

    fn from_str(text: &str) -> Result<Self, NoNode> {
        let number = u64::from_str_radix(text, 16).map_err(|_| NoNode)?;
        (text.len() == 16).then_some(number).and_then(NonZeroU64::new).map(Self).ok_or(NoNode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back() {
        let node = NodeId::random();
        assert_eq!(node.to_string().parse(), Ok(node));
        for bad in ["", "0000000000000000", "1", "x000000000000001"] {
            assert_eq!(bad.parse::<NodeId>(), Err(NoNode), "{bad}");
        }
    }
}
