//! libFuzzer's way into `targets::target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::target::run(data));
