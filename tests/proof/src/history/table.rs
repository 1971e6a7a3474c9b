//! Names and contents as small numbers.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

/// A number of its own kind, so that a room is not taken for a client.
pub trait No: Copy {
    /// The number in a table.
    fn of(index: usize) -> Self;
    /// Its place in the table.
    fn index(self) -> usize;
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident($int:ty),)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name(pub $int);

            impl No for $name {
                fn of(index: usize) -> Self {
                    Self(<$int>::try_from(index).expect("a run is not that large"))
                }

                fn index(self) -> usize {
                    self.0 as usize
                }
            }
        )*
    };
}

number! {
    /// A client of the run.
    ClientNo(u16),
    /// A log: a room's or a user's.
    LogNo(u16),
    /// A peer id.
    PeerNo(u32),
    /// The bytes of an event.
    ContentNo(u32),
}

/// Byte strings, each kept once and numbered.
#[derive(Clone, Debug)]
pub struct Table<N> {
    items: Vec<Arc<[u8]>>,
    index: HashMap<Arc<[u8]>, usize>,
    kind: PhantomData<N>,
}

impl<N> Default for Table<N> {
    fn default() -> Self {
        Self { items: Vec::new(), index: HashMap::new(), kind: PhantomData }
    }
}

impl<N: No> Table<N> {
    /// The number of these bytes, a new one if they are new.
    pub fn no(&mut self, bytes: &[u8]) -> N {
        if let Some(&index) = self.index.get(bytes) {
            return N::of(index);
        }
        let item: Arc<[u8]> = bytes.into();
        self.items.push(Arc::clone(&item));
        self.index.insert(item, self.items.len() - 1);
        N::of(self.items.len() - 1)
    }

    /// The bytes with this number.
    pub fn bytes(&self, no: N) -> &[u8] {
        &self.items[no.index()]
    }

    /// The same as text.
    pub fn text(&self, no: N) -> String {
        String::from_utf8_lossy(self.bytes(no)).into_owned()
    }

    /// The number of these bytes, if they have one.
    pub fn find(&self, bytes: &[u8]) -> Option<N> {
        self.index.get(bytes).map(|&index| N::of(index))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (N, &[u8])> {
        self.items.iter().enumerate().map(|(index, item)| (N::of(index), &**item))
    }
}
