/* The names of one network. Within dns/; the public part is in dns/server.h. */
#ifndef DNS_ZONE_H
#define DNS_ZONE_H

#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/map.h"
#include "base/vec.h"
#include "net/addr.h"

struct dns_server;

/* A container in the zone. */
struct zone_owner {
    char *id;
    char **names; /* lower case */
    struct ip_addr ipv4, ipv6;
};

/* Who has a name: borrowed owners. */
struct zone_name {
    VEC(struct zone_owner *) owners;
};

struct dns_zone {
    struct dns_server *server;
    char *network; /* as given */
    char *suffix;  /* lower case */
    size_t suffix_len;
    struct map owners;  /* id -> struct zone_owner */
    struct map names;   /* name -> struct zone_name */
    struct map reverse; /* address as text -> struct zone_owner */
    struct map files;   /* id -> itself: those that came from the watched folder */
    char *dir;          /* watched, NULL: none */
    uv_fs_event_t *watch;
    dev_t watched_dev;
    ino_t watched_ino;
};

struct dns_zone *zone_new(struct dns_server *server, const char *network);
/* Frees, after its watch is closed, and tells the server. */
void zone_close(struct dns_zone *z);
/* dns_zone_watch(). */
int zone_watch(struct dns_zone *z, uv_loop_t *loop, const char *dir, struct err *err);
/* The name's entry, NULL where it is unknown. name: lower case; "name.NETWORK" is looked up too. */
const struct zone_name *zone_find(const struct dns_zone *z, const char *name, size_t len);
/* "web-1.shop_default" into out; false where nobody has the address. */
bool zone_find_address(const struct dns_zone *z, const struct ip_addr *a, char *out, size_t max);

#endif
