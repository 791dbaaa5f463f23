#include "cli/bake.h"

#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/version.h"

/* docker compose: pkg/compose/build_bake.go. Members stand in its order, and are left out when they
 * are empty. */

static void put(json_t *target, const char *key, json_t *take)
{
    if (json_is_object(take) ? json_object_size(take) : json_array_size(take))
        json_object_set(target, key, take);
    json_decref(take);
}

static json_t *list_of(const struct strings *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(list, json_text(s->v[i]));
    return list;
}

__attribute__((format(printf, 2, 3))) static void append(json_t *list, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_text(text));
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Go prints maps by key. */
static json_t *sorted(json_t *take)
{
    size_t n = json_object_size(take), i = 0;
    const char **keys AUTOFREE = xcalloc(n + 1, sizeof(*keys));
    const char *key;
    json_t *value, *out = json_object();
    json_object_foreach (take, key, value)
        keys[i++] = key;
    qsort(keys, n, sizeof(*keys), compare_keys);
    for (i = 0; i < n; i++)
        json_object_set(out, keys[i], json_object_get(take, keys[i]));
    json_decref(take);
    return out;
}

static void add_value(json_t *o, const char *key, const char *value)
{
    if (value)
        json_object_set_new(o, key, json_text(value));
}

static json_t *contexts(const struct build *b)
{
    json_t *o = json_object();
    for (size_t i = 0; i < b->additional_contexts.n; i++) {
        const struct key_value *kv = &b->additional_contexts.v[i];
        const char *service = kv->value && starts_with(kv->value, "service:") ? kv->value + 8
                                                                              : NULL;
        char *target AUTOFREE = service ? xasprintf("target:%s", service) : NULL;
        add_value(o, kv->key, target ? target : kv->value);
    }
    return sorted(o);
}

static json_t *args_of(const struct build *b, const struct build_flags *flags)
{
    json_t *o = json_object();
    for (size_t i = 0; i < b->args.n; i++) {
        const struct key_value *kv = &b->args.v[i];
        add_value(o, kv->key, kv->value ? kv->value : getenv(kv->key));
    }
    for (const char *const *a = flags->args; a && *a; a++) {
        size_t n = strcspn(*a, "=");
        char *key AUTOFREE = xstrndup(*a, n);
        add_value(o, key, (*a)[n] ? *a + n + 1 : getenv(key));
    }
    return sorted(o);
}

static json_t *labels_of(const struct project *p, const struct service *s)
{
    json_t *o = json_object();
    for (size_t i = 0; i < s->build->labels.n; i++)
        add_value(o, s->build->labels.v[i].key,
                  s->build->labels.v[i].value ? s->build->labels.v[i].value : "");
    add_value(o, "com.docker.compose.project", p->name);
    add_value(o, "com.docker.compose.service", s->name);
    add_value(o, "com.docker.compose.version", compose_version);
    return sorted(o);
}

static json_t *secrets_of(const struct project *p, const struct build *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->secrets_n; i++) {
        const struct file_object *o = project_secret(p, b->secrets[i].source);
        const char *id = build_secret_id(&b->secrets[i]);
        if (o && o->file)
            append(list, "id=%s,type=file,src=%s", id, o->file);
        else if (o && o->environment)
            append(list, "id=%s,type=env,env=%s", id, o->environment);
    }
    return list;
}

static json_t *ssh_of(const struct build *b, const struct build_flags *flags)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->ssh.n; i++)
        append(list, "%s=%s", b->ssh.v[i].key, b->ssh.v[i].value ? b->ssh.v[i].value : "");
    if (flags->ssh && *flags->ssh)
        append(list, "%s%s", flags->ssh, strchr(flags->ssh, '=') ? "" : "=");
    return list;
}

static json_t *ulimits_of(const struct build *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->ulimits_n; i++) {
        const struct ulimit *u = &b->ulimits[i];
        char *value AUTOFREE = u->soft == u->hard
                                   ? xasprintf("%lld", (long long)u->soft)
                                   : xasprintf("%lld:%lld", (long long)u->soft, (long long)u->hard);
        append(list, "%s=%s", u->name, value);
    }
    return list;
}

