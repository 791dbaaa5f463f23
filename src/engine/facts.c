#include "engine/facts.h"

#include <sha2.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "engine/prepare.h"
#include "image/image.h"
#include "model/changes.h"
#include "model/node_json.h"
#include "net/netns.h"
#include "net/network.h"
#include "volume/volume.h"

char *service_image(const struct project *p, const struct service *s)
{
    return s->image ? xstrdup(s->image) : xasprintf("%s%s%s", p->name, p->separator, s->name);
}

bool service_uses_network(const struct service *s, const char *key)
{
    for (size_t i = 0; i < s->networks_n; i++)
        if (streq(s->networks[i].network, key))
            return true;
    return false;
}

bool service_uses_volume(const struct service *s, const char *key)
{
    for (size_t i = 0; i < s->mounts_n; i++)
        if (s->mounts[i].type == MOUNT_VOLUME && s->mounts[i].source &&
            streq(s->mounts[i].source, key))
            return true;
    return false;
}

/* What no service uses is in the project because of --all-resources, and made for its own sake. */
static bool used(const struct facts *f, const char *key,
                 bool (*uses)(const struct service *s, const char *key))
{
    bool by_any = false;
    for (size_t i = 0; i < f->project->services_n; i++) {
        bool by_this = uses(&f->project->services[i], key);
        if (by_this && f->selected[i])
            return true;
        by_any |= by_this;
    }
    return !by_any;
}

/* True when a service was added. */
static bool select_users(struct facts *f, const char *key,
                         bool (*uses)(const struct service *s, const char *key))
{
    bool added = false;
    for (size_t i = 0; i < f->project->services_n; i++) {
        bool user = uses(&f->project->services[i], key);
        if (!user || f->selected[i])
            continue;
        added = f->selected[i] = f->drawn_in[i] = true;
    }
    return added;
}

/* --- networks and volumes --- */

/* NULL where nothing differs, or nothing is known of what it was. */
static json_t *definition_changes(const json_t *was, const struct node *node, const char *section,
                                  const char *key)
{
    if (!was || !node)
        return NULL;
    json_t *now AUTOJSON = node_to_json(node), *list AUTOJSON = json_array();
    json_t *path AUTOJSON = changes_path(section, key, NULL);
    changes_add(list, path, was, now);
    return json_array_size(list) ? STEAL(list) : NULL;
}

static void warn(struct facts *f, char *take_text)
{
    strv_push(&f->warnings, take_text);
    free(take_text);
}

/* Containers that are not ours cannot be stopped for it: said before anything is. */
static int refuse_guests(const struct facts *f, const char *network, struct err *err)
{
    struct endpoint *list = NULL;
    size_t n = 0;
    struct strbuf names AUTOBUF = STRBUF_INIT;
    if (network_endpoints(f->paths, network, &list, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct endpoint *e = &list[i];
        bool ours = e->project && streq(e->project, f->project->name);
        if (!ours && e->netns && netns_exists(e->netns))
            strbuf_addf(&names, "%s%s", names.len ? ", " : "",
                        e->container_name ? e->container_name : e->container_id);
        endpoint_release(&list[i]);
    }
    free(list);
    if (!names.len)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "network %s changed and cannot be made anew: containers of other projects are "
                   "in it: %s",
                   network, names.buf);
}

static int look_at_network(struct facts *f, size_t i, struct err *err)
{
    const struct network *n = &f->project->networks[i];
    struct resource_fact *fact = &f->networks[i];
    struct network_state *state = NULL;
    if (!used(f, n->key, service_uses_network))
        return 0;
    fact->exists = network_load(f->paths, n->name, &state, NULL) == 0;
    if (n->external)
        return fact->exists
                   ? (network_state_free(state), 0)
                   : err_set(err, ERR_NOT_FOUND,
                             "network %s declared as external, but could not be found", n->name);
    fact->used = true;
    if (!fact->exists)
        return 0;
    if (!state->project)
        warn(f, xasprintf("a network with name %s exists but was not created by compose.\nSet "
                          "`external: true` to use an existing network",
                          n->name));
    else if (!streq(state->project, f->project->name))
        warn(f, xasprintf("a network with name %s exists but was not created for project \"%s\".\n"
                          "Set `external: true` to use an existing network",
                          n->name, f->project->name));
    else if (!f->as_they_are)
        fact->changes = definition_changes(state->definition, n->node, "networks", n->key);
    network_state_free(state);
    return fact->changes ? refuse_guests(f, n->name, err) : 0;
}

