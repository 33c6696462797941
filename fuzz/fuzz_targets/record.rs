//! libFuzzer's way into `targets::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::record::run(data));
