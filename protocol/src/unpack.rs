//! Reads messages out of MessagePack: exactly what serde would make of their JSON form by [`crate::convert::to_json`],
//! without making that first.

use std::iter;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Error;

use crate::{
    SAFE_INTEGER_MAX,
    code::ErrorCode,
    convert::{self, whole},
    msgpack::{Head, Reader},
    pack::RAW_JSON,
};

/// A field of a message and its value, which [`Reader::skip`] has looked at.
pub(crate) type Field<'a> = (&'a str, &'a [u8]);

/// Reads a message from its fields.
pub(crate) fn read<'a, T: Deserialize<'a>>(fields: impl Iterator<Item = Field<'a>>) -> Result<T, Error> {
    T::deserialize(MapDeserializer::new(fields.map(|(key, value)| (key, Value::new(value)))))
}

/// Reads one value.
pub(crate) fn value<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    T::deserialize(Value::new(bytes))
}

/// The next value of a reader.
struct Value<'r, 'de>(Source<'r, 'de>);

/// A value alone, or one inside a list or map, whose reader goes on behind it.
enum Source<'r, 'de> {
    Own(Reader<'de>),
    Shared(&'r mut Reader<'de>),
}

impl<'de> Value<'de, 'de> {
    fn new(bytes: &'de [u8]) -> Self {
        Self(Source::Own(Reader::new(bytes)))
    }
}

impl<'de> Value<'_, 'de> {
    fn reader(&mut self) -> &mut Reader<'de> {
        match &mut self.0 {
            Source::Own(reader) => reader,
            Source::Shared(reader) => reader,
        }
    }

    /// Its JSON form.
    fn json(&mut self) -> Result<String, Error> {
        let mut json = Vec::new();
        convert::write_json(self.reader(), &mut json).map_err(broken)?;
        String::from_utf8(json).map_err(Error::custom)
    }

    fn text(&mut self, len: usize) -> Result<&'de str, Error> {
        self.reader().text(len).map_err(broken)
    }

    fn head(&mut self) -> Result<Head, Error> {
        self.reader().head().map_err(broken)
    }

    fn peek(&mut self) -> Result<Head, Error> {
        let mut ahead = *self.reader();
        ahead.head().map_err(broken)
    }
}

fn broken(code: ErrorCode) -> Error {
    Error::custom(code.name())
}

