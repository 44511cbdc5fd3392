//! The types a value may be cast to.

use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ObjectNamePart};

use super::statement::Walk;
use super::{Refusal, allowed};

impl Walk<'_> {
    /// Types that are only values. `regclass` and its like look a name up in the catalog, across all tenants.
    pub(super) fn data_type(&self, data_type: &mut DataType) -> Result<(), Refusal> {
        match data_type {
            DataType::Character(length)
            | DataType::Char(length)
            | DataType::CharacterVarying(length)
            | DataType::CharVarying(length)
            | DataType::Varchar(length) => match length {
                None | Some(CharacterLength::IntegerLength { length: _, unit: None }) => Ok(()),
                Some(CharacterLength::IntegerLength { length: _, unit: Some(_) } | CharacterLength::Max) => {
                    self.refuse(
                        data_type,
                        "has a length in the syntax of another database",
                        "give a number of characters",
                    )
                }
            },
            DataType::Uuid
            | DataType::Numeric(_)
            | DataType::Decimal(_)
            | DataType::Float(_)
            | DataType::SmallInt(None)
            | DataType::Int(None)
            | DataType::Integer(None)
            | DataType::BigInt(None)
            | DataType::Int2(None)
            | DataType::Int4(None)
            | DataType::Int8(None)
            | DataType::Float4
            | DataType::Float8
            | DataType::Real
            | DataType::DoublePrecision
            | DataType::Double(_)
            | DataType::Bool
            | DataType::Boolean
            | DataType::Date
            | DataType::Time(..)
            | DataType::Datetime(None)
            | DataType::Timestamp(..)
            | DataType::Interval { fields: None, precision: None }
            | DataType::JSON
            | DataType::JSONB
            | DataType::Text
            | DataType::Bytea
            | DataType::Blob(None)
            | DataType::TsVector
            | DataType::TsQuery => Ok(()),
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, None)) => {
                self.only_postgres("[]")?;
                self.data_type(element)
            }
            DataType::Custom(name, modifiers) if modifiers.is_empty() => {
                let exact = match name.0.as_slice() {
                    [ObjectNamePart::Identifier(name)] if name.quote_style.is_some() => name.value.clone(),
                    [ObjectNamePart::Identifier(name)] => name.value.to_ascii_lowercase(),
                    _ => return self.refuse(&*name, "is a qualified type", "use the type's name alone"),
                };
                if !allowed::is_type(&exact) && !self.rules.types.contains(&exact) {
                    return self.refuse(
                        &*name,
                        "is no declared type",
                        "declare the type if it is an enum of yours",
                    );
                }
                self.simple_name(name)
            }
            other => self.refuse(
                other,
                "is no type of plain values",
                "cast to text, a number, a time, uuid or json",
            ),
        }
    }
}
