/* An image of the store: what it is called, what it runs, where its layers lie.
 * Sources: OCI image-spec v1.1 config.md and manifest.md; Docker's "Healthcheck", "Shell" and
 * "OnBuild" are read too. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct image_label {
    char *key, *value;
};

struct image_healthcheck {
    char **test; /* NULL: the image has none; else {"CMD", ...}, {"CMD-SHELL", s}, {"NONE"} */
    int64_t interval, timeout, start_period, start_interval; /* ns, 0: default */
    int64_t retries;                                         /* 0: default */
};

/* String vectors are NULL-terminated; NULL where the image says nothing. */
struct image_config {
    char *user; /* NULL or "" : root */
    char **env; /* "KEY=VALUE" */
    char **entrypoint, **cmd;
    char *working_dir;    /* NULL or "": / */
    char **volumes;       /* paths, sorted */
    char **exposed_ports; /* "80/tcp", sorted */
    struct image_label *labels;
    size_t labels_n;
    char *stop_signal;
    struct image_healthcheck healthcheck;
    char **shell;    /* of CMD-SHELL; NULL: /bin/sh -c */
    char **on_build; /* ONBUILD instructions, only shown */
};

struct image_layer {
    char *digest; /* of the blob as stored */
    char *media_type;
    int64_t size;     /* of the blob, bytes */
    char *diff_id;    /* digest of the uncompressed tar */
    char *dir;        /* absolute path of the unpacked tree, NULL: not unpacked */
    int64_t unpacked; /* bytes of its files; 0 where not unpacked */
};

struct image_history {
    int64_t created; /* ns since the epoch, 0: not said */
    char *created_by, *comment, *author;
    bool empty_layer;
};

struct image {
    char *id;           /* "sha256:...", digest of the config */
    char *digest;       /* "sha256:...", digest of the manifest */
    char *index_digest; /* of the image index it was chosen from (what a registry calls the tag's
                           digest); NULL: it was pulled or made alone */
    char **names;       /* full names, sorted; empty vector: dangling */
    int64_t created;    /* ns since the epoch, 0: not said */
    int64_t pulled;     /* when a registry was last asked for it, 0: never */
    int64_t size;       /* unpacked bytes of all layers; of the blobs where not unpacked */
    char *os, *architecture, *variant; /* variant: NULL or "v8" */
    char *author;
    struct image_config config;
    struct image_layer *layers; /* bottom to top */
    size_t layers_n;
    char **layer_dirs; /* bottom to top, as overlay wants them (lowerdir= takes top first); NULL
                          unless all are unpacked: see image_unpack() in image/transfer.h */
    struct image_history *history;
    size_t history_n;
};

void image_free(struct image *image);

/* Label by key, or NULL. */
const char *image_label(const struct image *image, const char *key);

/* "linux/arm64/v8" or "linux/amd64" in its parts; os and architecture default to this machine's.
 * Aliases (x86_64, aarch64, armhf) are normalised as containerd does. */
struct image_platform {
    char os[32], architecture[32], variant[16];
};
/* text NULL or "": the machine's own. ERR_INVALID on bad syntax. */
int image_platform_parse(const char *text, struct image_platform *platform, struct err *err);
/* "linux/arm64/v8"; out holds at least 96 bytes. */
char *image_platform_format(const struct image_platform *platform, char out[96]);
/* How well an offer serves what is wanted: 0 not at all, else the higher the better. A machine also
 * takes lower variants (arm v7: v6 and v5), amd64 at last 386, and arm64 arm. */
enum { IMAGE_PLATFORM_SAME = 100 };
int image_platform_match(const struct image_platform *want, const struct image_platform *offer);

#endif
