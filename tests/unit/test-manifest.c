/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Manifests: every spelling that writers use, and what is no line of one. */
#include "config.h"

#include "format/manifest.h"
#include "format/source.h"
#include "tests/tap.h"

#define SHA1_ABC "a9993e364706816aba3e25717850c26c9cd0d89d"
#define SHA256_ABC                                                             \
	"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA512_ABC                                                             \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"     \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static const struct {
	const char *line, *algorithm, *name; /* algorithm NULL: not a line */
} rows[] = {
	{ "SHA1(a.ovf)= " SHA1_ABC, "SHA1", "a.ovf" },
	{ "SHA1 (a.ovf) = " SHA1_ABC, "SHA1", "a.ovf" },
	{ "\t sha1(a.ovf)=" SHA1_ABC "\r", "SHA1", "a.ovf" },
	{ "SHA256(b c.vmdk)= " SHA256_ABC, "SHA256", "b c.vmdk" },
	{ "Sha256( b.vmdk )= BA7816BF8F01CFEA414140DE5DAE2223"
	  "B00361A396177A9CB410FF61F20015AD", "SHA256", "b.vmdk" },
	{ "SHA512(d(1)=x.vmdk)= " SHA512_ABC, "SHA512", "d(1)=x.vmdk" },
	{ "SHA256(./b.vmdk)= " SHA256_ABC, "SHA256", "b.vmdk" },
	{ SHA1_ABC "  a.ovf", "SHA1", "a.ovf" },
	{ SHA256_ABC " *b.vmdk\r", "SHA256", "b.vmdk" },
	{ SHA1_ABC "  ./a b.ovf", "SHA1", "a b.ovf" },
	{ "\xef\xbb\xbfSHA1(bom.ovf)= " SHA1_ABC, "SHA1", "bom.ovf" },
	{ "SHA1(a.ovf)= " SHA256_ABC, NULL, NULL },
	{ "SHA1(a.ovf)= " SHA1_ABC "0", NULL, NULL },
	{ "SHA1(a.ovf)= x" SHA1_ABC, NULL, NULL },
	{ "SHA1(a.ovf) " SHA1_ABC, NULL, NULL },
	{ "SHA1 a.ovf = " SHA1_ABC, NULL, NULL },
	{ "SHA1()= " SHA1_ABC, NULL, NULL },
	{ "SHA1(a.ovf)= ", NULL, NULL },
	{ "SHA3(a.ovf)= " SHA256_ABC, NULL, NULL },
	{ SHA1_ABC, NULL, NULL },
	{ SHA1_ABC "  ", NULL, NULL },
	{ "12ab  a.ovf", NULL, NULL },
	{ "=", NULL, NULL },
	{ "()=", NULL, NULL },
	{ "# a comment", NULL, NULL },
};

static unsigned int bad_count, bad_last;

static void count_bad(void *arg, unsigned int line)
{
	bad_count++;
	bad_last = line;
}

static void test_lines(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct manifest *m;
		struct error err;
		char what[32];

		snprintf(what, sizeof(what), "row %zu", i);
		bad_count = 0;
		succeeds(manifest_parse(&m, rows[i].line, strlen(rows[i].line),
					count_bad, NULL, &err), &err,
			 what);
		if (rows[i].algorithm) {
			is_u64(m->count, 1, "an entry");
			is_str(m->entries[0].algorithm, rows[i].algorithm,
			       "algorithm");
			is_str(m->entries[0].name, rows[i].name, "name");
		} else {
			ok(m->count == 0 && bad_count == 1, "not understood");
		}
		manifest_free(m);
	}
}

static void test_text(void)
{
	static const char text[] = "SHA1(a)= " SHA1_ABC "\r\n\r\nwhat?\n"
				   "SHA1(b)= " SHA1_ABC "\n\n"
				   SHA256_ABC "  c";
	struct manifest *m;
	struct error err;

	bad_count = 0;
	succeeds(manifest_parse(&m, text, strlen(text), count_bad, NULL, &err),
		 &err, "several lines");
	is_u64(m->count, 3, "three entries");
	is_u64(bad_count, 1, "one bad line");
	is_u64(bad_last, 3, "its number");
	is_u64(m->entries[1].line, 4, "line of the second entry");
	is_str(m->entries[2].name, "c", "no newline at the end");
	is_u64(m->entries[2].digest[0], 0xba, "digest");
	manifest_free(m);
	succeeds(manifest_parse(&m, "", 0, NULL, NULL, &err), &err, "empty");
	is_u64(m->count, 0, "no entries");
	manifest_free(m);
}

static uint64_t hashed;

static bool add_bytes(void *arg, uint64_t bytes)
{
	hashed += bytes;
	return arg == NULL;
}

static void test_verify(void)
{
	static const char text[] = "SHA1(a)= " SHA1_ABC "\n"
				   "SHA256(a)= " SHA256_ABC "\n"
				   "SHA512(a)= " SHA512_ABC "\n";
	struct source *good, *bad;
	struct manifest *m;
	struct error err;
	bool matches;

	succeeds(source_memory(&good, "a", "abc", 3, &err), &err, "abc");
	succeeds(source_memory(&bad, "a", "abd", 3, &err), &err, "abd");
	succeeds(manifest_parse(&m, text, strlen(text), NULL, NULL, &err), &err,
		 "manifest");
	for (size_t i = 0; i < m->count; i++) {
		succeeds(manifest_verify(&m->entries[i], good, add_bytes, NULL,
					 &matches, &err), &err, "verify");
		ok(matches, "%s matches", m->entries[i].algorithm);
		succeeds(manifest_verify(&m->entries[i], bad, NULL, NULL,
					 &matches, &err), &err, "verify");
		ok(!matches, "%s differs", m->entries[i].algorithm);
	}
	is_u64(hashed, 9, "progress");
	fails_with(manifest_verify(&m->entries[0], good, add_bytes, &hashed,
				   &matches, &err), &err, ERR_CANCELLED, "",
		   "stopped by progress()");
	manifest_free(m);
	source_unref(good);
	source_unref(bad);
}

int main(void)
{
	test_lines();
	test_text();
	test_verify();
	return tap_done();
}
