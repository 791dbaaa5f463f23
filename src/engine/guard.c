#include "engine/guard.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/container.h"
#include "net/network.h"
#include "net/watch.h"

struct guard {
    struct engine *engine;
    struct net_watch *watch;
    bool mending; /* a job is under way */
    bool again;   /* something changed meanwhile */
    bool closed;
};

struct mend_job {
    struct guard *guard;
    const struct paths *paths;
    char **networks;
};

static void begin(struct guard *g);

static bool has(char **list, const char *name)
{
    for (size_t i = 0; list && list[i]; i++)
        if (streq(list[i], name))
            return true;
    return false;
}

static void mend(void *arg)
{
    struct mend_job *j = arg;
    for (size_t i = 0; j->networks[i]; i++) {
        struct err err AUTOERR = ERR_INIT;
        if (network_repair(j->paths, j->networks[i], &err) < 0 && err.kind != ERR_NOT_FOUND)
            log_line("network %s: %s", j->networks[i], err.msg);
    }
}

static void on_mended(void *arg)
{
    struct mend_job *j = arg;
    struct guard *g = j->guard;
    strv_free(j->networks);
    free(j);
    g->mending = false;
    if (g->closed)
        free(g);
    else if (g->again)
        begin(g);
}

static void begin(struct guard *g)
{
    const struct engine *e = g->engine;
    char **networks = NULL;
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        for (size_t k = 0; container_is_running(c) && k < c->record.networks_n; k++)
            if (!has(networks, c->record.networks[k].network))
                strv_push(&networks, c->record.networks[k].network);
    }
    g->again = false;
    if (!networks)
        return;
    struct mend_job *j = xcalloc(1, sizeof(*j));
    *j = (struct mend_job){g, e->paths, networks};
    g->mending = true;
    engine_work(g->engine, mend, on_mended, j);
}

static void on_changed(void *arg)
{
    struct guard *g = arg;
    if (g->mending)
        g->again = true;
    else
        begin(g);
}

struct guard *guard_new(struct engine *e)
{
    struct guard *g = xcalloc(1, sizeof(*g));
    struct err err AUTOERR = ERR_INIT;
    g->engine = e;
    if (net_watch_new(e->loop, on_changed, g, &g->watch, &err) < 0) {
        log_line("the host's firewall is not watched: %s", err.msg);
        free(g);
        return NULL;
    }
    return g;
}

void guard_close(struct guard *g)
{
    if (!g)
        return;
    net_watch_close(g->watch);
    g->closed = true;
    if (!g->mending)
        free(g);
}
