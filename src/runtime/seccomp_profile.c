/* The default seccomp profile: Docker's, as data of our own. What is not allowed here fails with
 * EPERM; what the filter has never heard of, with ENOSYS. */
#include "runtime/seccomp.h"

#include <linux/capability.h>

#include "base/mem.h"

/* clang-format off */

/* Harmless for any process. */
static const char *const always[] = {
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk",
    "cachestat", "capget", "capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime",
    "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64",
    "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range", "connect",
    "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd",
    "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr",
    "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs",
    "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex", "futex_requeue", "futex_time64",
    "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area",
    "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32",
    "getgid", "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid",
    "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresgid32",
    "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt",
    "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents",
    "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get",
    "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen",
    "listmount", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr",
    "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
    "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap",
    "mmap2", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
    "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap", "mseal",
    "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause",
    "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect",
    "poll", "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
    "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6", "pselect6_time64",
    "ptrace", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat",
    "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "remap_file_pages",
    "removexattr", "removexattrat", "rename", "renameat", "renameat2", "restart_syscall",
    "riscv_hwprobe", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop",
    "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg",
    "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32",
    "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer",
    "setpgid", "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid",
    "setuid32", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
    "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketcall", "socketpair",
    "splice", "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat",
    "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
    "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64", "times", "tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname",
    "unlink", "unlinkat", "uretprobe", "utime", "utimensat", "utimensat_time64", "utimes", "vfork",
    "vmsplice", "wait4", "waitid", "waitpid", "write", "writev", NULL};

/* Those of one architecture. */
static const char *const x86[] = {"arch_prctl", "modify_ldt", NULL};
static const char *const arm[] = {
    "arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush",
    "set_tls", NULL};
static const char *const ppc[] = {"sync_file_range2", "swapcontext", NULL};
static const char *const s390[] = {
    "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", NULL};
static const char *const riscv[] = {"riscv_flush_icache", NULL};

/* Those that a capability brings along. */
static const char *const sys_admin[] = {
    "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
    "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount",
    "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd",
    "setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare", NULL};
static const char *const bpf[] = {"bpf", NULL};
static const char *const dac_read_search[] = {"open_by_handle_at", NULL};
static const char *const perfmon[] = {"perf_event_open", NULL};
static const char *const sys_log[] = {"syslog", NULL};
static const char *const sys_boot[] = {"reboot", NULL};
static const char *const sys_chroot[] = {"chroot", NULL};
static const char *const sys_module[] = {"delete_module", "init_module", "finit_module", NULL};
static const char *const sys_nice[] = {
    "get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node", NULL};
static const char *const sys_pacct[] = {"acct", NULL};
static const char *const sys_ptrace[] = {"kcmp", "pidfd_getfd", "process_madvise", NULL};
static const char *const sys_rawio[] = {"iopl", "ioperm", NULL};
static const char *const sys_time[] = {
    "settimeofday", "stime", "clock_settime", "clock_settime64", NULL};
static const char *const sys_tty_config[] = {"vhangup", NULL};

/* clang-format on */

static const char *const socket_call[] = {"socket", NULL};
static const char *const personality_call[] = {"personality", NULL};
static const char *const clone_call[] = {"clone", NULL};
static const char *const clone3_call[] = {"clone3", NULL};

#define ALLOW          .action = SECCOMP_ALLOW
#define WITH(cap)      .with = CAP_BIT(cap), ALLOW
#define ARG(i, cmp, v) .arg = {.index = (i), .op = (cmp), .value = (v)}, .has_arg = true, ALLOW

/* CLONE_NEW* for namespaces: not without CAP_SYS_ADMIN. clone3 passes its flags in memory, where no
 * filter can look: ENOSYS makes libc fall back to clone. */
#define NAMESPACES 0x7e020000

static const struct seccomp_rule rules[] = {
    {.names = always, ALLOW},
    {.names = x86, .arches = SECCOMP_X86, ALLOW},
    {.names = arm, .arches = SECCOMP_ARM, ALLOW},
    {.names = ppc, .arches = SECCOMP_PPC, ALLOW},
    {.names = s390, .arches = SECCOMP_S390, ALLOW},
    {.names = riscv, .arches = SECCOMP_RISCV, ALLOW},
    /* No AF_VSOCK: it leads from a container to the hypervisor, past all network namespaces. */
    {.names = socket_call, ARG(0, SECCOMP_NE, 40)},
    /* Linux, PER_LINUX32, UNAME26 and both, and asking for the current one. */
    {.names = personality_call, ARG(0, SECCOMP_EQ, 0x0)},
    {.names = personality_call, ARG(0, SECCOMP_EQ, 0x8)},
    {.names = personality_call, ARG(0, SECCOMP_EQ, 0x20000)},
    {.names = personality_call, ARG(0, SECCOMP_EQ, 0x20008)},
    {.names = personality_call, ARG(0, SECCOMP_EQ, 0xffffffff)},
    {.names = clone_call,
     .without = CAP_BIT(CAP_SYS_ADMIN),
     .arches = SECCOMP_ANY & ~SECCOMP_S390,
     ARG(0, SECCOMP_MASKED_EQ, NAMESPACES)},
    {.names = clone_call,
     .without = CAP_BIT(CAP_SYS_ADMIN),
     .arches = SECCOMP_S390,
     ARG(1, SECCOMP_MASKED_EQ, NAMESPACES)},
    {.names = clone3_call, .without = CAP_BIT(CAP_SYS_ADMIN), .action = SECCOMP_ENOSYS},
    {.names = sys_admin, WITH(CAP_SYS_ADMIN)},
    {.names = bpf, WITH(CAP_BPF)},
    {.names = dac_read_search, WITH(CAP_DAC_READ_SEARCH)},
    {.names = perfmon, WITH(CAP_PERFMON)},
    {.names = sys_log, WITH(CAP_SYSLOG)},
    {.names = sys_boot, WITH(CAP_SYS_BOOT)},
    {.names = sys_chroot, WITH(CAP_SYS_CHROOT)},
    {.names = sys_module, WITH(CAP_SYS_MODULE)},
    {.names = sys_nice, WITH(CAP_SYS_NICE)},
    {.names = sys_pacct, WITH(CAP_SYS_PACCT)},
    {.names = sys_ptrace, WITH(CAP_SYS_PTRACE)},
    {.names = sys_rawio, WITH(CAP_SYS_RAWIO)},
    {.names = sys_time, WITH(CAP_SYS_TIME)},
    {.names = sys_tty_config, WITH(CAP_SYS_TTY_CONFIG)},
};

const struct seccomp_rule *seccomp_profile(size_t *n)
{
    *n = ARRAY_SIZE(rules);
    return rules;
}
