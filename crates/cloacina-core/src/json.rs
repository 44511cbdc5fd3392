//! Values as JSON, without a loss: what has no JSON form is refused where serde_json writes `null`, and
//! nothing is nested deeper than it can be read again.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Value};

/// How deep a value may be nested. serde_json reads 127 levels, of which the stored form of a patch takes
/// two.
pub(crate) const MAX_DEPTH: usize = 100;

pub(crate) const TOO_DEEP: &str = "arrays or objects nested more than 100 levels deep";

/// The JSON form of a value.
pub(crate) fn to_value(value: &(impl Serialize + ?Sized)) -> Result<Value, Error> {
    value.serialize(Strict { to: serde_json::value::Serializer, depth: 0 })
}

/// Why a value could not be read as a type, without the value: it may be a secret.
pub(crate) fn mismatch(error: &Error) -> String {
    let text = error.to_string();
    let quotes_a_value =
        ["invalid type: ", "invalid value: ", "unknown variant "].iter().any(|start| text.starts_with(start));
    // What was expected comes last, whatever is in the value.
    match text.rsplit_once(", expected ") {
        Some((found, expected)) if quotes_a_value => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}")
        }
        _ => text,
    }
}

/// Whether a value is nested deeper than it can be stored. Takes no more stack than a value that is not.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    fn beyond(value: &Value, depth: usize) -> bool {
        depth > MAX_DEPTH
            || match value {
                Value::Array(items) => items.iter().any(|item| beyond(item, depth + 1)),
                Value::Object(fields) => fields.values().any(|field| beyond(field, depth + 1)),
                _ => false,
            }
    }
    beyond(value, 0)
}

/// Drops a value level by level: dropped as a whole, one that is nested very deep takes more stack than there
/// is.
pub(crate) fn dismantle(value: Value) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, field)| field)),
            _ => {}
        }
    }
}

/// Hands everything on to another serializer, except what is to be refused.
struct Strict<S> {
    to: S,
    /// How many arrays and objects are around it.
    depth: usize,
}

/// A value within another one.
struct Inner<'a, T: ?Sized> {
    value: &'a T,
    depth: usize,
}

impl<T: Serialize + ?Sized> Serialize for Inner<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.depth > MAX_DEPTH {
            return Err(S::Error::custom(TOO_DEEP));
        }
        self.value.serialize(Strict { to, depth: self.depth })
    }
}

impl<S> Strict<S> {
    /// What a value within this one is.
    fn within<'a, T: ?Sized>(&self, value: &'a T) -> Inner<'a, T> {
        Inner { value, depth: self.depth + 1 }
    }
}

fn finite<E: serde::ser::Error>(number: f64) -> Result<(), E> {
    if number.is_finite() { Ok(()) } else { Err(E::custom(format!("{number} is no number in JSON"))) }
}

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method(self, $($argument: $type),*) -> Result<S::Ok, S::Error> { self.to.$method($($argument),*) })*
    };
}

macro_rules! open {
    ($($method:ident($($argument:ident: $type:ty),*) -> $compound:ident;)*) => {
        $(fn $method(self, $($argument: $type),*) -> Result<Strict<S::$compound>, S::Error> {
            Ok(Strict { to: self.to.$method($($argument),*)?, depth: self.depth })
        })*
    };
}

