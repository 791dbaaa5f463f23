/* compose-monitor against a runtime made of shell: what it records, logs and tells its clients. The
 * monitor's main() runs in a child of the test. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

int monitor_main(int argc, char **argv);
#define main monitor_main
#include "monitor/cleanup.c"
#include "monitor/client.c"
#include "monitor/compress.c"
#include "monitor/detach.c"
#include "monitor/enter.c"
#include "monitor/logwriter.c"
#include "monitor/main.c"
#include "monitor/output.c"
#include "monitor/run.c"
#include "monitor/sink.c"
#include "monitor/status.c"
#include "monitor/tidy.c"
#undef main

#include "base/err.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/strbuf.h"
#include "runtime/logfile.h"
#include "runtime/monitor.h"

/* `run` starts $DIR/command, not as its own child: a shell may reap what ends early. `delete` leaves a
 * trace. With $DIR/refuse it says why it does not; with $DIR/reap it outlives the command; with the
 * FIFO $DIR/gate it waits to be let through. */
static const char fake_runtime[] =
    "#!/bin/sh\n"
    "dir=$(dirname \"$0\")\n"
    "for word; do case $word in run|delete) verb=$word;; esac; done\n"
    "if [ $verb = delete ]; then echo deleted >>$dir/deleted; exit 0; fi\n"
    "if [ -e $dir/refuse ]; then cat $dir/refuse >runtime.log; echo noise >&2; exit 1; fi\n"
    "if [ -p $dir/gate ]; then read word <$dir/gate; fi\n"
    "if [ -e $dir/reap ]; then sh $dir/command 3<&- & echo $! >pid; wait; exit 0; fi\n"
    "setsid --fork sh -c 'echo $$ >pid; exec sh \"$0\"/command 3<&-' $dir\n"
    "until [ -s pid ]; do :; done\n";

struct box {
    char dir[64]; /* "run" and "state" of the container, the runtime and its command */
    char *run, *state;
    pid_t monitor;
};

static void put(const struct box *b, const char *name, const char *text, mode_t mode)
{
    char *path AUTOFREE = path_join(b->dir, name);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), mode, false, NULL), 0);
}

static int setup(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));
    strcpy(b->dir, "/tmp/test-monitor.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->run = path_join(b->dir, "run");
    b->state = path_join(b->dir, "state");
    mkdir(b->run, 0700);
    mkdir(b->state, 0700);
    put(b, "runtime", fake_runtime, 0755);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    if (b->monitor)
        kill(b->monitor, SIGKILL);
    fs_remove_all(b->dir, NULL);
    free(b->run);
    free(b->state);
    free(b);
    return 0;
}

/* What runtime/monitor.c does with posix_spawn. */
static void start(struct box *b, const char *command, const char *extra, pid_t adopt)
{
    char *lock_path AUTOFREE = path_join(b->run, "monitor.lock");
    if (command)
        put(b, "command", command, 0644);
    assert_int_equal(chdir(b->run), 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "monitor.sock"};
    unlink(addr.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 8), 0);
    int lock = open(lock_path, O_RDWR | O_CREAT, 0600);
    /* One that was just killed may not have let go yet. */
    assert_int_equal(flock(lock, LOCK_EX), 0);
    b->monitor = fork();
    if (b->monitor == 0) {
        int a = fcntl(listener, F_DUPFD, 20), c = fcntl(lock, F_DUPFD, 20);
        dup2(a, 3);
        dup2(c, 4);
        char *argv[12] = {(char *)"compose-monitor", (char *)"--id=box"};
        int n = 2;
        argv[n++] = xasprintf("--dir=%s", b->state);
        argv[n++] = xasprintf("--run=%s", b->run);
        argv[n++] = xasprintf("--runtime=%s/runtime", b->dir);
        argv[n++] = xasprintf("--state=%s/none", b->dir);
        if (adopt)
            argv[n++] = xasprintf("--adopt=%d", (int)adopt);
        if (extra)
            argv[n++] = (char *)extra;
        argv[n] = NULL;
        _exit(monitor_main(n, argv));
    }
    close(listener);
    close(lock);
}

