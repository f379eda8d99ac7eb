//! Hooks for the constant-time proof in `tests/memcheck`; only with `--cfg memcheck`.

use std::sync::OnceLock;

/// The functions to call with bytes that become secret, and with bytes that become public.
#[derive(Debug, Clone, Copy)]
pub struct Hooks {
    /// Marks bytes as undefined for the checker.
    pub classify: fn(&mut [u8]),
    /// Marks bytes as defined for the checker.
    pub declassify: fn(&mut [u8]),
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Sets the hooks, once.
pub fn set_hooks(hooks: Hooks) {
    let _ = HOOKS.set(hooks);
}

pub(crate) fn classify(bytes: &mut [u8]) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.classify)(bytes);
    }
}

pub(crate) fn declassify(bytes: &mut [u8]) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.declassify)(bytes);
    }
}
