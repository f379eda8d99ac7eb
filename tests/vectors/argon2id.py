#!/usr/bin/env python3
"""Prints src/hash/known_answers.txt: tags of Argon2id, by its reference implementation.

Needs Python 3 and that implementation as a shared library (on Debian the package libargon2-1). Ends
with 77 when the library is missing.

A line holds the memory in KiB, the passes, the length of the secret, the length of the message, and
the tag of 32 bytes; always version 0x13, one lane, no associated data. Byte n of the message is n
modulo 251, byte n of the secret n + 100 modulo 251; the salt is 0xf0 to 0xff.
"""

import sys

sys.dont_write_bytecode = True  # The tree stays as it is.
from check import argon2id, load  # noqa: E402

SALT = bytes(range(0xF0, 0x100))
# The lengths around a block of BLAKE2b (128 bytes), which also holds 56 bytes of lengths, costs and salt.
LENGTHS = (0, 1, 71, 72, 73, 128, 255, 600)


def pattern(first, length):
    return bytes((first + n) % 251 for n in range(length))


def main():
    library = load()
    if library is None:
        return 77
    costs = [(m, LENGTHS) for m in (8, 9)] + [(m, (97,)) for m in (12288, 19456, 47104)]
    for m, lengths in costs:
        for t in (1, 2, 3, 4):
            for secret in (0, 32, 1024):
                for length in lengths:
                    tag = argon2id(
                        library, pattern(0, length), SALT, pattern(100, secret), m, t
                    )
                    print(m, t, secret, length, tag.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main())
