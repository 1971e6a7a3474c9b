//! A turn is any unit of work that enters the hub: one read of a WebSocket, one HTTP request, a
//! batch of the engine, a timer tick. It gathers the links that got something to write and flushes
//! each once when it ends, after all room locks are released.
//!
//! The current turn is a property of the thread, so that the engine can deliver from inside a
//! publish and still share the turn that caused it. A turn is not `Send`: it cannot be held across
//! an await.

use std::{cell::RefCell, marker::PhantomData, sync::Arc};

use super::{link::Link, rooms::RoomCell};

/// A thousand writes hold a worker for milliseconds; after this many the rest is a task of its
/// own that yields between slices.
const SLICE: usize = 256;

#[derive(Default)]
struct Current {
    depth: usize,
    dirty: Vec<Arc<Link>>,
    /// Rooms that hold moves back until the turn ends.
    holding: Vec<Arc<RoomCell>>,
}

thread_local! {
    static CURRENT: RefCell<Current> = RefCell::default();
}

/// The guard of a turn; the outermost one flushes.
#[must_use = "a turn ends when it is dropped"]
pub struct Turn(PhantomData<*const ()>);

impl Turn {
    /// Begins a turn, or joins the one that this thread is in.
    pub fn begin() -> Self {
        CURRENT.with_borrow_mut(|current| current.depth += 1);
        Self(PhantomData)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Under the guard of an inner turn nothing is over yet.
        let next = |current: &mut Current| if current.depth == 1 { current.holding.pop() } else { None };
        while let Some(cell) = CURRENT.with_borrow_mut(next) {
            // To lock it is to have it send them.
            drop(cell.lock());
        }
        let dirty = CURRENT.with_borrow_mut(|current| {
            current.depth -= 1;
            if current.depth == 0 { std::mem::take(&mut current.dirty) } else { Vec::new() }
        });
        if dirty.is_empty() {
            return;
        }
        let mut dirty = flush_slice(dirty);
        if dirty.is_empty() {
            // The list keeps its capacity for this thread's next turn.
            CURRENT.with_borrow_mut(|current| {
                if current.dirty.capacity() < dirty.capacity() && dirty.capacity() <= SLICE {
                    std::mem::swap(&mut current.dirty, &mut dirty);
                }
            });
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while !dirty.is_empty() {
                    tokio::task::yield_now().await;
                    dirty = flush_slice(dirty);
                }
            });
        } else {
            dirty.iter().for_each(|link| link.flush());
        }
    }
}

/// Flushes up to [`SLICE`] links and returns the others, in order.
fn flush_slice(mut dirty: Vec<Arc<Link>>) -> Vec<Arc<Link>> {
    let count = dirty.len().min(SLICE);
    for link in dirty.drain(..count) {
        link.flush();
    }
    dirty
}

/// Notes that a room holds moves back.
pub(super) fn holds_back(cell: &Arc<RoomCell>) {
    CURRENT.with_borrow_mut(|current| current.holding.push(cell.clone()));
}

/// Notes that a link has something to write. Outside any turn it is flushed at once.
pub(super) fn mark(link: &Arc<Link>) {
    let in_turn = CURRENT.with_borrow_mut(|current| {
        if current.depth > 0 {
            current.dirty.push(link.clone());
        }
        current.depth > 0
    });
    if !in_turn {
        link.flush();
    }
}
