//! The codes of a sheet as a user reads them, and codes of no sheet.

use backup_codes::rules::generate;
use backup_codes::{Format, SetSize, Sheet};
use getrandom::SysRng;

/// The code with this number.
pub(crate) fn code(sheet: &Sheet, slot: u8) -> String {
    let exposed = sheet.expose();
    let (_, code) = exposed.codes().find(|(number, _)| *number == slot).unwrap();
    code.to_string()
}

/// A well-formed code that no user was issued.
pub(crate) fn wrong() -> String {
    let codes = generate(Format::HIGH_ENTROPY, SetSize::new(1).unwrap(), &mut SysRng);
    codes.unwrap()[0].expose().to_string()
}
