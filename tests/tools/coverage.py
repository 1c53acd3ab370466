#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""coverage.py SOURCE BUILD: which lines of src/ the runs so far have reached,
by gcov, for a build with --enable-coverage."""

import glob
import json
import os
import subprocess
import sys


def lines_of(build, notes):
    """{(file, line): times} from one object's notes."""
    run = subprocess.run(["gcov", "--json-format", "--stdout", notes],
                         cwd=build, capture_output=True, text=True,
                         check=True)
    found = {}
    for document in filter(None, run.stdout.split("\n")):
        for file in json.loads(document)["files"]:
            for line in file["lines"]:
                found[file["file"], line["line_number"]] = line["count"]
    return found


def main():
    source, build = sys.argv[1:]
    total = {}
    for notes in glob.glob(os.path.join(build, "**", "*.gcno"),
                           recursive=True):
        if not os.path.exists(notes[:-5] + ".gcda"):
            continue
        for (file, line), count in lines_of(build, notes).items():
            path = os.path.relpath(os.path.join(build, file), source)
            if path.startswith("src/"):
                total[path, line] = total.get((path, line), 0) + count
    if not total:
        sys.exit("no counts: configure with --enable-coverage, run tests")
    for path in sorted({p for p, _ in total}):
        counts = [n for (p, _), n in total.items() if p == path]
        reached = sum(1 for n in counts if n)
        print(f"{100 * reached / len(counts):5.1f} %  "
              f"{len(counts) - reached:4} lines missed  {path}")
    reached = sum(1 for n in total.values() if n)
    print(f"{100 * reached / len(total):5.1f} %  of {len(total)} lines")


if __name__ == "__main__":
    main()
