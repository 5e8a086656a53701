//! Single fields of a block: what is left of it, read from the front and never beyond its end.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{VERSION, WireError};
use crate::wire::varint;

/// The part of a block that isn't read yet.
pub(super) struct Fields {
    rest: Bytes,
}

impl Fields {
    /// Opens a block whose version is known.
    pub(super) fn of(block: Bytes) -> Result<Self, WireError> {
        let mut fields = Self { rest: block };
        match fields.byte("version")? {
            VERSION => Ok(fields),
            found => Err(WireError::Version { found }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.fixed::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        if self.rest.len() < N {
            return Err(WireError::CutShort { field });
        }
        let mut bytes = [0; N];
        self.rest.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        varint::take(&mut self.rest).ok_or(WireError::CutShort { field })
    }

    /// A byte string, which shares the memory of the block.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes, WireError> {
        let len = self.varint(field)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => Ok(self.rest.split_to(len)),
            _ => Err(WireError::CutShort { field }),
        }
    }

    /// A text, made into what it stands for.
    pub(super) fn parse<T, E: ToString>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, WireError> {
        let bytes = self.bytes(field)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| WireError::invalid(field, "its bytes are not UTF-8, as they must be"))?;
        parse(text).map_err(|error| WireError::invalid(field, error))
    }

    pub(super) fn duration(&mut self, field: &'static str) -> Result<Duration, WireError> {
        self.varint(field).map(Duration::from_micros)
    }

    /// The byte of flags, of which only `known` may be set.
    pub(super) fn flags(&mut self, known: u8) -> Result<u8, WireError> {
        let flags = self.byte("flag byte")?;
        if flags & !known == 0 {
            Ok(flags)
        } else {
            Err(WireError::invalid(
                "flag byte",
                format_args!("{flags:#04x} has bits outside of {known:#04x}"),
            ))
        }
    }
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(super) fn put_duration(out: &mut BytesMut, duration: Duration) {
    varint::put(out, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}
