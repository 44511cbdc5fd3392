//! Calls of functions, and windows.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Value, ValueWithSpan, WindowFrame,
    WindowFrameBound, WindowSpec, WindowType,
};

use super::statement::Walk;
use super::{Dialect, Refusal, allowed};

impl Walk<'_> {
    pub(super) fn function(&mut self, function: &mut Function) -> Result<(), Refusal> {
        let Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } =
            function;
        self.absent(*uses_odbc_syntax, "{ }")?;
        self.absent(*parameters != FunctionArguments::None, "parameters before arguments")?;
        self.absent(null_treatment.is_some(), "IGNORE or RESPECT NULLS")?;
        match args {
            FunctionArguments::None => self.function_name(name, allowed::is_time)?,
            FunctionArguments::Subquery(query) => {
                self.function_name(name, |_, name| name == "array")?;
                self.only_postgres("ARRAY")?;
                self.query(query)?;
            }
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment: _, args, clauses }) => {
                self.function_name(name, allowed::is_function)?;
                self.configuration(name, args)?;
                self.arguments(args)?;
                for clause in clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(columns) => self.order(columns)?,
                        other => {
                            return self.refuse(other, "is the syntax of another database", "leave it out");
                        }
                    }
                }
            }
        }
        self.order(within_group)?;
        if let Some(condition) = filter {
            self.expression(condition)?;
        }
        match over {
            None => Ok(()),
            Some(WindowType::NamedWindow(name)) => self.name(name),
            Some(WindowType::WindowSpec(window)) => self.window(window),
        }
    }

    /// With a qualifier, or as a number, the name of a configuration would be looked up beyond the tenant's
    /// own schema.
    fn configuration(&self, name: &ObjectName, arguments: &[FunctionArg]) -> Result<(), Refusal> {
        if !allowed::is_configured(&name.to_string(), arguments.len()) {
            return Ok(());
        }
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = arguments.first() else {
            return Ok(());
        };
        let mut first = first;
        while let Expr::Nested(inner) = first {
            first = inner;
        }
        let Expr::Value(ValueWithSpan { value, span: _ }) = first else { return Ok(()) };
        let (Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text)) = value else {
            return Ok(());
        };
        if allowed::is_plain(text) && !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Ok(());
        }
        self.refuse(
            "'…'",
            "can name a text search configuration of another schema",
            "write a plain name, such as 'english', or give a text as a parameter",
        )
    }

    /// Accepts a name and makes it the plain lower-case one.
    pub(super) fn function_name(
        &self,
        name: &mut ObjectName,
        allowed: fn(Dialect, &str) -> bool,
    ) -> Result<(), Refusal> {
        let instead =
            "use an aggregate or a plain function of text, numbers, times or JSON, or declare yours";
        let [ObjectNamePart::Identifier(Ident { value, quote_style, span: _ })] = name.0.as_mut_slice()
        else {
            return self.refuse(name, "is a qualified function", instead);
        };
        let lower = value.to_ascii_lowercase();
        // In quotes PostgreSQL looks for exactly these letters.
        let same = quote_style.is_none() || (*quote_style == Some('"') && *value == lower);
        if !same || !(allowed(self.dialect(), &lower) || self.rules.functions.contains(&lower)) {
            return self.refuse(name, "is a function that could reach beyond its arguments", instead);
        }
        *value = lower;
        *quote_style = None;
        Ok(())
    }

    pub(super) fn arguments(&mut self, arguments: &mut [FunctionArg]) -> Result<(), Refusal> {
        for argument in arguments {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.expression(value)?,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_)) => {
                    return self.refuse(argument, "is a whole row", "give columns");
                }
                FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(_))
                | FunctionArg::Named { .. }
                | FunctionArg::ExprNamed { .. } => {
                    return self.refuse(argument, "is an argument with a name", "give arguments by position");
                }
            }
        }
        Ok(())
    }

    pub(super) fn window(&mut self, window: &mut WindowSpec) -> Result<(), Refusal> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = window;
        if let Some(name) = window_name {
            self.name(name)?;
        }
        for column in partition_by {
            self.expression(column)?;
        }
        self.order(order_by)?;
        let Some(WindowFrame { units: _, start_bound, end_bound }) = window_frame else {
            return Ok(());
        };
        for bound in std::iter::once(start_bound).chain(end_bound) {
            match bound {
                WindowFrameBound::CurrentRow
                | WindowFrameBound::Preceding(None)
                | WindowFrameBound::Following(None) => {}
                WindowFrameBound::Preceding(Some(distance)) | WindowFrameBound::Following(Some(distance)) => {
                    self.expression(distance)?;
                }
            }
        }
        Ok(())
    }
}
