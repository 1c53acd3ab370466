# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""AWS Signature Version 4 for S3, both ways, written from the specification
("Authenticating Requests: Using the Authorization Header" and "... Query
Parameters" of the S3 API reference) and sharing nothing with src/store."""

import calendar
import hashlib
import hmac
import re
import time
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
SKEW_MAX = 900  # seconds
EXPIRES_MAX = 604800


class Refusal(Exception):
    """Why a request is not served: HTTP status, S3 code, sentence, and further
    elements of the answer."""

    def __init__(self, status, code, message, **fields):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.fields = fields


def quote(text, safe="-._~"):
    """Percent-encode all but the unreserved characters."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    return urllib.parse.quote_from_bytes(text, safe=safe)


def split_query(query):
    """[(name, value)] of a raw query string, decoded to bytes."""
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((urllib.parse.unquote_to_bytes(name),
                          urllib.parse.unquote_to_bytes(value)))
    return pairs


def canonical_query(query, without=()):
    """Every name and value encoded anew and sorted by what they became."""
    pairs = [(quote(name), quote(value)) for name, value in split_query(query)
             if name not in without]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def canonical_request(method, path, query, headers, signed, payload):
    """`path` and `query` as they went over the wire; `headers` is a list of
    (lower-case name, value), `signed` the names that count."""
    path = quote(urllib.parse.unquote_to_bytes(path), safe="-._~/")
    lines = [method, path or "/", query]
    for name in signed:
        values = [" ".join(v.split()) for n, v in headers if n == name]
        lines.append(f"{name}:{','.join(values)}")
    lines += ["", ";".join(signed), payload]
    return "\n".join(lines)


def signature(secret, date, scope, canonical):
    """The signature in hex; scope is "20130524/us-east-1/s3/aws4_request"."""
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape"))
    text = "\n".join([ALGORITHM, date, scope, digest.hexdigest()])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def iso_date(when=None):
    """20130524T000000Z"""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))


def sign(keys, method, path, query, headers, payload=EMPTY_HASH,
         region="us-east-1", when=None):
    """Headers {name: value} for a request with these, signed. `keys` has
    "access", "secret" and perhaps "token"."""
    date = iso_date(when)
    headers = {name.lower(): value for name, value in headers.items()}
    headers.update({"x-amz-date": date, "x-amz-content-sha256": payload})
    if keys.get("token"):
        headers["x-amz-security-token"] = keys["token"]
    names = sorted(headers)
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    canonical = canonical_request(method, path, canonical_query(query),
                                  list(headers.items()), names, payload)
    headers["authorization"] = (
        f"{ALGORITHM} Credential={keys['access']}/{scope},"
        f"SignedHeaders={';'.join(names)},"
        f"Signature={signature(keys['secret'], date, scope, canonical)}")
    return headers


def presign(keys, host, path, expires, region="us-east-1", when=None):
    """The query string that lets anybody GET `path`."""
    date = iso_date(when)
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    pairs = {"X-Amz-Algorithm": ALGORITHM, "X-Amz-Date": date,
             "X-Amz-Credential": f"{keys['access']}/{scope}",
             "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": "host"}
    if keys.get("token"):
        pairs["X-Amz-Security-Token"] = keys["token"]
    query = "&".join(f"{quote(n)}={quote(v)}" for n, v in pairs.items())
    canonical = canonical_request("GET", path, canonical_query(query),
                                  [("host", host)], ["host"], UNSIGNED)
    return (query + "&X-Amz-Signature=" +
            signature(keys["secret"], date, scope, canonical))


class Verifier:
    """Checks requests as S3 does. `keys` is a list of dicts with "access",
    "secret" and perhaps "token" (then it has to come along), "expired", and
    "life": how many seconds from their first use they are good for.
    `region` None accepts any; `clock` is added to the server's time."""

    def __init__(self, keys, region="us-east-1", clock=0):
        self.keys, self.region, self.clock = keys, region, clock

    def now(self):
        return time.time() + self.clock

    def check(self, request):
        """Raises Refusal. `request` has method, path, query (raw), headers,
        a list of (lower-case name, value), and body.sha256. The access key, or
        None for a request that nobody signed."""
        given = dict(request.headers)
        query = {n.decode(): v.decode("utf-8", "replace")
                 for n, v in split_query(request.query)}
        if "authorization" in given:
            return self._check_headers(request, given)
        if "X-Amz-Signature" in query:
            return self._check_query(request, query)
        return None

    def _check_headers(self, request, given):
        match = re.fullmatch(
            re.escape(ALGORITHM) + r"\s+Credential=(?P<credential>[^,\s]+),"
            r"\s*SignedHeaders=(?P<signed>[a-z0-9;_-]+),"
            r"\s*Signature=(?P<signature>[0-9a-f]{64})",
            given["authorization"])
        if not match:
            raise Refusal(400, "AuthorizationHeaderMalformed",
                          "The authorization header is malformed")
        payload = given.get("x-amz-content-sha256")
        if payload is None:
            raise Refusal(400, "InvalidRequest",
                          "Missing required header for this request: "
                          "x-amz-content-sha256")
        if payload != UNSIGNED and \
                payload != request.body.sha256.hexdigest():
            raise Refusal(400, "XAmzContentSHA256Mismatch",
                          "The provided 'x-amz-content-sha256' header does "
                          "not match what was computed")
        signed = match["signed"].split(";")
        self._check_signed(request, signed)
        date = given.get("x-amz-date", "")
        self._check_date(date)
        self._compare(request, match["credential"], date, signed,
                      match["signature"], canonical_query(request.query),
                      payload, given.get("x-amz-security-token"))
        return match["credential"].split("/")[0]

    @staticmethod
    def _check_signed(request, signed):
        names = {name for name, _ in request.headers}
        must = {"host"} | {n for n in names if n.startswith("x-amz-")}
        if signed != sorted(signed) or must - set(signed) or \
                set(signed) - names:
            raise Refusal(403, "AccessDenied",
                          "There were headers present in the request which "
                          "were not signed", HeadersNotSigned=", ".join(
                              sorted(must - set(signed))))

    def _check_date(self, date):
        try:
            when = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise Refusal(403, "AccessDenied", "AWS authentication requires "
                          "a valid Date or x-amz-date header") from None
        if abs(when - self.now()) > SKEW_MAX:
            raise Refusal(403, "RequestTimeTooSkewed",
                          "The difference between the request time and the "
                          "current time is too large.",
                          ServerTime=time.strftime(
                              "%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now())))
        return when

    def _check_query(self, request, query):
        date = query.get("X-Amz-Date", "")
        try:
            when = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
            expires = int(query["X-Amz-Expires"])
        except (ValueError, KeyError):
            expires = when = -1
        if not 0 < expires <= EXPIRES_MAX or \
                query.get("X-Amz-Algorithm") != ALGORITHM:
            raise Refusal(400, "AuthorizationQueryParametersError",
                          "Query-string authentication needs all of its "
                          "parameters")
        if self.now() > when + expires or self.now() < when - SKEW_MAX:
            raise Refusal(403, "AccessDenied", "Request has expired")
        canonical = canonical_query(request.query, (b"X-Amz-Signature",))
        self._compare(request, query.get("X-Amz-Credential", ""), date,
                      query.get("X-Amz-SignedHeaders", "").split(";"),
                      query["X-Amz-Signature"], canonical, UNSIGNED,
                      query.get("X-Amz-Security-Token"))
        return query["X-Amz-Credential"].split("/")[0]

    def _compare(self, request, credential, date, signed, given, query,
                 payload, token):
        access, _, scope = credential.partition("/")
        parts = scope.split("/")
        if len(parts) != 4 or parts[0] != date[:8] or \
                parts[2:] != ["s3", "aws4_request"]:
            raise Refusal(400, "AuthorizationHeaderMalformed",
                          "The authorization header is malformed; the "
                          "credential is wrong")
        if self.region and parts[1] != self.region:
            raise Refusal(400, "AuthorizationHeaderMalformed",
                          "The authorization header is malformed; the region "
                          f"'{parts[1]}' is wrong; expecting '{self.region}'",
                          Region=self.region)
        keys = [k for k in self.keys if k["access"] == access]
        if not keys:
            raise Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id "
                          "you provided does not exist in our records.")
        if keys[0].get("token") != token:
            raise Refusal(400, "InvalidToken", "The provided token is "
                          "malformed or otherwise invalid.")
        canonical = canonical_request(request.method, request.path, query,
                                      request.headers, signed, payload)
        want = signature(keys[0]["secret"], date, scope, canonical)
        if not hmac.compare_digest(want, given):
            raise Refusal(403, "SignatureDoesNotMatch",
                          "The request signature we calculated does not match "
                          "the signature you provided.",
                          CanonicalRequest=canonical)
        ends = keys[0].setdefault(
            "ends", self.now() + keys[0].get("life", 1e9))
        if keys[0].get("expired") or self.now() > ends:
            raise Refusal(400, "ExpiredToken",
                          "The provided token has expired.")
