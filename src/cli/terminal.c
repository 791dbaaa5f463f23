#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"

bool terminal_size(int fd, int *rows, int *cols)
{
    struct winsize ws;
    if (ioctl(fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_col || !ws.ws_row)
        return false;
    *rows = ws.ws_row;
    *cols = ws.ws_col;
    return true;
}

int terminal_width(int fd, int fallback)
{
    int rows, cols;
    return terminal_size(fd, &rows, &cols) ? cols : fallback;
}

bool terminal_capable(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && !streq(term, "dumb");
}

/* A signal handler must reach it, so it is the process's. */
static struct {
    struct termios modes;
    volatile sig_atomic_t saved;
    pid_t guard;
    int to_guard; /* socket: each message is what is to be written after our death */
} terminal;

/* In a process group of its own, so that what ends us spares it. Interactive shells see to the modes
 * themselves, and have taken the terminal then. */
static _Noreturn void guard_main(int in, pid_t group)
{
    char words[TERMINAL_LAST_WORDS + 1], next[sizeof(words)];
    size_t words_n = 0;
    ssize_t n;
    sigset_t all;
    sigfillset(&all); /* SIGTTOU too, which setting the modes from here would send */
    sigprocmask(SIG_SETMASK, &all, NULL);
    setpgid(0, 0);
    dup2(in, STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0u, 0);
    while ((n = recv(STDERR_FILENO, next, sizeof(next), 0)) > 0) {
        words_n = (size_t)n - 1; /* without its NUL */
        memcpy(words, next, words_n);
    }
    if (tcgetpgrp(STDIN_FILENO) == group)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
    n = write(STDOUT_FILENO, words, words_n);
    _exit(n < 0);
}

/* Without it the terminal is as safe as it was. */
static void guard_start(void)
{
    int ends[2];
    pid_t group = getpgrp();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return;
    terminal.guard = fork();
    if (terminal.guard == 0)
        guard_main(ends[0], group);
    close(ends[0]);
    terminal.to_guard = ends[1];
}

static void guard_end(void)
{
    if (terminal.guard > 0) {
        kill(terminal.guard, SIGKILL);
        waitpid(terminal.guard, NULL, 0);
    }
    if (terminal.guard)
        close(terminal.to_guard);
    terminal.guard = 0;
}

void terminal_last_words(const char *text)
{
    size_t n = strnlen(text, TERMINAL_LAST_WORDS);
    char message[TERMINAL_LAST_WORDS + 1];
    memcpy(message, text, n);
    message[n++] = '\0';
    if (terminal.guard > 0 && send(terminal.to_guard, message, n, MSG_NOSIGNAL) < 0)
        errno = 0; /* it has gone */
}

void terminal_restore(void)
{
    if (!terminal.saved)
        return;
    terminal.saved = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.modes);
    guard_end();
}

static void on_fatal(int sig)
{
    if (terminal.saved)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Remembers the modes that terminal_restore() brings back. */
static void terminal_remember(void)
{
    if (terminal.saved || tcgetattr(STDIN_FILENO, &terminal.modes) < 0)
        return;
    terminal.saved = 1;
    guard_start();
    atexit(terminal_restore);
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
        struct sigaction old;
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            signal(fatal[i], on_fatal);
    }
}

bool terminal_raw(void)
{
    terminal_remember();
    if (!terminal.saved)
        return false;
    struct termios raw = terminal.modes;
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

bool terminal_keys(void)
{
    terminal_remember();
    if (!terminal.saved)
        return false;
    struct termios keys = terminal.modes;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    /* Stopped by Ctrl-Z, we would leave the shell a terminal in these modes. */
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &keys) == 0;
}

/* Length of the escape sequence at s, 0 if there is none. */
static size_t escape_length(const char *s)
{
    if (s[0] != '\033')
        return 0;
    if (s[1] != '[')
        return s[1] ? 2 : 1;
    size_t n = 2;
    while (s[n] && !(s[n] >= '@' && s[n] <= '~'))
        n++;
    return s[n] ? n + 1 : n;
}

/* Code points of East Asian wide blocks and emoji take two cells (Unicode UAX #11, coarse). */
static int cell_width(uint32_t c)
{
    if ((c >= 0x300 && c <= 0x36f) || c == 0x200b || c == 0x200d || (c >= 0xfe00 && c <= 0xfe0f))
        return 0;
    bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
                (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
                (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
                (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
    return wide ? 2 : 1;
}

static size_t code_point(const char *s, uint32_t *c)
{
    unsigned char b = (unsigned char)*s;
    size_t n = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    *c = n == 1 ? b : b & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80)
            return i;
        *c = *c << 6 | ((unsigned char)s[i] & 0x3f);
    }
    return n;
}

size_t text_fit(const char *s, int width)
{
    size_t i = 0;
    int used = 0;
    while (s[i]) {
        size_t esc = escape_length(s + i);
        if (esc) {
            i += esc;
            continue;
        }
        uint32_t c;
        size_t n = code_point(s + i, &c);
        used += cell_width(c);
        if (used > width)
            break;
        i += n;
    }
    return i;
}

int text_width(const char *s)
{
    int width = 0;
    while (*s) {
        size_t esc = escape_length(s);
        if (esc) {
            s += esc;
            continue;
        }
        uint32_t c;
        s += code_point(s, &c);
        width += cell_width(c);
    }
    return width;
}
