/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Scratch space. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/scratch.h"

struct scratch {
	char *dir;
	bool is_own; /* the default, which anybody might have made */
	uint64_t limit;
	pthread_mutex_t lock; /* of what follows */
	uint64_t used, peak;
};

int scratch_new(struct scratch **out, const char *dir, uint64_t limit_bytes,
		struct error *err)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));

	*out = NULL;
	if (!scratch)
		return error_nomem(err);
	scratch->is_own = !dir;
	scratch->limit = limit_bytes;
	pthread_mutex_init(&scratch->lock, NULL);
	if (dir)
		scratch->dir = realpath(dir, NULL);
	else if (asprintf(&scratch->dir, "/var/tmp/vmiefs-%u", geteuid()) < 0)
		scratch->dir = NULL;
	if (!scratch->dir) {
		scratch_free(scratch);
		return dir ? error_errno(err, errno, "scratch=%s", dir) :
			     error_nomem(err);
	}
	*out = scratch;
	return 0;
}

void scratch_free(struct scratch *scratch)
{
	if (!scratch)
		return;
	pthread_mutex_destroy(&scratch->lock);
	free(scratch->dir);
	free(scratch);
}

const char *scratch_dir(const struct scratch *scratch)
{
	return scratch->dir;
}

int scratch_open_dir(const struct scratch *scratch, bool may_make,
		     struct error *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int ret;

	if (scratch->is_own && may_make && mkdir(scratch->dir, 0700) &&
	    errno != EEXIST)
		return error_errno(err, errno, "cannot make %s; choose "
				   "another with -o scratch=", scratch->dir);
	fd = open(scratch->dir,
		  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return error_errno(err, errno, "scratch=%s", scratch->dir);
	if (scratch->is_own &&
	    (st.st_uid != geteuid() || (st.st_mode & 077)))
		return error_set(err, ERR_DENIED, "%s belongs to somebody "
				 "else, or others may use it; choose another "
				 "with -o scratch=", scratch->dir);
	ret = fd;
	fd = -1;
	return ret;
}

/* Where nameless files are not known. */
static int open_hidden(int dir, struct error *err)
{
	char name[32];
	uint64_t number;
	int fd;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return error_errno(err, errno, "no random number");
	snprintf(name, sizeof(name), ".vmiefs-%016llx",
		 (unsigned long long)number);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "cannot create a file");
	unlinkat(dir, name, 0);
	return fd;
}

int scratch_open_file(struct scratch *scratch, struct error *err)
{
	AUTO_CLOSE int dir = scratch_open_dir(scratch, true, err);
	int fd;

	if (dir < 0)
		return -1;
	fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd < 0 &&
	    (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		fd = open_hidden(dir, err);
	else if (fd < 0)
		error_errno(err, errno, "cannot create a file");
	if (fd < 0)
		error_prefix(err, "scratch=%s", scratch->dir);
	return fd;
}

int scratch_reserve(struct scratch *scratch, uint64_t bytes,
		    struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&scratch->lock);

	if (bytes > scratch->limit - scratch->used)
		return error_errno(err, ENOSPC, "what is written out of order "
				   "needs more scratch space than the %llu "
				   "bytes of -o scratch-size=",
				   (unsigned long long)scratch->limit);
	scratch->used += bytes;
	scratch->peak = max_u64(scratch->peak, scratch->used);
	return 0;
}

void scratch_release(struct scratch *scratch, uint64_t bytes)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&scratch->lock);

	scratch->used -= bytes;
}

struct scratch_stats scratch_stats(struct scratch *scratch)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&scratch->lock);

	return (struct scratch_stats){ scratch->limit, scratch->used,
				       scratch->peak };
}
