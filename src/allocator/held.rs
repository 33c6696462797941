//! Blocks that a thread keeps at hand: the one that it freed last is the next that it gets.
//!
//! The allocator below goes round all blocks of a page before it hands one out again, so a call's blocks would be cold each time; and above
//! a kilobyte it looks for a page each time.

use std::alloc::Layout;
use std::cell::Cell;

/// What blocks are aligned to, and how far sizes are apart up to …
const ALIGN: usize = 16;
const SMALL: usize = 1024;
/// … how far above it, up to …
const STEP: usize = 256;
const MIDDLE: usize = 4 * 1024;
/// … and how far above that, up to the largest block that is held, bytes.
const STRIDE: usize = 1024;
pub(super) const LARGEST: usize = 16 * 1024;
const MIDDLES: usize = SMALL / ALIGN;
const LARGES: usize = MIDDLES + (MIDDLE - SMALL) / STEP;
const WIDES: usize = LARGES + (LARGEST - MIDDLE) / STRIDE;
/// Some are aligned to this, up to the same size in the middle: the runtime's tasks.
const WIDE: usize = 128;
pub(super) const CLASSES: usize = WIDES + MIDDLE / STEP;
/// So many blocks of a class are held at most, and …
pub(super) const MOST: usize = 64;
/// … so many bytes.
pub(super) const ROOM: usize = 128 * 1024;

/// The blocks.
pub(super) struct Held {
    /// The last one of each class, which says in its first bytes which was the last one before it.
    last: [Cell<*mut u8>; CLASSES],
    count: [Cell<usize>; CLASSES],
}

/// The class of blocks with such a layout, if they are held.
#[inline]
pub(super) fn class_of(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size(), layout.align());
    if size == 0 || size > LARGEST || align > ALIGN {
        return (size > 0 && size <= MIDDLE && align > ALIGN && align <= WIDE).then(|| WIDES + (size - 1) / STEP);
    }
    Some(if size <= SMALL {
        (size - 1) / ALIGN
    } else if size <= MIDDLE {
        MIDDLES + (size - SMALL - 1) / STEP
    } else {
        LARGES + (size - MIDDLE - 1) / STRIDE
    })
}

/// What all blocks of a class are allocated with, on whatever thread.
#[inline]
pub(super) fn layout_of(class: usize) -> Layout {
    let (size, align) = match class {
        ..MIDDLES => ((class + 1) * ALIGN, ALIGN),
        MIDDLES..LARGES => (SMALL + (class - MIDDLES + 1) * STEP, ALIGN),
        LARGES..WIDES => (MIDDLE + (class - LARGES + 1) * STRIDE, ALIGN),
        _ => ((class - WIDES + 1) * STEP, WIDE),
    };
    // SAFETY: a small size, and a power of two.
    unsafe { Layout::from_size_align_unchecked(size, align) }
}

#[expect(clippy::cast_ptr_alignment, reason = "every block of a class is aligned to more than a pointer")]
impl Held {
    /// None.
    pub(super) const fn new() -> Self {
        Self { last: [const { Cell::new(std::ptr::null_mut()) }; CLASSES], count: [const { Cell::new(0) }; CLASSES] }
    }

    /// The last one of a class.
    #[inline]
    pub(super) fn take(&self, class: usize) -> Option<*mut u8> {
        let block = self.last[class].get();
        if block.is_null() {
            return None;
        }
        // SAFETY: the block is one that `hold` has written this to, and nobody has had it since.
        self.last[class].set(unsafe { block.cast::<*mut u8>().read() });
        self.count[class].set(self.count[class].get() - 1);
        Some(block)
    }

    /// Keeps one; false when there are enough of them.
    ///
    /// # Safety
    /// The block is one of the class, and its owner has given it up.
    #[inline]
    pub(super) unsafe fn hold(&self, class: usize, block: *mut u8) -> bool {
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

    /// Gives all of them back to the allocator.
    pub(super) fn let_go(&self) {
        for class in 0..CLASSES {
            while let Some(block) = self.take(class) {
                // SAFETY: it came from there, by way of the one allocator that the program has.
                unsafe { libmimalloc_sys::mi_free(block.cast()) };
            }
        }
    }
}
