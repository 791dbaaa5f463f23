#include "monitor/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "monitor/monitor.h"

enum { SEND_WAIT_MS = 1000, MESSAGE_MAX = LOG_LINE_MAX + 8192 };

static const int64_t RETRY = 1000000000;
static const char journal_socket[] = "/run/systemd/journal/socket";

static char datagram[MESSAGE_MAX];

static const char *option_value(const char *text, const char *key)
{
    size_t n = strlen(key);
    return strncmp(text, key, n) == 0 && text[n] == '=' ? text + n + 1 : NULL;
}

static bool take_path(struct sink *s, const char *path)
{
    struct sockaddr_un *a = (struct sockaddr_un *)&s->address;
    a->sun_family = AF_UNIX;
    snprintf(a->sun_path, sizeof(a->sun_path), "%s", path);
    s->address_len = sizeof(*a);
    s->type = SOCK_DGRAM;
    return strlen(path) < sizeof(a->sun_path);
}

/* "127.0.0.1:514", "[::1]:514" */
static bool take_inet(struct sink *s, const char *text, int type)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&s->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s->address;
    char host[64];
    const char *colon = strrchr(text, ':');
    s->type = type;
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return false;
    in_port_t port = htons((uint16_t)atoi(colon + 1));
    bool brackets = *text == '[' && colon > text && colon[-1] == ']';
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * brackets, text + brackets);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = port;
        s->address_len = sizeof(*v4);
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = port;
    s->address_len = sizeof(*v6);
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
}

static bool take_address(struct sink *s, const char *text)
{
    if (strncmp(text, "unix:", 5) == 0)
        return take_path(s, text + 5);
    if (strncmp(text, "udp:", 4) == 0)
        return take_inet(s, text + 4, SOCK_DGRAM);
    return strncmp(text, "tcp:", 4) == 0 && take_inet(s, text + 4, SOCK_STREAM);
}

static bool take_format(struct sink *s, const char *name)
{
    static const char *const names[] = {"", "rfc3164", "rfc5424", "rfc5424micro"};
    for (int i = 0; i < (int)(sizeof(names) / sizeof(*names)); i++)
        if (strcmp(names[i], name) == 0) {
            s->format = (enum sink_format)i;
            return true;
        }
    return false;
}

bool sink_option(struct sink *s, const char *text)
{
    const char *v;
    if ((v = option_value(text, "kind"))) {
        s->kind = strcmp(v, "journald") == 0 ? SINK_JOURNALD : SINK_SYSLOG;
        s->fd = -1;
        return s->kind == SINK_SYSLOG || take_path(s, journal_socket);
    }
    if ((v = option_value(text, "address")))
        return take_address(s, v);
    if ((v = option_value(text, "format")))
        return take_format(s, v);
    if ((v = option_value(text, "facility")))
        s->facility = atoi(v);
    else if ((v = option_value(text, "tag")))
        s->tag = v;
    else if ((v = option_value(text, "relay")) && s->relay_n < SINK_RELAY_MAX) {
        s->relay[s->relay_n++] = v;
        s->type = SOCK_STREAM;
    } else if ((v = option_value(text, "attrs")))
        s->attrs = v;
    else if ((v = option_value(text, "field")) && s->fields_n < SINK_FIELDS_MAX)
        s->fields[s->fields_n++] = v;
    return v != NULL;
}

/* --- sending */

static bool ready(const struct sink *s, short events)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    return poll(&p, 1, SEND_WAIT_MS) > 0 && !(p.revents & (POLLERR | POLLHUP));
}

static bool reach_as(struct sink *s, int type)
{
    s->fd = socket(s->address.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && (connect(s->fd, (struct sockaddr *)&s->address, s->address_len) == 0 ||
                       (errno == EINPROGRESS && ready(s, POLLOUT))))
        return true;
    int error = errno;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    errno = error;
    return false;
}

static bool reach_relay(struct sink *s)
{
    int ends[2];
    char said;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    s->fd = ends[0];
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    pid_t pid = run_spawn(s->monitor, NULL, (char *const *)s->relay, (int[3]){ends[1], -1, -1},
                          false, "/");
    close(ends[1]);
    if (pid && ready(s, POLLIN) && read(s->fd, &said, 1) == 1)
        return true;
    close(s->fd);
    s->fd = -1;
    return false;
}

/* A syslog's Unix socket may be one of streams. */
static bool reach(struct sink *s)
{
    if (s->relay_n)
        return s->fd >= 0 || reach_relay(s);
    if (s->fd >= 0 || reach_as(s, s->type))
        return true;
    return s->kind == SINK_SYSLOG && s->address.ss_family == AF_UNIX && errno == EPROTOTYPE &&
           reach_as(s, s->type = s->type == SOCK_DGRAM ? SOCK_STREAM : SOCK_DGRAM);
}

static bool deliver(struct sink *s, const char *data, size_t n)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!reach(s))
            return false;
        size_t done = 0;
        while (done < n) {
            ssize_t w = send(s->fd, data + done, n - done, MSG_NOSIGNAL);
            if (w >= 0)
                done += (size_t)w;
            else if ((errno != EAGAIN && errno != ENOBUFS && errno != EINTR) || !ready(s, POLLOUT))
                break;
        }
        if (done >= n)
            return true;
        bool too_long = errno == EMSGSIZE;
        close(s->fd);
        s->fd = -1;
        if (done || too_long) /* half a message: it cannot be sent again */
            return false;
    }
    return false;
}

