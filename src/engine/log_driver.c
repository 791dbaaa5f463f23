#include "engine/log_driver.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/strbuf.h"
#include "base/subprocess.h"
#include "base/units.h"
#include "file/scalar.h"
#include "monitor/sink.h"

static const char *option(const struct logging *l, const char *key)
{
    for (size_t i = 0; i < l->options.n; i++)
        if (streq(l->options.v[i].key, key))
            return l->options.v[i].value;
    return NULL;
}

static bool is_driver(const struct logging *l, const char *name)
{
    return l->driver && streq(l->driver, name);
}

static bool is_remote(const struct logging *l)
{
    return is_driver(l, "syslog") || is_driver(l, "journald");
}

static int read_size(const char *text, const char *key, int64_t *out, struct err *err)
{
    int64_t v;
    if (text && !size_parse(text, &v))
        return err_set(err, ERR_INVALID, "invalid value for %s: \"%s\" is no size", key, text);
    *out = text ? v : *out;
    return 0;
}

static int read_count(const char *text, const char *key, int *out, struct err *err)
{
    int64_t v;
    if (!text)
        return 0;
    if (!scalar_parse_int(text, 10, &v) || v > INT_MAX)
        return err_set(err, ERR_INVALID, "invalid value for %s: \"%s\" is no number", key, text);
    if (v < 1)
        return err_set(err, ERR_INVALID, "%s cannot be less than 1", key);
    *out = (int)v;
    return 0;
}

static int read_switch(const char *text, const char *key, bool *out, struct err *err)
{
    if (text && !bool_parse(text, out))
        return err_set(err, ERR_INVALID, "invalid value for %s: \"%s\" is neither true nor false",
                       key, text);
    return 0;
}

static int read_file_options(const struct logging *l, struct log_file_options *out, struct err *err)
{
    if (read_size(option(l, "max-size"), "max-size", &out->max_size, err) < 0 ||
        read_count(option(l, "max-file"), "max-file", &out->max_file, err) < 0 ||
        read_switch(option(l, "compress"), "compress", &out->compress, err) < 0)
        return -1;
    bool local = is_driver(l, "local");
    if (!local && option(l, "max-size") && !out->max_size)
        return err_set(err, ERR_INVALID, "max-size must be a positive number");
    if (local && out->compress && out->max_file < 2)
        return err_set(err, ERR_INVALID, "compression cannot be enabled when max file count is %d",
                       out->max_file);
    if (!local && out->compress && (out->max_file < 2 || !out->max_size))
        return err_set(err, ERR_INVALID,
                       "compress cannot be true when max-file is less than 2 or max-size is not "
                       "set");
    return 0;
}

/* Docker minds nothing that is wrong in these but the first. */
static int read_cache_options(const struct logging *l, struct log_file_options *out,
                              struct err *err)
{
    bool off = false;
    read_size(option(l, "cache-max-size"), "cache-max-size", &out->max_size, NULL);
    read_count(option(l, "cache-max-file"), "cache-max-file", &out->max_file, NULL);
    read_switch(option(l, "cache-compress"), "cache-compress", &out->compress, NULL);
    int rc = read_switch(option(l, "cache-disabled"), "cache-disabled", &off, err);
    out->enabled = !off;
    return rc;
}

/* Docker's driver `local` keeps five times 20 MB, compressed; so does the cache of what goes
 * elsewhere, which `logs` reads. */
static struct log_file_options defaults_of(const struct logging *l)
{
    bool bounded = is_remote(l) || is_driver(l, "local");
    return (struct log_file_options){.enabled = !is_driver(l, "none"),
                                     .max_size = bounded ? 20 << 20 : 0,
                                     .max_file = bounded ? 5 : 1,
                                     .compress = bounded};
}

int log_file_options_of(const struct logging *l, struct log_file_options *out, struct err *err)
{
    *out = defaults_of(l);
    if (!out->enabled)
        return 0;
    int rc = is_remote(l) ? read_cache_options(l, out, err) : read_file_options(l, out, err);
    if (rc < 0)
        *out = defaults_of(l);
    return rc;
}

static void push(char ***v, const char *key, const char *value)
{
    char *text AUTOFREE = xasprintf("%s=%s", key, value);
    strv_push(v, text);
}

