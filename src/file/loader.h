/* Inside of the loader: what load.c, extends.c and include.c share. */
#ifndef FILE_LOADER_H
#define FILE_LOADER_H

#include "base/map.h"
#include "file/env.h"
#include "file/interpolate.h"
#include "file/load.h"
#include "file/origin.h"
#include "file/pass.h"
#include "file/schema.h"
#include "file/yaml.h"

enum { INCLUDE_DEPTH_MAX = 50, INCLUDES_MAX = 2000, EXTENDS_DEPTH_MAX = 100 };

struct loader {
    struct pass pass;
    const struct load_options *options;
    struct schema_set *schema;
    struct unset_seen unset;
    struct map extended; /* "base|path" -> struct extended_file: read once for all that extend it */
    struct map obsolete; /* files whose version: was warned about */
    struct origins origins;
    VEC(struct env *) envs; /* of includes; origins refer to them */
    int includes;           /* entries carried out so far */
    const char *cwd, *home;
};

/* One set of files that make a model: the project's, or an include's. */
struct scope {
    struct loader *loader;
    const struct env *env;
    const char *dir;  /* absolute: where files are looked for */
    const char *base; /* what paths in the model are resolved against; relative in an include */
    const struct scope *up;
    const char *main_file; /* absolute; for cycles of includes */
    struct mark included_at;
    int depth;
};

/* A file and its documents. */
struct loaded_file {
    const char *path; /* absolute, "-": standard input */
    const char *name; /* for messages */
    struct yaml_stream stream;
};

/* Reads and parses; -1 where it was reported, at mark. */
int loader_read(struct loader *l, const char *path, const struct mark *mark,
                struct loaded_file *out);
/* Merges the documents of the files, in order, checks them and completes their paths. NULL where
 * there is nothing to go on with. */
struct node *loader_model(struct scope *scope, const struct loaded_file *files, size_t n);

/* extends.c: replaces every extends: in a document's services. resets: of that document. */
void extends_apply(struct scope *scope, const struct loaded_file *file,
                   const struct yaml_document *doc);
void extends_release(struct loader *l);
/* include.c: reads what include: names into the document. */
void include_apply(struct scope *scope, struct node *root);
/* environment.c: "- NAME" of environment lists and environment: of secrets and configs. */
void environment_apply(const struct scope *scope, struct node *root);

#endif
