//! The frames of a stream: a byte for the kind, the length as a varint, the payload.
//!
//! DATA passes through in the pieces in which it arrives. HEAD and TRAILERS are collected, so they have a
//! bound, and what is collected is never more than what has arrived.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use homing_transport::wire::varint;
use thiserror::Error;

const HEAD: u8 = 1;
const DATA: u8 = 2;
const TRAILERS: u8 = 3;
const END: u8 = 4;
const HELLO: u8 = 5;
const GOAWAY: u8 = 6;

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The block of a request's or reply's head.
    Head(Bytes),
    /// A piece of the body.
    Data(Bytes),
    /// The block of the trailers: the body is complete.
    Trailers(Bytes),
    /// The body is complete.
    End,
    /// The listener has accepted who dialled.
    Hello,
    /// The listener takes no stream of this index or above.
    GoAway(u64),
}

/// What is no frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("there is no frame of kind {kind} and {len} bytes")]
    Unknown { kind: u8, len: u64 },
    #[error("a head or trailers of {size} bytes are over the limit of {limit} bytes (max_header_block)")]
    TooLarge { size: u64, limit: u64 },
}

/// Makes frames of bytes, however these are cut.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_block: u64,
    unread: Bytes,
    /// The begin of a frame's header or block whose end has not arrived.
    partial: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Data { left: u64 },
    Block { kind: u8, len: usize },
}

impl Decoder {
    /// A decoder of HEADs and TRAILERS of at most `max_block` bytes.
    pub(crate) fn new(max_block: u64) -> Self {
        Self { max_block, unread: Bytes::new(), partial: BytesMut::new(), state: State::Header }
    }

    /// Adds bytes, once those before are used up: [`Self::next`] has said `None`.
    pub(crate) fn feed(&mut self, bytes: Bytes) {
        debug_assert!(self.unread.is_empty(), "the bytes before are not used up");
        self.unread = bytes;
    }

    /// The next frame, or `None` if more bytes are needed for it.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Header => match self.header() {
                    Some((kind, len)) => self.state = self.begin(kind, len)?,
                    None => return Ok(None),
                },
                State::Data { left: 0 } => self.state = State::Header,
                State::Data { left } => {
                    if self.unread.is_empty() {
                        return Ok(None);
                    }
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
                    self.state = State::Data { left: left - len as u64 };
                    return Ok(Some(Frame::Data(self.unread.split_to(len))));
                }
                State::Block { kind, len } => {
                    let Some(block) = self.block(len) else { return Ok(None) };
                    self.state = State::Header;
                    return whole(kind, block).map(Some);
                }
            }
        }
    }

    /// The whole body, and the block of its trailers if it has some, if the rest of its stream is here: at most one DATA, and END or TRAILERS.
    pub(crate) fn whole_body(&self) -> Option<(Bytes, Option<Bytes>)> {
        let mut rest = match self.state {
            State::Header if self.partial.is_empty() => self.unread.clone(),
            _ => return None,
        };
        let (mut kind, mut len) = header(&mut rest)?;
        let mut body = Bytes::new();
        let here = |len: u64, rest: &Bytes| usize::try_from(len).ok().filter(|len| *len <= rest.len());
        if kind == DATA {
            body = rest.split_to(here(len, &rest)?);
            (kind, len) = header(&mut rest)?;
        }
        match kind {
            END => Some((body, None)),
            TRAILERS if len <= self.max_block => Some((body, Some(rest.split_to(here(len, &rest)?)))),
            _ => None,
        }
    }

    fn header(&mut self) -> Option<(u8, u64)> {
        if self.partial.is_empty() {
            let mut rest = &self.unread[..];
            if let Some(header) = header(&mut rest) {
                let read = self.unread.len() - rest.len();
                self.unread.advance(read);
                return Some(header);
            }
        }
        loop {
            if let Some(header) = header(&mut &self.partial[..]) {
                self.partial.clear();
                return Some(header);
            }
            if self.unread.is_empty() {
                return None;
            }
            self.partial.put_u8(self.unread.get_u8());
        }
    }

    fn begin(&self, kind: u8, len: u64) -> Result<State, FrameError> {
        match (kind, len) {
            (DATA, left) => Ok(State::Data { left }),
            (END | HELLO, 0) | (GOAWAY, 1..=8) => Ok(State::Block { kind, len: len as usize }),
            (HEAD | TRAILERS, len) if len <= self.max_block => Ok(State::Block { kind, len: len as usize }),
            (HEAD | TRAILERS, size) => Err(FrameError::TooLarge { size, limit: self.max_block }),
            _ => Err(FrameError::Unknown { kind, len }),
        }
    }

    fn block(&mut self, len: usize) -> Option<Bytes> {
        if self.partial.is_empty() && self.unread.len() >= len {
            return Some(self.unread.split_to(len));
        }
        let wanted = (len - self.partial.len()).min(self.unread.len());
        self.partial.extend_from_slice(&self.unread.split_to(wanted));
        (self.partial.len() == len).then(|| self.partial.split().freeze())
    }
}

