#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quotagate_fuzz::parsers::jwt(bytes));
