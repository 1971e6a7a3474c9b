//! Reading MessagePack without building anything: one pass over foreign bytes that tells where a
//! value ends and refuses what is broken. Spec: <https://github.com/msgpack/msgpack/blob/master/spec.md>.
//!
//! The hot path calls [`value_len`] once per move; payload bytes are then forwarded untouched.

use crate::code::ErrorCode;

/// The deepest nesting that [`value_len`] can be asked to allow.
pub const DEPTH_CEILING: usize = 64;

/// What a marker byte announces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Length of the UTF-8 text that follows.
    Text(usize),
    /// Length of the bytes that follow.
    Binary(usize),
    /// Type and length of the bytes that follow.
    Extension(i8, usize),
    /// Count of the values that follow.
    Array(usize),
    /// Count of the pairs that follow.
    Map(usize),
}

/// A place in MessagePack bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ErrorCode> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ErrorCode::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ErrorCode> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns the length asked for"))
    }

    fn len8(&mut self) -> Result<usize, ErrorCode> {
        Ok(usize::from(u8::from_be_bytes(self.number()?)))
    }

    fn len16(&mut self) -> Result<usize, ErrorCode> {
        Ok(usize::from(u16::from_be_bytes(self.number()?)))
    }

    fn len32(&mut self) -> Result<usize, ErrorCode> {
        usize::try_from(u32::from_be_bytes(self.number()?)).map_err(|_| ErrorCode::TooBig)
    }

    fn extension(&mut self, len: usize) -> Result<Head, ErrorCode> {
        Ok(Head::Extension(i8::from_be_bytes(self.number()?), len))
    }

    /// The marker and what belongs to it; the contents of text, binary, extensions and
    /// containers are still ahead.
    pub(crate) fn head(&mut self) -> Result<Head, ErrorCode> {
        let [marker] = self.number()?;
        Ok(match marker {
            0x00..=0x7f => Head::Unsigned(u64::from(marker)),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Text(usize::from(marker & 0x1f)),
            0xc0 => Head::Nil,
            0xc1 => return Err(ErrorCode::Malformed),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4 => Head::Binary(self.len8()?),
            0xc5 => Head::Binary(self.len16()?),
            0xc6 => Head::Binary(self.len32()?),
            0xc7 => {
                let len = self.len8()?;
                self.extension(len)?
            }
            0xc8 => {
                let len = self.len16()?;
                self.extension(len)?
            }
            0xc9 => {
                let len = self.len32()?;
                self.extension(len)?
            }
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Head::Unsigned(u64::from(u8::from_be_bytes(self.number()?))),
            0xcd => Head::Unsigned(u64::from(u16::from_be_bytes(self.number()?))),
            0xce => Head::Unsigned(u64::from(u32::from_be_bytes(self.number()?))),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.number()?)),
            0xd0 => Head::Signed(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Head::Signed(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Head::Signed(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Head::Signed(i64::from_be_bytes(self.number()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9 => Head::Text(self.len8()?),
            0xda => Head::Text(self.len16()?),
            0xdb => Head::Text(self.len32()?),
            0xdc => Head::Array(self.len16()?),
            0xdd => Head::Array(self.len32()?),
            0xde => Head::Map(self.len16()?),
            0xdf => Head::Map(self.len32()?),
            0xe0..=0xff => Head::Signed(i64::from(marker.cast_signed())),
        })
    }

    /// The next value, which must be an integer that is not negative.
    pub(crate) fn unsigned(&mut self) -> Result<u64, ErrorCode> {
        match self.head()? {
            Head::Unsigned(value) => Ok(value),
            Head::Signed(value) => u64::try_from(value).map_err(|_| ErrorCode::BadValue),
            Head::Float(_) => Err(ErrorCode::BadValue),
            _ => Err(ErrorCode::Malformed),
        }
    }

    /// Text of a length that [`Reader::head`] announced.
    pub(crate) fn text(&mut self, len: usize) -> Result<&'a str, ErrorCode> {
        std::str::from_utf8(self.take(len)?).map_err(|_| ErrorCode::Malformed)
    }

    /// Steps over a value that holds no others, or over the head of a list or map: then it says how many values are
    /// inside, and whether they are keys and values.
    fn step(&mut self) -> Result<Option<(usize, bool)>, ErrorCode> {
        match self.head()? {
            Head::Text(len) => _ = self.text(len)?,
            Head::Binary(len) | Head::Extension(_, len) => _ = self.take(len)?,
            Head::Array(count) => return Ok(Some((count, false))),
            Head::Map(count) => return Ok(Some((count.checked_mul(2).ok_or(ErrorCode::TooBig)?, true))),
            _ => {}
        }
        Ok(None)
    }

    /// Steps over one whole value and returns its bytes; texts must be UTF-8.
    ///
    /// A key that is a list or map becomes text in JSON, with its quotes escaped. Keys within keys
    /// would escape the escapes and double with each level, so the second level is too deep.
    pub(crate) fn skip(&mut self, depth_max: usize) -> Result<&'a [u8], ErrorCode> {
        let begin = self.rest;
        // Most values are neither lists nor maps, and need none of what follows.
        let mut outermost = self.step()?;
        if outermost.is_none() {
            return Ok(&begin[..begin.len() - self.rest.len()]);
        }
        let depth_max = depth_max.min(DEPTH_CEILING);
        // Values still to read at each level; level 0 holds the one value asked for.
        let mut open = [0usize; DEPTH_CEILING + 1];
        open[0] = 1;
        let mut level = 0;
        // One bit for each level that is a map; the level of the list or map that is a key, or 0.
        let (mut maps, mut key) = (0u128, 0);
        loop {
            while open[level] == 0 {
                if level == 0 {
                    return Ok(&begin[..begin.len() - self.rest.len()]);
                }
                level -= 1;
            }
            open[level] -= 1;
            let container = if outermost.is_some() { outermost.take() } else { self.step()? };
            let Some((children, is_map)) = container else { continue };
            if level == depth_max {
                return Err(ErrorCode::TooDeep);
            }
            if level < key {
                key = 0;
            }
            // Behind a key an odd number of keys and values is left.
            let is_key = maps >> level & 1 == 1 && open[level] % 2 == 1;
            level += 1;
            if is_key && std::mem::replace(&mut key, level) != 0 {
                return Err(ErrorCode::TooDeep);
            }
            open[level] = children;
            maps = maps & !(1 << level) | u128::from(is_map) << level;
        }
    }
}