/* Several addresses of a host stand in one string. */
static json_t *hosts_of(const struct build *b)
{
    json_t *o = json_object();
    for (size_t i = 0; i < b->extra_hosts.n; i++) {
        const char *text = b->extra_hosts.v[i];
        size_t n = strcspn(text, "=:");
        char *host AUTOFREE = xstrndup(text, n);
        const char *address = text[n] ? text + n + 1 : "", *had = jstr(o, host, NULL);
        char *both AUTOFREE = had ? xasprintf("%s,%s", had, address) : xstrdup(address);
        json_object_set_new(o, host, json_text(both));
    }
    return sorted(o);
}

static json_t *platforms_of(const struct service *s)
{
    if (s->build->platforms.n || !s->platform)
        return list_of(&s->build->platforms);
    return json_pack("[s]", s->platform);
}

static json_t *entitlements_of(const struct service *s, const struct node *section)
{
    const struct node *given = node_get(section, "entitlements");
    json_t *list = json_array();
    for (size_t i = 0; node_is(given, NODE_SEQUENCE) && i < given->count; i++)
        if (node_is(given->items[i], NODE_STRING))
            json_array_append_new(list, json_text(given->items[i]->string));
    if (s->build->privileged)
        json_array_append_new(list, json_string("security.insecure"));
    return list;
}

static void attest(json_t *list, const struct node *section, const char *key)
{
    const char *value = node_get_str(section, key);
    if (!value || streq(value, "false"))
        return;
    bool plain = streq(value, "true");
    append(list, "type=%s%s%s", key, plain ? "" : ",", plain ? "" : value);
}

static const char *output_of(const struct bake *bake, const struct service *s)
{
    bool push = bake->push && s->image;
    if (s->build->platforms.n > 1)
        return push ? "type=image,push=true" : "type=image,push=false";
    return push ? "type=registry" : "type=docker";
}

static json_t *target_of(const struct bake *bake, size_t i)
{
    const struct service *s = &bake->project->services[i];
    const struct build *b = s->build;
    const struct node *section = node_get(s->node, "build");
    bool is_url = strstr(b->context, "://") || starts_with(b->context, "git@");
    const char *dockerfile = b->dockerfile ? b->dockerfile : "Dockerfile";
    char *path AUTOFREE = is_url || dockerfile[0] == '/' ? xstrdup(dockerfile)
                                                         : path_join(b->context, dockerfile);
    json_t *t = json_object();
    jset_str(t, "context", b->context);
    put(t, "contexts", contexts(b));
    jset_str(t, "dockerfile", b->dockerfile_inline ? NULL : path);
    jset_str(t, "dockerfile-inline", b->dockerfile_inline);
    put(t, "args", args_of(b, bake->flags));
    put(t, "labels", labels_of(bake->project, s));
    json_t *tags = list_of(&b->tags);
    json_array_append_new(tags, json_text(bake->names[i]));
    put(t, "tags", tags);
    put(t, "cache-from", list_of(&b->cache_from));
    put(t, "cache-to", list_of(&b->cache_to));
    jset_str(t, "target", b->target);
    put(t, "secret", secrets_of(bake->project, b));
    put(t, "ssh", ssh_of(b, bake->flags));
    put(t, "platforms", platforms_of(s));
    if (b->pull || bake->flags->pull)
        json_object_set_new(t, "pull", json_true());
    if (b->no_cache || bake->flags->no_cache)
        json_object_set_new(t, "no-cache", json_true());
    jset_str(t, "network", b->network);
    if (b->shm_size > 0)
        json_object_set_new(t, "shm-size", json_sprintf("%lld", (long long)b->shm_size));
    put(t, "ulimits", ulimits_of(b));
    if (bake->check)
        jset_str(t, "call", "lint");
    put(t, "entitlements", entitlements_of(s, section));
    put(t, "extra-hosts", hosts_of(b));
    if (!bake->check)
        json_object_set_new(t, "output", json_pack("[s]", output_of(bake, s)));
    json_t *attests = json_array();
    attest(attests, section, "provenance");
    attest(attests, section, "sbom");
    put(t, "attest", attests);
    return t;
}

json_t *bake_json(const struct bake *bake)
{
    json_t *targets = json_object(), *group = json_array();
    const struct project *p = bake->project;
    for (size_t i = 0; i < p->services_n; i++) {
        if (!p->services[i].build || !(bake->shown[i] || bake->selected[i]))
            continue;
        if (bake->selected[i])
            json_array_append_new(group, json_text(p->services[i].name));
        json_object_set_new(targets, p->services[i].name, target_of(bake, i));
    }
    return json_pack("{s:{s:{s:o}},s:o}", "group", "default", "targets", group, "target", targets);
}
