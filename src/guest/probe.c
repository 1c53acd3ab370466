/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The parent: fills the windows that the child asks for and checks what it
 * answers. The child decides nothing but which bytes of the disk it sees; how
 * many, and how long all may take, is bounded here. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/checked.h"
#include "guest/child.h"
#include "guest/probe.h"
#include "guest/report.h"
#include "guest/scan.h"

#define PATIENCE_MS   10000        /* for the child's own work, in all */
#define WINDOWS_MAX   4096
#define WINDOWS_BYTES (2ull << 30) /* read in all */
#define RETRY_BYTES   (64u << 10)  /* pieces of a window that fails */
#define PAGE_BYTES    4096

struct session {
	const struct guest_disk *disk;
	struct guest_child child;
	int file;          /* the sparse copy */
	bool is_damaged;
	unsigned int windows;
	uint64_t bytes;    /* asked for so far */
	unsigned char *buf; /* GUEST_WINDOW_MAX */
};

/* Copy to the file what is not zero, so that it stays sparse. */
static int store_window(struct session *session, uint64_t offset,
			uint64_t length, struct error *err)
{
	static const unsigned char zeroes[PAGE_BYTES];

	for (uint64_t at = 0; at < length;) {
		uint64_t n = min_u64(PAGE_BYTES - (offset + at) % PAGE_BYTES,
				     length - at);

		if (memcmp(session->buf + at, zeroes, n) != 0 &&
		    pwrite(session->file, session->buf + at, n,
			   (off_t)(offset + at)) != (ssize_t)n)
			return error_errno(err, errno, "write a window");
		at += n;
	}
	return 0;
}

static bool is_damage(const struct error *err)
{
	return err->kind == ERR_CORRUPT || err->kind == ERR_IO;
}

/* Read a window into buf, with zeroes where the disk is damaged. */
static int read_window(struct session *session, uint64_t offset,
		       uint64_t length, struct error *err)
{
	const struct guest_disk *disk = session->disk;
	struct error why = { 0 };

	if (disk->read(disk->arg, offset, session->buf, length, &why) == 0)
		return 0;
	session->is_damaged = true;
	for (uint64_t at = 0; is_damage(&why) && at < length;
	     at += RETRY_BYTES) {
		uint64_t n = min_u64(RETRY_BYTES, length - at);
		unsigned char *to = session->buf + at;

		if (disk->read(disk->arg, offset + at, to, n, &why))
			memset(to, 0, n);
	}
	if (is_damage(&why))
		return 0;
	*err = why;
	return -1;
}

static int serve_want(struct session *session, uint64_t offset,
		      uint64_t length, struct error *err)
{
	session->windows++;
	session->bytes += length;
	if (length == 0 || length > GUEST_WINDOW_MAX ||
	    !in_range(offset, length, session->disk->size))
		return error_set(err, ERR_CORRUPT, "the probing process asks "
				 "for bytes %" PRIu64 "+%" PRIu64, offset,
				 length);
	if (session->windows > WINDOWS_MAX || session->bytes > WINDOWS_BYTES)
		return error_set(err, ERR_LIMIT, "the partitions need more "
				 "than %d windows or %llu bytes read",
				 WINDOWS_MAX, WINDOWS_BYTES);
	if (read_window(session, offset, length, err) ||
	    store_window(session, offset, length, err))
		return -1;
	return guest_child_answer(&session->child, err);
}

static int serve_drop(struct session *session, struct error *err)
{
	if (ftruncate(session->file, 0) ||
	    ftruncate(session->file, (off_t)session->disk->size))
		return error_errno(err, errno, "empty the memory file");
	return guest_child_answer(&session->child, err);
}

static int take_failure(struct session *session, uint32_t length,
			struct error *err)
{
	char text[GUEST_TEXT_OUT_MAX + 1];

	if (length > GUEST_TEXT_OUT_MAX)
		return error_set(err, ERR_CORRUPT,
				 "the probing process failed");
	if (guest_child_receive(&session->child, text, length, err))
		return -1;
	text[length] = '\0';
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	return error_set(err, ERR_CORRUPT, "the probing process: %s", text);
}

static int take_result(json_t **out, struct session *session, uint32_t length,
		       struct error *err)
{
	AUTO_FREE char *text = NULL;

	if (length > GUEST_JSON_MAX)
		return error_set(err, ERR_CORRUPT, "the probing process gives "
				 "%" PRIu32 " bytes of result, above the limit "
				 "of %u", length, GUEST_JSON_MAX);
	text = malloc(length + 1);
	if (!text)
		return error_nomem(err);
	if (guest_child_receive(&session->child, text, length, err) ||
	    guest_report_parse(out, text, length, err))
		return -1;
	if (session->is_damaged)
		json_object_set_new(*out, "damaged", json_true());
	return 0;
}

static int serve(json_t **out, struct session *session, struct error *err)
{
	struct guest_frame frame;

	for (;;) {
		if (guest_child_receive(&session->child, &frame,
					sizeof(frame), err))
			return -1;
		switch (frame.type) {
		case GUEST_WANT:
			if (serve_want(session, frame.offset, frame.length,
				       err))
				return -1;
			break;
		case GUEST_DROP:
			if (serve_drop(session, err))
				return -1;
			break;
		case GUEST_RESULT:
			return take_result(out, session, frame.length, err);
		case GUEST_FAILED:
			return take_failure(session, frame.length, err);
		default:
			return error_set(err, ERR_CORRUPT,
					 "the probing process talks nonsense");
		}
	}
}

/* The child's view of the file cannot be written to. */
static int make_file(struct session *session, int *read_only,
		     struct error *err)
{
	char path[32];

	session->file = memfd_create("vmiefs-guest", MFD_CLOEXEC);
	if (session->file < 0 ||
	    ftruncate(session->file, (off_t)session->disk->size))
		return error_errno(err, errno, "make a memory file");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", session->file);
	*read_only = open(path, O_RDONLY | O_CLOEXEC);
	if (*read_only < 0)
		return error_errno(err, errno, "open %s", path);
	return 0;
}

static int run(json_t **out, struct session *session, struct error *err)
{
	struct guest_frame hello = {
		.type = session->disk->sector_bytes,
		.offset = session->disk->size,
	};
	AUTO_CLOSE int read_only = -1;

	if (make_file(session, &read_only, err) ||
	    guest_child_start(&session->child, GUEST_PROBE_ARG, read_only,
			      PATIENCE_MS, err))
		return -1;
	if (write(session->child.line, &hello, sizeof(hello)) !=
	    (ssize_t)sizeof(hello))
		return error_errno(err, errno, "greet the probing process");
	return serve(out, session, err);
}

int guest_probe(json_t **out, const struct guest_disk *disk, struct error *err)
{
	struct session session = {
		.disk = disk, .child = { .line = -1 }, .file = -1,
	};
	int ret, status;

	*out = NULL;
	session.buf = malloc(GUEST_WINDOW_MAX);
	if (!session.buf)
		return error_nomem(err);
	ret = run(out, &session, err);
	status = guest_child_stop(&session.child);
	if (ret && err && err->kind == ERR_CORRUPT && status > 0 &&
	    WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		error_set(err, ERR_CORRUPT, "the probing process was stopped "
			  "by signal %d", WTERMSIG(status));
	if (session.file >= 0)
		close(session.file);
	free(session.buf);
	return ret ? error_prefix(err, "look into the disk") : 0;
}
