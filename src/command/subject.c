/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * From the command line's OBJECT to an open container. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
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

/* Open and start the store at source. */
static int open_store(struct subject *subject, const char *source,
		      const struct store_options *options, struct error *err)
{
	if (store_open(&subject->store, source, options, err))
		return -1;
	return store_start(subject->store, err);
}

static int find_local(struct subject *subject, const char *object,
		      struct error *err)
{
	static const char scheme[] = "file://";
	AUTO_FREE char *path = NULL, *dir = NULL;

	if (!strncmp(object, scheme, strlen(scheme)))
		object += strlen(scheme);
	else if (strstr(object, "://"))
		/* The query of a URL may be a secret. */
		return error_set(err, ERR_UNSUPPORTED, "%.*s: give a path, "
				 "file:///path, s3://bucket/key or an https:// "
				 "URL", (int)strcspn(object, "?"), object);
	path = strdup(object);
	if (!path)
		return error_nomem(err);
	if (split(subject, path, &dir, err))
		return -1;
	return open_store(subject, dir, NULL, err);
}

/* "app.ova/disk.vmdk" is a disk in an OVA, if there is no object of that
 * name: cut text, and copy the rest (up to an URL's query) into the member.
 * 1: done, 0: it is nothing of that kind. */
static int cut_member(char *text, char **member, struct error *err)
{
	char *end = text + strcspn(text, "?");
	char *slash = memrchr(text, '/', (size_t)(end - text));
	char *start;
	bool is_in_ova;

	if (!slash || slash == text || slash + 1 == end)
		return 0;
	start = memrchr(text, '/', (size_t)(slash - text));
	*slash = '\0';
	is_in_ova = container_classify(start ? start + 1 : text) ==
		    CONTAINER_OVA;
	*slash = '/';
	if (!is_in_ova)
		return 0;
	*member = strndup(slash + 1, (size_t)(end - slash - 1));
	if (!*member)
		return error_nomem(err);
	memmove(slash, end, strlen(end) + 1);
	return 1;
}

/* A store that refuses a name may do so for all: then that is the reason. */
static int explain(const struct subject *subject, const struct error *why,
		   struct error *err)
{
	if (store_check(subject->store, err))
		return -1;
	*err = *why;
	return -1;
}

/* s3://bucket/key: a store that is the bucket. */
static int find_in_bucket(struct subject *subject, char *source,
			  const struct store_options *options,
			  struct error *err)
{
	char *slash = strchr(source + strlen("s3://"), '/');
	struct error why = { 0 };
	int cut;

	if (!slash || !slash[1])
		return error_set(err, ERR_ARG, "%s is no object; give "
				 "s3://bucket/key, or mount it", source);
	subject->key = strdup(slash + 1);
	if (!subject->key)
		return error_nomem(err);
	*slash = '\0';
	if (open_store(subject, source, options, err))
		return -1;
	if (!store_stat(subject->store, subject->key, &subject->info, &why))
		return 0;
	cut = cut_member(subject->key, &subject->member, err);
	if (cut < 0)
		return -1;
	if (cut && !store_stat(subject->store, subject->key, &subject->info,
			       NULL))
		return 0;
	return explain(subject, &why, err);
}

/* The store of a URL has one object: its name. */
static int take_only_key(void *arg, const struct store_entry *entry,
			 struct error *err)
{
	struct subject *subject = arg;

	free(subject->key);
	subject->key = strdup(entry->key);
	subject->info = entry->info;
	return subject->key ? 0 : error_nomem(err);
}

static int list_url(struct subject *subject, const char *source,
		    const struct store_options *options, struct error *err)
{
	struct list_args args = { .prefix = "" };
	AUTO_FREE char *continuation = NULL;

	if (open_store(subject, source, options, err) ||
	    store_list(subject->store, &args, take_only_key, subject,
		       &continuation, err))
		return -1;
	return subject->key ? 0 : error_set(err, ERR_NOT_FOUND, "there is "
					    "nothing");
}

static int find_url(struct subject *subject, char *source,
		    const struct store_options *options, struct error *err)
{
	struct error why = { 0 };
	int cut;

	if (!list_url(subject, source, options, &why))
		return 0;
	cut = cut_member(source, &subject->member, err);
	if (cut < 0)
		return -1;
	if (cut) {
		store_close(take_ptr(subject->store));
		if (!list_url(subject, source, options, err))
			return 0;
	}
	*err = why;
	return -1;
}

static int find_remote(struct subject *subject, char *source,
		       struct remote_options *options, struct error *err)
{
	struct store_options store;

	prctl(PR_SET_DUMPABLE, 0); /* credentials must not reach a core file */
	if (remote_fill(&store, options, err))
		return -1;
	return (!strncmp(source, "s3://", 5) ? find_in_bucket : find_url)(
		subject, source, &store, err);
}

static int open_container(struct subject *subject,
			  const struct subject_options *options,
			  const struct object_info *known, struct error *err)
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
	    container_open(&subject->container, subject->engine,
			   subject->store, subject->key, known, &container,
			   err))
		return -1;
	return check_member(subject, err);
}

int subject_open(struct subject *subject, char *object,
		 struct subject_options *options, struct error *err)
{
	AUTO_FREE char *source = NULL;
	bool is_remote;

	memset(subject, 0, sizeof(*subject));
	if (remote_take_source(&source, object, err))
		return -1;
	is_remote = remote_is_url(source);
	if ((is_remote ? find_remote(subject, source, &options->remote, err) :
			 find_local(subject, source, err)) ||
	    open_container(subject, options, is_remote ? &subject->info : NULL,
			   err)) {
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
