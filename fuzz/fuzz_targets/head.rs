//! libFuzzer's way into `targets::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::head::run(data));
