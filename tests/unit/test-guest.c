/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Looking into disks: the cage holds, what the child says is checked, and
 * nothing is left behind. This program is its own child (see main()). */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "guest/child.h"
#include "guest/probe.h"
#include "guest/report.h"
#include "guest/sandbox.h"
#include "tests/tap.h"

#define MIB (1ull << 20)

/* A disk that is zero but for a few sectors. */
struct fake {
	uint64_t size;
	struct piece {
		uint64_t at;
		unsigned char bytes[512];
	} pieces[16];
	size_t count;
	uint64_t bad_at, bad_len;     /* damaged here */
	enum error_kind bad_kind;
	uint64_t bytes_read;
};

static int fake_read(void *arg, uint64_t offset, void *buf, uint64_t length,
		     struct error *err)
{
	struct fake *fake = arg;

	fake->bytes_read += length;
	memset(buf, 0xee, length); /* what a failed read may leave behind */
	if (!in_range(offset, length, fake->size))
		return error_set(err, ERR_BUG, "past the end");
	if (fake->bad_len && offset < fake->bad_at + fake->bad_len &&
	    fake->bad_at < offset + length)
		return error_set(err, fake->bad_kind, "bad place");
	memset(buf, 0, length);
	for (size_t i = 0; i < fake->count; i++) {
		const struct piece *piece = &fake->pieces[i];

		if (piece->at >= offset &&
		    in_range(piece->at - offset, 512, length))
			memcpy((char *)buf + (piece->at - offset),
			       piece->bytes, 512);
	}
	return 0;
}

static unsigned char *put(struct fake *fake, uint64_t at)
{
	struct piece *piece = &fake->pieces[fake->count++];

	piece->at = at;
	return piece->bytes;
}

static void put_mbr(unsigned char *sector, int slot, uint8_t type,
		    uint32_t start, uint32_t count)
{
	unsigned char *entry = sector + 446 + 16 * slot;

	sector[510] = 0x55;
	sector[511] = 0xaa;
	entry[4] = type;
	le32_put(entry + 8, start);
	le32_put(entry + 12, count);
}

/* A swap area of the default page size, which is 4 KiB. */
static void put_swap(struct fake *fake, uint64_t at, const char *label)
{
	unsigned char *sector = put(fake, at + 1024);

	le32_put(sector, 1);
	le32_put(sector + 4, 255);
	memset(sector + 12, 0x11, 16);
	memcpy(sector + 28, label, strlen(label));
	memcpy(put(fake, at + 4096 - 512) + 502, "SWAPSPACE2", 10);
}

static int probe(json_t **out, struct fake *fake, uint32_t sector_bytes,
		 struct error *err)
{
	struct guest_disk disk = {
		.size = fake->size, .sector_bytes = sector_bytes,
		.read = fake_read, .arg = fake,
	};

	return guest_probe(out, &disk, err);
}

static const char *text_of(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static json_t *partition(json_t *result, size_t i)
{
	return json_array_get(json_object_get(json_object_get(
		result, "partition_table"), "partitions"), i);
}

static void test_empty(void)
{
	struct fake fake = { .size = 64 * MIB };
	struct error err = { 0 };
	json_t *result;

	succeeds(probe(&result, &fake, 0, &err), &err, "an empty disk");
	ok(!json_object_get(result, "partition_table"), "has no table");
	ok(!json_object_get(result, "file_system"), "and no file system");
	json_decref(result);
	for (uint64_t size = 0; size <= 1024; size += 256) {
		fake.size = size;
		succeeds(probe(&result, &fake, 0, &err), &err, "a tiny disk");
		json_decref(result);
	}
}

/* Logical partitions are found though their links lie far inside, one of
 * them is damaged, and the labels come from inside the partitions. */
static void test_logical_partitions(void)
{
	struct fake fake = { .size = 4096 * MIB };
	struct error err = { 0 };
	json_t *result;
	unsigned char *mbr = put(&fake, 0);

	put_mbr(mbr, 0, 0x82, 2048, 65536);
	put_mbr(mbr, 1, 0x05, 1000000, 4000000);
	put_swap(&fake, 2048 * 512, "first");
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t ebr = 1000000 + 1000000ull * i;
		unsigned char *sector = put(&fake, ebr * 512);

		put_mbr(sector, 0, 0x82, 64, 100000);
		if (i < 2)
			put_mbr(sector, 1, 0x05, 1000000 * (i + 1), 200000);
		put_swap(&fake, (ebr + 64) * 512, i == 1 ? "\xe4\\x" : "log");
	}
	succeeds(probe(&result, &fake, 0, &err), &err, "a DOS table");
	is_str(text_of(json_object_get(result, "partition_table"), "type"),
	       "dos", "its type");
	for (size_t i = 2; i < 5; i++) {
		json_t *part = partition(result, i);

		is_u64((uint64_t)json_integer_value(json_object_get(part,
								   "start")),
		       (1000064 + 1000000 * (i - 2)) * 512, "logical start");
		is_str(text_of(json_object_get(part, "file_system"), "type"),
		       "swap", "and file system");
	}
	ok(json_is_true(json_object_get(partition(result, 1), "extended")),
	   "the extended one is marked");
	is_str(text_of(json_object_get(partition(result, 3), "file_system"),
		       "label"), "\\xe4\\x5cx", "a label that is no UTF-8");
	ok(!json_object_get(result, "damaged"), "nothing is damaged");
	ok(fake.bytes_read < 64 * MIB, "little was read");
	json_decref(result);
}

