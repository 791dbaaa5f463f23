/* What compose-image.so exports: one symbol, image_module, of this type. The calls are those of
 * image/transfer.h. */
#ifndef IMAGE_MODULE_H
#define IMAGE_MODULE_H

#include "image/transfer.h"

enum { IMAGE_MODULE_VERSION = 4 }; /* the program refuses a module of another version */

struct image_module {
    int version;
    int (*pull)(struct image_store *, const struct pull_request *, struct image **, bool *,
                struct err *);
    int (*resolve)(const struct resolve_request *, char **, struct err *);
    int (*push)(struct image_store *, const struct push_request *, char **, struct err *);
    int (*unpack)(struct image_store *, struct image **, image_cancel, struct err *);
    int (*compare)(struct image_store *, bool, void (*)(void *, const char *), void *, size_t *,
                   image_cancel, struct err *);
    int (*load)(struct image_store *, const struct load_request *, char ***, struct err *);
    int (*import)(struct image_store *, const struct import_request *, char **, struct err *);
    int (*save)(struct image_store *, const struct save_request *, struct err *);
    int (*commit)(struct image_store *, const struct commit_request *, char **, struct err *);
    int (*export)(struct image_store *, const char *, int, image_cancel, struct err *);
    int (*bases)(const struct build_request *, struct build_base **, size_t *, struct err *);
    int (*lint)(struct image_store *, const struct build_request *,
                void (*)(void *, const char *, const char *, size_t), void *, struct err *);
    int (*build)(struct image_store *, const struct build_request *, struct err *);
    int (*artifact_push)(struct image_store *, const struct artifact_push_request *, struct err *);
    int (*artifact_pull)(const struct artifact_pull_request *, struct artifact *, struct err *);
};

extern const struct image_module image_module;

#endif
