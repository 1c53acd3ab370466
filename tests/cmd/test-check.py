#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""`vmiefs check`: clean containers pass, damage is found where it is, and the
exit status says which."""
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.dirname(__file__))
import tap  # noqa: E402
from containers import (BUILD, KINDS, convert, flip, make_ova,  # noqa: E402
                        make_raw, vmiefs, vmiefs_json)
from images import MIB  # noqa: E402

FAULTY = os.path.join(BUILD, "tests", "vmiefs-faulty")


def problems(found, name=None):
    """(offset, length) of all damage, or of one part's."""
    return [(p.get("offset"), p.get("length")) for part in found["parts"]
            if name in (None, part["name"]) for p in part["problems"]]


def test_clean(top, raw):
    for kind in KINDS:
        path = convert(raw, top, kind)
        status, found = vmiefs_json("check", path)
        tap.same((status, found["result"], found["problems"]),
                 (0, "clean", 0), f"{kind} is clean")
        stored = vmiefs_json("map", path)[1]["disks"][0]["summary"]
        tap.same(found["bytes_read"], stored["data"] + stored["packed"],
                 f"{kind}: all that is stored was read")
    status, out, err = vmiefs("check", path)
    tap.same((status, out.count("\n"), err), (0, 1, ""), "one line of text")
    tap.ok(": clean, " in out, "says clean", out)
    tap.same(vmiefs("check", "--quiet", path), (0, "", ""), "quiet: nothing")


def units_of(path):
    rows = vmiefs_json("map", "--units", path)[1]["disks"][0]["extents"]
    return [row for row in rows if row["kind"] == "packed"]


