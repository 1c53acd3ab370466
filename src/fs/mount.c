/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Mounting and serving.
 *
 * Threads: none before the fork. Afterwards the main thread runs libfuse's
 * loop, `signals` waits for signals, and `ready` looks at the mount once, from
 * outside, to tell the parent that it works. Signals are blocked in all of
 * them but for SIGUSR1, by which `signals` wakes the main thread. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "fs/call.h"
#include "fs/daemon.h"
#include "fs/mount-point.h"
#include "fs/mount.h"
#include "fs/server.h"
#include "store/journal.h"

#define EXIT_STATUS_FAILED 1
#define EXIT_STATUS_USAGE  2

#define LOOP_THREADS_MAX 8
#define LEAVE_SECONDS    10 /* for the store to let go at the end */
#define DEFAULT_READAHEAD_KIB 128 /* the kernel's own */

struct mounting {
	const struct mount_options *options;
	char *mountpoint;   /* absolute */
	const char *source; /* absolute; lives as long as the store */
	int parent_fd;    /* who waits; -1 in the foreground */
	struct server server;
	struct fuse_session *session;
	pthread_t main, signals, ready;
	atomic_bool has_checked, has_ended;
	int gave_up; /* the signal that ended the wait for the store; 0: none */
};

static int complain(const struct error *err, int status)
{
	fprintf(stderr, "vmiefs: %s\n", err->text);
	return status;
}

/* Options for libfuse, commas in names escaped. */
static void add_option(struct strbuf *list, const char *name,
		       const char *value)
{
	strbuf_printf(list, "%s%s", list->len ? "," : "", name);
	if (!value)
		return;
	strbuf_puts(list, "=");
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			strbuf_puts(list, "\\");
		strbuf_add(list, value, 1);
	}
}

static char *session_options(const struct mounting *m)
{
	const struct mount_options *o = m->options;
	struct strbuf list = { .max = 64 << 10 };
	char max_read[16];

	snprintf(max_read, sizeof(max_read), "%u", SERVER_READ_MAX);
	add_option(&list, "default_permissions", NULL);
	add_option(&list, "subtype", "vmiefs");
	add_option(&list, "fsname", o->fsname ? o->fsname : m->source);
	add_option(&list, "max_read", max_read);
	if (o->allow_other)
		add_option(&list, "allow_other", NULL);
	if (o->allow_root)
		add_option(&list, "allow_root", NULL);
	if (o->auto_unmount)
		add_option(&list, "auto_unmount", NULL);
	if (o->is_read_only)
		add_option(&list, "ro", NULL);
	if (o->kernel)
		add_option(&list, o->kernel, NULL);
	return strbuf_take(&list);
}

__attribute__((format(printf, 2, 0)))
static void log_fuse(enum fuse_log_level level, const char *fmt,
		     va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_warning("%s", text);
	else
		log_debug("%s", text);
}

static int start_session(struct mounting *m, struct error *err)
{
	AUTO_FREE char *list = session_options(m);
	char program[] = "vmiefs", dash_o[] = "-o";
	char *argv[] = { program, dash_o, list, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	if (!list)
		return error_nomem(err);
	fuse_set_log_func(log_fuse);
	m->session = fuse_session_new(&args, &server_ops, sizeof(server_ops),
				      &m->server);
	fuse_opt_free_args(&args);
	if (!m->session)
		return error_set(err, ERR_ARG, "libfuse refuses the options "
				 "-o %s", list);
	if (!fuse_session_mount(m->session, m->mountpoint) &&
	    !fuse_session_custom_io(m->session, &server_io,
				    fuse_session_fd(m->session)))
		return 0;
	fuse_session_unmount(m->session);
	fuse_session_destroy(m->session);
	m->session = NULL;
	return error_set(err, ERR_IO, "cannot mount on %s%s", m->mountpoint,
			 access("/dev/fuse", F_OK) ?
			 ": /dev/fuse is missing; try 'modprobe fuse'" : "");
}

/* One descriptor per open object, and several readers of each. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void wake_main(int sig)
{
	(void)sig;
}

static void watch_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static void block_signals(void)
{
	sigset_t set;
	struct sigaction wake = { .sa_handler = wake_main };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	watch_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &wake, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* A log file is reopened on SIGHUP; without one it ends the program as usual,
 * as when a terminal closes. */
static bool reopens_log(const struct mounting *m)
{
	const char *target = m->options->log_target;

	return target && strcmp(target, "stderr") != 0 &&
	       strcmp(target, "syslog") != 0;
}

/* libfuse's loop waits in sem_wait(), which a signal ends; one that comes
 * just before it is lost, so send until it has ended. */
static void end_loop(struct mounting *m)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

	fuse_session_exit(m->session);
	while (!atomic_load(&m->has_ended)) {
		pthread_kill(m->main, SIGUSR1);
		nanosleep(&pause, NULL);
	}
}

