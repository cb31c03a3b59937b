//! What `#[function]` expands to, and what it says when it cannot.
//!
//! The expansion is the function as it was, followed by one anonymous `const` that registers it: a
//! description and a closure that takes the call's arguments apart, calls the function and encodes
//! its answer. Everything the closure needs from the signature is decided here; whether the types
//! can travel is left to the compiler, with spans that point at the types.
//!
//! Refusals name the thing and what to write instead. All of a signature's problems are reported at
//! once.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, ItemFn, Lit, Meta, Pat, PathArguments,
    ReturnType, Signature, Type,
};

use crate::spelling::spell;

/// How many parameters a function may have. More belong into a struct, whose fields callers can
/// then name.
const PARAMETERS_MAX: usize = 8;

/// The expansion of `#[function(attribute)] item`.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let error =
                Error::new_spanned(&item, "`#[sortie_guest::function]` goes on a free function");
            return with_error(item, &error);
        }
    };
    match register(&attribute, &function) {
        Ok(registration) => quote! { #function #registration },
        Err(error) => with_error(quote!(#function), &error),
    }
}

fn with_error(item: TokenStream, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote! { #item #error }
}

/// A parameter that can be registered.
struct Parameter<'a> {
    name: String,
    ty: &'a Type,
    kind: Kind,
}

/// How an argument travels; decided by the type's name, which is all a macro can see.
#[derive(Clone, Copy)]
enum Kind {
    Value,
    Object,
    Prefix,
    Objects,
}

/// What a function answers.
struct Answer<'a> {
    /// The type people are told about: `T` of `Result<T, Failure>`.
    ty: Option<&'a Type>,
    fallible: bool,
    /// Whether that type is an object's; decided by its name, as with parameters.
    is_object: bool,
}

/// The item that registers `function`.
fn register(attribute: &TokenStream, function: &ItemFn) -> syn::Result<TokenStream> {
    let parameters = check(attribute, &function.sig)?;
    let answer = answer(&function.sig.output);

    let ident = &function.sig.ident;
    let name = ident.unraw().to_string();
    let doc = documentation(&function.attrs);
    let returns = answer
        .ty
        .map_or_else(|| "()".to_owned(), |ty| spell(quote!(#ty)));
    let private = quote!(::sortie_guest::__private);

    let described = parameters
        .iter()
        .map(|parameter| describe(parameter, &private));
    // Hygienic, so that no function's own name can mean one of these.
    let arguments = Ident::new("arguments", Span::mixed_site());
    let locals: Vec<Ident> = (0..parameters.len())
        .map(|index| format_ident!("argument_{index}", span = Span::mixed_site()))
        .collect();
    let taken = parameters.iter().zip(&locals).map(|(parameter, local)| {
        let Parameter { name, ty, kind } = parameter;
        match kind {
            Kind::Value => {
                quote_spanned! { ty.span() => let #local = #arguments.value::<#ty>(#name)?; }
            }
            Kind::Object => {
                quote_spanned! { ty.span() => let #local: #ty = #arguments.object(#name)?; }
            }
            Kind::Prefix => {
                quote_spanned! { ty.span() => let #local: #ty = #arguments.prefix(#name)?; }
            }
            Kind::Objects => {
                quote_spanned! { ty.span() => let #local: #ty = #arguments.objects(#name)?; }
            }
        }
    });
    let call = quote!(#ident(#(#locals),*));
    let span = answer.ty.map_or_else(Span::mixed_site, |ty| {
        ty.span().resolved_at(Span::mixed_site())
    });
    let result = if answer.fallible {
        quote_spanned!(span => (#call)?)
    } else {
        call
    };
    let answered = if answer.is_object {
        quote_spanned! { span => #private::answer_object(#result) }
    } else {
        quote_spanned! { span => #private::answer(&#result) }
    };
    Ok(quote! {
        const _: () = {
            #private::submit! {
                #private::Function {
                    signature: #private::Signature {
                        name: #name,
                        doc: #doc,
                        parameters: &[#(#described),*],
                        returns: #returns,
                    },
                    module: ::core::module_path!(),
                    line: ::core::line!(),
                    run: |mut #arguments: #private::Arguments| -> #private::Answer {
                        #(#taken)*
                        #arguments.end()?;
                        #answered
                    },
                }
            }
        };
    })
}

/// A parameter as the function's signature describes it. `private` is the path of the items that
/// macros expand to.
fn describe(parameter: &Parameter<'_>, private: &TokenStream) -> TokenStream {
    let Parameter { name, ty, kind } = parameter;
    let type_name = spell(quote!(#ty));
    let kind = match kind {
        Kind::Value => quote!(Value),
        Kind::Object => quote!(Object),
        Kind::Prefix => quote!(Prefix),
        Kind::Objects => quote!(Objects),
    };
    quote! {
        #private::Parameter {
            name: #name,
            kind: #private::Kind::#kind,
            type_name: #type_name,
        }
    }
}

/// The parameters of a signature that can be registered, or everything that stands in the way.
fn check<'a>(attribute: &TokenStream, signature: &'a Signature) -> syn::Result<Vec<Parameter<'a>>> {
    let mut problems = Problems(None);
    if !attribute.is_empty() {
        problems.add(attribute, "`#[sortie_guest::function]` takes no arguments");
    }
    if let Some(token) = &signature.asyncness {
        problems.add(
            token,
            "a function cannot be async: every task has a sandbox of its own, so \
                             just block; remove `async`",
        );
    }
    if let Some(token) = &signature.unsafety {
        problems.add(
            token,
            "a function cannot be unsafe: its arguments come from outside; remove `unsafe`",
        );
    }
    if let Some(abi) = &signature.abi {
        problems.add(
            abi,
            "a function has Rust's own calling convention; remove `extern`",
        );
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        problems.add(
            &signature.generics,
            "a function cannot be generic: its callers choose values, not types; name the types",
        );
    }
    if signature.inputs.len() > PARAMETERS_MAX {
        let message = format!(
            "a function has at most {PARAMETERS_MAX} parameters; put some into a struct that \
             derives `Deserialize`"
        );
        problems.add(&signature.inputs, &message);
    }
    if let Some(dots) = &signature.variadic {
        problems.add(
            dots,
            "a function has a fixed number of parameters; take a `Vec` of values",
        );
    }
    check_return(&signature.output, &mut problems);
    let parameters = signature
        .inputs
        .iter()
        .filter_map(|input| parameter(input, &mut problems))
        .collect();
    problems.into_result(parameters)
}

fn check_return(output: &ReturnType, problems: &mut Problems) {
    let ReturnType::Type(_, ty) = output else {
        return;
    };
    match ty.as_ref() {
        Type::ImplTrait(ty) => problems.add(
            ty,
            "a function cannot return `impl Trait`: describe \
                                                 the result with a type that has a name",
        ),
        Type::Never(ty) => problems.add(
            ty,
            "a function cannot return `!`: leave the return type \
                                             out",
        ),
        _ => {}
    }
}

fn parameter<'a>(input: &'a FnArg, problems: &mut Problems) -> Option<Parameter<'a>> {
    let input = match input {
        FnArg::Receiver(receiver) => {
            problems.add(
                receiver,
                "a function has no `self`: make it a free function and take \
                                    the value as a parameter",
            );
            return None;
        }
        FnArg::Typed(input) => input,
    };
    match input.ty.as_ref() {
        Type::Reference(ty) => problems.add(ty, owned_instead(&ty.elem)),
        Type::ImplTrait(ty) => problems.add(
            ty,
            "a parameter cannot be `impl Trait`: its callers \
                                                 choose values, not types; name the type",
        ),
        _ => {}
    }
    match input.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(Parameter {
                name: pattern.ident.unraw().to_string(),
                ty: &input.ty,
                kind: kind(&input.ty),
            })
        }
        pattern => {
            problems.add(
                pattern,
                "a parameter needs a name, by which callers know it: take the \
                                   pattern apart in the body",
            );
            None
        }
    }
}

fn owned_instead(referent: &Type) -> String {
    let owned = match spell(quote!(#referent)).as_str() {
        "str" => "String".to_owned(),
        "Path" => "PathBuf".to_owned(),
        other => match referent {
            Type::Slice(slice) => {
                let element = &slice.elem;
                format!("Vec<{}>", spell(quote!(#element)))
            }
            _ => other.to_owned(),
        },
    };
    format!(
        "a parameter cannot be a reference: the task owns its arguments; take an owned value, \
         `{owned}`"
    )
}

fn kind(ty: &Type) -> Kind {
    match last_segment(ty) {
        Some(segment) if segment.ident == "Object" => Kind::Object,
        Some(segment) if segment.ident == "Prefix" => Kind::Prefix,
        Some(segment) if segment.ident == "Vec" => match first_argument(&segment.arguments) {
            Some(item) if matches!(kind(item), Kind::Object) => Kind::Objects,
            Some(_) | None => Kind::Value,
        },
        Some(_) | None => Kind::Value,
    }
}

fn answer(output: &ReturnType) -> Answer<'_> {
    let ReturnType::Type(_, ty) = output else {
        return Answer {
            ty: None,
            fallible: false,
            is_object: false,
        };
    };
    match last_segment(ty) {
        Some(segment) if segment.ident == "Result" => {
            let ty = first_argument(&segment.arguments).unwrap_or(ty);
            Answer {
                ty: Some(ty),
                fallible: true,
                is_object: is_object(ty),
            }
        }
        Some(_) | None => Answer {
            ty: Some(ty),
            fallible: false,
            is_object: is_object(ty),
        },
    }
}

fn is_object(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "OutputObject")
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

fn first_argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The doc comment, one leading space per line removed, as rustdoc does.
fn documentation(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes.iter().filter_map(doc_text).collect();
    let lines = lines
        .iter()
        .flat_map(|text| text.split('\n'))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .trim_matches('\n')
        .to_owned()
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(expression) = &meta.value else {
        return None;
    };
    let Lit::Str(text) = &expression.lit else {
        return None;
    };
    meta.path.is_ident("doc").then(|| text.value())
}

/// Errors found so far, reported together.
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, tokens: impl quote::ToTokens, message: impl std::fmt::Display) {
        let error = Error::new_spanned(tokens, message);
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    fn into_result<T>(self, value: T) -> syn::Result<T> {
        match self.0 {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests;
