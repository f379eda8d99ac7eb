//! Single-use 2FA backup (recovery) codes.
#![forbid(unsafe_code)]

mod timestamp;
mod id;
mod format;
mod code;
mod keyring;
mod hash;
mod policy;
mod settings;
mod context;

pub use code::*;
pub use context::*;
pub use format::*;
pub use hash::*;
pub use id::*;
pub use keyring::*;
pub use policy::*;
pub use settings::*;
pub use timestamp::*;

#[doc = include_str!("../docs/framing.md")]
pub mod framing {}
