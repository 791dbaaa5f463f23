#include "image/module/resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned long long)(flags | O_CLOEXEC),
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

char *clean_entry_path(const char *path)
{
    while (*path == '/')
        path++;
    char *clean AUTOFREE = path_clean(path);
    if (streq(clean, ".."))
        return NULL;
    if (starts_with(clean, "../"))
        return NULL;
    return streq(clean, ".") ? xstrdup("") : STEAL(clean);
}
