//! Random numbers that cannot be guessed, taken from the operating system many
//! at a time.

use std::cell::{Cell, RefCell};

const BATCH: usize = 64;

thread_local! {
    static LEFT: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static SIMULATED: Cell<Option<u64>> = const { Cell::new(None) };
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
            fill(&mut bytes);
            left.extend(bytes.chunks_exact(8).map(|chunk| {
                u64::from_le_bytes(chunk.try_into().expect("chunks have eight bytes"))
            }));
        }
        left.pop().expect("it was filled")
    })
}

/// Lets all that this thread draws from now on follow from a seed: for
/// simulations only, since it can be guessed then.
#[doc(hidden)]
pub fn simulate(seed: u64) {
    LEFT.set(Vec::new());
    SIMULATED.set(Some(seed));
}

fn fill(bytes: &mut [u8]) {
    let Some(mut state) = SIMULATED.get() else {
        return getrandom::fill(bytes).expect("the operating system gives random numbers");
    };
    for chunk in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&mix(state).to_le_bytes());
    }
    SIMULATED.set(Some(state));
}

/// The output function of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
