#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The bench of writing into S3; bench.py runs it beside a server.

A row ends when the server has the object. The first one that each row makes
is fetched, past the proxy, and compared with what it is to be.
"""
import hashlib
import json
import os
import subprocess
import sys
import time

import images
import measure
import programs
import s3programs
import s3server
import writing
from images import MIB
from measure import SIZE, TOOLS, median
from s3programs import AWS, SCRATCH, Commands, Vmiefs, aws
from s3server import BUCKET

DELAYS = os.environ.get("BENCH_S3_DELAYS", "0,20")  # ms, of each request
ROWS = os.environ.get("BENCH_S3_ROWS", "export,copy,ova,upload").split(",")
SOURCE, MADE = "a.vmdk", "b.vmdk"  # keys
APPEARS_SECONDS = 600
CLIENTS = writing.CLIENTS


class Row:
    """The program, what it runs in its mount to make the object `key`, what
    has to be done there before, and how the object is checked."""

    def __init__(self, program, key, check, commands, before=None, keep=()):
        self.program, self.key, self.check = program, key, check
        self.commands = commands  # (directory) -> [argv, ...]
        self.before = before or (lambda directory: [])
        self.keep = keep  # objects that have to be there


class Bench:
    """The server, and what was verified."""

    def __init__(self):
        self.server = s3server.Server()
        self.verified = set()

    def await_object(self, key):
        """Until the server has it: some programs close before."""
        end = time.monotonic() + APPEARS_SECONDS
        while self.server.size(key) is None:
            if time.monotonic() > end:
                raise RuntimeError(f"{key} does not appear")
            time.sleep(0.01)

    def measured(self, row, delay):
        """Run the commands: seconds, CPU seconds and more. What the program
        has used before does not count."""
        used = sum(s3server.cpu_of(pid)
                   for pid in s3programs.descendants(os.getpid()))
        server_cpu = self.server.cpu()
        s3server.proxy(delay)
        begin = time.monotonic()
        with s3programs.Peaks() as peak:
            cpu = sum(programs.run_client(argv)[1]
                      for argv in row.commands(self.directory))
            self.await_object(row.key)
            seconds = time.monotonic() - begin
        return seconds, cpu - used, {
            "server_cpu": self.server.cpu() - server_cpu,
            "rss": peak.bytes, "scratch": peak.scratch,
            "bytes": self.server.size(row.key), **s3server.proxy(0)}

    def run(self, row, source, label, delay):
        """One run of a row, or None."""
        s3programs.empty_scratch()
        self.server.settle(row.keep)

        def work(directory):
            self.directory = directory
            for argv in row.before(directory):
                programs.run_client(argv)
            seconds, cpu, more = self.measured(row, delay)
            return seconds, cpu, {**more, **row.program.stats(directory)}
        result = measure.fresh_mount(row.program,
                                     programs.Image(source, "raw"), work)
        if result and label not in self.verified:
            s3programs.empty_scratch()
            self.verify(row, label)
        elif not result and isinstance(row.program, Vmiefs):
            sys.exit(f"{label}: vmiefs fails")
        return result

    def verify(self, row, label):
        got = f"{SCRATCH}/{row.key}"
        digest = self.server.download(row.key, got)
        if not row.check(got, digest):
            sys.exit(f"{label}: {row.key} is not what was written")
        if self.server.uploads():
            sys.exit(f"{label}: part uploads are left behind")
        self.verified.add(label)

    def turns(self, name, source, rows, delay):
        """{label: results} of the rows {label: Row}."""
        results = measure.take_turns(f"{name}, {delay} ms", {
            label: lambda r=row, t=(name, label, delay): self.run(
                r, source, t, delay) for label, row in rows.items()})
        return {label: runs for label, runs in results.items() if runs}


def same_disk(raw):
    """A VMDK that holds the disk, as qemu-img reads it."""
    return lambda path, _=None: not subprocess.run(
        [writing.QEMU_IMG, "compare", "-f", "raw", "-F", "vmdk", raw, path],
        stdout=subprocess.DEVNULL).returncode


def same_bytes(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(4 * MIB):
            digest.update(data)
    return lambda _, made: made == digest.hexdigest()


def same_disks(raws):
    """An OVA of those disks, in that order."""
    def check(path, _):
        subprocess.run(["tar", "-C", SCRATCH, "-xf", path], check=True)
        names = sorted(n for n in os.listdir(SCRATCH) if n.endswith(".vmdk"))
        return len(names) == len(raws) and all(
            same_disk(raw)(f"{SCRATCH}/{name}")
            for raw, name in zip(raws, names))
    return check


def ours(*options):
    return Vmiefs("vmiefs", *options)


def export_rows(raw):
    """The disk into a stream-optimised VMDK in the bucket."""
    check = same_disk(raw)
    rows = {f"vmiefs, {client}, {level}": Row(
        ours(f"compression={level}"), MADE, check,
        lambda d, c=client: [CLIENTS[c](raw, f"{d}/disks/{MADE}.raw")])
        for client, level in (("dd", "fast"), ("cp", "fast"),
                              ("dd", "small"))}
    packed = f"{SCRATCH}/{MADE}"
    convert = [writing.QEMU_IMG, "convert", "-f", "raw",
               *writing.TARGETS["stream-optimised"].convert, raw, packed]
    if AWS:
        rows["qemu-img, aws s3 cp"] = Row(
            Commands("qemu-img"), MADE, check,
            lambda _: [convert, aws("cp", packed, f"s3://{BUCKET}/{MADE}")])
    return rows


def copy_rows(container, raw):
    """An object of the bucket to another one."""
    bytes_are, disk_is = same_bytes(container), same_disk(raw)
    keep = (SOURCE,)

    def disks(client):
        return lambda d: [CLIENTS[client](f"{d}/disks/{SOURCE}.raw",
                                          f"{d}/disks/{MADE}.raw")]
    rows = {
        "vmiefs, copy_file_range":
            Row(ours(), MADE, bytes_are, disks("copy_file_range"), keep=keep),
        "vmiefs, cp in objects/":
            Row(ours(), MADE, bytes_are,
                lambda d: [["cp", f"{d}/objects/{SOURCE}",
                            f"{d}/objects/{MADE}"]], keep=keep),
        "vmiefs, cp (packed anew)":
            Row(ours(), MADE, disk_is, disks("cp"), keep=keep)}
    if AWS:
        rows["aws s3 cp, in the bucket"] = Row(
            Commands("aws"), MADE, bytes_are,
            lambda _: [aws("cp", f"s3://{BUCKET}/{SOURCE}",
                           f"s3://{BUCKET}/{MADE}")], keep=keep)
        here = f"{SCRATCH}/{SOURCE}"
        rows["aws s3 cp, down and up"] = Row(
            Commands("aws"), MADE, bytes_are,
            lambda _: [aws("cp", f"s3://{BUCKET}/{SOURCE}", here),
                       aws("cp", here, f"s3://{BUCKET}/{MADE}")], keep=keep)
    return rows


def ova_rows(raws, packed):
    """Two disks to an OVA: with their writing, and that of it alone."""
    def write(directory):
        part = f"{directory}/disks/out.ova.part"
        return [["mkdir", part], *(
            CLIENTS["dd"](raw, f"{part}/{os.path.basename(name)}.raw")
            for raw, name in zip(raws, packed))]

    def rename(directory):
        return [["mv", f"{directory}/disks/out.ova.part",
                 f"{directory}/disks/out.ova"]]
    check = same_disks(raws)
    rows = {
        "vmiefs, dd of both, mv":
            Row(ours(), "out.ova", check,
                lambda d: [*write(d), *rename(d)]),
        "vmiefs, mv alone":
            Row(ours(), "out.ova", check, rename, before=write)}
    if AWS:
        here = f"{SCRATCH}/out.ova"
        tar = ["tar", "-cf", here, "-C", os.path.dirname(packed[0]),
               *map(os.path.basename, packed)]
        rows["tar of packed ones, aws s3 cp"] = Row(
            Commands("tar"), "out.ova", check,
            lambda _: [tar, aws("cp", here, f"s3://{BUCKET}/out.ova")])
    return rows


def upload_rows(container):
    """A file into the bucket as it is."""
    check = same_bytes(container)
    rows = {f"vmiefs, {client}": Row(
        ours(), MADE, check,
        lambda d, c=client: [CLIENTS[c](container, f"{d}/objects/{MADE}")])
        for client in ("cp", "dd")}
    for program in s3programs.peers():
        rows[f"{program.name}, cp"] = Row(
            program, MADE, check,
            lambda d: [["cp", container, f"{d}/{MADE}"]])
    if AWS:
        rows["aws s3 cp"] = Row(
            Commands("aws"), MADE, check,
            lambda _: [aws("cp", container, f"s3://{BUCKET}/{MADE}")])
    return rows


def columns(results):
    """The cells of a row that all tables have."""
    def mib(key, digits=0):
        return f"{median(results, key) / MIB:.{digits}f}"
    seconds = [r["seconds"] for r in results]
    middle = median(results, "seconds")
    busy = (median(results, "cpu") + median(results, "server_cpu")) / middle
    return [f"{middle:.2f}", f"{min(seconds):.2f}-{max(seconds):.2f}",
            f"{median(results, 'cpu'):.2f}",
            f"{median(results, 'server_cpu'):.2f}",
            f"{busy / os.cpu_count() * 100:.0f}", mib("rss"),
            mib("bytes", 1), mib("up", 2), mib("down", 2),
            f"{median(results, 'requests'):.0f}", mib("scratch", 1)]


def show(title, results):
    measure.table(
        title, ["program", "s", "min-max", "CPU s", "server CPU s", "busy %",
                "peak RSS MiB", "object MiB", "MiB sent", "MiB received",
                "requests", "scratch MiB"],
        [[label, *columns(runs)] for label, runs in results.items()])


def is_ours(label):
    return label.startswith("vmiefs")


def show_ratios(results):
    """Ours against each of the others: {ours: {other: times}}."""
    ratios = {mine: {other: median(theirs, "seconds") /
                     median(results[mine], "seconds")
                     for other, theirs in results.items()
                     if not is_ours(other)}
              for mine in results if is_ours(mine)}
    for mine, times in ratios.items():
        if times:
            print(f"  {mine}: " + "; ".join(
                f"{ratio:.2f} times {other}"
                for other, ratio in times.items()))
    return ratios


def show_moved(results):
    """How much of the object came through the client, and what our counters
    say of scratch space and of what the server has copied."""
    shares = {}
    for mine in filter(is_ours, results):
        runs = results[mine]
        size = median(runs, "bytes")
        shares[mine] = {way: median(runs, way) / size * 100
                        for way in ("up", "down")}
        counters = runs[-1]["stats"]
        copies = counters["store"]["copies"]
        print(f"  {mine}: {shares[mine]['up']:.3f} % of the object sent, "
              f"{shares[mine]['down']:.3f} % received; control/stats: "
              f"scratch peak {counters['writing']['scratch']['peak']}, "
              f"copied by the server {copies['bytes_copied']}")
    return shares


def limit(bench, container, delay):
    """How fast the server takes a file from a client that does nothing but
    sign: MB/s, straight and through the proxy."""
    size = os.path.getsize(container)

    def upload(port):
        bench.server.settle()
        s3server.proxy(delay)
        before = bench.server.cpu()
        seconds = bench.server.upload(container, SOURCE, port)
        return {"seconds": seconds, "cpu": bench.server.cpu() - before}
    ports = {"straight": bench.server.port,
             "through the proxy": int(os.environ["BENCH_S3_PROXY"])}
    results = measure.take_turns(f"limit, {delay} ms", {
        name: lambda p=port: upload(p) for name, port in ports.items()})
    rates = {name: size / median(runs, "seconds") / 1e6
             for name, runs in results.items()}
    print(f"\nLimit, {delay} ms: the server takes {size / MIB:.0f} MiB, in "
          f"parts of 8 MiB, {s3server.STREAMS} at once, at " + ", ".join(
              f"{rate:.0f} MB/s {name} "
              f"({median(results[name], 'cpu'):.2f} CPU s of its own)"
              for name, rate in rates.items()))
    return {"results": results, "rates": rates}


def halves(library):
    """The disk's halves as disks, and these packed."""
    raws, packed = [], []
    for i in range(2):
        raw, vmdk = f"{library}/half-{i}.raw", f"{library}/half-{i}.vmdk"
        images.make(raw, lambda path, n=i: images.run(
            "dd", f"if={library}/system.raw", f"of={path}", "bs=1M",
            "status=none", "conv=sparse", f"count={SIZE // 2 // MIB}",
            f"skip={SIZE // 2 // MIB * n}"))
        images.make(vmdk, lambda path, r=raw: images.stream(
            f"{TOOLS}/stream-vmdk", r, path))
        raws.append(raw)
        packed.append(vmdk)
    return raws, packed


