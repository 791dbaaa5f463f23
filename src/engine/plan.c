#include "engine/plan.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "model/changes.h"
#include "model/decode.h"
#include "model/node_json.h"

static bool is_up(const struct container_record *c)
{
    return c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED ||
           c->status == CONTAINER_RESTARTING;
}

/* --- why a container does not serve any more --- */

static void say(json_t *reasons, const char *text)
{
    json_array_append_new(reasons, json_pack("{s:s}", "text", text));
}

/* The section without what does not count for the hash (model/hash.c): new reference. */
static json_t *counted(const json_t *section)
{
    static const char *const passed_over[] = {"build", "pull_policy", "scale", "depends_on",
                                              "profiles"};
    json_t *o = json_copy((json_t *)section);
    for (size_t i = 0; i < ARRAY_SIZE(passed_over); i++)
        json_object_del(o, passed_over[i]);
    json_t *deploy = json_copy(json_object_get(o, "deploy"));
    if (deploy) {
        json_object_del(deploy, "replicas");
        json_object_set_new(o, "deploy", deploy);
    }
    return o;
}

static const json_t *document_of(const struct container_record *c)
{
    return json_object_get(c->config, "document");
}

static void add_section_changes(json_t *reasons, const struct service *s,
                                const struct container_record *c)
{
    const json_t *old = json_object_get(json_object_get(document_of(c), "services"), s->name);
    json_t *whole AUTOJSON = node_to_json(s->node), *now AUTOJSON = counted(whole);
    json_t *was AUTOJSON = json_is_object(old) ? counted(old) : NULL;
    json_t *path AUTOJSON = changes_path("services", s->name, NULL);
    size_t before = json_array_size(reasons);
    if (was)
        changes_add(reasons, path, was, now);
    if (json_array_size(reasons) == before)
        say(reasons, "its configuration changed");
}

static void add_image_change(json_t *reasons, const struct service *s, const char *was,
                             const char *now)
{
    json_t *change = json_pack("{s:o, s:s*, s:s}", "path",
                               changes_path("services", s->name, "image", NULL), "old", was, "new",
                               now);
    json_array_append_new(reasons, change);
}

/* Where a secret or config comes from, as the file says: whatever else is kept with it, the value that
 * its variable had, is not for the eye. New reference. */
static json_t *source_of(const json_t *object)
{
    static const char *const members[] = {"content", "file", "environment", "name"};
    json_t *o = json_is_object(object) ? json_object() : NULL;
    for (size_t i = 0; o && i < ARRAY_SIZE(members); i++)
        if (json_object_get(object, members[i]))
            json_object_set(o, members[i], json_object_get(object, members[i]));
    return o;
}

/* A secret or config as the container knows it; borrowed. */
static const json_t *object_of(const struct container_record *c, const char *section,
                               const char *key)
{
    return json_object_get(json_object_get(document_of(c), section), key);
}

static json_t *source_now(const struct plan_input *in, const char *section, const char *key)
{
    const struct node *node = node_get(node_get(in->project->document, section), key);
    json_t *whole AUTOJSON = node ? node_to_json(node) : NULL;
    return source_of(whole);
}

/* Contents are told as texts where the file gives them, else only that they changed. */
static void add_content_change(json_t *reasons, const struct plan_input *in,
                               const struct container_record *c, const char *section,
                               const char *key)
{
    static const char *const sources[] = {"content", "file", "environment"};
    json_t *was AUTOJSON = source_of(object_of(c, section, key));
    json_t *now AUTOJSON = source_now(in, section, key);
    json_t *path AUTOJSON = changes_path(section, key, NULL);
    size_t before = json_array_size(reasons);
    if (was && now)
        changes_add(reasons, path, was, now);
    if (json_array_size(reasons) > before)
        return;
    const char *source = "content";
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
        if (json_object_get(now, sources[i]))
            source = sources[i];
    json_t *change = json_pack("{s:o, s:s}", "path", changes_path(section, key, source, NULL),
                               "text", "its content changed");
    json_array_append_new(reasons, change);
}

