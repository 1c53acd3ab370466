#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""make_ova.py --list | DIR [CASE...]: OVAs of every dialect and writer, by
hand so that odd ones can be made, and what must be found in them. Case names:
good-*, hurt-* (one disk has an error), bad-* and unsupported-* (refused)."""

import gzip
import hashlib
import os
import random
import struct
import sys
from dataclasses import dataclass, field

import ovftext
from ovftext import Disk
from sparse import Sparse

BLOCK = 512
GIB = 1 << 30


def noise(seed, length):
    """Reproducible bytes."""
    return random.Random(seed).randbytes(length)


@dataclass
class Hole:
    """That many zero bytes as a member's data."""
    size: int


class Tar:
    """A tar that is written header by header."""

    def __init__(self, dialect="ustar"):
        self.dialect = dialect
        self.image = Sparse()
        self.at = 0

    def put(self, data):
        """Append bytes or a hole, padded to a block."""
        if isinstance(data, Hole):
            self.at += data.size
        else:
            self.image.write(self.at, data)
            self.at += len(data)
        self.at += -self.at % BLOCK
        self.image.size = max(self.image.size, self.at)

    def header(self, name, size, kind=b"0", prefix=b"", base256=False):
        """Append one header block."""
        field_size = struct.pack(">BxxxQ", 0x80, size) if base256 else \
            f"{size:011o}\0".encode()
        magic = {"v7": b"", "gnu": b"ustar  \0"}.get(self.dialect,
                                                     b"ustar\x0000")
        block = struct.pack("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s", name,
                            b"0000644\0", b"0000000\0", b"0000000\0",
                            field_size, b"14000000000\0", b" " * 8, kind, b"",
                            magic, b"root", b"root", b"0000000\0",
                            b"0000000\0", prefix).ljust(BLOCK, b"\0")
        total = f"{sum(block):06o}\0 ".encode()
        self.put(block[:148] + total + block[156:])

    def pax(self, kind=b"x", **records):
        """Append a pax header with these records."""
        text = b""
        for key, value in records.items():
            rest = f" {key}={value}\n".encode()
            length = len(rest)
            while len(str(length)) + len(rest) != length:
                length = len(str(length)) + len(rest)
            text += str(length).encode() + rest
        self.header(b"./PaxHeaders/x", len(text), kind)
        self.put(text)

    def add(self, name, data):
        """Append a regular file in the manner of the dialect."""
        size = data.size if isinstance(data, Hole) else len(data)
        path = name.encode()
        short, prefix = path[:100], b""
        kind = b"\0" if self.dialect == "v7" else b"0"
        if len(path) > 100 and self.dialect == "ustar":
            cut = path.rindex(b"/", 0, 155)
            prefix, short = path[:cut], path[cut + 1:]
        elif len(path) > 100 and self.dialect == "gnu":
            self.header(b"././@LongLink", len(path) + 1, b"L")
            self.put(path + b"\0")
        elif self.dialect == "pax":
            if size >= 8 * GIB:
                self.pax(path=name, size=size, mtime="1.5")
            else:
                self.pax(path=name)
            short = b"see-the-pax-header"
        large = size >= 8 * GIB
        self.header(short, size if self.dialect != "pax" or not large else 0,
                    kind, prefix, base256=large and self.dialect == "gnu")
        self.put(data)
        return self

    def end(self, blocks=2):
        """Append the end blocks."""
        self.put(Hole(blocks * BLOCK))
        return self


@dataclass
class Case:
    """One OVA and what is expected of it."""
    name: str
    image: Sparse
    disks: list = field(default_factory=list)  # lines of `ovacat list`
    files: list = field(default_factory=list)  # names
    bytes: dict = field(default_factory=dict)  # name: stored bytes
    refuse: str = ""      # pattern of the error's text; "": opens
    warn: list = field(default_factory=list)   # a pattern for each
    problems: list = field(default_factory=list)  # of check: patterns
    info: dict = field(default_factory=dict)   # of the first system
    reads: int = 100      # the most calls that listing may take

    def save(self, folder):
        """Write the OVA; its path."""
        path = os.path.join(folder, self.name + ".ova")
        self.image.save(path)
        return path


