/* compose-monitor: what its files share. What the program does for others, its files and its
 * socket are described in runtime/monitor.h.
 *
 * One thread, one epoll loop, libc only (and zlib in a child: compress.h): a hundred of these run at
 * the same time, so what each of them touches of its memory is what it costs. Buffers are static and
 * given back when idle. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "monitor/compress.h"
#include "monitor/logwriter.h"

struct monitor;

/* Something epoll watches. */
struct source {
    int fd; /* -1: closed */
    void (*ready)(struct monitor *m, struct source *s, uint32_t events);
};

#define MONITOR_GREETING "monitor 1\n" /* the version of the protocol */

/* Frame types of the attach protocol. */
enum frame { FRAME_STDIN, FRAME_STDOUT, FRAME_STDERR, FRAME_EXIT, FRAME_STDIN_END, FRAME_RESIZE };

/* One output of the container. */
struct stream {
    struct source source;
    bool is_stderr;
    bool ended;    /* nobody can write to it any more */
    bool again;    /* there may be more to read without a new event */
    size_t shown;  /* bytes that clients have seen but the log has not: an unfinished line */
    int64_t since; /* when that line began to wait, monotonic ns; 0: none waits */
};

enum phase { PHASE_STARTING, PHASE_RUNNING, PHASE_DRAINING, PHASE_DELETING, PHASE_OVER };

struct options {
    const char *id, *dir, *run; /* run: RUN/containers/ID, the OCI bundle */
    const char *runtime, *state;
    const char *project; /* RUN/projects/P; NULL: of a supervisor of before this option */
    bool tty, stdin_open, log, log_compress, await_attach;
    int64_t log_max_size;
    int log_max_file;
    struct sink sink;
    pid_t adopt_pid;
    int adopt_tty;  /* descriptor, -1: none */
    int sealed;     /* descriptor of the runtime, -1: it is started by its path */
    char **respawn; /* argv, NULL: none */
};

struct client;

struct monitor {
    struct options opt;
    enum phase phase;
    int epoll, dir, null;
    int lock; /* of RUN/containers/ID: held while a monitor or a starting runtime lives */
    struct source listener, signals, console, adopted, in;
    struct stream out, err;
    int peek[2]; /* pipe through which FIFOs are read without being emptied */
    struct logwriter log;
    struct compress compress;
    struct client *clients;
    char status[640]; /* the line of DIR/status, with newline */

    pid_t runtime_pid; /* `run` or `delete` under way, 0: none */
    pid_t pid;         /* the container's first process, 0: unknown */
    unsigned long long start_time;
    int64_t started, finished; /* ns since the epoch */
    int exit_code, exit_signal;
    bool oom;
    bool out_held;      /* output is not read yet: see await_attach */
    int64_t hold_until; /* monotonic ns */
    int64_t drain_until;
    int64_t kill_runtime_at; /* a `delete` that hangs is killed, 0: none */
    int64_t idle_since;      /* the buffers were last used, 0: given back */
    bool paused;             /* an attached client is behind: output waits */

    int64_t respawn_at; /* 0: none is missing */
    int64_t respawn_delay;
    pid_t respawned; /* the one we started last, while it lives; 0: none */
};

int64_t now_monotonic(void);
int64_t now_realtime(void);

void source_watch(struct monitor *m, struct source *s, uint32_t events);
void source_change(struct monitor *m, struct source *s, uint32_t events);
void source_close(struct source *s);

/* output.c: from the container to the log and the clients. */
int output_open(struct monitor *m, int child[3]);
void output_adopt(struct monitor *m);
void output_tty(struct monitor *m, int take_master);
void output_start(struct monitor *m);
/* Reads what is there; true when both streams have ended. */
bool output_drain(struct monitor *m);
void output_resume(struct monitor *m);
/* Timed work: unfinished lines, memory. Returns ns until the next one is due, -1: none. */
int64_t output_tick(struct monitor *m, int64_t now);
/* Hands every byte that live clients have seen, but the log has not, to one more client. */
void output_unlogged(struct monitor *m,
                     void (*use)(void *arg, enum frame f, const char *data, size_t n), void *arg);
void output_finish(struct monitor *m);
/* Closes all without reading: what a failed runtime has said is not the container's output. */
void output_discard(struct monitor *m);

/* run.c: the runtime and the container's process. */
/* How soon the kernel takes this process, and what it starts then, when memory is short. */
#define MONITOR_OOM_SCORE "-500"
void oom_score_write(const char *score);
/* Starts argv with the given standard streams (-1: /dev/null); no signal is ignored or blocked in it. program NULL:
 * argv[0]. The lock goes along as descriptor 3. cwd NULL: RUN/containers/ID; else in a session of its own. 0 with
 * errno: failed. */
pid_t run_spawn(const struct monitor *m, const char *program, char *const *argv, const int fds[3],
                bool with_lock, const char *cwd);
void run_start(struct monitor *m);
void run_adopt(struct monitor *m);
void run_signals(struct monitor *m, struct source *s, uint32_t events);
void run_tick(struct monitor *m, int64_t now);
void run_respawn(struct monitor *m);
/* Nobody is looked after any more: the last trace of a socket that was kept for a supervisor. */
void run_close(struct monitor *m);

/* status.c. A state is noted in RUN/containers/ID/state at once, for the next monitor, and published
 * in DIR/status when everything that belongs to it is done. */
void status_note(struct monitor *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void status_publish(struct monitor *m);

/* client.c */
void clients_accept(struct monitor *m, struct source *s, uint32_t events);
void clients_status(struct monitor *m);
void clients_output(struct monitor *m, enum frame f, const char *data, size_t n);
void clients_exit(struct monitor *m);
/* stdin takes more again. */
void clients_stdin(struct monitor *m);
bool clients_supervised(const struct monitor *m);
bool clients_attached(const struct monitor *m);
bool clients_replaying(const struct monitor *m);
/* True while somebody has not yet read all that is his. */
bool clients_pending(const struct monitor *m);
/* Frees what was closed; called once a loop turn. */
void clients_sweep(struct monitor *m);

#endif
