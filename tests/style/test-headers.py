#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Every header compiles alone."""

import os
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

ROOT = os.environ["top_srcdir"]
COMPILE = shlex.split(os.environ["CC"]) + ["-std=gnu11", "-fsyntax-only"] + \
    shlex.split(os.environ.get("HEADER_CPPFLAGS", "")) + ["-xc", "-"]


def headers():
    """All headers below src/, as they are included."""
    for where, _, files in os.walk(os.path.join(ROOT, "src")):
        for name in sorted(files):
            if name.endswith(".h"):
                yield os.path.relpath(os.path.join(where, name),
                                      os.path.join(ROOT, "src"))


def compile_text(text):
    """(worked, messages)"""
    run = subprocess.run(COMPILE, input=text, capture_output=True, text=True,
                         check=False)
    return run.returncode == 0, run.stderr


tap.ok(not compile_text("not_a_type x;")[0], "the compiler finds mistakes")
for header in headers():
    good, messages = compile_text(
        f'#include "config.h"\n#include "{header}"\n')
    tap.ok(good, f"{header} compiles alone", messages)
sys.exit(tap.done())
