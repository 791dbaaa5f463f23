#include "runtime/caps.h"

#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>

#include "base/mem.h"

static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

const char *caps_name(unsigned n)
{
    return n < ARRAY_SIZE(names) ? names[n] : NULL;
}

caps caps_all(void)
{
    caps all = 0;
    /* What our own bounding set lacks no container can have: the runtime would refuse it. */
    for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
        if (prctl(PR_CAPBSET_READ, n, 0, 0, 0) == 1)
            all |= CAP_BIT(n);
    return all;
}

caps caps_default(void)
{
    return CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FSETID) |
           CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_NET_RAW) | CAP_BIT(CAP_SETGID) |
           CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETFCAP) | CAP_BIT(CAP_SETPCAP) |
           CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SYS_CHROOT) | CAP_BIT(CAP_KILL) |
           CAP_BIT(CAP_AUDIT_WRITE);
}

static int by_name(const char *name)
{
    if (strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
        if (strcasecmp(names[n] + 4, name) == 0)
            return (int)n;
    return -1;
}

static int collect(const char *const *v, const char *key, caps *out, bool *all, struct err *err)
{
    for (size_t i = 0; v && v[i]; i++) {
        if (strcasecmp(v[i], "ALL") == 0 || strcasecmp(v[i], "CAP_ALL") == 0) {
            *all = true;
            continue;
        }
        int n = by_name(v[i]);
        if (n < 0)
            return err_set(err, ERR_INVALID, "invalid %s: unknown capability: \"%s\"", key, v[i]);
        *out |= CAP_BIT(n);
    }
    return 0;
}

int caps_resolve(const char *const *add, const char *const *drop, caps *out, struct err *err)
{
    caps added = 0, dropped = 0;
    bool add_all = false, drop_all = false;
    if (collect(add, "cap_add", &added, &add_all, err) < 0 ||
        collect(drop, "cap_drop", &dropped, &drop_all, err) < 0)
        return -1;
    if (add_all)
        *out = caps_all() & ~dropped;
    else
        *out = ((drop_all ? 0 : caps_default()) & ~dropped) | added;
    return 0;
}
