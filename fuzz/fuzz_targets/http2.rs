#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quotagate_fuzz::edge::http2(bytes));