json_t *volume_changes(const struct paths *paths, const struct volume *v)
{
    struct volume_state state = {0};
    if (v->external || volume_load(paths, v->name, &state, NULL) < 0)
        return NULL;
    json_t *changes = definition_changes(state.definition, v->node, "volumes", v->key);
    volume_state_release(&state);
    return changes;
}

static int look_at_volume(struct facts *f, size_t i, struct err *err)
{
    const struct volume *v = &f->project->volumes[i];
    struct resource_fact *fact = &f->volumes[i];
    struct volume_state state = {0};
    if (!used(f, v->key, service_uses_volume))
        return 0;
    fact->exists = volume_load(f->paths, v->name, &state, NULL) == 0;
    if (v->external)
        return fact->exists
                   ? (volume_state_release(&state), 0)
                   : err_set(err, ERR_NOT_FOUND, "external volume \"%s\" not found", v->name);
    fact->used = true;
    if (fact->exists && !state.project)
        warn(f, xasprintf("volume \"%s\" already exists but was not created by Docker Compose. Use "
                          "`external: true` to use an existing volume",
                          v->name));
    else if (fact->exists && !streq(state.project, f->project->name))
        warn(f, xasprintf("volume \"%s\" already exists but was created for project \"%s\" "
                          "(expected \"%s\"). Use `external: true` to use an existing volume",
                          v->name, state.project, f->project->name));
    volume_state_release(&state);
    if (fact->exists && jarray_has(f->renew, v->name))
        fact->changes = volume_changes(f->paths, v);
    return 0;
}

/* --- images --- */

static int look_at_image(struct facts *f, size_t i, struct err *err)
{
    const struct service *s = &f->project->services[i];
    char *name AUTOFREE = service_image(f->project, s);
    struct image *image = NULL;
    struct err failure AUTOERR = ERR_INIT;
    if (image_find(f->images, name, s->platform, &image, &failure) < 0) {
        if (f->lenient)
            return 0;
        err_move(err, &failure);
        return -1;
    }
    f->image_ids[i] = xstrdup(image->id);
    f->commands[i] = prepare_command_text(s, image);
    /* Many services, one image: looked up once. */
    for (size_t k = i + 1; k < f->project->services_n; k++) {
        const struct service *other = &f->project->services[k];
        char *other_name AUTOFREE = service_image(f->project, other);
        if (f->image_ids[k] || !f->selected[k] || s->platform || other->platform ||
            !streq(other_name, name))
            continue;
        f->image_ids[k] = xstrdup(image->id);
        f->commands[k] = prepare_command_text(other, image);
    }
    image_free(image);
    return 0;
}

/* --- what a container gets besides its section --- */

static void set_digest(json_t *o, const char *key, const char *data, size_t n)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)data, n, hex);
    json_object_set_new(o, key, json_string(hex));
}

/* "secret" or "config", which the project has a section of. */
static void note_lack(struct lack *lack, const char *kind, const struct file_object *object,
                      struct err *err)
{
    if (lack->err.msg) {
        err_release(err);
        return;
    }
    char *section AUTOFREE = xasprintf("%ss", kind);
    const char *source = object->external ? "external" : object->file ? "file" : "environment";
    err_move(&lack->err, err);
    lack->path = changes_path(section, object->key, source, NULL);
}

/* The digest of a secret's or config's content; nothing of what cannot be had. */
static void add_object(const struct facts *f, json_t *out, const char *kind,
                       const struct file_object *object, struct lack *lack)
{
    struct stat st;
    struct err err AUTOERR = ERR_INIT;
    char hex[SHA256_DIGEST_STRING_LENGTH];
    const char *text;
    if (prepare_object(object, kind, f->environment, &text, &err) < 0)
        note_lack(lack, kind, object, &err);
    else if (text)
        set_digest(out, object->key, text, strlen(text));
    /* A folder is bound as it is; opening a FIFO would hang. */
    else if (stat(object->file, &st) == 0 && S_ISREG(st.st_mode) && SHA256File(object->file, hex))
        json_object_set_new(out, object->key, json_string(hex));
}