/* Networks and volumes that go by another name now. */
static void add_name_change(json_t *reasons, const char *section, const char *key, json_t *was,
                            json_t *now)
{
    json_t *path AUTOJSON = changes_path(section, key, "name", NULL);
    changes_add(reasons, path, was, now);
}

/* Where neither has a digest, because it is a folder or cannot be had, the place where it comes from counts. */
static bool object_changed(const struct plan_input *in, const struct container_record *c,
                           const json_t *now, const char *section, const char *key)
{
    const json_t *a = json_object_get(json_object_get(c->inputs, section), key);
    const json_t *b = json_object_get(json_object_get(now, section), key);
    if (a || b)
        return !json_equal(a, b);
    json_t *was AUTOJSON = source_of(object_of(c, section, key));
    json_t *is AUTOJSON = source_now(in, section, key);
    return !json_equal(was, is);
}

static bool used_before(const struct file_mount *uses, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (streq(uses[k].source, uses[i].source))
            return true;
    return false;
}

static void add_object_changes(json_t *reasons, const struct plan_input *in,
                               const struct container_record *c, const json_t *now,
                               const char *section, const struct file_mount *uses, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *key = uses[i].source;
        if (!used_before(uses, i) && object_of(c, section, key) &&
            object_changed(in, c, now, section, key))
            add_content_change(reasons, in, c, section, key);
    }
}

static void add_name_changes(json_t *reasons, const struct container_record *c, const json_t *now,
                             const char *section)
{
    const json_t *had = json_object_get(c->inputs, section);
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(now, section), key, value) {
        json_t *was = json_object_get(had, key);
        if (was && !json_equal(was, value))
            add_name_change(reasons, section, key, was, value);
    }
}

/* What the section itself no longer uses, or uses anew, was told with that. */
static void add_input_changes(json_t *reasons, const struct plan_input *in, const struct service *s,
                              const struct container_record *c, const json_t *now)
{
    if (!c->inputs)
        return;
    add_object_changes(reasons, in, c, now, "configs", s->configs, s->configs_n);
    add_object_changes(reasons, in, c, now, "secrets", s->secrets, s->secrets_n);
    add_name_changes(reasons, c, now, "networks");
    add_name_changes(reasons, c, now, "volumes");
}

static bool flag(const struct plan_input *in, const char *name)
{
    return jbool(in->options, name, false);
}

/* Made by this very operation, for a supervisor that died on the way. */
static bool is_fresh(const struct plan_input *in, const struct container_record *c)
{
    int64_t since = jint(in->options, "since", 0);
    return since && c->created >= since;
}

/* NULL: it serves. New reference. */
static json_t *reasons_to_recreate(const struct plan_input *in, size_t service,
                                   const struct container_record *c, const char *hash)
{
    const struct service *s = &in->project->services[service];
    const char *image = in->facts->image_ids[service];
    bool target = in->targeted[service];
    json_t *reasons AUTOJSON = json_array();
    if (flag(in, "no_recreate") || in->facts->drawn_in[service])
        return NULL;
    if (target && flag(in, "force_recreate") && !is_fresh(in, c))
        say(reasons, "--force-recreate");
    if (!target && flag(in, "always_recreate_deps") && !is_fresh(in, c))
        say(reasons, "--always-recreate-deps");
    if (!c->config_hash || !streq(c->config_hash, hash))
        add_section_changes(reasons, s, c);
    if (image && !(c->image_id && streq(c->image_id, image)))
        add_image_change(reasons, s, c->image_id, image);
    add_input_changes(reasons, in, s, c, in->facts->inputs[service]);
    return json_array_size(reasons) ? STEAL(reasons) : NULL;
}

/* --- slots --- */

static int64_t wanted_replicas(const struct plan_input *in, const struct service *s)
{
    if (s->provider)
        return 0;
    return jint(json_object_get(in->options, "scale"), s->name, s->scale);
}

/* What serves comes first, then by number: scaling down takes the outdated, then the highest. */
static int by_worth(const void *a, const void *b)
{
    const struct plan_slot *x = a, *y = b;
    int old = (x->action == PLAN_RECREATE) - (y->action == PLAN_RECREATE);
    return old ? old : x->number - y->number;
}

