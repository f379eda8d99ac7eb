//! Single-use 2FA backup (recovery) codes.
#![forbid(unsafe_code)]

// In the order of `DESIGN.md`: each file imports only from those above it.
mod audit;
mod code;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod error;
mod event;
mod format;
mod hash;
mod hashing;
mod id;
mod keyring;
#[cfg(memcheck)]
#[doc(hidden)]
pub mod memcheck;
mod memory;
mod outcome;
mod policy;
mod pool;
mod record;
mod repository;
pub mod rules;
mod service;
mod settings;
mod shared_settings;
mod sheet;
mod timestamp;
mod usage;

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
