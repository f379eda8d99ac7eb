//! Single-use 2FA backup (recovery) codes.
#![forbid(unsafe_code)]

// In the order of `DESIGN.md`: each file imports only from those above it.
mod timestamp;
mod id;
mod format;
mod code;
mod keyring;
mod hash;
mod policy;
mod settings;
mod context;
mod event;
mod config;
mod record;
mod outcome;
mod sheet;
pub mod rules;
mod usage;
mod repository;
mod audit;
mod shared_settings;
mod memory;
mod pool;
mod hashing;
mod error;
mod service;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(memcheck)]
#[doc(hidden)]
pub mod memcheck;

pub use audit::*;
pub use code::*;
pub use config::*;
pub use context::*;
pub use error::*;
pub use event::*;
pub use format::*;
pub use hash::*;
pub use hashing::*;
pub use id::*;
pub use keyring::*;
pub use memory::*;
pub use outcome::*;
pub use policy::*;
pub use record::*;
pub use repository::*;
pub use rules::consume;
pub use service::*;
pub use settings::*;
pub use shared_settings::*;
pub use sheet::*;
pub use timestamp::*;
pub use usage::*;

#[doc = include_str!("../docs/framing.md")]
pub mod framing {}