def test_damaged_units(top):
    """Each damaged unit is reported with its own range, and no other."""
    path = os.path.join(top, "damaged.vmdk")
    shutil.copy(os.path.join(top, "stream.vmdk"), path)
    units = units_of(path)
    bad = [units[2], units[len(units) // 2], units[-1]]
    for unit in bad:
        flip(path, unit["source_offset"] + 20)
    status, found = vmiefs_json("check", path)
    tap.same((status, found["result"]), (1, "damaged"), "damage: status 1")
    tap.same(problems(found), [(u["offset"], u["length"]) for u in bad],
             "three damaged units")
    status, out, _ = vmiefs("check", path)
    lines = out.splitlines()
    tap.same((status, len(lines)), (1, 4), "a line each, and the summary")
    tap.ok(lines[0].startswith(f"damaged.vmdk: offset {bad[0]['offset']}, "
                               f"{bad[0]['length']} bytes: "),
           "a line names offset, length and reason", out)
    status, out, _ = vmiefs("check", "-q", path)
    tap.same((status, out.splitlines()), (1, lines[:3]), "quiet: only those")


def test_truncated(top):
    """A file that was cut: what is left reads, the rest is reported."""
    path = os.path.join(top, "cut.vmdk")
    flat = os.path.join(top, "cut-flat.vmdk")
    with open(os.path.join(top, "flat.vmdk"), encoding="ascii") as file:
        text = file.read().replace("flat-flat.vmdk", "cut-flat.vmdk")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    shutil.copy(os.path.join(top, "flat-flat.vmdk"), flat)
    os.truncate(flat, 20 * MIB)
    status, _, _ = vmiefs("check", path)
    tap.same(status, 1, "a cut flat extent: status 1")
    path = os.path.join(top, "cut.vhdx")
    shutil.copy(os.path.join(top, "dynamic.vhdx"), path)
    os.truncate(path, os.path.getsize(path) - 9 * MIB)
    status, found = vmiefs_json("check", path)
    tap.ok(status == 1 and found["problems"] > 0, "a cut VHDX: status 1",
           found)


def test_ova(top):
    path = os.path.join(top, "two.ova")
    disks = [os.path.join(top, "stream.vmdk"),
             os.path.join(top, "sparse.vmdk")]
    make_ova(path, disks, 24 * MIB)
    status, found = vmiefs_json("check", path)
    tap.same((status, found["problems"]), (0, 0), "a clean OVA")
    unit = units_of(path + "/stream.vmdk")[1]
    with tarfile.open(path) as tar:
        start = tar.getmember("stream.vmdk").offset_data
    flip(path, start + unit["source_offset"] + 20)
    status, found = vmiefs_json("check", path)
    tap.same((status, problems(found, "stream.vmdk"),
              problems(found, "sparse.vmdk")),
             (1, [(unit["offset"], unit["length"])], []),
             "damage in one disk of an OVA")
    tap.same(len(problems(found, "manifest")), 1, "and its digest differs")
    tap.same(vmiefs("check", path + "/sparse.vmdk")[0], 0,
             "the other disk alone is clean")


RDM = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="vmfsRawDeviceMap"
RW 8192 VMFSRDM "disk-rdm.vmdk"
"""


def test_unsupported_disk(top):
    """A disk that is refused does not keep the others from being checked."""
    path = os.path.join(top, "mixed.ova")
    rdm = os.path.join(top, "rdm.vmdk")
    with open(rdm, "w", encoding="ascii") as file:
        file.write(RDM)
    make_ova(path, [rdm, os.path.join(top, "stream.vmdk")], 24 * MIB)
    status, found = vmiefs_json("check", path)
    parts = {part["name"]: part["problems"] for part in found["parts"]}
    tap.ok(status == 1 and found["problems"] == 1 and
           "RDM" in parts["rdm.vmdk"][0]["reason"] and
           "rdm.vmdk:" not in parts["rdm.vmdk"][0]["reason"],
           "a raw device mapping in an OVA is a problem", found)
    stored = vmiefs_json("map", os.path.join(top, "stream.vmdk"))[1]
    tap.ok(found["bytes_read"] > stored["disks"][0]["summary"]["packed"],
           "the other disk was read", found)


def test_trouble(top):
    for what, words, want in (
            ("a missing file", [os.path.join(top, "none.vhd")], 2),
            ("a directory", [top], 2), ("no argument", [], 2),
            ("an unknown option", ["--frobnicate", "x"], 2)):
        status, out, err = vmiefs("check", *words)
        tap.ok(status == want and not out and err, f"{what}: status {want}",
               f"{status}: {out}{err}")
    path = os.path.join(top, "page.vmdk")
    with open(path, "w", encoding="ascii") as file:
        file.write("<html>please log in</html>\n" * 50)
    status, _, err = vmiefs("check", path)
    tap.ok(status == 1 and "page.vmdk" in err, "no container: status 1", err)


def slow(rate):
    """An environment in which the store is slow."""
    return dict(os.environ,
                VMIEFS_TEST_FAULTS=f"rate={rate},on=read;key=*fixed.vhd")


def test_progress(top):
    """On a terminal a bar is drawn and taken away."""
    path = os.path.join(top, "fixed.vhd")
    master, terminal = pty.openpty()
    with subprocess.Popen([FAULTY, "check", path], stdout=subprocess.DEVNULL,
                          stderr=terminal, env=slow(12 * MIB)) as child:
        os.close(terminal)
        drawn = b""
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            if not data:
                break
            drawn += data
        tap.same(child.wait(), 0, "check on a terminal")
    os.close(master)
    tap.ok(b"MiB/s" in drawn and b"left" in drawn and b"% " in drawn,
           "bytes, rate and time left are drawn", drawn[-300:])
    tap.ok(drawn.endswith(b"\r\x1b[K"), "and taken away", drawn[-100:])


def test_interrupt(top, what, hang):
    """Ctrl-C ends soon, with a partial result."""
    path = os.path.join(top, "fixed.vhd")
    env = slow(MIB)
    env["VMIEFS_TEST_FAULTS"] += f";hang-file={top}/hang,on=read"
    with subprocess.Popen([FAULTY, "check", "--json", path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=env) as child:
        time.sleep(1.5)
        if hang:
            with open(os.path.join(top, "hang"), "wb"):
                time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, _ = child.communicate(timeout=60)
        seconds = time.monotonic() - start
        tap.same(child.returncode, 2, f"{what}, interrupted: status 2")
        tap.same(json.loads(out)["result"], "interrupted", "and said so")
        tap.ok(seconds < 5, "soon", f"{seconds} s")


def main():
    tap.need("qemu-img")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        raw = os.path.join(top, "disk.img")
        make_raw(raw)
        test_clean(top, raw)
        test_damaged_units(top)
        test_truncated(top)
        test_ova(top)
        test_unsupported_disk(top)
        test_trouble(top)
        test_progress(top)
        test_interrupt(top, "a slow store", False)
        test_interrupt(top, "a store that hangs", True)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
