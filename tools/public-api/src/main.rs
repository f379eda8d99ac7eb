//! Prints the public API of a package, one item a line, out of the JSON file of rustdoc.
//!
//! Left out: implementations that every type has, and of derived ones the methods and the mark that
//! the compiler adds.

use std::collections::HashSet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: public-api-text FILE")?;
    let api = public_api::Builder::from_rustdoc_json(path)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true);
    let without_derived = api.clone().omit_auto_derived_impls(true).build()?;
    let without_derived: HashSet<_> = without_derived.items().map(ToString::to_string).collect();
    for item in api.build()?.items() {
        let item = item.to_string();
        let is_derived = !without_derived.contains(&item);
        let is_shown = item.starts_with("impl") && !item.contains("::StructuralPartialEq for ");
        if !is_derived || is_shown {
            println!("{item}");
        }
    }
    Ok(())
}