impl<'de> IntoDeserializer<'de, Error> for Value<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        const SAFE: u64 = SAFE_INTEGER_MAX;
        if let Head::Binary(_) | Head::Extension(..) = self.peek()? {
            // Rare, and what they become in JSON is for one place to say.
            return serde_json::Deserializer::from_reader(self.json()?.as_bytes()).deserialize_any(visitor);
        }
        match self.head()? {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(value) if value <= SAFE => visitor.visit_u64(value),
            Head::Unsigned(value) => visitor.visit_string(value.to_string()),
            Head::Signed(value) if value.unsigned_abs() <= SAFE => integer(value, visitor),
            Head::Signed(value) => visitor.visit_string(value.to_string()),
            Head::Float(value) => match whole(value) {
                Some(value) => integer(value, visitor),
                None if value.is_finite() => visitor.visit_f64(value),
                None => visitor.visit_unit(),
            },
            Head::Text(len) => visitor.visit_borrowed_str(self.text(len)?),
            Head::Array(left) => Values { reader: self.reader(), left }.all(|values| visitor.visit_seq(values)),
            Head::Map(left) => Values { reader: self.reader(), left }.all(|values| visitor.visit_map(values)),
            Head::Binary(_) | Head::Extension(..) => Err(broken(ErrorCode::Malformed)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.peek()? {
            Head::Nil => {
                self.head()?;
                visitor.visit_none()
            }
            Head::Float(value) if !value.is_finite() => {
                self.head()?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name != RAW_JSON {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_map(MapDeserializer::new(iter::once((RAW_JSON, self.json()?))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Text(len) => visitor.visit_enum(BorrowedStrDeserializer::new(self.text(len)?)),
            Head::Map(left @ 1) => {
                visitor.visit_enum(MapAccessDeserializer::new(Values { reader: self.reader(), left }))
            }
            _ => Err(Error::custom("invalid type: expected the name of a variant")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.reader().skip(crate::msgpack::DEPTH_CEILING).map_err(broken)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

fn integer<'de, V: Visitor<'de>>(value: i64, visitor: V) -> Result<V::Value, Error> {
    match u64::try_from(value) {
        Ok(value) => visitor.visit_u64(value),
        Err(_) => visitor.visit_i64(value),
    }
}

/// What is left of a list, or of a map.
struct Values<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> Values<'_, 'de> {
    /// Has all of them read.
    fn all<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let value = read(&mut self)?;
        if self.left == 0 { Ok(value) } else { Err(Error::custom("a list is too long")) }
    }

    fn next(&mut self) -> Value<'_, 'de> {
        Value(Source::Shared(self.reader))
    }
}

impl<'de> SeqAccess<'de> for Values<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.next()).map(Some)
    }
}

impl<'de> MapAccess<'de> for Values<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let mut key = self.next();
        match key.peek()? {
            Head::Text(_) => seed.deserialize(key).map(Some),
            // It becomes the text of its JSON.
            _ => seed.deserialize(key.json()?.into_deserializer()).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.next())
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use proptest::prelude::*;
    use serde_json::{Number, value::RawValue};

    use super::*;

    /// A MessagePack value in any of its forms, floats that JSON does not write to the last bit aside.
    fn packed() -> impl Strategy<Value = Vec<u8>> {
        let head = |marker: u8, rest: Vec<u8>| [vec![marker], rest].concat();
        let sized = |marker: u8| {
            prop::collection::vec(any::<u8>(), 0..20)
                .prop_map(move |bytes| [vec![marker, u8::try_from(bytes.len()).unwrap()], bytes].concat())
        };
        let leaf = prop_oneof![
            prop::sample::select(vec![0xc0, 0xc2, 0xc3, 0x00, 0x05, 0x7f, 0xe0, 0xff]).prop_map(|marker| vec![marker]),
            any::<u64>().prop_map(move |n| head(0xcf, n.to_be_bytes().into())),
            (0..1_u64 << 54).prop_map(move |n| head(0xcf, n.to_be_bytes().into())),
            any::<i64>().prop_map(move |n| head(0xd3, n.to_be_bytes().into())),
            any::<i8>().prop_map(move |n| head(0xd0, n.to_be_bytes().into())),
            prop::sample::select(vec![0.0, -0.0, 1.0, -7.0, 1.5, -0.25, 1e15, 1e16, f64::NAN, f64::INFINITY])
                .prop_map(move |n: f64| head(0xcb, n.to_be_bytes().into())),
            "[a-z\"\\\\ä\n]{0,9}"
                .prop_map(move |text| [vec![0xd9, u8::try_from(text.len()).unwrap()], text.into()].concat()),
            sized(0xc4),
            any::<[u8; 4]>().prop_map(move |seconds| head(0xd6, [vec![0xff], seconds.into()].concat())),
            any::<[u8; 2]>().prop_map(move |bytes| head(0xd5, [vec![7], bytes.into()].concat())),
        ];
        leaf.prop_recursive(4, 40, 8, |inner| {
            let joined = |marker: u8, parts: Vec<Vec<u8>>| {
                let count = u8::try_from(parts.len()).unwrap() / if marker == 0x80 { 2 } else { 1 };
                [vec![marker | count], parts.concat()].concat()
            };
            let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..8).prop_map(move |parts| joined(0x90, parts)),
                pairs.prop_map(move |pairs| joined(0x80, pairs.into_iter().flat_map(|(k, v)| [k, v]).collect())),
            ]
        })
    }

    /// What comes of a value, or that it cannot be read.
    fn both<T: serde::de::DeserializeOwned + serde::Serialize>(bytes: &[u8]) -> [Option<String>; 2] {
        let mut json = Vec::new();
        convert::to_json(bytes, 64, &mut json).unwrap();
        let direct = value::<T>(bytes).ok().map(|read| serde_json::to_string(&read).unwrap());
        [direct, serde_json::from_slice::<T>(&json).ok().map(|read| serde_json::to_string(&read).unwrap())]
    }

    #[derive(serde::Deserialize, serde::Serialize)]
    enum Shape {
        A,
        B(u8),
        C { a: Option<Number> },
    }

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Fields {
        a: u64,
        #[serde(default)]
        b: Option<i32>,
        c: Option<f64>,
        d: Option<Box<RawValue>>,
        e: Vec<Shape>,
        #[serde(default)]
        f: BTreeMap<String, Cow<'static, str>>,
    }

    proptest! {
        /// Whatever the value and whatever it is read as, it is what its JSON form would be.
        #[test]
        fn it_reads_what_the_json_form_says(bytes in packed(), others in prop::collection::vec(packed(), 5)) {
            prop_assume!(crate::msgpack::check_single(&bytes, 64).is_ok());
            let [direct, by_json] = both::<serde_json::Value>(&bytes);
            prop_assert!(by_json.is_some());
            prop_assert_eq!(direct, by_json);
            macro_rules! alike {
                ($($kind:ty),*) => { $(let [direct, by_json] = both::<$kind>(&bytes); prop_assert_eq!(direct, by_json);)* };
            }
            alike!(u64, u8, i64, f64, bool, String, Option<u64>, Option<String>, (), Number, Box<RawValue>, Shape, Vec<u8>);
            alike!(Vec<Shape>, Vec<Option<f64>>, BTreeMap<String, Option<Number>>, Fields);
            let names = ["a", "b", "c", "d", "e"].map(|name| [&[0xa1][..], name.as_bytes()].concat());
            let pairs: Vec<_> = names.into_iter().zip(others).flat_map(|(name, value)| [name, value]).collect();
            let map = [vec![0x85], pairs.concat()].concat();
            prop_assume!(crate::msgpack::check_single(&map, 64).is_ok());
            let [direct, by_json] = both::<Fields>(&map);
            prop_assert_eq!(direct, by_json);
        }
    }

    #[test]
    fn fields_are_told_apart() {
        // {a: 5, c: nil, d: {"$bin": …}, e: ["A", {"B": 7}, {"C": {"a": 1.5}}], f: {1: "x"}}
        let packed = b"\x85\xa1a\x05\xa1c\xc0\xa1d\xc4\x01\x00\xa1e\x93\xa1A\x81\xa1B\x07\x81\xa1C\x81\xa1a\xca\x3f\xc0\0\0\xa1f\x81\x01\xa1x";
        let [direct, by_json] = both::<Fields>(packed);
        assert_eq!(direct, by_json);
        let expected =
            r#"{"a":5,"b":null,"c":null,"d":{"$bin":"AA=="},"e":["A",{"B":7},{"C":{"a":1.5}}],"f":{"1":"x"}}"#;
        assert_eq!(direct.as_deref(), Some(expected));
        assert!(value::<Fields>(b"\x82\xa1a\x05\xa1a\x06").is_err(), "twice");
        assert!(value::<(u8, u8)>(b"\x93\x01\x02\x03").is_err(), "too long");
    }
}