/* docker: moby daemon/logger/loginfo.go, the fields that templates of tag may name. */
static int expand_tag(const char *template, const struct container_record *c, char **out,
                      struct err *err)
{
    struct strbuf sb = STRBUF_INIT;
    char *id AUTOFREE = xstrndup(c->id, 12);
    const char *digest = c->image_id ? c->image_id : "";
    digest = strchr(digest, ':') ? strchr(digest, ':') + 1 : digest;
    char *image AUTOFREE = xstrndup(digest, 12);
    const struct {
        const char *name, *value;
    } fields[] = {
        {".ID", id},
        {".FullID", c->id},
        {".Name", c->name},
        {".ImageID", image},
        {".ImageFullID", c->image_id},
        {".ImageName", c->image},
        {".DaemonName", "compose"},
    };
    while (*template) {
        const char *end = starts_with(template, "{{") ? strstr(template, "}}") : NULL;
        if (!end) {
            strbuf_addch(&sb, *template ++);
            continue;
        }
        template += 2 + strspn(template + 2, " ");
        size_t n = strcspn(template, " }"), i = 0;
        while (i < ARRAY_SIZE(fields) &&
               (strlen(fields[i].name) != n || strncmp(fields[i].name, template, n)))
            i++;
        if (i == ARRAY_SIZE(fields)) {
            err_set(err, ERR_INVALID, "log option tag: unknown field \"%.*s\"", (int)n, template);
            strbuf_release(&sb);
            return -1;
        }
        strbuf_addstr(&sb, fields[i].value ? fields[i].value : "");
        template = end + 2;
    }
    *out = strbuf_detach(&sb);
    return 0;
}

static int check_path(const char *path, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    if (strlen(path) >= sizeof(a.sun_path))
        return err_set(err, ERR_INVALID, "%s: the path is too long", path);
    memcpy(a.sun_path, path, strlen(path));
    int error = 0;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        int fd AUTOCLOSE = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
            return 0;
        error = errno;
        if (error != EPROTOTYPE)
            break;
    }
    return err_set(err, ERR_UNAVAILABLE, "dial unix %s: %s", path, strerror(error));
}

/* host[:port], "[::1]:514"; the default port is 514. Both heap. */
static void split_target(const char *target, char **out_host, char **out_port)
{
    const char *colon = strrchr(target, ':');
    bool port_given = colon && !strchr(colon, ']') &&
                      (strchr(target, ':') == colon || colon[-1] == ']');
    char *host = port_given ? xstrndup(target, (size_t)(colon - target)) : xstrdup(target);
    size_t n = strlen(host);
    if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
        memmove(host, host + 1, n - 2);
        host[n - 2] = '\0';
    }
    *out_host = host;
    *out_port = xstrdup(port_given ? colon + 1 : "514");
}

/* *out: "udp:127.0.0.1:514" */
static int resolve(const char *kind, const char *target, char **out, struct err *err)
{
    char *host AUTOFREE = NULL, *port AUTOFREE = NULL;
    split_target(target, &host, &port);
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    char name[64], service[16];
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc == 0)
        rc = getnameinfo(found->ai_addr, found->ai_addrlen, name, sizeof(name), service,
                         sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV);
    if (rc == 0)
        *out = xasprintf("%s:%s%s%s:%s", kind, strchr(name, ':') ? "[" : "", name,
                         strchr(name, ':') ? "]" : "", service);
    if (found)
        freeaddrinfo(found);
    return rc ? err_set(err, ERR_UNAVAILABLE, "syslog-address: %s: %s", target, gai_strerror(rc))
              : 0;
}

/* Looks whether the receiver is there, and whether it is who it should be. */
static int check_tls(char **argv, struct err *err)
{
    struct strbuf said AUTOBUF = STRBUF_INIT;
    struct subprocess p = {.argv = (const char *const *)argv,
                           .timeout_ns = 15 * 1000000000LL,
                           .out = &said,
                           .err = &said};
    if (subprocess_run(&p, err) < 0)
        return -1;
    if (WIFEXITED(p.status) && !WEXITSTATUS(p.status))
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "dial tcp+tls: %.*s", (int)strcspn(said.buf, "\n"),
                   said.buf);
}

/* Through a program that knows TLS: src/tls/main.c. */
static int add_tls(const struct logging *l, const char *target, char ***sink, struct err *err)
{
    static const char *const files[][2] = {
        {"syslog-tls-ca-cert", "--ca"}, {"syslog-tls-cert", "--cert"}, {"syslog-tls-key", "--key"}};
    char *program AUTOFREE = paths_companion("compose-tls"), *host AUTOFREE = NULL;
    char *port AUTOFREE = NULL, **argv AUTOSTRV = NULL;
    if (!program)
        return err_set(err, ERR_NOT_FOUND,
                       "compose-tls is missing: it belongs beside the compose program");
    split_target(target, &host, &port);
    strv_push(&argv, program);
    strv_push(&argv, "check");
    strv_push(&argv, host);
    strv_push(&argv, port);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (option(l, files[i][0]))
            push(&argv, files[i][1], option(l, files[i][0]));
    if (option(l, "syslog-tls-skip-verify")) /* whatever it says, as in Docker */
        strv_push(&argv, "--skip-verify");
    if (check_tls(argv, err) < 0)
        return -1;
    for (size_t i = 0; argv[i]; i++)
        push(sink, "relay", i == 1 ? "relay" : argv[i]);
    return 0;
}

