#include "runtime/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "runtime/jsonw.h"

#if defined(__x86_64__)
#define MACHINE SECCOMP_X86
static const char *const arches[] = {"x86_64", "x86", "x32", NULL};
#elif defined(__aarch64__)
#define MACHINE SECCOMP_ARM
static const char *const arches[] = {"aarch64", "arm", NULL};
#elif defined(__powerpc64__)
#define MACHINE SECCOMP_PPC
static const char *const arches[] = {"ppc64le", NULL};
#elif defined(__s390x__)
#define MACHINE SECCOMP_S390
static const char *const arches[] = {"s390x", "s390", NULL};
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE SECCOMP_RISCV
static const char *const arches[] = {"riscv64", NULL};
#else
#define MACHINE SECCOMP_OTHER
static const char *const arches[] = {NULL};
#endif

const char *const *seccomp_arches(void)
{
    return arches;
}

bool seccomp_rule_applies(const struct seccomp_rule *r, caps c)
{
    return (!r->arches || r->arches & MACHINE) && (r->with & c) == r->with && !(r->without & c);
}

/* A kernel without the x32 ABI answers its calls with ENOSYS before any filter matters, while a
 * filter for it makes each start with runc 5 ms slower. */
static bool arch_is_used(const char *arch)
{
#if defined(__x86_64__)
    if (streq(arch, "x32"))
        return syscall(0x40000000 | SYS_getpid) >= 0 || errno != ENOSYS;
#endif
    (void)arch;
    return true;
}

static void write_arches(struct jsonw *w)
{
    jsonw_array(w, "architectures");
    for (size_t i = 0; arches[i]; i++) {
        if (!arch_is_used(arches[i]))
            continue;
        char name[32] = "SCMP_ARCH_";
        size_t n = strlen(name);
        for (const char *p = arches[i]; *p && n < sizeof(name) - 1; p++)
            name[n++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
        name[n] = '\0';
        jsonw_str(w, NULL, name);
    }
    jsonw_end_array(w);
}

static void write_arg(struct jsonw *w, const struct seccomp_rule *r)
{
    static const char *const ops[] = {
        [SECCOMP_NE] = "SCMP_CMP_NE",
        [SECCOMP_EQ] = "SCMP_CMP_EQ",
        [SECCOMP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ",
    };
    jsonw_array(w, "args");
    jsonw_object(w, NULL);
    jsonw_uint(w, "index", r->arg.index);
    jsonw_uint(w, "value", r->arg.value);
    jsonw_str(w, "op", ops[r->arg.op]);
    jsonw_end_object(w);
    jsonw_end_array(w);
}

char *seccomp_section(caps c)
{
    struct jsonw w = JSONW_INIT;
    size_t n;
    const struct seccomp_rule *rules = seccomp_profile(&n);
    jsonw_object(&w, NULL);
    jsonw_str(&w, "defaultAction", "SCMP_ACT_ERRNO");
    jsonw_int(&w, "defaultErrnoRet", EPERM);
    write_arches(&w);
    jsonw_array(&w, "syscalls");
    for (size_t i = 0; i < n; i++) {
        if (!seccomp_rule_applies(&rules[i], c))
            continue;
        jsonw_object(&w, NULL);
        jsonw_strv(&w, "names", rules[i].names);
        jsonw_str(&w, "action",
                  rules[i].action == SECCOMP_ALLOW ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO");
        if (rules[i].action == SECCOMP_ENOSYS)
            jsonw_int(&w, "errnoRet", ENOSYS);
        if (rules[i].has_arg)
            write_arg(&w, &rules[i]);
        jsonw_end_object(&w);
    }
    jsonw_end_array(&w);
    jsonw_end_object(&w);
    return strbuf_detach(&w.out);
}

/* Go's names of architectures, which profiles use. */
static const char *go_arch(void)
{
    switch (MACHINE) {
    case SECCOMP_X86:
        return "amd64";
    case SECCOMP_ARM:
        return "arm64";
    case SECCOMP_PPC:
        return "ppc64le";
    case SECCOMP_S390:
        return "s390x";
    case SECCOMP_RISCV:
        return "riscv64";
    default:
        return "";
    }
}

static bool kernel_is_at_least(const char *version)
{
    struct utsname u;
    unsigned have[2] = {0}, want[2] = {0};
    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &have[0], &have[1]) < 1 ||
        sscanf(version, "%u.%u", &want[0], &want[1]) < 1)
        return false;
    return have[0] != want[0] ? have[0] > want[0] : have[1] >= want[1];
}

static bool lists(const json_t *array, const char *word)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)array, i, item)
        if (json_is_string(item) && streq(json_string_value(item), word))
            return true;
    return false;
}

