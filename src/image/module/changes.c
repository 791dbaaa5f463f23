#include "image/module/changes.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"

static const char *skip_space(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    return s;
}

/* The next word with quotes and backslashes taken off, heap; NULL at the end. */
static char *next_word(const char **text)
{
    const char *p = skip_space(*text);
    if (!*p)
        return NULL;
    struct strbuf word AUTOBUF = STRBUF_INIT;
    for (char quote = 0; *p && (quote || !isspace((unsigned char)*p)); p++) {
        if (quote && *p == quote)
            quote = 0;
        else if (!quote && (*p == '"' || *p == '\''))
            quote = *p;
        else if (*p == '\\' && p[1] && quote != '\'')
            strbuf_addch(&word, *++p);
        else
            strbuf_addch(&word, *p);
    }
    *text = p;
    return strbuf_detach(&word);
}

/* ["a", "b"] as it is, anything else for the shell. */
static json_t *command(const char *rest)
{
    json_t *list = *rest == '[' ? json_loads(rest, 0, NULL) : NULL;
    if (list)
        return list;
    return json_pack("[s,s,s]", "/bin/sh", "-c", rest);
}

static int change_command(json_t *config, const char *key, const char *rest)
{
    json_object_set_new(config, key, command(rest));
    if (streq(key, "Entrypoint")) /* a new entrypoint forgets the old arguments */
        json_object_del(config, "Cmd");
    return 0;
}

static json_t *object_member(json_t *config, const char *key)
{
    json_t *o = json_object_get(config, key);
    if (!json_is_object(o)) {
        o = json_object();
        json_object_set_new(config, key, o);
    }
    return o;
}

static void set_env(json_t *config, const char *name, const char *value)
{
    json_t *list = json_object_get(config, "Env");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(config, "Env", list);
    }
    char *text AUTOFREE = xasprintf("%s=%s", name, value);
    size_t n = strlen(name), i;
    json_t *item;
    json_array_foreach (list, i, item) {
        const char *has = json_string_value(item);
        if (has && !strncmp(has, name, n) && has[n] == '=') {
            json_array_set_new(list, i, json_text(text));
            return;
        }
    }
    json_array_append_new(list, json_text(text));
}

/* "A=1 B=2", or the old form "A the rest". */
static int pairs(const char *rest, void (*set)(json_t *, const char *, const char *),
                 json_t *config)
{
    const char *p = rest;
    char *word AUTOFREE = next_word(&p);
    if (word && !strchr(word, '=')) {
        p = skip_space(p);
        if (!*p)
            return -1;
        set(config, word, p);
        return 0;
    }
    for (p = rest;;) {
        char *pair AUTOFREE = next_word(&p);
        if (!pair)
            return 0;
        char *eq = strchr(pair, '=');
        if (!eq)
            return -1;
        *eq = '\0';
        set(config, pair, eq + 1);
    }
}

static void set_label(json_t *config, const char *name, const char *value)
{
    json_object_set_new(object_member(config, "Labels"), name, json_text(value));
}

static int change_set(json_t *config, const char *key, const char *rest)
{
    json_t *set = object_member(config, key);
    json_t *list AUTOJSON = *rest == '[' ? json_loads(rest, 0, NULL) : NULL, *item;
    size_t i;
    json_array_foreach (list, i, item)
        if (json_is_string(item))
            json_object_set_new(set, json_string_value(item), json_object());
    for (const char *p = rest; !list;) {
        char *word AUTOFREE = next_word(&p);
        if (!word)
            break;
        char *name AUTOFREE = streq(key, "ExposedPorts") && !strchr(word, '/')
                                  ? xasprintf("%s/tcp", word)
                                  : xstrdup(word);
        json_object_set_new(set, name, json_object());
    }
    return 0;
}

static int health_option(json_t *check, const char *word)
{
    static const char *const durations[][2] = {{"--interval=", "Interval"},
                                               {"--timeout=", "Timeout"},
                                               {"--start-period=", "StartPeriod"},
                                               {"--start-interval=", "StartInterval"}};
    int64_t ns;
    for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
        if (starts_with(word, durations[i][0])) {
            if (!duration_parse(word + strlen(durations[i][0]), &ns))
                return -1;
            json_object_set_new(check, durations[i][1], json_integer(ns));
            return 0;
        }
    if (!starts_with(word, "--retries="))
        return -1;
    json_object_set_new(check, "Retries", json_integer(atoi(word + 10)));
    return 0;
}

static int change_health(json_t *config, const char *rest)
{
    json_t *check = json_object();
    json_object_set_new(config, "Healthcheck", check);
    const char *p = skip_space(rest);
    while (starts_with(p, "--")) {
        char *word AUTOFREE = next_word(&p);
        if (health_option(check, word) < 0)
            return -1;
        p = skip_space(p);
    }
    if (!strcasecmp(p, "NONE")) {
        json_object_set_new(check, "Test", json_pack("[s]", "NONE"));
        return 0;
    }
    if (strncasecmp(p, "CMD", 3) != 0 || !isspace((unsigned char)p[3]))
        return -1;
    p = skip_space(p + 3);
    json_t *list = *p == '[' ? json_loads(p, 0, NULL) : NULL;
    if (list)
        json_array_insert_new(list, 0, json_string("CMD"));
    else
        list = json_pack("[s,s]", "CMD-SHELL", p);
    json_object_set_new(check, "Test", list);
    return 0;
}

static int change_string(json_t *config, const char *key, const char *rest)
{
    const char *p = rest;
    char *word AUTOFREE = next_word(&p);
    if (!word)
        return -1;
    json_object_set_new(config, key, json_text(word));
    return 0;
}

static int change_on_build(json_t *config, const char *rest)
{
    json_t *list = json_object_get(config, "OnBuild");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(config, "OnBuild", list);
    }
    json_array_append_new(list, json_text(rest));
    return 0;
}

static int apply(json_t *config, const char *word, const char *rest)
{
    if (!strcasecmp(word, "CMD"))
        return change_command(config, "Cmd", rest);
    if (!strcasecmp(word, "ENTRYPOINT"))
        return change_command(config, "Entrypoint", rest);
    if (!strcasecmp(word, "ENV"))
        return pairs(rest, set_env, config);
    if (!strcasecmp(word, "LABEL"))
        return pairs(rest, set_label, config);
    if (!strcasecmp(word, "EXPOSE"))
        return change_set(config, "ExposedPorts", rest);
    if (!strcasecmp(word, "VOLUME"))
        return change_set(config, "Volumes", rest);
    if (!strcasecmp(word, "USER"))
        return change_string(config, "User", rest);
    if (!strcasecmp(word, "WORKDIR"))
        return change_string(config, "WorkingDir", rest);
    if (!strcasecmp(word, "STOPSIGNAL"))
        return change_string(config, "StopSignal", rest);
    if (!strcasecmp(word, "HEALTHCHECK"))
        return change_health(config, rest);
    if (!strcasecmp(word, "ONBUILD"))
        return change_on_build(config, rest);
    return -2;
}

int changes_apply(json_t *config, const char *const *changes, struct err *err)
{
    for (size_t i = 0; changes && changes[i]; i++) {
        const char *rest = changes[i];
        char *word AUTOFREE = next_word(&rest);
        rest = skip_space(rest);
        int rc = word && *rest ? apply(config, word, rest) : -1;
        if (rc == -2)
            return err_set(err, ERR_INVALID, "change \"%s\": %s is not an instruction of a config",
                           changes[i], word);
        if (rc < 0)
            return err_set(err, ERR_INVALID, "change \"%s\" cannot be read", changes[i]);
    }
    return 0;
}
