//! Functions and types that touch nothing but their arguments.
//!
//! What is missing is missing on purpose when it: runs text as SQL (`query_to_xml`, `ts_stat`, `ts_rewrite`,
//! `dblink`), reads or sets the session (`current_setting`, `set_config`, `setseed`), reads the catalog or
//! other sessions (`pg_*`, `has_*_privilege`, `to_regclass`, `txid_*`), holds up others (`pg_advisory_lock`,
//! `pg_sleep`), reaches files or large objects (`lo_*`, `load_extension`), or counts for all tenants: a
//! sequence (`nextval`, `currval`, `setval`, `last_insert_rowid`, `changes`) tells one tenant how much the
//! others write.

use super::Dialect;

const AGGREGATES: &[&str] = &["avg", "count", "max", "min", "sum"];

const WINDOWS: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Functions of both databases.
const PLAIN: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "ceiling",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "degrees",
    "exp",
    "floor",
    "format",
    "length",
    "ln",
    "log",
    "log10",
    "lower",
    "ltrim",
    "mod",
    "nullif",
    "octet_length",
    "pi",
    "power",
    "radians",
    "random",
    "replace",
    "round",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "string_agg",
    "substr",
    "substring",
    "tan",
    "tanh",
    "trim",
    "trunc",
    "upper",
];

const POSTGRES: &[&str] = &[
    // Aggregates.
    "any_value",
    "array_agg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "every",
    "grouping",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "variance",
    // Text and bytes.
    "ascii",
    "bit_count",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "convert_from",
    "convert_to",
    "decode",
    "encode",
    "get_byte",
    "initcap",
    "left",
    "lpad",
    "md5",
    "normalize",
    "overlay",
    "position",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_substr",
    "repeat",
    "reverse",
    "right",
    "rpad",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "split_part",
    "starts_with",
    "string_to_array",
    "strpos",
    "to_char",
    "to_hex",
    "translate",
    "unistr",
    // Numbers.
    "cbrt",
    "cot",
    "div",
    "factorial",
    "gcd",
    "greatest",
    "lcm",
    "least",
    "min_scale",
    "scale",
    "to_number",
    "trim_scale",
    "width_bucket",
    // Times and identifiers.
    "age",
    "clock_timestamp",
    "date_bin",
    "date_part",
    "date_trunc",
    "gen_random_uuid",
    "isfinite",
    "justify_days",
    "justify_hours",
    "justify_interval",
    "make_date",
    "make_interval",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "now",
    "statement_timestamp",
    "timezone",
    "to_date",
    "to_timestamp",
    "transaction_timestamp",
    "uuidv4",
    "uuidv7",
    // JSON.
    "json_array_length",
    "json_build_array",
    "json_build_object",
    "json_extract_path",
    "json_extract_path_text",
    "json_object",
    "json_strip_nulls",
    "json_typeof",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_path_exists",
    "jsonb_path_match",
    "jsonb_path_query_array",
    "jsonb_path_query_first",
    "jsonb_pretty",
    "jsonb_set",
    "jsonb_set_lax",
    "jsonb_strip_nulls",
    "jsonb_typeof",
    "to_json",
    "to_jsonb",
    // Arrays and ranges.
    "array_append",
    "array_cat",
    "array_length",
    "array_lower",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
    "array_to_string",
    "array_upper",
    "cardinality",
    "isempty",
    "lower_inc",
    "trim_array",
    "unnest",
    "upper_inc",
    // Search in text.
    "phraseto_tsquery",
    "plainto_tsquery",
    "setweight",
    "similarity",
    "strict_word_similarity",
    "strip",
    "to_tsquery",
    "to_tsvector",
    "ts_headline",
    "ts_rank",
    "ts_rank_cd",
    "unaccent",
    "websearch_to_tsquery",
    "word_similarity",
];

