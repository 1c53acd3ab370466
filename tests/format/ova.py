#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""ova.py [CASE...]: every generated OVA lists and reads as its recipe says;
so do those that other tar programs write."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import make_ova  # noqa: E402
import ovftext  # noqa: E402
import tap  # noqa: E402


def ovacat(*arguments):
    """Run ovacat; the finished process, output as bytes."""
    tool = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/ovacat")
    return subprocess.run([tool, *arguments], capture_output=True,
                          check=False)


def lines(done, word):
    """Lines of the output that start with the word."""
    return [text for text in (done.stdout + done.stderr).decode().splitlines()
            if text.startswith(word + " ")]


def match_all(got, patterns, what):
    """Each line is its pattern (or matches it), none is left over."""
    good = len(got) == len(patterns) and all(
        text == pattern or re.match(pattern, text)
        for text, pattern in zip(got, patterns))
    tap.ok(good, what, "\n".join(["got:", *got, "want:", *patterns]))


def check_bytes(name, path, contents):
    """The stored bytes of members."""
    for member, data in contents.items():
        done = ovacat("dump", path, member)
        tap.ok(done.stdout == data, f"{name}: bytes of {member}",
               f"{len(done.stdout)} bytes, want {len(data)}\n"
               f"{done.stderr.decode()}")


def check_verified(case, path):
    """What check says."""
    done = ovacat("check", path)
    tap.same(done.returncode, 0, f"{case.name}: check ends")
    match_all([text[8:] for text in lines(done, "problem")],
              [".*" + pattern for pattern in case.problems],
              f"{case.name}: problems")


def check_info(case, path):
    """What describe says of the first machine."""
    described = json.loads(ovacat("info", path).stdout)
    if case.info:
        system = described["systems"][0]
        tap.same({k: system.get(k) for k in case.info}, case.info,
                 f"{case.name}: info")
    tap.same(len(described["disks"]), len(case.disks),
             f"{case.name}: info lists the disks")


def check_case(case, folder):
    """All checks of one case."""
    path = case.save(folder)
    done = ovacat("list", path)
    if case.refuse:
        tap.ok(done.returncode == 1 and
               re.match(case.refuse, done.stderr.decode()),
               f"{case.name}: refused",
               f"{done.stderr.decode()}want: {case.refuse}")
        return
    if not tap.same(done.returncode, 0, f"{case.name}: opens"):
        print(f"# {done.stderr.decode()}")
        return
    match_all(lines(done, "disk"), case.disks, f"{case.name}: disks")
    match_all([text.rsplit(" ", 1)[0][5:] for text in lines(done, "file")],
              case.files, f"{case.name}: files")
    match_all([text[8:] for text in lines(done, "warning")],
              [".*" + pattern for pattern in case.warn],
              f"{case.name}: warnings")
    _, calls, _, volume = lines(done, "reads")[0].split()
    tap.ok(int(calls) <= case.reads and int(volume) < 100000,
           f"{case.name}: small reads", f"{calls} reads of {volume} bytes")
    check_bytes(case.name, path, case.bytes)
    if case.image.size < 1 << 30:
        check_verified(case, path)
    check_info(case, path)


def members(letters=90):
    """Files for tars that others write; one has a name of that length."""
    disks = [ovftext.Disk("d1", "one.vmdk"),
             ovftext.Disk("d2", "sub folder/" + "n" * letters + ".vmdk")]
    return {"vm.ovf": ovftext.vmware(disks).encode(),
            disks[0].href: make_ova.noise(1, 100001),
            disks[1].href: make_ova.noise(2, 512)}


def check_foreign(name, path, contents):
    """A tar by another writer lists both disks and reads."""
    done = ovacat("list", path)
    tap.same([text.split()[1] for text in lines(done, "disk")],
             [member.split("/")[-1] for member in contents
              if member != "vm.ovf"], f"{name}: disks")
    check_bytes(name, path, {member.split("/")[-1]: data
                             for member, data in contents.items()})


def check_tarfile(folder):
    """Python's tarfile in all its formats."""
    contents = members()
    for name, form in (("ustar", tarfile.USTAR_FORMAT),
                       ("gnu", tarfile.GNU_FORMAT),
                       ("pax", tarfile.PAX_FORMAT)):
        path = os.path.join(folder, f"tarfile-{name}.ova")
        with tarfile.open(path, "w", format=form) as tar:
            for member, data in contents.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                info.mtime = 1.25 if name == "pax" else 1
                tar.addfile(info, io.BytesIO(data))
        check_foreign(f"tarfile-{name}", path, contents)


def check_tar(folder):
    """The system's tar in all its formats."""
    if not shutil.which("tar"):
        tap.skip("tar", "tar is missing")
        return
    for form in ("v7", "oldgnu", "gnu", "ustar", "pax"):
        contents = members(10 if form == "v7" else 90)
        source = os.path.join(folder, form)
        for member, data in contents.items():
            path = os.path.join(source, member)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
        path = os.path.join(folder, f"tar-{form}.ova")
        names = ["."] if form == "gnu" else list(contents)
        done = subprocess.run(["tar", "-c", f"--format={form}", "-f", path,
                               "-C", source, *names], capture_output=True,
                              check=False)
        if done.returncode:
            tap.skip(f"tar --format={form}", "tar cannot write it")
            continue
        check_foreign(f"tar --format={form}", path, contents)


def main(names):
    """Run the cases named, or all."""
    folder = tempfile.mkdtemp(prefix="vmiefs-test.")
    try:
        for case in make_ova.cases():
            if not names or case.name in names:
                check_case(case, folder)
        if not names:
            check_tarfile(folder)
            check_tar(folder)
    finally:
        shutil.rmtree(folder)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
