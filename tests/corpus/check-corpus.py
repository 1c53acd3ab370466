#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""check-corpus.py CORPUS BUILD: every container of a corpus reads as its table
says, through the engine (tests/tools/diskcat) and, where FUSE works, a mount;
with --server, of a bucket that has the same containers.

CORPUS/expected.tsv has a row for each container: container, stored, format,
subformat, virtual_size, expect, raw_sha256, origin, notes. `stored` is the
file in CORPUS, perhaps packed by xz, bzip2 or gzip, perhaps in a tar; it is
unpacked to `container`. expect is `ok` (size and hash are equal), `reject`
(opening fails with a sentence) or `either`. raw_sha256 is the hash of the raw
disk, `sparse1m:` and a digest over its MiBs that are not zero, or for an OVA
`member=hash` for each disk, `member=refused(...)` where one is to be refused.

Prints TAP. All is unpacked below TMPDIR, which should hold the containers and
the largest disk as a sparse file."""
import argparse
import bz2
import csv
import gzip
import hashlib
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

MIB = 1 << 20
ZERO = bytes(MIB)
RANDOM_READS = 400
RANDOM_BELOW = 8 << 30  # bytes of virtual size
WHOLE_BELOW = 2 << 30  # larger disks: data and samples of holes by the mount
SAMPLE = 64 << 10
PUT = [sys.executable,
       os.path.join(os.path.dirname(__file__), "../s3/put.py")]


def copy_sparse(source, path):
    """Write what source reads to path, with holes for zeroes."""
    with open(path, "wb") as out:
        while True:
            data = source.read(MIB)
            if not data:
                break
            if data == ZERO[:len(data)]:
                out.seek(len(data), os.SEEK_CUR)
            else:
                out.write(data)
        out.truncate(out.tell())


def open_stored(path):
    """The stored file, decompressed. An .ova.gz is a container as it is."""
    if path.endswith(".xz"):
        return lzma.open(path)
    if path.endswith(".bz2"):
        return bz2.open(path)
    if path.endswith(".gz") and not path.endswith(".ova.gz"):
        return gzip.open(path)
    return open(path, "rb")


def is_tar(name):
    return re.search(r"\.tar\.(xz|bz2|gz)$", name) is not None


def unpack(corpus, row, to):
    """Unpack one row; returns the files it became."""
    stored = os.path.join(corpus, row["stored"])
    path = os.path.join(to, row["container"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not is_tar(stored):
        with open_stored(stored) as source:
            copy_sparse(source, path)
        return [path]
    with tarfile.open(stored) as tar:
        members = [m for m in tar if m.isfile()]
        if len(members) == 1:
            copy_sparse(tar.extractfile(members[0]), path)
            return [path]
        os.makedirs(path, exist_ok=True)
        paths = []
        for number, member in enumerate(members):
            name = f"{number:04d}-{os.path.basename(member.name)}"
            paths.append(os.path.join(path, name))
            copy_sparse(tar.extractfile(member), paths[-1])
        return paths


def is_envelope(path):
    """Is this well-formed XML whose root is an Envelope?"""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (xml.etree.ElementTree.ParseError, ValueError, LookupError):
        return False
    return root.tag.split("}")[-1] == "Envelope"


def data_ranges(fd, size):
    """Ranges of a sparse file that may hold data."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError:
            return
        yield at, end
        at = end