def at_delay(bench, library, delay, report):
    raw, container = f"{library}/system.raw", f"{library}/stream-footer.vmdk"
    raws, packed = halves(library)
    report["limit"] = limit(bench, container, delay)
    for name, title, source, rows in (
            ("export", "the system disk becomes an object", raw,
             export_rows(raw)),
            ("copy", "an object is copied within the bucket", container,
             copy_rows(container, raw)),
            ("ova", "two disks become an OVA", raws[0],
             ova_rows(raws, packed)),
            ("upload", "a file becomes an object as it is", container,
             upload_rows(container))):
        if name not in ROWS:
            continue
        if name == "copy":
            bench.server.settle()
            bench.server.upload(container, SOURCE, bench.server.port)
        results = bench.turns(name, source, rows, delay)
        show(f"{title}, {delay} ms each request", results)
        report[name] = {"results": results, "ratios": show_ratios(results),
                        "shares": show_moved(results)}


def main():
    library, path = sys.argv[1:]
    programs.become_subreaper()
    s3programs.empty_scratch()
    s3programs.set_environment()
    bench, report = Bench(), {}
    for delay in DELAYS.split(","):
        at_delay(bench, library, delay, report.setdefault(delay, {}))
    s3programs.empty_scratch()
    with open(path, "w") as file:
        json.dump(measure.results_as_json(report), file)


if __name__ == "__main__":
    main()
