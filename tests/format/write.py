#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""write.py [CASE...]: what the writers make reads back as what was written,
here and in other programs, for every format and odd sizes; with the size
announced or not, in writes of any length."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import tap  # noqa: E402
from sparse import Sparse, first_difference  # noqa: E402

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
TOOLS = os.path.join(os.environ.get("top_builddir", "."), "tests/tools")

# name: ending, options of disksink, qemu-img's format or None, and what it
# pads the disk to.
FORMATS = {
    "raw": ("raw", ["raw"], "raw", 1),
    "vmdk": ("vmdk", ["vmdk"], "vmdk", 512),
    "vhd": ("vhd", ["vhd"], "vpc", 512),
    "vhd-fixed": ("vhd", ["-s", "fixed", "vhd"], "vpc", 512),
    "vhdx": ("vhdx", ["vhdx"], "vhdx", 512),
    "vhdx-1m": ("vhdx", ["-b", str(MIB), "vhdx"], "vhdx", 512),
    "vhdx-fixed": ("vhdx", ["-s", "fixed", "vhdx"], "vhdx", 512),
    "vhdx-4k": ("vhdx", ["-S", "4096", "vhdx"], None, 4096),
}
LIMITS = {"raw": 8 << 60, "vmdk": 64 * TIB, "vhd": 2040 * GIB,
          "vhdx": 64 * TIB}

SIZES = {
    "1": 1,
    "sector": 512,
    "grain-512": 64 * KIB - 512,
    "grain-1": 64 * KIB - 1,
    "grain+1": 64 * KIB + 1,
    "odd": 100001,
    "block-512": 2 * MIB - 512,
    "block-1": 2 * MIB - 1,
    "block+1": 2 * MIB + 1,
    "table-1": 32 * MIB - 1,
    "table+1": 32 * MIB + 1,
    "chunk": 130 * MIB + 77,
    "2g-1": 2 * GIB - 1,
    "2g+1": 2 * GIB + 1,
    "100g": 100 * GIB,
}


