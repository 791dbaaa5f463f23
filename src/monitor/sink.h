/* Where the container's output goes besides the log file: syslog (RFC 3164, RFC 5424) or the journal
 * (systemd's native protocol). The receiver may hold the container back for SEND_WAIT a record, not
 * the monitor for ever: then records are dropped and counted until it takes some again; the log file
 * has them all. */
#ifndef MONITOR_SINK_H
#define MONITOR_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum sink_kind { SINK_NONE, SINK_SYSLOG, SINK_JOURNALD };
enum sink_format { FORMAT_UNIX, FORMAT_RFC3164, FORMAT_RFC5424, FORMAT_RFC5424MICRO };
enum { SINK_FIELDS_MAX = 48, SINK_ATTRS_MAX = 4096, SINK_RELAY_MAX = 9 };

struct monitor;

struct sink {
    enum sink_kind kind;
    enum sink_format format;
    int facility;
    const char *tag;
    const char *attrs; /* a JSON object that each record of the log file carries; NULL: none */
    const char *fields[SINK_FIELDS_MAX]; /* "K=V", of the journal */
    int fields_n;
    struct sockaddr_storage address;
    socklen_t address_len;
    int type; /* SOCK_DGRAM, SOCK_STREAM */
    const char
        *relay[SINK_RELAY_MAX + 1]; /* argv of a program that passes it on; none: address counts */
    int relay_n;
    const struct monitor *monitor; /* who starts that */
    int fd;                        /* -1: not connected */
    int64_t retry_at;
    uint64_t dropped;
};

/* "relay=", once for each of its arguments (src/tls/main.c): a stream that it says "1" to when it takes messages.
 * "kind=", "address=unix:PATH|udp:ADDRESS:PORT|tcp:ADDRESS:PORT", "facility=NUMBER", "format=",
 * "tag=", "field=K=V", "attrs=JSON"; the text is kept. False: unknown. */
bool sink_option(struct sink *s, const char *text);
/* One record; its newline, if it has one, is not part of the message. */
void sink_record(struct sink *s, bool is_stderr, const char *text, size_t n);

#endif
