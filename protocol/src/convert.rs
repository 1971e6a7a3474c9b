//! MessagePack to JSON and back, by the rules of `protocol/README.md`.
//!
//! Used where members of one room speak different encodings: once per frame, and only if somebody
//! needs it. Round trips are not exact by design (NaN becomes null); opaque data between members
//! of one encoding never passes through here.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{
    SAFE_INTEGER_MAX,
    code::ErrorCode,
    msgpack::{Head, Reader},
};

const SAFE: i64 = SAFE_INTEGER_MAX.cast_signed();
const BIN: &str = "$bin";
const EXT: &str = "$ext";
const TIMESTAMP: i8 = -1;

/// Appends the JSON text of the one MessagePack value in `bytes`.
///
/// The caller has bounded the size; depth is bounded here by `depth_max`.
pub fn to_json(bytes: &[u8], depth_max: usize, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    crate::msgpack::check_single(bytes, depth_max)?;
    checked_to_json(bytes, out)
}

/// Appends the JSON text of a value that has been checked.
pub(crate) fn checked_to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    write_json(&mut Reader::new(bytes), out)
}

/// Writes the next value; the bytes have been checked, so recursion is bounded.
pub(crate) fn write_json(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    match reader.head()? {
        Head::Nil => out.extend_from_slice(b"null"),
        Head::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Head::Unsigned(value) if value <= SAFE_INTEGER_MAX => push(out, format_args!("{value}")),
        Head::Unsigned(value) => push(out, format_args!("\"{value}\"")),
        Head::Signed(value) if (-SAFE..=SAFE).contains(&value) => push(out, format_args!("{value}")),
        Head::Signed(value) => push(out, format_args!("\"{value}\"")),
        Head::Float(value) => write_float(value, out),
        Head::Text(len) => write_text(reader.text(len)?, out),
        Head::Binary(len) => {
            let text = STANDARD.encode(reader.take(len)?);
            push(out, format_args!("{{\"{BIN}\":\"{text}\"}}"));
        }
        Head::Extension(kind, len) => {
            let bytes = reader.take(len)?;
            match timestamp(kind, bytes) {
                Some(text) => push(out, format_args!("\"{text}\"")),
                None => push(out, format_args!("{{\"{EXT}\":[{kind},\"{}\"]}}", STANDARD.encode(bytes))),
            }
        }
        Head::Array(count) => {
            out.push(b'[');
            for n in 0..count {
                if n > 0 {
                    out.push(b',');
                }
                write_json(reader, out)?;
            }
            out.push(b']');
        }
        Head::Map(count) => {
            out.push(b'{');
            for n in 0..count {
                if n > 0 {
                    out.push(b',');
                }
                write_key(reader, out)?;
                out.push(b':');
                write_json(reader, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// A key that is not text becomes the text of its JSON.
fn write_key(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    let mut ahead = *reader;
    if let Head::Text(len) = ahead.head()? {
        write_text(ahead.text(len)?, out);
        *reader = ahead;
        return Ok(());
    }
    let mut key = Vec::new();
    write_json(reader, &mut key)?;
    write_text(&String::from_utf8_lossy(&key), out);
    Ok(())
}

/// Appends `text` as a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text always has a JSON form");
}

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, text).expect("writing to memory cannot fail");
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    match whole(value) {
        Some(integer) => push(out, format_args!("{integer}")),
        None => serde_json::to_writer(out, &value).expect("numbers always have a JSON form"),
    }
}

/// Appends the MessagePack form of a number: what JSON has no number for is nil.
pub(crate) fn pack_float(value: f64, out: &mut Vec<u8>) {
    match whole(value) {
        Some(integer) => _ = rmp::encode::write_sint(out, integer).expect(MEMORY),
        None if value.is_finite() => rmp::encode::write_f64(out, value).expect(MEMORY),
        None => rmp::encode::write_nil(out).expect(MEMORY),
    }
}

/// The integer that a float stands for, if it is one that JSON keeps exactly.
pub(crate) fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
    let safe = value.abs() <= SAFE as f64;
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
    (safe && value.fract() == 0.0).then_some(value as i64)
}

/// RFC 3339 text of the timestamp extension in its three forms; `None` for anything that is not
/// a moment in the years 0000 to 9999.
fn timestamp(kind: i8, bytes: &[u8]) -> Option<String> {
    if kind != TIMESTAMP {
        return None;
    }
    let (seconds, nanos) = match *bytes {
        [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [_, _, _, _, _, _, _, _] => {
            let word = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(word & ((1 << 34) - 1)).ok()?, u32::try_from(word >> 34).ok()?)
        }
        [a, b, c, d, ref rest @ ..] if rest.len() == 8 => {
            (i64::from_be_bytes(rest.try_into().ok()?), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = civil(days)?;
    let second = seconds.rem_euclid(86_400);
    if nanos > 999_999_999 {
        return None;
    }
    let fraction = format!(".{nanos:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    ))
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, for years 0 to 9999.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    // Days are counted from 0000-03-01, so that the leap day is the last of its year.
    let shifted = days.checked_add(719_468)?;
    if !(-60..=3_652_364).contains(&shifted) {
        return None;
    }
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (0..=9999).contains(&year).then_some((year, month, day))
}

/// Appends the MessagePack form of one JSON text. Integers take their shortest form, other
/// numbers are float 64; `$bin` and `$ext` objects become what they stand for.
pub fn from_json(text: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    let mut json = serde_json::Deserializer::from_slice(text);
    Pack { out }.deserialize(&mut json).map_err(|error| value_error(&error))?;
    json.end().map_err(|_| ErrorCode::TrailingBytes)
}

/// Writes whatever a JSON deserializer yields as MessagePack.
struct Pack<'a> {
    out: &'a mut Vec<u8>,
}

const MEMORY: &str = "writing to memory cannot fail";

impl<'de> DeserializeSeed<'de> for Pack<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        rmp::encode::write_nil(self.out).expect(MEMORY);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        rmp::encode::write_bool(self.out, value).expect(MEMORY);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        rmp::encode::write_uint(self.out, value).expect(MEMORY);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        rmp::encode::write_sint(self.out, value).expect(MEMORY);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        pack_float(value, self.out);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        rmp::encode::write_str(self.out, value).expect(MEMORY);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut body = Vec::new();
        let mut count = 0;
        while seq.next_element_seed(Pack { out: &mut body })?.is_some() {
            count += 1;
        }
        rmp::encode::write_array_len(self.out, count).expect(MEMORY);
        self.out.extend_from_slice(&body);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut body = Vec::new();
        let mut count = 0;
        let mut special = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            rmp::encode::write_str(&mut body, &key).expect(MEMORY);
            if matches!(&*key, BIN | EXT) {
                special = Some((key.into_owned(), body.len()));
            }
            map.next_value_seed(Pack { out: &mut body })?;
            count += 1;
        }
        if count == 1
            && let Some((key, at)) = special
            && restore(&key, &body[at..], self.out).is_some()
        {
            return Ok(());
        }
        rmp::encode::write_map_len(self.out, count).expect(MEMORY);
        self.out.extend_from_slice(&body);
        Ok(())
    }
}

/// Writes the binary or extension that `{"$bin": …}` or `{"$ext": …}` stands for; `None`, and
/// nothing written, when the value does not have the right shape.
fn restore(key: &str, packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(packed);
    let text = |reader: &mut Reader<'_>| match reader.head() {
        Ok(Head::Text(len)) => STANDARD.decode(reader.take(len).ok()?).ok(),
        _ => None,
    };
    if key == BIN {
        let bytes = text(&mut reader)?;
        rmp::encode::write_bin(out, &bytes).expect(MEMORY);
        return Some(());
    }
    let Ok(Head::Array(2)) = reader.head() else { return None };
    let kind = match reader.head() {
        Ok(Head::Unsigned(kind)) => i8::try_from(kind).ok()?,
        Ok(Head::Signed(kind)) => i8::try_from(kind).ok()?,
        _ => return None,
    };
    let bytes = text(&mut reader)?;
    let len = u32::try_from(bytes.len()).ok()?;
    rmp::encode::write_ext_meta(out, len, kind).expect(MEMORY);
    out.extend_from_slice(&bytes);
    Some(())
}

