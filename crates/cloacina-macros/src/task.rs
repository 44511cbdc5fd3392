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
        Some((parameter, result)) if mismatches.is_empty() => {
            output(&function, &arguments, &parameter, &result)
        }
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
fn check(function: &ItemFn, arguments: &Arguments, errors: &mut Errors) -> Option<(Parameter, Type)> {
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
    parameter.map(|parameter| (parameter, (**result).clone()))
}

fn parameter(function: &ItemFn) -> Result<Parameter, Error> {
    const FORMS: &str = "a task has one parameter, `context: Context` or `context: &mut Context`";
    let inputs = &function.sig.inputs;
    let Some(FnArg::Typed(argument)) = inputs.first() else {
        return Err(Error::new(function.sig.paren_token.span.join(), FORMS));
    };
    if let Some(second) = inputs.iter().nth(1) {
        return Err(Error::new_spanned(
            second,
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

/// The type without parentheses, and without the invisible ones that `macro_rules!` leaves.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        other => other,
    }
}

fn output(function: &ItemFn, arguments: &Arguments, parameter: &Parameter, result: &Type) -> TokenStream {
    let name = &function.sig.ident;
    let Attributes { on_struct, on_function, is_deprecated } = Attributes::of(function);
    let ItemFn { sig: signature, block, .. } = function;
    let allow_deprecated = is_deprecated.then(|| quote!(#[allow(deprecated)]));
    let structure = structure(function, &on_struct);

    // Of this macro, since the name of the function may come from another one, with other variables.
    let context = Ident::new("context", Span::mixed_site());
    // At the name, so that the compiler points there if the future is not `Send`.
    let boxed = quote_spanned!(name.span()=> ::cloacina::__private::Box::pin(#name(#context)));
    let (target, pointer, constructor) = match (parameter, &arguments.blocking) {
        (Parameter::ByValue(ty), None) => (
            quote!(fn(#ty) -> ::cloacina::__private::BoxFuture<'static, #result>),
            quote!({
                fn call(#context: #ty) -> ::cloacina::__private::BoxFuture<'static, #result> { #boxed }
                &(call as _)
            }),
            quote!(by_value::<#ty, #result>),
        ),
        (Parameter::InPlace(ty), None) => (
            quote!(for<'context> fn(&'context mut #ty) -> ::cloacina::__private::BoxFuture<'context, #result>),
            quote!({
                fn call(#context: &mut #ty) -> ::cloacina::__private::BoxFuture<'_, #result> { #boxed }
                &(call as _)
            }),
            quote!(in_place::<#ty, #result>),
        ),
        (Parameter::ByValue(ty), Some(_)) => {
            (quote!(fn(#ty) -> #result), quote!(&(#name as _)), quote!(blocking_by_value::<#ty, #result>))
        }
        (Parameter::InPlace(ty), Some(_)) => (
            quote!(fn(&mut #ty) -> #result),
            quote!(&(#name as _)),
            quote!(blocking_in_place::<#ty, #result>),
        ),
    };
    // At the return type, so that the compiler points there if its error is less visible than the task.
    let target = quote_spanned!(result.span()=> type Target = #target;);
    let retry = arguments.retry.as_ref().map(|retry| quote!(.retry(#retry)));
    let timeout = arguments.timeout.as_ref().map(|timeout| quote!(.timeout(#timeout)));
    let rule = arguments.rule.as_ref().map(|rule| quote!(.rule(::cloacina::TriggerRule::#rule)));
    let definition = quote!({
        let body = ::cloacina::__private::#constructor(*self);
        ::cloacina::__private::TaskDefinition::new(<Self as ::cloacina::__private::Task>::ID, body)
            .dependencies(<Self as ::cloacina::__private::Task>::DEPENDENCIES.iter().copied())
            #retry #timeout #rule
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
