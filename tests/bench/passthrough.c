/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A FUSE file system of one file, "file", that shows the bytes of another
 * file: what FUSE itself costs on this machine. The bench takes its plain form
 * as the limit for stored (not packed) formats; the options are there to
 * choose the settings of src/fs/ by measurement. With --discard the file is
 * written instead of read, and its bytes are dropped: what FUSE itself costs a
 * writer.
 *
 * Threads: libfuse's loop threads read and reply; with --pool they only queue
 * requests and that many threads of our own read and reply. */
#include "config.h"

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"

enum reply { REPLY_BUF, REPLY_IOV, REPLY_DATA, REPLY_SPLICE, REPLY_MMAP };

struct options {
	const char *file, *mountpoint;
	unsigned int max_read, readahead_kib, threads, pool;
	enum reply reply;
	bool clone_fd, async_read, direct_io, discard;
};

struct request {
	struct request *next;
	fuse_req_t req;
	size_t size;
	off_t offset;
};

struct passthrough {
	struct options options;
	int fd;
	struct stat st;
	char *mapped;          /* REPLY_MMAP */
	pthread_mutex_t lock;  /* guards the queue */
	pthread_cond_t queued;
	struct request *first, **last;
	bool ended;
	atomic_ulong reads, kib; /* told at the end */
};

static void pass_init(void *userdata, struct fuse_conn_info *conn)
{
	const struct passthrough *self = userdata;

	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ |
				      FUSE_CAP_SPLICE_WRITE |
				      FUSE_CAP_SPLICE_MOVE);
	if (self->options.reply == REPLY_SPLICE)
		conn->want |= FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
	if (!self->options.async_read)
		conn->want &= ~(unsigned int)FUSE_CAP_ASYNC_READ;
	conn->max_read = self->options.max_read;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static void fill_stat(const struct passthrough *self, fuse_ino_t ino,
		      struct stat *st)
{
	mode_t mode = self->options.discard ? 0644 : 0444;

	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = ino == 1 ? S_IFDIR | 0755 : S_IFREG | mode;
	st->st_nlink = 1;
	st->st_size = ino == 1 ? 0 : self->st.st_size;
}

