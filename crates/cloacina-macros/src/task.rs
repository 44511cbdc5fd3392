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

/// What a task takes first.
enum First {
    /// A context, or what is made of it.
    ByValue(Type),
    /// The context, to be changed; what the reference refers to.
    InPlace(Type),
    Nothing,
}

/// What a task asks for beside that.
enum Asked {
    /// By reference: state, a transaction, or the task itself; what the reference refers to.
    Lent(Type),
    /// By value: its tenant's data.
    Handed(Type),
}

impl Asked {
    /// The type of the parameter.
    fn parameter(&self) -> TokenStream {
        match self {
            Self::Lent(ty) => quote!(&'call #ty),
            Self::Handed(ty) => quote!(#ty),
        }
    }

    fn lent(&self) -> Option<&Type> {
        match self {
            Self::Lent(ty) => Some(ty),
            Self::Handed(_) => None,
        }
    }
}

/// What a function takes and returns.
struct Signature {
    first: First,
    asked: Vec<Asked>,
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
        let error =
            Error::new_spanned(receiver, "a task has no `self`: make it a function outside of the `impl`");
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
    let parameters = match parameters(function) {
        Ok(parameters) => Some(parameters),
        Err(error) => {
            errors.add(error);
            None
        }
    };
    let handed = parameters.iter().flat_map(|(_, asked)| asked).find(|asked| asked.lent().is_none());
    if let (Some(_), Some(keyword)) = (handed, &arguments.blocking) {
        errors.add(Error::new_spanned(
            keyword,
            "a task that works on its tenant's data awaits it: make it an `async fn` without `blocking`",
        ));
    }
    let ReturnType::Type(_, result) = &signature.output else {
        let result = match parameters {
            Some((First::InPlace(_), _)) => "Result<(), E>",
            Some((First::ByValue(ty), _)) if ends_with(&ty, "Context") => "Result<Context, E>",
            _ => "Result<T, E>",
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
            "a task returns a `Result<T, E>` with one type `T` and one type `E`",
        ));
    }
    parameters.map(|(first, asked)| Signature { first, asked, result: (**result).clone() })
}

const FORMS: &str = "a task first takes `context: Context`, `context: &mut Context`, or a type of your own that is made of the context; beside that it \
                     may ask for what the runner was given with `.state(…)`, `mailer: &Mailer`, for `task: &TaskInfo`, and for its tenant's data, \
                     `db: TenantDb` or `tx: &TenantTx`";

fn parameters(function: &ItemFn) -> Result<(First, Vec<Asked>), Error> {
    let mut first = First::Nothing;
    let mut asked = Vec::new();
    for (place, input) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(argument) = input else { return Err(Error::new_spanned(input, FORMS)) };
        if let Some(attribute) = argument.attrs.first() {
            return Err(Error::new_spanned(attribute, "the parameter of a task has no attributes"));
        }
        match plain(&argument.ty) {
            Type::Reference(reference) => {
                if let Some(lifetime) = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident != "_") {
                    return Err(Error::new_spanned(
                        lifetime,
                        "what a task takes by reference is borrowed for one call: remove the lifetime",
                    ));
                }
                if let Type::TraitObject(_) = plain(&reference.elem) {
                    return Err(Error::new_spanned(
                        reference,
                        "a trait object is given to the runner as an `Arc<dyn …>`, and asked for as `&Arc<dyn …>`",
                    ));
                }
                let referred = (*reference.elem).clone();
                match (reference.mutability, place) {
                    (Some(_), 0) => first = First::InPlace(referred),
                    (Some(_), _) => return Err(Error::new_spanned(reference, FORMS)),
                    (None, _) => asked.push(Asked::Lent(referred)),
                }
            }
            Type::ImplTrait(_) => return Err(Error::new_spanned(&argument.ty, FORMS)),
            plain if place == 0 => first = First::ByValue(plain.clone()),
            plain => asked.push(Asked::Handed(plain.clone())),
        }
    }
    Ok((first, asked))
}

/// Whether this is a type of this name, as far as it can be seen.
fn ends_with(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// The type without parentheses, and without the invisible ones that `macro_rules!` leaves.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        other => other,
    }
}

