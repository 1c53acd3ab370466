# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The structures of VHDX as bytes, and a disk's recipe that is made of them.
What a case gets wrong on purpose, it changes in the recipe's fields or in the
finished container (structures with checksums: by put_*())."""

import struct
import uuid
from dataclasses import dataclass, field

from sparse import Sparse

KIB, MIB = 1 << 10, 1 << 20
HEADER_AT = (64 * KIB, 128 * KIB)
REGION_AT = (192 * KIB, 256 * KIB)
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED = 0, 1, 2, 3
FULL, PARTIAL = 6, 7
BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
LOCATOR_TYPE = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")
NO_GUID = uuid.UUID(int=0)


def _table():
    out = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        out.append(value)
    return out


_TABLE = _table()


def crc32c(data):
    """CRC-32C."""
    crc, table = 0xffffffff, _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def with_crc(data):
    """The structure with its checksum, at byte 4, renewed."""
    data = bytearray(data)
    data[4:8] = bytes(4)
    struct.pack_into("<I", data, 4, crc32c(data))
    return bytes(data)


def guid_of(name):
    """A GUID for whatever is called so."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name)


def header(sequence, data_guid, *, log_guid=NO_GUID, log_version=0, version=1,
           log_length=MIB, log_at=MIB):
    """A header of 4096 bytes."""
    return with_crc(struct.pack(
        "<4sIQ16s16s16sHHIQ", b"head", 0, sequence,
        guid_of("file write").bytes_le, data_guid.bytes_le,
        log_guid.bytes_le, log_version, version, log_length,
        log_at).ljust(4096, b"\0"))


def region_table(regions, count=None):
    """A region table; regions: (guid, offset, length, required)."""
    data = struct.pack("<4sIII", b"regi", 0,
                       len(regions) if count is None else count, 0)
    for guid, offset, length, required in regions:
        data += struct.pack("<16sQII", guid.bytes_le, offset, length,
                            required)
    return with_crc(data.ljust(64 * KIB, b"\0"))


def metadata_table(items, count=None):
    """A metadata table; items: (guid, offset, length, flags)."""
    data = struct.pack("<8sHH20x", b"metadata", 0,
                       len(items) if count is None else count)
    for guid, offset, length, flags in items:
        data += struct.pack("<16sIII4x", guid.bytes_le, offset, length, flags)
    return data.ljust(64 * KIB, b"\0")


def locator(pairs, kind=LOCATOR_TYPE):
    """A parent locator of keys and values."""
    table, text = b"", b""
    at = 20 + 12 * len(pairs)
    for key, value in pairs.items():
        key, value = key.encode("utf-16-le"), value.encode("utf-16-le")
        table += struct.pack("<IIHH", at + len(text),
                             at + len(text) + len(key), len(key), len(value))
        text += key + value
    return kind.bytes_le + struct.pack("<HH", 0, len(pairs)) + table + text


