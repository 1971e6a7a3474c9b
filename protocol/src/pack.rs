//! Writes our own messages as MessagePack: exactly what [`crate::convert::from_json`] would make of their JSON form,
//! without making that first. Numbers take their shortest form, and a float that stands for an integer is one.

use std::fmt;

use rmp::encode;
use serde::{
    Serialize,
    ser::{self, Error as _, Serializer},
};

use crate::{
    convert,
    msgpack::{Head, Reader},
};

/// What `serde_json` calls raw JSON when a serializer or deserializer is not its own.
pub(crate) const RAW_JSON: &str = "$serde_json::private::RawValue";
const MEMORY: &str = "writing to memory cannot fail";

/// Appends the map `{"type": kind, …fields, "data": data}`; `fields` must be a struct or a map.
pub(crate) fn write<T: Serialize>(kind: &str, fields: &T, data: Option<&[u8]>, out: &mut Vec<u8>) {
    let at = out.len();
    // Nearly all messages have few fields, so the head is one byte.
    out.push(0);
    text("type", out);
    text(kind, out);
    let fields = fields.serialize(Pack { out, headless: true });
    let mut count = fields.expect("our own messages always have a MessagePack form") + 1;
    if let Some(data) = data {
        text("data", out);
        out.extend_from_slice(data);
        count += 1;
    }
    out.splice(at..=at, head(true, count));
}

fn text(text: &str, out: &mut Vec<u8>) {
    encode::write_str(out, text).expect(MEMORY);
}

/// The head of a map or list.
fn head(is_map: bool, count: u32) -> impl Iterator<Item = u8> {
    let mut head = [0; 5];
    let mut rest = &mut head[..];
    let written =
        if is_map { encode::write_map_len(&mut rest, count) } else { encode::write_array_len(&mut rest, count) };
    written.expect("no head is longer");
    let len = 5 - rest.len();
    head.into_iter().take(len)
}

/// Writes one value. What it returns is how many entries a map or list has.
struct Pack<'a> {
    out: &'a mut Vec<u8>,
    /// The value is a map whose head the caller writes.
    headless: bool,
}

impl<'a> Pack<'a> {
    fn nested(out: &'a mut Vec<u8>) -> Self {
        Self { out, headless: false }
    }

    fn begin(self, is_map: bool, len: Option<usize>) -> Result<Compound<'a>, fmt::Error> {
        let at = self.out.len();
        let told = len.map(|len| u32::try_from(len).map_err(fmt::Error::custom)).transpose()?;
        if !self.headless
            && let Some(count) = told
        {
            self.out.extend(head(is_map, count));
        }
        Ok(Compound { out: self.out, at, is_map, owes_head: !self.headless && told.is_none(), is_raw: false, count: 0 })
    }

    /// The map of one entry that stands for a variant.
    fn variant(self, variant: &str) -> &'a mut Vec<u8> {
        self.out.extend(head(true, 1));
        text(variant, self.out);
        self.out
    }
}

/// A map or list that is being written.
struct Compound<'a> {
    out: &'a mut Vec<u8>,
    /// Where it begins.
    at: usize,
    is_map: bool,
    /// Its length was not known in advance.
    owes_head: bool,
    /// It is no map at all but stands for JSON text.
    is_raw: bool,
    count: u32,
}

impl Compound<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(Pack::nested(self.out)).map(|_| ())
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), fmt::Error> {
        if self.is_raw {
            return self.raw(value);
        }
        self.count += 1;
        text(key, self.out);
        self.value(value)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.count += 1;
        self.value(value)
    }

    fn raw<T: Serialize + ?Sized>(&mut self, json: &T) -> Result<(), fmt::Error> {
        self.value(json)?;
        let packed = self.out.split_off(self.at);
        let mut reader = Reader::new(&packed);
        match reader.head() {
            Ok(Head::Text(len)) => {
                let json = reader.text(len).map_err(fmt::Error::custom)?;
                convert::from_json(json.as_bytes(), self.out).map_err(fmt::Error::custom)
            }
            _ => Err(fmt::Error),
        }
    }

    fn finish(self) -> Result<u32, fmt::Error> {
        if self.owes_head {
            self.out.splice(self.at..self.at, head(self.is_map, self.count));
        }
        Ok(self.count)
    }
}

impl<'a> Serializer for Pack<'a> {
    type Ok = u32;
    type Error = fmt::Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result<u32, fmt::Error> {
        encode::write_bool(self.out, value).expect(MEMORY);
        Ok(0)
    }