static int dial(const struct box *b, const char *line)
{
    (void)b;
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "monitor.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    return fd;
}

static struct monitor_status wait_end(struct box *b)
{
    int wait_status;
    struct monitor_status st;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(waitpid(b->monitor, &wait_status, 0), b->monitor);
    assert_int_equal(wait_status, 0);
    b->monitor = 0;
    assert_int_equal(monitor_status_read(b->state, &st, &err), 0);
    return st;
}

/* The whole log's text; heap. */
static char *log_text(const struct box *b)
{
    struct logfile *l;
    struct log_record r;
    struct err err AUTOERR = ERR_INIT;
    struct strbuf out = STRBUF_INIT;
    assert_int_equal(logfile_open(b->state, -1, 0, &l, &err), 0);
    while (logfile_next(l, &r, &err) > 0)
        strbuf_addf(&out, "%s%.*s", r.is_stderr ? "E:" : "", (int)r.len, r.text);
    logfile_close(l);
    return strbuf_detach(&out);
}

static void test_exit_code_and_output_are_kept(void **state)
{
    struct box *b = *state;
    start(b, "echo one; echo two >&2; printf end; exit 7", NULL, 0);
    struct monitor_status st = wait_end(b);
    assert_int_equal(st.phase, MONITOR_EXITED);
    assert_int_equal(st.exit_code, 7);
    assert_int_equal(st.signal, 0);
    assert_true(st.finished >= st.started && st.started > 0);
    char *text AUTOFREE = log_text(b);
    assert_non_null(strstr(text, "one\n"));
    assert_non_null(strstr(text, "E:two\n"));
    assert_non_null(strstr(text, "end"));
    char *deleted AUTOFREE = path_join(b->dir, "deleted");
    assert_true(fs_exists(deleted));
}

static void test_death_by_signal_is_128_and_the_number(void **state)
{
    struct box *b = *state;
    start(b, "kill -TERM $$; sleep 5", NULL, 0);
    struct monitor_status st = wait_end(b);
    assert_int_equal(st.exit_code, 128 + SIGTERM);
    assert_int_equal(st.signal, SIGTERM);
}

static void test_one_that_the_runtime_reaped_is_not_waited_for(void **state)
{
    struct box *b = *state;
    put(b, "reap", "", 0644);
    start(b, "echo hello; exit 3", NULL, 0);
    struct monitor_status st = wait_end(b);
    assert_int_equal(st.phase, MONITOR_EXITED);
    assert_int_equal(st.exit_code, -1);
    char *text AUTOFREE = log_text(b);
    assert_string_equal(text, "hello\n");
}

static void test_refusal_of_the_runtime_is_told(void **state)
{
    struct box *b = *state;
    put(b, "refuse",
        "{\"level\":\"warning\",\"msg\":\"old kernel\"}\n"
        "{\"level\":\"error\",\"msg\":\"runc run failed: unable to start container process: exec: "
        "\\\"nope\\\": executable file not found in $PATH\"}\n",
        0644);
    start(b, "exit 0", NULL, 0);
    struct monitor_status st = wait_end(b);
    assert_int_equal(st.phase, MONITOR_FAILED);
    assert_int_equal(st.exit_code, 127);
    assert_string_equal(st.message, "exec: \"nope\": executable file not found in $PATH");
    char *text AUTOFREE = log_text(b);
    assert_string_equal(text, "");
}

static void test_oom_kill_is_noticed(void **state)
{
    struct box *b = *state;
    static const char *const files[] = {"memory.events", "memory.oom_control"}; /* v2, v1 */
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char *list AUTOFREE = xasprintf("%s\n", b->state);
        char *events AUTOFREE = xasprintf("state/%s", files[i]);
        put(b, "run/cgroup", list, 0644);
        put(b, events, "low 0\noom 3\noom_kill 2\n", 0644);
        start(b, "kill -KILL $$", NULL, 0);
        assert_true(wait_end(b).oom);
        put(b, events, "low 0\noom 3\noom_kill 0\n", 0644);
        start(b, "kill -KILL $$", NULL, 0);
        assert_false(wait_end(b).oom);
    }
}