def make_disk(size, seed):
    """Data at both ends, around the units of all formats, and at odd places
    between; here and there zeroes that are stored."""
    disk = Sparse(size)
    edges = [0, 64 * KIB, 2 * MIB, 32 * MIB, 64 * MIB + 12345, 128 * MIB,
             GIB, size // 2, size - 70000, size - 1]
    for edge in edges:
        start = max(0, edge - 3000)
        if start < size:
            disk.paint(seed, start, min(9000, size - start))
    if size > 40 * MIB:
        disk.paint(seed, 33 * MIB, 5 * MIB)  # whole units in a row
        disk.write(36 * MIB + 100, bytes(200 * KIB))
    disk.resize(size)
    return disk


def run(*command):
    """A finished process, its output as text."""
    return subprocess.run(command, capture_output=True, text=True,
                          check=False)


def write(folder, kind, raw, extra=()):
    """Write a container; its path, or None and a failed check."""
    ending, options, _, _ = FORMATS[kind]
    path = os.path.join(folder, f"disk.{ending}")
    done = run(os.path.join(TOOLS, "disksink"), "-r", *extra, *options[:-1],
               options[-1], raw, folder, os.path.basename(path))
    if done.returncode:
        tap.ok(False, f"{kind}: written", done.stderr)
        return None
    return path


def padded(path, kind):
    """Pad the expected disk as the format does."""
    step = FORMATS[kind][3]
    size = os.path.getsize(path)
    os.truncate(path, -(-size // step) * step)


def read_back(path, kind, raw, what):
    """Our own reader gives the same bytes."""
    if kind == "raw":
        tap.same(first_difference(path, raw), None, f"{what}: as written")
        return
    out = path + ".out"
    done = run(os.path.join(TOOLS, "diskcat"), "raw", path, out)
    if done.returncode:
        tap.ok(False, f"{what}: read back", done.stderr)
        return
    tap.same(first_difference(out, raw), None, f"{what}: read back")
    os.remove(out)


def find_nothing(path, kind, what):
    """Our own checks find nothing odd."""
    if kind == "raw":
        return
    done = run(os.path.join(TOOLS, "mapcat"), "check", path)
    tap.same((done.returncode, done.stdout, done.stderr), (0, "", ""),
             f"{what}: nothing found")


def ask_qemu(path, kind, raw, what):
    """qemu-img reads the same bytes and finds no fault."""
    driver = FORMATS[kind][2]
    if not driver or driver == "raw":
        return
    if not shutil.which("qemu-img"):
        tap.skip(f"{what}: qemu-img", "qemu-img is missing")
        return
    done = run("qemu-img", "compare", "-f", driver, "-F", "raw", path,
               raw)
    tap.ok(done.returncode == 0 and "size mismatch" not in done.stdout,
           f"{what}: qemu-img compare", done.stdout + done.stderr)
    if driver in ("vmdk", "vhdx"):
        done = run("qemu-img", "check", "-f", driver, path)
        tap.ok(done.returncode == 0, f"{what}: qemu-img check",
               done.stdout + done.stderr)


def ask_libyal(path, kind, size, what):
    """vmdkinfo and vhdiinfo tell the size."""
    tool = "vmdkinfo" if kind == "vmdk" else "vhdiinfo"
    if kind == "raw" or kind == "vhdx-4k":
        return
    if not shutil.which(tool):
        tap.skip(f"{what}: {tool}", f"{tool} is missing")
        return
    done = run(tool, path)
    found = re.search(r"Media size\s*:.*?(\d+) bytes", done.stdout)
    tap.same(found and int(found.group(1)), size,
             f"{what}: {tool} agrees {done.stderr}")


def one_size(folder, kind, name, size):
    """Write and read back one disk."""
    what = f"{kind}, {name}"
    raw = os.path.join(folder, "source")
    make_disk(size, name).save(raw)
    path = write(folder, kind, raw)
    if not path:
        return
    padded(raw, kind)
    read_back(path, kind, raw, what)
    find_nothing(path, kind, what)
    ask_qemu(path, kind, raw, what)
    ask_libyal(path, kind, os.path.getsize(raw), what)
    os.remove(path)


def same_whatever(folder, kind):
    """The same bytes come out however they came in."""
    raw = os.path.join(folder, "source")
    make_disk(SIZES["chunk"], "same").save(raw)
    paths = {}
    for name, extra in (("usual", []), ("1 thread", ["-t", "1"]),
                        ("small writes", ["-n", "4099"]),
                        ("least memory", ["-m", str(16 * MIB)]),
                        ("no holes", None)):
        if extra is None:  # a stream has none
            with open(raw, "rb") as file:
                stored = file.read()
            with open(raw, "wb") as file:
                file.write(stored)
        path = write(folder, kind, raw, extra or [])
        if path:
            with open(path, "rb") as file:
                paths[name] = file.read()
            os.remove(path)
    tap.same([n for n in paths if paths[n] != paths["usual"]], [],
             f"{kind}: the same file however the disk comes")


def announced(folder, kind):
    """With the size known before the data."""
    raw = os.path.join(folder, "source")
    make_disk(SIZES["chunk"], "announced").save(raw)
    path = write(folder, kind, raw, ["-a"])
    if not path:
        return
    padded(raw, kind)
    what = f"{kind}, announced"
    read_back(path, kind, raw, what)
    find_nothing(path, kind, what)
    ask_qemu(path, kind, raw, what)
    ask_libyal(path, kind, os.path.getsize(raw), what)
    if kind == "vhd":  # the arithmetic of an exported disk
        blocks = -(-os.path.getsize(raw) // (2 * MIB))
        with open(path, "rb") as file:
            file.seek(1536)
            table = file.read(4 * blocks)
        stored = blocks - table.count(b"\xff\xff\xff\xff")
        tap.same(os.path.getsize(path), 512 + 1024 +
                 -(-4 * blocks // 512) * 512 + stored * (2 * MIB + 512) + 512,
                 "vhd, announced: not a byte more than needed")
    os.remove(path)


def limit(folder, kind):
    """The largest disk of the format, and one byte more."""
    size = LIMITS[kind.split("-")[0]]
    raw = os.path.join(folder, "source")
    if not size < TIB << 20:
        return
    try:
        make_disk(size, "limit").save(raw)
    except OSError as error:
        tap.skip(f"{kind}, limit", f"{folder}: {error}")
        return
    path = write(folder, kind, raw)
    if path:
        read_back(path, kind, raw, f"{kind}, limit")
        ask_libyal(path, kind, size, f"{kind}, limit")
        os.remove(path)
    os.truncate(raw, size + 1)
    ending, options, _, _ = FORMATS[kind]
    done = run(os.path.join(TOOLS, "disksink"), *options, raw, folder,
               f"large.{ending}")
    tap.ok(done.returncode == 1 and "ends at" in done.stderr,
           f"{kind}: one byte above the limit", done.stderr)
    tap.same(sorted(os.listdir(folder)), ["source"],
             f"{kind}: which leaves nothing")


def refused(folder):
    """What cannot be written says why."""
    raw = os.path.join(folder, "source")
    Sparse(0).save(raw)
    for args, text in (
            (["vmdk", raw, folder, "a.vmdk"], "no bytes"),
            (["vhd", raw, folder, "a.vhd"], "no bytes"),
            (["vhdx", raw, folder, "a.vhdx"], "no bytes"),
            (["-s", "flat", "vmdk", raw, folder, "a.vmdk"], "'flat'"),
            (["-s", "flat", "raw", raw, folder, "a.raw"], "'flat'"),
            (["-b", "1000", "vhdx", raw, folder, "a.vhdx"], "block size"),
            (["-S", "1000", "vhdx", raw, folder, "a.vhdx"], "sector size"),
            (["raw", raw, folder, "source"], "exists")):
        done = run(os.path.join(TOOLS, "disksink"), *args)
        tap.ok(done.returncode == 1 and text in done.stderr,
               f"refused: {text}", done.stderr)
    done = run(os.path.join(TOOLS, "disksink"), "raw", raw, folder, "no.raw")
    tap.ok(done.returncode == 0 and
           os.path.getsize(os.path.join(folder, "no.raw")) == 0,
           "a raw disk of no bytes", done.stderr)
    tap.same(sorted(os.listdir(folder)), ["no.raw", "source"],
             "nothing is left of the others")


def memory(folder):
    """A large disk is written within the budget."""
    raw = os.path.join(folder, "source")
    Sparse(300 * MIB).paint(1, 0, 200 * MIB).save(raw)
    for kind in ("vmdk", "vhdx"):
        _, options, _, _ = FORMATS[kind]
        done = run(os.path.join(TOOLS, "disksink"), "-r", "-m",
                   str(32 * MIB), *options, raw, folder, "disk")
        tap.ok(done.returncode == 0 and
               json.loads(done.stdout)["memory_peak"] <= 32 * MIB,
               f"{kind}: memory", done.stdout + done.stderr)


def main(wanted):
    """Run all cases, or those named (a format)."""
    def in_folder(function, *arguments):
        with tempfile.TemporaryDirectory(prefix="vmiefs-write-") as folder:
            if function is not limit:
                function(folder, *arguments)
                return
            # ext4 ends at 16 TiB; and what fills up must not be all memory.
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1G", "tmpfs", folder],
                check=False, stderr=subprocess.DEVNULL).returncode == 0
            if not mounted:
                tap.skip("the largest disk", "cannot mount a tmpfs")
                return
            try:
                function(folder, *arguments)
            finally:
                subprocess.run(["umount", folder], check=True)

    for kind in wanted or FORMATS:
        for name, size in SIZES.items():
            # Of a fixed one every byte would be stored; and qemu-img reads
            # all zeroes of a VHDX, for a minute: once is enough.
            if size >= 100 * GIB and ("-" in kind or tap.is_sanitized()):
                continue
            in_folder(one_size, kind, name, size)
        in_folder(same_whatever, kind)
        in_folder(announced, kind)
        if not kind.endswith("-fixed"):
            in_folder(limit, kind)
    in_folder(refused)
    in_folder(memory)
    return tap.done()


sys.exit(main(sys.argv[1:]))