/* An NTFS volume whose MFT lies far inside, where Windows puts it; its fourth
 * record has the label. */
static void put_ntfs(struct fake *fake, uint64_t at, uint64_t mft)
{
	unsigned char *boot = put(fake, at), *record;

	memcpy(boot + 3, "NTFS    ", 8);
	le16_put(boot + 11, 512);
	boot[13] = 8; /* sectors in a cluster */
	boot[21] = 0xf8;
	le64_put(boot + 40, 3000 * MIB / 512);
	le64_put(boot + 48, mft / 4096);
	le64_put(boot + 56, 2);
	boot[64] = 0xf6; /* records of 1 KiB */
	boot[510] = 0x55;
	boot[511] = 0xaa;
	memcpy(put(fake, at + mft), "FILE", 4);
	record = put(fake, at + mft + 3 * 1024);
	memcpy(record, "FILE", 4);
	le16_put(record + 20, 56);       /* first attribute */
	le32_put(record + 28, 1024);     /* bytes allocated */
	le32_put(record + 56, 0x60);     /* volume name */
	le32_put(record + 60, 40);       /* length */
	le32_put(record + 56 + 16, 6);   /* of the value */
	le16_put(record + 56 + 20, 24);  /* where it is */
	memcpy(record + 80, "f\0a\0r\0", 6);
	le32_put(record + 96, 0xffffffff);
}

static void test_far_metadata(void)
{
	struct fake fake = { .size = 4096 * MIB };
	struct error err = { 0 };
	json_t *result, *fs;

	put_mbr(put(&fake, 0), 0, 0x07, 2048, 3000 * MIB / 512);
	put_ntfs(&fake, MIB, 2048 * MIB);
	succeeds(probe(&result, &fake, 0, &err), &err, "metadata far inside");
	fs = json_object_get(partition(result, 0), "file_system");
	is_str(text_of(fs, "type"), "ntfs", "is found");
	is_str(text_of(fs, "label"), "far", "and read");
	json_decref(result);
}

static void test_damage(void)
{
	struct fake fake = {
		.size = 1024 * MIB, .bad_at = 2 * MIB, .bad_len = 4096,
		.bad_kind = ERR_CORRUPT,
	};
	struct error err = { 0 };
	json_t *result;

	put_mbr(put(&fake, 0), 0, 0x82, 2048, 65536);
	put_swap(&fake, 2048 * 512, "whole");
	succeeds(probe(&result, &fake, 0, &err), &err, "a damaged disk");
	ok(json_is_true(json_object_get(result, "damaged")), "says so");
	is_str(text_of(json_object_get(partition(result, 0), "file_system"),
		       "label"), "whole", "what is whole is found");
	json_decref(result);
	fake.bad_kind = ERR_NETWORK;
	fails_with(probe(&result, &fake, 0, &err), &err, ERR_NETWORK,
		   "bad place", "a network error ends the probe");
	ok(result == NULL, "without a result");
}

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void test_leaks(void)
{
	struct fake fake = { .size = 16 * MIB };
	struct error err = { 0 };
	int before = open_descriptors();
	json_t *result;

	for (int i = 0; i < 20; i++) {
		fake.bad_kind = ERR_NETWORK;
		fake.bad_len = i % 2;
		if (probe(&result, &fake, 0, &err) == 0)
			json_decref(result);
	}
	is_u64((uint64_t)open_descriptors(), (uint64_t)before,
	       "no descriptor leaks");
	ok(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD,
	   "no child is left");
}

static void test_hanging_child(void)
{
	struct guest_child child = { .line = -1 };
	struct error err = { 0 };
	char byte;

	succeeds(guest_child_start(&child, "child-hangs", 2, 200, &err), &err,
		 "a child that hangs");
	fails_with(guest_child_receive(&child, &byte, 1, &err), &err,
		   ERR_TIMEOUT, "in time", "is given up");
	ok(WIFSIGNALED(guest_child_stop(&child)), "and killed");
	succeeds(guest_child_start(&child, "child-leaves", 2, 5000, &err),
		 &err, "a child that leaves");
	fails_with(guest_child_receive(&child, &byte, 1, &err), &err,
		   ERR_CORRUPT, "ended early", "is noticed");
	guest_child_stop(&child);
}

