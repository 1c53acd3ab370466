#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""`vmiefs info`: sizes, allocation, parents, OVF contents, refusals; the JSON
keeps its documented shape."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.dirname(__file__))
import images  # noqa: E402
import tap  # noqa: E402
from containers import (KINDS, convert, flip, make_ova,  # noqa: E402
                        make_raw, vmiefs, vmiefs_json)
from images import MIB  # noqa: E402

# Key: (type, must it be there?), as vmiefs(1) documents it.
OBJECT = {
    "object": (str, True), "store": (str, True), "kind": (str, True),
    "stored_size": (int, True), "mtime": (str, True), "etag": (str, True),
    "identity": (str, True), "unpacker": (str, True),
    "warnings": (list, True), "ovf": (dict, False), "disks": (list, True),
}
DISK = {
    "name": (str, True), "capacity": (int, False), "error": (dict, False),
    "format": (str, False), "title": (str, False), "subformat": (str, False),
    "virtual_size": (int, False), "stored_size": (int, False),
    "file": (str, False), "details": (dict, False),
    "parents": (list, False), "allocation": (dict, False),
    "guest": (dict, False), "guest_error": (dict, False),
}
ALLOCATION = {key: (int, True) for key in (
    "allocated", "holes", "damaged", "packed", "packed_units", "data_runs",
    "hole_runs")}


def shape_errors(value, shape):
    """What does not fit the documented shape."""
    yield from (f"{key} is not documented" for key in value
                if key not in shape)
    for key, (kind, needed) in shape.items():
        if key in value:
            if not isinstance(value[key], kind):
                yield f"{key} is {value[key]!r}"
        elif needed:
            yield f"{key} is missing"


def check_shape(found, what):
    wrong = list(shape_errors(found, OBJECT))
    for disk in found["disks"]:
        wrong += shape_errors(disk, DISK)
        if "allocation" in disk:
            wrong += shape_errors(disk["allocation"], ALLOCATION)
    tap.ok(not wrong, f"{what}: the documented shape", "\n".join(wrong))


def test_kind(kind, top, raw):
    path = convert(raw, top, kind)
    status, found = vmiefs_json("info", path)
    disk = found["disks"][0]
    tap.same(status, 0, f"{kind}: status")
    check_shape(found, kind)
    tap.same((disk["virtual_size"], found["stored_size"], found["object"]),
             (os.path.getsize(raw), os.path.getsize(path), kind),
             f"{kind}: sizes and name")
    summary = vmiefs_json("map", path)[1]["disks"][0]["summary"]
    tap.same((disk["allocation"]["allocated"], disk["allocation"]["packed"],
              disk["allocation"]["holes"]),
             (summary["data"] + summary["packed"], summary["packed"],
              summary["zero"]), f"{kind}: allocation agrees with the map")
    name, sub = kind.split(".")[1], disk["subformat"]
    _, out, _ = vmiefs("info", path)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for want in (f"object: {kind}", "virtual size: 24 MiB (25165824 bytes)",
                 f"format: {name} {sub} ({disk['title']})",
                 f"etag: {found['etag']}", f"identity: {found['identity']}"):
        tap.ok(want in lines, f"{kind}: text has '{want.split(':')[0]}'",
               f"want: {want}\n{out}")
    tap.ok(len(found["identity"]) == 64 and set(found["identity"]) <=
           set("0123456789abcdef"), f"{kind}: the identity is a SHA-256")


def test_parents(top):
    """A differencing VHDX names its parent."""
    child = os.path.join(top, "child.vmdk")
    parent = os.path.join(top, "sparse.vmdk")
    images.run("qemu-img", "create", "-q", "-f", "vmdk", "-b", parent, "-F",
               "vmdk", child)
    images.run("qemu-io", "-f", "vmdk", "-c", "write -q -P 7 1M 64k", child)
    status, found = vmiefs_json("info", child)
    disk = found["disks"][0]
    tap.same(status, 0, "a delta disk")
    check_shape(found, "a delta disk")
    tap.same([p["file"] for p in disk["parents"]], ["sparse.vmdk"],
             "its parent")
    _, out, _ = vmiefs("info", child)
    tap.ok("parent:         sparse.vmdk" in out, "in text, too", out)
    other = vmiefs_json("info", parent)[1]
    tap.ok(other["identity"] != found["identity"],
           "its identity is another one")


