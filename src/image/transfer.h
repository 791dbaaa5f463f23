/* Everything that moves image bytes: pull, push, load, save, import, unpack, build.
 *
 * The work is done by compose-image.so, which is loaded on first use, so that commands that need no
 * libcurl do not pay for it; without the module each call fails with one clear error.
 *
 * All calls block: they belong in the CLI or in a worker thread. Several may run at once on one
 * store; the layers that are in work at one time are bounded over all of them. Callbacks come from
 * other threads, one at a time per call. */
#ifndef IMAGE_TRANSFER_H
#define IMAGE_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/json.h"
#include "image/store.h"
#include "model/project.h"

/* Set it to true, from any thread or signal handler, and the call returns ERR_CANCELLED soon.
 * NULL: cannot be cancelled. */
typedef const atomic_bool *image_cancel;

enum image_phase {
    IMAGE_RESOLVING,   /* asking the registry; layer NULL */
    IMAGE_WAITING,     /* the layer is known and waits for its turn, or for another process */
    IMAGE_DOWNLOADING, /* current and total in bytes of the blob; it is unpacked at the same time */
    IMAGE_UNPACKING,   /* all bytes are here, the tail is being unpacked */
    IMAGE_RETRYING,    /* it failed (why) and is tried again after a while (delay) */
    IMAGE_UPLOADING,
    IMAGE_EXISTS, /* the layer was here, or the registry has it */
    IMAGE_DONE,   /* layer NULL: the whole image */
};

struct image_progress {
    const char *image; /* as it was asked for */
    const char *layer; /* first 12 digits of the blob's digest, NULL: about the image */
    enum image_phase phase;
    int64_t current, total; /* bytes, total 0: unknown */
    const char *why;        /* with IMAGE_RETRYING */
    int64_t delay;          /* ms */
};
typedef void (*image_progress_cb)(void *ctx, const struct image_progress *progress);

enum image_pull_policy {
    IMAGE_PULL_ALWAYS,  /* ask the registry; nothing is moved when it is the same */
    IMAGE_PULL_MISSING, /* only if the store has no such image */
    IMAGE_PULL_NEVER,   /* ERR_NOT_FOUND if the store has no such image */
};

struct pull_request {
    const char *reference;
    const char *platform; /* NULL: this machine's */
    enum image_pull_policy policy;
    int64_t max_age; /* with MISSING: ask again if the last time is longer ago, ns; 0: never */
    const char *auth_file; /* NULL: DOCKER_CONFIG/config.json, ~/.docker/config.json */
    image_progress_cb progress;
    void *ctx;
    image_cancel cancel;
};

/* Brings an image into the store and unpacks it. *image (may be NULL) is the caller's.
 * *changed (may be NULL): the name stands for another image than before. */
int image_pull(struct image_store *store, const struct pull_request *request, struct image **image,
               bool *changed, struct err *err);

struct resolve_request {
    const char *reference;
    const char *platform; /* NULL: this machine's; ERR_NOT_FOUND where the image is not for it */
    const char *auth_file;
    image_cancel cancel;
};
/* The digest that a name has at its registry now (of the index, where there is one); heap. Brings
 * nothing but the manifest. */
int image_resolve(const struct resolve_request *request, char **digest, struct err *err);

struct push_request {
    const char *reference;
    const char *into; /* a name whose repository gets it, under its digest alone; NULL: its own */
    const char *auth_file;
    image_progress_cb progress;
    void *ctx;
    image_cancel cancel;
};
/* *digest (may be NULL): of the manifest as the registry stored it, heap. */
int image_push(struct image_store *store, const struct push_request *request, char **digest,
               struct err *err);

/* A small file in a registry, as one layer of an artifact. */
struct artifact_file {
    char *media_type;
    char *data;
    size_t n;
    json_t *annotations; /* object of strings, or NULL */
};

struct artifact {
    char digest[72]; /* of what the name stands for */
    struct artifact_file *files;
    size_t files_n;
};
void artifact_release(struct artifact *artifact);

struct artifact_push_request {
    const char *reference;
    const char *type;            /* artifactType */
    const char *old_config_type; /* the config's media type, which stood for it before OCI 1.1 */
    const char *oci_version;     /* "1.0", "1.1"; "": the newest that the registry takes */
    const struct artifact_file *files;
    size_t files_n;
    /* Names in the store: they go into the same repository, and the name stands for an index of the
     * artifact and them. NULL: the name stands for the artifact. */
    const char *const *images;
    json_t *index_annotations;
    const char *auth_file;
    image_cancel cancel;
};
int artifact_push(struct image_store *store, const struct artifact_push_request *request,
                  struct err *err);

struct artifact_pull_request {
    const char *reference;
    const char *type, *old_config_type;
    /* Is what has this digest here already? Then no files are fetched. May be NULL. */
    bool (*have)(void *ctx, const char *digest);
    void *ctx;
    const char *auth_file;
    image_cancel cancel;
};
/* The caller releases the artifact. */
int artifact_pull(const struct artifact_pull_request *request, struct artifact *artifact,
                  struct err *err);