/// Refuses JSON text nested deeper than `depth_max`, before any parser recurses into it. The
/// outermost container is depth 1. Text that is not JSON is left for the parser to refuse.
pub fn check_json_depth(text: &[u8], depth_max: usize) -> Result<(), ErrorCode> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for &byte in text {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return Err(ErrorCode::TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Refuses JSON text that raw values let through although it stands for no value: numbers beyond
/// float 64 and lone surrogates. Whatever passes here has a MessagePack form.
pub fn check_json_values(text: &str) -> Result<(), ErrorCode> {
    let mut json = serde_json::Deserializer::from_str(text);
    Check.deserialize(&mut json).map_err(|error| value_error(&error))
}

/// A number beyond float 64 is JSON, yet no value that anybody could keep.
fn value_error(error: &serde_json::Error) -> ErrorCode {
    if error.to_string().starts_with("number out of range") { ErrorCode::BadValue } else { ErrorCode::Malformed }
}

/// Visits everything, keeps nothing; unlike serde's `IgnoredAny` it makes the parser read numbers and escapes.
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Check)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Check)?.is_some() {
            map.next_value_seed(Check)?;
        }
        Ok(())
    }
}

/// JSON text without line breaks, which would end an SSE `data:` line early.
///
/// In valid JSON a raw line break stands only between tokens, so dropping it changes nothing.
pub fn single_line(text: &str) -> std::borrow::Cow<'_, str> {
    if text.bytes().any(|b| matches!(b, b'\n' | b'\r')) { text.replace(['\n', '\r'], "").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        to_json(bytes, 16, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn pack(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        from_json(text.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn timestamps_of_the_calendar_edges() {
        let at = |seconds: i64| {
            let mut bytes = vec![0xc7, 12, 0xff, 0, 0, 0, 0];
            bytes.extend_from_slice(&seconds.to_be_bytes());
            json(&bytes)
        };
        assert_eq!(at(0), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(at(951_782_400), "\"2000-02-29T00:00:00Z\"");
        assert_eq!(at(-1), "\"1969-12-31T23:59:59Z\"");
        assert_eq!(at(253_402_300_799), "\"9999-12-31T23:59:59Z\"");
        assert!(at(253_402_300_800).contains("$ext"));
        assert_eq!(at(-62_167_219_200), "\"0000-01-01T00:00:00Z\"");
        assert!(at(-62_167_219_201).contains("$ext"));
        assert!(at(i64::MIN).contains("$ext"));
    }

    #[test]
    fn binary_and_extensions_come_back() {
        for bytes in [&[0xc4, 2, 1, 2][..], &[0xd4, 5, 9], &[0xc7, 3, 0x80, 1, 2, 3], &[0xc4, 0]] {
            assert_eq!(pack(&json(bytes)), bytes);
        }
        assert_eq!(pack(r#"{"$bin":"!"}"#), b"\x81\xa4$bin\xa1!");
        assert_eq!(pack(r#"{"$bin":"","x":1}"#), b"\x82\xa4$bin\xa0\xa1x\x01");
    }

    #[test]
    fn line_breaks_vanish_between_tokens_only() {
        assert_eq!(single_line("{\n\"a\":\r\n\"b\\n\"}"), "{\"a\":\"b\\n\"}");
    }

    #[test]
    fn values_that_no_encoding_has_are_refused() {
        for good in ["[1,-2,1.5e300,null,true]", r#"{"a\ud83d\ude00":"\n"}"#] {
            assert_eq!(check_json_values(good), Ok(()), "{good}");
        }
        for (bad, code) in [
            ("[1e400]", ErrorCode::BadValue),
            (r#""\ud800""#, ErrorCode::Malformed),
            (r#"{"\udc00":1}"#, ErrorCode::Malformed),
        ] {
            assert_eq!(check_json_values(bad), Err(code), "{bad}");
        }
    }

    #[test]
    fn depth_ignores_brackets_inside_text() {
        assert_eq!(check_json_depth(br#"{"a":"[[[[\"[["}"#, 1), Ok(()));
        assert_eq!(check_json_depth(b"[[1]]", 1), Err(ErrorCode::TooDeep));
    }
}
