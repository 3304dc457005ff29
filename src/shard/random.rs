//! Random numbers that cannot be guessed, taken from the operating system many
//! at a time.

use std::cell::RefCell;

const BATCH: usize = 64;

thread_local! {
    static LEFT: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Sixty-four random bits.
///
/// # Panics
/// If the operating system has no randomness to give: no permit could be named
/// safely then.
pub fn next() -> u64 {
    LEFT.with_borrow_mut(|left| {
        if left.is_empty() {
            let mut bytes = [0; BATCH * 8];
            getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
            left.extend(bytes.chunks_exact(8).map(|chunk| {
                u64::from_le_bytes(chunk.try_into().expect("chunks have eight bytes"))
            }));
        }
        left.pop().expect("it was filled")
    })
}