static int add_address(const struct logging *l, char ***sink, struct err *err)
{
    const char *address = option(l, "syslog-address");
    char *target AUTOFREE = NULL;
    const char *path = NULL;
    if (address && starts_with(address, "tcp+tls://"))
        return add_tls(l, address + strlen("tcp+tls://"), sink, err);
    if (!address)
        path = "/dev/log";
    else if (starts_with(address, "unix://"))
        path = address + strlen("unix://");
    else if (starts_with(address, "unixgram://"))
        path = address + strlen("unixgram://");
    if (path) {
        if (check_path(path, err) < 0)
            return -1;
        target = xasprintf("unix:%s", path);
    } else if (starts_with(address, "udp://") || starts_with(address, "tcp://")) {
        char *kind AUTOFREE = xstrndup(address, 3);
        if (resolve(kind, address + strlen("udp://"), &target, err) < 0)
            return -1;
    } else {
        return err_set(
            err, ERR_INVALID,
            "syslog-address \"%s\": want udp://, tcp://, tcp+tls://, unix:// or unixgram://",
            address);
    }
    push(sink, "address", target);
    return 0;
}

/* RFC 5424, table 1. */
static int facility_number(const char *name)
{
    static const char *const names[] = {
        "kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
        "uucp",   "cron",   "authpriv", "ftp",    "",       "",       "",       "",
        "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7"};
    int64_t number;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (*names[i] && streq(names[i], name))
            return (int)i;
    return scalar_parse_int(name, 10, &number) && number >= 0 && number < (int)ARRAY_SIZE(names)
               ? (int)number
               : -1;
}

static int add_syslog(const struct logging *l, char ***sink, struct err *err)
{
    static const char *const formats[] = {"", "rfc3164", "rfc5424", "rfc5424micro"};
    const char *facility = option(l, "syslog-facility"), *format = option(l, "syslog-format");
    int number = facility_number(facility ? facility : "daemon");
    bool known = !format;
    for (size_t i = 0; format && i < ARRAY_SIZE(formats); i++)
        known |= streq(format, formats[i]);
    if (number < 0)
        return err_set(err, ERR_INVALID, "invalid syslog facility \"%s\"", facility);
    if (!known)
        return err_set(err, ERR_INVALID, "invalid syslog format \"%s\"", format);
    char text[16];
    snprintf(text, sizeof(text), "%d", number);
    push(sink, "facility", text);
    push(sink, "format", format ? format : "");
    return add_address(l, sink, err);
}

/* --- labels and variables of the container (moby daemon/logger/loginfo.go, ExtraAttributes) */

static json_t *labels_of(const struct container_record *c, const struct image_config *image)
{
    json_t *all = json_object();
    for (size_t i = 0; i < image->labels_n; i++)
        json_object_set_new(all, image->labels[i].key, json_text(image->labels[i].value));
    json_object_update(all, c->labels);
    return all;
}

static json_t *variables_of(const struct service *s, const struct image_config *image)
{
    json_t *all = json_object();
    for (size_t i = 0; image->env && image->env[i]; i++) {
        const char *eq = strchr(image->env[i], '=');
        char *key AUTOFREE = xstrndup(image->env[i], eq ? (size_t)(eq - image->env[i]) : 0);
        if (eq)
            json_object_set_new(all, key, json_text(eq + 1));
    }
    for (size_t i = 0; i < s->environment.n; i++) {
        const struct key_value *kv = &s->environment.v[i];
        if (kv->value)
            json_object_set_new(all, kv->key, json_text(kv->value));
        else
            json_object_del(all, kv->key);
    }
    return all;
}

static void take_named(json_t *out, const json_t *from, const char *names)
{
    char *list AUTOFREE = xstrdup(names ? names : ""), *rest = list, *name;
    while ((name = strsep(&rest, ",")))
        if (json_object_get(from, name))
            json_object_set(out, name, json_object_get(from, name));
}

static int take_matching(json_t *out, json_t *from, const char *key, const char *pattern,
                         struct err *err)
{
    regex_t re;
    const char *name;
    json_t *value;
    if (!pattern || !*pattern)
        return 0;
    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return err_set(err, ERR_INVALID, "log option %s: \"%s\" is no regular expression", key,
                       pattern);
    json_object_foreach (from, name, value)
        if (regexec(&re, name, 0, NULL, 0) == 0)
            json_object_set(out, name, value);
    regfree(&re);
    return 0;
}

