/* The calls of image/transfer.h as the module implements them. */
#ifndef IMAGE_MODULE_CALLS_H
#define IMAGE_MODULE_CALLS_H

#include "image/transfer.h"

int call_pull(struct image_store *store, const struct pull_request *request, struct image **image,
              bool *changed, struct err *err);
int call_resolve(const struct resolve_request *request, char **digest, struct err *err);
int call_push(struct image_store *store, const struct push_request *request, char **digest,
              struct err *err);
int call_unpack(struct image_store *store, struct image **image, image_cancel cancel,
                struct err *err);
int call_compare(struct image_store *store, bool mend, void (*report)(void *ctx, const char *line),
                 void *ctx, size_t *findings, image_cancel cancel, struct err *err);
int call_load(struct image_store *store, const struct load_request *request, char ***names,
              struct err *err);
int call_import(struct image_store *store, const struct import_request *request, char **id,
                struct err *err);
int call_save(struct image_store *store, const struct save_request *request, struct err *err);
int call_commit(struct image_store *store, const struct commit_request *request, char **id,
                struct err *err);
int call_export(struct image_store *store, const char *dir, int fd, image_cancel cancel,
                struct err *err);
int call_bases(const struct build_request *request, struct build_base **bases, size_t *n,
               struct err *err);
int call_lint(struct image_store *store, const struct build_request *request,
              void (*warn)(void *ctx, const char *rule, const char *message, size_t line),
              void *ctx, struct err *err);
int call_build(struct image_store *store, const struct build_request *request, struct err *err);
int call_artifact_push(struct image_store *store, const struct artifact_push_request *request,
                       struct err *err);
int call_artifact_pull(const struct artifact_pull_request *request, struct artifact *artifact,
                       struct err *err);

#endif
