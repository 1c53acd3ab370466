# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the scripted server does instead of its work.

A rule is a JSON object. Which requests it is for (all that are given):

  op      a pattern, too: "get", "head", "list", "head-bucket", "location",
          "list-buckets", "put", "copy", "delete", "create-upload",
          "upload-part", "upload-part-copy", "complete-upload",
          "abort-upload", "list-uploads", "list-parts", "create-bucket",
          "delete-bucket"
  bucket, key     a pattern as in fnmatch
  query   a regular expression found in the raw query
  range   true: only requests for a range
  nth     1: from the first such request that no rule above has taken
  count   1: so many times; null: for ever

and what is done ("do"):

  reply      status, code ("SlowDown"), message, fields {name: text} of the
             error document, headers {}; or body and type instead of the
             document, the body `repeat` times. With status 200 it is an
             error behind a good status. "work": true: what was asked for is
             done nevertheless; "at": "head": said before the body is read,
             and the connection ends
  reset, cut, stall   RST, FIN, or silence (for `seconds`; for ever without)
             at: "head" (before the request's body is read), "body" (when
             `after` bytes of it were), "read" (when all of it was, and
             nothing is done), "request" (before any answer, when the work is
             done: the answer is lost), "header" (in the middle of it), a
             number of body bytes, "end" (behind the answer)
  whole      the whole object in answer to a range
  shift      the range `by` bytes further on, which the header says, too
  narrow     the first `to` bytes of the range, which the header says, too

and, after which further rules apply:

  latency    ms
  rate       bps: so many bytes of body a second
  uprate     bps: the same of what the client sends
  conditions as: "ignored" or "unsupported" (501): If-Match, If-None-Match and
             x-amz-copy-source-if-match mean nothing here, as with old servers
  headers    set {name: text, or null for none} of the answer"""

import fnmatch
import re
import threading

PASSING = ("latency", "rate", "uprate", "conditions", "headers")
KNOWN = PASSING + ("reply", "reset", "cut", "stall", "whole", "shift",
                   "narrow")


class Rules:
    """All rules; safe for threads."""

    def __init__(self):
        self.rules = []
        self.lock = threading.Lock()

    def set(self, rules):
        """Replace all rules; ValueError for what makes no sense."""
        for rule in rules:
            if rule.get("do") not in KNOWN:
                raise ValueError(f"no such action: {rule.get('do')}")
            rule["seen"] = rule["fired"] = 0
        with self.lock:
            self.rules = rules

    def pick(self, request):
        """The rules that apply to a request: some that let it pass and at
        most one that does not."""
        picked = []
        with self.lock:
            for rule in self.rules:
                if not matches(rule, request):
                    continue
                rule["seen"] += 1
                count = rule.get("count", 1)
                if rule["seen"] < rule.get("nth", 1) or \
                        count is not None and rule["fired"] >= count:
                    continue
                rule["fired"] += 1
                picked.append(rule)
                if rule["do"] not in PASSING:
                    break
        return picked


def matches(rule, request):
    """Is the rule for this request?"""
    if not fnmatch.fnmatchcase(request.op, rule.get("op", "*")):
        return False
    if "range" in rule and rule["range"] != bool(request.header("range")):
        return False
    key = request.key.decode("utf-8", "surrogateescape")
    return fnmatch.fnmatchcase(request.bucket, rule.get("bucket", "*")) and \
        fnmatch.fnmatchcase(key, rule.get("key", "*")) and \
        re.search(rule.get("query", ""), request.query) is not None