const SQLITE: &[&str] = &[
    "char",
    "date",
    "datetime",
    "glob",
    "group_concat",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "julianday",
    "like",
    "likelihood",
    "likely",
    "log2",
    "pow",
    "printf",
    "quote",
    "strftime",
    "time",
    "timediff",
    "total",
    "typeof",
    "unhex",
    "unicode",
    "unixepoch",
    "unlikely",
];

const POSTGRES_TABLES: &[&str] = &[
    "generate_series",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "unnest",
];

const SQLITE_TABLES: &[&str] = &["json_each", "json_tree"];

/// Types that the parser has no word of its own for.
const TYPES: &[&str] = &[
    "cidr",
    "citext",
    "daterange",
    "halfvec",
    "inet",
    "int4range",
    "int8range",
    "jsonpath",
    "ltree",
    "macaddr",
    "macaddr8",
    "money",
    "numrange",
    "timestamptz",
    "timetz",
    "tsrange",
    "tstzrange",
    "vector",
];

/// PostgreSQL's functions that write out a whole row when they are given one, with those of extensions that
/// are often there. (Others, such as `max`, are too likely to be columns, and reach no further than the
/// tenant's own row either.)
const OF_ROWS: &[&str] = &[
    "any_value",
    "array_agg",
    "concat",
    "hash_record",
    "hstore",
    "json_agg",
    "json_agg_strict",
    "json_arrayagg",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "quote_literal",
    "quote_nullable",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// Functions that take the name of a configuration of the search in text, or of a dictionary, before the
/// text, and with how many arguments.
const CONFIGURED: &[(&str, usize)] = &[
    ("phraseto_tsquery", 2),
    ("plainto_tsquery", 2),
    ("to_tsquery", 2),
    ("to_tsvector", 2),
    ("ts_headline", 3),
    ("unaccent", 2),
    ("websearch_to_tsquery", 2),
];

const TIMES: &[&str] = &["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"];

pub(super) fn is_function(dialect: Dialect, name: &str) -> bool {
    let own = match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    };
    [AGGREGATES, WINDOWS, PLAIN, own].iter().any(|names| names.contains(&name))
}

pub(super) fn is_table_function(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Postgres => POSTGRES_TABLES.contains(&name),
        Dialect::Sqlite => SQLITE_TABLES.contains(&name),
    }
}

/// Functions that are called without parentheses.
pub(super) fn is_time(_: Dialect, name: &str) -> bool {
    TIMES.contains(&name)
}

pub(super) fn takes_a_row(name: &str) -> bool {
    name.starts_with("pg_") || OF_ROWS.contains(&name)
}

/// Whether the first of so many arguments names something in the catalog.
pub(super) fn is_configured(name: &str, arguments: usize) -> bool {
    CONFIGURED.iter().any(|(known, least)| *known == name && arguments >= *least)
}

pub(super) fn is_type(name: &str) -> bool {
    TYPES.contains(&name)
}

/// Whether a function's name needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::{Gate, Tables};
    use super::*;

    #[test]
    fn each_name_can_be_called() {
        let names = |dialect| match dialect {
            Dialect::Postgres => (POSTGRES, POSTGRES_TABLES),
            Dialect::Sqlite => (SQLITE, SQLITE_TABLES),
        };
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let gate = Gate::new(dialect, Tables::default());
            let (functions, tables) = names(dialect);
            let values = [AGGREGATES, WINDOWS, PLAIN, functions].concat();
            let calls = values.iter().map(|name| format!("SELECT {name}(1), {}(2)", name.to_uppercase()));
            let tables = tables.iter().map(|name| format!("SELECT 1 FROM {name}(1) AS x"));
            let times = TIMES.iter().map(|name| format!("SELECT {name}"));
            for sql in calls.chain(tables).chain(times) {
                assert!(values.iter().all(|name| is_plain(name)));
                if let Err(refusal) = gate.admit(&sql) {
                    panic!("{dialect:?}: {sql}: {refusal}");
                }
            }
            for name in TYPES {
                assert!(gate.admit(&format!("SELECT CAST(NULL AS {name})")).is_ok(), "{name}");
            }
        }
    }
}
