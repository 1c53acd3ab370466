# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Other programs that read containers, to compare with. A missing one is a
visible skip."""

import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache

import tap
from sparse import first_difference, merge

# Writes FILE's disk to OUT; further arguments are its parents, nearest first.
VHDI_SCRIPT = """
import sys, pyvhdi
chain = []
for path in [sys.argv[1]] + sys.argv[3:]:
    disk = pyvhdi.file()
    disk.open(path)
    chain.append(disk)
for child, parent in reversed(list(zip(chain, chain[1:]))):
    child.set_parent(parent)
size = chain[0].get_media_size()
with open(sys.argv[2], "wb") as out:
    for at in range(0, size, 1 << 20):
        chain[0].seek(at)
        data = chain[0].read(min(1 << 20, size - at))
        if data != bytes(len(data)):
            out.seek(at)
            out.write(data)
    out.truncate(size)
"""


def _compare(what, command, out, expected):
    done = subprocess.run(command, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        tap.ok(False, what, done.stderr)
    else:
        tap.same(first_difference(out, expected), None, what)
    if os.path.exists(out):
        os.remove(out)


def _format(path):
    return {"vhdx": "vhdx", "vmdk": "vmdk"}.get(
        path.lower().rsplit(".", 1)[-1], "vpc")


def check_qemu(name, path, expected):
    """qemu-img gives the same bytes."""
    what = f"{name}: qemu-img agrees"
    if not shutil.which("qemu-img"):
        tap.skip(what, "qemu-img is missing")
        return
    out = path + ".qemu"
    _compare(what, ["qemu-img", "convert", "-f", _format(path), "-O", "raw",
                    path, out], out, expected)


def check_qemu_replay(name, path, expected):
    """qemu-img gives the same bytes once it has replayed a dirty log."""
    what = f"{name}: qemu-img agrees after replay"
    if not shutil.which("qemu-img"):
        tap.skip(what, "qemu-img is missing")
        return
    copy, out = path + ".replayed", path + ".qemu"
    shutil.copyfile(path, copy)
    subprocess.run(["qemu-img", "check", "-q", "-r", "all", "-f", "vhdx",
                    copy], capture_output=True, check=False)
    _compare(what, ["qemu-img", "convert", "-f", "vhdx", "-O", "raw", copy,
                    out], out, expected)


def check_qemu_map(name, path, data):
    """qemu-img sees data in the same places."""
    what = f"{name}: qemu-img's map agrees"
    if not shutil.which("qemu-img"):
        tap.skip(what, "qemu-img is missing")
        return
    done = subprocess.run(["qemu-img", "map", "-f", _format(path),
                           "--output=json", path], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        tap.ok(False, what, done.stderr)
        return
    rows = json.loads(done.stdout)
    tap.same(merge((r["start"], r["length"]) for r in rows if r["data"]),
             data, what)


@lru_cache
def _vhdi_python():
    """A Python that has libvhdi's binding, or None."""
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run([python, "-c", "import pyvhdi"],
                              capture_output=True, check=False)
        if done.returncode == 0:
            return python
    return None


def check_vhdi(name, path, expected, parents):
    """libvhdi gives the same bytes."""
    what = f"{name}: libvhdi agrees"
    python = _vhdi_python()
    if not python:
        tap.skip(what, "python3-libvhdi is missing")
        return
    out = path + ".vhdi"
    folder = os.path.dirname(path)
    _compare(what, [python, "-c", VHDI_SCRIPT, path, out,
                    *(os.path.join(folder, p) for p in parents)],
             out, expected)
