//! The output of `#[task]`.
//!
//! ```text
//! /// docs                                       the documentation and the visibility of the function
//! pub struct f;                                 what `.task(f)` and `<f as Task>::ID` name
//! const _: () = {
//!     async fn f(context: Context) -> R { … }   the function, out of sight
//!     impl Deref for f { Target = fn(Context) -> BoxFuture<R> }     makes `f(context).await` work
//!     impl Task for f { … }
//! };
//! ```

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, LitStr, ReturnType, Type};

use crate::arguments::{Arguments, Dependency};
use crate::function::{self, Errors};

/// How a task takes the context.
enum Parameter {
    ByValue(Type),
    /// What the reference refers to.
    InPlace(Type),
}

/// What a task asks for beside its context.
enum Data {
    /// The handle on its tenant's data, by value.
    Db(Type),
    /// A transaction of its tenant's; what the reference refers to.
    Tx(Type),
}

impl Data {
    /// The type of the parameter.
    fn parameter(&self) -> TokenStream {
        match self {
            Self::Db(ty) => quote!(#ty),
            Self::Tx(ty) => quote!(&'call #ty),
        }
    }
}

/// What a function takes and returns.
struct Signature {
    context: Parameter,
    data: Option<Data>,
    result: Type,
}

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let function = match function::parse("task", item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    if let Some(receiver) = function.sig.receiver() {
        // Nothing but the function itself can stand where a method stands.
        let error = Error::new_spanned(
            receiver,
            "a task has no `self`: make it a function outside of the `impl`, whose one parameter is the context",
        );
        let error = error.to_compile_error();
        return quote!(#error #item);
    }
    let mut errors = Errors::default();
    let arguments = Arguments::parse(arguments, &mut errors);
    for dependency in arguments.dependencies.iter().filter(|it| is_itself(&function, &arguments, it)) {
        let id = id(&function, &arguments).value();
        errors.add(Error::new_spanned(dependency, format!("task `{id}` depends on itself")));
    }
    let mut mismatches = Errors::default();
    let signature = check(&function, &arguments, &mut mismatches);
    let task = match signature {
        Some(signature) if mismatches.is_empty() => output(&function, &arguments, &signature),
        _ => placeholder(&function, &arguments),
    };
    quote!(#errors #mismatches #task)
}

/// The id, as tokens of a string.
fn id(function: &ItemFn, arguments: &Arguments) -> LitStr {
    let name = &function.sig.ident;
    arguments.id.clone().unwrap_or_else(|| LitStr::new(&name.unraw().to_string(), name.span()))
}

/// Whether this dependency is the task, as far as it can be seen. For a path with `::` a constant finds out.
fn is_itself(function: &ItemFn, arguments: &Arguments, dependency: &Dependency) -> bool {
    match dependency {
        Dependency::Id(dependency) => dependency.value() == id(function, arguments).value(),
        Dependency::Task(path) => path.is_ident(&function.sig.ident),
    }
}

/// What the function takes and returns.
fn check(function: &ItemFn, arguments: &Arguments, errors: &mut Errors) -> Option<Signature> {
    let signature = &function.sig;
    function::check("task", signature, errors);
    match (&signature.asyncness, &arguments.blocking) {
        (Some(keyword), Some(_)) => errors.add(Error::new_spanned(
            keyword,
            "a blocking task runs on a thread of its own: remove `async`, or `blocking` if the code awaits",
        )),
        (None, None) => errors.add(Error::new_spanned(
            signature.fn_token,
            "a task is an `async fn`; if its code blocks the thread, say so: `#[task(…, blocking)]`",
        )),
        _ => {}
    }
    let parameter = match parameter(function) {
        Ok(parameter) => Some(parameter),
        Err(error) => {
            errors.add(error);
            None
        }
    };
    let data = match data(function) {
        Ok(data) => data,
        Err(error) => {
            errors.add(error);
            None
        }
    };
    if let (Some(_), Some(keyword)) = (&data, &arguments.blocking) {
        errors.add(Error::new_spanned(
            keyword,
            "a task that works on its tenant's data awaits it: make it an `async fn` without `blocking`",
        ));
    }
    let ReturnType::Type(_, result) = &signature.output else {
        let result = match parameter {
            Some(Parameter::InPlace(_)) => "Result<(), E>",
            _ => "Result<Context, E>",
        };
        errors.add(Error::new(
            signature.paren_token.span.close(),
            format!("a task says how it went: let it return `{result}`, with an error such as `cloacina::TaskError`"),
        ));
        return None;
    };
    if let Type::ImplTrait(_) = &**result {
        errors.add(Error::new_spanned(
            result,
            "a task returns `Result<Context, E>` or `Result<(), E>` with one type `E`",
        ));
    }
    parameter.map(|context| Signature { context, data, result: (**result).clone() })
}

fn parameter(function: &ItemFn) -> Result<Parameter, Error> {
    const FORMS: &str = "a task has the parameter `context: Context` or `context: &mut Context`, and may have a second, `db: TenantDb` or \
                         `tx: &TenantTx`, for its tenant's data";
    let inputs = &function.sig.inputs;
    let Some(FnArg::Typed(argument)) = inputs.first() else {
        return Err(Error::new(function.sig.paren_token.span.join(), FORMS));
    };
    if let Some(third) = inputs.iter().nth(2) {
        return Err(Error::new_spanned(
            third,
            format!("{FORMS}; other input is a value in the context: `context.get::<…>(\"…\")`"),
        ));
    }
    if let Some(attribute) = argument.attrs.first() {
        return Err(Error::new_spanned(attribute, "the parameter of a task has no attributes"));
    }
    match plain(&argument.ty) {
        Type::Reference(reference) if reference.mutability.is_none() => {
            Err(Error::new_spanned(reference, FORMS))
        }
        Type::Reference(reference) => match &reference.lifetime {
            Some(lifetime) if lifetime.ident != "_" => {
                Err(Error::new_spanned(lifetime, "the context is borrowed for one call: remove the lifetime"))
            }
            _ => Ok(Parameter::InPlace((*reference.elem).clone())),
        },
        Type::ImplTrait(_) => Err(Error::new_spanned(&argument.ty, FORMS)),
        plain => Ok(Parameter::ByValue(plain.clone())),
    }
}

/// The second parameter.
fn data(function: &ItemFn) -> Result<Option<Data>, Error> {
    const FORMS: &str = "beside its context a task may ask for its tenant's data: for a handle, `db: TenantDb`, or for the transaction in \
                         which it is recorded as done, `tx: &TenantTx`";
    let Some(input) = function.sig.inputs.iter().nth(1) else { return Ok(None) };
    let FnArg::Typed(argument) = input else { return Err(Error::new_spanned(input, FORMS)) };
    if let Some(attribute) = argument.attrs.first() {
        return Err(Error::new_spanned(attribute, "the parameter of a task has no attributes"));
    }
    match plain(&argument.ty) {
        Type::Reference(reference) if reference.mutability.is_some() => {
            Err(Error::new_spanned(reference, FORMS))
        }
        Type::Reference(reference) => match &reference.lifetime {
            Some(lifetime) if lifetime.ident != "_" => Err(Error::new_spanned(
                lifetime,
                "the transaction is borrowed for one call: remove the lifetime",
            )),
            _ => Ok(Some(Data::Tx((*reference.elem).clone()))),
        },
        Type::ImplTrait(_) => Err(Error::new_spanned(&argument.ty, FORMS)),
        plain => Ok(Some(Data::Db(plain.clone()))),
    }
}

/// The type without parentheses, and without the invisible ones that `macro_rules!` leaves.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        other => other,
    }
}

fn output(function: &ItemFn, arguments: &Arguments, asked: &Signature) -> TokenStream {
    let Signature { context: parameter, data, result } = asked;
    let name = &function.sig.ident;
    let Attributes { on_struct, on_function, is_deprecated } = Attributes::of(function);
    let ItemFn { sig: signature, block, .. } = function;
    let allow_deprecated = is_deprecated.then(|| quote!(#[allow(deprecated)]));
    let structure = structure(function, &on_struct);

    // Of this macro, since the name of the function may come from another one, with other variables.
    let context = Ident::new("context", Span::mixed_site());
    let more: Vec<Ident> = data.iter().map(|_| Ident::new("data", Span::mixed_site())).collect();
    let more_types: Vec<TokenStream> = data.iter().map(Data::parameter).collect();
    // At the name, so that the compiler points there if the future is not `Send`.
    let boxed = quote_spanned!(name.span()=> ::cloacina::__private::Box::pin(#name(#context #(, #more)*)));
    let future = quote!(::cloacina::__private::BoxFuture);
    // A future that borrows anything lives as long as that.
    let (ty, context_type, lifetime) = match (parameter, data) {
        (Parameter::ByValue(ty), None | Some(Data::Db(_))) => (ty, quote!(#ty), quote!('static)),
        (Parameter::ByValue(ty), Some(Data::Tx(_))) => (ty, quote!(#ty), quote!('call)),
        (Parameter::InPlace(ty), _) => (ty, quote!(&'call mut #ty), quote!('call)),
    };
    let form = match parameter {
        Parameter::ByValue(_) => "by_value",
        Parameter::InPlace(_) => "in_place",
    };
    let constructor = |form: &str| {
        let form = Ident::new(form, Span::mixed_site());
        match data {
            None => quote!(#form::<#ty, #result>),
            Some(Data::Db(data) | Data::Tx(data)) => quote!(data::#form::<#ty, #data, #result>),
        }
    };
    let (target, pointer, constructor) = if arguments.blocking.is_some() {
        let context_type = match parameter {
            Parameter::ByValue(ty) => quote!(#ty),
            Parameter::InPlace(ty) => quote!(&mut #ty),
        };
        (
            quote!(fn(#context_type) -> #result),
            quote!(&(#name as _)),
            constructor(&format!("blocking_{form}")),
        )
    } else {
        let borrows = lifetime.to_string() != quote!('static).to_string();
        let binder = borrows.then(|| quote!(for<'call>));
        let generics = borrows.then(|| quote!(<'call>));
        let suffix = match data {
            None => "",
            Some(Data::Db(_)) => "_with_db",
            Some(Data::Tx(_)) => "_with_tx",
        };
        (
            quote!(#binder fn(#context_type #(, #more_types)*) -> #future<#lifetime, #result>),
            quote!({
                fn call #generics(#context: #context_type #(, #more: #more_types)*) -> #future<#lifetime, #result> { #boxed }
                &(call as _)
            }),
            constructor(&format!("{form}{suffix}")),
        )
    };
    // At the return type, so that the compiler points there if its error is less visible than the task.
    let target = quote_spanned!(result.span()=> type Target = #target;);
    let retry = arguments.retry.as_ref().map(|retry| quote!(.retry(#retry)));
    let timeout = arguments.timeout.as_ref().map(|timeout| quote!(.timeout(#timeout)));
    let rule = arguments.rule.as_ref().map(|rule| quote!(.rule(::cloacina::TriggerRule::#rule)));
    let asks = data.as_ref().map(|_| quote!(.asks_for_resources()));
    let definition = quote!({
        let body = ::cloacina::__private::#constructor(*self);
        ::cloacina::__private::TaskDefinition::new(<Self as ::cloacina::__private::Task>::ID, body)
            .dependencies(<Self as ::cloacina::__private::Task>::DEPENDENCIES.iter().copied())
            #retry #timeout #rule #asks
    });
    let implementation = implementation(function, arguments, &definition);
    quote! {
        #structure
        #allow_deprecated
        const _: () = {
            #(#on_function)*
            #signature #block

            #[automatically_derived]
            impl ::cloacina::__private::Deref for #name {
                #target
                fn deref(&self) -> &Self::Target { #pointer }
            }
            #implementation
        };
    }
}

/// The output for a function that cannot be a task: what other code refers to, and the function as it is, so that there
/// are no errors but the real ones.
fn placeholder(function: &ItemFn, arguments: &Arguments) -> TokenStream {
    let structure = structure(function, &Attributes::of(function).on_struct);
    let definition = quote!({ ::cloacina::__private::unreachable!("this program does not compile") });
    let implementation = implementation(function, arguments, &definition);
    quote! {
        #structure
        const _: () = {
            #[allow(dead_code)]
            #function
            #implementation
        };
    }
}

fn structure(function: &ItemFn, attributes: &[&Attribute]) -> TokenStream {
    let (name, visibility) = (&function.sig.ident, &function.vis);
    quote! {
        #(#attributes)*
        #[allow(non_camel_case_types)]
        #[derive(::cloacina::__private::Clone, ::cloacina::__private::Copy, ::cloacina::__private::Debug)]
        #visibility struct #name;
    }
}

fn implementation(function: &ItemFn, arguments: &Arguments, definition: &TokenStream) -> TokenStream {
    let name = &function.sig.ident;
    let id = id(function, arguments);
    let dependencies = arguments.dependencies.iter().map(|dependency| match dependency {
        Dependency::Id(id) => quote!(#id),
        // An error already, and in this scope the name of the function.
        Dependency::Task(path) if path.is_ident(name) => quote!(#id),
        Dependency::Task(path) => quote_spanned!(path.span()=> ::cloacina::__private::check::id(&#path)),
    });
    let checks = arguments
        .dependencies
        .iter()
        .enumerate()
        .filter(|(_, dependency)| !is_itself(function, arguments, dependency))
        .map(|(place, dependency)| {
            quote_spanned!(dependency.span()=> const _: () = ::cloacina::__private::check::dependency(
                <#name as ::cloacina::__private::Task>::ID,
                <#name as ::cloacina::__private::Task>::DEPENDENCIES,
                #place,
            );)
        });
    quote! {
        #[automatically_derived]
        impl ::cloacina::__private::Task for #name {
            const ID: &'static str = #id;
            const DEPENDENCIES: &'static [&'static str] = &[#(#dependencies),*];
            fn definition(self) -> ::cloacina::__private::TaskDefinition #definition
        }
        #(#checks)*
    }
}

/// The attributes of the function, shared out between the struct and the function.
struct Attributes<'a> {
    on_struct: Vec<&'a Attribute>,
    on_function: Vec<&'a Attribute>,
    is_deprecated: bool,
}

impl<'a> Attributes<'a> {
    fn of(function: &'a ItemFn) -> Self {
        let mut attributes = Self { on_struct: Vec::new(), on_function: Vec::new(), is_deprecated: false };
        for attribute in &function.attrs {
            let is = |names: &[&str]| names.iter().any(|name| attribute.path().is_ident(name));
            if is(&["doc", "deprecated", "allow", "warn", "deny", "forbid"]) {
                attributes.on_struct.push(attribute);
            }
            if !is(&["doc", "deprecated"]) {
                attributes.on_function.push(attribute);
            }
            attributes.is_deprecated |= is(&["deprecated"]);
        }
        attributes
    }
}
