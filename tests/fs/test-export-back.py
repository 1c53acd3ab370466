#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Writers who go back to what was packed while it came, who read it, and who
tell the size before; and -o spool=always, which lets all wait."""

import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

DATA = random.Random(3).randbytes(12 << 20)
# A server stores its zeroes.
FAR = 64 << 20 if stores.kind() else 1 << 30
NAMES = ["a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw"]
FORMATS = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}


def create(path, flags=os.O_WRONLY):
    """A descriptor of a new file."""
    return os.open(path, os.O_CREAT | flags, 0o644)


def object_of(mount, name):
    """A file with the bytes of the object behind a disk's name."""
    return mount.store.path(name if name == "a.raw"
                            else name.removesuffix(".raw"))


def check(mount, name, want, what):
    """It reads so here and in qemu-img; then remove it."""
    want = want + bytes(0 if name == "a.raw" else -len(want) % 512)
    with open(mount.disk(name), "rb") as file:
        tap.ok(file.read() == want, f"{name}: {what}")
    kind = FORMATS.get(name.split(".")[1])
    if kind:
        plain = os.path.join(mount.scratch.name, "plain")
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw",
                        object_of(mount, name), plain], check=True)
        with open(plain, "rb") as file:
            tap.ok(file.read() == want, f"{name}: {what}, in qemu-img")
    tap.same(len(mount.stored()), 1, f"{name}: {what}, nothing else is there")
    os.unlink(mount.disk(name))


def test_header(mount, name):
    """The usual way to write a header last."""
    with open(mount.disk(name), "wb") as file:
        file.write(bytes(512))
        file.write(DATA)
        file.seek(0)
        file.write(b"HEADER")
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    check(mount, name, b"HEADER" + bytes(506) + DATA + b"end",
          "a header is written last")


def test_changes(mount, name):
    """All that can be done to bytes that have been streamed."""
    fd = create(mount.disk(name))
    os.write(fd, DATA)
    os.pwrite(fd, DATA[:1000], 20 << 20)
    os.pwrite(fd, b"one", 5 << 20)
    os.pwrite(fd, b"two", 1)
    os.ftruncate(fd, 6 << 20)
    os.ftruncate(fd, 7 << 20)
    os.pwrite(fd, b"three", 8 << 20)
    os.close(fd)
    want = bytearray(DATA[:6 << 20] + bytes(2 << 20) + b"three")
    want[5 << 20:(5 << 20) + 3] = b"one"
    want[1:4] = b"two"
    check(mount, name, bytes(want), "changed, cut and grown")
    fd = create(mount.disk(name))
    os.write(fd, DATA)
    export.fallocate(fd, export.PUNCH_HOLE, 1 << 20, 2 << 20)
    os.close(fd)
    check(mount, name, DATA[:1 << 20] + bytes(2 << 20) + DATA[3 << 20:],
          "a hole is punched")
    fd = create(mount.disk(name))
    os.write(fd, DATA)
    os.ftruncate(fd, 0)
    os.pwrite(fd, DATA[5:], 0)
    os.close(fd)
    check(mount, name, DATA[5:], "begun anew")


def test_read_back(mount, name):
    """Open for reading, too, and larger than what is kept for that."""
    fd = create(mount.disk(name), os.O_RDWR)
    for at in range(0, len(DATA), 1 << 20):
        os.write(fd, DATA[at:at + (1 << 20)])
    tap.ok(mount.writing()["now"][0]["spooled"] < 1 << 20,
           f"{name}: it streams")
    tap.ok(os.pread(fd, 100000, 777) == DATA[777:100777],
           f"{name}: the start is read back")
    os.pwrite(fd, b"x", 4)
    tap.ok(os.pread(fd, len(DATA) + 9, 0) == DATA[:4] + b"x" + DATA[5:],
           f"{name}: with what has changed")
    os.close(fd)
    check(mount, name, DATA[:4] + b"x" + DATA[5:], "read back and changed")


def test_part(mount):
    """In an OVA that is being made, too."""
    os.mkdir(mount.disk("x.ova.part"))
    with open(mount.disk("x.ova.part/d.vmdk.raw"), "wb") as file:
        file.write(DATA)
        file.seek(0)
        file.write(b"HEADER")
    os.rename(mount.disk("x.ova.part"), mount.disk("x.ova"))
    with open(mount.disk("x.ova/d.vmdk.raw"), "rb") as file:
        tap.ok(file.read() == b"HEADER" + DATA[6:], "a disk of an OVA")
    os.unlink(os.path.join(mount.top, "objects/x.ova"))


def test_killed(mount, name):
    """The daemon dies while the file is written anew."""
    fd = create(mount.disk(name))
    os.write(fd, DATA)
    if mount.turns_back:
        os.pwrite(fd, b"x", 4)
    mount.kill()
    export.errno_of(os.close, fd)
    tap.same(mount.stored(), [], f"{name}: a killed daemon leaves nothing")


def table_bytes(path):
    """Of a dynamic VHD: up to its first block."""
    with open(path, "rb") as file:
        head = file.read(1536)
        entries = struct.unpack_from(">I", head, 512 + 28)[0]
        table = file.read(4 << 20)
    first = min(struct.unpack(f">{entries}I", table[:4 * entries]))
    return first * 512 - 1536


