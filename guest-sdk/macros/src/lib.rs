//! The attribute macro of `sortie-guest`; use it as `#[sortie_guest::function]`, which is where it
//! is documented.
//!
//! The work is done on `proc_macro2` tokens in `function`, which ordinary tests can call: what the
//! macro says about a function it cannot register is part of the interface and is kept in golden
//! files. `spelling` writes types the way people write them.
//!
//! The macro never changes the function it is put on, and it knows nothing of the component model:
//! it fills in a `sortie_guest::__private::Function` and leaves the rest to that crate. A function
//! it refuses is still emitted, so that the refusal is the only error its author sees.

mod function;
mod spelling;

use proc_macro::TokenStream;

/// Documented as `sortie_guest::function`.
#[proc_macro_attribute]
pub fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(attribute.into(), item.into()).into()
}