fn header(bytes: &mut impl Buf) -> Option<(u8, u64)> {
    if !bytes.has_remaining() {
        return None;
    }
    let kind = bytes.get_u8();
    varint::take(bytes).map(|len| (kind, len))
}

fn whole(kind: u8, mut block: Bytes) -> Result<Frame, FrameError> {
    let len = block.len() as u64;
    match kind {
        HEAD => Ok(Frame::Head(block)),
        TRAILERS => Ok(Frame::Trailers(block)),
        END => Ok(Frame::End),
        HELLO => Ok(Frame::Hello),
        _ => varint::take(&mut block).map(Frame::GoAway).ok_or(FrameError::Unknown { kind, len }),
    }
}

/// Up to this length a copy is cheaper than a chunk of its own.
const COPY: usize = 2 << 10;

/// From this length on, a batch is worth a write.
const FULL: usize = 64 << 10;

/// Frames on their way out, gathered so that they leave in one write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunks: Vec<Bytes>,
    chunked: usize,
    /// What follows the chunks.
    tail: BytesMut,
    /// Whether the body has ended: nothing follows.
    ended: bool,
}

/// What a head and what frames a body takes, mostly.
const ROOM: usize = 256;

impl Batch {
    /// With room for a head, and for a body that is as long if it is short enough to be copied.
    pub(crate) fn with_room(body: Option<&Bytes>) -> Self {
        let copied = body.map(Bytes::len).filter(|len| *len <= COPY).unwrap_or_default();
        Self { tail: BytesMut::with_capacity(ROOM + copied), ..Self::default() }
    }

    pub(crate) fn head(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.block(HEAD, write);
    }

    pub(crate) fn trailers(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.block(TRAILERS, write);
        self.ended = true;
    }

    pub(crate) fn data(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.tail.put_u8(DATA);
        varint::put(&mut self.tail, data.len() as u64);
        if data.len() <= COPY {
            self.tail.put(data);
        } else {
            self.cut();
            self.push(data);
        }
    }

    pub(crate) fn end(&mut self) {
        self.tail.put_slice(&[END, 0]);
        self.ended = true;
    }

    pub(crate) fn hello(&mut self) {
        self.tail.put_slice(&[HELLO, 0]);
    }

    pub(crate) fn go_away(&mut self, index: u64) {
        self.block(GOAWAY, |out| varint::put(out, index));
    }

