# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Seeds of what S3 servers send, and of URLs."""

OBJECT = ("<Contents><Key>vms/d%2B1</Key><LastModified>"
          "2026-11-20T19:24:22.472Z</LastModified><ETag>&quot;25ed&quot;"
          "</ETag><Size>5</Size></Contents>")
PAGES = {
    "list": "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws"
            ".com/doc/2006-03-01/'><EncodingType>url</EncodingType>"
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t"
            f"</NextContinuationToken>{OBJECT}<CommonPrefixes><Prefix>vms/d/"
            "</Prefix></CommonPrefixes></ListBucketResult>",
    "literal": f"<ListBucketResult>{OBJECT}</ListBucketResult>",
    "buckets": "<ListAllMyBucketsResult><Buckets><Bucket><Name>abc</Name>"
               "</Bucket></Buckets><ContinuationToken>t</ContinuationToken>"
               "</ListAllMyBucketsResult>",
    "error": "<Error><Code>PermanentRedirect</Code><Message>m</Message>"
             "<Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint><Region>x"
             "</Region><StorageClass>GLACIER</StorageClass></Error>",
    "html": "<!DOCTYPE html><html></html>",
}
URLS = ("s3://", "s3://bucket/pre/fix/", "s3://arn:aws:s3:x",
        "https://user:secret@host/x", "http://127.0.0.1:8340/base",
        "https://[::1]:443/a%2Fb.vmdk?X-Amz-Signature=x#y", "//host/x",
        "/x", "http://2130706433/x", "https://x.localhost/..%2f")


def seeds(target):
    """(name, bytes) of each seed."""
    if target == "fuzz-s3-list":
        for name, text in PAGES.items():
            yield name, text.encode()
    else:
        for number, text in enumerate(URLS):
            yield f"url{number}", text.encode()
