//! What a form sends, who it acts for, and where it leads.

use axum::extract::{Form, FromRequest, Request};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cloacina::Runner;

use crate::Problem;
use crate::api::in_time;
use crate::permit::{Action, Permit};

/// The fields of a form, in their order.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// What a field holds; nothing if it is empty or missing.
    pub(crate) fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All that fields of this name hold.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = self.0.iter().filter(move |(field, _)| field == name);
        of_name.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// What a field holds that has to hold something.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::bad_request(format!("the field `{name}` is empty: fill it in")))
    }

    /// The number that a field holds, if it holds any.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.replace([',', ' '], "").parse();
        number.map(Some).map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Problem::bad_request(format!("`{shown}` in the field `{name}` is no number"))
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Form(fields) = in_time(Form::from_request(request, state)).await?;
        Ok(Self(fields))
    }
}

/// The runner of a tenant, acting for somebody with the reason that they gave.
pub(crate) async fn acting<A: Action>(permit: &Permit<A>, reason: Option<&str>) -> Result<Runner, Problem> {
    Ok(permit.because(reason).runner(permit.tenant()).await?)
}

/// Leads to a page, by its way from here.
pub(crate) fn see(page: &str) -> Response {
    match HeaderValue::try_from(page) {
        Ok(page) => (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response(),
        Err(_) => Problem::bad_request("the path cannot be led to").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn a_field_without_a_value_is_as_if_it_was_not_there() {
        let pairs = [("reason", " "), ("id", "a"), ("id", "b"), ("pace", "1,000"), ("n", "x")];
        let fields = Fields(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(fields.get("reason"), None);
        assert!(fields.needed("reason").is_err());
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(fields.number("pace").unwrap(), Some(1_000));
        assert_eq!(fields.number("missing").unwrap(), None);
        assert!(fields.number("n").is_err());
    }
}
