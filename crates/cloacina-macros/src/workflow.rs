//! The output of `#[workflow]`: the function, the check of its graph in front of its body, and its
//! registration.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ItemFn, Lit, LitStr, Path, ReturnType, Stmt};

use crate::function::{self, Errors};

/// The calls that a chain may consist of for its tasks to be known. Others, of an extension trait, may add
/// tasks.
const METHODS: &[&str] = &["description", "version", "operator_only", "on_failure", "task", "wait", "build"];

/// The calls on a wait that change neither its id nor what it comes after.
const WAIT_METHODS: &[&str] =
    &["named", "timeout", "on_timeout", "ask", "rule", "over", "parallel", "tolerate", "input", "on_close"];

/// How waits are made; the first argument is the id.
const WAITS: &[&str] = &["sleep", "signal", "child", "map"];

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let function = match function::parse("workflow", item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let mut errors = Errors::default();
    if !arguments.is_empty() {
        errors.add(Error::new_spanned(
            arguments,
            "`#[workflow]` has no arguments: the name is given to `Workflow::builder(\"…\")`",
        ));
    }
    check(&function, &mut errors);
    if !errors.is_empty() {
        return quote!(#errors #function);
    }
    let graph = graph(&function).unwrap_or_else(|error| error.to_compile_error());
    let registration = registration(&function);
    let ItemFn { attrs, vis, sig, block } = &function;
    let statements = &block.stmts;
    let body = quote_spanned!(block.span()=> { #graph #(#statements)* });
    quote! {
        #(#attrs)*
        #vis #sig #body
        #registration
    }
}

fn check(function: &ItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    function::check("workflow", signature, errors);
    if let Some(keyword) = &signature.asyncness {
        errors.add(Error::new_spanned(keyword, "a workflow is only described here, not run: remove `async`"));
    }
    if !signature.inputs.is_empty() {
        errors.add(Error::new_spanned(
            &signature.inputs,
            "a workflow has no parameters: its input is the context of each execution",
        ));
    }
    if let ReturnType::Default = signature.output {
        errors.add(Error::new(
            signature.paren_token.span.close(),
            "a workflow is what the function returns: write `-> cloacina::Workflow`",
        ));
    }
}

fn registration(function: &ItemFn) -> TokenStream {
    let name = &function.sig.ident;
    let is_deprecated = function.attrs.iter().any(|attribute| attribute.path().is_ident("deprecated"));
    let allow_deprecated = is_deprecated.then(|| quote!(#[allow(deprecated)]));
    // At the return type, so that the compiler points there if it is another.
    let make = match &function.sig.output {
        ReturnType::Type(_, result) => {
            let mut name = name.clone();
            name.set_span(result.span());
            quote_spanned!(result.span()=> #name())
        }
        ReturnType::Default => quote!(#name()),
    };
    quote! {
        ::cloacina::__private::inventory::submit! {
            ::cloacina::__private::WorkflowRegistration::new(
                ::cloacina::__private::concat!(
                    ::cloacina::__private::module_path!(), "::", ::cloacina::__private::stringify!(#name)
                ),
                ::cloacina::__private::file!(),
                ::cloacina::__private::line!(),
                #allow_deprecated || #make,
            )
        }
    }
}

/// The check of the graph, if all of it can be seen.
fn graph(function: &ItemFn) -> Result<TokenStream, Error> {
    let Some(Chain { name, nodes, last }) = Chain::of(function) else { return Ok(TokenStream::new()) };
    let name = name.unwrap_or_else(|| LitStr::new(&function.sig.ident.to_string(), Span::call_site()));
    if nodes.is_empty() {
        return Err(Error::new(last, "this workflow has no tasks: add one with `.task(…)`"));
    }
    let number = nodes.len();
    if name.value().starts_with("cloacina/") {
        return Err(Error::new(
            name.span(),
            "the name of a workflow may not begin with `cloacina/`: such names are the engine's",
        ));
    }
    let ids = nodes.iter().map(Node::id);
    // Those of waits are constants of their own, because only such a slice lives for ever.
    let constants: Vec<_> = (0..number).map(|place| format_ident!("__CLOACINA_AFTER_{place}")).collect();
    let of_waits = nodes.iter().zip(&constants).filter_map(|(node, constant)| {
        let after = node.after()?;
        Some(quote_spanned!(node.span()=> const #constant: &[&str] = #after;))
    });
    let dependencies = nodes.iter().zip(&constants).map(|(node, constant)| match node {
        Node::Task(task) => quote_spanned!(task.span()=> ::cloacina::__private::check::dependencies(&#task)),
        Node::Wait { .. } => quote!(#constant),
    });
    let checks = nodes.iter().enumerate().map(
        |(place, node)| quote_spanned!(node.span()=> const _: () = __CLOACINA_GRAPH.check_task(#place);),
    );
    let order = quote_spanned!(last=> __CLOACINA_GRAPH.check_order());
    Ok(quote! {
        #[allow(long_running_const_eval)]
        const _: () = {
            #(#of_waits)*
            const __CLOACINA_GRAPH: ::cloacina::__private::check::Graph<#number> =
                ::cloacina::__private::check::Graph::new(#name, [#(#ids),*], [#(#dependencies),*]);
            #(#checks)*
            const _: () = #order;
        };
    })
}

/// What is added to a workflow.
enum Node<'a> {
    /// A task, by the path of its item.
    Task(&'a Path),
    Wait {
        id: &'a LitStr,
        after: Vec<After<'a>>,
    },
}

/// What a wait comes after.
enum After<'a> {
    Task(&'a Path),
    Id(&'a LitStr),
}

impl<'a> Node<'a> {
    /// `None` if the expression is anything but `Wait::sleep("…", …)` or another way to make a wait, with
    /// calls whose arguments say all that has to be known.
    fn wait(mut next: &'a Expr, variables: &[String]) -> Option<Self> {
        let mut after = Vec::new();
        loop {
            match next {
                Expr::MethodCall(call) => {
                    if call.method == "after" {
                        after.push(match call.args.first()? {
                            Expr::Path(task) if !is_variable(&task.path, variables) => {
                                After::Task(&task.path)
                            }
                            Expr::Lit(ExprLit { lit: Lit::Str(id), .. }) => After::Id(id),
                            _ => return None,
                        });
                    } else if !WAIT_METHODS.iter().any(|method| call.method == method) {
                        return None;
                    }
                    next = &call.receiver;
                }
                Expr::Call(call) => {
                    let Expr::Path(constructor) = &*call.func else { return None };
                    let mut segments = constructor.path.segments.iter().rev();
                    let method = &segments.next()?.ident;
                    let is_wait = WAITS.iter().any(|wait| method == wait);
                    if !is_wait || segments.next()?.ident != "Wait" {
                        return None;
                    }
                    let Some(Expr::Lit(ExprLit { lit: Lit::Str(id), .. })) = call.args.first() else {
                        return None;
                    };
                    after.reverse();
                    return Some(Self::Wait { id, after });
                }
                _ => return None,
            }
        }
    }

    fn span(&self) -> Span {
        match self {
            Self::Task(task) => task.span(),
            Self::Wait { id, .. } => id.span(),
        }
    }

    fn id(&self) -> TokenStream {
        match self {
            Self::Task(task) => quote_spanned!(task.span()=> ::cloacina::__private::check::id(&#task)),
            Self::Wait { id, .. } => quote!(#id),
        }
    }

    /// What a wait comes after.
    fn after(&self) -> Option<TokenStream> {
        let Self::Wait { after, .. } = self else { return None };
        let ids = after.iter().map(|after| match after {
            After::Task(task) => quote_spanned!(task.span()=> ::cloacina::__private::check::id(&#task)),
            After::Id(id) => quote!(#id),
        });
        Some(quote!(&[#(#ids),*]))
    }
}

/// The chain of calls `Workflow::builder(…)….task(x)….build()` at the end of a function.
struct Chain<'a> {
    /// If it is a literal.
    name: Option<LitStr>,
    nodes: Vec<Node<'a>>,
    /// Of the last call.
    last: Span,
}

impl<'a> Chain<'a> {
    /// `None` if there is none, or if a task in it is anything but the path of an item, or a wait anything
    /// but what can be seen.
    fn of(function: &'a ItemFn) -> Option<Self> {
        let (tail, before) = function.block.stmts.split_last()?;
        let mut next = match tail {
            Stmt::Expr(Expr::Return(tail), _) => tail.expr.as_deref()?,
            Stmt::Expr(tail, None) => tail,
            _ => return None,
        };
        let variables = variables(before);
        let mut nodes = Vec::new();
        let mut last = None;
        loop {
            match next {
                Expr::MethodCall(call) => {
                    let method = call.method.to_string();
                    if !METHODS.contains(&method.as_str()) || (last.is_none() && method != "build") {
                        return None;
                    }
                    last.get_or_insert(call.method.span());
                    if method == "task" {
                        match call.args.first()? {
                            Expr::Path(task) if !is_variable(&task.path, &variables) => {
                                nodes.push(Node::Task(&task.path));
                            }
                            _ => return None,
                        }
                    } else if method == "wait" {
                        nodes.push(Node::wait(call.args.first()?, &variables)?);
                    }
                    next = &call.receiver;
                }
                Expr::Call(call) => {
                    let Expr::Path(constructor) = &*call.func else { return None };
                    let mut segments = constructor.path.segments.iter().rev();
                    if segments.next()?.ident != "builder" || segments.next()?.ident != "Workflow" {
                        return None;
                    }
                    nodes.reverse();
                    let name = match call.args.first() {
                        Some(Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) => Some(name.clone()),
                        _ => None,
                    };
                    return Some(Self { name, nodes, last: last? });
                }
                _ => return None,
            }
        }
    }
}

/// Every name that may be a variable after these statements: a constant cannot refer to it.
fn variables(statements: &[Stmt]) -> Vec<String> {
    fn collect(tokens: TokenStream, names: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => names.push(name.to_string()),
                TokenTree::Group(group) => collect(group.stream(), names),
                _ => {}
            }
        }
    }
    let mut names = Vec::new();
    for statement in statements {
        if let Stmt::Local(local) = statement {
            collect(local.pat.to_token_stream(), &mut names);
        }
    }
    names
}

fn is_variable(path: &Path, variables: &[String]) -> bool {
    path.get_ident().is_some_and(|name| variables.contains(&name.to_string()))
}