static void *wait_for_signals(void *arg)
{
	struct mounting *m = arg;
	sigset_t set;
	int sig;

	watch_set(&set);
	for (;;) {
		if (sigwait(&set, &sig))
			continue;
		if (atomic_load(&m->has_ended))
			return NULL;
		if (sig == SIGHUP && reopens_log(m)) {
			log_reopen();
			continue;
		}
		log_info("stopping on signal %d", sig);
		end_loop(m);
		return NULL;
	}
}

/* Looking at the mount from outside waits until it works. */
static void *wait_for_mount(void *arg)
{
	struct mounting *m = arg;
	const struct mount_options *o = m->options;
	struct error err = { 0 };
	struct stat st;

	if (stat(m->mountpoint, &st))
		return NULL; /* it has ended already */
	if (o->readahead_kib > DEFAULT_READAHEAD_KIB &&
	    mount_point_set_readahead(m->mountpoint, o->readahead_kib, &err))
		log_info("%s", err.text);
	log_info("%s is mounted on %s", m->source, m->mountpoint);
	notify_systemd("READY=1\nSTATUS=serving");
	if (m->parent_fd >= 0)
		daemon_ready(m->parent_fd, o->log_target &&
			     !strcmp(o->log_target, "stderr"));
	return NULL;
}

static int start_threads(struct mounting *m, struct error *err)
{
	int errnum;

	m->main = pthread_self();
	errnum = pthread_create(&m->signals, NULL, wait_for_signals, m);
	if (errnum)
		return error_errno(err, errnum, "cannot start a thread");
	errnum = pthread_create(&m->ready, NULL, wait_for_mount, m);
	if (errnum)
		return error_errno(err, errnum, "cannot start a thread");
	return 0;
}

static int run_loop(struct mounting *m, struct error *err)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int ret;

	if (!config)
		return error_nomem(err);
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, LOOP_THREADS_MAX);
	fuse_loop_cfg_set_idle_threads(config, LOOP_THREADS_MAX);
	ret = fuse_session_loop_mt(m->session, config);
	fuse_loop_cfg_destroy(config);
	return ret < 0 ? error_errno(err, -ret, "serving ended") : 0;
}

static void leave_now(int sig)
{
	static const char text[] = "vmiefs: the store does not answer; "
				   "leaving without waiting for it\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		/* Nobody listens. */
	}
	_exit(EXIT_STATUS_FAILED);
}

static void leave_in_time(void)
{
	struct sigaction leave = { .sa_handler = leave_now };

	sigaction(SIGALRM, &leave, NULL);
	alarm(LEAVE_SECONDS);
}

/* Everybody who waits is answered before the mount goes; then what still runs
 * is told to end, and gets its time where it cannot, but no more. */
static void end_session(struct mounting *m)
{
	notify_systemd("STOPPING=1");
	calls_abort(&m->server, 0);
	fuse_session_unmount(m->session);
	store_cancel(buckets_store(m->server.fs->buckets));
	leave_in_time();
	fs_stop(m->server.fs);
	calls_abort(&m->server, LEAVE_SECONDS * 1000);
	calls_stop(&m->server);
	handles_release(&m->server);
	fuse_session_destroy(m->session);
}

static void join_threads(struct mounting *m)
{
	atomic_store(&m->has_ended, true);
	pthread_kill(m->signals, SIGTERM); /* it waits for this */
	pthread_join(m->signals, NULL);
	pthread_join(m->ready, NULL);
}

static int serve_session(struct mounting *m, struct error *err)
{
	int ret;

	if (m->parent_fd >= 0)
		daemon_detach();
	if (calls_start(&m->server, err) || start_threads(m, err))
		return -1;
	ret = run_loop(m, err);
	join_threads(m);
	return ret;
}

static void *wait_to_give_up(void *arg)
{
	struct mounting *m = arg;
	sigset_t set;
	int sig;

	watch_set(&set);
	while (sigwait(&set, &sig)) {
	}
	if (atomic_load(&m->has_checked))
		return NULL;
	m->gave_up = sig;
	leave_in_time();
	store_cancel(buckets_store(m->server.fs->buckets));
	return NULL;
}

