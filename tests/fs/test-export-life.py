#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Files being written: who sees them, when they are complete, and that nothing
is left of those that are not."""

import errno
import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

DATA = random.Random(1).randbytes(3 << 20)
NAMES = ["a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw"]

# Writes, says so, and waits for its end.
WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, os.urandom(3000000))
print("written", flush=True)
time.sleep(600)
"""


def create(path, flags=os.O_WRONLY):
    """A descriptor of a new file."""
    return os.open(path, os.O_CREAT | flags, 0o644)


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def test_killed(mount):
    """A writer that a signal ends leaves nothing."""
    for name in NAMES:
        for number in signal.SIGKILL, signal.SIGTERM:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, mount.disk(name)],
                stdout=subprocess.PIPE)
            writer.stdout.readline()
            writer.send_signal(number)
            writer.wait()
            writer.stdout.close()
            tap.ok(export.wait_until(lambda: not mount.writing()["now"]),
                   f"{name}, {number.name}: it ends")
            tap.same(mount.stored(), [], f"{name}, {number.name}: nothing")


def test_others(mount):
    """Nobody else has it open, and its name cannot be changed."""
    path = mount.disk("new.vhdx.raw")
    fd = create(path)
    os.write(fd, DATA)
    tap.same(os.listdir(mount.disks), ["new.vhdx.raw"], "it is listed")
    tap.same(os.stat(path).st_size, len(DATA), "with its size so far")
    tap.same(mount.stored(), [], "the store has nothing yet")
    for flags, who in (os.O_RDONLY, "reader"), (os.O_WRONLY, "writer"):
        tap.same(export.errno_of(os.open, path, flags), errno.EBUSY,
                 f"a second {who} has to wait")
    tap.same(export.errno_of(os.open, path, os.O_CREAT | os.O_EXCL),
             errno.EEXIST, "the name is taken")
    tap.same(export.errno_of(os.rename, path, mount.disk("b.vhdx.raw")),
             errno.EBUSY, "it is not renamed")
    tap.same(export.errno_of(os.read, fd, 1), errno.EBADF, "write-only")
    os.close(fd)
    tap.same(mount.stored(), ["new.vhdx"], "closed, it is there")
    tap.ok(read(path)[:len(DATA)] == DATA, "with its bytes")
    mount.store.remove("new.vhdx")


def test_removed(mount):
    """Removing it drops it, and the writer is told."""
    path = mount.disk("gone.vmdk.raw")
    fd = create(path)
    os.write(fd, DATA)
    os.unlink(path)
    tap.same(os.listdir(mount.disks), [], "removed: the name is free")
    other = create(path)
    os.write(other, DATA)
    os.close(other)
    tap.same(export.errno_of(os.write, fd, b"x"), errno.ESTALE,
             "the first writer gets an error")
    tap.same(export.errno_of(os.close, fd), errno.ESTALE, "at close, too")
    tap.same(mount.stored(), ["gone.vmdk"], "the second one's is there")
    mount.store.remove("gone.vmdk")


def test_fsync(mount):
    """fsync() makes what was written so far an object."""
    path = mount.disk("s.raw")
    fd = create(path)
    os.write(fd, DATA)
    os.fsync(fd)
    tap.ok(read(mount.store.path("s.raw")) == DATA, "fsync: it is there")
    os.write(fd, b"more")
    tap.ok(read(mount.store.path("s.raw")) == DATA, "what comes later is not")
    os.pwrite(fd, b"Y", 5)
    os.close(fd)
    tap.ok(read(mount.store.path("s.raw")) ==
           DATA[:5] + b"Y" + DATA[6:] + b"more", "until it is closed")
    mount.store.remove("s.raw")


def test_children(mount):
    """Who closes it last need not be who opened it."""
    path = mount.disk("c.raw")
    script = 'exec 3>"$1"; (read -r x; echo "$x" >&3; %s) <&4 &'
    for end, want in ("exit", True), ("kill -9 $BASHPID", False):
        out, into = os.pipe()
        subprocess.run(["bash", "-c", f"exec 4<&0; {script % end}", "bash",
                        path], stdin=out, check=True)
        os.close(out)
        tap.same(mount.stored(), [], "the opener ended without writing")
        os.write(into, b"hello\n")
        os.close(into)
        export.wait_until(lambda: not mount.writing()["now"])
        tap.same(mount.store.exists("c.raw"), want,
                 f"a child's last close ({end})")
        if want:
            tap.same(read(mount.store.path("c.raw")), b"hello\n",
                     "has all bytes")
            mount.store.remove("c.raw")


