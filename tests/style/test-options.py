#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""--help, man page and bash completion name the same options as the tables
that are parsed by (`vmiefs help options`), in both directions."""

import os
import re
import subprocess
import sys
from collections import namedtuple

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

ROOT = os.environ["top_srcdir"]
VMIEFS = os.path.join(os.environ["top_builddir"], "vmiefs")
Option = namedtuple("Option",
                    "command form name letter argument default unit since")
# One completed word a line.
COMPLETE = r"""
source "$1"/contrib/completion/vmiefs
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_vmiefs
printf '%s\n' "${COMPREPLY[@]}"
"""


def output(*command):
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True,
                          check=True).stdout


def completions(*words):
    """The set that is offered behind these words."""
    return set(output("bash", "-c", COMPLETE, "bash", ROOT, "vmiefs",
                      *words).split())


def spelling(option):
    """"--jobs=" or, behind -o, "memory=": as completion offers it."""
    return ("--" if option.form == "--" else "") + option.name + \
        ("=" if option.argument != "-" else "")


def usage(option):
    """"-o memory=SIZE": as help and man page write it."""
    return ("-o " if option.form == "-o" else "--") + option.name + \
        ("=" + option.argument if option.argument != "-" else "")


def plain(text):
    """man(7) source without its escapes."""
    return re.sub(r"\\f[A-Z]", "", text).replace("\\-", "-")


def tag_text(line):
    """The text of a macro's line; those of two letters join their words."""
    macro, _, rest = line.partition(" ")
    words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', rest)]
    return plain(("" if len(macro) == 3 else " ").join(words))


def man_entries(text):
    """{(command, "--name=ARG"): (letter, paragraph)}; options stand in the
    tags of .SS "vmiefs COMMAND" sections."""
    entries = {}
    for section in re.split(r'^\.SS ', text, flags=re.M)[1:]:
        section = re.split(r"^\.SH ", section, flags=re.M)[0]
        title = re.match(r'"vmiefs (\w+)', section)
        if not title:
            continue
        for item in re.split(r"^\.TP\n", section, flags=re.M)[1:]:
            tag, _, body = item.partition("\n")
            tag = re.match(r"(?:-(\w), )?(--?\S+(?: [\w*-]+\S*)?)$",
                           tag_text(tag))
            if tag:
                entries[title.group(1), tag.group(2)] = (
                    tag.group(1) or "-", plain(body.replace("\n", " ")))
    return entries


def check_man(options, entries):
    """Both directions, and what each entry must say."""
    table = {(o.command, usage(o)): o for o in options}
    for command in sorted({o.command for o in options}):
        tap.same(sorted(u for c, u in entries if c == command),
                 sorted(u for c, u in table if c == command),
                 f"man page: options of {command}")
    for key in sorted(set(table) & set(entries)):
        option, (letter, body) = table[key], entries[key]
        missing = []
        if letter != option.letter:
            missing.append(f"the letter {option.letter}")
        if option.default != "-" and not re.search(
                r"Default: " + re.escape(option.default) + r"\b", body):
            missing.append(f"Default: {option.default}")
        if option.unit != "-" and option.unit not in body:
            missing.append(f"the unit {option.unit}")
        if f"Since {option.since}" not in body:
            missing.append(f"Since {option.since}")
        tap.ok(not missing, f"man page: {' '.join(key)} is complete",
               f"missing: {', '.join(missing)}\n{body}")


def check_help(options):
    """--help names them all and no others."""
    for command in sorted({o.command for o in options}):
        text = output(VMIEFS, command, "--help")
        said = set(re.findall(r"^  (?:-\w, |    )?(--\S+|-o \S+)", text,
                              re.M)) - {"--help"}
        tap.same(sorted(said), sorted(usage(o) for o in options
                                      if o.command == command),
                 f"--help of {command}")


def check_completion(options):
    """Completion offers them all and no others."""
    commands = sorted({o.command for o in options})
    for command in commands:
        own = [o for o in options if o.command == command]
        tap.same(sorted(completions(command, "--")),
                 sorted([spelling(o) for o in own if o.form == "--"]
                        + ["--help"]), f"completion of {command} --")
        mount = sorted(spelling(o) for o in own if o.form == "-o")
        if mount:
            tap.same(sorted(completions(command, "-o", "")), mount,
                     f"completion of {command} -o")
    offered = {w for w in completions("") if not os.path.exists(w)}
    tap.same(sorted(offered), sorted(commands + ["help"]),
             "completion of commands")
    tap.same(completions("src", "-o", "ro,mem"), {"ro,memory="},
             "completion behind a comma")
    tap.same(completions("info", "--vhd-size", "=", "c"),
             {"current", "chs"}, "completion of a value")


def main():
    options = [Option(*line.split("\t")) for line in
               output(VMIEFS, "help", "options").splitlines()]
    tap.ok(len(options) > 20, f"{len(options)} options in the tables")
    with open(os.path.join(ROOT, "man", "vmiefs.1"), encoding="utf-8") as man:
        check_man(options, man_entries(man.read()))
    check_help(options)
    check_completion(options)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
