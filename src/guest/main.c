/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The child's life: into the cage, scan, one last frame. */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "guest/child.h"
#include "guest/probe.h"
#include "guest/sandbox.h"
#include "guest/scan.h"

static int write_all(const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t put = write(GUEST_LINE_FD, at, len);

		if (put <= 0)
			return -1;
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

static int send_frame(enum guest_frame_type type, uint64_t offset,
		      uint64_t length, const void *text)
{
	struct guest_frame frame = { type, (uint32_t)length, offset };

	if (write_all(&frame, sizeof(frame)))
		return -1;
	return text ? write_all(text, length) : 0;
}

/* Ask, and wait until it is done. */
static int ask(enum guest_frame_type type, uint64_t offset, uint64_t length,
	       struct error *err)
{
	char answer;

	if (send_frame(type, offset, length, NULL) ||
	    read(GUEST_LINE_FD, &answer, 1) != 1)
		return error_set(err, ERR_IO, "the parent has gone");
	return 0;
}

static int want_window(void *arg, uint64_t offset, uint64_t length,
		       struct error *err)
{
	return ask(GUEST_WANT, offset, length, err);
}

static int drop_windows(void *arg, struct error *err)
{
	return ask(GUEST_DROP, 0, 0, err);
}

static int scan_and_send(const struct guest_frame *hello, struct error *err)
{
	struct guest_scan scan = {
		.fd = GUEST_DISK_FD,
		.size = hello->offset,
		.sector_bytes = hello->type,
		.want = want_window,
		.drop = drop_windows,
	};
	AUTO_FREE char *text = NULL;
	json_t *result;

	if (guest_scan(&result, &scan, err))
		return -1;
	text = json_dumps(result, JSON_COMPACT);
	json_decref(result);
	if (!text)
		return error_nomem(err);
	if (send_frame(GUEST_RESULT, 0, strlen(text), text))
		return error_set(err, ERR_IO, "the parent has gone");
	return 0;
}

int guest_probe_main(void)
{
	struct guest_frame hello;
	struct error err = { 0 };

	guest_child_settle();
	/* jansson would open /dev/urandom; all keys here are our own. */
	json_object_seed(1);
	if (read(GUEST_LINE_FD, &hello, sizeof(hello)) !=
	    (ssize_t)sizeof(hello))
		_exit(2); /* run by hand, not by guest_probe() */
	if (guest_sandbox_enter(&err) == 0 && scan_and_send(&hello, &err) == 0)
		_exit(0);
	send_frame(GUEST_FAILED, 0, strlen(err.text), err.text);
	_exit(1);
}
