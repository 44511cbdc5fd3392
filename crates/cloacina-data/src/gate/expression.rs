//! Values and conditions.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, Ident,
    InTarget, Interval, Subscript, TypedString, UnaryOperator, Value, ValueWithSpan,
};

use super::statement::Walk;
use super::{Dialect, Refusal, allowed};

impl Walk<'_> {
    pub(super) fn output_expressions(&mut self, expressions: &mut [Expr]) -> Result<(), Refusal> {
        expressions.iter_mut().try_for_each(|expression| self.output_expression(expression))
    }

    /// What is sorted or grouped by: a bare name may be one that the SELECT gave, and a whole row is not
    /// shown by it.
    pub(super) fn output_expression(&mut self, expression: &mut Expr) -> Result<(), Refusal> {
        match expression {
            Expr::Identifier(name) => self.name(name),
            other => self.expression(other),
        }
    }

    fn expressions(&mut self, expressions: &mut [Expr]) -> Result<(), Refusal> {
        expressions.iter_mut().try_for_each(|expression| self.expression(expression))
    }

    fn optional(&mut self, expression: &mut Option<Box<Expr>>) -> Result<(), Refusal> {
        expression.as_mut().map_or(Ok(()), |expression| self.expression(expression))
    }

    pub(super) fn expression(&mut self, expression: &mut Expr) -> Result<(), Refusal> {
        match expression {
            Expr::Identifier(name) => {
                self.name(name)?;
                self.values.push(name.clone());
                Ok(())
            }
            Expr::CompoundIdentifier(parts) => self.column(parts),
            Expr::Value(ValueWithSpan { value, span: _ }) => self.literal(value),
            Expr::Nested(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner) => self.expression(inner),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.expression(left)?;
                self.expression(right)
            }
            Expr::BinaryOp { left, op, right } => {
                self.operator(op)?;
                self.expression(left)?;
                self.expression(right)
            }
            Expr::UnaryOp { op, expr } => {
                match op {
                    UnaryOperator::Plus
                    | UnaryOperator::Minus
                    | UnaryOperator::Not
                    | UnaryOperator::BitwiseNot => {}
                    _ => return self.refuse(op, "is no ordinary operator", "use a function"),
                }
                self.expression(expr)
            }
            Expr::In { expr, target, negated: _, global } => {
                self.absent(*global, "GLOBAL")?;
                self.expression(expr)?;
                match target {
                    InTarget::List(values) => self.expressions(values),
                    InTarget::Subquery(query) => self.query(query),
                    InTarget::Unnest(_) | InTarget::Table { .. } => {
                        self.refuse(target, "is no list", "use IN (SELECT …)")
                    }
                }
            }
            Expr::Between { expr, negated: _, low, high } => {
                self.expression(expr)?;
                self.expression(low)?;
                self.expression(high)
            }
            Expr::Like { negated: _, any, expr, pattern, escape_char }
            | Expr::ILike { negated: _, any, expr, pattern, escape_char } => {
                self.absent(*any, "LIKE ANY")?;
                self.expression(expr)?;
                self.expression(pattern)?;
                self.optional(escape_char)
            }
            Expr::SimilarTo { negated: _, expr, pattern, escape_char } => {
                self.expression(expr)?;
                self.expression(pattern)?;
                self.optional(escape_char)
            }
            Expr::AnyOp { left, compare_op, right, is_some: _ } | Expr::AllOp { left, compare_op, right } => {
                self.only_postgres("ANY or ALL")?;
                self.operator(compare_op)?;
                self.expression(left)?;
                self.expression(right)
            }
            Expr::Cast { kind, expr, data_type, format } => {
                match kind {
                    CastKind::Cast | CastKind::DoubleColon => {}
                    CastKind::TryCast | CastKind::SafeCast => {
                        return self.refuse(
                            expression,
                            "is the syntax of another database",
                            "use CAST(… AS …)",
                        );
                    }
                }
                self.absent(format.is_some(), "FORMAT in CAST")?;
                self.data_type(data_type)?;
                self.expression(expr)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                self.only_postgres("AT TIME ZONE")?;
                self.expression(timestamp)?;
                self.expression(time_zone)
            }
            Expr::Extract { field, syntax: _, expr } => {
                self.date_field(field)?;
                self.expression(expr)
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                match field {
                    CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {}
                    CeilFloorKind::DateTimeField(_) | CeilFloorKind::Scale(_) => {
                        return self.refuse(
                            expression,
                            "is the syntax of another database",
                            "round with one argument",
                        );
                    }
                }
                self.expression(expr)
            }
            Expr::Position { expr, r#in } => {
                self.expression(expr)?;
                self.expression(r#in)
            }
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expression(expr)?;
                self.optional(substring_from)?;
                self.optional(substring_for)
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.expression(expr)?;
                self.optional(trim_what)?;
                trim_characters.as_mut().map_or(Ok(()), |characters| self.expressions(characters))
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                self.expression(expr)?;
                self.expression(overlay_what)?;
                self.expression(overlay_from)?;
                self.optional(overlay_for)
            }
            Expr::Collate { expr, collation } => {
                self.simple_name(collation)?;
                self.expression(expr)
            }
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }) => {
                self.absent(*uses_odbc_syntax, "{ }")?;
                self.data_type(data_type)?;
                self.literal(&value.value)
            }
            Expr::Interval(interval) => self.interval(interval),
            Expr::Function(function) => self.function(function),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.optional(operand)?;
                for CaseWhen { condition, result } in conditions {
                    self.expression(condition)?;
                    self.expression(result)?;
                }
                self.optional(else_result)
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => self.query(subquery),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter_mut().try_for_each(|set| self.expressions(set))
            }
            Expr::Tuple(values) => self.expressions(values),
            Expr::Array(Array { elem, named }) => {
                if !*named {
                    return self.refuse(expression, "is no array here", "write ARRAY in front");
                }
                self.only_postgres("ARRAY")?;
                self.expressions(elem)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.only_postgres("[ ]")?;
                let elements = match (root.as_mut(), access_chain.as_mut_slice()) {
                    // A column with its table's name in front.
                    (Expr::Identifier(table), [AccessExpr::Dot(Expr::Identifier(column)), elements @ ..]) => {
                        self.qualified(table, column)?;
                        elements
                    }
                    (root, elements) => {
                        self.expression(root)?;
                        elements
                    }
                };
                elements.iter_mut().try_for_each(|element| self.access(element))
            }
            other => self.refuse(
                other,
                "is not allowed as a value",
                "use columns, parameters, operators and functions",
            ),
        }
    }

    fn column(&self, parts: &mut [Ident]) -> Result<(), Refusal> {
        match parts {
            [table, column] => self.qualified(table, column),
            _ => {
                let whole = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
                self.refuse(
                    whole,
                    "names a schema or the inside of a column",
                    "write a table's name or alias and a column",
                )
            }
        }
    }

    /// A column with its table's name in front. PostgreSQL reads `t.f` as `f(t)` when `t` has no column `f`.
    fn qualified(&self, table: &mut Ident, column: &mut Ident) -> Result<(), Refusal> {
        self.name(table)?;
        self.name(column)?;
        // A name may stand for several tables in several parts of a statement.
        let of = self.ranges.get(&table.value.to_ascii_lowercase());
        let has = |table: &Option<String>| {
            self.rules.tables.has_column(self.dialect(), table.as_deref()?, &column.value)
        };
        let (mut known, mut unknown, mut missing) = (false, of.is_none(), false);
        for found in of.into_iter().flatten().map(has) {
            known |= found == Some(true);
            missing |= found == Some(false);
            unknown |= found.is_none();
        }
        if missing && !known && !unknown {
            return self.refuse(
                &*column,
                "is no column of the declared table",
                "write a column that its model has",
            );
        }
        let is_function =
            || allowed::takes_a_row(&column.value) || self.rules.functions.contains(&column.value);
        if self.dialect() == Dialect::Postgres && (missing || unknown) && is_function() {
            return self.refuse(
                &*column,
                "can mean a function of a whole row",
                "call the column by another name",
            );
        }
        Ok(())
    }

    /// An element of an array; the field of a row is not allowed.
    fn access(&mut self, access: &mut AccessExpr) -> Result<(), Refusal> {
        match access {
            AccessExpr::Subscript(Subscript::Index { index }) => self.expression(index),
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                self.absent(stride.is_some(), "a stride")?;
                for bound in [lower_bound, upper_bound].into_iter().flatten() {
                    self.expression(bound)?;
                }
                Ok(())
            }
            AccessExpr::Dot(_) => {
                self.refuse(access, "is a field of a row", "write a table's name or alias and a column")
            }
        }
    }

    fn interval(&mut self, interval: &mut Interval) -> Result<(), Refusal> {
        self.only_postgres("INTERVAL")?;
        let Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } =
            interval;
        self.absent(leading_field.is_some() || last_field.is_some(), "a unit after INTERVAL '…'")?;
        self.absent(leading_precision.is_some(), "a precision of INTERVAL")?;
        self.absent(fractional_seconds_precision.is_some(), "a precision of INTERVAL")?;
        match value.as_ref() {
            Expr::Value(ValueWithSpan { value: value @ Value::SingleQuotedString(_), span: _ }) => {
                self.literal(value)
            }
            other => self.refuse(
                other,
                "does not go with INTERVAL, which takes a text",
                "cast a parameter to interval",
            ),
        }
    }

    fn date_field(&self, field: &DateTimeField) -> Result<(), Refusal> {
        match field {
            DateTimeField::Year
            | DateTimeField::Month
            | DateTimeField::Week(None)
            | DateTimeField::Day
            | DateTimeField::Hour
            | DateTimeField::Minute
            | DateTimeField::Second
            | DateTimeField::Century
            | DateTimeField::Decade
            | DateTimeField::Dow
            | DateTimeField::Doy
            | DateTimeField::Epoch
            | DateTimeField::Isodow
            | DateTimeField::Isoyear
            | DateTimeField::Julian
            | DateTimeField::Microseconds
            | DateTimeField::Millennium
            | DateTimeField::Milliseconds
            | DateTimeField::Quarter
            | DateTimeField::Timezone
            | DateTimeField::TimezoneHour
            | DateTimeField::TimezoneMinute => Ok(()),
            _ => self.refuse(field, "is not a part of a time", "use year, month, day, hour, … or epoch"),
        }
    }

    fn literal(&self, value: &Value) -> Result<(), Refusal> {
        let give = "give it as a parameter";
        match value {
            Value::Boolean(_) | Value::Null => Ok(()),
            Value::Placeholder(name) if self.is_parameter(name) => Ok(()),
            Value::Placeholder(_) => {
                self.refuse(value, "is no parameter of this statement", "write $1, $2, … or, for SQLite, ?")
            }
            Value::Number(digits, long) => {
                let plain = digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
                if *long || !plain {
                    return self.refuse(value, "is no plain number", give);
                }
                Ok(())
            }
            // Whether PostgreSQL takes a backslash for itself depends on a setting of the session.
            Value::SingleQuotedString(text) => match self.dialect() {
                Dialect::Postgres if text.contains('\\') => self.refuse("'…'", "holds a backslash", give),
                Dialect::Postgres | Dialect::Sqlite => Ok(()),
            },
            // As SeaORM writes the ESCAPE of LIKE. Nothing but `\\` is written in its place.
            Value::EscapedStringLiteral(text) if !text.contains('\'') && !text.contains(char::is_control) => {
                Ok(())
            }
            Value::EscapedStringLiteral(_) => self.refuse("E'…'", "holds more than plain text", give),
            Value::DollarQuotedString(_) => {
                self.refuse("$$…$$", "is a quoting that other texts can hide in", give)
            }
            Value::HexStringLiteral(_) => self.refuse("X'…'", "is bits or bytes, by database", give),
            _ => self.refuse("'…'", "is text in a special quoting", give),
        }
    }

    fn operator(&self, operator: &BinaryOperator) -> Result<(), Refusal> {
        match operator {
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
            | BinaryOperator::BitwiseOr
            | BinaryOperator::BitwiseAnd
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
            | BinaryOperator::Arrow
            | BinaryOperator::LongArrow => Ok(()),
            BinaryOperator::Glob | BinaryOperator::Is | BinaryOperator::IsNot => match self.dialect() {
                Dialect::Sqlite => Ok(()),
                Dialect::Postgres => self.refuse(
                    operator,
                    "is not the syntax of PostgreSQL",
                    "use LIKE or IS NOT DISTINCT FROM",
                ),
            },
            BinaryOperator::PGBitwiseXor
            | BinaryOperator::PGExp
            | BinaryOperator::PGOverlap
            | BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
            | BinaryOperator::PGStartsWith
            | BinaryOperator::HashArrow
            | BinaryOperator::HashLongArrow
            | BinaryOperator::AtAt
            | BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::HashMinus
            | BinaryOperator::AtQuestion
            | BinaryOperator::Question
            | BinaryOperator::QuestionAnd
            | BinaryOperator::QuestionPipe
            | BinaryOperator::Overlaps
            | BinaryOperator::LtDashGt => self.only_postgres(operator),
            // pg_trgm's and pgvector's, as SeaORM writes them.
            BinaryOperator::Spaceship => self.only_postgres(operator),
            BinaryOperator::Custom(name)
                if matches!(name.as_str(), "<%" | "<<%" | "<<->" | "<<<->" | "<#>") =>
            {
                self.only_postgres(operator)
            }
            _ => self.refuse(
                operator,
                "is no ordinary operator",
                "use a built-in operator without OPERATOR(…)",
            ),
        }
    }
}
