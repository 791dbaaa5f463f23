/* `build --print`: what would be built, as the JSON of a bake file (docker buildx bake). */
#ifndef CLI_BAKE_H
#define CLI_BAKE_H

#include "base/json.h"
#include "cli/image_jobs.h"

struct bake {
    const struct project *project;
    char **names;         /* of the images, by index in project->services */
    const bool *selected; /* what is asked for: the group "default" */
    const bool *shown;    /* those and what they depend on */
    const struct build_flags *flags;
    bool push, check;
};

/* The caller's. */
json_t *bake_json(const struct bake *bake);

#endif
