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
    HELD.with(Held::let_go);
    // SAFETY: any thread may call it at any time; it touches memory that nobody has.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Blocks up to this are held, bytes.
const LARGEST: usize = 16 * 1024;
/// Sizes are sixteen bytes apart up to this, and this far apart above it.
const STEP: usize = 1024;
const FINE: usize = STEP / ALIGN;
const CLASSES: usize = FINE + LARGEST / STEP - 1;
/// What every block is aligned to.
const ALIGN: usize = 16;
/// So many blocks of a class are held at most, and …
const MOST: usize = 64;
/// … so many bytes.
const ROOM: usize = 128 * 1024;

/// Blocks that a spared thread has freed: the last one is the next that it gets. The allocator below goes round all blocks of a page
/// before it hands one out again, so a call's blocks would be cold each time; and above a kilobyte it looks for a page each time.
struct Held {
    /// The last one of each class, which says in its first bytes which was the last one before it.
    last: [Cell<*mut u8>; CLASSES],
    count: [Cell<usize>; CLASSES],
}

thread_local! {
    static HELD: Held = const {
        Held { last: [const { Cell::new(std::ptr::null_mut()) }; CLASSES], count: [const { Cell::new(0) }; CLASSES] }
    };
}

/// The class of blocks with such a layout, if they are held.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size == 0 || size > LARGEST || layout.align() > ALIGN {
        return None;
    }
    Some(if size <= STEP { (size - 1) / ALIGN } else { FINE + (size - 1) / STEP - 1 })
}