def log_entry(sequence, tail, writes, guid, *, flushed=MIB, last=MIB):
    """A log entry; writes: (offset, 4096 bytes) or (offset, zero length)."""
    table, sectors = b"", b""
    for offset, what in writes:
        if isinstance(what, int):
            table += struct.pack("<4sIQQQ", b"zero", 0, what, offset,
                                 sequence)
            continue
        table += struct.pack("<4s4s8sQQ", b"desc", what[-4:], what[:8],
                             offset, sequence)
        sectors += struct.pack("<4sI4084sI", b"data", sequence >> 32,
                               what[8:-4], sequence & 0xffffffff)
    size = -(-(64 + len(table)) // 4096) * 4096
    head = struct.pack("<4sIIIQII16sQQ", b"loge", 0, size + len(sectors),
                       tail, sequence, len(writes), 0, guid.bytes_le, flushed,
                       last)
    return with_crc((head + table).ljust(size, b"\0") + sectors)


@dataclass
class Log:
    """A dirty log: entries put one after the other into a ring."""
    length: int = MIB
    start: int = 0            # where the first entry lies
    sequence: int = 100       # of the first entry
    guid: uuid.UUID = guid_of("log")
    flushed: int = MIB
    last: int = MIB
    ring: bytearray = None
    places: list = field(default_factory=list)  # (position, length)

    def add(self, writes, *, tail=None, guid=None, step=1, damage=None):
        """Append an entry; tail: index of the first one in its sequence."""
        self.ring = self.ring or bytearray(self.length)
        if self.places:
            self.sequence += step
        at = (self.places[-1][0] + self.places[-1][1]) % self.length \
            if self.places else self.start
        first = at if tail is None or tail == len(self.places) else \
            self.places[tail][0]
        data = bytearray(log_entry(self.sequence, first, writes,
                                   guid or self.guid, flushed=self.flushed,
                                   last=self.last))
        if damage is not None:
            data[damage] ^= 0xff
        self.places.append((at, len(data)))
        for i in range(0, len(data), 4096):
            to = (at + i) % self.length
            self.ring[to:to + 4096] = data[i:i + 4096]
        return self


@dataclass
class Disk:
    """The recipe of a disk."""
    size: int
    stored: list = field(default_factory=list)  # blocks, in order of place
    content: Sparse = None
    block: int = MIB
    sector: int = 512
    name: str = "disk"
    fixed: bool = False
    states: dict = field(default_factory=dict)  # block: entry
    own: object = None       # sector -> is it in this disk
    full: tuple = ()         # stored blocks that have all their sectors
    parent: dict = None      # the locator's pairs
    metadata_extra: tuple = ()  # (guid, bytes, flags)
    items_at: int = 64 * KIB
    log: Log = None
    sequence: int = 7
    regions_extra: tuple = ()
    required: int = 1

    def __post_init__(self):
        self.ratio = (self.sector << 23) // self.block
        self.blocks = -(-self.size // self.block)
        entries = self.blocks + self.blocks // self.ratio + 1
        if self.parent is not None:
            entries = -(-self.blocks // self.ratio) * (self.ratio + 1)
        self.log_length = self.log.length if self.log else MIB
        self.metadata_at = MIB + self.log_length
        self.bat_at = self.metadata_at + MIB
        self.bat_length = -(-entries * 8 // MIB) * MIB
        self.data_at = self.bat_at + self.bat_length

    def guid(self):
        """The DataWriteGuid."""
        return guid_of(self.name)

    def index(self, number):
        """The table entry of a block."""
        return number + number // self.ratio

    def items(self):
        """(guid, bytes, flags) of the metadata."""
        flags = self.fixed | (self.parent is not None) << 1
        out = [(FILE_PARAMETERS, struct.pack("<II", self.block, flags), 4),
               (DISK_SIZE, struct.pack("<Q", self.size), 6),
               (DISK_ID, guid_of("id").bytes_le, 6),
               (LOGICAL_SECTOR, struct.pack("<I", self.sector), 6),
               (PHYSICAL_SECTOR, struct.pack("<I", 4096), 6)]
        if self.parent is not None:
            out.append((PARENT_LOCATOR, locator(self.parent), 4))
        return out + list(self.metadata_extra)

    def metadata(self):
        """The metadata region's start."""
        at, table, data = self.items_at, [], b""
        for guid, value, flags in self.items():
            table.append((guid, at + len(data), len(value), flags))
            data += value
        return metadata_table(table).ljust(self.items_at, b"\0") + data

    def regions(self):
        """The region table's entries."""
        return [(BAT, self.bat_at, self.bat_length, self.required),
                (METADATA, self.metadata_at, MIB, self.required),
                *self.regions_extra]

    def put_headers(self, out):
        """File identifier, headers, region tables."""
        out.write(0, b"vhdxfile" + "vmiefs tests".encode("utf-16-le"))
        log = self.log.guid if self.log else NO_GUID
        for i, at in enumerate(HEADER_AT):
            out.write(at, header(self.sequence + i, self.guid(),
                                 log_guid=log, log_length=self.log_length))
        table = region_table(self.regions())
        for at in REGION_AT:
            out.write(at, table)

    def entry_place(self, number):
        """Where in the file a block's table entry is."""
        return self.bat_at + self.index(number) * 8

    def put_bitmap(self, out, at, number):
        """The bits of a partially present block, in the block at `at`."""
        sectors = self.block // self.sector
        bits = bytearray(sectors // 8)
        for i in range(sectors):
            if self.own(number * sectors + i):
                bits[i >> 3] |= 1 << (i & 7)
        out.write(at + number % self.ratio * sectors // 8, bits)

    def build(self):
        """The container."""
        out = Sparse()
        self.put_headers(out)
        if self.log:
            out.write(MIB, self.log.ring)
        out.write(self.metadata_at, self.metadata())
        at, bitmaps = self.data_at, {}
        for number in self.stored:
            state = FULL
            if self.own and number not in self.full:
                state, chunk = PARTIAL, number // self.ratio
                if chunk not in bitmaps:
                    bitmaps[chunk] = at
                    index = (chunk + 1) * self.ratio + chunk
                    out.write(self.bat_at + index * 8,
                              struct.pack("<Q", at | FULL))
                    at += MIB
                self.put_bitmap(out, bitmaps[chunk], number)
            out.write(self.entry_place(number), struct.pack("<Q", at | state))
            first = number * self.block
            for offset, data in self.content.chunks(first, self.block):
                out.write(at + offset - first, data)
            at += self.block
        for number, entry in self.states.items():
            out.write(self.entry_place(number), struct.pack("<Q", entry))
        out.resize(at)
        return out

    def data(self):
        """(offset, length) of the stored blocks."""
        return [(n * self.block, min(self.block, self.size - n * self.block))
                for n in self.stored]

    def raw(self, parent=None):
        """What the disk reads as."""
        if not parent:
            out = self.content.copy() if self.content else Sparse(self.size)
            out.resize(self.size)
            return out
        out = parent.copy()
        out.resize(self.size)
        sectors = self.block // self.sector
        for number in self.stored:
            for i in range(number * sectors, (number + 1) * sectors):
                at = i * self.sector
                if at < self.size and (number in self.full or self.own(i)):
                    out.write(at, self.content.read(at, self.sector))
        return out
