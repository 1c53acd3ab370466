#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""make_vhd.py --list | DIR [CASE...]: VHD disks of every kind, and the bytes
that they must read as. Case names: good-*, warn-* (good with warnings),
hurt-* (damaged in one place), bad-* and unsupported-* (refused)."""

import struct
import sys
from dataclasses import dataclass, field

from blockcase import Case, Sparse, write_cases

SECTOR = 512
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
NONE = 0xffffffff
KIB, MIB = 1 << 10, 1 << 20


def checksum(data, at):
    """The complement of the sum of all bytes but the checksum's own."""
    return ~(sum(data) - sum(data[at:at + 4])) & 0xffffffff


def patch(data, at, value, sum_at=None):
    """Bytes with value put at `at`, the checksum renewed if its place is
    given."""
    data = bytearray(data)
    data[at:at + len(value)] = value
    if sum_at is not None:
        struct.pack_into(">I", data, sum_at, checksum(data, sum_at))
    return bytes(data)


def footer(kind, size, uuid, *, creator=b"win ", chs=(0xffff, 16, 255),
           header_at=512, version=0x10000, saved=0):
    """A footer of 512 bytes."""
    data = struct.pack(
        ">8sIIQI4sI4sQQHBBII16sB", b"conectix", 2, version,
        0xffffffffffffffff if kind == FIXED else header_at, 0x2a000000,
        creator, 0x60003, b"Wi2k", size, size, *chs, kind, 0, uuid, saved)
    return patch(data.ljust(512, b"\0"), 0, b"", 64)


def header(table_at, entries, block, *, parent=bytes(16), name="",
           locators=(), version=0x10000):
    """A dynamic header of 1024 bytes; locators: (platform, bytes, offset)."""
    data = struct.pack(">8sQQIIII16sII512s", b"cxsparse", 0xffffffffffffffff,
                       table_at, version, entries, block, 0, parent,
                       0x29000000 if parent != bytes(16) else 0, 0,
                       name.encode("utf-16-be"))
    for platform, path, at in locators:
        data += struct.pack(">4sIIIQ", platform, SECTOR, len(path), 0, at)
    return patch(data.ljust(1024, b"\0"), 0, b"", 36)


def uuid_of(name):
    """A unique id for a disk of this name; no id for "no-id"."""
    if name == "no-id":
        return bytes(16)
    return name.encode().ljust(16, b"\x5a")[:16]