static void pass_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .ino = 2, .attr_timeout = 3600,
					  .entry_timeout = 3600 };

	if (strcmp(name, "file") != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_stat(fuse_req_userdata(req), 2, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void pass_getattr(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	struct stat st;

	fill_stat(fuse_req_userdata(req), ino, &st);
	fuse_reply_attr(req, &st, 3600);
}

static void pass_open(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi)
{
	const struct passthrough *self = fuse_req_userdata(req);

	fi->direct_io = self->options.direct_io;
	fuse_reply_open(req, fi);
}

/* Only for what an open with O_TRUNC may bring along. */
static void pass_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
			 int to_set, struct fuse_file_info *fi)
{
	pass_getattr(req, ino, fi);
}

static void pass_write(fuse_req_t req, fuse_ino_t ino, const char *data,
		       size_t size, off_t offset, struct fuse_file_info *fi)
{
	const struct passthrough *self = fuse_req_userdata(req);

	if (self->options.discard)
		fuse_reply_write(req, size);
	else
		fuse_reply_err(req, EROFS);
}

static void reply_fd(const struct passthrough *self, fuse_req_t req,
		     size_t size, off_t offset)
{
	struct fuse_bufvec vec = FUSE_BUFVEC_INIT(size);

	vec.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	vec.buf[0].fd = self->fd;
	vec.buf[0].pos = offset;
	fuse_reply_data(req, &vec, FUSE_BUF_SPLICE_MOVE);
}

/* The buffer lives as long as its thread, as the engine's cache does. */
static _Thread_local char *buffer;

static void reply_read(const struct passthrough *self, fuse_req_t req,
		       size_t size, off_t offset)
{
	ssize_t got;

	if (!buffer)
		buffer = aligned_alloc(4096, self->options.max_read);
	got = buffer ? pread(self->fd, buffer, size, offset) : -1;
	if (got < 0) {
		fuse_reply_err(req, buffer ? errno : ENOMEM);
	} else if (self->options.reply == REPLY_IOV) {
		size_t half = (size_t)got / 2;
		struct iovec iov[2] = { { buffer, half },
					{ buffer + half, (size_t)got - half } };

		fuse_reply_iov(req, iov, 2);
	} else if (self->options.reply == REPLY_DATA) {
		struct fuse_bufvec vec = FUSE_BUFVEC_INIT((size_t)got);

		vec.buf[0].mem = buffer;
		fuse_reply_data(req, &vec, 0);
	} else {
		fuse_reply_buf(req, buffer, (size_t)got);
	}
}

static void serve(const struct passthrough *self, fuse_req_t req, size_t size,
		  off_t offset)
{
	off_t left = self->st.st_size - offset;

	if (left <= 0)
		size = 0;
	else if ((uint64_t)left < size)
		size = (size_t)left;
	if (self->options.reply == REPLY_SPLICE)
		reply_fd(self, req, size, offset);
	else if (self->options.reply == REPLY_MMAP)
		fuse_reply_buf(req, self->mapped + offset, size);
	else
		reply_read(self, req, size, offset);
}

static void pass_read(fuse_req_t req, fuse_ino_t ino, size_t size,
		      off_t offset, struct fuse_file_info *fi)
{
	struct passthrough *self = fuse_req_userdata(req);
	struct request *request;

	atomic_fetch_add(&self->reads, 1);
	atomic_fetch_add(&self->kib, size >> 10);
	if (!self->options.pool) {
		serve(self, req, size, offset);
		return;
	}
	request = malloc(sizeof(*request));
	if (!request) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*request = (struct request){ NULL, req, size, offset };
	pthread_mutex_lock(&self->lock);
	*self->last = request;
	self->last = &request->next;
	pthread_cond_signal(&self->queued);
	pthread_mutex_unlock(&self->lock);
}

/* Next request of the queue; NULL at the end. */
static struct request *next_request(struct passthrough *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	struct request *request;

	while (!self->first && !self->ended)
		pthread_cond_wait(&self->queued, held);
	request = self->first;
	if (request) {
		self->first = request->next;
		if (!self->first)
			self->last = &self->first;
	}
	return request;
}

static void *pool_thread(void *arg)
{
	struct passthrough *self = arg;
	struct request *request;

	while ((request = next_request(self))) {
		serve(self, request->req, request->size, request->offset);
		free(request);
	}
	free(buffer);
	return NULL;
}

static const struct fuse_lowlevel_ops pass_ops = {
	.init = pass_init,
	.lookup = pass_lookup,
	.getattr = pass_getattr,
	.setattr = pass_setattr,
	.open = pass_open,
	.read = pass_read,
	.write = pass_write,
};

/* The kernel offers 128 KiB and takes less from INIT, never more. */
static void set_readahead(const struct options *options)
{
	char path[128];
	struct stat st;
	AUTO_FILE FILE *file = NULL;

	if (!options->readahead_kib || stat(options->mountpoint, &st))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		 major(st.st_dev), minor(st.st_dev));
	file = fopen(path, "we");
	if (!file || fprintf(file, "%u\n", options->readahead_kib) < 0)
		fprintf(stderr, "cannot set read-ahead in %s\n", path);
}

/* stat() of the mount point needs the loop to run. */
static void *readahead_thread(void *arg)
{
	set_readahead(arg);
	return NULL;
}