    fn serialize_i8(self, value: i8) -> Result<u32, fmt::Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<u32, fmt::Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<u32, fmt::Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<u32, fmt::Error> {
        encode::write_sint(self.out, value).expect(MEMORY);
        Ok(0)
    }

    fn serialize_u8(self, value: u8) -> Result<u32, fmt::Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<u32, fmt::Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<u32, fmt::Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<u32, fmt::Error> {
        encode::write_uint(self.out, value).expect(MEMORY);
        Ok(0)
    }

    fn serialize_f32(self, value: f32) -> Result<u32, fmt::Error> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<u32, fmt::Error> {
        convert::pack_float(value, self.out);
        Ok(0)
    }

    fn serialize_char(self, value: char) -> Result<u32, fmt::Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<u32, fmt::Error> {
        text(value, self.out);
        Ok(0)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<u32, fmt::Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<u32, fmt::Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u32, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<u32, fmt::Error> {
        encode::write_nil(self.out).expect(MEMORY);
        Ok(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<u32, fmt::Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<u32, fmt::Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<u32, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u32, fmt::Error> {
        value.serialize(Pack::nested(self.variant(variant)))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'a>, fmt::Error> {
        self.begin(false, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'a>, fmt::Error> {
        self.begin(false, Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Compound<'a>, fmt::Error> {
        self.begin(false, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a>, fmt::Error> {
        Pack::nested(self.variant(variant)).begin(false, Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'a>, fmt::Error> {
        self.begin(true, len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Compound<'a>, fmt::Error> {
        if name == RAW_JSON {
            let at = self.out.len();
            return Ok(Compound { out: self.out, at, is_map: false, owes_head: false, is_raw: true, count: 0 });
        }
        self.begin(true, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a>, fmt::Error> {
        Pack::nested(self.variant(variant)).begin(true, Some(len))
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.element(value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.element(value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.element(value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.element(value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    /// Our keys are texts, or write themselves as one.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        let at = self.out.len();
        self.element(key)?;
        match Reader::new(&self.out[at..]).head() {
            Ok(Head::Text(_)) => Ok(()),
            _ => Err(fmt::Error::custom("a key is text")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.value(value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), fmt::Error> {
        self.entry(key, value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = u32;
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), fmt::Error> {
        self.entry(key, value)
    }

    fn end(self) -> Result<u32, fmt::Error> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Number, value::RawValue};

    use super::*;
    use crate::codec::{self, Encoding};

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(i64),
        Tuple(u8, char),
        Struct { a: f32 },
    }

    #[derive(Serialize)]
    struct Inner {
        flag: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
    }

    #[derive(Serialize)]
    struct All {
        numbers: Vec<f64>,
        integers: (i64, u64, i8, Number),
        text: String,
        nothing: Option<u8>,
        unit: (),
        shapes: Vec<Shape>,
        map: BTreeMap<String, Inner>,
        raw: Box<RawValue>,
        raws: Vec<Box<RawValue>>,
        #[serde(flatten)]
        flat: BTreeMap<String, u32>,
    }

    fn all(flat: u32) -> All {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        All {
            numbers: vec![0.0, -0.0, 1.0, -1.5, 1e15, 1e16, 1e300, f64::NAN, f64::INFINITY, 0.1],
            integers: (i64::MIN, u64::MAX, -1, Number::from_f64(2.0).unwrap()),
            text: "ä\"\\\n".repeat(100),
            nothing: None,
            unit: (),
            shapes: vec![Shape::Unit, Shape::Newtype(-5), Shape::Tuple(200, 'ß'), Shape::Struct { a: 1.5 }],
            map: [("x".to_owned(), Inner { flag: true, left_out: None })].into(),
            raw: raw(r#"{"$bin": "AAE=", "n": 1.0}"#),
            raws: vec![raw("[1, 2.5]"), raw(r#"{"$bin":"AAE="}"#), raw("null")],
            flat: (0..flat).map(|n| (format!("flat-{n}"), n)).collect(),
        }
    }

    /// Small and large heads, known and unknown lengths.
    #[test]
    fn it_writes_what_the_json_form_becomes() {
        for flat in [0, 3, 5, 20, 70_000] {
            let mut by_json = Vec::new();
            convert::from_json(&codec::encode(Encoding::Json, "kind", &all(flat), None), &mut by_json).unwrap();
            assert!(codec::encode(Encoding::MsgPack, "kind", &all(flat), None) == by_json, "{flat} flat entries");
        }
    }

    #[test]
    fn keys_are_texts() {
        let map = BTreeMap::from([(1, 2)]);
        assert!(map.serialize(Pack::nested(&mut Vec::new())).is_err());
    }
}