static json_t *objects_of(const struct facts *f, const char *kind, const struct file_mount *mounts,
                          size_t n,
                          struct file_object *(*find)(const struct project *p, const char *key),
                          struct lack *lack)
{
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++) {
        const struct file_object *object = find(f->project, mounts[i].source);
        if (object && !json_object_get(o, object->key))
            add_object(f, o, kind, object, lack);
    }
    return o;
}

static json_t *names_of_networks(const struct facts *f, const struct service *s)
{
    json_t *o = json_object();
    for (size_t i = 0; i < s->networks_n; i++) {
        const struct network *n = project_network(f->project, s->networks[i].network);
        if (n)
            json_object_set_new(o, n->key, json_string(n->name));
    }
    return o;
}

static json_t *names_of_volumes(const struct facts *f, const struct service *s)
{
    json_t *o = json_object();
    for (size_t i = 0; i < s->mounts_n; i++) {
        const struct service_mount *m = &s->mounts[i];
        const struct volume *v = m->type == MOUNT_VOLUME && m->source
                                     ? project_volume(f->project, m->source)
                                     : NULL;
        if (v)
            json_object_set_new(o, v->key, json_string(v->name));
    }
    return o;
}

static json_t *inputs_of(const struct facts *f, const struct service *s, struct lack *lack)
{
    json_t *configs = objects_of(f, "config", s->configs, s->configs_n, project_config, lack);
    json_t *secrets = objects_of(f, "secret", s->secrets, s->secrets_n, project_secret, lack);
    return json_pack("{s:o, s:o, s:o, s:o}", "configs", configs, "secrets", secrets, "networks",
                     names_of_networks(f, s), "volumes", names_of_volumes(f, s));
}

/* --- all of it --- */

/* more: further services were selected, so further networks and volumes may be in use. */
static int look_at_resources(struct facts *f, bool *more, struct err *err)
{
    const struct project *p = f->project;
    *more = false;
    for (size_t i = 0; i < p->networks_n; i++) {
        if (!f->networks[i].used && look_at_network(f, i, err) < 0)
            return -1;
        if (f->networks[i].changes)
            *more |= select_users(f, p->networks[i].key, service_uses_network);
    }
    for (size_t i = 0; i < p->volumes_n; i++) {
        if (!f->volumes[i].used && look_at_volume(f, i, err) < 0)
            return -1;
        if (f->volumes[i].changes)
            *more |= select_users(f, p->volumes[i].key, service_uses_volume);
    }
    return 0;
}

int facts_gather(struct facts *f, struct err *err)
{
    const struct project *p = f->project;
    f->image_ids = xcalloc(p->services_n + 1, sizeof(*f->image_ids));
    f->commands = xcalloc(p->services_n + 1, sizeof(*f->commands));
    f->inputs = xcalloc(p->services_n + 1, sizeof(*f->inputs));
    f->lacks = xcalloc(p->services_n + 1, sizeof(*f->lacks));
    f->drawn_in = xcalloc(p->services_n + 1, sizeof(*f->drawn_in));
    f->networks = xcalloc(p->networks_n + 1, sizeof(*f->networks));
    f->volumes = xcalloc(p->volumes_n + 1, sizeof(*f->volumes));
    bool more = true;
    while (more)
        if (look_at_resources(f, &more, err) < 0)
            return -1;
    for (size_t i = 0; i < p->services_n; i++) {
        if (!f->selected[i])
            continue;
        if (!f->image_ids[i] && !p->services[i].provider && look_at_image(f, i, err) < 0)
            return -1;
        f->inputs[i] = inputs_of(f, &p->services[i], &f->lacks[i]);
    }
    return 0;
}

static void release_resources(struct resource_fact *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        json_decref(list[i].changes);
    free(list);
}

void facts_release(struct facts *f)
{
    const struct project *p = f->project;
    for (size_t i = 0; i < p->services_n; i++) {
        if (f->image_ids)
            free(f->image_ids[i]);
        if (f->commands)
            free(f->commands[i]);
        if (f->inputs)
            json_decref(f->inputs[i]);
        if (f->lacks) {
            err_release(&f->lacks[i].err);
            json_decref(f->lacks[i].path);
        }
    }
    free(f->image_ids);
    free(f->commands);
    free(f->inputs);
    free(f->lacks);
    free(f->drawn_in);
    release_resources(f->networks, p->networks_n);
    release_resources(f->volumes, p->volumes_n);
    strv_free(f->warnings);
}
