#include "image/reference.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"

/* Limits of distribution/reference. */
enum { NAME_MAX_TOTAL = 255, TAG_MAX = 128 };

#define HEX_DIGITS "0123456789abcdef"

static bool is_lower_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
}

bool digest_valid(const char *s)
{
    if (!starts_with(s, "sha256:"))
        return false;
    s += 7;
    size_t n = strspn(s, HEX_DIGITS);
    return n == 64 && !s[n];
}

bool reference_is_id(const char *s)
{
    if (starts_with(s, "sha256:"))
        s += 7;
    size_t n = strspn(s, HEX_DIGITS);
    return n >= 1 && n <= 64 && !s[n];
}

/* [a-z0-9]+ joined by one of: "." "_" "__" and any number of "-". */
static bool path_component_valid(const char *s, size_t n)
{
    size_t i = 0;
    for (;;) {
        size_t start = i;
        while (i < n && is_lower_alnum(s[i]))
            i++;
        if (i == start)
            return false;
        if (i == n)
            return true;
        if (s[i] == '.') {
            i++;
        } else if (s[i] == '_') {
            i += i + 1 < n && s[i + 1] == '_' ? 2 : 1;
        } else if (s[i] == '-') {
            while (i < n && s[i] == '-')
                i++;
        } else {
            return false;
        }
    }
}

static bool path_valid(const char *path)
{
    for (const char *p = path;; p++) {
        const char *end = strchrnul(p, '/');
        if (!path_component_valid(p, (size_t)(end - p)))
            return false;
        if (!*end)
            return true;
        p = end;
    }
}

/* Host name labels or a bracketed IPv6 address, and a port. */
static bool registry_valid(const char *s)
{
    const char *p = s;
    if (*p == '[') {
        size_t n = strspn(p + 1, "0123456789abcdefABCDEF:");
        if (!n || p[1 + n] != ']')
            return false;
        p += n + 2;
    } else {
        for (;;) {
            const char *start = p;
            while (isalnum((unsigned char)*p) || *p == '-')
                p++;
            if (p == start || *start == '-' || p[-1] == '-')
                return false;
            if (*p != '.')
                break;
            p++;
        }
    }
    if (!*p)
        return true;
    if (*p++ != ':')
        return false;
    size_t digits = strspn(p, "0123456789");
    return digits >= 1 && digits <= 5 && !p[digits];
}

static bool tag_valid(const char *s)
{
    size_t n = strlen(s);
    if (!n || n > TAG_MAX || *s == '.' || *s == '-')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
            return false;
    return true;
}

static bool names_registry(const char *first)
{
    if (strpbrk(first, ".:") || streq(first, "localhost"))
        return true;
    for (const char *p = first; *p; p++)
        if (isupper((unsigned char)*p))
            return true;
    return false;
}

/* Splits "registry/path" with Docker's defaults. */
static void split_registry(const char *name, struct reference *ref)
{
    const char *slash = strchr(name, '/');
    char *first AUTOFREE = slash ? xstrndup(name, (size_t)(slash - name)) : NULL;
    if (first && names_registry(first)) {
        ref->registry = STEAL(first);
        name = slash + 1;
        if (streq(ref->registry, "index.docker.io")) {
            free(ref->registry);
            ref->registry = xstrdup("docker.io");
        }
    } else {
        ref->registry = xstrdup("docker.io");
    }
    bool official = streq(ref->registry, "docker.io") && !strchr(name, '/');
    ref->repository = xasprintf("%s%s", official ? "library/" : "", name);
}

static int invalid(const char *text, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid image name \"%.200s\": %s", text, why);
}

static int parse(const char *text, struct reference *ref, struct err *err)
{
    size_t n = strlen(text);
    if (!n)
        return invalid(text, "it is empty", err);
    if (n > REFERENCE_MAX)
        return invalid(text, "it is too long", err);
    if (n == 64 && strspn(text, HEX_DIGITS) == n)
        return invalid(text, "64 hexadecimal digits are an image ID, not a name", err);
    char *name AUTOFREE = xstrdup(text);
    char *at = strchr(name, '@');
    if (at) {
        *at++ = '\0';
        if (!digest_valid(at))
            return invalid(text, "what follows @ must be sha256: and 64 lower-case hex digits",
                           err);
        ref->digest = xstrdup(at);
    }
    char *colon = strrchr(name, ':');
    if (colon && !strchr(colon, '/')) {
        *colon++ = '\0';
        if (!tag_valid(colon))
            return invalid(text, "a tag is letters, digits, '_', '.' and '-', at most 128", err);
        ref->tag = xstrdup(colon);
    }
    split_registry(name, ref);
    if (!registry_valid(ref->registry))
        return invalid(text, "the registry is not a host name", err);
    if (!path_valid(ref->repository)) {
        for (const char *p = ref->repository; *p; p++)
            if (isupper((unsigned char)*p))
                return invalid(text, "the repository name must be lower case", err);
        return invalid(text, "want [registry[:port]/]path[:tag][@digest]", err);
    }
    if (strlen(ref->registry) + 1 + strlen(ref->repository) > NAME_MAX_TOTAL)
        return invalid(text, "the repository name is longer than 255 characters", err);
    if (!ref->tag && !ref->digest)
        ref->tag = xstrdup("latest");
    return 0;
}

int reference_parse(const char *text, struct reference *ref, struct err *err)
{
    *ref = (struct reference)REFERENCE_INIT;
    if (parse(text, ref, err) == 0)
        return 0;
    reference_release(ref);
    return -1;
}

void reference_release(struct reference *ref)
{
    free(ref->registry);
    free(ref->repository);
    free(ref->tag);
    free(ref->digest);
    *ref = (struct reference)REFERENCE_INIT;
}

static char *with_suffix(const struct reference *ref, const char *repository)
{
    if (ref->digest)
        return xasprintf("%s@%s", repository, ref->digest);
    return xasprintf("%s:%s", repository, ref->tag);
}

char *reference_repository(const struct reference *ref)
{
    return xasprintf("%s/%s", ref->registry, ref->repository);
}

char *reference_name(const struct reference *ref)
{
    char *repository AUTOFREE = reference_repository(ref);
    return with_suffix(ref, repository);
}

char *reference_familiar(const struct reference *ref)
{
    if (!streq(ref->registry, "docker.io"))
        return reference_name(ref);
    const char *path = ref->repository;
    if (starts_with(path, "library/") && !strchr(path + 8, '/'))
        path += 8;
    /* "localhost" or "my.host/x" below docker.io would be read as a registry. */
    char *first AUTOFREE = xstrndup(path, strcspn(path, "/"));
    if (strchr(path, '/') && names_registry(first))
        return reference_name(ref);
    return with_suffix(ref, path);
}

char *reference_shorten(const char *name)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    return reference_parse(name, &ref, NULL) < 0 ? xstrdup(name) : reference_familiar(&ref);
}
