# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The scripted server's answers: what S3 would say, and what rules make of
it."""

import contextlib
import itertools
import re
from email.utils import formatdate
from xml.sax.saxutils import escape

import bucket as buckets
import sigv4
import writing

REASONS = {200: "OK", 204: "No Content", 206: "Partial Content",
           301: "Moved Permanently", 304: "Not Modified",
           307: "Temporary Redirect",
           400: "Bad Request", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 409: "Conflict",
           411: "Length Required", 412: "Precondition Failed",
           416: "Range Not Satisfiable", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented",
           503: "Slow Down", 507: "Insufficient Storage"}
_numbers = itertools.count(1)


class Reply:
    """One answer: `body` bytes, or `size` bytes of an entry from `start`."""

    def __init__(self, status, headers, body=b"", entry=None, start=0,
                 size=None):
        self.status, self.headers = status, headers
        self.body, self.entry, self.start = body, entry, start
        self.size = len(body) if size is None else size

    @contextlib.contextmanager
    def open(self):
        """A function (offset, length) -> bytes of the body."""
        if not self.entry:
            yield lambda at, size: self.body[at:at + size]
            return
        with self.entry.open() as read:
            yield lambda at, size: read(self.start + at, size)

    def head(self, now):
        """Status line and headers."""
        headers = {"Date": formatdate(now, usegmt=True),
                   "x-amz-request-id": f"REQUEST{next(_numbers):09d}",
                   "x-amz-id-2": "HOSTID", "Server": "scripted",
                   "Content-Length": str(self.size), **self.headers}
        lines = [f"HTTP/1.1 {self.status} "
                 f"{REASONS.get(self.status, 'Other')}"]
        lines += [f"{n}: {v}" for n, v in headers.items() if v is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def error_document(code, message, fields):
    """S3's error document."""
    fields = {"Code": code, "Message": message, **fields,
              "RequestId": "REQUEST", "HostId": "HOSTID"}
    rows = "".join(f"<{n}>{escape(str(v))}</{n}>" for n, v in fields.items())
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error>{rows}</Error>").encode("utf-8", "surrogateescape")


def error_reply(error, region):
    """What a Refusal becomes."""
    headers = {"Content-Type": "application/xml"}
    if error.status in (301, 400, 403):
        headers["x-amz-bucket-region"] = region
    return Reply(error.status, headers,
                 error_document(error.code, error.message, error.fields))


def parse_range(text, size):
    """(start, end) of "bytes=a-b", or None for what is ignored."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text)
    if not match or not (match[1] or match[2]) or \
            match[1] and match[2] and int(match[1]) > int(match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
    if start >= size or start >= end:
        raise sigv4.Refusal(416, "InvalidRange", "The requested range is not "
                            "satisfiable", ActualObjectSize=size)
    return start, end


def object_reply(state, request, picked):
    """GET or HEAD of an object."""
    bucket = find_bucket(state, request)
    entry = bucket.find(request.key)
    if not entry:
        raise sigv4.Refusal(404, "NoSuchKey",
                            "The specified key does not exist.",
                            Key=request.key.decode("utf-8", "replace"))
    headers = {"ETag": entry.etag, "Accept-Ranges": "bytes",
               "Last-Modified": formatdate(entry.mtime, usegmt=True),
               "Content-Type": "binary/octet-stream", **entry.headers}
    rules = {rule["do"]: rule for rule in picked}
    match = "" if "conditions" in rules else request.header("if-match")
    if match not in ("", "*") and match.strip('"') != entry.etag.strip('"'):
        raise sigv4.Refusal(412, "PreconditionFailed", "At least one of the "
                            "pre-conditions you specified did not hold",
                            Condition="If-Match")
    found = None
    if request.header("range") and "whole" not in rules:
        found = parse_range(request.header("range"), entry.size)
    if not found:
        return Reply(200, headers, entry=entry, size=entry.size)
    start, end = found
    if "shift" in rules:
        start = min(start + rules["shift"]["by"], entry.size - 1)
        end = min(end + rules["shift"]["by"], entry.size)
    if "narrow" in rules:
        end = min(end, start + rules["narrow"]["to"])
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
    return Reply(206, headers, entry=entry, start=start, size=end - start)


def find_bucket(state, request):
    """The bucket of a request; raises Refusal."""
    bucket = state.bucket(request.bucket)
    if not bucket:
        raise sigv4.Refusal(404, "NoSuchBucket",
                            "The specified bucket does not exist",
                            BucketName=request.bucket)
    return bucket


def usual(state, request, picked):
    """What S3 answers; raises Refusal."""
    if state.upstream:
        return state.upstream.answer(request, picked)
    xml = {"Content-Type": "application/xml"}
    region = state.args.region or "us-east-1"
    if request.op in ("get", "head"):
        return object_reply(state, request, picked)
    if request.op == "list-buckets":
        return Reply(200, xml, buckets.list_buckets(state.bucket_names()))
    if request.op == "create-bucket":
        writing.create_bucket(state, request)
    bucket = find_bucket(state, request)
    xml["x-amz-bucket-region"] = region
    if request.op == "create-bucket":
        return Reply(200, {"Location": "/" + request.bucket})
    if request.op == "delete-bucket":
        writing.delete_bucket(state, request)
        return Reply(204, {"Content-Length": None})
    if request.op == "head-bucket":
        return Reply(200, xml)
    if request.op in writing.OPS:
        headers, body = writing.answer(state, bucket, request, picked)
        if body is None:
            return Reply(204, {"Content-Length": None, **headers})
        return Reply(200, {**(xml if body else {}), **headers}, body)
    if request.op == "location":
        return Reply(200, xml, buckets.location(region))
    if request.op == "list":
        return Reply(200, xml, buckets.list_objects(
            bucket, request.bucket, sigv4.split_query(request.query)))
    raise sigv4.Refusal(405, "MethodNotAllowed", "The specified method is "
                        "not allowed against this resource.")


def scripted(rule):
    """The answer that a "reply" rule has."""
    if "body" in rule:
        body = rule["body"].encode() * rule.get("repeat", 1)
        kind = rule.get("type", "text/html")
    else:
        code = rule.get("code", "SlowDown")
        body = error_document(code, rule.get("message", "scripted"),
                              rule.get("fields", {}))
        kind = "application/xml"
    return Reply(rule.get("status", 503),
                 {"Content-Type": kind, **rule.get("headers", {})}, body)


def make(state, request, picked, refusal):
    """The answer to a request. A wrong signature is refused whatever the
    rules say."""
    rule = next((r for r in picked if r["do"] == "reply"), None)
    try:
        if refusal:
            raise refusal
        if not rule or rule.get("work"):
            reply = usual(state, request, picked)
        if rule:
            reply = scripted(rule)
    except sigv4.Refusal as error:
        reply = error_reply(error, state.args.region or "us-east-1")
    for rule in picked:
        if rule["do"] == "headers":
            reply.headers.update(rule["set"])
    return reply