/// What all blocks of a class are allocated with, on whatever thread.
#[inline]
fn layout_of(class: usize) -> Layout {
    let size = if class < FINE { (class + 1) * ALIGN } else { (class - FINE + 2) * STEP };
    // SAFETY: a small size, and a power of two.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

#[expect(clippy::cast_ptr_alignment, reason = "every block of a class is aligned to more than a pointer")]
impl Held {
    #[inline]
    fn take(&self, class: usize) -> Option<*mut u8> {
        let block = self.last[class].get();
        if block.is_null() {
            return None;
        }
        // SAFETY: the block is one that `hold` has written this to, and nobody has had it since.
        self.last[class].set(unsafe { block.cast::<*mut u8>().read() });
        self.count[class].set(self.count[class].get() - 1);
        Some(block)
    }

    /// False when there are enough of them.
    ///
    /// # Safety
    /// The block is one of the class, and its owner has given it up.
    #[inline]
    unsafe fn hold(&self, class: usize, block: *mut u8) -> bool {
        let count = self.count[class].get();
        if count >= MOST || count * layout_of(class).size() >= ROOM {
            return false;
        }
        // SAFETY: it is aligned and large enough for a pointer, as every block of a class is.
        unsafe { block.cast::<*mut u8>().write(self.last[class].get()) };
        self.last[class].set(block);
        self.count[class].set(count + 1);
        true
    }

    fn let_go(&self) {
        for class in 0..CLASSES {
            while let Some(block) = self.take(class) {
                // SAFETY: it came from there, by way of the one allocator that the program has.
                unsafe { libmimalloc_sys::mi_free(block.cast()) };
            }
        }
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

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// Allocates a block full of one byte.
    fn block(size: usize) -> *mut u8 {
        // SAFETY: written within its size.
        unsafe {
            let block = Wiping(Watched).alloc(layout(size));
            block.write_bytes(0xa5, size);
            block
        }
    }

    /// Gives a block back that `block` allocated.
    fn free(block: *mut u8, size: usize) {
        // SAFETY: with its layout, and once.
        unsafe { Wiping(Watched).dealloc(block, layout(size)) };
    }

    /// Frees a block full of one byte, too large to be held; what was left in it.
    fn freed() -> Vec<u8> {
        free(block(LARGEST + 1), LARGEST + 1);
        GIVEN_BACK.take().pop().unwrap()
    }

    /// On a thread of its own, which is spared.
    fn spared(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            spare_this_thread();
            test();
            // Of this allocator's blocks none is left to who frees them in another.
            for class in 0..CLASSES {
                while let Some(block) = HELD.with(|held| held.take(class)) {
                    // SAFETY: the class's layout is what it was allocated with.
                    unsafe { System.dealloc(block, layout_of(class)) };
                }
            }
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_wipes_what_it_frees_unless_it_is_spared_and_then_while_it_is_told_to() {
        let (wiped, left) = (vec![0; LARGEST + 1], vec![0xa5; LARGEST + 1]);
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
        assert_eq!(freed(), vec![0; LARGEST + 1]);
        // A small one, too: all of it that its owner had.
        free(block(100), 100);
        assert_eq!(GIVEN_BACK.take().pop().unwrap()[..100], [0; 100]);
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_what_is_in_it_and_leaves_nothing_behind() {
        for size in [4000, 10, 30_000] {
            let old = block(100);
            // SAFETY: read within its size, and given back with its layout.
            unsafe {
                let other = Wiping(Watched).realloc(old, layout(100), size);
                assert_eq!(GIVEN_BACK.take().pop().unwrap()[..100], [0; 100]);
                assert!((0..size.min(100)).all(|at| other.add(at).read() == 0xa5));
                Wiping(Watched).dealloc(other, layout(size));
            }
            GIVEN_BACK.take();
        }
    }

    #[test]
    fn every_size_has_a_class_that_is_large_enough_and_sizes_that_differ_little_share_one() {
        for size in 1..=LARGEST {
            let class = layout_of(class_of(layout(size)).unwrap());
            let over = class.size() - size;
            assert!(class.align() == ALIGN && over < if size <= STEP { ALIGN } else { STEP }, "{size}: {class:?}");
        }
        assert_eq!(class_of(layout(LARGEST)), Some(CLASSES - 1));
        assert_eq!(class_of(layout(LARGEST + 1)), None);
        assert_eq!(class_of(Layout::from_size_align(64, 32).unwrap()), None, "more than every block is aligned to");
    }

    #[test]
    fn a_spared_thread_gets_the_block_that_it_freed_last_and_each_once() {
        spared(|| {
            let (one, other) = (block(2000), block(1990));
            free(one, 2000);
            free(other, 1990);
            assert!(GIVEN_BACK.take().is_empty());
            let (first, second, third) = (block(1025), block(2048), block(2000));
            assert_eq!((first, second), (other, one));
            assert!(third != one && third != other);
            free(first, 1025);
            // SAFETY: read within its size.
            let zeros = unsafe {
                let again = Wiping(Watched).alloc_zeroed(layout(1100));
                assert_eq!(again, first);
                std::slice::from_raw_parts(again, 1100).iter().all(|byte| *byte == 0)
            };
            assert!(zeros, "what stood in it is not handed out as zeros");
            for (block, size) in [(first, 1100), (second, 2048), (third, 2000)] {
                free(block, size);
            }
            // Another thread's are its own.
            std::thread::spawn(move || free(block(2000), 2000)).join().unwrap();
        });
    }

    #[test]
    fn a_spared_thread_grows_a_block_in_its_place_while_it_fits_and_keeps_what_is_in_it() {
        spared(|| {
            let mut now = (block(1030), 1030);
            for size in [2000, 1026, 2048, 2049, 9000, 20_000, 40_000, 500, 7] {
                // SAFETY: with its layout; read within its size.
                now = unsafe {
                    let grown = Wiping(Watched).realloc(now.0, layout(now.1), size);
                    let stays = class_of(layout(now.1)) == class_of(layout(size)) && size <= LARGEST;
                    assert_eq!(stays, grown == now.0 && size <= LARGEST, "{size}");
                    assert!((0..now.1.min(size).min(500)).all(|at| grown.add(at).read() == 0xa5), "{size}");
                    (grown, size)
                };
            }
            free(now.0, now.1);
        });
    }

    #[test]
    fn no_more_are_held_than_there_is_room_for() {
        spared(|| {
            for (size, held) in [(16, MOST), (1000, MOST), (8 * 1024, ROOM / (8 * 1024)), (LARGEST, ROOM / LARGEST)] {
                let blocks: Vec<_> = (0..100).map(|_| block(size)).collect();
                for block in blocks {
                    free(block, size);
                }
                assert_eq!(GIVEN_BACK.take().len(), 100 - held, "{size}");
            }
        });
    }
}
