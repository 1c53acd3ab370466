# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The bench of writing: exports into a mount against `qemu-img convert`.

Every row ends with sync of the new file, of which there is nothing in the
beginning. Its first result is compared with the disk, byte for byte.
"""
import json
import os
import subprocess
import sys
import threading

import images
import measure
import programs
from images import GIB, MIB
from measure import DIRECTORY, SIZE, TOOLS, median

WHERE = f"{DIRECTORY}/writing"  # sources (links) and what is made of them
QEMU_IMG = "qemu-img"
LEVELS = ("fast", "small")
CLIENTS = {
    "dd": lambda source, name: ["dd", f"if={source}", f"of={name}", "bs=1M"],
    "cp": lambda source, name: ["cp", source, name],
    # Of a disk with holes cp asks the kernel to copy only when told so.
    "copy_file_range":
        lambda source, name: ["cp", "--sparse=never", source, name],
}


class Peak(threading.Thread):
    """Peak memory of all processes (programs.peak_rss) while it lasts: those
    that end before the others count, too."""

    def __enter__(self):
        self.ended, self.bytes = threading.Event(), 0
        self.start()
        return self

    def run(self):
        has_ended = False
        while not has_ended:
            has_ended = self.ended.wait(0.05)
            self.look()

    def look(self):
        self.bytes = max(self.bytes, programs.peak_rss(os.getpid()))

    def __exit__(self, *_):
        self.ended.set()
        self.join()


class Target:
    """A format to write: the ending of its name, how qemu-img makes it, and
    the levels of compression that it knows."""

    def __init__(self, ending, convert, levels=(None,)):
        self.ending, self.levels = ending, levels
        self.convert = [*convert, "-O", programs.QEMU[ending]]
        self.object = f"{WHERE}/out.{ending}"

    def in_mount(self, directory):
        """The name below disks/ that makes the object."""
        end = "" if self.ending == "raw" else ".raw"
        return f"{directory}/out.{self.ending}{end}"


WRITEBACK = ["-t", "writeback"]
TARGETS = {
    "stream-optimised": Target("vmdk", [
        "-m", "16", "-W", "-o", "subformat=streamOptimized"], LEVELS),
    "VHD dynamic": Target("vhd", [
        *WRITEBACK, "-o", "subformat=dynamic,force_size=on"]),
    "VHDX dynamic": Target("vhdx", [*WRITEBACK, "-o", "subformat=dynamic"]),
    "raw": Target("raw", WRITEBACK),
}


class Job:
    """A source, the raw disk that it holds, and what is to be made of it.
    CLIENTS write into the mount, in rows of their own."""

    def __init__(self, image, raw, target, clients):
        self.image, self.raw, self.target = image, raw, target
        self.clients = clients
        self.size = os.path.getsize(raw)
        self.verified = set()


def linked(path, fmt):
    """The container under another name, where the mount shows it."""
    os.makedirs(WHERE, exist_ok=True)
    name = f"{WHERE}/{os.path.basename(path)}"
    if os.path.exists(name):
        os.unlink(name)
    os.link(path, name)
    return programs.Image(name, fmt)


def all_jobs(library):
    """{name: Job}: raw disks into each format, and container to container."""
    raws = {"system disk": f"{library}/system.raw",
            "random bytes": f"{library}/random.raw"}
    images.make(raws["random bytes"],
                lambda path: images.make_holding(path, SIZE // 4, SIZE // 4))
    jobs = {}
    for fmt, target in TARGETS.items():
        for name, raw in raws.items():
            jobs[f"{fmt}, {name}"] = Job(
                linked(raw, "raw"), raw, target,
                ["dd"] if target.ending == "vmdk" else ["dd", "cp"])
    for fmt, name, kind, to in (
            ("stream-optimised", "stream-footer.vmdk", "vmdk", "VHDX dynamic"),
            ("VHDX dynamic", "dynamic.vhdx", "vhdx", "stream-optimised"),
            ("VHD dynamic", "dynamic.vhd", "vhd", "raw")):
        jobs[f"{fmt} to {to}, system disk"] = Job(
            linked(f"{library}/{name}", kind), raws["system disk"],
            TARGETS[to], ["cp", "copy_file_range"])
    return measure.chosen(jobs)


def remove(path):
    """Nothing of an earlier run is left, nor waits to be written."""
    if os.path.exists(path):
        os.unlink(path)
    os.sync()


def timed(target, *commands):
    """Run them, one after the other: seconds, CPU seconds and more."""
    seconds = cpu = 0.0
    with Peak() as peak:
        for argv in commands:
            more_seconds, more_cpu, _ = programs.run_client(argv)
            seconds, cpu = seconds + more_seconds, cpu + more_cpu
    made = os.stat(target.object)
    return seconds, cpu, {"rss": peak.bytes, "bytes": made.st_size,
                          "stored": made.st_blocks * 512}


def verify(job, label):
    """Bytes first, as qemu-img reads them."""
    if label in job.verified:
        return
    if subprocess.run([QEMU_IMG, "compare", "-f", "raw", "-F",
                       programs.QEMU[job.target.ending], job.raw,
                       job.target.object],
                      stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{label}: {job.target.object} is not what was written")
    job.verified.add(label)


def export(job, client, level, label):
    """One run of ours."""
    options = [measure.OPTIONS] if measure.OPTIONS else []
    options += [f"compression={level}"] if level else []
    program = programs.Vmiefs(measure.VMIEFS, ",".join(options))

    def work(file):
        source = job.raw if job.image.fmt == "raw" else file
        name = job.target.in_mount(os.path.dirname(file))
        return timed(job.target, CLIENTS[client](source, name),
                     ["sync", job.target.object])
    remove(job.target.object)
    result = measure.fresh_mount(program, job.image, work)
    if result:
        verify(job, label)
    return result


def convert(job, label):
    """One run of qemu-img."""
    remove(job.target.object)
    measure.warm(job.image.path)
    seconds, cpu, more = timed(
        job.target,
        [QEMU_IMG, "convert", *job.target.convert, "-f",
         programs.QEMU[job.image.fmt], job.image.path, job.target.object],
        ["sync", job.target.object])
    verify(job, label)
    return {"seconds": seconds, "cpu": cpu, **more}


def rows_of(name, job):
    rows = {}
    for client in job.clients:
        for level in job.target.levels:
            label = ", ".join(filter(None, ("vmiefs", client, level)))
            rows[name, label] = (lambda c=client, v=level, t=label:
                                 export(job, c, v, t))
    rows[name, QEMU_IMG] = lambda: convert(job, QEMU_IMG)
    return rows


def pack(raw, level):
    """One run of the packer, from memory."""
    text = subprocess.run([f"{TOOLS}/pack-limit", raw, level], check=True,
                          capture_output=True).stdout
    cost = json.loads(text)
    return {"cpu": cost["cpu_seconds"], "detail": cost}


def discard(raw):
    """One run of dd into a FUSE file that drops all bytes."""
    program = programs.Passthrough(f"{TOOLS}/passthrough",
                                   [*measure.PASSTHROUGH, "--discard"])

    def work(file):
        seconds, cpu, _ = programs.run_client(
            ["dd", f"if={raw}", f"of={file}", "bs=1M"])
        return seconds, cpu, None
    return measure.fresh_mount(program, programs.Image(raw, "raw"), work)


def limit_rows(jobs):
    """What the limits are computed from, for each raw disk to be packed."""
    rows = {}
    for raw in sorted({job.raw for job in jobs.values()
                       if "dd" in job.clients and job.target.levels == LEVELS}):
        name = os.path.basename(raw)
        rows[name, "discard"] = lambda r=raw: discard(r)
        for level in LEVELS:
            rows[name, level] = lambda r=raw, v=level: pack(r, v)
    return rows


def limits(results):
    """{(raw disk, level): MB/s}: cores over the CPU seconds per byte of
    packing from memory and of dd into a FUSE file that discards."""
    cores, rates = os.cpu_count(), {}
    for name, level in results:
        if level not in LEVELS:
            continue
        detail = results[name, level][0]["detail"]
        size = detail["virtual_bytes"]
        packing = median(results[name, level], "cpu")
        dd = median(results[name, "discard"], "cpu")
        rate = rates[name, level] = size * cores / (packing + dd) / 1e6
        print(f"\nLimit of packing {name}, {level}: {detail['packer']} from "
              f"memory {packing / size * GIB:.2f} CPU s per GiB of disk "
              f"({detail['unpacked_bytes'] / packing / 1e6:.0f} MB/s of grains "
              f"on one core), dd into a FUSE file {dd / size * GIB:.2f}; both "
              f"on {cores} cores {rate:.0f} MB/s")
    return rates


def show(name, job, mine, rates, report):
    """A table of one job, and ours against qemu-img's."""
    def rate(results, pick):
        return job.size / pick(r["seconds"] for r in results) / 1e6
    speed = {p: job.size / median(r, "seconds") / 1e6 for p, r in mine.items()}
    measure.table(
        f"{name}: written and synced",
        ["program", "MB/s", "min-max", "CPU s", "peak RSS MiB", "MiB",
         "MiB on disk"],
        [[p, f"{speed[p]:.0f}", f"{rate(r, max):.0f}-{rate(r, min):.0f}",
          f"{median(r, 'cpu'):.2f}", f"{median(r, 'rss') / MIB:.0f}",
          f"{median(r, 'bytes') / MIB:.1f}",
          f"{median(r, 'stored') / MIB:.1f}"] for p, r in mine.items()])
    if QEMU_IMG not in mine:
        return
    ratios = {}
    for program in mine:
        if program == QEMU_IMG:
            continue
        ratios[program] = {
            "speed": speed[program] / speed[QEMU_IMG],
            "size": median(mine[program], "bytes") /
            median(mine[QEMU_IMG], "bytes")}
        text = (f"  {program}: {ratios[program]['speed']:.2f} times qemu-img,"
                f" {ratios[program]['size']:.3f} of its size")
        limit = rates.get((os.path.basename(job.raw),
                           program.rpartition(", ")[2]))
        if limit and "dd" in job.clients:
            share = speed[program] / limit * 100
            ratios[program]["percent_of_limit"] = share
            text += f", {share:.0f} % of the limit"
        print(text)
    report[name] = {"results": mine, "ratios": ratios}


def writing(library, report):
    """The whole part; `report` gets "writing"."""
    jobs = all_jobs(library)
    limit_turns = limit_rows(jobs)
    rows = dict(limit_turns)
    for name, job in jobs.items():
        rows.update(rows_of(name, job))
    results = measure.take_turns("writing", rows)
    rates = limits({key: results[key] for key in limit_turns})
    part = report["writing"] = {"limits": rates}
    for name, job in jobs.items():
        show(name, job, {p: r for (n, p), r in results.items()
                         if n == name and r}, rates, part)
        remove(job.target.object)
