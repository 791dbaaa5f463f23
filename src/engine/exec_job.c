#include "engine/exec_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/process.h"
#include "engine/engine.h"
#include "monitor/enter.h"

enum { KILL_GRACE_MS = 2000 };

struct exec_job {
    struct exec_job_events events;
    void *arg;
    char *pid_file; /* NULL: it was entered without the runtime */
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t timer; /* its deadline, then that of its end */
    bool exited, timed_out, cancelled;
    int code;
    unsigned handles;
};

static void on_closed(uv_handle_t *handle)
{
    struct exec_job *j = handle->data;
    if (--j->handles)
        return;
    struct exec_job over = *j;
    if (j->pid_file)
        unlink(j->pid_file);
    free(j->pid_file);
    free(j);
    if (!over.cancelled)
        over.events.done(over.arg, over.code, over.timed_out);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void give_output(struct exec_job *j, const char *data, size_t n)
{
    if (!j->cancelled && j->events.output)
        j->events.output(j->arg, data, n);
}

/* It is over when its process died and its pipe closed; a grandchild that holds the pipe open is not
 * waited for: what is in it by now is all. */
static void on_exit_of_client(uv_process_t *process, int64_t status, int signal)
{
    struct exec_job *j = process->data;
    j->exited = true;
    j->code = signal ? 128 + signal : (int)status;
    if (!j->pid_file && signal == ENTER_FAILED)
        j->code = EXEC_NOT_ENTERED;
    uv_os_fd_t fd;
    if (!uv_is_closing((uv_handle_t *)&j->pipe) && uv_fileno((uv_handle_t *)&j->pipe, &fd) == 0) {
        char rest[4096];
        ssize_t n;
        for (int i = 0; i < 16 && (n = read(fd, rest, sizeof(rest))) > 0; i++)
            give_output(j, rest, (size_t)n);
    }
    close_handle((uv_handle_t *)&j->pipe);
    close_handle((uv_handle_t *)&j->timer);
    close_handle((uv_handle_t *)process);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct exec_job *j = stream->data;
    if (n > 0)
        give_output(j, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0)
        close_handle((uv_handle_t *)&j->pipe);
}

/* The client did not end although its child was killed, or it never got so far. */
static void on_stuck(uv_timer_t *timer)
{
    struct exec_job *j = timer->data;
    if (!j->exited)
        uv_process_kill(&j->process, SIGKILL);
}

/* Kills the command's own process inside the container; the runtime's client sees it end and reaps
 * it. Killing the client alone would leave its child to us, a subreaper, as a zombie that keeps the
 * container's pid namespace alive. */
static void kill_command(struct exec_job *j)
{
    char *text AUTOFREE = NULL;
    if (j->exited)
        return;
    if (!j->pid_file)
        uv_process_kill(&j->process, SIGTERM); /* see monitor/enter.h */
    else if (fs_read(j->pid_file, 64, &text, NULL, NULL) == 0 && atoi(text) > 1)
        kill((pid_t)atoi(text), SIGKILL);
    uv_timer_start(&j->timer, on_stuck, KILL_GRACE_MS, 0);
}

static void on_timeout(uv_timer_t *timer)
{
    struct exec_job *j = timer->data;
    j->timed_out = true;
    kill_command(j);
}

/* An input that is at its end. Not /dev/null: crun 1.8 gives what it finds at 0, 1 and 2 to the
 * container's user. */
static int empty_input(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    close(ends[1]);
    return ends[0];
}

/* fds: what the process gets from 3 on, none where it is negative. */
static int start(struct exec_job *j, uv_loop_t *loop, const char *file, char *const *argv,
                 const int fds[2], int64_t timeout, struct err *err)
{
    int ends[2], input AUTOCLOSE = empty_input();
    if (input < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        free(j->pid_file);
        free(j);
        return err_sys(err, errno, "pipe");
    }
    uv_stdio_container_t stdio[5] = {
        {.flags = UV_INHERIT_FD, .data.fd = input},   {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
        {.flags = UV_INHERIT_FD, .data.fd = ends[1]}, {.flags = UV_INHERIT_FD, .data.fd = fds[0]},
        {.flags = UV_INHERIT_FD, .data.fd = fds[1]},
    };
    uv_process_options_t options = {
        .file = file,
        .args = (char **)argv,
        .exit_cb = on_exit_of_client,
        .stdio = stdio,
        .stdio_count = fds[0] < 0 ? 3 : 5,
    };
    uv_pipe_init(loop, &j->pipe, 0);
    uv_timer_init(loop, &j->timer);
    j->pipe.data = j->process.data = j->timer.data = j;
    j->handles = 3;
    uv_pipe_open(&j->pipe, ends[0]);
    int score = oom_score_set(0);
    int rc = uv_spawn(loop, &j->process, &options);
    oom_score_set(score);
    close(ends[1]);
    if (rc < 0) {
        j->exited = j->cancelled = true;
        close_handle((uv_handle_t *)&j->pipe);
        close_handle((uv_handle_t *)&j->timer);
        close_handle((uv_handle_t *)&j->process);
        return err_set(err, ERR_IO, "%s: %s", argv[0], uv_strerror(rc));
    }
    uv_read_start((uv_stream_t *)&j->pipe, engine_read_buffer, on_read);
    if (timeout > 0)
        uv_timer_start(&j->timer, on_timeout, (uint64_t)((timeout + 999999) / 1000000), 0);
    return 0;
}

static struct exec_job *job_new(const struct exec_job_events *events, void *arg)
{
    struct exec_job *j = xcalloc(1, sizeof(*j));
    j->events = *events;
    j->arg = arg;
    return j;
}

int exec_job_start(uv_loop_t *loop, char *const *argv, const char *pid_file, int64_t timeout,
                   const struct exec_job_events *events, void *arg, struct exec_job **out,
                   struct err *err)
{
    static const int none[2] = {-1, -1};
    struct exec_job *j = job_new(events, arg);
    unlink(pid_file);
    j->pid_file = xstrdup(pid_file);
    if (start(j, loop, argv[0], argv, none, timeout, err) < 0)
        return -1;
    *out = j;
    return 0;
}

int exec_job_enter(uv_loop_t *loop, const struct enter *way, int pidfd, int64_t timeout,
                   const struct exec_job_events *events, void *arg, struct exec_job **out,
                   struct err *err)
{
    struct exec_job *j = job_new(events, arg);
    char *argv[] = {(char *)"compose-monitor", (char *)"enter", NULL};
    char file[64];
    snprintf(file, sizeof(file), "/proc/self/fd/%d", way->program);
    if (start(j, loop, file, argv, (const int[2]){way->plan, pidfd}, timeout, err) < 0)
        return -1;
    *out = j;
    return 0;
}

void exec_job_cancel(struct exec_job *j)
{
    if (!j || j->cancelled)
        return;
    j->cancelled = true;
    kill_command(j);
}