static bool has_cap(const char *name, caps c)
{
    for (unsigned n = 0; caps_name(n); n++)
        if (streq(caps_name(n), name))
            return c & CAP_BIT(n);
    return false;
}

/* "includes" demands all of its conditions, "excludes" none of them. */
static bool file_rule_applies(const json_t *rule, caps c)
{
    const json_t *in = json_object_get(rule, "includes"), *ex = json_object_get(rule, "excludes");
    const json_t *in_arches = json_object_get(in, "arches");
    const char *min = jstr(in, "minKernel", NULL), *below = jstr(ex, "minKernel", NULL);
    size_t i;
    json_t *cap;
    if (json_array_size(in_arches) && !lists(in_arches, go_arch()))
        return false;
    if (lists(json_object_get(ex, "arches"), go_arch()))
        return false;
    if ((min && !kernel_is_at_least(min)) || (below && kernel_is_at_least(below)))
        return false;
    json_array_foreach (json_object_get(in, "caps"), i, cap)
        if (!json_is_string(cap) || !has_cap(json_string_value(cap), c))
            return false;
    json_array_foreach (json_object_get(ex, "caps"), i, cap)
        if (json_is_string(cap) && has_cap(json_string_value(cap), c))
            return false;
    return true;
}

static json_t *file_arches(const json_t *profile)
{
    char machine[64];
    snprintf(machine, sizeof(machine), "SCMP_ARCH_%s", arches[0] ? arches[0] : "");
    for (char *p = machine; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(profile, "archMap"), i, entry) {
        if (!streq(jstr(entry, "architecture", ""), machine))
            continue;
        json_t *out = json_array();
        json_array_append_new(out, json_string(machine));
        json_array_extend(out, json_object_get(entry, "subArchitectures"));
        return out;
    }
    json_t *given = json_object_get(profile, "architectures");
    return given ? json_deep_copy(given) : NULL;
}

static json_t *file_rules(const json_t *profile, caps c)
{
    static const char *const kept[] = {"action", "errnoRet", "args"};
    json_t *out = json_array();
    size_t i;
    json_t *rule;
    json_array_foreach (json_object_get(profile, "syscalls"), i, rule) {
        if (!file_rule_applies(rule, c))
            continue;
        json_t *names = json_object_get(rule, "names");
        const char *single = jstr(rule, "name", NULL); /* Docker before 17.04 */
        json_t *copy = json_object();
        json_object_set_new(copy, "names",
                            names ? json_deep_copy(names) : json_pack("[s]", single ? single : ""));
        for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
            if (json_object_get(rule, kept[k]) && !json_is_null(json_object_get(rule, kept[k])))
                json_object_set(copy, kept[k], json_object_get(rule, kept[k]));
        json_array_append_new(out, copy);
    }
    return out;
}

int seccomp_section_from_file(const char *path, caps c, char **section, struct err *err)
{
    static const char *const kept[] = {"defaultErrnoRet", "flags", "listenerPath",
                                       "listenerMetadata"};
    json_t *profile AUTOJSON = NULL;
    if (json_read(path, &profile, err) < 0)
        return err_wrap(err, "seccomp profile");
    const char *action = jstr(profile, "defaultAction", NULL);
    if (!action)
        return err_set(err, ERR_INVALID, "seccomp profile: %s: defaultAction is missing", path);
    json_t *out AUTOJSON = json_object();
    jset_str(out, "defaultAction", action);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (json_object_get(profile, kept[i]))
            json_object_set(out, kept[i], json_object_get(profile, kept[i]));
    json_t *a = file_arches(profile);
    if (a)
        json_object_set_new(out, "architectures", a);
    json_object_set_new(out, "syscalls", file_rules(profile, c));
    *section = json_dumps(out, JSON_COMPACT);
    return *section ? 0 : err_set(err, ERR_INVALID, "seccomp profile: %s: not UTF-8", path);
}
