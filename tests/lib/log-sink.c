/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The sink in memory. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/zeroes.h"
#include "store/store.h"
#include "tests/lib/log-sink.h"

struct log_sink {
	struct sink sink;
	struct sink_log *log;
	uint64_t room;
};

static void bail_out(const char *why)
{
	printf("Bail out! %s\n", why);
	exit(99);
}

void sink_log_init(struct sink_log *log)
{
	memset(log, 0, sizeof(*log));
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->changed, NULL);
}

void sink_log_free(struct sink_log *log)
{
	free(log->data);
	pthread_cond_destroy(&log->changed);
	pthread_mutex_destroy(&log->lock);
}

void sink_log_wait_hung(struct sink_log *log)
{
	pthread_mutex_lock(&log->lock);
	while (!log->is_hung)
		pthread_cond_wait(&log->changed, &log->lock);
	pthread_mutex_unlock(&log->lock);
}

static int hang(struct sink_log *log, struct error *err)
{
	pthread_mutex_lock(&log->lock);
	log->is_hung = true;
	pthread_cond_broadcast(&log->changed);
	while (!log->is_cancelled)
		pthread_cond_wait(&log->changed, &log->lock);
	pthread_mutex_unlock(&log->lock);
	return error_set(err, ERR_CANCELLED, "call %u was cancelled",
			 log->calls);
}

/* What each call begins with. */
static int enter(struct sink_log *log, struct error *err)
{
	if (log->discards)
		bail_out("a sink is used that was discarded");
	if (++log->calls == log->hang_call)
		return hang(log, err);
	if (log->calls == log->fail_call)
		return error_set(err, ERR_IO, "call %u fails", log->calls);
	return 0;
}

static int append(struct log_sink *self, const void *data, uint64_t length,
		  struct error *err)
{
	struct sink_log *log = self->log;
	uint64_t end = log->size + length;

	if (log->fail_byte && end >= log->fail_byte)
		return error_set(err, ERR_IO, "byte %llu fails",
				 (unsigned long long)log->fail_byte);
	if (end > self->room) {
		self->room = 2 * end;
		log->data = realloc(log->data, self->room);
		if (!log->data)
			bail_out("no memory");
	}
	if (data)
		memcpy(log->data + log->size, data, length);
	else
		memset(log->data + log->size, 0, length);
	log->size = end;
	log->is_appended_late |= log->patches != 0;
	return 0;
}

static int log_sink_write(struct sink *sink, const struct iovec *iov,
			  int iovcnt, struct error *err)
{
	struct log_sink *self = (struct log_sink *)sink;

	if (enter(self->log, err))
		return -1;
	for (int i = 0; i < iovcnt; i++)
		if (append(self, iov[i].iov_base, iov[i].iov_len, err))
			return -1;
	return 0;
}

static int log_sink_zeroes(struct sink *sink, uint64_t length,
			   struct error *err)
{
	struct log_sink *self = (struct log_sink *)sink;

	return enter(self->log, err) ? -1 : append(self, NULL, length, err);
}

static int log_sink_patch(struct sink *sink, uint64_t offset, const void *data,
			  size_t length, struct error *err)
{
	struct sink_log *log = ((struct log_sink *)sink)->log;

	if (enter(log, err))
		return -1;
	if (!log->patches++)
		log->is_head_used = !is_all_zero(log->data, sink->head_bytes);
	memcpy(log->data + offset, data, length);
	return 0;
}

static int log_sink_finish(struct sink *sink, struct object_info *info,
			   struct error *err)
{
	struct sink_log *log = ((struct log_sink *)sink)->log;

	if (enter(log, err))
		return -1;
	log->finishes++;
	*info = (struct object_info){ .size = log->size, .etag = "logged" };
	return 0;
}

static void log_sink_cancel(struct sink *sink)
{
	struct sink_log *log = ((struct log_sink *)sink)->log;

	pthread_mutex_lock(&log->lock);
	log->is_cancelled = true;
	log->cancels++;
	pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

static void log_sink_discard(struct sink *sink)
{
	((struct log_sink *)sink)->log->discards++;
	free(sink);
}

static int log_sink_seal(struct sink *sink, struct error *err)
{
	struct sink_log *log = ((struct log_sink *)sink)->log;

	if (enter(log, err))
		return -1;
	log->seals++;
	return 0;
}

static int log_sink_readv(struct sink *sink, uint64_t offset,
			  const struct iovec *iov, int iovcnt,
			  struct error *err)
{
	const struct sink_log *log = ((struct log_sink *)sink)->log;

	if (!log->seals)
		bail_out("a sink is read that was not sealed");
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, log->data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static const struct sink_ops log_sink_ops = {
	.write = log_sink_write,
	.zeroes = log_sink_zeroes,
	.patch = log_sink_patch,
	.finish = log_sink_finish,
	.cancel = log_sink_cancel,
	.seal = log_sink_seal,
	.readv = log_sink_readv,
	.discard = log_sink_discard,
};

struct sink *log_sink_new(struct sink_log *log, uint32_t head_bytes)
{
	struct log_sink *self = calloc(1, sizeof(*self));

	if (!self)
		bail_out("no memory");
	self->log = log;
	self->sink.ops = &log_sink_ops;
	self->sink.can_seal = log->can_seal;
	self->sink.head_bytes = head_bytes;
	return &self->sink;
}