def announced(mount, act, what):
    """A VHD of 300 MiB whose size was told before by act: its bytes."""
    path = mount.disk("a.vhd.raw")
    act(path)
    tap.same(table_bytes(object_of(mount, "a.vhd.raw")), 1024,
             f"{what}: the table is as large as needed")
    with open(object_of(mount, "a.vhd.raw"), "rb") as file:
        got = file.read()
    with open(path, "rb") as file:
        tap.ok(file.read(len(DATA)) == DATA, f"{what}: its bytes")
    tap.same(os.stat(path).st_size, 300 << 20, f"{what}: its size")
    os.unlink(path)
    return got


def test_announced(mount):
    """The size is told before: by the usual programs."""
    source = os.path.join(mount.scratch.name, "source")
    with open(source, "wb") as file:
        file.write(DATA)
        file.truncate(300 << 20)

    def by_python(path):
        with open(path, "wb") as file:
            file.truncate(300 << 20)
            file.write(DATA)

    def by_fallocate(path):
        fd = create(path)
        os.posix_fallocate(fd, 0, 300 << 20)
        os.write(fd, DATA)
        os.close(fd)

    def by_dd(path):
        subprocess.run(["truncate", "-s", "300M", path], check=True)
        subprocess.run(["dd", "if=" + source, "of=" + path, "bs=1M",
                        "conv=notrunc", "status=none"], check=True)

    def by_qemu_img(path):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw",
                        source, path], check=True)

    want = announced(mount, by_python, "Python")
    tap.ok(announced(mount, by_fallocate, "fallocate") == want,
           "fallocate: the same file")
    tap.ok(announced(mount, by_dd, "truncate and dd") == want,
           "truncate and dd: the same file")
    tap.ok(announced(mount, by_qemu_img, "qemu-img convert") == want,
           "qemu-img convert: the same file")
    # qemu-img opens it for reading, too.
    if mount.turns_back:
        tap.same(mount.writing()["scratch"]["peak"], 0, "no scratch space")


def test_outgrown(mount, name):
    """A size that was told is not the last word."""
    fd = create(mount.disk(name))
    os.ftruncate(fd, 1 << 20)
    os.write(fd, DATA)
    os.ftruncate(fd, 300 << 20)
    os.pwrite(fd, DATA[:5000], 400 << 20)
    os.close(fd)
    with open(mount.disk(name), "rb") as file:
        tap.ok(file.read(len(DATA)) == DATA, f"{name}: larger than told")
        file.seek(400 << 20)
        tap.ok(file.read() == DATA[:5000] + bytes(
            0 if name == "a.raw" else 120), f"{name}: to its end")
    os.unlink(mount.disk(name))
    fd = create(mount.disk(name))
    os.ftruncate(fd, 1 << 30)
    os.write(fd, DATA)
    os.ftruncate(fd, len(DATA))
    os.close(fd)
    check(mount, name, DATA, "smaller than told")


def test_always(name):
    """-o spool=always: nothing streams, and the object is the same."""
    made = []
    for options in ["delete"], ["delete", "spool=always"]:
        with export.Mount(*options) as mount:
            fd = create(mount.disk(name))
            os.write(fd, DATA)
            now = mount.writing()["now"][0]
            tap.same((now["out"] == 0, now["spooled"] == len(DATA)),
                     (bool(options[1:]), bool(options[1:])),
                     f"{name}, {options}: where its bytes are")
            os.ftruncate(fd, FAR // 2)
            os.pwrite(fd, DATA[:5000], FAR)
            os.close(fd)
            with open(object_of(mount, name), "rb") as file:
                made.append(file.read())
            os.unlink(mount.disk(name))
            if mount.turns_back:
                fd = create(mount.disk(name))
                os.write(fd, DATA)
                os.pwrite(fd, b"y", 7)
                os.close(fd)
                check(mount, name, DATA[:7] + b"y" + DATA[8:],
                      f"{options}, changed")
            export.wait_until(lambda: not mount.writing()["now"])
            tap.same(mount.writing()["scratch"]["used"], 0,
                     f"{name}, {options}: scratch is free again")
    # What is converted at close has a known size, which a VHD's table shows.
    tap.ok((made[0] == made[1]) == (name != "a.vhd.raw"),
           f"{name}: the same object")


def main():
    """Run all."""
    export.need_fuse()
    export.need("qemu-img", "truncate", "dd")
    with export.Mount("delete", "ttl=0") as mount:
        test_announced(mount)
        for name in NAMES if mount.turns_back else []:
            test_changes(mount, name)
            test_header(mount, name)
            test_outgrown(mount, name)
        if mount.turns_back:
            test_part(mount)
        else:
            tap.skip("going back to what was sent",
                     "a server does not give it back: test-export-s3.py")
    if not stores.kind():
        with export.Mount("delete", "scratch-size=4M") as mount:
            for name in NAMES:
                test_read_back(mount, name)
    for name in NAMES:
        test_always(name)
        with export.Mount() as mount:
            test_killed(mount, name)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