def test_ova(top):
    path = os.path.join(top, "two.ova")
    make_ova(path, [os.path.join(top, "stream.vmdk"),
                    os.path.join(top, "sparse.vmdk")], 48 * MIB)
    status, found = vmiefs_json("info", path)
    tap.same((status, found["kind"]), (0, "ova"), "an OVA")
    check_shape(found, "an OVA")
    tap.same([(d["name"], d["capacity"], d["virtual_size"])
              for d in found["disks"]],
             [("stream.vmdk", 48 * MIB, 24 * MIB),
              ("sparse.vmdk", 48 * MIB, 24 * MIB)], "its disks")
    tap.ok("ovf" in found and found["ovf"], "its OVF")
    tap.ok(any("capacity" in w or "50331648" in w
               for w in found["warnings"]), "a capacity that differs warns",
           found["warnings"])
    status, one = vmiefs_json("info", path + "/sparse.vmdk")
    tap.same(([d["name"] for d in one["disks"]], "ovf" in one),
             (["sparse.vmdk"], False), "one disk of it")
    _, out, _ = vmiefs("info", path)
    tap.same([line for line in out.splitlines() if line.startswith("disk:")],
             ["disk:           stream.vmdk", "disk:           sparse.vmdk"],
             "text: a block for each disk")


def test_missing_disk(top):
    """A disk that cannot be read does not hide the others."""
    path = os.path.join(top, "half.ova")
    html = os.path.join(top, "page.vmdk")
    with open(html, "w", encoding="ascii") as file:
        file.write("<html>please log in</html>\n" * 50)
    make_ova(path, [html, os.path.join(top, "stream.vmdk")], 24 * MIB)
    status, found = vmiefs_json("info", path)
    tap.same(status, 0, "an OVA with one broken disk")
    check_shape(found, "an OVA with one broken disk")
    tap.ok(found["disks"][0]["error"]["kind"] == "corrupt" and
           found["disks"][1]["virtual_size"] == 24 * MIB,
           "says which and why", found["disks"])
    status, _, err = vmiefs("info", html)
    tap.ok(status == 1 and err.startswith("vmiefs info: page.vmdk: "),
           "alone it is refused", err)


def test_damaged_guest(top):
    """Damage where file systems are looked for is a note, not a failure."""
    path = os.path.join(top, "stream.vmdk")
    row = vmiefs_json("map", "--units", path)[1]["disks"][0]["extents"]
    first = next(r for r in row if r["kind"] == "packed")
    flip(path, first["source_offset"] + 20)
    status, found = vmiefs_json("info", path)
    tap.same((status, found["disks"][0]["guest"].get("damaged")), (0, True),
             "a damaged window is told")


def test_odd_names(top):
    """Any name that the file system takes; JSON stays JSON."""
    folder = os.fsencode(os.path.join(top, "odd"))
    os.mkdir(folder)
    with open(os.path.join(top, "dynamic.vhdx"), "rb") as file:
        content = file.read()
    for name, shown in ((b"a b%41.vhdx", "a b%41.vhdx"),
                        (b"-f.VHDX", "-f.VHDX"),
                        (b"new\nline.vhdx", "new\nline.vhdx"),
                        ("\u00fc.vhdx".encode(), "\u00fc.vhdx"),
                        (b"bad\xff\\.vhdx", "bad\\xff\\x5c.vhdx")):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(content)
        for command in ("info", "map", "check"):
            status, found = vmiefs_json(command, path)
            tap.same((status, found["object"]), (0, shown),
                     f"{command} of {name!r}")


def test_raw(top, raw):
    status, found = vmiefs_json("info", raw)
    tap.same((status, found["disks"][0]["format"],
              found["disks"][0]["virtual_size"]), (0, "raw", 24 * MIB),
             "a raw disk")
    status, found = vmiefs_json("info", "--format", "raw",
                                os.path.join(top, "stream.vmdk"))
    tap.same((status, found["disks"][0]["format"]), (0, "raw"),
             "--format=raw takes a container as it is")
    status, _, err = vmiefs("info", "--format=qcow2", raw)
    tap.ok(status == 1 and "qcow2" in err, "an unknown format", err)


def main():
    tap.need("qemu-img", "qemu-io")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        raw = os.path.join(top, "disk.img")
        make_raw(raw)
        for kind in KINDS:
            test_kind(kind, top, raw)
        test_parents(top)
        test_ova(top)
        test_missing_disk(top)
        test_raw(top, raw)
        test_odd_names(top)
        test_damaged_guest(top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
