#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Stream-optimised VMDKs that are written, marker by marker: the layout of
VMware's own exporter to the byte, by a walker that shares nothing with our
reader, and finds mistakes that are put in."""

import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import tap  # noqa: E402
from sparse import Sparse  # noqa: E402

SECTOR, KIB, MIB = 512, 1 << 10, 1 << 20
GRAIN = 128 * SECTOR
TABLE = 512           # grains of one table
HEAD = 128            # sectors in front of the first grain
DESCRIPTOR = 20       # sectors
AT_END = (1 << 64) - 1
TABLE_MARKER, DIRECTORY_MARKER, FOOTER_MARKER, END_MARKER = 1, 2, 3, 0
TOOLS = os.path.join(os.environ.get("top_builddir", "."), "tests/tools")


class Wrong(Exception):
    """The stream is not as it should be."""


def need(condition, *what):
    """Fail with a sentence."""
    if not condition:
        raise Wrong(" ".join(str(w) for w in what))


def zero(data, *what):
    """All bytes are zero."""
    need(not data.strip(b"\0"), "not zero:", *what)


def check_header(sector, capacity, directory):
    """A header, or the footer: every field."""
    fields = struct.unpack("<4sIIQQQQIQQQB4sH", sector[:79])
    need(fields == (b"KDMV", 3, 0x30001, capacity, 128, 1, DESCRIPTOR, 512, 0,
                    directory, HEAD, 0, b"\n \r\n", 1), "header:", fields)
    zero(sector[79:], "the header's rest")


def check_descriptor(data, capacity, name):
    """The descriptor's lines, and zeroes up to the first grain."""
    text, _, rest = data.partition(b"\0")
    zero(rest, "behind the descriptor")
    need(len(text) < DESCRIPTOR * SECTOR, "the descriptor is too long")
    pattern = r"""# Disk DescriptorFile
version=1
CID=[0-9a-f]{8}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb\.adapterType = "lsilogic"
ddb\.geometry\.cylinders = "%d"
ddb\.geometry\.heads = "255"
ddb\.geometry\.sectors = "63"
ddb\.virtualHWVersion = "7"
""" % (capacity, re.escape(name), -(-capacity // (255 * 63)))
    need(re.fullmatch(pattern, text.decode()), "descriptor:", text.decode())


class Raw:
    """What the disk holds: its size, and its grains that are not zero."""

    def __init__(self, data):
        self.size = len(data)
        self.grains = {}
        for at in range(0, self.size, GRAIN):
            grain = data[at:at + GRAIN].ljust(GRAIN, b"\0")
            if grain != bytes(GRAIN):
                self.grains[at // GRAIN] = grain


class Walker:
    """One pass over a stream, as somebody reads who gets it over a pipe."""

    def __init__(self, stream, raw, name):
        self.stream, self.raw, self.name = stream, raw, name
        self.capacity = -(-raw.size // SECTOR)
        self.at = 0           # sector
        self.last = -1        # grain
        self.open_table = {}  # grain: sector, since the last table
        self.tables = {}      # table: sector
        self.stored = 0       # grains
        self.packed = []      # (first byte, byte behind) of zlib streams

    def take(self, sectors):
        """The next sectors."""
        data = self.stream[self.at * SECTOR:(self.at + sectors) * SECTOR]
        need(len(data) == sectors * SECTOR, "the stream ends at", self.at)
        self.at += sectors
        return data

    def grain(self, marker, lba, size):
        """A grain: one zlib stream of exactly that size, padded."""
        start = self.at - 1
        data = marker + self.take(-(-(12 + size) // SECTOR) - 1)
        zero(data[12 + size:], "padding of the grain at", start)
        inflate = zlib.decompressobj()
        plain = inflate.decompress(data[12:12 + size])
        need(inflate.eof and not inflate.unused_data,
             "the zlib stream at", start, "has another size")
        number = lba // 128
        need(lba % 128 == 0 and lba < self.capacity, "lba", lba)
        need(number > self.last, "grain", number, "behind", self.last)
        need(len(plain) == GRAIN, "grain", number, "has", len(plain))
        need(number in self.raw.grains, "grain", number, "is stored")
        need(plain == self.raw.grains[number],
             "grain", number, "holds other bytes")
        need(not self.open_table or
             min(self.open_table) // TABLE == number // TABLE,
             "grain", number, "before the table of the one before")
        self.last = number
        self.open_table[number] = start
        self.stored += 1
        self.packed.append((start * SECTOR + 12, start * SECTOR + 12 + size))

    def table(self):
        """The table of the grains that came since the last one."""
        need(self.open_table, "a table of no grains at", self.at)
        number = min(self.open_table) // TABLE
        need(number not in self.tables, "table", number, "again")
        self.tables[number] = self.at
        entries = struct.unpack("<512I", self.take(4))
        need(list(entries) == [self.open_table.get(number * TABLE + i, 0)
                               for i in range(TABLE)], "table", number)
        self.open_table = {}

    def directory(self, sectors):
        """The directory: where each table is."""
        need(not self.open_table, "a table is missing")
        count = -(-self.capacity // (128 * TABLE))
        need(sectors == -(-count * 4 // SECTOR), sectors, "for", count)
        where = self.at
        data = self.take(sectors)
        entries = struct.unpack(f"<{count}I", data[:count * 4])
        need(list(entries) == [self.tables.get(i, 0) for i in range(count)],
             "directory", entries)
        zero(data[count * 4:], "the directory's rest")
        return where

    def body(self):
        """Grains and tables, up to the directory; its sector."""
        while True:
            marker = self.take(1)
            value, size, kind = struct.unpack("<QII", marker[:16])
            if size:
                self.grain(marker, value, size)
                continue
            zero(marker[16:], "the marker's rest at", self.at - 1)
            if kind == TABLE_MARKER:
                need(value == 4, "a table of", value, "sectors")
                self.table()
            else:
                need(kind == DIRECTORY_MARKER, "marker", kind)
                return self.directory(value)

    def marker(self, value, kind):
        """That marker and no other."""
        need(self.take(1) == struct.pack("<QII", value, 0, kind).ljust(
            SECTOR, b"\0"), "marker", kind)

    def walk(self):
        """The whole stream."""
        check_header(self.take(1), self.capacity, AT_END)
        check_descriptor(self.take(HEAD - 1), self.capacity, self.name)
        where = self.body()
        self.marker(1, FOOTER_MARKER)
        check_header(self.take(1), self.capacity, where)
        self.marker(0, END_MARKER)
        need(self.at * SECTOR == len(self.stream), "bytes behind the end")
        need(self.stored == len(self.raw.grains), "grains are missing")
        return self


def complaint(stream, raw, name):
    """None, or what is wrong."""
    try:
        Walker(stream, raw, name).walk()
    except (Wrong, zlib.error, struct.error, UnicodeDecodeError) as error:
        return str(error)
    return None


def disks():
    """Name: disk."""
    yield "one sector", Sparse(SECTOR).paint("s", 0, SECTOR)
    yield "one byte", Sparse(1).paint("b", 0, 1)
    yield "a grain less a sector", Sparse(GRAIN - SECTOR).paint(
        "l", 0, GRAIN - SECTOR)
    yield "a grain and a sector", Sparse(GRAIN + SECTOR).paint(
        "m", GRAIN, SECTOR)
    yield "all zero", Sparse(70 * MIB)
    yield "a table and a sector", Sparse(32 * MIB + SECTOR).paint(
        "t", 32 * MIB, SECTOR).paint("t", 0, 100)
    mixed = Sparse(131 * MIB + 1000)
    mixed.paint("noise", 31 * MIB, 2 * MIB)  # over the edge of two tables
    mixed.write(33 * MIB, b"text that packs well " * 50000)
    mixed.write(34 * MIB, bytes(3 * MIB))    # zeroes that are written
    mixed.paint("far", 130 * MIB - 5, 100000)
    yield "mixed", mixed
    dense = Sparse(34 * MIB)
    for grain in range(34 * MIB // GRAIN):   # a whole table, every grain
        dense.write(grain * GRAIN + 13, b"%d" % grain * 9)
    yield "dense", dense


def written(folder, raw_path, *options):
    """The bytes of a VMDK written with those options."""
    subprocess.run([os.path.join(TOOLS, "disksink"), "-r", *options, "vmdk",
                    raw_path, folder, "disk.vmdk"], check=True,
                   stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "disk.vmdk"), "rb") as file:
        return file.read()


def find_mistakes(stream, raw):
    """Bits that are flipped, and parts left out, are found: so the walker
    looks at everything."""
    rng = random.Random(1)
    places = {0, 4, 8, 12, 76, 77, 100, 511, 512, 20 * SECTOR, 127 * SECTOR,
              len(stream) - 1, len(stream) - 512, len(stream) - 1024,
              len(stream) - 1024 + 56, len(stream) - 1536}
    places |= {rng.randrange(len(stream)) for _ in range(150)}
    # The CID may be any, and deflate has bits that mean nothing.
    cid = stream.index(b"CID=") + 4
    places -= set(range(cid, cid + 8))
    for start, end in Walker(stream, raw, "disk.vmdk").walk().packed:
        places -= set(range(start + 2, end - 4))
        places |= {start, start + 1, end - 4, end - 1}
    missed = []
    for place in sorted(places):
        broken = bytearray(stream)
        broken[place] ^= 1 << rng.randrange(8)
        if not complaint(bytes(broken), raw, "disk.vmdk"):
            missed.append(place)
    tap.same(missed, [], f"a flipped bit at any of {len(places)} places is "
             "found")
    for cut in (512, 1024, 4096):
        tap.ok(complaint(stream[:-cut], raw, "disk.vmdk"),
               f"{cut} bytes missing at the end are found")
    tap.ok(complaint(stream + bytes(512), raw, "disk.vmdk"),
           "bytes behind the end are found")


def main():
    """All disks; one with every option; and the walker itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "raw")
        for name, disk in disks():
            disk.save(path)
            with open(path, "rb") as file:
                raw = Raw(file.read())
            options = [[], ["-a"]]
            if name == "mixed":
                options += [["-c", "small"], ["-c", "smallest"], ["-t", "1"]]
            for chosen in options:
                stream = written(folder, path, *chosen)
                tap.same(complaint(stream, raw, "disk.vmdk"), None,
                         f"{name} {' '.join(chosen)}".strip())
            if name == "a table and a sector":
                find_mistakes(stream, raw)
    return tap.done()


sys.exit(main())
