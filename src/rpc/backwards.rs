//! Protocol Buffers, written from the last byte to the first.
//!
//! The length of a message stands before it. prost measures a message first, and with
//! it all that is nested in it, once for each level. Whoever writes backwards knows the
//! length when its turn comes, and needs no tree of messages to be measured.

use prost::bytes::{Buf as _, Bytes};

/// The wire types that are written: <https://protobuf.dev/programming-guides/encoding/>
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// Bytes to which more are added in front. Fields are written in descending order, so
/// that they stand in ascending order; what has its default value is left out.
#[derive(Debug)]
pub struct Backwards {
    bytes: Vec<u8>,
    /// Where what is written begins; it reaches to the end.
    start: usize,
}

impl Backwards {
    /// Nothing yet, with room for so many bytes.
    pub fn with_room(room: usize) -> Self {
        Self { bytes: vec![0; room], start: room }
    }

    /// How much is written.
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// All of it, in the order in which it is read.
    pub fn into_bytes(self) -> Bytes {
        let mut bytes = Bytes::from(self.bytes);
        // What was never written stays before it, unread.
        bytes.advance(self.start);
        bytes
    }

    /// These bytes, as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.front(bytes.len()).copy_from_slice(bytes);
    }

    /// So many bytes in front of what is written, to be written.
    #[inline]
    fn front(&mut self, length: usize) -> &mut [u8] {
        if self.start < length {
            self.grow(length);
        }
        self.start -= length;
        &mut self.bytes[self.start..][..length]
    }

    /// A number: an integer that is not negative, a boolean or an enum.
    #[inline]
    pub fn number(&mut self, field: u64, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.tagged(field, VARINT, value);
        }
    }

    /// A text.
    pub fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.raw(text.as_bytes());
            self.tagged(field, LENGTH_DELIMITED, text.len() as u64);
        }
    }

    /// A message that is there, empty or not.
    #[inline]
    pub fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let after = self.len();
        write(self);
        self.tagged(field, LENGTH_DELIMITED, (self.len() - after) as u64);
    }

    /// A field's key, and the number behind it. Nearly all take a byte each: lengths, enums,
    /// and the first fifteen fields.
    #[inline]
    fn tagged(&mut self, field: u64, wire_type: u64, value: u64) {
        let key = field << 3 | wire_type;
        match (u8::try_from(key), u8::try_from(value)) {
            (Ok(key @ ..0x80), Ok(value @ ..0x80)) => {
                self.front(2).copy_from_slice(&[key, value]);
            }
            _ => {
                self.varint(value);
                self.varint(key);
            }
        }
    }

    /// Seven bits in a byte, the lowest first; all but the last have the eighth set.
    fn varint(&mut self, value: u64) {
        let length = (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize;
        let mut rest = value;
        let bytes = self.front(length);
        for byte in &mut *bytes {
            let [bits, ..] = rest.to_le_bytes();
            *byte = bits | 0x80;
            rest >>= 7;
        }
        bytes[length - 1] &= 0x7f;
    }

    /// More room in front, for so many bytes at least.
    #[cold]
    fn grow(&mut self, wanted: usize) {
        let mut bytes = vec![0; 2 * self.bytes.len() + wanted];
        let start = bytes.len() - self.len();
        bytes[start..].copy_from_slice(&self.bytes[self.start..]);
        *self = Self { bytes, start };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::v1::Warning;

    proptest! {
        #[test]
        fn what_is_written_is_what_prost_writes(
            numbers in prop::collection::vec(any::<u64>(), 0..4),
            text in ".{0,300}",
            room in 0_usize..40,
        ) {
            for number in numbers.into_iter().chain([0, 0x7f, 0x80, u64::MAX]) {
                let mut out = Backwards::with_room(room);
                out.varint(number);
                let mut expected = Vec::new();
                prost::encoding::encode_varint(number, &mut expected);
                prop_assert_eq!(&*out.into_bytes(), &*expected);
            }
            let mut out = Backwards::with_room(room);
            out.text(2, &text);
            out.number(1, 2_u64);
            let message = Warning { kind: 2, text };
            prop_assert_eq!(&*out.into_bytes(), &*message.encode_to_vec());
        }
    }
}
