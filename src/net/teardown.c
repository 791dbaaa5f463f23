#include "net/teardown.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/link.h"

enum { LOOK_US = 200 };

struct teardown {
    uint32_t group;
    atomic_int refs; /* the caller's and the thread's */
    atomic_bool done;
    int result; /* with err: valid once done */
    struct err err;
};

static void unref(struct teardown *t)
{
    if (atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    err_release(&t->err);
    free(t);
}

static int delete_group(uint32_t group, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0)
        return -1;
    link_delete_group(&nl, group);
    return netlink_commit(&nl, err);
}

static void *teardown_main(void *arg)
{
    struct teardown *t = arg;
    t->result = delete_group(t->group, &t->err);
    atomic_store(&t->done, true);
    unref(t);
    return NULL;
}

struct teardown *teardown_start(uint32_t group)
{
    struct teardown *t = xcalloc(1, sizeof(*t));
    pthread_t thread;
    t->group = group;
    atomic_init(&t->refs, 2);
    if (pthread_create(&thread, NULL, teardown_main, t) == 0)
        pthread_detach(thread);
    else
        teardown_main(t);
    return t;
}

int teardown_finish(struct teardown *take_t, const char *interface, struct err *err)
{
    struct teardown *t = take_t;
    int r = 0;
    while (!atomic_load(&t->done) && link_index(interface))
        usleep(LOOK_US);
    if (atomic_load(&t->done)) {
        r = t->result;
        err_move(err, &t->err);
    }
    unref(t);
    return r;
}