fn output(function: &ItemFn, arguments: &Arguments, signature: &Signature) -> TokenStream {
    let Signature { first, asked, result } = signature;
    let name = &function.sig.ident;
    let Attributes { on_struct, on_function, is_deprecated } = Attributes::of(function);
    let ItemFn { sig: original, block, .. } = function;
    let allow_deprecated = is_deprecated.then(|| quote!(#[allow(deprecated)]));
    let structure = structure(function, &on_struct);
    let (target, pointer) = pointer(function, arguments, signature);
    // At the return type, so that the compiler points there if its error is less visible than the task.
    let target = quote_spanned!(result.span()=> type Target = #target;);
    let body = body(arguments, signature);
    let retry = arguments.retry.as_ref().map(|retry| quote!(.retry(#retry)));
    let timeout = arguments.timeout.as_ref().map(|timeout| quote!(.timeout(#timeout)));
    let rule = arguments.rule.as_ref().map(|rule| quote!(.rule(::cloacina::TriggerRule::#rule)));
    let map = arguments.map.as_ref().map(|list| quote!(.map(#list)));
    let parallel = arguments.parallel.as_ref().map(|parallel| quote!(.parallel(#parallel)));
    let tolerate = arguments.tolerate.as_ref().map(|tolerance| quote!(.tolerate(#tolerance)));
    let lent: Vec<&Type> = asked.iter().filter_map(Asked::lent).collect();
    let handed = (lent.len() < asked.len()).then(|| quote!(.asks_for_resources()));
    let definition = quote!({
        #[allow(unused_imports)]
        use ::cloacina::__private::Ordinary as _;
        let __cloacina_body = #body;
        let __cloacina_task =
            ::cloacina::__private::TaskDefinition::new(<Self as ::cloacina::__private::Task>::ID, __cloacina_body)
            .dependencies(<Self as ::cloacina::__private::Task>::DEPENDENCIES.iter().copied())
            #retry #timeout #rule #map #parallel #tolerate #handed;
        #(let __cloacina_task = ::cloacina::__private::Type::<#lent>::IS.asked::<#lent>(__cloacina_task);)*
        __cloacina_task
    });
    let implementation = implementation(function, arguments, &definition);
    let is_blocking = arguments.blocking.is_some();
    let returned = matches!(first, First::InPlace(_)).then_some(result);
    let checks = lent.iter().copied().chain(returned).map(|ty| {
        quote_spanned!(ty.span()=> const _: () = {
            #[allow(unused_imports)]
            use ::cloacina::__private::Ordinary as _;
            ::cloacina::__private::Type::<#ty>::IS.check(#is_blocking)
        };)
    });
    quote! {
        #structure
        #allow_deprecated
        const _: () = {
            // What is made of the context is the task's own, whether it needs that or not.
            #[allow(clippy::needless_pass_by_value)]
            #(#on_function)*
            #original #block

            #[automatically_derived]
            impl ::cloacina::__private::Deref for #name {
                #target
                fn deref(&self) -> &Self::Target { #pointer }
            }
            #implementation
            #(#checks)*
        };
    }
}

/// The type of the pointer to the function that a task dereferences to, and the pointer.
fn pointer(function: &ItemFn, arguments: &Arguments, signature: &Signature) -> (TokenStream, TokenStream) {
    let Signature { first, asked, result } = signature;
    let name = &function.sig.ident;
    // What borrows anything lives as long as that.
    let borrows = matches!(first, First::InPlace(_)) || asked.iter().any(|asked| asked.lent().is_some());
    let first = match first {
        First::ByValue(ty) => Some(quote!(#ty)),
        First::InPlace(ty) => Some(quote!(&'call mut #ty)),
        First::Nothing => None,
    };
    let types: Vec<TokenStream> = first.into_iter().chain(asked.iter().map(Asked::parameter)).collect();
    let binder = borrows.then(|| quote!(for<'call>));
    if arguments.blocking.is_some() {
        return (quote!(#binder fn(#(#types),*) -> #result), quote!(&(#name as _)));
    }
    // Of this macro, since the name of the function may come from another one, with other variables.
    let names: Vec<Ident> = (0..types.len()).map(|place| variable("given", place)).collect();
    // At the name, so that the compiler points there if the future is not `Send`.
    let boxed = quote_spanned!(name.span()=> ::cloacina::__private::Box::pin(#name(#(#names),*)));
    let (generics, lifetime) =
        if borrows { (quote!(<'call>), quote!('call)) } else { (quote!(), quote!('static)) };
    let future = quote!(::cloacina::__private::BoxFuture<#lifetime, #result>);
    let call = quote!({
        fn call #generics(#(#names: #types),*) -> #future { #boxed }
        &(call as _)
    });
    (quote!(#binder fn(#(#types),*) -> #future), call)
}

/// The code that finds what the function takes, calls it, and makes a context of what it returned.
fn body(arguments: &Arguments, signature: &Signature) -> TokenStream {
    let Signature { first, asked, result } = signature;
    let names: Vec<Ident> = (0..asked.len()).map(|place| variable("asked", place)).collect();
    let finds = asked.iter().zip(&names).map(|(asked, name)| match asked {
        Asked::Lent(ty) => quote!(let #name = __cloacina_given.lent::<#ty>(&__cloacina_context)?;),
        Asked::Handed(ty) => {
            quote!(let #name = <#ty as ::cloacina::__private::Handed>::of(&__cloacina_context)?;)
        }
    });
    let hands = asked.iter().zip(&names).map(|(asked, name)| match asked {
        Asked::Lent(_) => quote!(&*#name),
        Asked::Handed(_) => quote!(#name),
    });
    let id = quote!(<Self as ::cloacina::__private::Task>::ID);
    let (take, input, put) = match first {
        First::ByValue(ty) => (
            quote!(let __cloacina_input = <#ty as ::cloacina::__private::Input>::take(__cloacina_context, #id)?;),
            Some(quote!(__cloacina_input)),
            quote!(<#result as ::cloacina::__private::Output<#ty>>::put(__cloacina_result, #id)),
        ),
        First::InPlace(ty) => (
            quote!(let mut __cloacina_input = <#ty as ::cloacina::__private::InPlace>::from_context(__cloacina_context);),
            Some(quote!(&mut __cloacina_input)),
            quote!(<#result as ::cloacina::__private::OutputInPlace>::put_in(
                __cloacina_result, #id, <#ty as ::cloacina::__private::InPlace>::into_context(__cloacina_input)
            )),
        ),
        First::Nothing => (
            quote!(),
            None,
            quote!(<#result as ::cloacina::__private::Output<()>>::put(__cloacina_result, #id)),
        ),
    };
    let hands = input.into_iter().chain(hands);
    if arguments.blocking.is_some() {
        quote!({
            let __cloacina_code = *self;
            ::cloacina::__private::blocking(move |__cloacina_context, __cloacina_given| {
                let _ = (&__cloacina_context, &__cloacina_given);
                #(#finds)*
                #take
                let __cloacina_result = __cloacina_code(#(#hands),*);
                #put
            })
        })
    } else {
        let lent = asked.iter().filter_map(Asked::lent);
        quote!({
            let __cloacina_code = *self;
            let __cloacina_transaction = false #(|| ::cloacina::__private::Type::<#lent>::IS.transaction())*;
            ::cloacina::__private::asynchronous(__cloacina_transaction, move |__cloacina_context, __cloacina_given| ::cloacina::__private::Box::pin(async move {
                let _ = (&__cloacina_context, &__cloacina_given);
                #(#finds)*
                #take
                let __cloacina_result = __cloacina_code(#(#hands),*).await;
                #put
            }))
        })
    }
}

/// A variable that no code of the user sees. Its name is that of no item, since a task of that name would
/// stand for the pattern in which the variable is bound.
fn variable(name: &str, place: usize) -> Ident {
    Ident::new(&format!("__cloacina_{name}_{place}"), Span::mixed_site())
}

/// The output for a function that cannot be a task: what other code refers to, and the function as it is, so
/// that there are no errors but the real ones.
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
