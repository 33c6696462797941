//! What is freed is wiped or kept at hand, and every block is handed out once.

use std::alloc::System;
use std::cell::RefCell;

use super::held::{CLASSES, LARGEST, MOST, ROOM};
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
        // What is held is given back below, for it is of another allocator.
        std::mem::forget(spare_this_thread());
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
        let spared = spare_this_thread();
        assert_eq!(freed(), left);
        assert_eq!(wiping(freed), wiped);
        assert_eq!(freed(), left);
        assert!(std::panic::catch_unwind(|| wiping(|| panic!("on purpose"))).is_err());
        assert_eq!(freed(), left);
        drop(spared);
        assert_eq!(freed(), wiped);
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
    let mut before = 0;
    for size in 1..=LARGEST {
        let class = class_of(layout(size)).unwrap();
        assert!(class == before || class == before + 1, "{size}: {class} after {before}");
        before = class;
        let over = layout_of(class).size() - size;
        assert!(layout_of(class).align() == 16 && over < (size / 4).max(16), "{size}: {class}");
    }
    for (size, align) in [(1, 32), (64, 32), (256, 128), (257, 128), (4096, 64)] {
        let class = class_of(Layout::from_size_align(size, align).unwrap()).unwrap();
        let wide = layout_of(class);
        assert!(class > before && wide.align() == 128 && wide.size() >= size && wide.size() - size < 256, "{size}");
    }
    assert_eq!(class_of(Layout::from_size_align(4096, 128).unwrap()), Some(CLASSES - 1));
    assert_eq!(class_of(Layout::from_size_align(4097, 128).unwrap()), None);
    assert_eq!(class_of(layout(LARGEST + 1)), None);
    assert_eq!(class_of(layout(0)), None);
    assert_eq!(class_of(Layout::from_size_align(64, 256).unwrap()), None, "more than any block is aligned to");
}

#[test]
fn a_spared_thread_gets_the_block_that_it_freed_last_and_each_once() {
    spared(|| {
        let (one, other) = (block(2000), block(1990));
        free(one, 2000);
        free(other, 1990);
        assert!(GIVEN_BACK.take().is_empty());
        let (first, second, third) = (block(1793), block(2048), block(2000));
        assert_eq!((first, second), (other, one));
        assert!(third != one && third != other);
        free(first, 1793);
        // SAFETY: read within its size.
        let zeros = unsafe {
            let again = Wiping(Watched).alloc_zeroed(layout(1800));
            assert_eq!(again, first);
            std::slice::from_raw_parts(again, 1800).iter().all(|byte| *byte == 0)
        };
        assert!(zeros, "what stood in it is not handed out as zeros");
        for (block, size) in [(first, 1800), (second, 2048), (third, 2000)] {
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
        for size in [1280, 1026, 1100, 1281, 9000, 9200, 20_000, 40_000, 500, 7] {
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
