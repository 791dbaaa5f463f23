/* What a project is loaded with: its files, folder, variables, profiles and name. */
#ifndef FILE_SETTING_H
#define FILE_SETTING_H

#include "file/interpolate.h"
#include "file/load.h"
#include "file/pass.h"

struct setting {
    const char *cwd, *home;
    const char *working_dir;
    struct document_list files, env_files, profiles;
    struct env env; /* the caller releases it */
};

/* Everything but the name. Without any Compose file files is empty, which is no error here. */
int setting_find(const struct pass *p, const struct load_options *options, struct unset_seen *seen,
                 struct setting *out);
/* The name that options, COMPOSE_PROJECT_NAME or the folder give; *fixed: the first two, which
 * name: in a file does not override. NULL where it was reported. */
const char *setting_project_name(const struct pass *p, const struct load_options *options,
                                 const struct setting *setting, bool *fixed);

#endif
