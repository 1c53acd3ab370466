#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A credential_process that does not end is ended after a minute, with all
that it started."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from credcase import Case  # noqa: E402


def main():
    """One of them."""
    tap.need("pgrep")
    case = Case({"config": "[profile p]\ncredential_process = sh "
                 "$HOME/.aws/run & wait\n", "run": "sleep 3600\n"})
    start = time.monotonic()
    case.says("credential_process of profile 'p': it did not end within 60 s",
              "a process that hangs", "-p", "p")
    took = time.monotonic() - start
    tap.ok(59 < took < 70, "is given up after a minute", took)
    left = subprocess.run(["pgrep", "-f", case.path("run")], check=False,
                          stdout=subprocess.PIPE, text=True).stdout
    tap.same(left, "", "nothing of it is left")
    return tap.done()


sys.exit(main())