def test_reading(mount):
    """A file that is open for reading as well shows what was written."""
    for name in NAMES:
        fd = create(mount.disk(name), os.O_RDWR)
        os.write(fd, DATA)
        os.ftruncate(fd, len(DATA) + 512)
        os.pwrite(fd, b"changed", 1000)
        want = DATA[:1000] + b"changed" + DATA[1007:] + bytes(512)
        tap.ok(os.pread(fd, len(want) + 9, 0) == want, f"{name}: read back")
        tap.same(os.lseek(fd, 0, os.SEEK_END), len(want), f"{name}: its end")
        os.close(fd)
        tap.ok(read(mount.disk(name)) == want, f"{name}: and once closed")
    for name in mount.stored():
        mount.store.remove(name)


def test_order(mount):
    """A write-only file takes what comes in another order, too."""
    pieces = [(at, DATA[at:at + 50000]) for at in range(0, len(DATA), 50000)]
    random.Random(2).shuffle(pieces)
    for name in NAMES:
        fd = create(mount.disk(name))
        for at, piece in pieces:
            os.pwrite(fd, piece, at)
        os.close(fd)
        tap.ok(read(mount.disk(name))[:len(DATA)] == DATA,
               f"{name}: in any order")
    for name in mount.stored():
        mount.store.remove(name)


def interrupt_dd(mount, name, status):
    """Ctrl-C while dd waits for its source, 64 KiB of which it has copied."""
    path = mount.disk(name)
    out, into = os.pipe()
    dd = subprocess.Popen(["dd", "bs=64K", "iflag=fullblock", "status=none",
                           "of=" + path], stdin=out,
                          stderr=subprocess.DEVNULL)
    os.close(out)
    os.write(into, DATA[:65536])
    tap.ok(export.wait_until(lambda: mount.writing()["now"] and
                             mount.writing()["now"][0]["in"] == 65536),
           f"{name}: dd copies")
    dd.send_signal(signal.SIGINT)
    tap.same(dd.wait(timeout=60), status, f"{name}: how dd ends")
    os.close(into)
    tap.ok(export.wait_until(lambda: not mount.writing()["now"]),
           f"{name}: its file ends")


def test_interrupted_dd():
    """dd closes its file itself upon Ctrl-C, as if all was there: only who has
    told the size before is safe from that."""
    with export.Mount("ttl=0") as mount:
        interrupt_dd(mount, "a.vhdx.raw", -signal.SIGINT)
        tap.same(os.stat(mount.disk("a.vhdx.raw")).st_size, 65536,
                 "what dd closed is there, as the manual says")
    with export.Mount("require-size") as mount:
        for name in NAMES:
            interrupt_dd(mount, name, 1)  # close() fails
            tap.same(mount.stored(), [], f"{name}: -o require-size drops it")


def test_objects():
    """Plain files."""
    with export.Mount("delete", "overwrite") as mount:
        top = os.path.join(mount.top, "objects")
        os.makedirs(os.path.join(top, "a/b"))
        path = os.path.join(top, "a/b/notes.txt")
        for data in DATA, DATA[:777]:
            with open(path, "wb") as file:
                file.write(data)
            tap.ok(read(path) == data, f"{len(data)} bytes, as they are")
            tap.ok(read(mount.store.path("a/b/notes.txt")) == data,
                   "in the store, too")
        with open(path, "r+b") as file:
            file.write(b"new")
            file.seek(0, os.SEEK_END)
            file.write(b"end")
        tap.same(read(path), b"new" + DATA[3:777] + b"end", "changed")
        os.rename(path, os.path.join(top, "a/c.bin"))
        tap.same(mount.stored(), ["a/c.bin"], "renamed")
        os.unlink(os.path.join(top, "a/c.bin"))
        tap.same(mount.stored(), [], "removed")
        fd = create(path)
        os.write(fd, DATA)
        tap.same(export.errno_of(create, path), errno.EBUSY,
                 "a second writer has to wait")
        os.unlink(path)
        tap.same(export.errno_of(os.close, fd), errno.ESTALE,
                 "removed while it was written")
        tap.same(mount.stored(), [], "nothing comes of it")


def test_attributes(mount):
    """What a store does not keep, and what it must not pretend."""
    path = mount.disk("t.raw")
    fd = create(path)
    os.write(fd, b"x")
    os.fchmod(fd, 0o600)
    os.utime(fd, (1, 1))
    os.fchown(fd, os.getuid(), os.getgid())
    if os.geteuid() == 0:
        tap.same(export.errno_of(os.fchown, fd, 12345, -1), errno.EPERM,
                 "the owner is who mounts")
    os.close(fd)
    tap.same(os.stat(path).st_mode & 0o777, 0o444, "the mode is the mount's")
    tap.ok(os.stat(path).st_mtime > 1, "the time is the store's")
    mount.store.remove("t.raw")


