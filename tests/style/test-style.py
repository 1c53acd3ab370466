#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The rules of style that can be counted, for every file of the tree."""

import os
import re
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.dirname(__file__))
import csource  # noqa: E402
import tap  # noqa: E402

ROOT = os.environ.get("top_srcdir") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "../.."))
FOLDERS = ("src", "tests", "contrib", "man", "m4", ".ci")
TOP_FILES = ("configure.ac", "Makefile.am", "README.md", "HACKING.md",
             "SECURITY.md", "NEWS")
TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".am", ".ac", ".m4", ".md", ".1",
                 ".5", ".8", "")
# From below to above; a layer includes itself and what stands left of it.
LAYERS = ("common", "store", "format", "disk", "catalog", "guest", "task",
          "fs", "main")
BANNED = re.compile(
    r"\b(sprintf|vsprintf|strcpy|strcat|strncat|atoi|atol|atoll|atof|strtok|"
    r"strtok_r|gets|alloca|strerror)\s*\(")
PRODUCT_IN_MALLOC = re.compile(r"\b(?:malloc|realloc)\s*\([^;]*[\w)\]]\s*\*"
                               r"\s*[\w(]")
# Put together here, so that this file does not find itself.
PROMISES = re.compile(r"\b(" + "|".join(("TO" + "DO", "X" + "XX", "HA" + "CK"))
                      + r")\b|\bFIX" + r"ME\b(?!: #\d)")
WIDTH = 80


def tree():
    """{path: text} of all source files."""
    names = [name for name in TOP_FILES
             if os.path.exists(os.path.join(ROOT, name))]
    for folder in FOLDERS:
        for where, dirs, files in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = [d for d in dirs if d not in (".deps", "__pycache__")]
            names += [os.path.relpath(os.path.join(where, f), ROOT)
                      for f in files]
    texts = {}
    for name in sorted(names):
        path = os.path.join(ROOT, name)
        if os.path.splitext(name)[1] not in TEXT_SUFFIXES:
            continue
        with open(path, "rb") as file:
            data = file.read()
        if b"\0" not in data:
            texts[name] = data.decode("utf-8", "replace")
    return texts


def lines_matching(texts, pattern, suffixes=None, code=False):
    """"path:line: text" for each line that the pattern finds."""
    found = []
    for path, text in texts.items():
        if suffixes and not path.endswith(suffixes):
            continue
        text = csource.code_only(text) if code else text
        for number, line in enumerate(text.split("\n"), 1):
            if pattern.search(line):
                found.append(f"{path}:{number}: {line.strip()[:70]}")
    return found


def none(found, what):
    """A check that passes when nothing was found."""
    tap.ok(not found, what, "\n".join(found))


def percentile(values, part):
    """The value that `part` of all values do not exceed."""
    return sorted(values)[int(len(values) * part)] if values else 0


def check_sizes(texts):
    """Files and functions stay small."""
    c_files = {p: t for p, t in texts.items() if p.endswith((".c", ".h"))}
    code = {p: t for p, t in texts.items()
            if p.endswith((".c", ".h", ".py", ".sh"))}
    all_functions = [f for p, t in c_files.items()
                     for f in csource.functions(p, t)]
    ours = [f.lines for f in all_functions if f.path.startswith("src/")]
    none([f"{p}: {t.count(chr(10))} lines" for p, t in code.items()
          if t.count("\n") > 700], "no file above 700 lines")
    none([f"{f}: {f.lines} lines" for f in all_functions if f.lines > 100],
         "no function above 100 lines")
    none([f"{f}: {f.complexity}" for f in all_functions if f.complexity > 20],
         "no function of complexity above 20")
    print(f"# src: {len(ours)} functions, median {statistics.median(ours)}, "
          f"p90 {percentile(ours, 0.9)} lines")
    tap.ok(statistics.median(ours) <= 20, "functions: median <= 20 lines")
    tap.ok(percentile(ours, 0.9) <= 50, "functions: p90 <= 50 lines")
    none([f"{p}: {t.count(chr(10))} lines" for p, t in texts.items()
          if os.path.basename(p) == "Makemodule.am" and t.count("\n") > 60],
         "no build fragment above 60 lines")
    tap.ok(texts["Makefile.am"].count("\n") <= 80, "Makefile.am <= 80 lines")
    tap.ok(texts["configure.ac"].count("\n") <= 350,
           "configure.ac <= 350 lines")


def check_heads(texts):
    """Every source file says licence and owner first."""
    wrong = []
    for path, text in texts.items():
        base = os.path.basename(path)
        if not (path.endswith((".c", ".h", ".py", ".sh")) or
                text.startswith("#!")):
            continue
        lines = text.split("\n")
        lines = lines[1:] if lines[0].startswith("#!") else lines
        lead = "/* " if base.endswith((".c", ".h")) else "# "
        follow = " * " if base.endswith((".c", ".h")) else "# "
        if lines[:2] != [lead + "SPDX-License-Identifier: Apache-2.0",
                         follow + "Copyright the vmiefs authors"]:
            wrong.append(path)
    none(wrong, "every file starts with SPDX and copyright lines")