/* *out: what labels, labels-regex, env and env-regex ask for. */
static int extra_attributes(const struct service *s, const struct container_record *c,
                            const struct image_config *image, json_t **out, struct err *err)
{
    const struct logging *l = &s->logging;
    json_t *labels AUTOJSON = labels_of(c, image), *variables AUTOJSON = variables_of(s, image);
    json_t *found AUTOJSON = json_object();
    take_named(found, labels, option(l, "labels"));
    if (take_matching(found, labels, "labels-regex", option(l, "labels-regex"), err) < 0)
        return -1;
    take_named(found, variables, option(l, "env"));
    if (take_matching(found, variables, "env-regex", option(l, "env-regex"), err) < 0)
        return -1;
    *out = json_incref(found);
    return 0;
}

/* The names that the journal allows: A-Z, 0-9 and _, which is not the first. */
static char *journal_name(const char *key)
{
    struct strbuf sb = STRBUF_INIT;
    for (; *key; key++) {
        bool alphanumeric = isalnum((unsigned char)*key);
        if (alphanumeric || sb.len)
            strbuf_addch(&sb, alphanumeric ? (char)toupper((unsigned char)*key) : '_');
    }
    return strbuf_detach(&sb);
}

static int add_fields(const json_t *attributes, char ***sink, struct err *err)
{
    enum { OWN_FIELDS = 4 };
    const char *key;
    json_t *value;
    if (json_object_size(attributes) + OWN_FIELDS > SINK_FIELDS_MAX)
        return err_set(err, ERR_INVALID, "more than %d labels and variables for the journal",
                       SINK_FIELDS_MAX - OWN_FIELDS);
    json_object_foreach ((json_t *)attributes, key, value) {
        char *name AUTOFREE = journal_name(key);
        char *text AUTOFREE = xasprintf("%s=%s", name, json_string_value(value));
        if (*name)
            push(sink, "field", text);
    }
    return 0;
}

/* Into the records of the log file. */
static int add_attrs(json_t *attributes, const char *tag, char ***sink, struct err *err)
{
    jset_str(attributes, "tag", tag);
    if (!json_object_size(attributes))
        return 0;
    char *text AUTOFREE = json_dumps(attributes, JSON_COMPACT | JSON_SORT_KEYS);
    if (strlen(text) > SINK_ATTRS_MAX)
        return err_set(err, ERR_INVALID, "labels and variables of more than %d bytes",
                       SINK_ATTRS_MAX);
    push(sink, "attrs", text);
    return 0;
}

static int add_journal(const struct container_record *c, const json_t *attributes, char ***sink,
                       struct err *err)
{
    char *id AUTOFREE = xasprintf("CONTAINER_ID=%.12s", c->id);
    char *full AUTOFREE = xasprintf("CONTAINER_ID_FULL=%s", c->id);
    char *name AUTOFREE = xasprintf("CONTAINER_NAME=%s", c->name);
    char *image AUTOFREE = xasprintf("IMAGE_NAME=%s", c->image ? c->image : "");
    const char *const fields[] = {id, full, name, image};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        push(sink, "field", fields[i]);
    if (add_fields(attributes, sink, err) < 0)
        return -1;
    return check_path("/run/systemd/journal/socket", err);
}

static int add_driver(const struct service *s, const struct container_record *c,
                      const struct image_config *image, char ***sink, struct err *err)
{
    const struct logging *l = &s->logging;
    const char *driver = l->driver ? l->driver : "json-file", *template = option(l, "tag");
    char *tag AUTOFREE = NULL;
    json_t *attributes AUTOJSON = NULL;
    struct log_file_options file;
    if (log_file_options_of(l, &file, err) < 0)
        return -1;
    if (streq(driver, "none") || streq(driver, "local"))
        return 0;
    if (extra_attributes(s, c, image, &attributes, err) < 0)
        return -1;
    if (!template && is_remote(l))
        template = "{{.ID}}";
    if (template && *template && expand_tag(template, c, &tag, err) < 0)
        return -1;
    if (!is_remote(l))
        return add_attrs(attributes, tag, sink, err);
    push(sink, "kind", driver);
    if (tag)
        push(sink, "tag", tag);
    return streq(driver, "syslog") ? add_syslog(l, sink, err)
                                   : add_journal(c, attributes, sink, err);
}

int log_sink_make(const struct service *s, const struct container_record *c,
                  const struct image_config *image, char ***sink, struct err *err)
{
    char **v = NULL;
    *sink = NULL;
    if (add_driver(s, c, image, &v, err) < 0) {
        strv_free(v);
        return err_wrap(err, "failed to initialize logging driver");
    }
    *sink = v;
    return 0;
}
