//! Wraps the program's allocator: what is given back is wiped, or kept at hand (`held.rs`). The one module with `unsafe` in it.
//!
//! Libraries wipe no buffer of theirs, and a key on its way out of a vault passes through several: TLS's, HTTP's, JSON's, age's.
//! So every thread wipes what it frees, except those that say that no key passes through memory that they free: workers, to
//! which keys come in the arena and which wipe the heads that they write themselves, and the log's own. They carry the load,
//! and wiping costs a fifth of it. A thread that nobody thought of wipes.

#![allow(unsafe_code, reason = "an allocator cannot be wrapped without it")]

mod code;
mod held;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

pub use code::let_go_of_code;
use held::{Held, class_of, layout_of};

thread_local! {
    /// Whether this thread may leave what it frees as it is. A constant without a destructor: to look at it allocates
    /// nothing, and it is there until the thread's very end.
    static SPARED: Cell<bool> = const { Cell::new(false) };
    /// What a spared thread has freed and gets again.
    static HELD: Held = const { Held::new() };
}

/// For a thread through whose freed memory no key passes: it stops wiping, and keeps at hand what it frees, until what this
/// returns is dropped.
#[must_use = "the thread is spared for as long as it lives"]
pub fn spare_this_thread() -> Spared {
    SPARED.set(true);
    Spared(PhantomData)
}

/// A thread that is spared.
pub struct Spared(PhantomData<*const ()>);

impl Drop for Spared {
    fn drop(&mut self) {
        SPARED.set(false);
        HELD.with(Held::let_go);
    }
}

/// Runs this with wiping, on whatever thread.
pub fn wiping<T>(work: impl FnOnce() -> T) -> T {
    /// Also when the work panics.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            SPARED.set(self.0);
        }
    }
    let _back = Back(SPARED.replace(false));
    work()
}

/// Gives what this thread has freed back to the system, for a thread that works hard now and then: else it would keep it until
/// it works again.
pub fn give_back() {
    HELD.with(Held::let_go);
    // SAFETY: any thread may call them at any time; they touch memory that nobody has. The second is for what libraries in C allocate.
    unsafe {
        libmimalloc_sys::mi_collect(true);
        #[cfg(target_env = "gnu")]
        libc::malloc_trim(0);
    }
}

/// Wraps an allocator.
pub struct Wiping<A>(pub A);

// SAFETY: every block comes from the wrapped allocator, with the layout that it is given back with: the caller's, or the one of
// its class, which is as large at least and aligned as well. Of a class are all blocks with such a size, whoever allocated them. What
// is done besides is to write over a block that its owner has given up, within its size, and to hand it out again once.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promises are handed on.
            return unsafe { self.0.alloc(layout) };
        };
        match HELD.with(|held| held.take(class)) {
            Some(block) => block,
            // SAFETY: its size is not 0.
            None => unsafe { self.0.alloc(layout_of(class)) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promises are handed on.
            return unsafe { self.0.alloc_zeroed(layout) };
        };
        match HELD.with(|held| held.take(class)) {
            Some(block) => {
                // SAFETY: the block is as long as that, and nobody else has it.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: its size is not 0.
            None => unsafe { self.0.alloc_zeroed(layout_of(class)) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let class = class_of(layout);
        if SPARED.get() {
            // SAFETY: the block was allocated as one of this class, and its owner gives it up.
            if class.is_some_and(|class| HELD.with(|held| unsafe { held.hold(class, block) })) {
                return;
            }
        } else {
            // SAFETY: the block was allocated with this layout and nobody uses it any more.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: this is what it was allocated with.
        unsafe { self.0.dealloc(block, class.map_or(layout, layout_of)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is not 0 and fits the alignment.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if SPARED.get() {
            let (before, after) = (class_of(layout), class_of(larger));
            if before.is_none() && after.is_none() {
                // SAFETY: the caller's promises are handed on.
                return unsafe { self.0.realloc(block, layout, size) };
            }
            if before == after {
                return block;
            }
        }
        // A block that the allocator moves leaves a copy behind that nobody can reach any more; so it is moved here.
        // SAFETY: the caller promises that the size is not 0.
        let moved = unsafe { self.alloc(larger) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least that long, and a fresh one overlaps no other; then the old one is given up.
            unsafe {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

/// Zeros over a block that is about to be given back.
///
/// # Safety
/// The block is as long as that, and nobody reads it afterwards.
#[inline(never)]
unsafe fn wipe(block: *mut u8, size: usize) {
    // Nothing reads these zeros; the compiler must not conclude that they need not be written.
    // SAFETY: the caller's promise.
    unsafe { std::hint::black_box(block).write_bytes(0, size) };
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests;
