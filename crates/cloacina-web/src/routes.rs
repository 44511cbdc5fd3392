//! Routes that say who may use them.
//!
//! A handler is taken only if its first argument is a [`Permit`]: a route that declares no permission does
//! not compile. Each route says what it takes and answers; the OpenAPI document is made of that, and the test
//! that tries every role on every route goes by the same list.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder, Schema,
};
use utoipa::{IntoParams, ToSchema};

use crate::api::Page;
use crate::permit::{Action, Permit};
use crate::state::Web;
use crate::{Problem, Role};

/// The arguments of a handler that begin with a [`Permit`].
pub(crate) trait Guarded {
    /// What the permit is for.
    type Action: Action;
}

impl<M, A: Action> Guarded for (M, Permit<A>) {
    type Action = A;
}
impl<M, A: Action, T1> Guarded for (M, Permit<A>, T1) {
    type Action = A;
}
impl<M, A: Action, T1, T2> Guarded for (M, Permit<A>, T1, T2) {
    type Action = A;
}
impl<M, A: Action, T1, T2, T3> Guarded for (M, Permit<A>, T1, T2, T3) {
    type Action = A;
}

/// A route, and who may use it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// The least role that may use it.
    pub role: Role,
    /// Whether that is a role in the tenant that the path names, or one in all tenants.
    pub in_tenant: bool,
}

/// What a route takes and answers, for the OpenAPI document.
pub(crate) struct Doc {
    operation: OperationBuilder,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Doc {
    /// A route that does this.
    pub(crate) fn new(id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        Self { operation, schemas: Vec::new() }
    }

    pub(crate) fn description(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// With these parameters behind the question mark.
    pub(crate) fn query<Q: IntoParams>(mut self) -> Self {
        for parameter in Q::into_params(|| Some(ParameterIn::Query)) {
            self.operation = self.operation.parameter(parameter);
        }
        self
    }

    /// With this header.
    pub(crate) fn header(mut self, name: &str, what: &str) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(what))
            .schema(Some(String::schema()));
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// With this body.
    pub(crate) fn body<B: ToSchema>(mut self) -> Self {
        let content = ContentBuilder::new().schema(Some(self.known::<B>())).build();
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    /// Answers this as JSON.
    pub(crate) fn answers<B: ToSchema>(self, status: &str, what: &str) -> Self {
        self.answers_as::<B>(status, what, "application/json")
    }

    /// Answers a part of a list of these.
    pub(crate) fn answers_page<T: ToSchema>(self, what: &str) -> Self
    where
        Page<T>: ToSchema,
    {
        self.mentions::<T>().answers::<Page<T>>("200", what)
    }

    /// What it answers is made of these: the schema of a generic type does not bring that of its parameter
    /// along.
    pub(crate) fn mentions<T: ToSchema>(mut self) -> Self {
        self.known::<T>();
        self
    }

    /// Answers this in some form.
    pub(crate) fn answers_as<B: ToSchema>(mut self, status: &str, what: &str, form: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(self.known::<B>())).build();
        let response = ResponseBuilder::new().description(what).content(form, content);
        self.operation = self.operation.response(status, response.build());
        self
    }

    /// Answers nothing but this status.
    pub(crate) fn answers_nothing(mut self, status: &str, what: &str) -> Self {
        self.operation = self.operation.response(status, ResponseBuilder::new().description(what).build());
        self
    }

    /// A reference to a type, whose schema goes into the document.
    fn known<B: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((B::name().into_owned(), B::schema()));
        B::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(B::name()))
    }
}

/// A router under way.
pub(crate) struct Routes {
    router: Router<Arc<Web>>,
    declared: Vec<Route>,
    paths: PathsBuilder,
    components: ComponentsBuilder,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            router: Router::new(),
            declared: Vec::new(),
            paths: PathsBuilder::new(),
            components: ComponentsBuilder::new(),
        }
    }

    pub(crate) fn get<H, T>(self, path: &'static str, handler: H, doc: Doc) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::GET, path, handler, Some(doc))
    }

    pub(crate) fn post<H, T>(self, path: &'static str, handler: H, doc: Doc) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::POST, path, handler, Some(doc))
    }

    pub(crate) fn put<H, T>(self, path: &'static str, handler: H, doc: Doc) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::PUT, path, handler, Some(doc))
    }

    pub(crate) fn delete<H, T>(self, path: &'static str, handler: H, doc: Doc) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::DELETE, path, handler, Some(doc))
    }

    /// A page for people, which no document describes.
    pub(crate) fn page<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::GET, path, handler, None)
    }

    /// What the form of a page sends.
    pub(crate) fn form<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        self.add(Method::POST, path, handler, None)
    }

    /// What everybody may get: what a page needs before anybody is known.
    pub(crate) fn open_to_everybody(mut self, path: &'static str, methods: MethodRouter<Arc<Web>>) -> Self {
        self.router = self.router.route(path, methods);
        self
    }

    fn add<H, T>(mut self, method: Method, path: &'static str, handler: H, doc: Option<Doc>) -> Self
    where
        H: Handler<T, Arc<Web>>,
        T: Guarded + 'static,
    {
        let (role, in_tenant) = (<T::Action as Action>::ROLE, <T::Action as Action>::IN_TENANT);
        let (filter, documented) = match method {
            Method::GET => (MethodFilter::GET, HttpMethod::Get),
            Method::PUT => (MethodFilter::PUT, HttpMethod::Put),
            Method::DELETE => (MethodFilter::DELETE, HttpMethod::Delete),
            _ => (MethodFilter::POST, HttpMethod::Post),
        };
        self.router = self.router.route(path, on(filter, handler));
        if let Some(doc) = doc {
            self.document(documented, path, role, in_tenant, doc);
        }
        self.declared.push(Route { method, path, role, in_tenant });
        self
    }

    fn document(&mut self, method: HttpMethod, path: &str, role: Role, in_tenant: bool, doc: Doc) {
        let mut operation = doc.operation;
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(String::schema()));
            operation = operation.parameter(parameter);
        }
        let content = || {
            let problem = RefOr::Ref(Ref::from_schema_name(Problem::name()));
            ContentBuilder::new().schema(Some(problem)).build()
        };
        let needed = match in_tenant {
            true => format!("The role {} in the tenant is missing", role.as_str()),
            false => format!("The role {} in all tenants is missing", role.as_str()),
        };
        for (status, what) in
            [("401", "Nobody is known by the key"), ("403", needed.as_str()), ("default", "What went wrong")]
        {
            let response =
                ResponseBuilder::new().description(what).content("application/problem+json", content());
            operation = operation.response(status, response.build());
        }
        operation = operation.security(SecurityRequirement::new("key", Vec::<String>::new()));
        for (name, schema) in doc.schemas {
            self.components = std::mem::take(&mut self.components).schema(name, schema);
        }
        let item = PathItem::new(method, operation.build());
        self.paths = std::mem::take(&mut self.paths).path(path, item);
    }

    /// The router, the list of its routes, and the document about them.
    pub(crate) fn finish(self) -> (Router<Arc<Web>>, Vec<Route>, OpenApi) {
        let components = self.components.schema(Problem::name(), Problem::schema());
        let document =
            OpenApiBuilder::new().paths(self.paths.build()).components(Some(components.build())).build();
        (self.router, self.declared, document)
    }
}

use utoipa::PartialSchema as _;
