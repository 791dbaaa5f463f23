/* What the files of dns/ share about the running server. */
#ifndef DNS_INTERNAL_H
#define DNS_INTERNAL_H

#include <sys/socket.h>
#include <sys/stat.h>

#include "dns/message.h"
#include "dns/resolvconf.h"
#include "dns/server.h"
#include "dns/zone.h"

enum {
    UDP_BATCH = 32,           /* packets a system call */
    UDP_PACKET = 2048,        /* longest query taken by UDP */
    TCP_CONNECTIONS = 64,     /* an endpoint */
    TCP_PENDING = 32,         /* forwarded queries a connection may wait for */
    TCP_OUT_MAX = 256 * 1024, /* answers that a connection has not fetched */
    TCP_IDLE_MS = 10000,
    UPSTREAMS_MAX = 8,
};

/* Buffers of recvmmsg(2) and sendmmsg(2): one for all endpoints, since they take turns. */
struct udp_batch;

struct upstream {
    struct ip_addr addr;
    unsigned scope;
    uint64_t bad_until; /* uv_now() until which others are asked first, 0: answers */
};

struct dns_server {
    uv_loop_t *loop;
    char *resolv_conf; /* path, NULL: the system's */
    unsigned max_forwards, forwards;
    uint32_t ttl;
    struct map zones; /* name -> struct dns_zone */
    struct dns_endpoint *endpoints;
    struct udp_batch *batch;
    struct upstream upstreams[UPSTREAMS_MAX]; /* the host's */
    size_t upstreams_n;
    bool host_ndots;       /* the host's resolv.conf, which containers inherit, sets ndots */
    struct stat conf_stat; /* of the file that they came from */
    uint64_t conf_checked; /* uv_now() */
    uint64_t random;       /* state of the shuffle */
    size_t open_parts;     /* endpoints and zones whose handles are not closed yet */
    bool closing;
    void (*done)(void *arg);
    void *done_arg;
};

struct tcp_client;
struct forward;

enum endpoint_state { ENDPOINT_OPENING, ENDPOINT_OPEN, ENDPOINT_CLOSING };

struct dns_endpoint {
    struct dns_server *server;
    struct dns_endpoint *prev, *next;
    enum endpoint_state state;
    char *id, *netns;
    struct dns_zone **zones;
    size_t zones_n;
    struct dns_link *links; /* lower case */
    size_t links_n;
    struct upstream own[UPSTREAMS_MAX]; /* the service's `dns:` */
    size_t own_n;
    bool no_forward, ndots_set;
    int udp_fd, tcp_fd, netns_fd;
    uv_poll_t udp, tcp;
    uv_work_t work;
    bool polling;
    struct err err;
    struct tcp_client *clients;
    size_t clients_n;
    struct forward *forwards;
    size_t refs; /* the endpoint itself, its handles, clients and forwards */
    dns_endpoint_cb opened;
    void *opened_arg;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Frees the server with its last part. */
void server_part_closed(struct dns_server *s);
struct dns_endpoint *endpoint_ref(struct dns_endpoint *e);
void endpoint_unref(struct dns_endpoint *e);

/* An answer without records. */
size_t dns_answer_error(const uint8_t *query, const struct dns_query *q, enum dns_rcode rcode,
                        uint8_t *out, size_t size);
/* Takes in a message whole: answers it in out (returns the length), forwards it (0) or drops it
 * (0). client: NULL and to where it came by UDP. */
struct reply_to {
    struct tcp_client *client;
    struct sockaddr_in from;
};
size_t dns_take(struct dns_endpoint *e, const uint8_t *msg, size_t len, const struct reply_to *to,
                uint8_t *out, size_t size);

/* dns/udp.c */
struct udp_batch *udp_batch_new(void);
void udp_on_readable(uv_poll_t *poll, int status, int events);

/* dns/tcp.c */
void tcp_on_connection(uv_poll_t *poll, int status, int events);
void tcp_close_clients(struct dns_endpoint *e);
/* A forwarded query was answered; closed clients take it and do nothing. */
void tcp_reply(struct tcp_client *c, const uint8_t *msg, size_t len);
/* A forwarded query holds its client until it is over; tcp_wait() counts it as not answered yet. */
struct tcp_client *tcp_client_ref(struct tcp_client *c);
void tcp_wait(struct tcp_client *c);
void tcp_client_unref(struct tcp_client *c);

/* dns/forward.c */
/* Forwards the query; the answer goes to where it came from, later. False: no upstream can be
 * asked, or too many are being asked. */
bool forward_start(struct dns_endpoint *e, const uint8_t *msg, size_t len,
                   const struct dns_query *q, const struct reply_to *to);
void forward_cancel_all(struct dns_endpoint *e);

/* dns/upstream.c */
/* Reads the host's resolv.conf again if it changed; looks at most once a second. */
void upstreams_refresh(struct dns_server *s);
/* The upstreams of an endpoint, its own or the host's. */
struct upstream *upstreams_of(struct dns_endpoint *e, size_t *n);
/* A connected socket (TCP: connecting) in the namespace from which this endpoint's upstreams are
 * asked; -1 with errno. */
int upstream_socket(struct dns_endpoint *e, const struct upstream *u, int type);

#endif
