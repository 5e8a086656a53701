#!/usr/bin/env python3
"""Space keys and slots of Homing, computed without Homing.

    pip install xxhash
    python3 examples/space_key.py acme '{acme}/orders'

docs/SPACE_KEYS.md has the rule in words. Python 3.9 or later.
"""

import argparse
import json
import sys

import xxhash

SLOT_BITS = 14


def hashed_part(name: str) -> str:
    """What stands in the first braces; the whole name if that is nothing."""
    start = name.find("{")
    end = name.find("}", start + 1)
    # Without a `{`, or without a `}` after it, there is no tag; `{}` is an empty one.
    if start < 0 or end <= start + 1:
        return name
    return name[start + 1 : end]


def space_key(name: str) -> int:
    """The routing identity of a space, a number of 128 bits."""
    if not 1 <= len(name.encode()) <= 255:
        raise ValueError(f"{name!r} is no space: a space is 1 to 255 bytes of UTF-8")
    return xxhash.xxh3_128_intdigest(hashed_part(name).encode(), seed=0)


def slot(key: int) -> int:
    """The slot of a key: its top 14 bits, 0 to 16383."""
    return key >> (128 - SLOT_BITS)


def differences(cases: list) -> list:
    """What is computed otherwise here than it stands in the test vectors."""
    found = []
    for case in cases:
        name = case["name"]
        key = space_key(name)
        computed = {"hashed": hashed_part(name), "key": f"{key:032x}", "slot": slot(key)}
        found += [
            f"{name!r}: {field} is {value!r} here, {case[field]!r} in the file"
            for field, value in computed.items()
            if value != case[field]
        ]
    return found


def check(file: str) -> int:
    """The exit status: 1 if a test vector is computed otherwise here, or if there is none."""
    with open(file, encoding="utf-8") as opened:
        cases = json.load(opened)["cases"]
    found = differences(cases)
    print("\n".join([*found, f"{file}: {len(cases)} cases, {len(found)} differences"]))
    return 1 if found or not cases else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the key and the slot of spaces.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a space: 1 to 255 bytes of UTF-8")
    parser.add_argument("--check", metavar="FILE", help="check test vectors, docs/space-keys.json")
    args = parser.parse_args()
    if args.check is None and not args.names:
        parser.error("give a NAME, or --check FILE")
    try:
        for name in args.names:
            key = space_key(name)
            print(f"{name}\t{key:032x}\t{slot(key)}")
    except ValueError as problem:
        parser.error(str(problem))
    return check(args.check) if args.check is not None else 0


if __name__ == "__main__":
    sys.exit(main())