static int by_number(const void *a, const void *b)
{
    return ((const struct plan_slot *)a)->number - ((const struct plan_slot *)b)->number;
}

static bool number_is_taken(const struct plan *plan, size_t first, int number)
{
    for (size_t i = first; i < plan->slots.n; i++)
        if (plan->slots.v[i].number == number)
            return true;
    return false;
}

static void plan_service(const struct plan_input *in, struct plan *plan, size_t service)
{
    const struct service *s = &in->project->services[service];
    bool guest = in->facts->drawn_in[service]; /* nothing is made or scaled of it */
    size_t first = plan->slots.n, want = guest ? SIZE_MAX : (size_t)wanted_replicas(in, s);
    char *hash AUTOFREE = service_config_hash(in->project, s);
    for (size_t i = 0; i < in->have_n; i++) {
        const struct container_record *c = in->have[i];
        if (c->oneoff || !streq(c->service, s->name) || (guest && !is_up(c)))
            continue;
        json_t *reasons = reasons_to_recreate(in, service, c, hash);
        struct plan_slot slot = {.service = service,
                                 .number = c->number,
                                 .have = c,
                                 .reasons = reasons,
                                 .action = reasons ? PLAN_RECREATE : PLAN_KEEP};
        vec_push(&plan->slots, slot);
    }
    size_t have = plan->slots.n - first;
    if (have > want)
        qsort(plan->slots.v + first, have, sizeof(*plan->slots.v), by_worth);
    for (; plan->slots.n - first > want; plan->slots.n--) {
        struct plan_slot *last = &plan->slots.v[plan->slots.n - 1];
        vec_push(&plan->surplus, last->have);
        json_decref(last->reasons);
    }
    for (int next = 1; !guest && plan->slots.n - first < want; next++) {
        struct plan_slot slot = {.service = service, .number = next, .action = PLAN_CREATE};
        if (!number_is_taken(plan, first, next))
            vec_push(&plan->slots, slot);
    }
    if (plan->slots.n > first)
        qsort(plan->slots.v + first, plan->slots.n - first, sizeof(*plan->slots.v), by_number);
}

/* --- what others' changes do to a container --- */

static void add_reasons(struct plan_slot *slot, const json_t *more)
{
    if (!slot->reasons)
        slot->reasons = json_array();
    json_array_extend(slot->reasons, (json_t *)more);
}

static void plan_evictions(const struct plan_input *in, struct plan_slot *slot)
{
    const struct project *p = in->project;
    const struct service *s = &p->services[slot->service];
    for (size_t i = 0; i < p->networks_n; i++) {
        const struct resource_fact *fact = &in->facts->networks[i];
        if (!fact->changes || !service_uses_network(s, p->networks[i].key))
            continue;
        slot->evicted = true;
        if (slot->action == PLAN_KEEP && is_up(slot->have))
            slot->action = PLAN_RESTART;
        add_reasons(slot, fact->changes);
    }
    for (size_t i = 0; i < p->volumes_n; i++) {
        const struct resource_fact *fact = &in->facts->volumes[i];
        if (!fact->changes || !service_uses_volume(s, p->volumes[i].key))
            continue;
        slot->unseated = true;
        slot->action = PLAN_RECREATE;
        add_reasons(slot, fact->changes);
    }
}

static bool shares_namespace(const struct service *s, const char *other)
{
    const char *const modes[] = {s->network_mode, s->ipc, s->pid, s->uts};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (modes[i] && starts_with(modes[i], "service:") &&
            streq(modes[i] + strlen("service:"), other))
            return true;
    return false;
}

/* volumes_from: what the other's anonymous volumes are is settled when a container starts. */
static bool takes_volumes_from(const struct service *s, const char *other)
{
    size_t n = strlen(other);
    for (size_t i = 0; i < s->volumes_from.n; i++) {
        const char *from = s->volumes_from.v[i];
        if (strncmp(from, other, n) == 0 && (from[n] == '\0' || from[n] == ':'))
            return true;
    }
    return false;
}