    /// Whether the body has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunked + self.tail.len() == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.chunked + self.tail.len() >= FULL
    }

    /// All that was gathered, in the order in which it leaves.
    pub(crate) fn chunks(&mut self) -> &mut [Bytes] {
        if !self.tail.is_empty() && self.chunks.is_empty() {
            // Most batches are one chunk.
            self.chunks.reserve_exact(1);
        }
        self.cut();
        &mut self.chunks
    }

    /// What was gathered has left, or nobody wants it any more.
    pub(crate) fn clear(&mut self) {
        self.chunked = 0;
        self.chunks.clear();
        self.tail.clear();
    }

    /// The block is written in place, so its length, known only then, has four bytes in any case.
    fn block(&mut self, kind: u8, write: impl FnOnce(&mut BytesMut)) {
        self.tail.put_slice(&[kind, 0, 0, 0, 0]);
        let start = self.tail.len();
        write(&mut self.tail);
        let len = (self.tail.len() - start) as u32;
        self.tail[start - 4..start].copy_from_slice(&(len | 2 << 30).to_be_bytes());
    }

    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail).freeze();
            self.push(tail);
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.chunked += chunk.len();
        self.chunks.push(chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BLOCK: u64 = 300;

    fn encode(frames: &[Frame]) -> Vec<u8> {
        let mut batch = Batch::default();
        for frame in frames.iter().cloned() {
            match frame {
                Frame::Head(block) => batch.head(|out| out.put(block)),
                Frame::Data(data) => batch.data(data),
                Frame::Trailers(block) => batch.trailers(|out| out.put(block)),
                Frame::End => batch.end(),
                Frame::Hello => batch.hello(),
                Frame::GoAway(index) => batch.go_away(index),
            }
        }
        batch.chunks().concat()
    }

    /// Feeds bytes in pieces; pieces of one DATA, or of several in a row, are joined again.
    fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::new(MAX_BLOCK);
        let mut frames: Vec<Frame> = Vec::new();
        for piece in pieces {
            decoder.feed(Bytes::copy_from_slice(piece));
            while let Some(frame) = decoder.next()? {
                match (frames.last_mut(), frame) {
                    (Some(Frame::Data(before)), Frame::Data(data)) => {
                        *before = [before.as_ref(), &data].concat().into();
                    }
                    (_, frame) => frames.push(frame),
                }
            }
            assert!(decoder.unread.is_empty());
            assert!(decoder.partial.len() as u64 <= MAX_BLOCK);
        }
        Ok(frames)
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let block = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let data = prop::collection::vec(any::<u8>(), 1..5_000).prop_map(Bytes::from);
        (block(), prop::option::of(data), block(), 0..varint::MAX).prop_map(
            |(head, data, trailers, index)| {
                let mut frames = vec![Frame::Hello, Frame::Head(head)];
                frames.extend(data.map(Frame::Data));
                frames.extend([Frame::Trailers(trailers), Frame::End, Frame::GoAway(index)]);
                frames
            },
        )
    }

    proptest! {
        #[test]
        fn frames_survive_however_they_are_cut(frames in frames(), size in 1_usize..2_000) {
            let bytes = encode(&frames);
            prop_assert_eq!(decode(bytes.chunks(size)).unwrap(), frames);
        }

        #[test]
        fn arbitrary_bytes_are_frames_or_an_error(
            bytes in prop::collection::vec(0_u8..8, 0..400),
            size in 1_usize..50,
        ) {
            let _ = decode(bytes.chunks(size));
        }
    }

    #[test]
    fn frames_survive_byte_by_byte() {
        let frames =
            [Frame::Head(Bytes::from_static(b"head")), Frame::Data(Bytes::from(vec![7; 3_000])), Frame::End];
        assert_eq!(decode(encode(&frames).chunks(1)).unwrap(), frames);
    }

    #[test]
    fn a_block_over_the_limit_is_refused_by_its_length_alone() {
        let head = [HEAD, 0x80, 0, 1, 45];
        let error = decode([&head[..]].into_iter()).unwrap_err();
        assert_eq!(error, FrameError::TooLarge { size: 301, limit: 300 });
    }

    #[test]
    fn what_is_no_frame_is_named() {
        for (bytes, kind, len) in
            [([0, 0], 0, 0), ([7, 0], 7, 0), ([END, 1], END, 1), ([GOAWAY, 9], GOAWAY, 9)]
        {
            assert_eq!(decode([&bytes[..]].into_iter()), Err(FrameError::Unknown { kind, len }));
        }
    }

    #[test]
    fn a_body_in_hand_is_taken_whole_and_no_other() {
        let rest_of = |frames: &[Frame], cut: usize| {
            let mut bytes = encode(frames);
            bytes.truncate(bytes.len() - cut);
            let mut decoder = Decoder::new(MAX_BLOCK);
            decoder.feed(bytes.into());
            assert!(matches!(decoder.next(), Ok(Some(Frame::Head(_)))));
            decoder.whole_body()
        };
        let head = Frame::Head(Bytes::from_static(b"head"));
        let data = Bytes::from_static(b"data");
        assert_eq!(rest_of(&[head.clone(), Frame::End], 0), Some((Bytes::new(), None)));
        let whole = [head.clone(), Frame::Data(data.clone()), Frame::End];
        assert_eq!(rest_of(&whole, 0), Some((data.clone(), None)));
        for cut in 1..=7 {
            assert_eq!(rest_of(&whole, cut), None, "without its last {cut} bytes");
        }
        let block = Bytes::from_static(b"trailers");
        let trailed = [head.clone(), Frame::Data(data.clone()), Frame::Trailers(block.clone())];
        assert_eq!(rest_of(&trailed, 0), Some((data.clone(), Some(block))));
        for cut in 1..=17 {
            assert_eq!(rest_of(&trailed, cut), None, "without its last {cut} bytes");
        }
        assert_eq!(rest_of(&[head, Frame::Data(data.clone()), Frame::Data(data), Frame::End], 0), None);
    }
}