def line(disk, stored, capacity=16 << 20, more="", name=None):
    """What ovacat says of a good disk."""
    name = name or disk.href.split("/")[-1] or disk.id
    kind = "empty" if stored is None else f"stored={stored}"
    return f"disk {name} id={disk.id} capacity={capacity} {kind}{more}"


def packed(case_name, text, machine, dialect="ustar", order=None, **rest):
    """A case whose machine has plain files as disks, in a tar of that
    dialect. order: names of members as they follow each other."""
    contents = {d.href: noise(d.href, 1000 + 700 * n)
                for n, d in enumerate(machine) if d.href}
    contents["vm.ovf"] = text.encode()
    tar = Tar(dialect)
    for name in order or ["vm.ovf", *(d.href for d in machine if d.href)]:
        tar.add(name, contents[name])
    stored = {d.href.split("/")[-1]: contents[d.href]
              for d in machine if d.href}
    stored["vm.ovf"] = contents["vm.ovf"]
    lines = [line(d, len(contents[d.href]) if d.href else None)
             for d in machine]
    values = {"disks": lines, "files": ["vm.ovf"], "bytes": stored}
    values.update(rest)
    return Case(case_name, tar.end().image, **values)


TWO = [Disk("d1", "one.vmdk"), Disk("d2", "two.vmdk")]


def dialect_cases():
    """Every kind of tar, long names, any order of members."""
    deep = "/".join(["a folder with a rather long name"] * 4) + "/disk.vmdk"
    for dialect in ("ustar", "gnu", "pax", "v7"):
        yield packed(f"good-{dialect}", ovftext.vmware(TWO), TWO, dialect)
    for dialect in ("ustar", "gnu", "pax"):
        disks = [Disk("d", deep)]
        yield packed(f"good-{dialect}-long", ovftext.vmware(disks), disks,
                     dialect)
    text = ovftext.vmware(TWO)
    yield packed("good-ovf-last", text, TWO,
                 order=["two.vmdk", "one.vmdk", "vm.ovf"])
    yield packed("good-ovf-middle", text, TWO,
                 order=["two.vmdk", "vm.ovf", "one.vmdk"])


def writer_cases():
    """Descriptors of every writer."""
    info = {"name": "machine", "cpus": 2, "memory_bytes": GIB,
            "firmware": "efi", "hardware": "vmx-13", "os_id": "101",
            "os_type": "otherLinux64Guest", "nics": [
                {"name": "ethernet0", "network": "VM Network",
                 "type": "VmxNet3"}]}
    yield packed("good-vmware", ovftext.vmware(TWO), TWO, info=info)
    yield packed("good-vmware-0.9", ovftext.vmware09(TWO), TWO)
    yield packed("good-virtualbox-2", ovftext.virtualbox2(TWO), TWO,
                 info={"firmware": "efi"})
    yield packed("good-xen", ovftext.xen(TWO), TWO)
    yield packed("good-ovirt", ovftext.ovirt(TWO), TWO, disks=[
        line(TWO[0], 1000, 0), line(TWO[1], 1700, 0)])
    yield packed("good-bare", ovftext.bare(TWO), TWO)
    case = packed("good-utf-16", ovftext.bare(TWO), TWO)
    text = ovftext.bare(TWO).encode("utf-16")
    tar = Tar().add("vm.ovf", text)
    for disk in TWO:
        tar.add(disk.href, case.bytes[disk.href])
    yield Case("good-utf-16", tar.end().image, case.disks, case.files,
               {**case.bytes, "vm.ovf": text})
    swapped = ovftext.vmware(TWO[::-1]).replace("file1", "f").replace(
        "file2", "file1")
    yield packed("good-device-order", swapped, TWO, disks=[
        line(TWO[1], 1700), line(TWO[0], 1000)])


