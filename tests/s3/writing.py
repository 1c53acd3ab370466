# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The scripted server's answers to requests that change something, as the S3
API reference has them."""

import contextlib
import hashlib
import os
import re
import secrets
import urllib.parse
import xml.etree.ElementTree
from xml.sax.saxutils import escape

import bodies
import sigv4
from bucket import document, text_of
from uploads import stamp

MIB = 1 << 20
KEY_MAX = 1024
PART_MIN = 5 * MIB
PART_MAX = 5 << 30
PARTS_MAX = 10000
OBJECT_MAX = 5 << 40
CLASSES = ("", "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA",
           "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR")
ACLS = ("", "private", "public-read", "public-read-write",
        "authenticated-read", "aws-exec-read", "bucket-owner-read",
        "bucket-owner-full-control")
ENCRYPTIONS = ("", "AES256", "aws:kms", "aws:kms:dsse")
# What an object keeps of the request that made it, and says when it is read.
KEPT = ("Content-Type", "cache-control", "content-disposition",
        "content-encoding", "content-language", "expires",
        "x-amz-storage-class", "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-website-redirect-location")


def refuse(status, code, message, **fields):
    """Raise it."""
    raise sigv4.Refusal(status, code, message, **fields)


def invalid(message, **fields):
    """An argument is wrong."""
    refuse(400, "InvalidArgument", message, **fields)


def arguments(request):
    """The query as a dict."""
    return {n.decode("latin-1"): v.decode("utf-8", "surrogateescape")
            for n, v in sigv4.split_query(request.query)}


def kept_headers(request):
    """What an object keeps of a request; raises Refusal."""
    if request.header("x-amz-storage-class") not in CLASSES:
        refuse(400, "InvalidStorageClass",
               "The storage class you specified is not valid")
    if request.header("x-amz-acl") not in ACLS:
        invalid("", ArgumentName="x-amz-acl",
                ArgumentValue=request.header("x-amz-acl"))
    if request.header("x-amz-server-side-encryption") not in ENCRYPTIONS:
        refuse(400, "InvalidEncryptionAlgorithmError", "The encryption "
               "request you specified is not valid.")
    kept = {n: request.header(n.lower()) for n in KEPT
            if request.header(n.lower())}
    kept.update((n, v) for n, v in request.headers
                if n.startswith("x-amz-meta-"))
    if sum(len(n) - 11 + len(v) for n, v in kept.items()
           if n.startswith("x-amz-meta-")) > 2048:
        refuse(400, "MetadataTooLarge", "Your metadata headers exceed the "
               "maximum allowed metadata size")
    tags = request.header("x-amz-tagging")
    if tags:
        pairs = urllib.parse.parse_qsl(tags, keep_blank_values=True,
                                       strict_parsing=True)
        if len(pairs) > 10 or len(dict(pairs)) < len(pairs):
            refuse(400, "InvalidTag", "The header 'x-amz-tagging' is wrong")
        kept["x-amz-tagging-count"] = str(len(pairs))
    return kept


def echo(headers):
    """Those that the answer to a write repeats."""
    return {n: v for n, v in headers.items()
            if n.startswith("x-amz-server-side-encryption")}


def etag_of(md5, headers):
    """What the ETag becomes: no MD5 where a key of KMS encrypts."""
    if "kms" in headers.get("x-amz-server-side-encryption", ""):
        return hashlib.md5(secrets.token_bytes(16)).hexdigest()
    return md5


def failed(condition):
    """A condition does not hold."""
    refuse(412, "PreconditionFailed", "At least one of the pre-conditions you "
           "specified did not hold", Condition=condition)


def conditions(request, picked):
    """A function (entry or None) that raises Refusal where the headers forbid
    the write; rules may have taken them out of the server."""
    none_match = request.header("if-none-match")
    match = request.header("if-match")
    rule = next((r for r in picked if r["do"] == "conditions"), None)
    if (none_match or match) and rule and rule["as"] == "unsupported" or \
            none_match not in ("", "*"):
        refuse(501, "NotImplemented", "A header you provided implies "
               "functionality that is not implemented", Header="If-None-Match")
    if rule:
        return lambda entry: None

    def check(entry):
        if none_match and entry:
            failed("If-None-Match")
        if match and not entry:
            refuse(404, "NoSuchKey", "The specified key does not exist.")
        if match not in ("", "*") and \
                match.strip('"') != entry.etag.strip('"'):
            failed("If-Match")
    return check


def check_body(request):
    """Is the body what it ought to be?"""
    if not request.header("content-length"):
        refuse(411, "MissingContentLength", "You must provide the "
               "Content-Length HTTP header.")
    if request.body.size > PART_MAX:
        refuse(400, "EntityTooLarge", "Your proposed upload exceeds the "
               "maximum allowed size", ProposedSize=request.body.size,
               MaxSizeAllowed=PART_MAX)
    request.body.check(request)


def put_object(state, bucket, request, picked):
    """PutObject."""
    check_body(request)
    kept = kept_headers(request)
    check = conditions(request, picked)
    check(bucket.find(request.key))
    md5 = request.body.md5.hexdigest()
    entry = bucket.publish(request.key, request.body.place(),
                           {"etag": etag_of(md5, kept), "headers": kept},
                           check)
    return {"ETag": entry.etag, **echo(kept), **sums(request)}, b""


def sums(request):
    """The checksums of a request, which the answer repeats."""
    return {n: v for n, v in request.headers
            if re.fullmatch("x-amz-checksum-(crc32|sha1|sha256)", n)}


def copy_source(state, request, picked):
    """The object that x-amz-copy-source names."""
    path = urllib.parse.unquote_to_bytes(
        request.header("x-amz-copy-source").partition("?")[0])
    name, _, key = path.removeprefix(b"/").partition(b"/")
    bucket = state.bucket(name.decode("utf-8", "replace"))
    if not bucket:
        refuse(404, "NoSuchBucket", "The specified bucket does not exist")
    entry = bucket.find(key)
    if not entry:
        refuse(404, "NoSuchKey", "The specified key does not exist.")
    if any(r["do"] == "conditions" for r in picked):
        return entry
    etag = entry.etag.strip('"')
    match = request.header("x-amz-copy-source-if-match")
    other = request.header("x-amz-copy-source-if-none-match")
    if match not in ("", "*") and match.strip('"') != etag:
        failed("x-amz-copy-source-If-Match")
    if other and other.strip('"') in ("*", etag):
        failed("x-amz-copy-source-If-None-Match")
    return entry


def copy_object(state, bucket, request, picked):
    """CopyObject."""
    source = copy_source(state, request, picked)
    directive = request.header("x-amz-metadata-directive") or "COPY"
    if directive not in ("COPY", "REPLACE"):
        invalid("Unknown metadata directive.")
    if source.size > PART_MAX:
        refuse(400, "InvalidRequest", "The specified copy source is larger "
               "than the maximum allowable size for a copy source: "
               f"{PART_MAX}")
    kept = kept_headers(request)
    if directive == "COPY":
        kept = {**{n: v for n, v in source.headers.items()
                   if not n.startswith("x-amz-s")},
                **{n: v for n, v in kept.items() if n.startswith("x-amz-s")}}
        if bucket.find(request.key) is not None and not echo(kept) and \
                request.header("x-amz-copy-source").strip("/") == \
                f"{request.bucket}/" + sigv4.quote(request.key, "/-._~"):
            refuse(400, "InvalidRequest", "This copy request is illegal "
                   "because it is trying to copy an object to itself without "
                   "changing the object's metadata, storage class, website "
                   "redirect location or encryption attributes.")
    path, md5 = bodies.copy_of(state.scratch, source, 0, source.size)
    entry = bucket.publish(request.key, path,
                           {"etag": etag_of(md5, kept), "headers": kept},
                           conditions(request, picked))
    return echo(kept), document(
        "CopyObjectResult", f"<LastModified>{entry.modified}</LastModified>"
        f"<ETag>{escape(entry.etag, {chr(34): '&quot;'})}</ETag>")


def delete_object(state, bucket, request, picked):
    """DeleteObject."""
    bucket.remove(request.key, conditions(request, picked))
    return {}, None


@contextlib.contextmanager
def found_upload(state, request):
    """The upload that a request names, while nobody else has it."""
    name = arguments(request).get("uploadId", "")
    upload = state.uploads.find(request.bucket, request.key, name)
    if upload:
        with upload.lock:
            # Whoever had it until now may have ended it.
            if state.uploads.find(request.bucket, request.key, name):
                yield upload
                return
    refuse(404, "NoSuchUpload", "The specified upload does not exist. The "
           "upload ID may be invalid, or the upload may have been aborted or "
           "completed.", UploadId=name)


def part_number(request):
    """Of a request for a part."""
    text = arguments(request).get("partNumber", "")
    if not text.isdigit() or not 1 <= int(text) <= PARTS_MAX:
        invalid("Part number must be an integer between 1 and 10000, "
                "inclusive", ArgumentName="partNumber", ArgumentValue=text)
    return int(text)


def create_upload(state, bucket, request, picked):
    """CreateMultipartUpload."""
    kept = kept_headers(request)
    upload = state.uploads.begin(request.bucket, request.key, kept,
                                 state.verifier.now())
    return echo(kept), document(
        "InitiateMultipartUploadResult",
        f"<Bucket>{escape(request.bucket)}</Bucket>"
        f"<Key>{text_of(request.key, False)}</Key>"
        f"<UploadId>{escape(upload.id)}</UploadId>")


def upload_part(state, bucket, request, picked):
    """UploadPart."""
    number = part_number(request)
    check_body(request)
    with found_upload(state, request) as upload:
        md5 = etag_of(request.body.md5.hexdigest(), upload.headers)
        upload.add(number, request.body.place(), md5)
    return {"ETag": f'"{md5}"', **echo(upload.headers), **sums(request)}, b""


def copy_range(request, source):
    """(start, size) of what x-amz-copy-source-range asks for."""
    text = request.header("x-amz-copy-source-range")
    if not text:
        return 0, source.size
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", text)
    if not match or int(match[1]) > int(match[2]):
        invalid("The x-amz-copy-source-range value must be of the form "
                "bytes=first-last where first and last are the zero-based "
                "offsets of the first and last bytes to copy",
                ArgumentName="x-amz-copy-source-range", ArgumentValue=text)
    if int(match[2]) >= source.size:
        invalid("Range specified is not valid for source object of size: "
                f"{source.size}", ArgumentName="x-amz-copy-source-range",
                ArgumentValue=text)
    if source.size <= PART_MIN:
        refuse(400, "InvalidRequest", "The specified copy source is not "
               "supported as a byte-range copy source")
    return int(match[1]), int(match[2]) + 1 - int(match[1])


def upload_part_copy(state, bucket, request, picked):
    """UploadPartCopy."""
    number = part_number(request)
    with found_upload(state, request):
        pass
    source = copy_source(state, request, picked)
    start, size = copy_range(request, source)
    if size > PART_MAX:
        refuse(400, "InvalidRequest", "The specified copy source is larger "
               "than the maximum allowable size for a copy source: "
               f"{PART_MAX}")
    path, md5 = bodies.copy_of(state.scratch, source, start, size)
    with found_upload(state, request) as upload:
        md5 = etag_of(md5, upload.headers)
        upload.add(number, path, md5)
    return echo(upload.headers), document(
        "CopyPartResult", f"<LastModified>{stamp(state.verifier.now())}"
        f"</LastModified><ETag>&quot;{md5}&quot;</ETag>")


def named_parts(request):
    """[(number, etag)] of a CompleteMultipartUpload."""
    try:
        root = xml.etree.ElementTree.fromstring(request.body.data)
    except xml.etree.ElementTree.ParseError:
        root = None
    rows = []
    for part in () if root is None else root:
        found = {e.tag.rpartition("}")[2]: (e.text or "").strip()
                 for e in part}
        if part.tag.rpartition("}")[2] != "Part" or \
                not found.get("PartNumber", "").isdigit():
            rows = []
            break
        rows.append((int(found["PartNumber"]),
                     found.get("ETag", "").strip('"')))
    if not rows or \
            root.tag.rpartition("}")[2] != "CompleteMultipartUpload":
        refuse(400, "MalformedXML", "The XML you provided was not well-formed "
               "or did not validate against our published schema")
    return rows


def choose_parts(upload, rows):
    """The parts that an object is to have; raises Refusal."""
    parts = []
    if [number for number, _ in rows] != sorted({n for n, _ in rows}):
        refuse(400, "InvalidPartOrder", "The list of parts was not in "
               "ascending order. Parts must be ordered by part number.")
    for number, etag in rows:
        part = upload.parts.get(number)
        if not part or part.md5 != etag:
            refuse(400, "InvalidPart", "One or more of the specified parts "
                   "could not be found. The part may not have been uploaded, "
                   "or the specified entity tag may not match the part's "
                   "entity tag.", UploadId=upload.id, PartNumber=number,
                   ETag=etag)
        parts.append(part)
    for part in parts[:-1]:
        if part.size < PART_MIN:
            refuse(400, "EntityTooSmall", "Your proposed upload is smaller "
                   "than the minimum allowed size", ProposedSize=part.size,
                   MinSizeAllowed=PART_MIN, PartNumber=part.number,
                   ETag=part.md5)
    if sum(part.size for part in parts) > OBJECT_MAX:
        refuse(400, "EntityTooLarge", "Your proposed upload exceeds the "
               "maximum allowed object size.", MaxSizeAllowed=OBJECT_MAX)
    return parts


def complete_upload(state, bucket, request, picked):
    """CompleteMultipartUpload. Only what was completed ends the upload."""
    check_body(request)
    rows = named_parts(request)
    with found_upload(state, request) as upload:
        parts = choose_parts(upload, rows)
        check = conditions(request, picked)
        check(bucket.find(request.key))
        path = bodies.joined(state.scratch, [part.path for part in parts])
        md5 = hashlib.md5(b"".join(bytes.fromhex(p.md5) for p in parts))
        entry = bucket.publish(
            request.key, path, {"etag": f"{md5.hexdigest()}-{len(parts)}",
                                "headers": upload.headers}, check)
        state.uploads.end(upload)
    return echo(upload.headers), document(
        "CompleteMultipartUploadResult",
        f"<Location>http://scripted{escape(request.path)}</Location>"
        f"<Bucket>{escape(request.bucket)}</Bucket>"
        f"<Key>{text_of(request.key, False)}</Key>"
        f"<ETag>{escape(entry.etag, {chr(34): '&quot;'})}</ETag>")


def abort_upload(state, bucket, request, picked):
    """AbortMultipartUpload."""
    with found_upload(state, request) as upload:
        state.uploads.end(upload)
    return {}, None


def number_of(args, name, most):
    """A number of the query that lies between 0 and `most`."""
    text = args.get(name, str(most))
    if not text.isdigit():
        invalid(f"Provided {name} not an integer or within integer range",
                ArgumentName=name, ArgumentValue=text)
    return min(int(text), most)


def list_uploads(state, bucket, request, picked):
    """ListMultipartUploads."""
    args = {n.decode("latin-1"): v for n, v in
            sigv4.split_query(request.query)}
    if args.get("delimiter"):
        refuse(501, "NotImplemented", "This server knows no delimiter here")
    prefix, marker = args.get("prefix", b""), args.get("key-marker", b"")
    after = args.get("upload-id-marker", b"").decode("latin-1") \
        if marker else None
    encoded = "encoding-type" in args
    limit = number_of(arguments(request), "max-uploads", 1000)
    found, more = state.uploads.page(request.bucket, prefix,
                                     (marker, after or None), limit)
    rows = [f"<Bucket>{escape(request.bucket)}</Bucket>"
            f"<KeyMarker>{text_of(marker, encoded)}</KeyMarker>"
            f"<UploadIdMarker>{escape(after or '')}</UploadIdMarker>"
            f"<Prefix>{text_of(prefix, encoded)}</Prefix>"
            f"<MaxUploads>{limit}</MaxUploads>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
    if encoded:
        rows.append("<EncodingType>url</EncodingType>")
    if more and found:
        rows.append(f"<NextKeyMarker>{text_of(found[-1].key, encoded)}"
                    "</NextKeyMarker><NextUploadIdMarker>"
                    f"{escape(found[-1].id)}</NextUploadIdMarker>")
    who = "<ID>0</ID><DisplayName>test</DisplayName>"
    rows += [f"<Upload><Key>{text_of(u.key, encoded)}</Key>"
             f"<UploadId>{escape(u.id)}</UploadId>"
             f"<Initiator>{who}</Initiator><Owner>{who}</Owner>"
             "<StorageClass>STANDARD</StorageClass>"
             f"<Initiated>{stamp(u.initiated)}</Initiated></Upload>"
             for u in found]
    return {}, document("ListMultipartUploadsResult", "".join(rows))


def list_parts(state, bucket, request, picked):
    """ListParts."""
    args = arguments(request)
    limit = number_of(args, "max-parts", 1000)
    after = int(args.get("part-number-marker", "0") or 0)
    with found_upload(state, request) as upload:
        behind = [p for n, p in sorted(upload.parts.items()) if n > after]
    found = behind[:limit]
    rows = [f"<Bucket>{escape(request.bucket)}</Bucket>"
            f"<Key>{text_of(request.key, 'encoding-type' in args)}</Key>"
            f"<UploadId>{escape(upload.id)}</UploadId>"
            f"<PartNumberMarker>{after}</PartNumberMarker>"
            "<NextPartNumberMarker>"
            f"{found[-1].number if found else 0}</NextPartNumberMarker>"
            f"<MaxParts>{limit}</MaxParts><IsTruncated>"
            f"{str(len(behind) > limit).lower()}</IsTruncated>"
            "<StorageClass>STANDARD</StorageClass>"]
    rows += [f"<Part><PartNumber>{p.number}</PartNumber>"
             f"<LastModified>{stamp(p.time)}</LastModified>"
             f"<ETag>&quot;{p.md5}&quot;</ETag><Size>{p.size}</Size></Part>"
             for p in found]
    return {}, document("ListPartsResult", "".join(rows))


def create_bucket(state, request):
    """CreateBucket; the one that makes it owns it."""
    if not re.fullmatch("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", request.bucket):
        refuse(400, "InvalidBucketName", "The specified bucket is not valid.")
    os.makedirs(os.path.join(state.args.root, request.bucket), exist_ok=True)


def delete_bucket(state, request):
    """DeleteBucket."""
    if state.bucket(request.bucket).keys():
        refuse(409, "BucketNotEmpty", "The bucket you tried to delete is not "
               "empty", BucketName=request.bucket)
    state.drop_bucket(request.bucket)


OPS = {"put": put_object, "copy": copy_object, "delete": delete_object,
       "create-upload": create_upload, "upload-part": upload_part,
       "upload-part-copy": upload_part_copy,
       "complete-upload": complete_upload, "abort-upload": abort_upload,
       "list-uploads": list_uploads, "list-parts": list_parts}


def op_of(request, names):
    """Which of OPS a request is, or None."""
    is_copy = bool(request.header("x-amz-copy-source"))
    kinds = {"PUT": ("put", "copy"), "DELETE": ("delete", "delete")}
    if not request.key:
        return "list-uploads" if request.method == "GET" and \
            b"uploads" in names else None
    if b"uploads" in names:
        return "create-upload" if request.method == "POST" else None
    if b"uploadId" in names:
        kinds = {"PUT": ("upload-part", "upload-part-copy"),
                 "POST": ("complete-upload",) * 2,
                 "DELETE": ("abort-upload",) * 2, "GET": ("list-parts",) * 2}
    return kinds[request.method][is_copy] if request.method in kinds else None


def answer(state, bucket, request, picked):
    """(headers, body or None for 204); raises Refusal."""
    if len(request.key) > KEY_MAX:
        refuse(400, "KeyTooLongError", "Your key is too long",
               Size=len(request.key), MaxSizeAllowed=KEY_MAX)
    return OPS[request.op](state, bucket, request, picked)