static void send_or_drop(struct sink *s, const char *data, size_t n)
{
    int64_t now = now_monotonic();
    if (s->retry_at > now) {
        s->dropped++;
        return;
    }
    s->retry_at = 0;
    if (deliver(s, data, n))
        return;
    s->dropped++;
    s->retry_at = now + RETRY;
}

/* --- syslog */

enum { SEVERITY_ERR = 3, SEVERITY_WARNING = 4, SEVERITY_INFO = 6 };

static size_t put_stamp(char *out, size_t size, enum sink_format format)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (format == FORMAT_UNIX || format == FORMAT_RFC3164)
        return strftime(out, size, "%b %e %H:%M:%S", localtime_r(&ts.tv_sec, &tm));
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", gmtime_r(&ts.tv_sec, &tm));
    if (format == FORMAT_RFC5424MICRO)
        n += (size_t)snprintf(out + n, size - n, ".%06ld", ts.tv_nsec / 1000);
    return n + (size_t)snprintf(out + n, size - n, "Z");
}

static void send_syslog(struct sink *s, int severity, const char *text, size_t n)
{
    enum { ROOM = 32 }; /* for the length in front: RFC 6587, 3.4.1 */
    char stamp[64], host[256] = "-", head[64];
    const char *tag = s->tag ? s->tag : "compose";
    int pri = s->facility * 8 + severity, pid = (int)getpid();
    put_stamp(stamp, sizeof(stamp), s->format);
    gethostname(host, sizeof(host) - 1);
    char *at = datagram + ROOM;
    size_t size = sizeof(datagram) - ROOM, len = 0;
    if (s->format == FORMAT_UNIX)
        len = (size_t)snprintf(at, size, "<%d>%s %.256s[%d]: ", pri, stamp, tag, pid);
    else if (s->format == FORMAT_RFC3164)
        len = (size_t)snprintf(at, size, "<%d>%s %s %.256s[%d]: ", pri, stamp, host, tag, pid);
    else
        len = (size_t)snprintf(at, size, "<%d>1 %s %s %.256s %d %.256s - ", pri, stamp, host, tag,
                               pid, tag);
    n = n < size - len - 1 ? n : size - len - 1;
    memcpy(at + len, text, n);
    len += n;
    bool stream = s->type == SOCK_STREAM;
    if (stream && s->format >= FORMAT_RFC5424) {
        int front = snprintf(head, sizeof(head), "%zu ", len);
        at -= front;
        memcpy(at, head, (size_t)front);
        len += (size_t)front;
    } else if (stream) {
        at[len++] = '\n';
    }
    send_or_drop(s, at, len);
}

/* --- the journal: systemd's "Native Journal Protocol" */

static size_t put_field(size_t at, const char *field)
{
    size_t n = strlen(field);
    if (strchr(field, '\n') || at + n + 1 > sizeof(datagram))
        return at;
    memcpy(datagram + at, field, n);
    datagram[at + n] = '\n';
    return at + n + 1;
}

static void send_journal(struct sink *s, int severity, const char *text, size_t n, bool partial)
{
    char field[512];
    size_t at = 0;
    snprintf(field, sizeof(field), "PRIORITY=%d", severity);
    at = put_field(at, field);
    if (s->tag) {
        snprintf(field, sizeof(field), "SYSLOG_IDENTIFIER=%s", s->tag);
        at = put_field(at, field);
        snprintf(field, sizeof(field), "CONTAINER_TAG=%s", s->tag);
        at = put_field(at, field);
    }
    for (int i = 0; i < s->fields_n; i++)
        at = put_field(at, s->fields[i]);
    if (partial)
        at = put_field(at, "CONTAINER_PARTIAL_MESSAGE=true");
    /* With its length in front it may hold anything. */
    uint64_t length = n; /* little-endian */
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++, length >>= 8)
        bytes[i] = (unsigned char)length;
    if (at + 8 + sizeof(bytes) + n + 1 > sizeof(datagram))
        return;
    memcpy(datagram + at, "MESSAGE\n", 8);
    memcpy(datagram + at + 8, bytes, sizeof(bytes));
    memcpy(datagram + at + 16, text, n);
    datagram[at + 16 + n] = '\n';
    send_or_drop(s, datagram, at + 16 + n + 1);
}

static void emit(struct sink *s, int severity, const char *text, size_t n, bool partial)
{
    if (s->kind == SINK_JOURNALD)
        send_journal(s, severity, text, n, partial);
    else
        send_syslog(s, severity, text, n);
}

void sink_record(struct sink *s, bool is_stderr, const char *text, size_t n)
{
    bool whole = n && text[n - 1] == '\n';
    if (s->kind == SINK_NONE)
        return;
    if (s->dropped && s->retry_at <= now_monotonic() && reach(s)) {
        char note[96];
        int len = snprintf(note, sizeof(note), "compose: %llu records are missing here",
                           (unsigned long long)s->dropped);
        s->dropped = 0;
        emit(s, SEVERITY_WARNING, note, (size_t)len, false);
    }
    emit(s, is_stderr ? SEVERITY_ERR : SEVERITY_INFO, text, n - whole, !whole);
}