impl<S: Serializer> Serializer for Strict<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Strict<S::SerializeSeq>;
    type SerializeTuple = Strict<S::SerializeTuple>;
    type SerializeTupleStruct = Strict<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Strict<S::SerializeTupleVariant>;
    type SerializeMap = Strict<S::SerializeMap>;
    type SerializeStruct = Strict<S::SerializeStruct>;
    type SerializeStructVariant = Strict<S::SerializeStructVariant>;

    hand_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    open! {
        serialize_seq(length: Option<usize>) -> SerializeSeq;
        serialize_tuple(length: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct;
        serialize_map(length: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, length: usize) -> SerializeStruct;
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        finite(value.into())?;
        self.to.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        finite(value)?;
        self.to.serialize_f64(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.serialize_some(&Inner { value, depth: self.depth })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.to.serialize_newtype_struct(name, &Inner { value, depth: self.depth })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.within(value);
        self.to.serialize_newtype_variant(name, index, variant, &value)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Strict<S::SerializeTupleVariant>, S::Error> {
        let to = self.to.serialize_tuple_variant(name, index, variant, length)?;
        // An array in an object.
        Ok(Strict { to, depth: self.depth + 1 })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Strict<S::SerializeStructVariant>, S::Error> {
        let to = self.to.serialize_struct_variant(name, index, variant, length)?;
        // An object in an object.
        Ok(Strict { to, depth: self.depth + 1 })
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.to.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.to.is_human_readable()
    }
}

macro_rules! items {
    ($($trait:ident::$method:ident;)*) => {
        $(impl<S: $trait> $trait for Strict<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let value = self.within(value);
                self.to.$method(&value)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.to.end()
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! fields {
    ($($trait:ident;)*) => {
        $(impl<S: $trait> $trait for Strict<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), S::Error> {
                let value = self.within(value);
                self.to.serialize_field(name, &value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.to.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.to.end()
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Strict<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.to.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.within(value);
        self.to.serialize_value(&value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.to.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(f64),
        Tuple(f64, Option<f32>),
        Struct { f: f64 },
    }

    #[derive(Serialize)]
    struct Newtype(f64);

    #[derive(Serialize)]
    struct Fields {
        f: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        none: Option<f64>,
        #[serde(flatten)]
        rest: BTreeMap<String, f64>,
    }

    fn fields(f: f64, rest: f64) -> Fields {
        Fields { f, none: None, rest: BTreeMap::from([("r".to_owned(), rest)]) }
    }

    #[test]
    fn what_serde_json_writes_is_written_the_same() {
        #[track_caller]
        fn same(value: impl Serialize) {
            assert_eq!(to_value(&value).unwrap(), serde_json::to_value(&value).unwrap());
        }
        same((1_u8, -1_i64, u64::MAX, 1.5_f32, -0.0_f64, f64::MAX, 'c', "text", true, ()));
        same([Some(1.5), None]);
        same((Newtype(1.5), fields(1.5, 2.5), std::time::Duration::from_millis(1)));
        same([Shape::Unit, Shape::Newtype(1.0), Shape::Tuple(1.0, Some(2.0)), Shape::Struct { f: 1.0 }]);
        same(HashMap::from([(7, Newtype(1.5))]));
        same(json!({"a": [1, null, {"b": "c"}], "d": 1.5}));
        same(std::net::Ipv4Addr::LOCALHOST);
        same(serde_json::from_str::<Box<serde_json::value::RawValue>>(r#"{"a": [1]}"#).unwrap());
        assert!(to_value(&HashMap::from([((1, 2), 3)])).is_err());
    }

    #[test]
    fn a_float_that_is_no_number_is_refused_wherever_it_is() {
        #[track_caller]
        fn refused(value: impl Serialize) {
            assert_eq!(to_value(&value).unwrap_err().to_string(), "NaN is no number in JSON");
        }
        let nan = f64::NAN;
        refused(nan);
        refused(f32::NAN);
        refused(Some(Some(nan)));
        refused([vec![1.0, nan]]);
        refused((1, nan));
        refused((Newtype(nan), 1));
        refused(fields(nan, 1.0));
        refused(fields(1.0, nan));
        refused(Shape::Newtype(nan));
        refused(Shape::Tuple(1.0, Some(f32::NAN)));
        refused(Shape::Struct { f: nan });
        refused(HashMap::from([("key", HashMap::from([("key", nan)]))]));
        assert_eq!(to_value(&f64::NEG_INFINITY).unwrap_err().to_string(), "-inf is no number in JSON");
    }

    /// An array in an array, and so on, so many levels deep.
    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |value, _| Value::Array(vec![value]))
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_dropped_without_a_deep_stack() {
        assert_eq!(to_value(&nested(MAX_DEPTH)).unwrap(), nested(MAX_DEPTH));
        assert!(!is_too_deep(&nested(MAX_DEPTH)));
        assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
        assert_eq!(to_value(&nested(MAX_DEPTH + 1)).unwrap_err().to_string(), TOO_DEEP);
        let deep = nested(1_000_000);
        assert!(is_too_deep(&deep));
        assert_eq!(to_value(&deep).unwrap_err().to_string(), TOO_DEEP);
        dismantle(deep);
    }
}
