#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""`vmiefs info` sees the partitions and file systems that blkid and sfdisk
see in the same raw disk."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../format"))
import images  # noqa: E402
import tap  # noqa: E402
from images import MIB  # noqa: E402
from sparse import Sparse  # noqa: E402
from vhdx_file import Disk  # noqa: E402

VMIEFS = os.path.join(os.environ.get("top_builddir", "."), "vmiefs")

# Our name of a value, and blkid's.
VALUES = (("type", "TYPE"), ("label", "LABEL"), ("uuid", "UUID"),
          ("version", "VERSION"), ("usage", "USAGE"),
          ("uuid_sub", "UUID_SUB"), ("sec_type", "SEC_TYPE"),
          ("block_size", "BLOCK_SIZE"))


def blkid(path, offset=0, size=0):
    """What blkid itself says about a range of a raw disk."""
    words = [images.find("blkid"), "-p", "-o", "export", "-O", str(offset)]
    if size:
        words += ["-S", str(size)]
    out = subprocess.run([*words, path], capture_output=True, text=True,
                         check=False).stdout
    values = dict(line.split("=", 1) for line in out.splitlines()
                  if "=" in line)
    return {ours: values[theirs].replace("\\ ", " ")
            for ours, theirs in VALUES if theirs in values}


def info(path, *options):
    out = subprocess.run([VMIEFS, "info", "--json", *options, path],
                         stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)["disks"][0]


def as_text(values):
    return {key: str(value) for key, value in (values or {}).items()}


def compare_partitions(path, what):
    """All partitions of a disk: the table with sfdisk, contents with blkid."""
    guest = info(path)["guest"]
    want = json.loads(images.run("sfdisk", "--json", path))["partitiontable"]
    table = guest["partition_table"]
    tap.same(table["type"], want["label"], f"{what}: type of the table")
    tap.same(guest["sector_size"], 512, f"{what}: sector size")
    tap.same(table["id"].lower().removeprefix("0x"),
             want["id"].lower().removeprefix("0x"), f"{what}: its id")
    tap.same([(p["start"], p["size"], int(p["type"], 16) if
               table["type"] == "dos" else p["type"].lower(), p.get("name"))
              for p in table["partitions"]],
             [(p["start"] * 512, p["size"] * 512,
               int(p["type"], 16) if table["type"] == "dos" else
               p["type"].lower(), p.get("name"))
              for p in want["partitions"]], f"{what}: partitions")
    for part in table["partitions"]:
        if part.get("extended"):
            continue
        tap.same(as_text(part.get("file_system")),
                 blkid(path, part["start"], part["size"]),
                 f"{what}: contents of partition {part['number']}")
    return table


def fill(path, table, top, kinds):
    """Put file systems of these kinds into the partitions, in turn."""
    parts = [p for p in table["partitions"] if not p.get("extended")]
    for part, kind in zip(parts, kinds):
        file = os.path.join(top, kind)
        if kind == "lvm":
            images.put(path, part["start"], images.lvm_header())
        elif kind == "luks":
            images.put(path, part["start"], images.luks_header())
        elif images.has(kind):
            if not os.path.exists(file):
                images.make_fs(file, kind)
            images.put(path, part["start"], file)


def sized(kinds):
    return {"lvm": 64, "luks": 16}.get(kinds) or images.MAKERS[kinds][2]


def test_gpt(top):
    """Every file system in one GPT."""
    kinds = [*images.MAKERS, "lvm", "luks"]
    path = os.path.join(top, "gpt.img")
    images.partition(path, "label: gpt\n" + "".join(
        f'size={sized(kind) * MIB // 512},name="{kind} part"\n'
        for kind in kinds), 2048 * MIB)
    fill(path, info(path)["guest"]["partition_table"], top, kinds)
    compare_partitions(path, "GPT")