static bool restarts_with(const struct service *s, const char *other)
{
    for (size_t i = 0; i < s->depends_on_n; i++)
        if (s->depends_on[i].restart && streq(s->depends_on[i].service, other))
            return true;
    return takes_volumes_from(s, other) || shares_namespace(s, other);
}

bool plan_follows(const struct project *p, const struct plan_slot *slot,
                  const struct plan_slot *other)
{
    return slot->follows &&
           restarts_with(&p->services[slot->service], p->services[other->service].name);
}

/* A namespace ends with the process that it was made for: whoever joined it before the last start of its owner is
 * alone in a dead one. */
static bool left_behind(const struct service *s, const char *name, const struct plan_slot *slot,
                        const struct plan_slot *other)
{
    return shares_namespace(s, name) &&
           (!other->have || !is_up(other->have) || other->have->started > slot->have->started);
}

/* Slots come in the order of the graph: what a service depends on was planned before it. */
static void plan_following(const struct plan_input *in, const struct plan *plan,
                           struct plan_slot *slot)
{
    const struct project *p = in->project;
    const struct service *s = &p->services[slot->service];
    if (!slot->have || !is_up(slot->have))
        return;
    for (const struct plan_slot *other = plan->slots.v; other < slot; other++) {
        const char *name = p->services[other->service].name;
        bool changes = other->action == PLAN_RECREATE || other->action == PLAN_RESTART;
        if (other->service == slot->service ||
            !((changes && restarts_with(s, name)) || left_behind(s, name, slot, other)))
            continue;
        slot->follows = true;
        if (slot->action != PLAN_KEEP)
            return;
        slot->action = PLAN_RESTART;
        json_t *why = json_pack("[{s:o, s:s}]", "path",
                                changes_path("services", s->name, "depends_on", name, NULL), "text",
                                "it restarts with what it depends on");
        add_reasons(slot, why);
        json_decref(why);
        return;
    }
}

/* --- orphans --- */

static bool is_orphan(const struct project *p, const struct container_record *c)
{
    if (c->oneoff) /* docker compose, pkg/compose/containers.go, isOrphaned */
        return c->status == CONTAINER_EXITED || c->status == CONTAINER_DEAD;
    if (project_service(p, c->service))
        return false;
    for (size_t i = 0; i < p->disabled.n; i++)
        if (streq(p->disabled.v[i], c->service))
            return false;
    return true;
}

static void plan_orphans(const struct plan_input *in, struct plan *plan)
{
    struct strbuf names AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < in->have_n; i++) {
        const struct container_record *c = in->have[i];
        if (!is_orphan(in->project, c))
            continue;
        strbuf_addf(&names, "%s%s", names.len ? " " : "", c->name);
        if (flag(in, "remove_orphans"))
            vec_push(&plan->surplus, c);
    }
    if (names.len && !flag(in, "remove_orphans") && !flag(in, "ignore_orphans"))
        plan->orphans = strbuf_detach(&names);
}

char *plan_orphan_warning(const struct plan *plan)
{
    return xasprintf("Found orphan containers ([%s]) for this project. If you removed or renamed "
                     "this service in your compose file, you can run this command with the "
                     "--remove-orphans flag to clean it up.",
                     plan->orphans);
}

void plan_make(const struct plan_input *in, struct plan *out)
{
    const struct graph *g = in->graph;
    for (size_t k = 0; k < g->n; k++)
        if (in->selected[g->order[k]])
            plan_service(in, out, g->order[k]);
    vec_foreach (&out->slots, slot)
        if (slot->have)
            plan_evictions(in, slot);
    vec_foreach (&out->slots, slot)
        plan_following(in, out, slot);
    plan_orphans(in, out);
}

const struct lack *plan_lack(const struct plan_input *in, const struct plan *plan)
{
    vec_foreach (&plan->slots, slot) {
        const struct lack *lack = &in->facts->lacks[slot->service];
        if (slot->action == PLAN_RECREATE && lack->err.msg)
            return lack;
    }
    return NULL;
}

void plan_release(struct plan *plan)
{
    vec_foreach (&plan->slots, slot)
        json_decref(slot->reasons);
    vec_release(&plan->slots);
    vec_release(&plan->surplus);
    free(plan->orphans);
    *plan = (struct plan){0};
}
