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
mod event;
mod config;
mod record;
mod sheet;
mod outcome;
pub mod rules;
mod usage;
mod repository;
mod audit;
mod shared_settings;
mod memory;

pub use audit::*;
pub use code::*;
pub use config::*;
pub use context::*;
pub use event::*;
pub use outcome::*;
pub use record::*;
pub use repository::*;
pub use rules::consume;
pub use memory::*;
pub use shared_settings::*;
pub use sheet::*;
pub use usage::*;
pub use format::*;
pub use hash::*;
pub use id::*;
pub use keyring::*;
pub use policy::*;
pub use settings::*;
pub use timestamp::*;

#[doc = include_str!("../docs/framing.md")]
pub mod framing {}
