/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * From the command line's OBJECT to an open container. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "command/subject.h"
#include "common/strbuf.h"

const char *const subject_vhd_sizes[] = { "current", "chs", NULL };

#define VHD_SIZE_CHS 1

static bool is_file(const char *path, struct stat *st)
{
	return stat(path, st) == 0 && S_ISREG(st->st_mode);
}

/* Cut "app.ova/disk.vmdk" into the file and what is asked for in it. */
static int split_member(char *path, char **member, struct error *err)
{
	struct stat st;
	char *slash;
	int errnum;

	*member = NULL;
	if (is_file(path, &st))
		return 0;
	errnum = errno;
	slash = strrchr(path, '/');
	if (slash && slash != path && slash[1]) {
		*slash = '\0';
		if (is_file(path, &st)) {
			*member = slash + 1;
			return 0;
		}
		*slash = '/';
	}
	if (stat(path, &st))
		return error_errno(err, errnum, "%s", path);
	if (S_ISDIR(st.st_mode))
		return error_set(err, ERR_ARG, "%s is a directory; name a "
				 "container in it", path);
	return error_set(err, ERR_ARG, "%s is no ordinary file", path);
}

static int split(struct subject *subject, char *path, char **dir,
		 struct error *err)
{
	AUTO_FREE char *real = NULL;
	char *member, *slash;

	if (split_member(path, &member, err))
		return -1;
	real = realpath(path, NULL);
	if (!real)
		return error_errno(err, errno, "%s", path);
	slash = strrchr(real, '/');
	subject->key = strdup(slash + 1);
	subject->member = member ? strdup(member) : NULL;
	if (!subject->key || (member && !subject->member))
		return error_nomem(err);
	*slash = '\0';
	*dir = strdup(*real ? real : "/");
	return *dir ? 0 : error_nomem(err);
}

/* Does `member`, as the user wrote it, name the disk? */
static bool names_disk(const char *member, const char *disk)
{
	size_t len = strlen(disk);

	return !strncmp(member, disk, len) &&
	       (!member[len] || !strcmp(member + len, ".raw"));
}

bool subject_selects(const struct subject *subject,
		     const struct container_disk *disk)
{
	return !subject->member || names_disk(subject->member, disk->name);
}

static int check_member(const struct subject *subject, struct error *err)
{
	const struct container *container = subject->container;
	struct strbuf names = { .max = 300 };
	size_t count = container_disk_count(container);

	if (!subject->member)
		return 0;
	if (!container_is_ova(container))
		return error_set(err, ERR_NOT_FOUND, "%s is no OVA and has "
				 "no '%s' in it", subject->key,
				 subject->member);
	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk = container_disk(container,
								   i);

		if (subject_selects(subject, disk)) {
			strbuf_free(&names);
			return 0;
		}
		strbuf_printf(&names, "%s%s", i ? ", " : "", disk->name);
	}
	error_set(err, ERR_NOT_FOUND, "%s has no disk '%s'; it has: %s",
		  subject->key, subject->member,
		  names.data ? names.data : "none");
	strbuf_free(&names);
	return -1;
}

static int open_all(struct subject *subject, const char *dir,
		    const struct subject_options *options, struct error *err)
{
	struct engine_options engine = {
		.memory_bytes = options->memory_bytes,
		.threads = options->threads,
	};
	struct container_options container = {
		.format = options->format,
		.vhd_chs = options->vhd_size == VHD_SIZE_CHS,
	};

	if (engine_new(&subject->engine, &engine, err) ||
	    store_open(&subject->store, dir, NULL, err) ||
	    store_start(subject->store, err) ||
	    container_open(&subject->container, subject->engine,
			   subject->store, subject->key, NULL, &container,
			   err))
		return -1;
	return check_member(subject, err);
}

int subject_open(struct subject *subject, const char *object,
		 const struct subject_options *options, struct error *err)
{
	static const char scheme[] = "file://";
	AUTO_FREE char *path = NULL, *dir = NULL;

	memset(subject, 0, sizeof(*subject));
	if (!strncmp(object, scheme, strlen(scheme)))
		object += strlen(scheme);
	else if (strstr(object, "://"))
		return error_set(err, ERR_UNSUPPORTED, "%s: give a path or "
				 "file:///path", object);
	path = strdup(object);
	if (!path)
		return error_nomem(err);
	if (split(subject, path, &dir, err) ||
	    open_all(subject, dir, options, err)) {
		subject_close(subject);
		return -1;
	}
	return 0;
}

void subject_close(struct subject *subject)
{
	container_unref(subject->container);
	store_close(subject->store);
	if (subject->engine)
		engine_free(subject->engine);
	free(subject->key);
	free(subject->member);
	memset(subject, 0, sizeof(*subject));
}
