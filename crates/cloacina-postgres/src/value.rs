//! Parameters of statements, for our driver and for that of a transaction which is not the store's.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use jiff::Timestamp;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// A column of texts.
pub(crate) type Texts<'a> = Vec<Option<Cow<'a, str>>>;

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value<'a> {
    Uuid(Uuid),
    Timestamp(Option<Timestamp>),
    /// The time of the transaction, which the database says.
    Now,
    Uuids(Vec<Uuid>),
    OptionalUuids(Vec<Option<Uuid>>),
    SmallInts(Vec<i16>),
    Integers(Vec<i32>),
    BigInts(Vec<Option<i64>>),
    Booleans(Vec<bool>),
    Timestamps(Vec<Option<Timestamp>>),
    SmallInt(i16),
    BigInt(i64),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Texts(Vec<Option<Cow<'a, str>>>),
}

impl Value<'_> {
    fn inner(&self) -> &dyn ToSql {
        match self {
            Self::Uuid(value) => value,
            Self::Timestamp(value) => value,
            Self::Now => &None::<Timestamp>,
            Self::Uuids(values) => values,
            Self::OptionalUuids(values) => values,
            Self::SmallInts(values) => values,
            Self::Integers(values) => values,
            Self::BigInts(values) => values,
            Self::Booleans(values) => values,
            Self::Timestamps(values) => values,
            Self::SmallInt(value) => value,
            Self::BigInt(value) => value,
            Self::Text(value) => value,
            Self::OptionalText(value) => value,
            Self::Texts(values) => values,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.inner().to_sql_checked(of, out)
    }

    fn accepts(_: &Type) -> bool {
        // The values are asked when they are written.
        true
    }

    to_sql_checked!();
}