def test_scratch():
    """What is out of order has a bound."""
    with export.Mount("scratch-size=9M") as mount:
        fd = create(mount.disk("a.vhd.raw"), os.O_RDWR)
        got = 0
        for at in range(20, 0, -1):
            got = got or export.errno_of(os.pwrite, fd, bytes(1 << 20),
                                         at << 20)
        tap.same(got, errno.ENOSPC, "scratch space has an end")
        tap.same(export.errno_of(os.close, fd), errno.ENOSPC, "told at close")
        tap.ok("scratch-size" in mount.errors()[-1]["error"],
               "errors name the option")
        tap.same(mount.stored(), [], "nothing comes of it")
        export.wait_until(lambda: not mount.writing()["now"])
        tap.same(mount.writing()["scratch"]["used"], 0, "all space is free")


def test_require_size():
    """-o require-size: only what was announced."""
    with export.Mount("require-size") as mount:
        fd = create(mount.disk("a.raw"))
        os.write(fd, DATA)
        tap.same(export.errno_of(os.close, fd), errno.EINVAL, "no size")
        fd = create(mount.disk("b.raw"))
        os.ftruncate(fd, len(DATA))
        os.write(fd, DATA)
        os.close(fd)
        tap.same(mount.stored(), ["b.raw"], "its size was set before")


def test_unmount():
    """Unmounting drops what is not complete, and says which."""
    for name in NAMES:
        with export.Mount() as mount:
            fd = create(mount.disk(name))
            os.write(fd, DATA)
            said = mount.end()
            tap.ok(f"{name.removesuffix('.raw')}" in said and
                   "not complete" in said, f"{name}: the log names it", said)
            tap.same(mount.stored(), [], f"{name}: nothing is left")
            tap.ok(export.errno_of(os.close, fd) != 0,
                   f"{name}: close() fails")


def copy(source, target, size):
    """All bytes by copy_file_range(2); how many calls it took."""
    out = os.open(source, os.O_RDONLY)
    into = create(target)
    calls = done = 0
    while done < size:
        done += os.copy_file_range(out, into, size - done)
        calls += 1
    os.close(into)
    os.close(out)
    return calls


def test_copy():
    """copy_file_range(2) from container to container."""
    with export.Mount() as mount:
        fd = create(mount.disk("a.vmdk.raw"))
        os.pwrite(fd, DATA, 3 << 20)
        os.ftruncate(fd, 10 << 20)
        os.close(fd)
        want = read(mount.disk("a.vmdk.raw"))
        for name in "b.vmdk.raw", "b.vhd.raw", "b.vhdx.raw", "b.raw":
            before = mount.counters()["read_bytes"]
            calls = copy(mount.disk("a.vmdk.raw"), mount.disk(name), 10 << 20)
            tap.same((calls, mount.counters()["read_bytes"] - before), (1, 0),
                     f"{name}: no byte goes through the kernel")
            tap.ok(read(mount.disk(name)) == want, f"{name}: copied")
        subprocess.run(["cp", mount.disk("a.vmdk.raw"),
                        mount.disk("c.vhdx.raw")], check=True)
        tap.ok(read(mount.disk("c.vhdx.raw")) == want, "by cp")
        fd = create(mount.disk("d.raw"), os.O_RDWR)
        os.write(fd, b"x" * (8 << 20))
        source = os.open(mount.disk("a.vmdk.raw"), os.O_RDONLY)
        os.copy_file_range(source, fd, 4 << 20, 2 << 20, 1 << 20)
        tap.ok(os.pread(fd, 8 << 20, 0) == b"x" * (1 << 20) +
               want[2 << 20:6 << 20] + b"x" * (3 << 20), "into a part")
        os.close(source)
        os.close(fd)


def sizes(mount, name):
    """What stat() by name and a listing say."""
    with os.scandir(mount.disks) as entries:
        listed = [entry.stat(follow_symlinks=False).st_size
                  for entry in entries if entry.name == name]
    return [os.stat(mount.disk(name)).st_size] + listed


