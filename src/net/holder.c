#include "net/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "net/endpoint.h"
#include "net/network.h"

static bool same_place(const struct ip_addr *a, const struct ip_addr *b)
{
    return ip_is_any(a) || ip_is_any(b) || ip_equal(a, b);
}

static char *container_of_port(const struct endpoint *e, const char *protocol,
                               const struct ip_addr *host, uint16_t port)
{
    struct nft_port *ports = NULL;
    size_t n = 0;
    char *who = NULL;
    endpoint_ports(e, &ports, &n);
    for (size_t i = 0; i < n && !who; i++) {
        if (ports[i].published != port || !streq(ports[i].protocol, protocol) ||
            !same_place(&ports[i].host, host))
            continue;
        const char *name = e->container_name ? e->container_name : e->container_id;
        who = e->project ? xasprintf("container %s (project %s)", name, e->project)
                         : xasprintf("container %s", name);
    }
    free(ports);
    return who;
}

static char *publishing_container(const struct paths *paths, const char *protocol,
                                  const struct ip_addr *host, uint16_t port)
{
    struct network_state **networks = NULL;
    char *who = NULL;
    if (network_list(paths, &networks, NULL) < 0)
        return NULL;
    for (struct network_state **n = networks; *n; n++) {
        struct endpoint *endpoints = NULL;
        size_t count = 0;
        if (network_endpoints(paths, (*n)->name, &endpoints, &count, NULL) < 0)
            continue;
        for (size_t i = 0; i < count; i++) {
            if (!who)
                who = container_of_port(&endpoints[i], protocol, host, port);
            endpoint_release(&endpoints[i]);
        }
        free(endpoints);
    }
    network_list_free(networks);
    return who;
}

/* An address of /proc/net/tcp: each 32-bit word in the machine's byte order, as hex. */
static bool parse_proc_addr(const char *hex, struct ip_addr *a)
{
    size_t words = strlen(hex) / 8;
    *a = (struct ip_addr){.family = words == 4 ? AF_INET6 : AF_INET};
    for (size_t i = 0; i < words && i < 4; i++) {
        uint32_t word;
        char digits[9];
        snprintf(digits, sizeof(digits), "%.8s", hex + i * 8);
        word = (uint32_t)strtoul(digits, NULL, 16);
        memcpy(a->bytes + i * 4, &word, 4);
    }
    return words == 1 || words == 4;
}

/* The inode of a socket that is bound there, 0: none. proc(5), /proc/net/tcp. */
static unsigned long bound_inode(const char *file, bool tcp, const struct ip_addr *host,
                                 uint16_t port)
{
    FILE *f = fopen(file, "re");
    unsigned long found = 0, inode;
    char line[512], hex[64];
    unsigned local_port, state;
    while (f && !found && fgets(line, sizeof(line), f)) {
        struct ip_addr a;
        if (sscanf(line, " %*d: %63[0-9A-Fa-f]:%x %*[0-9A-Fa-f:] %x %*s %*s %*s %*d %*d %lu", hex,
                   &local_port, &state, &inode) != 4)
            continue;
        /* 0A: LISTEN; a bound UDP socket is 07, and 01 once it is connected. */
        if (local_port != port || (tcp && state != 0x0a) || !parse_proc_addr(hex, &a))
            continue;
        if (same_place(&a, host))
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool process_has_socket(const char *pid, const char *link)
{
    char path[300], target[64];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    bool has = false;
    for (struct dirent *d; dir && !has && (d = readdir(dir));) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        has = streq(target, link);
    }
    if (dir)
        closedir(dir);
    return has;
}

static char *process_name(const char *pid)
{
    char path[300], name[64] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, name, sizeof(name) - 1) : 0;
    if (n > 0)
        name[strcspn(name, "\n")] = '\0';
    return xasprintf("%s (pid %s)", *name ? name : "a process", pid);
}

static char *process_holding(unsigned long inode)
{
    char link[64];
    char *who = NULL;
    snprintf(link, sizeof(link), "socket:[%lu]", inode);
    DIR *proc = opendir("/proc");
    for (struct dirent *d; proc && !who && (d = readdir(proc));) {
        if (isdigit((unsigned char)d->d_name[0]) && process_has_socket(d->d_name, link))
            who = process_name(d->d_name);
    }
    if (proc)
        closedir(proc);
    return who;
}

char *port_holder(const struct paths *paths, const char *protocol, const struct ip_addr *host,
                  uint16_t port)
{
    static const char *const files[][2] = {{"/proc/net/udp", "/proc/net/udp6"},
                                           {"/proc/net/tcp", "/proc/net/tcp6"}};
    char *who = publishing_container(paths, protocol, host, port);
    bool tcp = streq(protocol, "tcp");
    for (int i = 0; i < 2 && !who && (tcp || streq(protocol, "udp")); i++) {
        unsigned long inode = bound_inode(files[tcp][i], tcp, host, port);
        if (inode)
            who = process_holding(inode);
    }
    return who ? who : xstrdup("another program");
}