def capacity_cases():
    """Empty disks, capacities in all spellings, two disks on one file."""
    rows = [("5", "byte * 2^30", 5 * GIB), ("1048576", "", 1 << 20),
            ("3", "GigaBytes", 3 * GIB), ("7", "MB", 7 << 20),
            ("9", "KiloBytes", 9 << 10), ("2", "byte*2^40", 2 << 40),
            ("${size}", "byte * 2^20", 12 << 20)]
    disks = [Disk(f"empty{n}", "", capacity, units)
             for n, (capacity, units, _) in enumerate(rows)]
    section = '<ProductSection><Property ovf:key="size" ovf:value="12"/>' \
              '</ProductSection>'
    yield packed("good-capacities", ovftext.vmware(disks, extra=section),
                 disks, disks=[line(d, None, row[2])
                               for d, row in zip(disks, rows)])
    disks = [Disk("small", "one.vmdk", "5"), Disk("large", "one.vmdk", "9")]
    yield packed("good-shared-file", ovftext.vmware(disks), disks[:1],
                 disks=[line(disks[0], 1000, 5 << 20)])


def numbered(prefix, data, length):
    """Members of a chunked file."""
    return {f"{prefix}.{n:09d}": data[at:at + length]
            for n, at in enumerate(range(0, len(data), length))}


def chunk_cases():
    """Chunks in any order, missing ones, snapshots."""
    data = noise("chunked", 10000)
    chunked = Disk("d", "big.vmdk", size=10000, extra=' ovf:chunkSize="3000"')
    good = Disk("e", "good.vmdk")
    text = ovftext.vmware([chunked, good]).encode()
    chunks = numbered("big.vmdk", data, 3000)
    for name, leave_out in (("good-chunks", ""),
                            ("hurt-chunk-missing", "big.vmdk.000000001"),
                            ("hurt-last-chunk-missing",
                             "big.vmdk.000000003")):
        tar = Tar("gnu").add("vm.ovf", text)
        for member in sorted(chunks, reverse=True):
            if member != leave_out:
                tar.add(member, chunks[member])
        tar.add("good.vmdk", b"good")
        if leave_out:
            number = leave_out.split(".")[-1]
            yield Case(name, tar.end().image, disks=[
                "disk big.vmdk id=d capacity=16777216 error=corrupt: chunk "
                f'{number} of "big.vmdk" is missing', line(good, 4)],
                files=["vm.ovf"] + sorted(set(chunks) - {leave_out},
                                          reverse=True))
        else:
            yield Case(name, tar.end().image, files=["vm.ovf"],
                       disks=[line(chunked, 10000), line(good, 4)],
                       bytes={"big.vmdk": data, "good.vmdk": b"good"})
    disk = Disk("d", "disk.vmdk")
    tar = Tar().add("vm.ovf", ovftext.vmware([disk]).encode())
    for n in range(3):
        tar.add(f"disk.vmdk.{n:09d}", b"KDMV" + noise(n, 100 + n))
    yield Case("good-snapshots", tar.end().image, disks=[line(disk, 106)],
               files=["vm.ovf", "disk.vmdk.000000000", "disk.vmdk.000000001"],
               bytes={"disk.vmdk": b"KDMV" + noise(2, 102)})


def gzip_cases():
    """Compressed disks, said or not."""
    data = gzip.compress(noise("gz", 5000), mtime=0)
    said = Disk("d", "one.vmdk.gz", extra=' ovf:compression="gzip"')
    unsaid = Disk("e", "two.vmdk")
    lie = Disk("f", "three.vmdk", extra=' ovf:compression="gzip"')
    tar = Tar().add("vm.ovf", ovftext.vmware([said, unsaid, lie]).encode())
    tar.add(said.href, data).add(unsaid.href, data).add(lie.href, b"plain")
    yield Case("good-gzip", tar.end().image, files=["vm.ovf"], disks=[
        line(said, len(data), more=" gzip"),
        line(unsaid, len(data), more=" gzip"), line(lie, 5)],
        warn=["three.vmdk.*is declared as gzip"], bytes={"two.vmdk": data})