def test_sizes():
    """However long names are trusted, nobody sees what this mount replaced."""
    with export.Mount("overwrite", "delete", "ttl=60") as mount:
        for name in "a.vmdk.raw", "a.raw":
            path = mount.disk(name)
            with open(path, "wb") as file:
                file.write(DATA)
            tap.same(sizes(mount, name), [len(DATA)] * 2, f"{name}: new")
            with open(path, "r+b") as file:
                file.truncate(65536)
            tap.same(sizes(mount, name), [65536] * 2, f"{name}: cut")
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, DATA)
            want = 65536 + len(DATA)
            tap.same((os.fstat(fd).st_size, os.stat(path).st_size),
                     (want, want), f"{name}: while it is appended to")
            os.close(fd)
            tap.same(sizes(mount, name), [want] * 2, f"{name}: appended")
            os.truncate(path, 4096)
            tap.same(sizes(mount, name), [4096] * 2, f"{name}: by name")
            fd = os.open(path, os.O_RDONLY)
            with open(path, "wb") as file:
                file.write(DATA[:8192])
            tap.same(sizes(mount, name), [8192] * 2, f"{name}: anew")
            tap.same(os.fstat(fd).st_size, 4096, f"{name}: as it was opened")
            os.close(fd)
            os.unlink(path)


def test_tree():
    """Directories, removing, renaming."""
    with export.Mount() as mount:
        os.makedirs(mount.disk("a/b"))
        with open(mount.disk("a/b/d.vmdk.raw"), "wb") as file:
            file.write(DATA)
        tap.same(mount.stored(), ["a/b/d.vmdk"], "in a new directory")
        tap.same(export.errno_of(os.rmdir, mount.disk("a/b")),
                 errno.ENOTEMPTY, "which is not empty")
        tap.same(export.errno_of(os.unlink, mount.disk("a/b/d.vmdk.raw")),
                 errno.EPERM, "removing needs a right")
        tap.same(export.errno_of(os.rename, mount.disk("a/b/d.vmdk.raw"),
                                 mount.disk("e.vmdk.raw")),
                 errno.EPERM, "so does renaming")
        os.mkdir(mount.disk("c"))
        os.rmdir(mount.disk("c"))
        tap.same(os.listdir(mount.disks), ["a"], "an empty one goes")
    with export.Mount("delete") as mount:
        for name in "x.vmdk.raw", "y.vmdk.raw":
            with open(mount.disk(name), "wb") as file:
                file.write(DATA)
        os.rename(mount.disk("x.vmdk.raw"), mount.disk("z.vmdk.raw"))
        tap.same(mount.stored(), ["y.vmdk", "z.vmdk"], "renamed")
        tap.ok(read(mount.disk("z.vmdk.raw"))[:len(DATA)] == DATA,
               "it is read by its new name")
        tap.same(export.errno_of(os.rename, mount.disk("y.vmdk.raw"),
                                 mount.disk("z.vmdk.raw")), errno.EEXIST,
                 "replacing needs another right")
        tap.same(export.errno_of(os.rename, mount.disk("y.vmdk.raw"),
                                 mount.disk("y.vhd.raw")), errno.EXDEV,
                 "another format is another file")
        tap.same(export.errno_of(os.truncate, mount.disk("y.vmdk.raw"), 1),
                 errno.EEXIST, "so does truncating")
        os.unlink(mount.disk("y.vmdk.raw"))
        os.unlink(os.path.join(mount.top, "objects/z.vmdk"))
        tap.same(mount.stored(), [], "removed in both views")
    with export.Mount("delete", "overwrite") as mount:
        for name, data in ("x.raw", b"x"), ("y.raw", b"yy"):
            with open(mount.disk(name), "wb") as file:
                file.write(data)
        os.rename(mount.disk("x.raw"), mount.disk("y.raw"))
        tap.same((mount.stored(), read(mount.disk("y.raw"))),
                 (["y.raw"], b"x"), "replaced by renaming")
        fd = os.open(mount.disk("y.raw"), os.O_WRONLY)
        os.pwrite(fd, b"xx", 0)
        tap.same(export.errno_of(os.open, mount.disk("y.raw"), os.O_RDONLY),
                 errno.EBUSY, "a reader has to wait for a change, too")
        os.close(fd)
        tap.same(read(mount.disk("y.raw")), b"xx", "until it is made")
        os.truncate(mount.disk("y.raw"), 1)
        os.truncate(mount.disk("y.raw"), 3)
        tap.same(read(mount.disk("y.raw")), b"x\0\0", "truncated by name")


def main():
    """Run all."""
    export.need_fuse()
    with export.Mount("ttl=0") as mount:
        test_killed(mount)
        test_others(mount)
        test_removed(mount)
        test_fsync(mount)
        test_children(mount)
        test_reading(mount)
        test_order(mount)
        test_attributes(mount)
    test_interrupted_dd()
    test_objects()
    test_scratch()
    test_require_size()
    test_unmount()
    test_copy()
    test_sizes()
    test_tree()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
