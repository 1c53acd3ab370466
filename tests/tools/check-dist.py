#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""check-dist.py SOURCE TARBALL: the tarball holds every file of the source,
byte for byte, and besides only what autotools made."""

import os
import re
import subprocess
import sys
import tarfile

MADE = re.compile(r"(aclocal\.m4|configure|config\.h\.in|Makefile\.in|"
                  r"build-aux/.*|COPYING|INSTALL)$")
# Of use in a clone only, or made by a build in the tree.
LEFT_OUT = re.compile(r"(\.gitignore|autom4te\.cache/.*|configure~|"
                      r"config\.h\.in~|build[^/]*/.*|.*\.pyc|\.git/.*)$")


def source_files(source):
    """All files of the source: those of git, or where it is no clone, all."""
    run = subprocess.run(["git", "-C", source, "ls-files", "-z", "--cached"],
                         capture_output=True, text=True, check=False)
    if run.returncode == 0 and run.stdout:
        names = run.stdout.rstrip("\0").split("\0")
    else:
        names = [os.path.relpath(os.path.join(where, name), source)
                 for where, _, files in os.walk(source) for name in files]
    return {name for name in names if not LEFT_OUT.match(name)}


def main():
    source, tarball = sys.argv[1:]
    problems = []
    packed = {}
    with tarfile.open(tarball) as tar:
        for member in tar:
            if member.isfile():
                packed[member.name.partition("/")[2]] = \
                    tar.extractfile(member).read()
    names = source_files(source)
    for name in sorted(names - set(packed)):
        if not MADE.match(name):
            problems.append(f"{name} is missing in the tarball")
    for name, content in sorted(packed.items()):
        if name in names:
            with open(os.path.join(source, name), "rb") as file:
                if file.read() != content:
                    problems.append(f"{name} differs in the tarball")
        elif not MADE.match(name):
            problems.append(f"{name} is in the tarball only")
    print("\n".join(problems) or
          f"{tarball}: {len(packed)} files, {len(names)} of them the source's")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
