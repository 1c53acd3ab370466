# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Cases of block-mapped disks (VHD, VHDX): what a generator makes, and the
checks that are the same for all of them. A case is good (reads as `raw`, with
or without warnings), hurt (reads but for some ranges) or refused."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import oracle  # noqa: E402
import tap  # noqa: E402
from sparse import Sparse, first_difference, merge  # noqa: E402

RANDOM_READS = 10000


@dataclass
class Case:
    """One container (or several beside each other) and what is expected."""
    name: str
    files: dict        # name: Sparse; the first one is opened
    raw: Sparse = None  # what it reads as, damage as zeroes; None: refused
    data: list = None  # (offset, length) of what is no hole
    refuse: str = ""   # pattern of the error's text
    warn: list = field(default_factory=list)  # a pattern for each warning
    hurt: list = field(default_factory=list)  # (offset, length) unreadable
    findings: list = field(default_factory=list)  # a pattern for each
    options: list = field(default_factory=list)   # of mapcat
    info: dict = field(default_factory=dict)      # some of what info says
    trust: tuple = ()  # "qemu", "qemu-map", "qemu-replay", "vhdi": tools that
                       # get it right

    def save(self, folder):
        """Write all files; the path of the one to open."""
        for name, content in self.files.items():
            content.save(os.path.join(folder, name))
        return os.path.join(folder, next(iter(self.files)))


def write_cases(cases, arguments):
    """A generator's command line: --list, or DIR [NAME...]."""
    if not arguments or arguments == ["--list"]:
        for case in cases():
            print(case.name)
        return 0
    for case in cases():
        if not arguments[1:] or case.name in arguments[1:]:
            folder = os.path.join(arguments[0], case.name)
            os.makedirs(folder, exist_ok=True)
            case.save(folder)
            if case.raw:
                case.raw.save(os.path.join(folder, "expected"))
    return 0


def mapcat(case, command, *arguments, options=(), stdout=subprocess.PIPE):
    """Run mapcat; the finished process."""
    tool = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/mapcat")
    return subprocess.run([tool, *case.options, *options, command, *arguments],
                          stdout=stdout, stderr=subprocess.PIPE, text=True,
                          check=False)


def check_lines(lines, patterns, what):
    """Each line matches the pattern at its place, and none is left over."""
    good = len(lines) == len(patterns) and all(
        re.search(p, line) for p, line in zip(patterns, lines))
    tap.ok(good, what, "\n".join(["got:", *lines, "want:", *patterns]))


def check_refused(case, path):
    """Opening fails, and says why."""
    done = mapcat(case, "map", path)
    tap.ok(done.returncode == 1 and re.search(case.refuse, done.stderr),
           f"{case.name}: refused",
           f"status {done.returncode}\n{done.stderr}want: {case.refuse}")


def check_bytes(case, path, expected, folder):
    """The whole disk, its damage and its warnings."""
    out = os.path.join(folder, "raw")
    with open(out, "wb") as file:
        done = mapcat(case, "raw", path, options=["-k"], stdout=file)
    lines = done.stderr.splitlines()
    tap.same(first_difference(out, expected), None, f"{case.name}: bytes")
    os.remove(out)
    check_lines([line for line in lines if line.startswith("warning: ")],
                case.warn, f"{case.name}: warnings")
    damaged = [line.split()[1:3] for line in lines
               if line.startswith("damaged: ")]
    tap.same(merge((int(at), int(n)) for at, n in damaged), case.hurt,
             f"{case.name}: damage")


def check_random(case, path, expected):
    """Random reads, with tables cached and not."""
    for options in ([], ["-p"]):
        if case.hurt:
            continue
        done = mapcat(case, "random", path, expected, str(RANDOM_READS // 2),
                      str(len(case.name)), options=options)
        tap.same((done.returncode, done.stdout), (0, ""),
                 f"{case.name}: random reads {' '.join(options)}")


def check_engine(case, path, expected):
    """Random reads by two threads through the engine, as the mount reads."""
    if case.hurt or case.options or not case.raw.size:
        return
    tool = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/diskcat")
    done = subprocess.run([tool, "random", path, expected, "300", "1", "2"],
                          capture_output=True, text=True, check=False)
    tap.ok(done.returncode == 0, f"{case.name}: engine", done.stderr)


def check_holes(case, path):
    """The extent map says data where the recipe put it."""
    done = mapcat(case, "holes", path)
    rows = [line.split() for line in done.stdout.splitlines()]
    data = merge((int(r[0]), int(r[1])) for r in rows if r[2] == "data")
    if case.data is not None:
        tap.same(data, merge(case.data), f"{case.name}: extent map")
    return data


def check_oracles(case, path, expected, data):
    """Other programs agree, as far as they can be trusted."""
    if "qemu" in case.trust:
        oracle.check_qemu(case.name, path, expected)
    if "qemu-replay" in case.trust:
        oracle.check_qemu_replay(case.name, path, expected)
    if "qemu-map" in case.trust:
        oracle.check_qemu_map(case.name, path, data)
    if "vhdi" in case.trust:
        oracle.check_vhdi(case.name, path, expected,
                          list(case.files)[1:])


def check_info(case, path):
    """What describe() says, as far as the recipe says it."""
    done = mapcat(case, "info", path)
    if not tap.same(done.returncode, 0, f"{case.name}: info is given"):
        return
    said = json.loads(done.stdout)
    tap.same({key: said.get(key) for key in case.info}, case.info,
             f"{case.name}: info")


def check_case(case):
    """All checks of one case, in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="vmiefs-test.")
    try:
        path = case.save(folder)
        if case.raw is None:
            check_refused(case, path)
            return
        expected = os.path.join(folder, "expected")
        case.raw.save(expected)
        check_bytes(case, path, expected, folder)
        check_random(case, path, expected)
        check_engine(case, path, expected)
        check_oracles(case, path, expected, check_holes(case, path))
        check_lines(mapcat(case, "check", path).stdout.splitlines(),
                    case.findings, f"{case.name}: check")
        check_info(case, path)
    finally:
        shutil.rmtree(folder)


def main(cases):
    """Run the named cases, or all."""
    names = sys.argv[1:]
    for case in cases():
        if not names or case.name in names:
            check_case(case)
    return tap.done()