@dataclass
class Disk:
    """The recipe of a dynamic or differencing disk."""
    size: int
    stored: list = field(default_factory=list)  # blocks, in order of place
    content: Sparse = None    # what the stored sectors hold
    own: object = None        # sector -> is it in this disk (differencing)
    block: int = 2 * MIB
    name: str = "disk"
    header_at: int = 512
    table_at: int = 1536
    extra_entries: int = 0
    gap: int = 0              # sectors before each block
    footer_bytes: int = 512
    bitmap: int = 0xff        # of stored blocks without `own`
    parent: str = ""          # name of the parent's id
    parent_name: str = ""
    locators: tuple = ()      # (platform, bytes)
    footer: dict = field(default_factory=dict)

    def entries(self):
        """How many blocks the disk has."""
        return -(-self.size // self.block)

    def bitmap_of(self, number):
        """The sector bitmap of a block."""
        sectors = self.block // SECTOR
        length = -(-sectors // 8 // SECTOR) * SECTOR or SECTOR
        bits = bytearray(length)
        for i in range(sectors):
            inside = self.bitmap if self.own is None else \
                self.own(number * sectors + i) * 0xff
            bits[i >> 3] |= inside & (0x80 >> (i & 7))
        return bytes(bits)

    def put_headers(self, out):
        """Footer copy, dynamic header, locators, an empty table."""
        entries = self.entries() + self.extra_entries
        kind = DIFFERENCING if self.parent else DYNAMIC
        foot = footer(kind, self.size, uuid_of(self.name),
                      header_at=self.header_at, **self.footer)
        at = -(-(self.table_at + entries * 4) // SECTOR) * SECTOR
        places = []
        for platform, path in self.locators:
            places.append((platform, path, at))
            out.write(at, path.ljust(SECTOR, b"\0"))
            at += SECTOR
        out.write(0, foot)
        out.write(self.header_at, header(
            self.table_at, entries, self.block, locators=places,
            parent=uuid_of(self.parent) if self.parent else bytes(16),
            name=self.parent_name))
        table = b"\xff" * (-(-entries * 4 // SECTOR) * SECTOR)
        out.write(self.table_at, table)
        return foot, max(at, self.header_at + 1024)

    def build(self):
        """The container."""
        out = Sparse()
        foot, at = self.put_headers(out)
        for number in self.stored:
            at += self.gap * SECTOR
            out.write(self.table_at + number * 4,
                      struct.pack(">I", at // SECTOR))
            bits = self.bitmap_of(number)
            out.write(at, bits)
            at += len(bits)
            first = number * self.block
            for offset, data in self.content.chunks(first, self.block):
                out.write(at + offset - first, data)
            at += self.block
            out.resize(at)
        out.write(at, foot[:self.footer_bytes])
        return out

    def data(self):
        """(offset, length) of the stored blocks."""
        return [(n * self.block, min(self.block, self.size - n * self.block))
                for n in self.stored]

    def raw(self, parent=None):
        """What the disk reads as."""
        out = Sparse(self.size)
        sectors = self.block // SECTOR
        if parent:
            out = parent.copy()
            out.resize(self.size)
        for number in self.stored:
            first = number * sectors
            for i in range(first, min(first + sectors,
                                      -(-self.size // SECTOR))):
                if self.own is None or self.own(i):
                    at = i * SECTOR
                    n = min(SECTOR, self.size - at)
                    data = self.content.read(at, n)
                    if any(data) or parent:
                        out.write(at, data)
        return out


def painted(seed, size, stored, block=2 * MIB):
    """Content with random bytes in the stored blocks."""
    out = Sparse(size)
    for number in stored:
        out.paint(seed, number * block,
                  min(block, size - number * block))
    return out


def simple(name, size, stored, **recipe):
    """A dynamic disk and its case."""
    disk = Disk(size, stored, painted(name, size, stored,
                                      recipe.get("block", 2 * MIB)), **recipe)
    return disk, Case(name, {name + ".vhd": disk.build()}, disk.raw(),
                      disk.data())


def fixed(name, size, *, tail=None, footer_bytes=512, **fields):
    """A fixed disk and its case."""
    raw = Sparse(size).paint(name, 0, size)
    out = raw.copy()
    out.write(size, (tail or footer(FIXED, size, uuid_of(name), **fields))
              [:footer_bytes])
    return Case(name, {name + ".vhd": out}, raw, [(0, size)])


def fixed_cases():
    """Fixed disks."""
    case = fixed("good-fixed", 3 * MIB)
    case.trust = ("qemu", "vhdi")
    yield case
    yield fixed("good-fixed-one-sector", 512)
    yield fixed("good-fixed-odd", 1000003)
    yield fixed("good-fixed-chs-zero", MIB, chs=(0, 0, 0))
    case = fixed("good-fixed-511", MIB, footer_bytes=511)
    case.findings = ["511 bytes instead of 512"]
    yield case
    case = fixed("good-fixed-chs", 362 * 4 * 17 * 512, creator=b"vpc ",
                 chs=(361, 4, 17))
    case.raw.resize(361 * 4 * 17 * 512)
    case.data = [(0, case.raw.size)]
    case.options = ["-c"]
    case.warn = ["34816 bytes between the disk's end"]
    yield case
    case = fixed("good-fixed-chs-win", 362 * 4 * 17 * 512,
                 chs=(361, 4, 17))
    case.options = ["-c"]
    yield case
    case = fixed("warn-fixed-checksum", MIB, tail=patch(
        footer(FIXED, MIB, b"patched".ljust(16)), 70, b"uuid"))
    case.warn = ["footer's checksum is wrong"]
    case.findings = ["wrong checksum"]
    yield case
    case = fixed("warn-fixed-slack", MIB,
                 tail=bytes(4096) + footer(FIXED, MIB, bytes(16)),
                 footer_bytes=4608)
    case.warn = ["4096 bytes between the disk's end at 1048576"]
    yield case
    # The guest's first sector looks like a footer.
    case = fixed("good-fixed-guest-footer", MIB)
    guest = footer(DYNAMIC, 7 * MIB, b"guest".ljust(16))
    for content in (case.raw, case.files["good-fixed-guest-footer.vhd"]):
        content.write(0, guest)
    yield case


def dynamic_cases():
    """Dynamic disks that are all right."""
    _, case = simple("good-dynamic", 13 * MIB, [4, 0, 2])
    case.trust = ("qemu", "qemu-map", "vhdi")
    yield case
    _, case = simple("good-dynamic-empty", 9 * MIB, [])
    case.trust = ("qemu", "qemu-map", "vhdi")
    yield case
    _, case = simple("good-dynamic-odd-size", 5 * MIB + 512, [0, 2])
    case.trust = ("qemu", "vhdi")
    yield case
    yield simple("good-dynamic-odd-bytes", 5 * MIB + 77, [1, 2])[1]
    yield simple("good-dynamic-one-sector", 512, [0],
                 footer={"chs": (0, 4, 17)})[1]
    _, case = simple("good-dynamic-512k", 5 * MIB, [9, 1, 0, 5],
                     block=512 * KIB)
    case.trust = ("qemu", "qemu-map", "vhdi")
    yield case
    yield simple("good-dynamic-blocks-512", 64 * KIB, [3, 1, 127, 64],
                 block=512)[1]
    yield simple("good-dynamic-blocks-16m", 40 * MIB, [2, 0],
                 block=16 * MIB)[1]
    yield simple("good-dynamic-gaps", 11 * MIB, [1, 5, 0], gap=7)[1]
    yield simple("good-dynamic-extra-entries", 11 * MIB, [5],
                 extra_entries=1000)[1]
    yield simple("good-dynamic-header-far", 6 * MIB, [1, 0],
                 header_at=65536, table_at=4096)[1]
    yield simple("good-dynamic-2040g", 2040 << 30, [1044479, 0, 524288])[1]
    # Bits of a dynamic disk are not looked at: see the head of vhd.c.
    yield simple("good-dynamic-clear-bits", 4 * MIB, [0, 1], bitmap=0)[1]
    _, case = simple("good-dynamic-511", 4 * MIB, [1], footer_bytes=511)
    case.findings = ["511 bytes instead of 512"]
    yield case


def edit(case, offset, data):
    """Overwrite bytes of the case's container (from its end if negative)."""
    content = next(iter(case.files.values()))
    content.write(offset if offset >= 0 else content.size + offset, data)
    return case


def odd_cases():
    """Dynamic disks that are read with a warning, or damaged in a place."""
    _, case = simple("warn-tail-missing", 4 * MIB, [0, 1])
    content = next(iter(case.files.values()))
    content.resize(content.size - 512)
    case.warn = ["footer at the end is missing"]
    case.findings = ["footer at the end is missing"]
    yield case
    _, case = simple("warn-tail-damaged", 4 * MIB, [0, 1])
    case.warn = ["footer at the end is damaged"]
    case.findings = ["end has a wrong checksum", "reserved bytes",
                     "footers not identical"]
    yield edit(case, -400, b"x")
    _, case = simple("warn-copy-damaged", 4 * MIB, [0, 1])
    case.warn = ["copy at 0 is damaged"]
    case.findings = ["copy.* has a wrong checksum", "reserved bytes",
                     "footers not identical"]
    yield edit(case, 100, b"x")
    _, case = simple("warn-copy-missing", 4 * MIB, [0, 1])
    case.warn = ["copy at 0 is missing"]
    case.findings = ["copy of the footer at 0 is missing"]
    yield edit(case, 0, bytes(8))
    _, case = simple("warn-both-same", 4 * MIB, [0, 1])
    edit(edit(case, 68, b"uuid"), -512 + 68, b"uuid")
    case.warn = ["footer's checksum is wrong"]
    case.findings = ["end has a wrong", "copy.* has a wrong"]
    yield case
    disk, case = simple("warn-differ", 4 * MIB, [0, 1])
    foot = footer(DYNAMIC, disk.size, uuid_of(disk.name), saved=1)
    case.warn = ["footer at the end and its copy at 0 differ"]
    case.findings = ["footers not identical"]
    yield edit(case, 0, foot)
    _, case = simple("warn-header-checksum", 4 * MIB, [0, 1])
    case.warn = ["dynamic header's checksum is wrong"]
    case.findings = ["dynamic header has a wrong checksum"]
    yield edit(case, 512 + 60, b"x")
    yield from hurt_cases()


def hurt(name, edits, damage, findings, size=8 * MIB):
    """A disk with all blocks stored and parts of it edited."""
    _, case = simple(name, size, [0, 1, 2, 3])
    for at, data in edits:
        edit(case, at, data)
    for at, length in damage:
        case.raw.write(at, bytes(length))
    case.hurt = damage
    case.findings = findings
    return case


def hurt_cases():
    """Damage in one place, which only that place feels."""
    entry = 1536 + 4 * 2
    yield hurt("hurt-block-behind-end",
               [(entry, struct.pack(">I", 0x7fffffff))],
               [(4 * MIB, 2 * MIB)], ["block 2 .* behind the end"])
    yield hurt("hurt-block-in-header", [(entry, struct.pack(">I", 1))],
               [(4 * MIB, 2 * MIB)], ["inside the headers"])
    yield hurt("hurt-block-in-table", [(entry, struct.pack(">I", 3))],
               [(4 * MIB, 2 * MIB)], ["inside the headers"])
    yield hurt("hurt-block-zero", [(entry, struct.pack(">I", 0))],
               [(4 * MIB, 2 * MIB)], ["inside the headers"])
    # The last block lost its end; the copy at 0 tells the rest.
    _, case = simple("hurt-cut-off", 8 * MIB, [0, 1, 2, 3])
    content = next(iter(case.files.values()))
    content.resize(content.size - 512 - MIB)
    case.raw.write(7 * MIB, bytes(MIB))
    case.hurt = [(7 * MIB, MIB)]
    case.warn = ["footer at the end is missing"]
    case.findings = ["footer at the end is missing",
                     "block 3 .* behind the end"]
    yield case
    # Two blocks at one place: both read, check tells.
    disk, case = simple("good-shared-block", 8 * MIB, [0, 1])
    content = next(iter(case.files.values()))
    content.write(1536 + 8, content.read(1536, 4))
    case.raw.write(4 * MIB, case.raw.read(0, 2 * MIB))
    case.data = disk.data() + [(4 * MIB, 2 * MIB)]
    case.findings = ["block 2 at sector 4 overlaps the one at sector 4"]
    yield case


def stripes(period, width):
    """Sectors that are the disk's own: width out of each period."""
    return lambda sector: sector % period < width


def ragged(sector):
    """Bits of all patterns, runs of all lengths."""
    return bool((sector * 2654435761 >> 13) & 1) if sector % 4096 < 512 \
        else sector % 4096 < 1024 or sector % 1000 == 1


def utf16(path):
    """As in a W2ru or W2ku locator."""
    return path.encode("utf-16-le")


def child_of(parent, name, stored, own, **recipe):
    """A differencing disk over a parent's recipe."""
    size = recipe.pop("size", parent.size)
    return Disk(size, stored, painted(name, size, stored), own, name=name,
                parent=parent.name, **recipe)


def differencing_cases():
    """Children of several generations, found in several ways."""
    base = Disk(9 * MIB + 512, [3, 0, 1], painted("base", 9 * MIB + 512,
                                                 [3, 0, 1]), name="base")
    child = child_of(base, "child", [0, 2, 4], ragged,
                     parent_name="C:\\vm\\gone.vhd",
                     locators=((b"W2ku", utf16("D:\\old\\Base.vhd")),
                               (b"W2ru", utf16(".\\base.vhd"))))
    grand = child_of(child, "grand", [2, 3], stripes(16, 3),
                     locators=((b"MacX", b"file://localhost/x/child.avhd"),))
    raws = [base.raw()]
    raws.append(child.raw(raws[0]))
    raws.append(grand.raw(raws[1]))
    files = {"grand.vhd": grand.build(), "child.avhd": child.build(),
             "base.vhd": base.build()}
    yield Case("good-diff", dict(list(files.items())[1:]), raws[1])
    yield Case("good-diff-chain", files, raws[2])
    yield Case("good-diff-by-id", {
        "child.avhd": files["child.avhd"], "another.vhd":
        simple("another", MIB, [0])[0].build(), "junk.vhd": Sparse(4096),
        "Renamed.VHD": files["base.vhd"]}, raws[1])
    yield Case("bad-orphan", {"child.avhd": files["child.avhd"]},
               refuse="its parent .Base.vhd, id 62617365-.* not beside it")
    wrong = Disk(base.size, name="wrong").build()
    yield Case("bad-other-parent", {"child.avhd": files["child.avhd"],
                                    "base.vhd": wrong},
               refuse="file base.vhd .* is not its parent")
    yield from more_differencing(base, raws[0])


def more_differencing(base, base_raw):
    """Other sizes and kinds of parents; loops."""
    child = child_of(base, "larger", [0, 7], stripes(24, 8), size=15 * MIB,
                     parent_name="base.vhd")
    yield Case("good-diff-larger", {"c.vhd": child.build(),
                                    "base.vhd": base.build()},
               child.raw(base_raw))
    child = child_of(base, "empty", [], ragged, parent_name="base.vhd")
    yield Case("good-diff-empty", {"c.vhd": child.build(),
                                   "base.vhd": base.build()},
               base_raw, base.data(), trust=("vhdi",))
    child = child_of(base, "full", [0, 1, 2, 3, 4], stripes(1, 1),
                     parent_name="base.vhd")
    yield Case("good-diff-full", {"c.vhd": child.build(),
                                  "base.vhd": base.build()},
               child.raw(base_raw), child.data(), trust=("vhdi",))
    plain = fixed("plain", 5 * MIB)
    parent = Disk(5 * MIB, name="plain")
    child = child_of(parent, "on-fixed", [1], stripes(3, 1))
    yield Case("good-diff-on-fixed", {"c.vhd": child.build(),
                                      **plain.files}, child.raw(plain.raw))
    bare = Disk(4 * MIB, [1], painted("no-id", 4 * MIB, [1]), name="no-id")
    child = Disk(4 * MIB, [0, 1], painted("no", 4 * MIB, [0, 1]),
                 stripes(5, 2), name="no-id", parent="no-id",
                 parent_name="base.vhd")
    yield Case("good-diff-no-ids", {"c.vhd": child.build(),
                                    "base.vhd": bare.build()},
               child.raw(bare.raw()))
    yield Case("bad-diff-no-ids", {"base.vhd": child.build(),
                                   "other.vhd": bare.build()},
               refuse="parent .base.vhd, id 00000000-.* not beside it")
    loop = [Disk(MIB, name="one", parent="two", parent_name="two.vhd"),
            Disk(MIB, name="two", parent="one", parent_name="one.vhd")]
    yield Case("bad-diff-loop", {"one.vhd": loop[0].build(),
                                 "two.vhd": loop[1].build()},
               refuse="more than 32 parents")
    yield Case("bad-diff-self", {"me.vhd": Disk(
        MIB, name="me", parent="me", parent_name="me.vhd").build()},
               refuse="names itself as its parent")
    child = child_of(base, "cut", [0, 1], stripes(2, 1),
                     parent_name="base.vhd")
    content = child.build()
    content.write(1536, struct.pack(">I", 0x1000000))
    raw = child.raw(base_raw)
    raw.write(0, bytes(2 * MIB))
    yield Case("hurt-diff-bitmap", {"c.vhd": content,
                                    "base.vhd": base.build()}, raw,
               hurt=[(0, 2 * MIB)], findings=["block 0 .* behind the end"])


def refused(name, text, edits=(), build=None, cut=None):
    """A disk of 4 MiB that is refused after these edits."""
    _, case = simple(name, 4 * MIB, [0, 1])
    if build:
        case.files = {name + ".vhd": build}
    for at, data in edits:
        edit(case, at, data)
    if cut is not None:
        next(iter(case.files.values())).resize(cut)
    return Case(name, case.files, refuse=text)


def edited_header(*edits, table_at=1536, entries=2, block=2 * MIB, **fields):
    """An edit that puts another dynamic header."""
    data = header(table_at, entries, block, **fields)
    for at, value in edits:
        data = patch(data, at, value, 36)
    return [(512, data)]


def both_footers(**fields):
    """Edits that put another footer in both places."""
    kind = fields.pop("kind", DYNAMIC)
    data = footer(kind, fields.pop("size", 4 * MIB), uuid_of("disk"),
                  **fields)
    return [(0, data), (-512, data)]


def refused_cases():
    """Contradictions and what is not supported."""
    yield refused("bad-both-checksums", "good checksum",
                  [(70, b"a"), (-442, b"b")])
    foot = footer(DYNAMIC, 5 * MIB, uuid_of("disk"))
    yield refused("bad-sizes-differ", "size 4194304, its copy at 0 has "
                  "5242880", [(0, foot)])
    yield refused("bad-types-differ", "disk type 3, its copy at 0 has 4",
                  [(0, footer(DIFFERENCING, 4 * MIB, uuid_of("disk")))])
    yield refused("bad-table-small", "2 blocks of 2097152 bytes, the table "
                  "only 1", edited_header(entries=1))
    yield refused("bad-table-behind-end", "ends behind the file's",
                  edited_header(table_at=1 << 40))
    yield refused("bad-table-wraps", "ends behind the file's",
                  edited_header(table_at=(1 << 64) - 512))
    yield refused("bad-table-in-header", "lies inside the headers",
                  edited_header(table_at=1024))
    for block in (0, 1, 256, 3 * MIB, 512 * MIB, 1 << 31):
        yield refused(f"bad-block-size-{block}", "no power of two",
                      edited_header(block=block))
    yield refused("bad-header-cookie", "no dynamic header at 512",
                  edited_header((0, b"cxsparsf")))
    yield refused("bad-header-far", "dynamic header at .* is not within",
                  both_footers(header_at=1 << 50))
    yield refused("bad-header-first", "dynamic header at 0 is not within",
                  both_footers(header_at=0))
    yield refused("bad-cut-in-table", "dynamic header at 512 is not within",
                  cut=1200)
    yield refused("bad-huge", "is above the limit|the table only",
                  both_footers(size=1 << 63))
    yield refused("unsupported-type", "VHD disk type 5",
                  both_footers(kind=5))
    yield refused("unsupported-version", "VHD version 0x20000",
                  both_footers(version=0x20000))
    yield refused("unsupported-header-version",
                  "dynamic header version 0x30000",
                  edited_header(version=0x30000))
    short = Sparse(MIB)
    short.write(MIB, footer(FIXED, 2 * MIB, bytes(16)))
    yield refused("bad-fixed-short", "the footer says 2097152 bytes, but "
                  "only 1048576", build=short)
    yield refused("bad-fixed-at-start", "fixed disk without its footer",
                  build=Sparse(data=footer(FIXED, MIB, bytes(16)) +
                               bytes(4096)))


def cases():
    """All cases, in order."""
    yield from fixed_cases()
    yield from dynamic_cases()
    yield from odd_cases()
    yield from differencing_cases()
    yield from refused_cases()


def seeds(_target):
    """Inputs of fuzz-vhd: a child's length in 256 bytes, its bytes, the
    parent's. Checksums of 0 count as right there."""
    def bytes_of(disk):
        content = disk.build()
        data = content.read(0, content.size)
        return data.ljust(-(-len(data) // 256) * 256, b"\0") \
            if disk.parent else data

    def tiny(name, stored=(2, 0), **recipe):
        stored = list(stored)
        return Disk(8 * KIB, stored, painted(name, 8 * KIB, stored, KIB),
                    block=KIB, name=name, **recipe)

    base = tiny("base")
    plain = bytes_of(base)
    zero_sums = patch(patch(plain, 64, bytes(4)), 512 + 36, bytes(4))
    zero_sums = zero_sums[:-448] + bytes(4) + zero_sums[-444:]
    yield "dynamic", b"\xff" + plain
    yield "dynamic-sums", b"\xff" + zero_sums
    yield "dynamic-511", b"\xff" + plain[:-1]
    yield "dynamic-cut", b"\xff" + plain[:-512]
    yield "fixed", b"\xff" + bytes(1024) + footer(FIXED, 1024, bytes(16))
    child = tiny("child", (0, 1, 5), own=stripes(3, 1), parent="base",
                 parent_name="base.vhd",
                 locators=((b"W2ru", utf16(".\\base.vhd")),))
    data = bytes_of(child)
    yield "child", bytes([len(data) // 256]) + data + zero_sums
    yield "grandchild", bytes([len(data) // 256]) + data + data


if __name__ == "__main__":
    sys.exit(write_cases(cases, sys.argv[1:]))