def hurt_cases():
    """One disk has an error, the others read."""
    bad = [("http://example.com/d.vmdk", "denied: .*is a URL"),
           ("/etc/passwd", "denied: .*absolute path"),
           ("../d.vmdk", "denied: .*leads out"),
           ("missing.vmdk", "not-found: .*is not in the OVA")]
    good = Disk("ok", "good.vmdk")
    disks = [Disk(f"d{n}", href) for n, (href, _) in enumerate(bad)] + [
        Disk("delta", "good.vmdk", parent="ok"), good]
    tar = Tar().add("vm.ovf", ovftext.vmware(disks).encode())
    tar.add("good.vmdk", b"good").add("d.vmdk", b"a trap").end()
    lines = [rf"disk \S+ id=d{n} capacity=16777216 error={why}"
             for n, (_, why) in enumerate(bad)]
    lines.append('disk good.vmdk id=delta .*error=unsupported: disk "delta" '
                 'holds only the changes to disk "ok"')
    lines.append(line(good, 4, name="good.vmdk~2"))
    yield Case("hurt-hrefs", tar.image, lines, ["vm.ovf", "d.vmdk"])
    cut = packed("hurt-cut", ovftext.vmware(TWO), TWO)
    cut.image.resize(cut.image.size - 2 * BLOCK - 1000)
    cut.disks[1] = 'disk two.vmdk id=d2 .*error=corrupt: member "two.vmdk" ' \
        "is cut: the OVA ends after 1048 of its 1700 bytes"
    cut.files.append("two.vmdk")
    del cut.bytes["two.vmdk"]
    yield cut


def end_cases():
    """Odd ends, and what macOS and tar -r add."""
    text = ovftext.vmware(TWO)
    for name, size in (("none", 0), ("one", 1), ("many", 30)):
        case = packed(f"good-end-{name}", text, TWO)
        case.image.resize(case.image.size + (size - 2) * BLOCK)
        yield case
    case = packed("good-end-69-bytes", text, TWO)
    case.image.resize(case.image.size + 69)
    yield case
    tar = Tar("gnu")
    tar.header(b"./", 0, b"5")
    tar.add("./._vm.ovf", b"not an OVF").add("./one.vmdk", b"old")
    tar.add("./vm.ovf", text.encode()).add("./one.vmdk", b"newer")
    tar.header(b"link.ovf", 0, b"2")
    tar.add("./two.vmdk", b"two").add("./notes.txt", b"notes").end()
    yield Case("good-appended", tar.image, files=["vm.ovf", "notes.txt"],
               disks=[line(TWO[0], 5), line(TWO[1], 3)],
               bytes={"one.vmdk": b"newer", "two.vmdk": b"two",
                      "notes.txt": b"notes"})


def large_cases():
    """200 GiB: found by a handful of small reads."""
    sizes = [120 * GIB + 123, 80 * GIB]
    for dialect in ("gnu", "pax"):
        tar = Tar(dialect).add("vm.ovf", ovftext.vmware(TWO).encode())
        for disk, size in zip(TWO, sizes):
            tar.add(disk.href, Hole(size))
        tar.add("vm.mf", b"").end()
        yield Case(f"good-large-{dialect}", tar.image,
                   [line(d, s) for d, s in zip(TWO, sizes)],
                   ["vm.ovf", "vm.mf"], reads=16)