/* Nothing is mounted before the store has answered. Who waits for that may
 * give up; then what the store has started (a program that is to print keys)
 * is ended before this process is. */
static int connect_store(struct mounting *m, struct error *err)
{
	struct store *store = buckets_store(m->server.fs->buckets);
	pthread_t waiting;
	int ret;

	if (store_start(store, err))
		return -1;
	ret = pthread_create(&waiting, NULL, wait_to_give_up, m);
	if (ret)
		return error_errno(err, ret, "cannot start a thread");
	ret = store_check(store, err);
	atomic_store(&m->has_checked, true);
	pthread_kill(waiting, SIGTERM); /* it waits for this */
	pthread_join(waiting, NULL);
	return m->gave_up ? -1 : ret;
}

/* By the signal that it was, so that a shell knows. */
static void die_of(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	signal(sig, SIG_DFL);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int prepare(struct mounting *m, struct error *err)
{
	const struct mount_options *o = m->options;

	/* Until here what went wrong was for the terminal. */
	if (log_open(o->log_target ? o->log_target :
		     m->parent_fd >= 0 ? "syslog" : NULL, err))
		return -1;
	if (m->parent_fd >= 0 && chdir("/"))
		return error_errno(err, errno, "/");
	return connect_store(m, err);
}

static int serve(struct mounting *m, struct store *store, struct error *err)
{
	struct server *server = &m->server;
	int ret;

	block_signals();
	raise_descriptor_limit();
	if (fs_new(&server->fs, m->options, store, err))
		return -1;
	if (landings_init(&server->landings, err)) {
		fs_free(server->fs);
		return -1;
	}
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->idle, NULL);
	pthread_cond_init(&server->interrupted, NULL);
	ring_init(&server->active);
	ring_init(&server->handles);
	ret = prepare(m, err) || start_session(m, err) ? -1 : 0;
	if (!ret) {
		ret = serve_session(m, err);
		end_session(m);
	}
	fs_free(server->fs);
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->idle);
	pthread_cond_destroy(&server->interrupted);
	landings_destroy(&server->landings);
	return ret;
}

static enum log_level level_of(unsigned int verbosity)
{
	return verbosity > 1 ? LOG_LEVEL_DEBUG :
	       verbosity == 1 ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;
}

/* The mounted directory's path; NULL for stores elsewhere. */
static const char *directory_of(const struct store *store)
{
	static const char scheme[] = "file://";

	return strncmp(store->url, scheme, strlen(scheme)) ? NULL :
	       store->url + strlen(scheme);
}

/* The journal, or NULL, outlives the store. */
static int mount_with(const struct mount_options *options,
		      struct journal *journal)
{
	struct mounting m = { .options = options, .parent_fd = -1 };
	struct store_options store_options = options->store;
	AUTO_FREE char *mountpoint = NULL;
	struct error err = { 0 };
	struct store *store;
	bool is_child = true;
	int status = 0;

	store_options.journal = journal;
	if (store_open(&store, options->source, &store_options, &err))
		return complain(&err, EXIT_STATUS_FAILED);
	if (mount_point_check(options->mountpoint, directory_of(store),
			      &mountpoint, &err)) {
		store_close(store);
		return complain(&err, EXIT_STATUS_FAILED);
	}
	m.mountpoint = mountpoint;
	m.source = directory_of(store) ? directory_of(store) : store->url;
	if (!options->foreground &&
	    daemon_fork(&is_child, &m.parent_fd, &status, &err)) {
		store_close(store);
		return complain(&err, EXIT_STATUS_FAILED);
	}
	if (!is_child) {
		store_close(store);
		return status;
	}
	if (serve(&m, store, &err)) {
		if (m.gave_up)
			die_of(m.gave_up);
		return complain(&err, EXIT_STATUS_FAILED);
	}
	return 0;
}

int mount_main(const struct mount_options *options)
{
	struct journal *journal = NULL;
	struct error err = { 0 };
	int status;

	prctl(PR_SET_DUMPABLE, 0); /* credentials must not reach a core file */
	log_set_level(level_of(options->verbosity));
	if (!options->is_read_only &&
	    journal_new(&journal, options->scratch, &err))
		return complain(&err, EXIT_STATUS_FAILED);
	status = mount_with(options, journal);
	journal_free(journal);
	return status;
}
