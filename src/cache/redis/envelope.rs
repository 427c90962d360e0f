//! The bytes of an entry in Redis. Bytes that cannot be read, because they are damaged or were written
//! by another version of the service, are no entry.
//!
//! `MS1`, then the generation and the start of the computation in Unix milliseconds, 8 bytes each,
//! then the CRC-32 of all other bytes, 4 bytes, all big-endian, then the body.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::cache::Generation;

const MAGIC: &[u8; 3] = b"MS1";
const HEADER: usize = MAGIC.len() + 8 + 8 + 4;

/// An entry and the generation under which it was computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) generation: Generation,
    /// The start of the computation, in milliseconds since the Unix epoch.
    pub(super) computed_ms: u64,
    pub(super) body: Bytes,
}

impl Envelope {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER + self.body.len());
        bytes.put_slice(MAGIC);
        bytes.put_u64(self.generation.0);
        bytes.put_u64(self.computed_ms);
        bytes.put_u32(self.checksum());
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    pub(super) fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
            return None;
        }
        bytes.advance(MAGIC.len());
        let generation = Generation(bytes.get_u64());
        let computed_ms = bytes.get_u64();
        let checksum = bytes.get_u32();
        let envelope = Self {
            generation,
            computed_ms,
            body: bytes,
        };
        (envelope.checksum() == checksum).then_some(envelope)
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(MAGIC);
        hasher.update(&self.generation.0.to_be_bytes());
        hasher.update(&self.computed_ms.to_be_bytes());
        hasher.update(&self.body);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(generation: u64, computed_ms: u64, body: &[u8]) -> Envelope {
        let body = Bytes::copy_from_slice(body);
        Envelope {
            generation: Generation(generation),
            computed_ms,
            body,
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(generation: u64, computed: u64, body: Vec<u8>) {
            let written = envelope(generation, computed, &body);
            prop_assert_eq!(Envelope::from_bytes(written.to_bytes()), Some(written));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let ours = Bytes::from([&MAGIC[..], &bytes].concat());
            prop_assert_eq!(Envelope::from_bytes(bytes), None);
            prop_assert_eq!(Envelope::from_bytes(ours), None);
        }

        #[test]
        fn one_changed_byte_is_noticed(body: Vec<u8>, at: prop::sample::Index, change in 1u8..) {
            let mut bytes = envelope(1, 2, &body).to_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert_eq!(Envelope::from_bytes(bytes.into()), None);
        }

        #[test]
        fn a_cut_entry_is_noticed(body: Vec<u8>, at: prop::sample::Index) {
            let bytes = envelope(1, 2, &body).to_bytes();
            let cut = bytes.slice(..at.index(bytes.len()));
            prop_assert_eq!(Envelope::from_bytes(cut), None);
        }
    }
}
