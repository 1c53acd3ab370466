#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""seeds.py TARGET DIR: write the seed inputs of a fuzz target to DIR.

Each target has a function that yields (name, bytes); those of container
formats live in the format's generator, tests/format/make_FORMAT.py, as
seeds(target). All inputs are made anew, so that git holds no blobs."""
import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "format"))


def probe_seeds(target):
    """Beginnings that formats are recognised by, and what is none."""
    yield "empty", b""
    yield "zeroes", bytes(1024)
    for magic in (b"KDMV", b"COWD", b"# Disk DescriptorFile\n", b"conectix",
                  b"vhdxfile", b"\x1f\x8b\x08", b"\xbe\xba\xfe\xca\0\0\0\0"):
        yield magic[:4].hex(), magic + bytes(1024)
        yield magic[:4].hex() + "-end", bytes(1024) + magic + bytes(504)


def option_seeds(target):
    """Command lines: every form, every type of value, right and wrong."""
    lines = [
        "mount /src /mnt",
        "mount -fv -v /src /mnt --log=/tmp/x --log syslog",
        "mount -o ro,allow_other,uid=1,gid=2,umask=022 /src /mnt",
        "mount -omemory=64M,ttl=500ms,timeout=2m,probe-timeout=1h /src /mnt",
        "mount -o vhd-size=chs,threads=4,readahead=128,service -- /src -x",
        "mount -o fsname=a\\,b,,noatime,x-systemd.automount,_netdev /s /m",
        "mount -o memory=99999999999999999999 /src /mnt",
        "mount -o memory=17592186044416,umask=8 /src /mnt",
        "mount -o memry=1M,allow_other=yes /src /mnt",
        "info -j --no-guest --format=vmdk --memory=1G /x.vmdk",
        "info -f raw -- --odd",
        "map -ju --threads 2 --vhd-size=chs /x.ova/disk1.vmdk",
        "check -q --json /x.vhdx",
        "check --quite /x.vhdx /y",
        "info -f",
        "mount -o",
    ]
    # pick_command() takes the first byte modulo 4, in this order.
    first = dict(zip(("mount", "info", "map", "check"), "@ABC"))
    for number, line in enumerate(lines):
        words = line.split()
        words[0] = first[words[0]]
        yield f"line-{number}", "\0".join(words).encode()
    yield "long", b"@\0-o\0" + b"fsname=" + b"x" * 70000 + b"\0/s\0/m"
    yield "many", b"@" + b"\0-onoatime" * 400


def write_seeds(target):
    """Disks of all kinds: a byte for the kind, options, a call that fails,
    the size of a write; then segments, see add_segment()."""
    hole, zeroes, noise, text = range(4)

    def segment(content, shift, length, minus=0):
        return bytes((minus << 7 | shift << 2 | content, length & 255,
                      length >> 8, 7))
    layouts = {
        "sector": segment(text, 9, 0),
        "byte": segment(noise, 0, 0),
        "grain-less": segment(noise, 16, 0, 1),
        "grains": segment(text, 16, 2) + segment(noise, 0, 0),
        "mixed": segment(hole, 16, 3, 1) + segment(noise, 12, 20) +
        segment(zeroes, 16, 1) + segment(text, 10, 99) + segment(hole, 4, 9),
        "far": segment(hole, 15, 65535) + segment(text, 13, 1) +
        segment(hole, 14, 4095, 1) + segment(noise, 5, 999),
        "zeroes": segment(zeroes, 16, 7) + segment(hole, 16, 100),
    }
    for kind in range(7):
        for name, segments in layouts.items():
            for flags, failing, chunk in ((0, 0, 0), (3, 3, 999)):
                head = bytes((kind, flags, failing, chunk & 255, chunk >> 8))
                yield f"{kind}-{name}-{flags}", head + segments


# Target: the generator module with seeds(), or a function here.
TARGETS = {
    "fuzz-guest": "guest_seeds",
    "fuzz-gzip": "ova_seeds",
    "fuzz-http-fields": "s3_seeds",
    "fuzz-journal": "s3_seeds",
    "fuzz-keys": "credential_seeds",
    "fuzz-manifest": "ova_seeds",
    "fuzz-ovf": "ova_seeds",
    "fuzz-options": option_seeds,
    "fuzz-probe": probe_seeds,
    "fuzz-profile": "credential_seeds",
    "fuzz-s3-list": "s3_seeds",
    "fuzz-s3-url": "s3_seeds",
    "fuzz-tar": "ova_seeds",
    "fuzz-vhd": "make_vhd",
    "fuzz-vhdx": "make_vhdx",
    "fuzz-vmdk": "make_vmdk",
    "fuzz-vmdk-descriptor": "make_vmdk",
    "fuzz-write": write_seeds,
}


def seeds(target):
    """Yield (name, bytes) of every seed of target."""
    source = TARGETS[target]
    if isinstance(source, str):
        source = importlib.import_module(source).seeds
    return source(target)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: seeds.py {'|'.join(TARGETS)} DIR")
    target, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds(target):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main()