static int run_loop(struct passthrough *self, struct fuse_session *session)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	pthread_t helper, pool[64];
	unsigned int n = self->options.pool;
	int ret;

	fuse_loop_cfg_set_clone_fd(config, self->options.clone_fd);
	fuse_loop_cfg_set_max_threads(config, self->options.threads);
	fuse_loop_cfg_set_idle_threads(config, self->options.threads);
	for (unsigned int i = 0; i < n; i++)
		pthread_create(&pool[i], NULL, pool_thread, self);
	pthread_create(&helper, NULL, readahead_thread, &self->options);
	if (self->options.threads == 1)
		ret = fuse_session_loop(session);
	else
		ret = fuse_session_loop_mt(session, config);
	pthread_join(helper, NULL);
	pthread_mutex_lock(&self->lock);
	self->ended = true;
	pthread_cond_broadcast(&self->queued);
	pthread_mutex_unlock(&self->lock);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(pool[i], NULL);
	fuse_loop_cfg_destroy(config);
	fprintf(stderr, "%lu reads, %lu KiB each\n", self->reads,
		self->reads ? self->kib / self->reads : 0);
	return ret ? 1 : 0;
}

static int serve_mount(struct passthrough *self)
{
	char name[] = "passthrough", flag[] = "-o", text[64];
	const char *mode = self->options.discard ? "rw" : "ro";
	char *argv[] = { name, flag, text, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_session *session;
	int ret = 1;

	snprintf(text, sizeof(text), "max_read=%u,%s,fsname=passthrough",
		 self->options.max_read, mode);
	session = fuse_session_new(&args, &pass_ops, sizeof(pass_ops), self);
	if (!session)
		return 1;
	if (!fuse_set_signal_handlers(session)) {
		if (!fuse_session_mount(session, self->options.mountpoint)) {
			ret = run_loop(self, session);
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return ret;
}

static int open_file(struct passthrough *self)
{
	self->fd = open(self->options.file, O_RDONLY | O_CLOEXEC);
	if (self->fd < 0 || fstat(self->fd, &self->st)) {
		perror(self->options.file);
		return -1;
	}
	if (self->options.reply != REPLY_MMAP)
		return 0;
	self->mapped = mmap(NULL, (size_t)self->st.st_size, PROT_READ,
			    MAP_SHARED, self->fd, 0);
	if (self->mapped == MAP_FAILED) {
		perror("mmap");
		return -1;
	}
	return 0;
}

static int parse_reply(const char *text)
{
	static const char *const names[] = { "buf", "iov", "data", "splice",
					     "mmap" };
	int i = REPLY_MMAP;

	while (i >= 0 && strcmp(names[i], text) != 0)
		i--;
	return i;
}

static unsigned int number(const char *text)
{
	return (unsigned int)strtoul(text, NULL, 0);
}

static void set_option(struct options *o, int c, const char *value)
{
	switch (c) {
	case 'm': o->max_read = number(value); break;
	case 'r': o->readahead_kib = number(value); break;
	case 't': o->threads = number(value); break;
	case 'p': o->pool = number(value) > 64 ? 64 : number(value); break;
	case 'R': o->reply = (enum reply)parse_reply(value); break;
	case 'c': o->clone_fd = true; break;
	case 'a': o->async_read = true; break;
	case 'd': o->direct_io = true; break;
	case 'D': o->discard = true; break;
	}
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "max-read", required_argument, NULL, 'm' },
		{ "readahead-kib", required_argument, NULL, 'r' },
		{ "threads", required_argument, NULL, 't' },
		{ "pool", required_argument, NULL, 'p' },
		{ "reply", required_argument, NULL, 'R' },
		{ "clone-fd", no_argument, NULL, 'c' },
		{ "async-read", no_argument, NULL, 'a' },
		{ "direct-io", no_argument, NULL, 'd' },
		{ "discard", no_argument, NULL, 'D' },
		{ NULL }
	};
	static struct passthrough self = {
		.options = { .max_read = 1 << 20, .threads = 10 },
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.queued = PTHREAD_COND_INITIALIZER,
		.last = &self.first,
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?' || (c == 'R' && parse_reply(optarg) < 0))
			return 2;
		set_option(&self.options, c, optarg);
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: passthrough [--OPTION...] FILE "
			"MOUNTPOINT\n");
		return 2;
	}
	self.options.file = argv[optind];
	self.options.mountpoint = argv[optind + 1];
	return open_file(&self) ? 1 : serve_mount(&self);
}
