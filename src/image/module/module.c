#include "image/module.h"
#include "image/module/calls.h"

__attribute__((visibility("default"))) const struct image_module image_module = {
    .version = IMAGE_MODULE_VERSION,
    .pull = call_pull,
    .resolve = call_resolve,
    .push = call_push,
    .unpack = call_unpack,
    .compare = call_compare,
    .load = call_load,
    .import = call_import,
    .save = call_save,
    .commit = call_commit,
    .export = call_export,
    .bases = call_bases,
    .lint = call_lint,
    .build = call_build,
    .artifact_push = call_artifact_push,
    .artifact_pull = call_artifact_pull,
};
