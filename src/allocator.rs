//! Wraps the program's allocator: what is given back is wiped. The one module with `unsafe` in it.
//!
//! Libraries wipe no buffer of theirs, and a key on its way out of a vault passes through several: TLS's, HTTP's, JSON's, age's.
//! So every thread wipes what it frees, except those that say that no key passes through memory that they free: workers, to
//! which keys come in the arena and which wipe the heads that they write themselves, and the log's own. They carry the load,
//! and wiping costs a fifth of it. A thread that nobody thought of wipes.

#![allow(unsafe_code, reason = "an allocator cannot be wrapped without it")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{Ordering, compiler_fence};

thread_local! {
    /// Whether this thread may leave what it frees as it is. A constant without a destructor: to look at it allocates
    /// nothing, and it is there until the thread's very end.
    static SPARED: Cell<bool> = const { Cell::new(false) };
}

/// For a thread through whose freed memory no key passes: it stops wiping.
pub fn spare_this_thread() {
    SPARED.set(true);
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
    // SAFETY: any thread may call it at any time; it touches memory that nobody has.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Wraps an allocator.
pub struct Wiping<A>(pub A);

// SAFETY: every block comes from the wrapped allocator, with the layout that it is given back with, by the same calls that the
// caller made; what is done besides is to write zeros over a block that its owner has given up, within its size.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !SPARED.get() {
            // SAFETY: the block was allocated with this layout and nobody uses it any more.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promises are handed on.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if SPARED.get() {
            // SAFETY: the caller's promises are handed on.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        // A block that the allocator moves leaves a copy behind that nobody can reach any more; so it is moved here.
        // SAFETY: the caller promises that the size is not 0 and fits the alignment.
        let moved = unsafe { self.0.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
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
mod tests {
    use std::alloc::System;
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// What stood in the blocks that were given back.
        static GIVEN_BACK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    /// The system's allocator, behind one that looks at what it gets back.
    struct Watched;

    // SAFETY: the system's allocator does all of it.
    unsafe impl GlobalAlloc for Watched {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: handed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the block is still there, as long as its layout says, and was written by the test.
            let content = unsafe { std::slice::from_raw_parts(block, layout.size()) }.to_vec();
            GIVEN_BACK.with_borrow_mut(|blocks| blocks.push(content));
            // SAFETY: handed on.
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// Frees a block full of one byte; what was left in it.
    fn freed() -> Vec<u8> {
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: allocated, written within its size, and given back with its layout.
        unsafe {
            let block = Wiping(Watched).alloc(layout);
            block.write_bytes(0xa5, 100);
            Wiping(Watched).dealloc(block, layout);
        }
        GIVEN_BACK.take().pop().unwrap()
    }

    #[test]
    fn a_thread_wipes_what_it_frees_unless_it_is_spared_and_then_while_it_is_told_to() {
        let (wiped, left) = (vec![0; 100], vec![0xa5; 100]);
        std::thread::spawn(move || {
            assert_eq!(freed(), wiped);
            spare_this_thread();
            assert_eq!(freed(), left);
            assert_eq!(wiping(freed), wiped);
            assert_eq!(freed(), left);
            assert!(std::panic::catch_unwind(|| wiping(|| panic!("on purpose"))).is_err());
            assert_eq!(freed(), left);
        })
        .join()
        .unwrap();
        assert_eq!(freed(), vec![0; 100]);
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_what_is_in_it_and_leaves_nothing_behind() {
        let layout = Layout::from_size_align(100, 8).unwrap();
        for size in [4000, 10] {
            // SAFETY: allocated, written and read within its size, and given back with its layout.
            unsafe {
                let block = Wiping(Watched).alloc(layout);
                block.write_bytes(0xa5, 100);
                let other = Wiping(Watched).realloc(block, layout, size);
                assert_eq!(GIVEN_BACK.take(), [vec![0; 100]]);
                assert!((0..size.min(100)).all(|at| other.add(at).read() == 0xa5));
                Wiping(Watched).dealloc(other, Layout::from_size_align(size, 8).unwrap());
            }
            GIVEN_BACK.take();
        }
    }
}