def check_lines(texts):
    """White space, width, words."""
    none(lines_matching(texts, re.compile(r"[ \t\r]$")),
         "no white space at the end of a line")
    none([p for p, t in texts.items() if t and
          (not t.endswith("\n") or t.endswith("\n\n"))],
         "every file ends in one newline")
    none(lines_matching(texts, re.compile(r"^\t* {8}"), (".c", ".h")),
         "C is indented by tabs")
    none([f"{p}:{n}: {len(line.expandtabs(8))} columns"
          for p, t in texts.items() if p.endswith((".c", ".h", ".py", ".sh"))
          for n, line in enumerate(t.split("\n"), 1)
          if len(line.expandtabs(8)) > WIDTH],
         f"no line of code above {WIDTH} columns")
    none(lines_matching(texts, PROMISES), "no words that promise later work")


def layer_of(path):
    """Rank of the layer that a file of src/ belongs to."""
    parts = path.split("/")
    folder = parts[1] if len(parts) > 2 else "main"
    return LAYERS.index("main" if folder == "command" else folder)


def check_names(texts):
    """automake makes STEM.log of STEM.sh as of STEM.py: one would be lost."""
    stems = [os.path.splitext(p)[0] for p in texts
             if p.startswith("tests/") and p.endswith((".sh", ".py"))]
    none(sorted({s for s in stems if stems.count(s) > 1}),
         "no two scripts of tests share a stem")


def include_findings(path, text):
    """What is wrong with the #includes of one file of src/."""
    own = layer_of(path)
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
        if name == "config.h":
            continue
        if layer_of("src/" + name) > own:
            yield f"{path}: includes {name}, which lies above it"
        if not os.path.exists(os.path.join(ROOT, "src", name)):
            yield f"{path}: includes {name}, which is not below src/"
    if LAYERS[own] != "fs" and re.search(r"#\s*include\s*<fuse", text):
        yield f"{path}: libfuse is for fs/ only"


def check_includes(texts):
    """Layers: an include never points up; config.h comes first."""
    found = []
    for path, text in texts.items():
        if path.startswith("src/") and path.endswith((".c", ".h")):
            found += include_findings(path, text)
    none(found, "no #include of a higher layer")
    none([p for p, t in texts.items() if p.endswith(".c") and
          re.findall(r"^\s*#\s*include\s*(\S+)", t, re.M)[:1]
          != ['"config.h"']], "every .c includes config.h first")
    none([p for p, t in texts.items() if p.endswith(".h") and
          p.startswith("src/") and not re.search(
              r"^#ifndef VMIEFS_(?:\w+_)?%s$" % re.sub(
                  r"\W", "_", os.path.basename(p)).upper(), t, re.M)],
         "every header has its guard")


def check_calls(texts):
    """Functions that have no place here."""
    none(lines_matching(texts, BANNED, (".c", ".h"), code=True),
         "no banned function")
    none(lines_matching(texts, PRODUCT_IN_MALLOC, (".c", ".h"), code=True),
         "no product inside malloc()")
    none(lines_matching({p: t for p, t in texts.items() if "/common/" in p or
                         "/store/" in p or "/format/" in p or "/disk/" in p},
                        re.compile(r"\b(printf|puts|perror|fputs)\s*\("),
                        (".c", ".h"), code=True),
         "no printing in the lower layers")


SAMPLE = """/* sprintf() in a comment */
static __attribute__((format(printf, 1, 2))) int
wrong(const char *a)
{
	char *b = malloc(n * sizeof(*b));
	return a && *a ? atoi(a) : strtok("if(1)", a);
}

struct pair x = {
	1, 2
};
"""


def check_self():
    """The checks find what they are for."""
    found = csource.functions("x.c", SAMPLE)
    tap.same([(f.name, f.lines, f.complexity) for f in found],
             [("wrong", 2, 3)], "a function is measured")
    sample = {"x.c": SAMPLE}
    tap.same(len(lines_matching(sample, BANNED, code=True)), 1,
             "a banned call is found, a comment is not")
    tap.same(len(lines_matching(sample, PRODUCT_IN_MALLOC, code=True)), 1,
             "a product is found")
    tap.same(list(include_findings(
        "src/store/x.c", '#include "disk/engine.h"\n#include <fuse.h>\n')),
        ["src/store/x.c: includes disk/engine.h, which lies above it",
         "src/store/x.c: libfuse is for fs/ only"], "an upward #include")


def main():
    texts = tree()
    check_self()
    tap.ok(len(texts) > 40, "found the tree", f"{len(texts)} files in {ROOT}")
    check_sizes(texts)
    check_heads(texts)
    check_lines(texts)
    check_names(texts)
    check_includes(texts)
    check_calls(texts)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
