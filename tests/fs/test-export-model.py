#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Files being written against a model: random writes, holes, sizes, flushes,
reopens and renames do to every format what they would do to a plain file, or
fail and change nothing. What was written is read back through the mount.

MODEL_SECONDS of work (default 10), MODEL_SEED for the first sequence."""

import errno
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
from export import tap  # noqa: E402

SIZE = 3 << 20
ENDINGS = [".vmdk.raw", ".vhd.raw", ".vhdx.raw", ".raw"]


class File:
    """One file of a mount, and what it is to hold."""

    def __init__(self, mount, chance, ending):
        self.mount, self.chance, self.ending = mount, chance, ending
        self.path = mount.disk("0" + ending)
        self.stored = None   # bytes of the object; None: there is none
        self.log = []
        self.fd = -1
        self.now = bytearray()
        self.is_dirty = self.is_readable = False

    def publish(self):
        """A flush or fsync that went well."""
        if self.is_dirty:
            self.stored = bytes(self.now)
            self.is_dirty = False

    def can_publish(self):
        """Only a raw disk may be empty."""
        return not self.is_dirty or self.now or self.ending == ".raw"

    def write(self):
        """Some bytes, somewhere."""
        data = self.chance.randbytes(self.chance.choice([1, 700, 70000,
                                                         300000]))
        if self.chance.random() < .1:
            data = bytes(len(data))
        offset = self.chance.randrange(SIZE)
        if self.chance.random() < .5:
            offset = len(self.now)
        self.log.append(f"write {offset} {len(data)}")
        os.pwrite(self.fd, data, offset)
        self.now.extend(bytes(max(0, offset + len(data) - len(self.now))))
        self.now[offset:offset + len(data)] = data
        self.is_dirty = True

    def resize(self):
        """ftruncate."""
        size = self.chance.choice([0, self.chance.randrange(SIZE),
                                   len(self.now)])
        self.log.append(f"resize {size}")
        os.ftruncate(self.fd, size)
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.is_dirty = True

    def zero(self):
        """A hole, or zeroes that may make the file longer."""
        offset = self.chance.randrange(SIZE)
        length = self.chance.randrange(1, 400000)
        mode = self.chance.choice([export.PUNCH_HOLE, export.ZERO_RANGE])
        self.log.append(f"zero {mode} {offset} {length}")
        try:
            export.fallocate(self.fd, mode, offset, length)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or self.mount.turns_back:
                raise
            return  # a stream that has passed there; nothing has changed
        if mode == export.ZERO_RANGE:
            self.now.extend(bytes(max(0, offset + length - len(self.now))))
        end = min(offset + length, len(self.now))
        if offset < end:
            self.now[offset:end] = bytes(end - offset)
            self.is_dirty = True

    def read(self):
        """Compare a part."""
        if not self.is_readable:
            return
        offset = self.chance.randrange(SIZE)
        length = self.chance.randrange(SIZE)
        self.log.append(f"read {offset} {length}")
        got = os.pread(self.fd, length, offset)
        if got != bytes(self.now[offset:offset + length]):
            raise AssertionError("read other bytes than were written")

    def flush(self):
        """A second descriptor is closed, or fsync."""
        if not self.can_publish():
            return
        self.log.append("flush")
        if self.chance.random() < .5:
            os.fsync(self.fd)
        else:
            os.close(os.dup(self.fd))
        self.publish()

    def open(self):
        """Begin a session."""
        flags = self.chance.choice([os.O_RDWR, os.O_RDWR, os.O_WRONLY])
        truncates = self.chance.random() < .3
        self.is_readable = flags == os.O_RDWR
        self.log.append(f"open {flags} {truncates}")
        self.fd = os.open(self.path, os.O_CREAT | flags |
                          (os.O_TRUNC if truncates else 0))
        self.now = bytearray(b"" if truncates else self.stored or b"")
        self.is_dirty = False
        return truncates or self.stored is None

    def close(self, is_new, has_failed):
        """End it: what was not published is now, unless something failed."""
        good = self.can_publish() and not has_failed
        self.log.append(f"close, good: {good}")
        got = export.errno_of(os.close, self.fd)
        if bool(got) == good:
            raise AssertionError(f"close: errno {got}, want good: {good}")
        if not export.wait_until(lambda: not self.mount.writing()["now"]):
            raise AssertionError("the file does not end")
        if good and self.is_dirty:
            self.publish()
        elif good and is_new and not self.now and self.ending == ".raw":
            self.stored = b""
        if self.stored is not None and self.ending != ".raw":
            self.stored += bytes(-len(self.stored) % 512)

    def session(self):
        """Open, change, close."""
        has_failed = False
        is_new = self.open()
        acts = [self.write] * 6 + [self.zero, self.resize, self.read,
                                   self.read, self.flush]
        if self.chance.random() < .5:
            acts.remove(self.flush)
        for _ in range(self.chance.randrange(25)):
            before = self.stored
            try:
                self.chance.choice(acts)()
            except OSError as error:
                self.log.append(str(error))
                if error.errno != errno.EOPNOTSUPP or self.mount.turns_back:
                    raise AssertionError(str(error)) from error
                has_failed = True
                self.stored = before
                break
            if self.stored is not before:
                is_new = False
        self.close(is_new, has_failed)

    def check(self):
        """Read all of it."""
        if self.stored is None:
            if os.path.exists(self.path):
                raise AssertionError("it exists")
            return
        with open(self.path, "rb") as file:
            if file.read() != self.stored:
                raise AssertionError("reads other bytes than were written")

    def rename(self):
        """Give it another name."""
        if self.stored is not None and self.chance.random() < .3:
            path = self.mount.disk(f"{self.chance.randrange(9)}{self.ending}")
            self.log.append(f"rename {path}")
            if path != self.path:
                os.rename(self.path, path)
                self.path = path


def run(mount, seed):
    """One sequence; why it failed, or ""."""
    chance = random.Random(seed)
    file = File(mount, chance, ENDINGS[seed % len(ENDINGS)])
    try:
        for _ in range(chance.randrange(1, 5)):
            file.session()
            file.check()
            file.rename()
            file.check()
    except (AssertionError, OSError) as error:
        errors = "\n".join(e["error"] for e in mount.errors()[-3:])
        return "\n".join([f"seed {seed}: {error}"] + file.log + [errors])
    if file.stored is not None:
        os.unlink(file.path)
    return ""


def main():
    """As long as there is time."""
    export.need_fuse()
    end = time.monotonic() + float(os.environ.get("MODEL_SECONDS", "10"))
    seed = int(os.environ.get("MODEL_SEED", "1"))
    count, why = 0, ""
    usual = ["overwrite", "delete", "ttl=0"]
    with export.Mount(*usual) as one, \
            export.Mount(*usual, "vhd=fixed", "vhdx=fixed",
                         "compression=small") as other:
        while not why and (time.monotonic() < end or count < 12):
            number = seed + count
            mount = other if number // len(ENDINGS) % 3 == 2 else one
            why = run(mount, number)
            count += 1
        left = [] if why else one.stored() + other.stored()
        scratch = [mount.writing()["scratch"]["used"]
                   for mount in (one, other)]
    tap.ok(not why, "every format does what a plain file does", why)
    print(f"# {count} sequences")
    tap.same(left, [], "and nothing is left")
    tap.same(scratch, [0, 0], "nor in scratch space")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
