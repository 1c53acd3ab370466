# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Seeds of what S3 servers send, of URLs, and of journals of uploads."""

OBJECT = ("<Contents><Key>vms/d%2B1</Key><LastModified>"
          "2026-11-20T19:24:22.472Z</LastModified><ETag>&quot;25ed&quot;"
          "</ETag><Size>5</Size></Contents>")
PAGES = {
    "list": "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws"
            ".com/doc/2006-03-01/'><EncodingType>url</EncodingType>"
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t"
            f"</NextContinuationToken>{OBJECT}<CommonPrefixes><Prefix>vms/d/"
            "</Prefix></CommonPrefixes></ListBucketResult>",
    "slash": "<ListBucketResult><Contents><Key>vms/d/</Key><LastModified>"
             "2026-11-20T19:24:22Z</LastModified><Size>5</Size></Contents>"
             "</ListBucketResult>",
    "literal": f"<ListBucketResult>{OBJECT}</ListBucketResult>",
    "buckets": "<ListAllMyBucketsResult><Buckets><Bucket><Name>abc</Name>"
               "</Bucket></Buckets><ContinuationToken>t</ContinuationToken>"
               "</ListAllMyBucketsResult>",
    "error": "<Error><Code>PermanentRedirect</Code><Message>m</Message>"
             "<Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint><Region>x"
             "</Region><StorageClass>GLACIER</StorageClass></Error>",
    "uploads": "<ListMultipartUploadsResult><EncodingType>url</EncodingType>"
               "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
               "<NextUploadIdMarker>i</NextUploadIdMarker><Upload><Key>a%20b"
               "</Key><UploadId>2~x</UploadId><Initiated>2026-11-20T19:24:22Z"
               "</Initiated></Upload></ListMultipartUploadsResult>",
    "parts": "<ListPartsResult><IsTruncated>true</IsTruncated>"
             "<NextPartNumberMarker>1</NextPartNumberMarker><Part><PartNumber>"
             "1</PartNumber><Size>5</Size><LastModified>2026-11-20T19:24:22Z"
             "</LastModified><ETag>&quot;25ed1bcb423b0b7200f485fc5ff71c8e"
             "&quot;</ETag></Part></ListPartsResult>",
    "html": "<!DOCTYPE html><html></html>",
}
URLS = ("s3://", "s3://bucket/pre/fix/", "s3://arn:aws:s3:x",
        "https://user:secret@host/x", "http://127.0.0.1:8340/base",
        "https://[::1]:443/a%2Fb.vmdk?X-Amz-Signature=x#y", "//host/x",
        "/x", "http://2130706433/x", "https://x.localhost/..%2f")
BEGIN = ('{"begin":%d,"server":"https://s3.example.org","bucket":"bucket",'
         '"key":"vms/a%%20b","time":1763721000,"within":120}\n')
JOURNALS = {
    "begun": BEGIN % 1,
    "known": BEGIN % 1 + '{"id":1,"upload":"2~x/+=","time":1763721001}\n',
    "unsure": BEGIN % 7 + '{"id":7,"upload":"x","time":1,"unsure":true}\n'
              '{"left":7}\n',
    "ended": BEGIN % 1 + BEGIN % 2 + BEGIN % 3 + '{"end":2}\n{"end":1}\n',
    "torn": BEGIN % 1 + '{"id":1,"uplo',
    "mended": BEGIN % 1 + '{"id":1,"uplo\n{"end":1}\n',
}
# The first byte picks the status from the table of fuzz-http-fields.c.
ANSWERS = {
    "range": ("1", "Content-Range: bytes 100-199/1000", 'ETag: "abc-7"',
              "Date: Fri, 20 Nov 2026 19:24:18 GMT",
              "Last-Modified: Fri, 20 Nov 2026 19:24:18 GMT"),
    "any-total": ("1", "content-range:bytes 100-199/*", 'etag: W/"abc-7"'),
    "odd-range": ("1", "Content-Range: bytes 0-9223372036854775807/"
                  "9223372036854775808", "ETag: abc"),
    "whole": ("0", "Content-Length: 1000", 'ETag: "abc-7"',
              "Content-Encoding: aws-chunked"),
    "gzip": ("0", "Content-Length: 1000", "Content-Encoding: gzip"),
    "empty": ("6", "Content-Range: bytes */0"),
    "redirect": ("2", "Location: https://b.s3.eu-west-1.amazonaws.com/k",
                 "x-amz-bucket-region: eu-west-1"),
    "refused": ("4", "x-amz-request-id: 4442587FB7D0A2F9"),
    "slow": ("5", "Retry-After: 120", "Date: Fri, 20 Nov 2026 19:24:18 GMT"),
    "slow-date": ("5", "Retry-After: Fri, 20 Nov 2026 19:24:38 GMT",
                  "Date: Fri, 20 Nov 2026 19:24:18 GMT"),
    "texts": ("0", "2026-11-20T19:24:22.472Z", "a+b%20c%2Fd%zz"),
}


def answer_seed(name):
    """Status, headers, body."""
    status, *lines = ANSWERS[name]
    return (status + "".join(line + "\r\n" for line in lines) + "\r\n" +
            PAGES["error"]).encode()


def seeds(target):
    """(name, bytes) of each seed."""
    if target == "fuzz-http-fields":
        for name in ANSWERS:
            yield name, answer_seed(name)
        return
    if target == "fuzz-journal":
        for name, text in JOURNALS.items():
            yield name, text.encode()
    elif target == "fuzz-s3-list":
        for name, text in PAGES.items():
            yield name, text.encode()
    else:
        for number, text in enumerate(URLS):
            yield f"url{number}", text.encode()
