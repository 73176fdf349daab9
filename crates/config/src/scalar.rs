//! The one table that gives a plain scalar its type, after the core schema of YAML 1.2. Must not know any key.

use std::{borrow::Cow, cmp::Ordering};

/// A typed scalar.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`; `yes`, `no`, `on` and `off` are text.
    Bool(bool),
    /// Decimal or `0x`, from `i64::MIN` to `u64::MAX`; anything beyond is text.
    Integer(i64),
    /// An integer above `i64::MAX`. A type for both would make every value of a document larger.
    Large(u64),
    /// A finite float, `.inf` or `.nan`; what overflows is text.
    Float(f64),
    /// Everything else, and whatever is quoted.
    Text(String),
}

/// How a scalar was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Written {
    /// In quotes, or by no document.
    #[default]
    Quoted,
    /// Without quotes, as the text that it is: most scalars need no second copy of it.
    Plain,
    /// Without quotes, as this text: `0x1F` is the number 31.
    As(String),
    /// In base64 and with the tag `!!binary`: a text here, and bytes for whom it is handed to.
    Binary,
}

impl Written {
    /// How `scalar` was written, which is the type of `raw` without quotes.
    pub(crate) fn plain(raw: &str, scalar: &Scalar) -> Self {
        match scalar {
            _ if raw.is_empty() => Self::Quoted,
            Scalar::Text(_) => Self::Plain,
            _ => Self::As(raw.to_owned()),
        }
    }

    /// The text without quotes of `scalar`, which was written so; `None` when it has quotes.
    pub(crate) fn raw<'text>(&'text self, scalar: &'text Scalar) -> Option<&'text str> {
        match (self, scalar) {
            (Self::As(raw), _) => Some(raw),
            (Self::Plain, Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Scalar {
    /// Types a plain scalar.
    pub(crate) fn plain(raw: &str) -> Self {
        match raw {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Self::Float(f64::NEG_INFINITY),
            _ => number(raw).unwrap_or_else(|| Self::Text(raw.to_owned())),
        }
    }

    /// The scalar as a person would write it, without quotes.
    pub(crate) fn text(&self) -> String {
        self.as_text().into_owned()
    }

    /// [`Scalar::text`] without a copy of what is a text already: nearly every key is.
    pub(crate) fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Integer(value) => value.to_string().into(),
            Self::Large(value) => value.to_string().into(),
            Self::Float(value) if value.is_nan() => ".nan".into(),
            Self::Float(value) if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.into(),
            Self::Float(value) => format!("{value:?}").into(),
            Self::Text(text) => text.into(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Integer(_) => 2,
            Self::Large(_) => 3,
            Self::Float(_) => 4,
            Self::Text(_) => 5,
        }
    }
}

impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Large(value), Self::Integer)
    }
}

/// An integer without leading zeros, a hexadecimal one, or a float; `None` for anything else.
fn number(raw: &str) -> Option<Scalar> {
    // Most texts do not even begin like one.
    if !raw.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    if let Some(digits) = raw.strip_prefix("0x") {
        let whole = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if whole { u64::from_str_radix(digits, 16).ok().map(Scalar::from) } else { None };
    }
    let unsigned = raw.strip_prefix(['+', '-']).unwrap_or(raw);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        // `0777` is a file mode for one reader, 777 for another and 511 for a third: it stays what was written.
        let plain = unsigned == "0" || !unsigned.starts_with('0');
        if !plain {
            return None;
        }
        return raw.parse::<i64>().map(Scalar::Integer).or_else(|_| raw.parse::<u64>().map(Scalar::from)).ok();
    }
    let value: f64 = if is_float(unsigned) {
        raw.parse().ok()?
    } else {
        return None;
    };
    value.is_finite().then_some(Scalar::Float(value))
}

/// `( '.' [0-9]+ | [0-9]+ ( '.' [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, the core schema's float without its sign.
fn is_float(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    mantissa_fits && exponent.is_none_or(|part| !part.is_empty() && digits(part))
}

// Floats are compared by their bits' total order, so that a document with `.nan` still equals itself.
impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => one.cmp(two),
            (Self::Integer(one), Self::Integer(two)) => one.cmp(two),
            (Self::Large(one), Self::Large(two)) => one.cmp(two),
            (Self::Float(one), Self::Float(two)) => one.total_cmp(two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let text = |raw: &str| Scalar::Text(raw.to_owned());
        for (raw, expected) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("null", Scalar::Null),
            ("true", Scalar::Bool(true)),
            ("FALSE", Scalar::Bool(false)),
            ("0", Scalar::Integer(0)),
            ("-12", Scalar::Integer(-12)),
            ("+12", Scalar::Integer(12)),
            ("0x1F", Scalar::Integer(31)),
            ("18446744073709551615", Scalar::Large(u64::MAX)),
            ("-9223372036854775808", Scalar::Integer(i64::MIN)),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("1.", Scalar::Float(1.0)),
            ("1e3", Scalar::Float(1000.0)),
            ("-1.5e-3", Scalar::Float(-0.0015)),
            (".nan", Scalar::Float(f64::NAN)),
            ("-.inf", Scalar::Float(f64::NEG_INFINITY)),
        ] {
            assert_eq!(Scalar::plain(raw), expected, "{raw:?}");
        }
        for raw in [
            "0777",
            "00",
            "-012",
            "0o17",
            "0b1",
            "1_000",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "nULL",
            "tRUE",
            "1e400",
            "0x",
            "0xg",
            "0x+1",
            "0x10000000000000000",
            "18446744073709551616",
            "nan",
            "inf",
            "infinity",
            ".",
            "e3",
            "1e",
            "1e+",
            "+",
            "-",
            "1.2.3",
            "1:30",
            "2020-01-01",
            "+0x1F",
            "٣",
        ] {
            assert_eq!(Scalar::plain(raw), text(raw), "{raw:?}");
        }
    }

    #[test]
    fn text_of_a_typed_scalar_has_the_same_type_again() {
        for raw in ["null", "true", "12", "-7", "1.0", "1e300", "1.5e-9", ".nan", ".inf", "-.inf", "-0.0"] {
            let scalar = Scalar::plain(raw);
            assert_eq!(Scalar::plain(&scalar.text()), scalar, "{raw}");
        }
    }
}
