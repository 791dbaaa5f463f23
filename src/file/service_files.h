/* env_file and label_file of services, read into environment and labels. */
#ifndef FILE_SERVICE_FILES_H
#define FILE_SERVICE_FILES_H

#include "file/env.h"
#include "file/interpolate.h"
#include "file/pass.h"

/* environment wins over env_file; variables in the files see the project's env first. The key
 * env_file is gone afterwards. root: typed. */
void service_files_environment(const struct pass *p, struct node *root, const struct env *env,
                               struct unset_seen *seen, const char *cwd);
/* The same for label_file, which sees only what label files before it set; drop: the key goes. */
void service_files_labels(const struct pass *p, struct node *root, struct unset_seen *seen,
                          const char *cwd, bool drop);

#endif