/* Unpacks what is not yet: for an image that skopeo wrote into the layout. Reloads *image. */
int image_unpack(struct image_store *store, struct image **image, image_cancel cancel,
                 struct err *err);

/* Compares each unpacked layer with what its blob unpacks to: names, types, modes, owners, contents,
 * attributes, and the times of all but folders. report is called once a layer that differs, with one
 * line. mend: what differs is put right, path by path and by rename, so that containers which use
 * the layer go on. *findings: how many layers. */
int image_compare(struct image_store *store, bool mend, void (*report)(void *ctx, const char *line),
                  void *ctx, size_t *findings, image_cancel cancel, struct err *err);

struct load_request {
    int fd; /* a `docker save` or OCI archive, plain, gzip, zstd, xz or bzip2; may be a pipe */
    const char *source;   /* what errors call it: a path or "stdin" */
    const char *platform; /* NULL: this machine's, or the only one in the archive */
    image_progress_cb progress;
    void *ctx;
    image_cancel cancel;
};
/* *names: what was loaded, full names or IDs, heap vector. */
int image_load(struct image_store *store, const struct load_request *request, char ***names,
               struct err *err);

struct import_request {
    int fd; /* tar of a root file system, compressed as above */
    const char *source;
    const char *reference;      /* NULL: no name */
    const char *const *changes; /* Dockerfile instructions ("CMD [\"sh\"]", "ENV A=1"), or NULL */
    const char *message;        /* history comment, NULL: "Imported from SOURCE" */
    const char *platform;
    image_progress_cb progress;
    void *ctx;
    image_cancel cancel;
};
/* *id: of the new image, heap. */
int image_import(struct image_store *store, const struct import_request *request, char **id,
                 struct err *err);

struct save_request {
    int fd;
    const char *const *references; /* names or IDs */
    bool oci; /* only an OCI layout; otherwise one that also has Docker's manifest.json */
    image_cancel cancel;
};
int image_save(struct image_store *store, const struct save_request *request, struct err *err);

/* Makes an image of a container's changes (commit): the layers of base plus one of the folder
 * upper, an overlay upper folder, whose whiteouts are translated. */
struct commit_request {
    const char *base; /* image ID */
    const char *upper;
    const char *reference; /* NULL: no name */
    const char *author, *message;
    const char *const *changes;
    image_cancel cancel;
};
int image_commit(struct image_store *store, const struct commit_request *request, char **id,
                 struct err *err);

/* Writes the tree under dir as a tar (export). What is mounted below dir is not entered. */
int image_export(struct image_store *store, const char *dir, int fd, image_cancel cancel,
                 struct err *err);

struct build_secret {
    const char *id;
    const char *file;        /* absolute path, or NULL: */
    const char *environment; /* name of a variable of this process */
};

/* What an image that a build starts from must be. */
struct build_pin {
    const char *image, *platform; /* "debian:12", "linux/amd64" */
    const char *digest;
};

struct build_request {
    const char *service;                /* for messages */
    const struct build *build;          /* args, labels, ... as the file gives them */
    const char *const *names;           /* the image's names, first the main one; NULL-terminated */
    const struct build_secret *secrets; /* build->secrets resolved against the project */
    size_t secrets_n;
    /* additional_contexts and FROM names given as "service:NAME": the image that stands for each */
    const struct key_value *service_images; /* service -> image name */
    size_t service_images_n;
    struct key_values args;   /* besides build->args: --build-arg wins */
    struct key_values labels; /* besides build->labels: com.docker.compose.* */
    bool all_platforms;       /* an image of all build->platforms, where there are several */
    const char *platform;     /* else, NULL: build->platforms' only one, else this machine's */
    const char *const *ssh;   /* besides build->ssh: --ssh */
    bool no_cache, pull;      /* besides build's: command-line flags */
    /* NULL: any; else the digests of all images that it may start from (ERR_NOT_FOUND) */
    const struct build_pin *pins;
    size_t pins_n;
    int64_t memory; /* --memory, bytes, 0: no limit */
    /* One line of the builder's output without its newline, in order. */
    void (*output)(void *ctx, const char *line);
    void *ctx;
    image_cancel cancel;
};
struct build_base {
    char *image, *platform; /* as the Dockerfile names it; platform NULL: that of the machine */
};
/* The images that a build starts from; heap, each with heap members. ERR_UNAVAILABLE: its Dockerfile
 * is not on this machine. */
int image_bases(const struct build_request *request, struct build_base **bases, size_t *n,
                struct err *err);

/* Tells what is questionable in the build's Dockerfile; of variables, as far as the images that it
 * starts from are in the store. line counts from 1. ERR_UNAVAILABLE:
 * it is not on this machine. */
int image_lint(struct image_store *store, const struct build_request *request,
               void (*warn)(void *ctx, const char *rule, const char *message, size_t line),
               void *ctx, struct err *err);

/* Builds with buildah and brings the result into the store under all its names; of several platforms
 * it is an index. A failing step is named in err, with the end of its output. */
int image_build(struct image_store *store, const struct build_request *request, struct err *err);

#endif
