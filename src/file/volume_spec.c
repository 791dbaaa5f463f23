#include "file/volume_spec.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"

static bool looks_like_path(const char *source)
{
    return strchr("./~", *source) || starts_with(source, "\\\\") ||
           (isalpha((unsigned char)source[0]) && source[1] == ':');
}

static void set_option(struct volume_spec *v, const char *option)
{
    static const char *const propagations[] = {"rprivate", "private", "rshared",
                                               "shared",   "rslave",  "slave"};
    if (streq(option, "ro"))
        v->read_only = true;
    else if (streq(option, "rw"))
        v->read_only = false;
    else if (streq(option, "nocopy"))
        v->nocopy = true;
    else if (streq(option, "z") || streq(option, "Z"))
        v->selinux = option;
    for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
        if (streq(option, propagations[i]))
            v->propagation = option;
}

static const char *add_section(struct arena *a, struct volume_spec *v, const char *section,
                               bool last)
{
    if (!*section)
        return "empty section between colons";
    if (!v->source && last) {
        v->target = section;
    } else if (!v->source) {
        v->source = section;
    } else if (!v->target) {
        v->target = section;
    } else if (!last) {
        return "too many colons";
    } else {
        for (const char *p = section;; p++) {
            size_t n = strcspn(p, ",");
            set_option(v, arena_strndup(a, p, n));
            p += n;
            if (!*p)
                break;
        }
    }
    return NULL;
}

const char *volume_spec_parse(struct arena *a, const char *spec, struct volume_spec *out)
{
    *out = (struct volume_spec){0};
    size_t len = strlen(spec);
    if (!len)
        return "empty volume";
    if (len <= 2) {
        out->target = spec;
        out->brief = true;
        return NULL;
    }
    int open = 0; /* ${ */
    const char *start = spec;
    for (const char *p = spec;; p++) {
        if (*p == '$' && p[1] == '{')
            open++;
        else if (*p == '}' && open)
            open--;
        bool drive = *p == ':' && p == start + 1 && isalpha((unsigned char)*start);
        if ((*p == ':' && !drive && !open) || !*p) {
            const char *section = arena_strndup(a, start, (size_t)(p - start));
            const char *wrong = add_section(a, out, section, !*p);
            if (wrong)
                return wrong;
            start = p + 1;
        }
        if (!*p)
            break;
    }
    out->bind = out->source && looks_like_path(out->source);
    return NULL;
}

const char *volume_spec_target(struct arena *a, const char *spec)
{
    struct volume_spec v;
    return volume_spec_parse(a, spec, &v) ? NULL : v.target;
}