def sparse_digest(fd, size):
    """SHA-256 over "offset length sha256" of each MiB that is not zero."""
    digest = hashlib.sha256()
    done = 0
    for start, end in data_ranges(fd, size):
        at = max(done, start // MIB * MIB)
        while at < end:
            data = os.pread(fd, MIB, at)
            if data != ZERO[:len(data)]:
                line = f"{at} {len(data)} {hashlib.sha256(data).hexdigest()}"
                digest.update(line.encode() + b"\n")
            at += MIB
        done = at
    digest.update(f"size {size}\n".encode())
    return "sparse1m:" + digest.hexdigest()


def file_digest(path, like):
    """Digest of a file, of the same kind as `like`."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        if like.startswith("sparse1m:"):
            return sparse_digest(fd, size)
        digest = hashlib.sha256()
        while True:
            data = os.read(fd, 4 * MIB)
            if not data:
                return digest.hexdigest()
            digest.update(data)
    finally:
        os.close(fd)


def places_to_compare(fd, raw, size):
    """All of a small disk; of a large one all data and samples of holes."""
    if size <= WHOLE_BELOW:
        return [(0, size)]
    places = [*data_ranges(fd, size), *data_ranges(raw, size)]
    rng = random.Random(size)
    for at, end in list(places):
        places += [(max(0, at - SAMPLE), at), (end, min(size, end + SAMPLE))]
    for _ in range(64):
        at = rng.randrange(size)
        places.append((at, min(size, at + SAMPLE)))
    return places


def difference(path, raw_path):
    """How a mounted disk differs from a raw file; None if it does not."""
    fd = os.open(path, os.O_RDONLY)
    raw = os.open(raw_path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        if size != os.fstat(raw).st_size:
            return f"size is {size}, want {os.fstat(raw).st_size}"
        for at, end in places_to_compare(fd, raw, size):
            while at < end:
                want = os.pread(raw, min(MIB, end - at), at)
                if os.pread(fd, len(want), at) != want:
                    return f"bytes differ between {at} and {at + len(want)}"
                at += len(want)
        return None
    finally:
        os.close(raw)
        os.close(fd)


class Corpus:
    def __init__(self, args):
        self.args = args
        self.build = os.path.abspath(args.build)
        self.top = tempfile.mkdtemp(prefix="vmiefs-corpus.")
        self.store = os.path.join(self.top, "store")
        self.mount = os.path.join(self.top, "mount")
        self.raw = os.path.join(self.top, "raw")
        self.mounted = False
        self.source, self.bucket = self.store, None
        self.counts = {}

    def run(self, *words):
        """Run a program of the build; (status, stdout, stderr)."""
        words = [os.path.join(self.build, words[0]), *words[1:]]
        done = subprocess.run(words, capture_output=True, text=True,
                              errors="replace", check=False,
                              timeout=self.args.timeout)
        return done.returncode, done.stdout, done.stderr.strip()

    def publish(self):
        """The words of the command line that mount the containers."""
        if not self.args.server:
            return [self.source]
        self.bucket = f"vmiefs-corpus-{os.getpid()}"
        self.source = f"s3://{self.bucket}"
        subprocess.run([*PUT, self.args.server, "sync", self.store,
                        self.bucket, os.path.join(self.top, "state")],
                       check=True)
        return ["-o", self.args.mount_options, self.source]

    def start_mount(self):
        if self.args.no_mount or not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return
        os.mkdir(self.mount)
        status, _, err = self.run("vmiefs", *self.publish(), self.mount)
        self.mounted = status == 0
        if not self.mounted:
            print(f"# no mount: {err}")

    def close(self):
        if self.mounted:
            subprocess.run(["fusermount3", "-u", self.mount], check=False)
            time.sleep(0.2)
        if os.path.ismount(self.mount):
            subprocess.run(["fusermount3", "-uz", self.mount], check=False)
        elif not self.args.keep:
            shutil.rmtree(self.top, ignore_errors=True)
        if self.bucket:
            subprocess.run([*PUT, self.args.server, "drop", self.bucket],
                           check=False)

    def read_disk(self, where, member, size, want):
        """(True, "") if the disk reads as the table says, else (False, why);
        (None, sentence) where it is refused."""
        path = os.path.join(self.store, where)
        name = path + "/" + member if member else path
        status, _, err = self.run("tests/tools/diskcat", "raw", name, self.raw)
        if status == 1:
            return None, err
        if status != 0:
            return False, f"diskcat ended with status {status}: {err}"
        found = os.stat(self.raw).st_size
        if size is not None and found != size:
            return False, f"virtual size is {found}, want {size}"
        digest = file_digest(self.raw, want)
        if want and digest != want:
            return False, f"bytes differ: {digest}, want {want}"
        if 0 < found < RANDOM_BELOW:
            status, _, err = self.run("tests/tools/diskcat", "random", name,
                                      self.raw, str(RANDOM_READS), "7", "4")
            if status != 0:
                return False, f"random reads: {err}"
        return self.read_mounted(where, member)

    def read_mounted(self, where, member):
        """The mount gives the same bytes as diskcat did."""
        if not self.mounted:
            return True, ""
        path = os.path.join(self.mount, "disks", where)
        if member:
            path += "/" + member
        if not path.lower().endswith((".raw", ".img")):
            path += ".raw"
        try:
            why = difference(path, self.raw)
        except OSError as error:
            why = str(error)
        return not why, f"mounted: {why}"

    def check_refusal(self, where, sentence):
        """A refusal is a sentence, and the mount refuses, too."""
        text = sentence.split(":", 1)[-1].strip()
        if len(text) < 10 or "\n" in sentence:
            return f"this is no clear error: {sentence!r}"
        path = os.path.join(self.mount, "disks", where + ".raw")
        if not self.mounted or not os.path.isfile(path):
            return ""
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError:
            return ""
        return "opens through the mount"

    def judge(self, row, good, why):
        """One disk's result against `expect`: (passed, what to print)."""
        expect = row["expect"]
        if good is None:
            bad = self.check_refusal(row["container"], why)
            if bad or expect == "ok":
                return False, bad or f"refused: {why}"
            return True, f"refused: {why}"
        if not good:
            return False, why
        if expect == "reject":
            return False, "reads, but is to be refused"
        return True, ""

    def check_disk(self, row):
        size = int(row["virtual_size"]) if row["virtual_size"] else None
        if row["expect"] == "reject":
            size = None
        return self.judge(row, *self.read_disk(row["container"], None, size,
                                               row["raw_sha256"]))

    def check_ova(self, row):
        wanted = re.findall(r"(\S+?)=(refused\(.*?\)(?=\s|$)|[0-9a-z:]+)",
                            row["raw_sha256"])
        if not wanted:
            return self.check_bad_ova(row)
        sizes = row["virtual_size"].split()
        by_size = len(sizes) == sum(not h.startswith("refused")
                                    for _, h in wanted)
        told = []
        for member, want in wanted:
            refused = want.startswith("refused")
            size = int(sizes.pop(0)) if by_size and not refused else None
            good, why = self.read_disk(row["container"], member, size,
                                       "" if refused else want)
            if good is None and refused:
                told.append(f"{member} refused: {why}")
            elif not good or refused:
                return False, f"{member}: {why or 'reads'}"
        return True, "; ".join(told)

    def check_bad_ova(self, row):
        """No disk of it reads; the first says why."""
        path = os.path.join(self.store, row["container"])
        status, out, err = self.run("vmiefs", "info", "--json", "--no-guest",
                                    path)
        if status != 0:
            return self.judge(row, None, err)
        disks = json.loads(out)["disks"]
        errors = [disk["error"]["text"] for disk in disks if "error" in disk]
        if not disks:
            return self.judge(row, None, "the OVA has no disks")
        if len(errors) == len(disks):
            return self.judge(row, None, errors[0])
        # The tables are fine; then the bytes are not.
        for disk in disks:
            good, why = self.read_disk(row["container"], disk["name"], None,
                                       "")
            if good is None:
                return self.judge(row, None, why)
        return self.judge(row, True, "")

    def check_ovf(self, row, paths):
        """A descriptor is read, or a collection of them: there, what is no
        XML with an Envelope as its root may be refused."""
        told = []
        for path in paths:
            status, out, err = self.run("tests/tools/ovacat", "ovf", path)
            bad_disks = re.findall("^error (.*)", out, re.M)
            good, why = True, ""
            if status != 0:
                good, why = None, out.strip() or err
            elif row["expect"] == "reject" and bad_disks:
                good, why = None, bad_disks[0]
            if len(paths) > 1 and good is None and not is_envelope(path):
                told.append(why)
                continue
            passed, text = self.judge(row, good, why)
            if not passed:
                return False, f"{os.path.basename(path)}: {text}"
        if len(paths) == 1:
            return True, why
        return True, f"{len(paths)} files, {len(told)} of them no OVF"

    def check_mf(self, row, paths):
        status, out, err = self.run("tests/tools/ovacat", "manifest", paths[0])
        good, why = (True, "") if status == 0 else (None, out.strip() or err)
        return self.judge(row, good, why)

    def check(self, row, paths):
        kind = row["format"]
        if kind == "ovf":
            return self.check_ovf(row, paths)
        if kind == "mf":
            return self.check_mf(row, paths)
        if kind == "ova":
            return self.check_ova(row)
        return self.check_disk(row)

    def check_row(self, row, paths):
        start = time.monotonic()
        try:
            passed, text = self.check(row, paths)
        except subprocess.TimeoutExpired:
            passed, text = False, f"no answer within {self.args.timeout} s"
        seconds = time.monotonic() - start
        what = f"{row['container']} ({row['format']} {row['subformat']}) " \
            f"{row['expect']}"
        tap.ok(passed, what, "" if passed else text)
        if passed and text:
            print(f"# {text}")
        if seconds > 10:
            print(f"# took {seconds:.0f} s")
        key = (row["format"], row["expect"])
        good, all_ = self.counts.get(key, (0, 0))
        self.counts[key] = (good + passed, all_ + 1)

    def main(self):
        with open(os.path.join(self.args.corpus, "expected.tsv"),
                  encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t",
                                       quoting=csv.QUOTE_NONE))
        rows = [{k: v or "" for k, v in row.items() if k} for row in rows]
        unpacked = []
        for row in rows:
            if sys.stderr.isatty():
                print(f"\runpacking {len(unpacked) + 1} of {len(rows)}\033[K",
                      end="\r", file=sys.stderr, flush=True)
            unpacked.append(unpack(self.args.corpus, row, self.store))
        self.start_mount()
        for row, paths in zip(rows, unpacked):
            if re.search(self.args.only, row["container"]):
                self.check_row(row, paths)
        for (kind, expect), (good, all_) in sorted(self.counts.items()):
            print(f"# {kind} {expect}: {good} of {all_}")
        print("# read through the engine" +
              (f" and a mount of {self.source}" if self.mounted else
               "; no mount"))
        return tap.done()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", help="the directory with expected.tsv")
    parser.add_argument("build", help="the build directory")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="only containers whose path matches")
    parser.add_argument("--no-mount", action="store_true")
    parser.add_argument("--server", metavar="ENDPOINT",
                        help="mount a bucket of this S3 server")
    parser.add_argument("--mount-options", metavar="LIST", default="",
                        help="by which a mount finds the server")
    parser.add_argument("--keep", action="store_true",
                        help="leave the unpacked containers there")
    parser.add_argument("--timeout", type=int, default=900,
                        help="seconds for one program")
    corpus = Corpus(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return corpus.main()
    finally:
        corpus.close()


if __name__ == "__main__":
    sys.exit(main())