def manifest_cases():
    """Digests that agree, and some that do not."""
    text = ovftext.vmware(TWO).encode()
    members = {"one.vmdk": b"1" * 5000, "two.vmdk": b"2" * 6000,
               "vm.ovf": text}
    for name in ("sha1", "sha256", "sha512"):
        rows = "".join(f"{name.upper()}({m})= "
                       f"{hashlib.new(name, data).hexdigest()}\r\n"
                       for m, data in members.items())
        yield manifest_case(f"good-{name}", members, rows, [])
    rows = "".join(f"{hashlib.sha1(data).hexdigest()}  {m}\n"
                   for m, data in members.items())
    yield manifest_case("good-sha1sum", members, rows, [])
    rows = f"SHA1(one.vmdk)= {hashlib.sha1(b'other').hexdigest()}\n" \
           f"what is this\nSHA1(gone.vmdk)= {'0' * 40}\n" \
           f"SHA1(vm.ovf)= {hashlib.sha1(text).hexdigest()}\n"
    yield manifest_case("good-manifest-differs", members, rows, [
        "line 2 is not understood", "one.vmdk: its SHA1 digest is not the one "
        "in line 1 of vm.mf", "line 3: .*gone.vmdk.* is not in the OVA",
        "two.vmdk: vm.mf has no digest of it"])


def manifest_case(name, members, manifest, problems):
    """A case about the manifest."""
    tar = Tar()
    for member in ("vm.ovf", "one.vmdk", "two.vmdk"):
        tar.add(member, members[member])
    tar.add("vm.mf", manifest.encode()).add("vm.cert", b"SHA1(vm.mf)= 00\n")
    return Case(name, tar.end().image, problems=problems, disks=[
        line(TWO[0], 5000), line(TWO[1], 6000)],
        files=["vm.ovf", "vm.mf", "vm.cert"], bytes=members)


def refused_cases():
    """What has no list of disks."""
    text = ovftext.vmware(TWO)
    good = packed("good", text, TWO).image
    data = good.read(0, good.size)
    yield Case("unsupported-gzip", Sparse(data=gzip.compress(data, mtime=0)),
               refuse="unsupported: .*compressed with gzip")
    yield Case("unsupported-zip", Sparse(data=b"PK\3\4" + data),
               refuse="unsupported: .*a zip archive")
    yield Case("bad-text", Sparse(data=b"no tar at all " * 100),
               refuse="corrupt: not a tar")
    yield Case("bad-empty", Sparse(), refuse="corrupt: .*too short")
    yield Case("bad-no-ovf", Tar().add("a.vmdk", b"a").end().image,
               refuse="corrupt: no OVF descriptor")
    yield Case("bad-two-ovf", Tar().add("a.ovf", text.encode()).add(
        "b.ovf", text.encode()).end().image,
        refuse="corrupt: several OVF descriptors: a.ovf and b.ovf")
    yield Case("bad-xml", Tar().add("a.ovf", text.replace(
        "</References>", "").encode()).end().image,
        refuse="corrupt: a.ovf: line [0-9]+: ")
    yield Case("bad-html", Tar().add("a.ovf", b"<html/>").end().image,
               refuse="corrupt: a.ovf: not an OVF: the root is <html>")
    yield Case("unsupported-ovf-3", Tar().add("a.ovf", text.replace(
        "envelope/1", "envelope/3").encode()).end().image,
        refuse="unsupported: a.ovf: OVF version 3")
    yield Case("unsupported-doctype", Tar().add(
        "a.ovf", b"<!DOCTYPE Envelope><Envelope/>").end().image,
        refuse="unsupported: a.ovf: line 1: a DOCTYPE")


def cases():
    """All cases, in order."""
    yield from dialect_cases()
    yield from writer_cases()
    yield from capacity_cases()
    yield from chunk_cases()
    yield from gzip_cases()
    yield from hurt_cases()
    yield from end_cases()
    yield from large_cases()
    yield from manifest_cases()
    yield from refused_cases()


def main(arguments):
    """The command line."""
    if not arguments or arguments == ["--list"]:
        print("\n".join(case.name for case in cases()))
        return 0
    os.makedirs(arguments[0], exist_ok=True)
    for case in cases():
        if not arguments[1:] or case.name in arguments[1:]:
            case.save(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
