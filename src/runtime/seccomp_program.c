/* The default profile as a classic BPF program. libseccomp compiles it; it is there on every machine
 * that has an OCI runtime, is loaded only to fill the cache, and is let go again. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "runtime/seccomp.h"

enum {
    PROFILE = 2,         /* raised with every change of the profile or of this file */
    PROGRAM_MAX = 65536, /* bytes; the kernel takes 4096 instructions of 8 */
    ENCODED_MAX = 128 << 10,
};

/* seccomp.h of libseccomp 2.5: its stable ABI. */
struct scmp_arg {
    unsigned arg;
    int op;
    uint64_t a, b;
};
enum { SCMP_NE = 1, SCMP_EQ = 4, SCMP_MASKED_EQ = 7 };
enum { SCMP_FLTATR_CTL_OPTIMIZE = 8, BINARY_TREE = 2 };

struct library {
    void *handle;
    void *(*init)(uint32_t action);
    void (*release)(void *ctx);
    int (*attr_set)(void *ctx, int attribute, uint32_t value);
    int (*arch_add)(void *ctx, uint32_t token);
    int (*resolve)(const char *name);
    int (*resolve_arch)(uint32_t token, const char *name);
    uint32_t (*arch_token)(const char *name);
    int (*rule_add)(void *ctx, uint32_t action, int nr, unsigned n, const struct scmp_arg *args);
    int (*export_bpf)(const void *ctx, int fd);
};

static bool library_open(struct library *l)
{
    l->handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!l->handle)
        return false;
    const struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"seccomp_init", &l->init},
        {"seccomp_release", &l->release},
        {"seccomp_attr_set", &l->attr_set},
        {"seccomp_arch_add", &l->arch_add},
        {"seccomp_syscall_resolve_name", &l->resolve},
        {"seccomp_syscall_resolve_name_arch", &l->resolve_arch},
        {"seccomp_arch_resolve_name", &l->arch_token},
        {"seccomp_rule_add_array", &l->rule_add},
        {"seccomp_export_bpf", &l->export_bpf},
    };
    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
        void *f = dlsym(l->handle, symbols[i].name);
        if (!f)
            return false;
        memcpy(symbols[i].to, &f, sizeof(f));
    }
    return true;
}

static bool add_rules(const struct library *l, void *ctx, caps c)
{
    static const int ops[] = {
        [SECCOMP_NE] = SCMP_NE, [SECCOMP_EQ] = SCMP_EQ, [SECCOMP_MASKED_EQ] = SCMP_MASKED_EQ};
    size_t n;
    const struct seccomp_rule *rules = seccomp_profile(&n);
    for (size_t i = 0; i < n; i++) {
        const struct seccomp_rule *r = &rules[i];
        if (!seccomp_rule_applies(r, c))
            continue;
        struct scmp_arg arg = {.arg = r->arg.index, .op = ops[r->arg.op], .a = r->arg.value};
        uint32_t action = r->action == SECCOMP_ALLOW ? SECCOMP_RET_ALLOW
                                                     : SECCOMP_RET_ERRNO | ENOSYS;
        for (size_t k = 0; r->names[k]; k++) {
            int nr = l->resolve(r->names[k]);
            if (nr == -1)
                continue; /* newer than the library: ENOSYS, see enosys_block() */
            int rc = l->rule_add(ctx, action, nr, r->has_arg, &arg);
            /* EDOM: a name that one of the architectures lacks. */
            if (rc < 0 && rc != -EDOM)
                return false;
        }
    }
    return true;
}

/* The highest number that the profile names on one architecture. */
static uint32_t highest_number(const struct library *l, uint32_t token)
{
    size_t n;
    int best = -1;
    const struct seccomp_rule *rules = seccomp_profile(&n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; rules[i].names[k]; k++) {
            int nr = l->resolve_arch(token, rules[i].names[k]);
            if (nr > best)
                best = nr;
        }
    return (uint32_t)best;
}

#define X32_BIT 0x40000000u

/* Calls newer than all that the profile knows get ENOSYS, not EPERM: programs then try an older one.
 * Runs before the compiled filter; writes 6 instructions. */
static size_t enosys_block(const struct library *l, const char *arch, struct sock_filter *f)
{
    uint32_t token = l->arch_token(arch);
    bool x32 = streq(arch, "x32");
    uint32_t top = highest_number(l, token);
    if (x32 && !(top & X32_BIT))
        top |= X32_BIT;
    size_t n = 0;
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                          offsetof(struct seccomp_data, arch));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                          x32 ? AUDIT_ARCH_X86_64 : token, 0, 4);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                          offsetof(struct seccomp_data, nr));
    /* x32 shares its architecture with x86_64 and has a bit of its own in the number. */
    if (x32)
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 2);
    else
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, top, 0, 1);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    return n;
}

/* Prologue and compiled filter; heap, base64. */
static char *assemble(const struct library *l, const void *ctx)
{
    unsigned char *program AUTOFREE = xmalloc(PROGRAM_MAX);
    size_t n = 0;
    for (size_t i = 0; seccomp_arches()[i]; i++)
        n += enosys_block(l, seccomp_arches()[i], (struct sock_filter *)program + n);
    size_t bytes = n * sizeof(struct sock_filter);
    int fd AUTOCLOSE = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0 || l->export_bpf(ctx, fd) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return NULL;
    ssize_t got = read(fd, program + bytes, PROGRAM_MAX - bytes);
    if (got <= 0 || (size_t)got % sizeof(struct sock_filter))
        return NULL;
    bytes += (size_t)got;
    if (bytes / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return NULL;
    struct strbuf text = STRBUF_INIT;
    strbuf_add_base64(&text, program, bytes);
    return strbuf_detach(&text);
}

static char *compile(const struct library *l, caps c)
{
    void *ctx = l->init(SECCOMP_RET_ERRNO | EPERM);
    if (!ctx)
        return NULL;
    bool ok = seccomp_arches()[0] != NULL;
    /* When it is loaded the kernel runs it once for every number of a call: a chain of comparisons would cost each
     * start and each probe half a millisecond more. */
    l->attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE);
    for (size_t i = 1; ok && seccomp_arches()[i]; i++)
        ok = l->arch_add(ctx, l->arch_token(seccomp_arches()[i])) == 0;
    ok = ok && add_rules(l, ctx, c);
    char *out = ok ? assemble(l, ctx) : NULL;
    l->release(ctx);
    return out;
}

/* The rules that apply, as bits: containers whose capabilities make no difference share a program. */
static uint64_t rules_mask(caps c)
{
    size_t n;
    uint64_t mask = 0;
    const struct seccomp_rule *rules = seccomp_profile(&n);
    for (size_t i = 0; i < n; i++)
        if (seccomp_rule_applies(&rules[i], c))
            mask |= (uint64_t)1 << i;
    return mask;
}

char *seccomp_program(caps c, const char *cache)
{
    char *path AUTOFREE = xasprintf("%s/seccomp-%d-%llx", cache, PROFILE,
                                    (unsigned long long)rules_mask(c));
    char *text = NULL;
    if (fs_read(path, ENCODED_MAX, &text, NULL, NULL) == 0)
        return text;
    struct library l = {0};
    if (library_open(&l))
        text = compile(&l, c);
    if (l.handle)
        dlclose(l.handle);
    /* Written or not: the next container merely compiles it again. */
    if (text && fs_mkdir_p(cache, 0700, NULL) == 0)
        fs_write_atomic(path, text, strlen(text), 0600, false, NULL);
    return text;
}
