#include "engine/oneoff.h"

int oneoff_begin(struct oneoff *o, struct operation *op, const struct project_ref *from,
                 const char *service, json_t *take_changed, struct err *err)
{
    json_t *slice AUTOJSON = project_slice(from, service);
    *o = (struct oneoff){.selected = true};
    json_object_set_new(project_services(slice), service, take_changed);
    if (project_ref_new(slice, from->environment, true, &o->ref, err) < 0)
        return -1;
    o->resources = resources_survey(op, o->ref, &o->selected, false);
    return 0;
}

bool oneoff_ready(struct oneoff *o, struct err *err)
{
    struct resource_job *r = o->resources;
    if (!(o->making ? r->done : r->surveyed))
        return false;
    if (r->err.msg) {
        err_move(err, &r->err);
        return true;
    }
    if (!o->making) {
        o->making = true;
        resources_make(r);
        return false;
    }
    resources_report(r);
    return true;
}

struct container *oneoff_create(struct oneoff *o, struct engine *e, struct container_spec *spec,
                                struct err *err)
{
    spec->project = o->ref;
    spec->service = &o->ref->project->services[0];
    spec->image_id = o->resources->facts.image_ids[0];
    spec->command = o->resources->facts.commands[0];
    spec->inputs = o->resources->facts.inputs[0];
    spec->oneoff = true;
    return container_create(e, spec, err);
}

void oneoff_release(struct oneoff *o)
{
    resource_job_free(o->resources);
    project_ref_put(o->ref);
    *o = (struct oneoff){0};
}
