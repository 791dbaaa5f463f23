/* Manifest and config to struct image; media types. Private to image/ and its module. */
#ifndef IMAGE_DECODE_H
#define IMAGE_DECODE_H

#include <stdbool.h>

#include "base/json.h"
#include "image/image.h"
#include "image/reference.h"

/* Docker stops at 127; overlayfs itself takes 500 lower folders (OVL_MAX_STACK). */
enum { IMAGE_LAYERS_MAX = 256 };

#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP  "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD  "application/vnd.oci.image.layer.v1.tar+zstd"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"

/* The media type of a manifest or index: its mediaType, else told by its members; NULL: neither. */
const char *manifest_media_type(const json_t *manifest);
bool media_is_index(const char *media_type);

/* Fills all but names, pulled, digests of manifest and index, and what is unpacked. */
int image_decode(const json_t *manifest, const json_t *config, struct image **image,
                 struct err *err);

/* RFC 3339 to ns since the epoch; 0: not said (NULL), not readable, or before 1970. */
int64_t image_time(const char *text);

/* The entry of an index that serves the platform best, or NULL. */
const json_t *index_choose(const json_t *index, const struct image_platform *platform);

#endif
