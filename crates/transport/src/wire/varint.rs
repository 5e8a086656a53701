//! Integers of variable length as QUIC has them (RFC 9000, section 16): 1, 2, 4 or 8 bytes, big-endian, the
//! top two bits saying which.

use bytes::{Buf, BufMut};

/// The greatest integer that can be written: 2⁶² − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Writes `value` in as few bytes as it needs. What is greater than [`MAX`] is written as [`MAX`].
pub fn put(out: &mut impl BufMut, value: u64) {
    match value {
        0..=0x3f => out.put_uint(value, 1),
        0x40..=0x3fff => out.put_uint(value | 1 << 14, 2),
        0x4000..=0x3fff_ffff => out.put_uint(value | 2 << 30, 4),
        _ => out.put_u64(value.min(MAX) | 3 << 62),
    }
}

/// Reads an integer; `None`, and nothing read, if its bytes aren't all there.
pub fn take(bytes: &mut impl Buf) -> Option<u64> {
    let len = 1 << (bytes.chunk().first()? >> 6);
    if bytes.remaining() < len {
        return None;
    }
    Some(bytes.get_uint(len) & (MAX >> (64 - 8 * len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9000, appendix A.1.
    #[test]
    fn integers_are_those_of_quic() {
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in examples {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(take(&mut &out[..]), Some(value));
            for cut in 0..bytes.len() {
                let mut part = &bytes[..cut];
                assert_eq!((take(&mut part), part.len()), (None, cut));
            }
        }
    }

    #[test]
    fn every_boundary_survives() {
        for value in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, MAX] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(take(&mut &out[..]), Some(value));
        }
        let mut out = Vec::new();
        put(&mut out, u64::MAX);
        assert_eq!(take(&mut &out[..]), Some(MAX));
    }
}
