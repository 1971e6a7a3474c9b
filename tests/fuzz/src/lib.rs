//! What the targets share: a bound on the memory that one input may take.
//!
//! libFuzzer's own bound on allocations needs a sanitizer, and its bound on the whole process is far
//! above what a message of a few kilobytes should cost. So the allocator counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static MEMORY: Counting = Counting;

fn grow(size: usize) {
    PEAK.fetch_max(LIVE.fetch_add(size, Relaxed) + size, Relaxed);
}

fn shrink(size: usize) {
    LIVE.fetch_sub(size, Relaxed);
}

// SAFETY: every call is handed to the system's allocator as it came; only sizes are added up.
#[allow(unsafe_code, reason = "there is no other way to count allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does `work`, which may at no time hold more than this many bytes beyond what was held before.
/// Targets have one thread, so nobody else is counted.
///
/// # Panics
/// When it holds more.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    let taken = PEAK.load(Relaxed) - before;
    assert!(taken <= bytes, "{taken} bytes of memory were taken, {bytes} are enough");
    done
}
