/* What an `up` has to know of the machine before it can plan: which networks and volumes exist and
 * whether they are as the file defines them, the images, the contents of secrets and configs. Looking
 * changes nothing. Blocks: it runs in the pool, or in the CLI for --dry-run. */
#ifndef ENGINE_FACTS_H
#define ENGINE_FACTS_H

#include "base/json.h"
#include "base/paths.h"
#include "image/store.h"
#include "model/graph.h"
#include "model/project.h"

struct resource_fact {
    bool used; /* by a selected service, or asked for by --all-resources; and not external */
    bool exists;
    json_t *changes; /* model/changes.h: how its definition differs; NULL: it does not */
};

/* The first secret or config of a service that cannot be had. */
struct lack {
    struct err err; /* no message: all are there */
    json_t *path;   /* of its definition in the project */
};

struct facts {
    /* in, borrowed */
    const struct paths *paths;
    struct image_store *images;
    const struct project *project;
    const json_t *environment; /* values of the variables of secrets and configs */
    const json_t *renew;       /* array: names of volumes that may be made anew; NULL: none */
    bool lenient;              /* an image that is missing is no error: it would be pulled */
    bool as_they_are;          /* networks that changed stay as they are */

    /* in and out: by index of project->services. A service whose network or volume is made anew is
     * selected too: its containers hold on to the old one. */
    bool *selected;
    bool *drawn_in; /* out: by service, was selected for that reason alone */

    /* out, by index in the project */
    char **image_ids; /* NULL: not selected, or missing */
    char **commands;  /* as ps shows them; NULL likewise */
    json_t **inputs;  /* container_record.inputs; NULL: not selected */
    struct lack *lacks;
    struct resource_fact *networks, *volumes;
    char **warnings;
};

/* The image a service runs: image:, or <project>-<service> when it is built. Heap. */
char *service_image(const struct project *p, const struct service *s);

bool service_uses_network(const struct service *s, const char *key);
bool service_uses_volume(const struct service *s, const char *key);

int facts_gather(struct facts *f, struct err *err);
void facts_release(struct facts *f);

/* How a volume of the file differs from the one that exists (model/changes.h), NULL: it does not.
 * New reference. */
json_t *volume_changes(const struct paths *paths, const struct volume *v);

#endif
