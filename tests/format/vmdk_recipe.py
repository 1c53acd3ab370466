# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The recipe of a VMDK sparse extent and of descriptors: what the cases of
make_vmdk.py are made of."""

import struct
import zlib
from dataclasses import dataclass, field

from blockcase import Case
from sparse import Sparse

STREAM, SPARSE = "streamOptimized", "monolithicSparse"
SECTOR = 512
KIB, MIB = 1 << 10, 1 << 20
AT_END = 0xffffffffffffffff
NEWLINES, RGD, ZEROED, PACKED, MARKERS = 1, 2, 4, 0x10000, 0x20000
END, TABLE, DIRECTORY, FOOTER = range(4)

# Some grains in the first two tables of 32 MiB each, and the last one.
SOME = [0, 1, 2, 7, 100, 511, 512, 700, 1030]
SIZE = 1030 * 128 + 77  # sectors: the last grain is a part


def sectors(length):
    """How many sectors hold so many bytes."""
    return -(-length // SECTOR)


def marker(value, kind):
    """A marker of metadata, one sector."""
    return struct.pack("<QII", value, 0, kind).ljust(SECTOR, b"\0")


def descriptor(lines, create_type="monolithicSparse", *, cid="fffffffe",
               parent="ffffffff", hint=None, eol="\n", quote='"',
               title="# Disk DescriptorFile", extra=()):
    """The text of a descriptor as bytes; lines are those of the extents."""
    text = [title, "version=1", *extra, f"CID={cid}", f"parentCID={parent}"]
    if create_type:
        text.append(f"createType={quote}{create_type}{quote}")
    if hint:
        text.append(f'parentFileNameHint="{hint}"')
    text += ["", "# Extent description", *lines, "", "# The Disk Data Base",
             "#DDB", "", 'ddb.virtualHWVersion = "4"',
             'ddb.adapterType = "ide"', ""]
    return eol.join(text).encode("utf-8", "surrogateescape")


def painted(seed, capacity, stored, grain=128):
    """Content of so many sectors: text and noise in the stored grains, so
    that some pack well and some do not."""
    out = Sparse(capacity * SECTOR)
    for number in stored:
        at = number * grain * SECTOR
        length = min(grain * SECTOR, capacity * SECTOR - at)
        if number % 3:
            line = f"{seed} grain {number} ".encode()
            out.write(at, (line * (length // len(line) + 1))[:length])
        else:
            out.paint(seed, at, length)
    return out


@dataclass
class Extent:
    """One sparse file. layout: "front" (tables before the grains), "footer"
    (a true stream), "behind" (tables behind, but the header says where)."""
    capacity: int              # sectors
    stored: list = field(default_factory=list)  # grains, in order of place
    content: Sparse = None     # what the stored grains hold
    zeroed: list = field(default_factory=list)  # grains with entry 1
    grain: int = 128           # sectors
    per_table: int = 512
    layout: str = "front"
    packed: bool = False
    rgd: bool = True           # with layout "front"
    all_tables: bool = True    # also those that are empty ("front")
    version: int = 1
    text: bytes = b""          # the descriptor
    text_sectors: int = 20
    full_last: bool = True     # the last grain packs the whole grain
    fields: dict = field(default_factory=dict)  # of the header, to spoil it
    gap: int = 0               # sectors in front of each grain
    # What build() found, for cases that spoil it afterwards.
    places: dict = field(default_factory=dict)  # grain: sector
    tables: dict = field(default_factory=dict)  # table: sector
    gd: int = 0
    end: int = 0               # sector behind everything
    footer: int = 0            # sector of the footer's marker

    def count(self):
        """How many tables the directory has."""
        return -(-self.capacity // (self.grain * self.per_table))

    def header(self, gd):
        """Header or footer with the directory at this sector."""
        rgd = self.rgd and self.layout == "front"
        flags = NEWLINES | (RGD if rgd else 0) | \
            (ZEROED if self.zeroed else 0) | \
            (PACKED | MARKERS if self.packed else 0)
        values = {"magic": b"KDMV", "version": self.version, "flags": flags,
                  "capacity": self.capacity, "grain": self.grain,
                  "text": 1 if self.text else 0,
                  "text_sectors": self.text_sectors if self.text else 0,
                  "per_table": self.per_table,
                  "rgd": self.rgd_at() if rgd else 0, "gd": gd,
                  "overhead": self.overhead(), "unclean": 0,
                  "newlines": b"\n \r\n", "algorithm": int(self.packed)}
        values.update(self.fields)
        return struct.pack("<4sIIQQQQIQQQB4sH",
                           *values.values()).ljust(SECTOR, b"\0")

    def rgd_at(self):
        """Sector of the first directory."""
        return 1 + (self.text_sectors if self.text else 0)

    def wanted_tables(self):
        """Numbers of the tables that are written."""
        if self.all_tables and self.layout == "front":
            return range(self.count())
        return sorted({number // self.per_table
                       for number in [*self.stored, *self.zeroed]})

    def one_set(self):
        """Sectors of one directory and its tables."""
        return sectors(self.count() * 4) + \
            len(self.wanted_tables()) * sectors(self.per_table * 4)

    def overhead(self):
        """Sectors in front of the first grain."""
        least = self.rgd_at()
        if self.layout == "front":
            least += self.one_set() * (2 if self.rgd else 1)
        return -(-least // 128) * 128

    def table(self, number):
        """The bytes of a table."""
        first = number * self.per_table
        entries = [1 if first + i in self.zeroed
                   else self.places.get(first + i, 0)
                   for i in range(self.per_table)]
        data = struct.pack(f"<{self.per_table}I", *entries)
        return data.ljust(sectors(len(data)) * SECTOR, b"\0")

    def directory(self):
        """The bytes of the directory."""
        data = bytearray(sectors(self.count() * 4) * SECTOR)
        for number, at in self.tables.items():
            struct.pack_into("<I", data, number * 4, at)
        return bytes(data)

    def grain_bytes(self, number):
        """What lies at a grain's place, padded to sectors."""
        at = number * self.grain * SECTOR
        length = self.grain * SECTOR
        if not self.full_last:
            length = min(length, self.capacity * SECTOR - at)
        data = self.content.read(at, length)
        if self.packed:
            data = zlib.compress(data, 6)
            data = struct.pack("<QI", number * self.grain, len(data)) + data
        return data.ljust(sectors(len(data)) * SECTOR, b"\0")

    def put_grains(self, out, at):
        """All grains from this sector on; in a stream each table follows the
        last of its grains. Returns the sector behind."""
        left = {}
        for number in self.stored:
            table = number // self.per_table
            left[table] = left.get(table, 0) + 1
        for number in self.stored:
            at += self.gap
            data = self.grain_bytes(number)
            out.write(at * SECTOR, data)
            self.places[number] = at
            at += sectors(len(data))
            table = number // self.per_table
            left[table] -= 1
            if self.layout != "front" and not left[table]:
                at = self.put_table(out, at, table)
        return at

    def put_table(self, out, at, number):
        """A marker and a table."""
        data = self.table(number)
        out.write(at * SECTOR, marker(sectors(len(data)), TABLE) + data)
        self.tables[number] = at + 1
        return at + 1 + sectors(len(data))

    def put_front(self, out):
        """Directories and tables in front of the grains."""
        at = self.rgd_at()
        for _ in range(2 if self.rgd else 1):
            self.gd = at
            at += sectors(self.count() * 4)
            for number in self.wanted_tables():
                self.tables[number] = at
                data = self.table(number)
                out.write(at * SECTOR, data)
                at += sectors(len(data))
            out.write(self.gd * SECTOR, self.directory())

    def put_behind(self, out, at):
        """The rest of the tables, the directory, footer and end."""
        for number in self.wanted_tables():
            if number not in self.tables:
                at = self.put_table(out, at, number)
        data = self.directory()
        out.write(at * SECTOR, marker(sectors(len(data)), DIRECTORY) + data)
        self.gd = at + 1
        at = self.gd + sectors(len(data))
        if self.layout == "footer":
            self.footer = at
            out.write(at * SECTOR, marker(1, FOOTER) + self.header(self.gd))
            at += 2
        out.write(at * SECTOR, marker(0, END))
        return at + 1

    def build(self):
        """The file."""
        out = Sparse()
        at = self.put_grains(out, self.overhead())
        if self.layout == "front":
            self.put_front(out)
        else:
            at = self.put_behind(out, at)
        out.write(0, self.header(AT_END if self.layout == "footer"
                                 else self.gd))
        if self.text:
            out.write(SECTOR, self.text)
        out.resize(at * SECTOR)
        self.end = at
        return out

    def ranges(self):
        """(offset, length) of the stored grains."""
        size = self.capacity * SECTOR
        unit = self.grain * SECTOR
        return [(n * unit, min(unit, size - n * unit)) for n in self.stored]

    def raw(self, parent=None):
        """What the disk reads as."""
        size = self.capacity * SECTOR
        out = parent.copy() if parent else Sparse(size)
        out.resize(size)
        for at, length in self.ranges():
            out.write(at, self.content.read(at, length))
        unit = self.grain * SECTOR
        for number in self.zeroed:
            at = number * unit
            out.write(at, bytes(min(unit, size - at)))
        return out


def embedded(name, capacity, create_type, **text):
    """The descriptor of a single-file disk. Its extent's name leads astray."""
    return descriptor([f'RW {capacity} SPARSE "{name}-other.vmdk"'],
                      create_type, **text)


def sparse(name, capacity, stored, text=None, **recipe):
    """The extent of a monolithicSparse disk."""
    return Extent(capacity, stored,
                  painted(name, capacity, stored, recipe.get("grain", 128)),
                  text=embedded(name, capacity, SPARSE, **(text or {})),
                  **recipe)


def stream(name, capacity, stored, text=None, **recipe):
    """The extent of a streamOptimized disk."""
    recipe = {"layout": "footer", "packed": True, "version": 3,
              "text_sectors": 1 if not text else 20, **recipe}
    return Extent(capacity, stored,
                  painted(name, capacity, stored, recipe.get("grain", 128)),
                  text=embedded(name, capacity, STREAM, **(text or {})),
                  **recipe)


def single(name, extent, **expected):
    """The case of a disk that is one extent."""
    expected = {"trust": ("qemu", "qemu-map"), **expected}
    return Case(name, {name + ".vmdk": extent.build()}, extent.raw(),
                extent.ranges(), **expected)