def test_gpt_4096(top):
    """Sectors of 4096 bytes; then only the backup table is whole."""
    path = os.path.join(top, "gpt4096.img")
    parts = [(256, 4096, "first"), (131072, 25600, "far away")]
    images.gpt(path, 1024 * MIB, 4096, parts)
    images.put(path, 256 * 4096, images.luks_header())
    for what in ("whole", "only the backup"):
        guest = info(path)["guest"]
        table = guest["partition_table"]
        tap.same((guest["sector_size"], table["type"], table["id"]),
                 (4096, "gpt", images.UUID), f"4096-byte sectors, {what}")
        tap.same([(p["start"] // 4096, p["size"] // 4096, p["name"])
                  for p in table["partitions"]], parts, f"{what}: partitions")
        tap.same(table["partitions"][0]["file_system"]["type"],
                 "crypto_LUKS", f"{what}: contents")
        images.put(path, 4096, bytes(4096))


def test_many_partitions(top):
    """More than are shown."""
    path = os.path.join(top, "many.img")
    parts = [(2048 + 16 * i, 16, f"p{i}") for i in range(300)]
    images.gpt(path, 64 * MIB, 512, parts)
    table = info(path)["guest"]["partition_table"]
    tap.same(([p["name"] for p in table["partitions"]], table["note"]),
             ([name for _, _, name in parts[:256]],
              "more partitions than are shown"), "the first 256 of 300")


def test_dos(top):
    """Primary and logical partitions, far apart."""
    path = os.path.join(top, "dos.img")
    script = ("label: dos\nstart=2048,size=131072,type=c,bootable\n"
              "start=2000000,type=5\n" +
              "".join("size=300000,type=83\n" for _ in range(8)))
    images.partition(path, script, 4096 * MIB)
    table = info(path)["guest"]["partition_table"]
    fill(path, table, top, ["vfat", "ext4", "btrfs", "ntfs", "swap", "lvm"])
    table = compare_partitions(path, "DOS")
    tap.same(len(table["partitions"]), 10, "DOS: all logical ones are there")


def test_whole_disk(top):
    """A file system without a partition table; nothing at all."""
    for kind in images.MAKERS:
        if not images.has(kind):
            tap.skip(f"a whole disk of {kind}", "cannot be made here")
            continue
        path = os.path.join(top, f"{kind}.img")
        images.make_fs(path, kind)
        guest = info(path)["guest"]
        tap.same(as_text(guest.get("file_system")), blkid(path),
                 f"a whole disk of {kind}")
        tap.ok("partition_table" not in guest, f"{kind}: no partition table",
               guest)
    path = os.path.join(top, "empty.img")
    images.sparse(path, 8 * MIB)
    tap.same(info(path)["guest"], {"sector_size": 512}, "an empty disk")
    tap.ok("guest" not in info(path, "--no-guest"), "--no-guest")


def test_in_container(top):
    """The same through containers."""
    if not images.find("qemu-img"):
        tap.skip("guests in containers", "qemu-img is missing")
        return
    raw = os.path.join(top, "dos.img")
    want = info(raw)["guest"]
    for ending, form, options in (("vhd", "vpc", "force_size=on"),
                                  ("vhdx", "vhdx", "subformat=dynamic"),
                                  ("vmdk", "vmdk",
                                   "subformat=streamOptimized")):
        path = os.path.join(top, "dos." + ending)
        images.run("qemu-img", "convert", "-O", form, "-o", options, raw,
                   path)
        tap.same(info(path)["guest"], want, f"the DOS disk as {ending}")
        os.unlink(path)


def test_sectors_of_container(top):
    """A DOS table counts in the sectors that the VHDX says it has."""
    content = Sparse(9 * MIB)
    mbr = bytearray(512)
    mbr[450] = 0x83
    mbr[454:462] = (256).to_bytes(4, "little") + (512).to_bytes(4, "little")
    mbr[510:512] = b"\x55\xaa"
    content.write(0, bytes(mbr))
    content.write(256 * 4096, images.luks_header())
    path = os.path.join(top, "sectors.vhdx")
    Disk(9 * MIB, [0, 1, 2], content, MIB, name="sectors",
         sector=4096).build().save(path)
    guest = info(path)["guest"]
    part = guest["partition_table"]["partitions"][0]
    tap.same((guest["sector_size"], part["start"], part["size"],
              part["file_system"]["type"]),
             (4096, MIB, 2 * MIB, "crypto_LUKS"),
             "a DOS table on 4096-byte sectors")


def test_hostile_label(top):
    """A label that would take over the terminal is printed escaped."""
    if not images.has("ext4"):
        tap.skip("a hostile label", "mke2fs is missing")
        return
    path = os.path.join(top, "evil.img")
    images.sparse(path, 16 * MIB)
    images.run("mke2fs", "-q", "-t", "ext4", "-F", "-L", "\x1b[31mred\x07",
               path)
    out = subprocess.run([VMIEFS, "info", path], stdout=subprocess.PIPE,
                         check=True).stdout
    tap.ok(b"\x1b" not in out and b"\x07" not in out and b"red" in out,
           "control characters stay off the terminal", out)


def main():
    for tool in ("blkid", "sfdisk"):
        if not images.find(tool):
            tap.skip_all(f"{tool} is missing")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        test_gpt(top)
        test_gpt_4096(top)
        test_many_partitions(top)
        test_dos(top)
        test_whole_disk(top)
        test_in_container(top)
        test_sectors_of_container(top)
        test_hostile_label(top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
