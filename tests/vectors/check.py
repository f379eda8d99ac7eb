#!/usr/bin/env python3
"""Checks docs/vectors.json with an implementation of its own, written from docs/framing.md.

Needs Python 3 and the reference implementation of Argon2 as a shared library (on Debian the
package libargon2-1). Reads one file, its argument or docs/vectors.json, and writes none. Ends with
0 when every vector is right, with 1 when one is wrong, with 77 when the library is missing.
"""

import base64
import ctypes
import json
import pathlib
import sys
import zlib

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DAMM = [
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
]


class Argon2Context(ctypes.Structure):
    """`argon2_context` of argon2.h."""

    _fields_ = [
        ("out", ctypes.c_char_p), ("outlen", ctypes.c_uint32),
        ("pwd", ctypes.c_char_p), ("pwdlen", ctypes.c_uint32),
        ("salt", ctypes.c_char_p), ("saltlen", ctypes.c_uint32),
        ("secret", ctypes.c_char_p), ("secretlen", ctypes.c_uint32),
        ("ad", ctypes.c_char_p), ("adlen", ctypes.c_uint32),
        ("t_cost", ctypes.c_uint32), ("m_cost", ctypes.c_uint32),
        ("lanes", ctypes.c_uint32), ("threads", ctypes.c_uint32),
        ("version", ctypes.c_uint32),
        ("allocate_cbk", ctypes.c_void_p), ("free_cbk", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
    ]


def load():
    """Returns the reference implementation, or nothing where it is missing."""
    try:
        return ctypes.CDLL("libargon2.so.1")
    except OSError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return None


def argon2id(library, message, salt, secret, m, t):
    out = ctypes.create_string_buffer(32)
    context = Argon2Context(
        ctypes.cast(out, ctypes.c_char_p), 32, message, len(message), salt, len(salt),
        secret, len(secret or b""), None, 0, t, m, 1, 1, 0x13, None, None, 0,
    )
    status = library.argon2id_ctx(ctypes.byref(context))
    if status != 0:
        raise SystemExit(f"argon2id_ctx returned {status}")
    return out.raw


def with_lengths(fields):
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def check_symbol(alphabet, symbols):
    if alphabet == "digits":
        interim = "0"
        for symbol in symbols:
            interim = DAMM[int(interim)][int(symbol)]
        return interim
    total = 0
    for place, symbol in enumerate(reversed(symbols), start=1):
        product = CROCKFORD.index(symbol)
        for _ in range(place):
            product <<= 1
            if product & 32:
                product ^= 0b100101
        total ^= product
    return CROCKFORD[total]


def groups(length):
    threes = -length % 4
    return [4] * ((length - 3 * threes) // 4) + [3] * threes


def code_of(vector):
    """What the shown code divides into: slot, payload, check symbol."""
    alphabet, payload_len = vector["format"].split("-")
    parts = vector["shown"].split("-")
    symbols = "".join(parts)
    slot_len = 2 if alphabet == "digits" else 1
    if len(symbols) != slot_len + int(payload_len) + 1:
        raise SystemExit(f"{vector['shown']}: wrong length")
    if [len(part) for part in parts] != groups(len(symbols)):
        raise SystemExit(f"{vector['shown']}: wrong groups")
    slot = int(symbols[:2]) if alphabet == "digits" else CROCKFORD.index(symbols[0])
    return slot, symbols[slot_len:-1], symbols[-1], check_symbol(alphabet, symbols[:-1])


def moment(at):
    return b"\0" if at is None else b"\1" + at.to_bytes(8, "big", signed=True)


def checksum_bytes(vector):
    start = bytes.fromhex(vector["set"])
    start += with_lengths([vector["scheme"].encode()])
    start += bytes([vector["slot"]])
    start += with_lengths([vector["phc"].encode()])
    if vector["slot"] != 0:
        return start + moment(vector["used_at"]) + moment(vector["burned_at"])
    for field in ("issued_at", "expires_at", "used_at"):
        start += moment(vector[field])
    return start + bytes([vector["wrong_in_a_row"]])


def base64_of(data):
    return base64.b64encode(data).decode().rstrip("=")


def main(path):
    library = load()
    if library is None:
        return 77
    vectors = json.loads(pathlib.Path(path).read_text(encoding="ascii"))
    wrong = []

    def compare(what, computed, published):
        if computed != published:
            wrong.append(f"{what}: computed {computed!r}, published {published!r}")

    stored = {None: None}
    for key in vectors["keys"]:
        message = with_lengths([b"backup-codes key check", b"\1", key["id"].encode()])
        pepper = bytes.fromhex(key["pepper"])
        tag = argon2id(library, message, b"backup-codes key", pepper, 19456, 2)
        compare(f"key {key['id']}: message", message.hex(), key["message"])
        compare(f"key {key['id']}: check", tag[:4].hex(), key["check"])
        stored[key["pepper"]] = f"{key['id']}:{tag[:4].hex()}"
    for number, code in enumerate(vectors["codes"]):
        what = f"code {number}, {code['shown']}"
        slot, payload, check, computed = code_of(code)
        compare(f"{what}: slot", slot, code["slot"])
        compare(f"{what}: payload", payload, code["payload"])
        compare(f"{what}: check symbol", check, code["check"])
        compare(f"{what}: check symbol", computed, code["check"])
        salt, m, t = bytes.fromhex(code["salt"]), code["m"], code["t"]
        message = with_lengths([
            b"backup-codes", b"\1", code["format"].encode(), bytes.fromhex(code["user"]),
            bytes.fromhex(code["set"]), bytes([slot]), payload.encode(),
        ])
        compare(f"{what}: message", message.hex(), code["message"])
        pepper = code["pepper"] and bytes.fromhex(code["pepper"])
        tag = argon2id(library, message, salt, pepper, m, t)
        phc = f"$argon2id$v=19$m={m},t={t},p=1${base64_of(salt)}${base64_of(tag)}"
        compare(f"{what}: phc", phc, code["phc"])
        key = stored[code["pepper"]]
        scheme = f"{code['format']},m={m},t={t}" + (f",key={key}" if key else "")
        compare(f"{what}: scheme", scheme, code["scheme"])
    for number, piece in enumerate(vectors["checksums"]):
        data = checksum_bytes(piece)
        compare(f"checksum {number}: bytes", data.hex(), piece["bytes"])
        compare(f"checksum {number}: sum", f"{zlib.crc32(data):08x}", piece["sum"])

    for line in wrong:
        print(line)
    counts = [len(vectors[name]) for name in ("codes", "keys", "checksums")]
    print("{} codes, {} keys, {} checksums: {} wrong".format(*counts, len(wrong)))
    return 1 if wrong or 0 in counts else 0


if __name__ == "__main__":
    published = pathlib.Path(__file__).resolve().parents[2] / "docs" / "vectors.json"
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else published))
