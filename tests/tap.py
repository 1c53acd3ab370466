# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Checks of Python tests; they print TAP. End with sys.exit(tap.done())."""

import os
import shutil
import signal
import sys

# Shells let what runs in the background ignore Ctrl-C, and with it all that
# the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_count = 0
_failed = 0


def ok(good, what, detail=""):
    """One check; the detail is shown (50 lines of it) when it fails."""
    global _count, _failed
    _count += 1
    print(f"{'' if good else 'not '}ok {_count} - {what}")
    if not good:
        _failed += 1
        lines = str(detail).splitlines()
        for line in lines[:50]:
            print(f"# {line}")
        if len(lines) > 50:
            print(f"# ... and {len(lines) - 50} more lines")
    sys.stdout.flush()
    return good


def same(got, want, what):
    """got == want, both shown when not."""
    return ok(got == want, what, f"got:  {got!r}\nwant: {want!r}")


def skip(what, why):
    """One check that cannot be made here."""
    global _count
    _count += 1
    print(f"ok {_count} - {what} # SKIP {why}", flush=True)


def skip_all(why):
    """End the test: nothing was checked."""
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def need(*tools):
    """Skip the whole test where a program is missing."""
    for tool in tools:
        if not shutil.which(tool):
            skip_all(f"{tool} is missing")


def is_sanitized():
    """Is this a build that is slower and keeps freed memory?"""
    path = os.path.join(os.environ.get("top_builddir", "."), "features")
    try:
        with open(path, encoding="utf-8") as features:
            return "san: yes" in features.read()
    except FileNotFoundError:
        return False


def done():
    """Print the plan; the exit status."""
    print(f"1..{_count}")
    return 1 if _failed else 0
