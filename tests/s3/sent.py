# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the scripted server was sent of an object, also where it keeps no bytes
(--forget): parts by its log, against a file that holds what they ought to be,
and against the schedule of SEMANTICS that S3's 10,000 parts make necessary."""

import base64
import hashlib
import re

MIB = 1 << 20
PARTS_MAX = 10000
PIECE = 4 * MIB


def parts_of(server, key, op="upload-part"):
    """[(size, Content-MD5)] of the parts that the server took, by number."""
    found = {}
    for entry in server.log(op=op, status="200", key=key):
        number = int(re.search(r"partNumber=(\d+)", entry["query"])[1])
        found[number] = (entry["received"],
                         entry["headers"].get("content-md5"))
    if sorted(found) != list(range(1, len(found) + 1)):
        raise ValueError(f"{key}: parts {sorted(found)}")
    return [found[number] for number in sorted(found)]


def scheduled(number, memory):
    """How large a part is at most, by its number and -o memory=."""
    size = 8 * MIB
    for bound in 1000, 2000, 3000:
        if number > bound:
            size *= 2
    return max(min(size, memory // 4 // MIB * MIB), 5 * MIB)


def wrong_sizes(parts, memory, least=None):
    """What is wrong with how large they are, or "". Where the budget was tight
    when the upload began, parts have no less than `least` bytes."""
    if len(parts) > PARTS_MAX:
        return f"{len(parts)} parts"
    for number, (size, _) in enumerate(parts, 1):
        want = scheduled(number, memory)
        if size > want or number < len(parts) and size < (least or want):
            return f"part {number} has {size} bytes, not {want}"
    return ""


def md5_of(file, size):
    """Of the next bytes, as Content-MD5 has it; None where fewer come."""
    digest = hashlib.md5()
    while size:
        piece = file.read(min(size, PIECE))
        if not piece:
            return None
        digest.update(piece)
        size -= len(piece)
    return base64.b64encode(digest.digest()).decode()


def wrong_bytes(parts, path):
    """The first part whose bytes are not those of the file, or ""."""
    with open(path, "rb") as file:
        for number, (size, md5) in enumerate(parts, 1):
            if md5_of(file, size) != md5:
                return f"part {number} of {len(parts)} has other bytes"
        if file.read(1):
            return "there is less than in the file"
    return ""
