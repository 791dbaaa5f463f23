#include "engine/create.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "base/version.h"
#include "engine/container.h"
#include "engine/facts.h"
#include "model/decode.h"

/* "a,b" of the Compose files, as the reference's label has them. */
static char *joined(const struct strings *list)
{
    struct strbuf sb = STRBUF_INIT;
    for (size_t i = 0; i < list->n; i++)
        strbuf_addf(&sb, "%s%s", i ? "," : "", list->v[i]);
    return strbuf_detach(&sb);
}

/* "db:service_healthy:false,cache:service_started:true": condition and restart. */
char *container_depends_label(const struct service *s)
{
    static const char *const conditions[] = {
        [DEPENDS_STARTED] = "service_started",
        [DEPENDS_HEALTHY] = "service_healthy",
        [DEPENDS_COMPLETED] = "service_completed_successfully",
    };
    struct strbuf sb = STRBUF_INIT;
    for (size_t i = 0; i < s->depends_on_n; i++)
        strbuf_addf(&sb, "%s%s:%s:%s", i ? "," : "", s->depends_on[i].service,
                    conditions[s->depends_on[i].condition],
                    s->depends_on[i].restart ? "true" : "false");
    return strbuf_detach(&sb);
}

/* docker compose: pkg/api/labels.go */
static json_t *labels_of(const struct container_spec *spec, const char *hash)
{
    const struct project *p = spec->project->project;
    const struct service *s = spec->service;
    json_t *labels = json_object();
    for (size_t i = 0; i < s->labels.n; i++)
        json_object_set_new(labels, s->labels.v[i].key,
                            json_text(s->labels.v[i].value ? s->labels.v[i].value : ""));
    if (spec->labels)
        json_object_update(labels, (json_t *)spec->labels);
    char number[16];
    char *files AUTOFREE = joined(&p->files);
    char *depends AUTOFREE = container_depends_label(s);
    snprintf(number, sizeof(number), "%d", spec->number);
    jset_str(labels, "com.docker.compose.project", p->name);
    jset_str(labels, "com.docker.compose.service", s->name);
    jset_str(labels, "com.docker.compose.container-number", number);
    jset_str(labels, "com.docker.compose.oneoff", spec->oneoff ? "True" : "False");
    jset_str(labels, "com.docker.compose.config-hash", hash);
    jset_str(labels, "com.docker.compose.image", spec->image_id);
    jset_str(labels, "com.docker.compose.project.working_dir", p->working_dir);
    jset_str(labels, "com.docker.compose.project.config_files", files);
    jset_str(labels, "com.docker.compose.depends_on", depends);
    jset_str(labels, "com.docker.compose.version", compose_version);
    return labels;
}

char *container_default_name(const struct project *p, const struct service *s, int number)
{
    if (s->container_name)
        return xstrdup(s->container_name);
    return xasprintf("%s%s%s%s%d", p->name, p->separator, s->name, p->separator, number);
}

/* Names that a person chose may meet those of other projects; ours carry the project's. */
static bool name_is_taken(const struct engine *e, const char *name,
                          const struct container_spec *spec, struct err *err)
{
    const struct container *own = engine_container_by_name(e, name);
    if (own == spec->replaced)
        own = NULL;
    struct container_record other = {0};
    bool chosen = spec->name || spec->service->container_name;
    bool taken = own ||
                 (chosen && container_find(e->paths, name, e->project_name, &other, NULL) == 0);
    if (taken)
        err_set(err, ERR_CONFLICT,
                "Conflict. The container name \"/%s\" is already in use by container \"%s\"%s%s",
                name, own ? own->record.id : other.id, own ? "" : " of project ",
                own ? "" : other.project);
    container_record_release(&other);
    return taken;
}

struct container *container_create(struct engine *e, const struct container_spec *spec,
                                   struct err *err)
{
    const struct service *s = spec->service;
    const struct project *p = spec->project->project;
    char *name AUTOFREE = spec->name ? xstrdup(spec->name)
                                     : container_default_name(p, s, spec->number);
    if (s->restart.unknown) {
        err_set(err, ERR_INVALID,
                "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', "
                "'on-failure', or 'unless-stopped'",
                s->restart.unknown);
        return NULL;
    }
    if (name_is_taken(e, name, spec, err))
        return NULL;
    char id[65];
    if (spec->id)
        snprintf(id, sizeof(id), "%s", spec->id);
    else
        random_hex(32, id);
    char *hash AUTOFREE = service_config_hash(p, s);
    struct container_record r = {
        .id = xstrdup(id),
        .name = STEAL(name),
        .project = xstrdup(p->name),
        .service = xstrdup(s->name),
        .number = spec->number,
        .oneoff = spec->oneoff,
        .image = service_image(p, s),
        .image_id = xstrdup(spec->image_id),
        .command = spec->command ? xstrdup(spec->command) : NULL,
        .inputs = json_incref(spec->inputs),
        .hostname = s->hostname ? xstrdup(s->hostname) : xstrndup(id, 12),
        .labels = labels_of(spec, hash),
        .config = project_slice(spec->project, s->name),
        .status = CONTAINER_CREATED,
        .created = time_now(),
        .tty = s->tty,
        .stdin_open = s->stdin_open,
    };
    r.config_hash = STEAL(hash);
    return container_new(e, &r, spec->project);
}
