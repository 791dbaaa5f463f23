#include "file/remote.h"

#include "base/mem.h"

bool remote_is(const char *path)
{
    static const char *const prefixes[] = {"oci://", "git://",  "git@",
                                           "ssh://", "http://", "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (starts_with(path, prefixes[i]))
            return true;
    return false;
}

const char *remote_fetch(const struct pass *pass, const struct load_options *options,
                         const char *path, const struct mark *mark)
{
    struct err err AUTOERR = ERR_INIT;
    if (!options->remote || !starts_with(path, "oci://")) {
        pass_error(pass, NULL, mark, "%s: remote Compose files are not supported", path);
        return NULL;
    }
    char *local AUTOFREE = options->remote(options->remote_ctx, path, &err);
    if (!local) {
        pass_error(pass, NULL, mark, "failed to pull OCI resource \"%s\": %s",
                   path + strlen("oci://"), err.msg);
        return NULL;
    }
    return arena_strdup(pass->arena, local);
}
