//! The checksums of a stored record, written from `docs/framing.md` and not from the crate's code.

use serde_json::Value;

/// The record with the checksums that its slots and its override would have if the crate had
/// written them so: what an attacker writes who can write to the database.
pub(crate) fn sum_again(record: &str) -> String {
    let mut record: Value = serde_json::from_str(record).unwrap();
    for place in ["active", "prepared"] {
        let set = &mut record[place];
        if set.is_null() {
            continue;
        }
        let (id, scheme) = (text(&set["id"]), text(&set["scheme"]));
        let slots = set["slots"].as_array_mut().unwrap().iter_mut();
        for slot in slots.filter(|slot| slot["damaged"].is_null()) {
            let mut bytes = begin(&id, &scheme, &slot["slot"], &slot["phc"]);
            moment(&mut bytes, &slot["used_at"]);
            moment(&mut bytes, &slot["burned_at"]);
            slot["sum"] = digits(&bytes);
        }
    }
    let code = &mut record["override"];
    if code.is_null() {
        record.as_object_mut().unwrap().remove("override");
    } else {
        let (id, scheme) = (text(&code["id"]), text(&code["scheme"]));
        let mut bytes = begin(&id, &scheme, &Value::from(0), &code["phc"]);
        for field in ["issued_at", "expires_at", "used_at"] {
            moment(&mut bytes, &code[field]);
        }
        bytes.push(byte(&code["wrong_in_a_row"]));
        code["sum"] = digits(&bytes);
    }
    for place in ["active", "prepared"] {
        if record[place].is_null() {
            record.as_object_mut().unwrap().remove(place);
        }
    }
    record.to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn byte(value: &Value) -> u8 {
    u8::try_from(value.as_u64().unwrap()).unwrap()
}

fn begin(id: &str, scheme: &str, number: &Value, phc: &Value) -> Vec<u8> {
    let mut bytes = u128::from_str_radix(id, 16).unwrap().to_be_bytes().to_vec();
    with_length(&mut bytes, scheme);
    bytes.push(byte(number));
    with_length(&mut bytes, phc.as_str().unwrap());
    bytes
}

fn with_length(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn moment(bytes: &mut Vec<u8>, at: &Value) {
    match at.as_i64() {
        None => bytes.push(0),
        Some(millis) => {
            bytes.push(1);
            bytes.extend(millis.to_be_bytes());
        }
    }
}

fn digits(bytes: &[u8]) -> Value {
    format!("{:08x}", crc32fast::hash(bytes)).into()
}