/* Reads what the monitor says until it has said `until`, or all of it. */
static void read_until(int fd, const char *until, char *all, size_t size)
{
    size_t n = strlen(all);
    ssize_t r;
    while ((!until || !strstr(all, until)) && (r = read(fd, all + n, size - 1 - n)) > 0) {
        n += (size_t)r;
        all[n] = '\0';
    }
}

static void test_watcher_sees_every_state(void **state)
{
    struct box *b = *state;
    char *gate AUTOFREE = path_join(b->dir, "gate");
    assert_int_equal(mkfifo(gate, 0600), 0);
    start(b, "exit 3", NULL, 0);
    int fd = dial(b, "watch\n");
    char all[1024] = "";
    read_until(fd, "starting\n", all, sizeof(all));
    assert_non_null(strstr(all, "starting\n"));
    int through = open(gate, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(through, "\n", 1), 1);
    close(through);
    read_until(fd, NULL, all, sizeof(all));
    close(fd);
    assert_non_null(strstr(all, "exited 3 0 0 "));
    wait_end(b);
}

/* Reads frames up to the exit status; returns stdout's text, heap. */
static char *read_frames(int fd, int *code)
{
    struct strbuf in AUTOBUF = STRBUF_INIT;
    struct strbuf out = STRBUF_INIT;
    char chunk_in[4096];
    *code = -1;
    while (*code < 0) {
        ssize_t n = read(fd, chunk_in, sizeof(chunk_in));
        if (n <= 0)
            break;
        strbuf_add(&in, chunk_in, (size_t)n);
        for (;;) {
            char *newline = in.len ? memchr(in.buf, '\n', in.len) : NULL;
            if (in.len && in.buf[0] >= 0x20 && newline) {
                strbuf_consume(&in, (size_t)(newline + 1 - in.buf)); /* a state line */
                continue;
            }
            if (in.len < 5 || in.buf[0] >= 0x20)
                break;
            const unsigned char *h = (const unsigned char *)in.buf;
            size_t len = (size_t)h[1] << 24 | (size_t)h[2] << 16 | (size_t)h[3] << 8 | h[4];
            if (in.len < 5 + len)
                break;
            if (h[0] == FRAME_STDOUT)
                strbuf_add(&out, in.buf + 5, len);
            else if (h[0] == FRAME_EXIT)
                *code = atoi(in.buf + 5);
            strbuf_consume(&in, 5 + len);
        }
    }
    return strbuf_detach(&out);
}

static void test_attached_client_gives_stdin_and_gets_all(void **state)
{
    struct box *b = *state;
    start(b, "cat; exit 4", "--stdin", 0);
    int fd = dial(b, "attach stdin\n");
    assert_int_equal(send(fd, "\0\0\0\0\3abc\4\0\0\0\0", 13, MSG_NOSIGNAL), 13);
    int code;
    char *text AUTOFREE = read_frames(fd, &code);
    close(fd);
    assert_string_equal(text, "abc");
    assert_int_equal(code, 4);
    wait_end(b);
}

static void test_late_client_gets_the_log_first(void **state)
{
    struct box *b = *state;
    start(b, "echo early; printf unfinished; sleep 0.5; echo; echo late", NULL, 0);
    usleep(250000);
    int fd = dial(b, "attach logs\n"), code;
    char *text AUTOFREE = read_frames(fd, &code);
    close(fd);
    assert_string_equal(text, "early\nunfinished\nlate\n");
    assert_int_equal(code, 0);
    wait_end(b);
}

static void test_output_waits_for_the_awaited_client(void **state)
{
    struct box *b = *state;
    start(b, "echo first", "--await-attach", 0);
    usleep(200000);
    int fd = dial(b, "attach\n"), code;
    char *text AUTOFREE = read_frames(fd, &code);
    close(fd);
    assert_string_equal(text, "first\n");
    wait_end(b);
}

