/* The monitor: one small static process a container, its parent, which outlives the supervisor.
 *
 * It runs the OCI runtime (`run --detach`), takes the container's exit status (it is a child
 * subreaper), writes its output to the log file with rotation, serves attach clients, and records
 * what happened in RUN/containers/ID/state:
 *     running PID START_TIME STARTED_NS
 *     exited CODE SIGNAL OOM(0|1) STARTED_NS FINISHED_NS      (CODE 128+n for a signal)
 *     failed CODE MESSAGE...                                  (the runtime refused; 126/127 as a shell)
 * The end stands in DIR/status too, which survives a reboot, once all that belongs to it is done: state has it
 * before the process is reaped, status when its output is in the log and the runtime's traces are removed.
 * The container's stdout and stderr are FIFOs in RUN/containers/ID that the container itself holds
 * open for reading and writing: when a monitor is killed, nothing breaks, and another monitor goes on
 * reading where it stopped. When the container ends the monitor drains them (a process that still
 * holds them gets one second), runs `RUNTIME delete`, writes status, tells its clients and ends.
 *
 * Socket (RUN/containers/ID/monitor.sock, stream): the monitor greets with "monitor 1", the version of this
 * protocol (one that does not say it speaks 1; lines that are not known are skipped, by whatever version), and
 * with the line of state, or "starting", which it repeats at every change. A client says one line:
 *     watch               only the state lines (also the supervisor: the pty master of a tty container
 *                         comes along with the first "running" line as SCM_RIGHTS, if it says "watch fd")
 *     attach [stdin] [logs]  state lines stop; frames follow both ways: 1 byte type (0 stdin, 1 stdout,
 *                         2 stderr, 3 exit status as decimal text, 4 end of stdin, 5 resize "ROWS COLS"),
 *                         4 bytes length big-endian, data
 *     supervisor [fd]     watch [fd], and: when this connection breaks while the container runs, the
 *                         monitor starts the supervisor again (argv in monitor_request.respawn), after
 *                         a random part of half a second and unless another one has come; "leave"
 *                         before closing says that nobody has to. The same where the container has ended:
 *                         the monitor stays until its supervisor has drawn the consequences and leaves. Its
 *                         socket is RUN/projects/P/ended-PID then: the folder of the container may go
 * State lines start with a letter, frames with a byte below 6: a client can tell them apart.
 *
 * RUN/containers/ID/monitor.lock is held as long as
 * a monitor, or a runtime that it was starting, lives. A monitor killed at whatever moment loses no
 * output of a container without a terminal: FIFOs are emptied only by what is in the log, RUN/containers/ID/taken
 * says how far that has got, and the supervisor holds them open when the container has ended. stdin of a container with stdin_open and without a terminal ends with its monitor.
 */
#ifndef RUNTIME_MONITOR_H
#define RUNTIME_MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/paths.h"
#include "runtime/oci.h"

struct monitor_request {
    const struct paths *paths;
    const struct oci_runtime *runtime;
    const char *project, *id;
    const char *dir; /* ROOT/projects/P/containers/ID: status, log */
    bool tty, stdin_open;
    bool log;             /* false: logging driver none */
    int64_t log_max_size; /* bytes, 0: no rotation */
    int log_max_file;     /* files kept, >= 1 */
    bool log_compress;    /* those that are rotated away */
    const char *const
        *log_sink;              /* where the output goes besides: options of monitor/sink.h; NULL */
    const char *const *respawn; /* argv that starts the project's supervisor */
    /* The container's output is not read before a client has attached (at most 10 s): for a client
     * that must miss nothing, as `run` is. */
    bool await_attach;
    pid_t adopt_pid; /* 0: run the container; else: it has lost its monitor, and may have ended */
    int adopt_tty;   /* its pty master, -1: none */
    int program;     /* the runtime to start it with (runtime/sealed.h), -1: by its path */
};

/* Binds and listens on the socket, then starts the monitor with it: a client can connect as soon as
 * this returns. Blocking for one spawn. */
int monitor_start(const struct monitor_request *r, pid_t *monitor, struct err *err);

enum monitor_phase { MONITOR_STARTING, MONITOR_RUNNING, MONITOR_EXITED, MONITOR_FAILED };

struct monitor_status {
    enum monitor_phase phase;
    pid_t pid;                     /* running */
    unsigned long long start_time; /* running: see pid_start_time() */
    int exit_code;                 /* exited, failed */
    int signal;                    /* exited: number or 0 */
    bool oom;
    int64_t started, finished; /* ns since the epoch, 0: unknown */
    char message[512];         /* failed: the runtime's words, tidied */
};

/* Parses one state line; false when it is none. */
bool monitor_status_parse(const char *line, struct monitor_status *out);
/* Reads DIR/status: how the last run ended, exited or failed; ERR_NOT_FOUND before it has. */
int monitor_status_read(const char *dir, struct monitor_status *out, struct err *err);
/* Reads RUN/containers/ID/state; -1: nothing is noted. */
int monitor_noted_read(const char *run, struct monitor_status *out);
/* Connects (blocking, at once or never); -1 with ERR_UNAVAILABLE when nobody listens. */
int monitor_connect(const struct paths *p, const char *id, struct err *err);
/* Connects to the monitors of a project whose containers have ended, and who see to it that there is a supervisor to
 * draw the consequences. */
void monitor_each_ended(const struct paths *p, const char *project,
                        void (*found)(void *arg, int take_fd), void *arg);

#endif