/// How many bytes the value at the start of `bytes` takes.
///
/// A scalar has depth 0, `[]` and `{}` depth 1. [`ErrorCode::Malformed`] for truncated or broken
/// bytes and text that is not UTF-8, [`ErrorCode::TooDeep`] above `depth_max` and for a key that is
/// a list or map inside another such key.
pub fn value_len(bytes: &[u8], depth_max: usize) -> Result<usize, ErrorCode> {
    Reader::new(bytes).skip(depth_max).map(<[u8]>::len)
}

/// Like [`value_len`], for bytes that must hold exactly one value.
pub fn check_single(bytes: &[u8], depth_max: usize) -> Result<(), ErrorCode> {
    if value_len(bytes, depth_max)? == bytes.len() { Ok(()) } else { Err(ErrorCode::TrailingBytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_and_nothing_else() {
        assert_eq!(check_single(&[0x93, 1, 2, 3], 16), Ok(()));
        assert_eq!(check_single(&[0x93, 1, 2, 3, 4], 16), Err(ErrorCode::TrailingBytes));
        assert_eq!(check_single(&[0x93, 1, 2], 16), Err(ErrorCode::Malformed));
        assert_eq!(check_single(&[], 16), Err(ErrorCode::Malformed));
        assert_eq!(check_single(&[0xc1], 16), Err(ErrorCode::Malformed));
        assert_eq!(check_single(&[0xa1, 0xff], 16), Err(ErrorCode::Malformed));
    }

    #[test]
    fn depth_counts_containers() {
        let nested = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
        assert_eq!(check_single(&[1], 0), Ok(()));
        assert_eq!(check_single(&nested(16), 16), Ok(()));
        assert_eq!(check_single(&nested(17), 16), Err(ErrorCode::TooDeep));
    }

    #[test]
    fn keys_do_not_nest() {
        let good: [&[u8]; 4] = [
            // A key with maps inside whose keys are plain, and such a key in the value of another.
            &[0x81, 0x91, 0x81, 1, 0x81, 2, 3, 4],
            &[0x82, 0x90, 0x81, 0x90, 1, 0x80, 2],
            &[0x92, 0x81, 0x91, 1, 2, 0x81, 0x91, 1, 2],
            &[0x81, 0x92, 0x90, 0x90, 0x81, 0x90, 1],
        ];
        for bytes in good {
            assert_eq!(check_single(bytes, 16), Ok(()), "{bytes:x?}");
        }
        let bad: [&[u8]; 4] = [
            &[0x81, 0x81, 0x90, 1, 2],
            &[0x81, 0x91, 0x81, 0x80, 1, 2],
            &[0x81, 0x82, 1, 0x90, 0x90, 2, 3],
            &[0x82, 1, 2, 0x91, 0x91, 0x81, 0x91, 1, 2, 3],
        ];
        for bytes in bad {
            assert_eq!(check_single(bytes, 16), Err(ErrorCode::TooDeep), "{bytes:x?}");
        }
    }

    #[test]
    fn announced_lengths_reserve_nothing() {
        for bytes in [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(check_single(&bytes, 16), Err(ErrorCode::Malformed));
        }
    }
}
