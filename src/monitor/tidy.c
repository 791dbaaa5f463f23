#include "monitor/tidy.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What runtimes say before the cause. Each may come several times, in any order. */
static const char *const prefixes[] = {
    "runc run failed: ",
    "runc create failed: ",
    "OCI runtime create failed: ",
    "unable to start container process: ",
    "error during container init: ",
    "container_linux.go:",
    "time=",
    "[FATAL tini",
};

/* What is said about the command itself; anything else is the preparations' fault. */
static const char *const about_command[] = {
    "exec: \"",          /* runc: exec: "x": executable file not found in $PATH */
    "exec /",            /* runc: exec /x: exec format error */
    "executable file `", /* crun: executable file `x` not found in $PATH */
    "open executable",   /* crun: open executable: Permission denied */
    "exec container process",
};

static const struct {
    const char *words;
    int code;
} codes[] = {
    {"not found", 127},
    {"no such file or directory", 127},
    {"No such file or directory", 127},
    {"not a directory", 127},
    {"ermission denied", 126},
    {"is a directory", 126},
    {"Operation not permitted", 126}, /* crun, of a directory */
    {"xec format error", 126},
};

static int code_of(const char *message)
{
    bool command = false;
    for (size_t i = 0; i < sizeof(about_command) / sizeof(*about_command); i++)
        command = command || strstr(message, about_command[i]);
    for (size_t i = 0; command && i < sizeof(codes) / sizeof(*codes); i++)
        if (strstr(message, codes[i].words))
            return codes[i].code;
    return 125;
}

/* The last "msg" of JSON lines whose level is error, else the last line. */
static const char *last_message(const char *log, size_t *len)
{
    const char *best = log, *end = log;
    *len = 0;
    for (const char *line = log; *line; line = *end ? end + 1 : end) {
        end = strchrnul(line, '\n');
        if (end == line)
            continue;
        bool json = *line == '{', harmless = false;
        if (json) {
            const char *level = memmem(line, (size_t)(end - line), "\"level\":", 8);
            size_t rest = level ? (size_t)(end - level) : 0;
            rest = rest < 24 ? rest : 24;
            harmless = level && !memmem(level, rest, "error", 5) &&
                       !memmem(level, rest, "fatal", 5);
        }
        if (harmless)
            continue;
        best = line;
        *len = (size_t)(end - line);
    }
    return best;
}

static size_t take_text(const char *s, const char *end, char *out, size_t room)
{
    size_t n = 0;
    for (; s < end && *s != '"' && n < room; s++) {
        if (*s == '\\' && s + 1 < end) {
            s++;
            if (*s == 'u' && end - s > 4) {
                unsigned v = 0;
                sscanf(s + 1, "%4x", &v);
                out[n++] = v < 0x80 && v >= 0x20 ? (char)v : ' ';
                s += 4;
            } else {
                out[n++] = *s == 'n' || *s == 't' || *s == 'r' ? ' ' : *s;
            }
        } else {
            out[n++] = *s;
        }
    }
    return n;
}

int tidy_message(const char *log, char *out, size_t size)
{
    size_t len, n;
    const char *line = last_message(log, &len);
    const char *msg = memmem(line, len, "\"msg\":", 6);
    if (*line == '{' && msg) {
        msg = strchr(msg + 6, '"');
        n = take_text(msg ? msg + 1 : line, line + len, out, size - 1);
    } else {
        n = len < size - 1 ? len : size - 1;
        memcpy(out, line, n);
    }
    while (n && (out[n - 1] == ' ' || out[n - 1] == '\n'))
        n--;
    out[n] = '\0';
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
        size_t plen = strlen(prefixes[i]);
        if (strncmp(out, prefixes[i], plen) == 0 && prefixes[i][plen - 1] == ' ') {
            memmove(out, out + plen, strlen(out + plen) + 1);
            i = (size_t)-1;
        }
    }
    return code_of(out);
}