static void test_nothing_is_lost_when_the_monitor_is_killed(void **state)
{
    struct box *b = *state;
    start(b, "i=0; while [ $i -lt 4000 ]; do echo $i; i=$((i+1)); done; printf tail; sleep 1", NULL,
          0);
    char *pid_path AUTOFREE = path_join(b->run, "pid");
    pid_t pid = 0;
    for (int i = 0; i < 8; i++) {
        usleep(20000);
        char *text AUTOFREE = NULL;
        if (fs_read(pid_path, 64, &text, NULL, NULL) == 0)
            pid = atoi(text);
        if (!pid)
            continue;
        kill(b->monitor, SIGKILL);
        waitpid(b->monitor, NULL, 0);
        start(b, NULL, NULL, pid);
    }
    struct monitor_status st = wait_end(b);
    assert_int_equal(st.phase, MONITOR_EXITED);
    char *text AUTOFREE = log_text(b);
    const char *at = text;
    for (int i = 0; i < 4000; i++) {
        char want[16];
        snprintf(want, sizeof(want), "%d\n", i);
        at = strstr(at, want);
        if (!at)
            fail_msg("line %d is missing", i);
    }
    assert_non_null(strstr(at, "tail"));
}

static void test_nonsense_from_a_client_ends_only_its_connection(void **state)
{
    struct box *b = *state;
    start(b, "sleep 0.3; exit 1", NULL, 0);
    int a = dial(b, "please\n");
    int c = dial(b, "attach\n\x05\xff\xff\xff\xff");
    char drop[512];
    while (read(a, drop, sizeof(drop)) > 0)
        ;
    while (read(c, drop, sizeof(drop)) > 0)
        ;
    close(a);
    close(c);
    assert_int_equal(wait_end(b).exit_code, 1);
}

static void test_rotation_keeps_the_newest(void **state)
{
    struct box *b = *state;
    start(b, "for i in $(seq 600); do echo line $i; done", "--max-size=10000", 0);
    wait_end(b);
    char *text AUTOFREE = log_text(b);
    assert_non_null(strstr(text, "line 600\n"));
    assert_null(strstr(text, "line 1\n"));
}

static void test_messages_are_tidied(void **state)
{
    (void)state;
    static const struct {
        const char *log, *want;
        int code;
    } cases[] = {
        {"runc run failed: unable to start container process: error during container init: exec: "
         "\"/x\": permission denied\n",
         "exec: \"/x\": permission denied", 126},
        {"{\"msg\":\"executable file `x` not found in $PATH: No such file or directory\",\"level\":"
         "\"error\"}\n",
         "executable file `x` not found in $PATH: No such file or directory", 127},
        {"{\"msg\":\"error stat'ing file `/nope`: No such file or directory\",\"level\":\"error\"}",
         "error stat'ing file `/nope`: No such file or directory", 125},
        {"{\"msg\":\"mount \\\"a\\\"\\nfailed\",\"level\":\"error\"}", "mount \"a\" failed", 125},
        {"", "", 125},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[512];
        assert_int_equal(tidy_message(cases[i].log, out, sizeof(out)), cases[i].code);
        assert_string_equal(out, cases[i].want);
    }
}

/* Feeds text to a log of its own and returns the file's content; heap. */
static char *write_log(const struct box *b, const char *text, size_t n, bool flush, size_t *used)
{
    struct logwriter l;
    int dir = open(b->state, O_RDONLY | O_DIRECTORY);
    logwriter_open(&l, dir, true, 0, 1);
    *used = logwriter_feed(&l, false, text, n, flush);
    close(l.fd);
    close(dir);
    char *path AUTOFREE = path_join(b->state, "log"), *out = NULL;
    fs_read(path, 16 << 20, &out, NULL, NULL);
    return out;
}

static void test_bad_utf8_becomes_replacement_characters(void **state)
{
    static const char text[] = "a\xff"
                               "b \xc3\xa9 \xed\xa0\x80 \x01\t\"\\\n";
    size_t used;
    char *out AUTOFREE = write_log(*state, text, sizeof(text) - 1, false, &used);
    assert_int_equal(used, sizeof(text) - 1);
    assert_non_null(strstr(out, "{\"log\":\"a\\ufffdb \xc3\xa9 \\ufffd\\ufffd\\ufffd "
                                "\\u0001\\t\\\"\\\\\\n\",\"stream\":\"stdout\",\"time\":\"2"));
}

