#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""An OVA whose members are above 8 GiB, where tar's octal sizes end: other
programs and our reader find the sizes and the bytes. Takes half a minute; the
files are sparse."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import tap  # noqa: E402
from sparse import Sparse, data_ranges, first_difference  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
TOOLS = os.path.join(os.environ.get("top_builddir", "."), "tests/tools")
# The second name is too long for a plain header: a pax header tells the size.
SIZES = {"disk1.vmdk": 9 * GIB + 512, "d" * 120 + ".vmdk": 8 * GIB}


def run(*command):
    """A finished process, its output as text."""
    return subprocess.run(command, capture_output=True, text=True,
                          check=False)


def make_large(folder, name, size):
    """A stream-optimised VMDK of that many bytes: a small one with a hole
    between its tables and its directory."""
    raw = os.path.join(folder, "raw")
    Sparse(MIB).paint(name, 0, MIB).save(raw)
    subprocess.run([os.path.join(TOOLS, "disksink"), "vmdk", raw, folder,
                    name], check=True, stdout=subprocess.DEVNULL)
    path = os.path.join(folder, name)
    with open(path, "r+b") as file:
        stored = file.read()
        footer = bytearray(stored[-1024:-512])
        directory = int.from_bytes(footer[56:64], "little")
        tail = len(stored) - (directory - 1) * 512
        footer[56:64] = ((size - tail) // 512 + 1).to_bytes(8, "little")
        file.truncate(len(stored) - tail)
        file.seek(size - tail)
        file.write(stored[-tail:-1024] + footer + stored[-512:])


def copy_data(source, offset, target, size):
    """Copy what is stored of source[offset:][:size]."""
    for start, end in list(data_ranges(source, offset + size)):
        end = min(end, offset + size)
        for at in range(max(start, offset), end, MIB):
            os.pwrite(target, os.pread(source, min(MIB, end - at), at),
                      at - offset)


def listed(command, pattern):
    """{name: size} of what a program lists."""
    done = run(*command)
    return {name: int(size) for size, name in
            re.findall(pattern, done.stdout, re.M)
            if name.endswith(".vmdk")}


def check_sizes(path):
    """Every program finds the sizes."""
    with tarfile.open(path, "r:") as tar:
        tap.same({m.name: m.size for m in tar if m.name in SIZES}, SIZES,
                 "Python's tarfile finds the sizes")
    tap.same(listed(["tar", "-tvf", path], r"^\S+ \S+ +(\d+) \S+ \S+ (.+)$"),
             SIZES, "tar finds the sizes")
    for name, options, pattern in (
            ("bsdtar", ["-tvf"], r"^\S+ +\d+ +\d+ +\d+ +(\d+) "
             r"\S+ +\S+ +\S+ (.+)$"),
            ("7z", ["l"], r"^\S+ \S+ \S+ +(\d+) +\d+ +(.+)$")):
        if shutil.which(name):
            tap.same(listed([name, *options, path], pattern), SIZES,
                     f"{name} finds the sizes")
        else:
            tap.skip(f"{name} finds the sizes", f"{name} is missing")
    done = run(os.path.join(TOOLS, "ovacat"), "list", path)
    tap.same({name: int(size) for name, size in
              re.findall(r"^disk (\S+) .* stored=(\d+)$", done.stdout, re.M)},
             SIZES, "our reader finds the sizes")


def check_bytes(path):
    """The members are where they should be, and the manifest holds."""
    folder = os.path.dirname(path)
    with tarfile.open(path, "r:") as tar, open(path, "rb") as ova:
        for member in tar:
            if member.name not in SIZES:
                continue
            window = os.path.join(folder, "window")
            with open(window, "wb") as out:
                out.truncate(member.size)
                copy_data(ova.fileno(), member.offset_data, out.fileno(),
                          member.size)
            tap.same(first_difference(window,
                                      os.path.join(folder, member.name)),
                     None, f"{member.name[:10]}: the same bytes")
    done = run(os.path.join(TOOLS, "ovacat"), "check", path)
    tap.ok(done.returncode == 0 and re.fullmatch(r"verified \d+\n",
                                                 done.stdout),
           "our reader finds the digests right", done.stdout + done.stderr)


def main():
    """Write it and look at it."""
    tap.need("tar")
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            make_large(folder, name, size)
            tap.same(os.path.getsize(os.path.join(folder, name)), size,
                     f"{name[:10]}: a large VMDK")
        done = run(os.path.join(TOOLS, "ovasink"), folder, "large.ova",
                   *SIZES)
        if not tap.ok(done.returncode == 0, "assembled", done.stderr):
            return tap.done()
        usage = json.loads(done.stdout)
        tap.ok(usage["memory_peak"] <= 8 * MIB, "in bounded memory", usage)
        path = os.path.join(folder, "large.ova")
        tap.ok(os.stat(path).st_blocks * 512 < 64 * MIB,
               "zeroes are holes there as well", os.stat(path))
        check_sizes(path)
        check_bytes(path)
    return tap.done()


sys.exit(main())
