# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A rough reader of C files in this tree's layout: a function's body opens
and closes with a brace in the first column."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
# A switch counts once, however many cases it has: a table is not a maze.
_BRANCH = re.compile(r"\b(?:if|for|while|switch)\b|&&|\|\||\?")
_NAME = re.compile(r"(\w+)\s*\(")


@dataclass
class Function:
    """One function definition."""
    path: str
    name: str
    line: int
    lines: int
    complexity: int

    def __str__(self):
        return f"{self.path}:{self.line} {self.name}"


def _blank(match):
    text = match.group(0)
    inside = "\n" * text.count("\n")
    return '""' + inside if text[0] == '"' else " " + inside


def code_only(text):
    """The text without comments and contents of literals; lines stay."""
    return _TOKEN.sub(_blank, text)


def functions(path, text):
    """All function definitions of a file."""
    lines = code_only(text).split("\n")
    found = []
    start = None
    for number, line in enumerate(lines):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            name = _name_before(lines, start)
            if name:
                body = "\n".join(lines[start:number])
                found.append(Function(
                    path, name, start + 1, number - start - 1,
                    1 + len(_BRANCH.findall(body))))
            start = None
    return found


def _name_before(lines, brace):
    """Name of the function whose body opens at this line, or None."""
    head = []
    for line in reversed(lines[:brace]):
        if not line.strip() or line[0] in "}#" or line.endswith(";"):
            break
        head.insert(0, line)
    match = _NAME.search(re.sub(r"__attribute__\s*\(\(.*?\)\)+", "",
                                " ".join(head)))
    return match.group(1) if match else None
