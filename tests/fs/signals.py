#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""signals.py FILE: read it for two seconds while a timer's signal comes every
millisecond, without the retries that Python makes by itself. Prints how many
reads there were and how many of them failed."""
import ctypes
import errno
import os
import signal
import sys
import time


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t,
                           ctypes.c_int64]
    libc.lseek.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
    libc.lseek.restype = ctypes.c_int64
    fd = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(fd).st_size
    buf = ctypes.create_string_buffer(1 << 20)
    calls, failed = 0, {}
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        offset = calls * 999983 % size
        for result in (libc.pread(fd, buf, 1 << 20, offset),
                       libc.lseek(fd, offset, os.SEEK_HOLE)):
            calls += 1
            if result < 0:
                name = errno.errorcode[ctypes.get_errno()]
                failed[name] = failed.get(name, 0) + 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("many" if calls > 20 else calls, "calls,", failed or "none failed")


if __name__ == "__main__":
    main()
