/* compose-tls check|relay HOST PORT [--ca=FILE] [--cert=FILE] [--key=FILE] [--skip-verify]: what comes in at
 * descriptor 0, which is a socket, goes through TLS to a syslog (RFC 5425).
 *
 * A program of its own, so that monitors stay small: one that logs through TLS starts it, and again when
 * it is gone. It says "1" to the socket once it is connected and reads nothing before; it reads no faster
 * than the receiver takes it. check only connects. What fails is said on stderr, in one line. */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 10000, DEAD_PEER_MS = 30000 };

struct options {
    const char *host, *port, *ca, *cert, *key;
    bool relay, skip_verify;
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return -1;
}

/* The last reason that OpenSSL has. */
static int fail_tls(const char *what)
{
    char why[256] = "the connection was closed";
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (reason)
        snprintf(why, sizeof(why), "%s", reason);
    return fail(what, why);
}

static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 ? arg + n : NULL;
}

static bool parse(int argc, char **argv, struct options *o)
{
    if (argc < 4 || (strcmp(argv[1], "relay") && strcmp(argv[1], "check")))
        return false;
    *o = (struct options){.relay = strcmp(argv[1], "relay") == 0, .host = argv[2], .port = argv[3]};
    for (int i = 4; i < argc; i++) {
        const char *v;
        if ((v = value_of(argv[i], "--ca=")))
            o->ca = v;
        else if ((v = value_of(argv[i], "--cert=")))
            o->cert = v;
        else if ((v = value_of(argv[i], "--key=")))
            o->key = v;
        else if (strcmp(argv[i], "--skip-verify") == 0)
            o->skip_verify = true;
        else
            return false;
    }
    return true;
}

static int connect_to(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    struct timeval wait = {.tv_sec = CONNECT_MS / 1000};
    int dead = DEAD_PEER_MS, on = 1;
    if (fd < 0)
        return -1;
    /* SO_SNDTIMEO bounds connect(2) too. */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(fd);
    errno = error;
    return -1;
}

static int dial(const struct options *o)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(o->host, o->port, &hints, &found);
    if (rc)
        return fail(o->host, gai_strerror(rc));
    int fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = connect_to(a);
    int error = errno;
    freeaddrinfo(found);
    return fd < 0 ? fail(o->host, strerror(error)) : fd;
}

static int load_files(SSL_CTX *ctx, const struct options *o)
{
    if (o->ca && SSL_CTX_load_verify_locations(ctx, o->ca, NULL) != 1)
        return fail_tls(o->ca);
    if (o->cert && SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
        return fail_tls(o->cert);
    if (o->key && SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)
        return fail_tls(o->key);
    if (o->cert && SSL_CTX_check_private_key(ctx) != 1)
        return fail_tls(o->cert);
    return 0;
}

static SSL_CTX *context(const struct options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, o->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_verify_paths(ctx);
    ERR_clear_error(); /* of a machine without certificates */
    if (load_files(ctx, o) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

static SSL *handshake(SSL_CTX *ctx, const struct options *o, int fd)
{
    SSL *ssl = SSL_new(ctx);
    /* An address stands in a certificate as such, not as a name. */
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), o->host) != 1) {
        SSL_set1_host(ssl, o->host);
        SSL_set_tlsext_host_name(ssl, o->host);
    }
    ERR_clear_error();
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1)
        return ssl;
    long verdict = SSL_get_verify_result(ssl);
    if (!o->skip_verify && verdict != X509_V_OK)
        fail(o->host, X509_verify_cert_error_string(verdict));
    else
        fail_tls(o->host);
    SSL_free(ssl);
    return NULL;
}

/* Nothing is expected from there but its end. False: it has come. */
static bool still_there(SSL *ssl)
{
    char drop[4096];
    int n = SSL_read(ssl, drop, sizeof(drop));
    return n > 0 || SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ;
}

/* Waits as long as the receiver takes nothing. */
static bool write_all(SSL *ssl, const char *data, int n)
{
    for (int w; (w = SSL_write(ssl, data, n)) <= 0;) {
        int error = SSL_get_error(ssl, w);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return false;
    }
    return true;
}

static int relay(SSL *ssl, int fd)
{
    static char buffer[64 << 10];
    struct timeval none = {0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
    /* What is not application data, tickets of a session say, does not make SSL_read() wait. */
    struct timeval soon = {.tv_usec = 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
    if (send(STDIN_FILENO, "1", 1, MSG_NOSIGNAL) != 1)
        return 1;
    for (;;) {
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (fds[1].revents && !still_there(ssl))
            return 1;
        if (!fds[0].revents)
            continue;
        ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
        if (n <= 0)
            break;
        if (!write_all(ssl, buffer, (int)n))
            return 1;
    }
    SSL_shutdown(ssl);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "compose-tls is started by compose, not by hand\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *ctx = context(&o);
    int fd = ctx ? dial(&o) : -1;
    SSL *ssl = fd < 0 ? NULL : handshake(ctx, &o, fd);
    int rc = !ssl ? 1 : o.relay ? relay(ssl, fd) : 0;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    if (fd >= 0)
        close(fd);
    return rc;
}