/* The child reports what it has: environment and descriptors. */
static void test_inheritance(void)
{
	struct guest_child child = { .line = -1 };
	struct error err = { 0 };
	unsigned char have[2] = { 99, 99 };
	int secret = open("/dev/null", O_RDONLY); /* not O_CLOEXEC */

	setenv("SECRET", "key", 1);
	succeeds(guest_child_start(&child, "child-counts", 2, 5000, &err),
		 &err, "a child that looks around");
	succeeds(guest_child_receive(&child, have, 2, &err), &err, "answers");
	is_u64(have[0], 0, "it has no environment");
	is_u64(have[1], 0, "and no descriptor of ours");
	guest_child_stop(&child);
	close(secret);
}

enum crime {
	CRIME_NONE,
	CRIME_OPEN,
	CRIME_SOCKET,
	CRIME_FORK,
	CRIME_EXEC_MEMORY,
	CRIME_KILL,
	CRIME_GROW_FILE,
};

static void commit(enum crime crime)
{
	switch (crime) {
	case CRIME_NONE:
		break;
	case CRIME_OPEN:
		(void)!open("/etc/passwd", O_RDONLY);
		break;
	case CRIME_SOCKET:
		(void)!socket(AF_INET, SOCK_STREAM, 0);
		break;
	case CRIME_FORK:
		(void)!fork();
		break;
	case CRIME_EXEC_MEMORY:
		(void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		break;
	case CRIME_KILL:
		kill(getppid(), 0);
		break;
	case CRIME_GROW_FILE:
		(void)!ftruncate(1, 1);
		break;
	}
}

/* How a caged child that does this ends. */
static int caged(enum crime crime)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct error err = { 0 };

		if (guest_sandbox_enter(&err))
			_exit(9);
		commit(crime);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void test_cage(void)
{
	static const struct {
		enum crime crime;
		const char *what;
	} rows[] = {
		{ CRIME_OPEN, "opening a file kills" },
		{ CRIME_SOCKET, "a socket kills" },
		{ CRIME_FORK, "forking kills" },
		{ CRIME_EXEC_MEMORY, "memory to execute kills" },
		{ CRIME_KILL, "a signal to another process kills" },
		{ CRIME_GROW_FILE, "changing a file's size kills" },
	};
	const char *preload = getenv("LD_PRELOAD");
	int status;

	if (preload && strstr(preload, "vgpreload")) {
		ok(true, "the cage # SKIP valgrind's own system calls");
		return;
	}
	status = caged(CRIME_NONE);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	   "an honest child leaves in peace");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		status = caged(rows[i].crime);
		ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s",
		   rows[i].what);
	}
}

static void test_reports(void)
{
	static const char *const bad[] = {
		"", "[]", "{", "null", "{\"sector_size\":\"x\"}",
		"{\"sector_size\":-1}", "{\"partition_table\":[]}",
		"{\"partition_table\":{\"partitions\":[1]}}",
		"{\"partition_table\":{\"partitions\":[{\"size\":1.5}]}}",
		"{\"file_system\":{\"label\":{}}}", "{\"ambiguous\":1}",
		"{\"sector_size\":1,\"sector_size\":2}",
	};
	static const char good[] = "{\"evil\":1,\"sector_size\":512}";
	struct error err = { 0 };
	json_t *result;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		fails_with(guest_report_parse(&result, bad[i], strlen(bad[i]),
					      &err), &err, ERR_CORRUPT,
			   "shape", "a report of the wrong shape");
	succeeds(guest_report_parse(&result, good, strlen(good), &err), &err,
		 "an unknown field");
	is_u64(json_object_size(result), 1, "is left out");
	json_decref(result);
}

/* The parts that this program plays as its own child. */
static int play_child(const char *part)
{
	unsigned char have[2] = { 0, 0 };

	if (!strcmp(part, GUEST_PROBE_ARG))
		return guest_probe_main();
	if (!strcmp(part, "child-hangs"))
		pause();
	if (!strcmp(part, "child-counts")) {
		guest_child_settle();
		while (environ[have[0]])
			have[0]++;
		for (int fd = 3; fd < 100; fd++)
			have[1] += fcntl(fd, F_GETFD) >= 0;
		(void)!write(GUEST_LINE_FD, have, 2);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return play_child(argv[1]);
	/* What the shell left open is not ours to lose. */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	test_empty();
	test_logical_partitions();
	test_far_metadata();
	test_damage();
	test_leaks();
	test_hanging_child();
	test_inheritance();
	test_cage();
	test_reports();
	return tap_done();
}