static void test_unfinished_line_waits_unless_flushed(void **state)
{
    size_t used;
    char *out AUTOFREE = write_log(*state, "whole\npart", 10, false, &used);
    assert_int_equal(used, 6);
    assert_null(strstr(out, "part"));
    char *rest AUTOFREE = write_log(*state, "part", 4, true, &used);
    assert_int_equal(used, 4);
    assert_non_null(strstr(rest, "{\"log\":\"part\","));
}

static void test_long_line_is_cut_between_characters(void **state)
{
    size_t n = 40000, used;
    char *text AUTOFREE = xmalloc(n);
    memset(text, 'x', n);
    memcpy(text + LOG_LINE_MAX - 1, "\xc3\xa9", 2);
    char *out AUTOFREE = write_log(*state, text, n, true, &used);
    assert_int_equal(used, n);
    assert_null(strstr(out, "ufffd"));
    assert_non_null(strstr(out, "{\"log\":\"\xc3\xa9"));
}

static void test_torn_record_is_cut_off(void **state)
{
    struct box *b = *state;
    char *path AUTOFREE = path_join(b->state, "log");
    static const char torn[] =
        "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"x\"}\n{\"log\":\"b";
    assert_int_equal(fs_write_atomic(path, torn, sizeof(torn) - 1, 0644, false, NULL), 0);
    size_t used;
    char *out AUTOFREE = write_log(b, "c\n", 2, false, &used);
    assert_null(strstr(out, "\"b{"));
    assert_non_null(strstr(out, "}\n{\"log\":\"c\\n\""));
}

/* A monitor was killed when it had taken a piece of output; how much of that is in the log? */
static void test_what_a_killed_writer_has_done(void **state)
{
    static const char text[] = "one\ntwo\nthree\nun";
    const size_t n = sizeof(text) - 1;
    struct log_progress p = {.before = -1};
    struct logwriter l;
    int dir AUTOCLOSE = open(((struct box *)*state)->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    logwriter_open(&l, dir, true, 0, 1);
    l.progress = &p;
    assert_int_equal(logwriter_feed(&l, false, "before\n", 7, false), 7);
    assert_int_equal(p.done, 7);
    int64_t before = l.size;
    p.done = 0;
    assert_int_equal(logwriter_feed(&l, false, text, n, false), 14);
    assert_int_equal(logwriter_done(&l, &p, text, n), 14); /* between the log and the FIFO */

    p = (struct log_progress){.before = before, .length = (size_t)(l.size - before), .pending = 14};
    assert_int_equal(logwriter_done(&l, &p, text, n), 14); /* just written */
    const struct {
        int64_t size;
        size_t done;
    } cuts[] = {{l.size - 20, 8}, {before + 10, 0}, {before, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        assert_int_equal(ftruncate(l.fd, cuts[i].size), 0);
        close(l.fd);
        logwriter_open(&l, dir, true, 0, 1);
        assert_int_equal(logwriter_done(&l, &p, text, n), cuts[i].done);
    }
    close(l.fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_exit_code_and_output_are_kept),
        T(test_death_by_signal_is_128_and_the_number),
        T(test_one_that_the_runtime_reaped_is_not_waited_for),
        T(test_refusal_of_the_runtime_is_told),
        T(test_oom_kill_is_noticed),
        T(test_watcher_sees_every_state),
        T(test_attached_client_gives_stdin_and_gets_all),
        T(test_late_client_gets_the_log_first),
        T(test_output_waits_for_the_awaited_client),
        T(test_nothing_is_lost_when_the_monitor_is_killed),
        T(test_nonsense_from_a_client_ends_only_its_connection),
        T(test_rotation_keeps_the_newest),
        T(test_messages_are_tidied),
        T(test_bad_utf8_becomes_replacement_characters),
        T(test_unfinished_line_waits_unless_flushed),
        T(test_long_line_is_cut_between_characters),
        T(test_torn_record_is_cut_off),
        T(test_what_a_killed_writer_has_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
