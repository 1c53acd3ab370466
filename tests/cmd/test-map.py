#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""`vmiefs map`: the rows cover the disk, and each tells the truth."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.dirname(__file__))
import tap  # noqa: E402
from containers import (KINDS, convert, make_ova, make_raw,  # noqa: E402
                        vmiefs, vmiefs_json)
from images import MIB  # noqa: E402


def read(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def row_error(row, top, raw):
    """What is wrong with a row, given the raw disk; None if nothing."""
    want = read(raw, row["offset"], row["length"])
    if row["kind"] == "zero" and want.strip(b"\0"):
        return "has data"
    if row["kind"] == "data":
        found = read(os.path.join(top, row["source"]), row["source_offset"],
                     row["length"])
        if found != want:
            return "lies elsewhere"
    if row["kind"] == "bad":
        return row["reason"]
    return None


def check_rows(disk, top, raw, what):
    end = 0
    wrong = []
    for row in disk["extents"]:
        if row["offset"] != end or row["length"] < 1:
            wrong.append(f"{row}: expected to start at {end}")
        end = row["offset"] + row["length"]
        error = row_error(row, top, raw)
        if error:
            wrong.append(f"{row}: {error}")
    tap.ok(not wrong, f"{what}: every row is true", "\n".join(wrong))
    tap.same(end, disk["size"], f"{what}: the rows cover the disk")
    sums = {kind: sum(r["length"] for r in disk["extents"]
                      if r["kind"] == kind)
            for kind in ("data", "packed", "zero", "bad")}
    tap.same(disk["summary"], {**sums, "extents": len(disk["extents"])},
             f"{what}: the summary")


def text_rows(out):
    """The rows of the text form, as the JSON form has them."""
    for line in out.splitlines():
        if line.startswith("#"):
            continue
        words = line.split(" ", 4)
        row = {"offset": int(words[0]), "length": int(words[1]),
               "kind": words[2]}
        if len(words) > 3:
            row |= {"source_offset": int(words[3]), "source": words[4]}
        yield row


def test_kind(kind, top, raw):
    path = convert(raw, top, kind)
    status, found = vmiefs_json("map", path)
    tap.same(status, 0, f"{kind}: status")
    check_rows(found["disks"][0], top, raw, kind)
    status, out, _ = vmiefs("map", path)
    rows = [{k: v for k, v in row.items() if k != "units"}
            for row in found["disks"][0]["extents"]]
    tap.same(list(text_rows(out)), rows, f"{kind}: text and JSON agree")
    tap.ok(out.splitlines()[-1].startswith(f"# {len(rows)} extents: "),
           f"{kind}: the summary line", out[-200:])


def test_units(top):
    """Packed units are joined unless asked for."""
    path = os.path.join(top, "stream.vmdk")
    joined = vmiefs_json("map", path)[1]["disks"][0]["extents"]
    single = vmiefs_json("map", "--units", path)[1]["disks"][0]["extents"]
    packed = [row for row in single if row["kind"] == "packed"]
    tap.same({row["length"] for row in packed}, {65536}, "units of 64 KiB")
    tap.same(sum(row.get("units", 0) for row in joined), len(packed),
             "as many units as were joined")
    tap.ok(len(joined) < len(single), "fewer rows when joined")


def test_ova(top):
    path = os.path.join(top, "two.ova")
    make_ova(path, [os.path.join(top, "stream.vmdk"),
                    os.path.join(top, "sparse.vmdk")], 24 * MIB)
    names = [d["name"] for d in vmiefs_json("map", path)[1]["disks"]]
    tap.same(names, ["stream.vmdk", "sparse.vmdk"], "both disks of an OVA")
    for member in ("sparse.vmdk", "sparse.vmdk.raw"):
        found = vmiefs_json("map", path + "/" + member)[1]["disks"]
        tap.same([d["name"] for d in found], ["sparse.vmdk"],
                 f"one disk, as {member}")
    status, _, err = vmiefs("map", path + "/none.vmdk")
    tap.ok(status == 1 and "it has: stream.vmdk, sparse.vmdk" in err,
           "a disk that is not there", err)
    status, out, _ = vmiefs("map", "file://" + path)
    tap.same(out.count("# disk "), 2, "as a file:// URL")


def test_refusals(top):
    html = os.path.join(top, "page.vmdk")
    with open(html, "w", encoding="ascii") as file:
        file.write("<html>please log in</html>\n" * 50)
    for what, path, want in (
            ("no container", html, "page.vmdk"),
            ("a missing file", os.path.join(top, "none.vmdk"), "none.vmdk"),
            ("a directory", top, "is a directory"),
            ("another scheme", "gopher://host/disk.vmdk", "s3://bucket/key"),
            ("a bucket", "s3://bucket", "s3://bucket is no object"),
            ("a bucket with a slash", "s3://bucket/", "is no object")):
        status, out, err = vmiefs("map", path)
        tap.ok(status == 1 and not out and want in err and
               err.startswith("vmiefs map: ") and err.count("\n") == 1,
               f"{what} is refused in one line", f"{status}: {out}{err}")
    tap.same(vmiefs("map")[0], 2, "without an argument")


def main():
    tap.need("qemu-img")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        raw = os.path.join(top, "disk.img")
        make_raw(raw)
        for kind in KINDS:
            test_kind(kind, top, raw)
        check_rows(vmiefs_json("map", raw)[1]["disks"][0], top, raw, "raw")
        test_units(top)
        test_ova(top)
        test_refusals(top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
