#include "image/module/lint.h"

#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "image/module/lint_vars.h"
#include "image/module/words.h"

/* Of these only the last of a stage counts. */
enum once { ONCE_CMD, ONCE_ENTRYPOINT, ONCE_HEALTHCHECK, ONCE_N };
static const char *const once_names[] = {"CMD", "ENTRYPOINT", "HEALTHCHECK"};

struct lint {
    lint_warning warn;
    void *ctx;
    struct lint_vars *vars;
    struct map stages;   /* names so far, lower case */
    bool upper;          /* how most instructions are written */
    bool shell, workdir; /* of the stage: SHELL was given, an absolute WORKDIR was seen */
    size_t once[ONCE_N]; /* of the stage: the line of the last one, 0: none */
};

__attribute__((format(printf, 4, 5))) static void warn(struct lint *l, const char *rule,
                                                       size_t line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *message AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    l->warn(l->ctx, rule, message, line);
}

static bool is_upper(const char *word)
{
    for (; *word; word++)
        if (islower((unsigned char)*word))
            return false;
    return true;
}

static bool is_lower(const char *word)
{
    for (; *word; word++)
        if (isupper((unsigned char)*word))
            return false;
    return true;
}

static void check_stage_name(struct lint *l, const char *name, size_t line)
{
    char *lower AUTOFREE = word_lower(name);
    if (!streq(lower, name))
        warn(l, "StageNameCasing", line, "Stage name '%s' should be lowercase", name);
    if (streq(lower, "scratch") || streq(lower, "context"))
        warn(l, "ReservedStageName", line,
             "Stage name should not use the same name as reserved stage \"%s\"", name);
    if (map_get(&l->stages, lower))
        warn(l, "DuplicateStageName", line,
             "Duplicate stage name \"%s\", stage names should be unique", name);
    map_set(&l->stages, lower, l);
}

static void check_platform(struct lint *l, const char *platform, size_t line)
{
    if (streq(platform, "$TARGETPLATFORM") || streq(platform, "${TARGETPLATFORM}"))
        warn(l, "RedundantTargetPlatform", line,
             "Setting platform to predefined %s in FROM is redundant as this is the default "
             "behavior",
             platform);
    else if (!strchr(platform, '$'))
        warn(l, "FromPlatformFlagConstDisallowed", line,
             "FROM --platform flag should not use constant value \"%s\"", platform);
}

static void check_from(struct lint *l, const char *word, const char *rest, size_t line)
{
    for (;;) {
        char *part AUTOFREE = word_next(&rest);
        if (!part)
            break;
        if (starts_with(part, "--platform=")) {
            check_platform(l, part + strlen("--platform="), line);
        } else if (!strcasecmp(part, "as")) {
            char *name AUTOFREE = word_next(&rest);
            if (is_upper(part) != is_upper(word))
                warn(l, "FromAsCasing", line, "'%s' and '%s' keywords' casing do not match", part,
                     word);
            if (name)
                check_stage_name(l, name, line);
        }
    }
    l->shell = l->workdir = false;
    memset(l->once, 0, sizeof(l->once));
}

/* buildkit: frontend/dockerfile/dockerfile2llb, isSecretKey: a whole word of the name. */
static bool is_secret(const char *name)
{
    static const char *const secrets[] = {"apikey", "auth",     "credential", "credentials",
                                          "key",    "password", "pword",      "passwd",
                                          "secret", "token"};
    char *lower AUTOFREE = word_lower(name), *save = NULL;
    if (strstr(lower, "public"))
        return false;
    for (char *part = strtok_r(lower, "_", &save); part; part = strtok_r(NULL, "_", &save))
        for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
            if (streq(part, secrets[i]))
                return true;
    return false;
}

static void check_secret(struct lint *l, const char *instruction, const char *pair, size_t line)
{
    char *name AUTOFREE = xstrndup(pair, strcspn(pair, "="));
    if (is_secret(name))
        warn(l, "SecretsUsedInArgOrEnv", line,
             "Do not use ARG or ENV instructions for sensitive data (%s \"%s\")", instruction,
             name);
}

/* ENV A=1 B=2, LABEL, ARG; or the old form ENV A the rest. */
static void check_pairs(struct lint *l, const char *instruction, const char *rest, size_t line)
{
    const char *p = rest;
    char *first AUTOFREE = word_next(&p);
    bool arg = streq(instruction, "ARG"), legacy = first && !strchr(first, '=') && !arg;
    if (legacy)
        warn(l, "LegacyKeyValueFormat", line,
             "\"%s key=value\" should be used instead of legacy \"%s key value\" format",
             instruction, instruction);
    if (streq(instruction, "LABEL"))
        return;
    if (legacy) {
        check_secret(l, instruction, first, line);
        return;
    }
    /* Names begin a word outside of quotes. */
    char quote = 0;
    for (p = rest; *p; p++) {
        if ((p == rest || isspace((unsigned char)p[-1])) && !quote && !isspace((unsigned char)*p)) {
            char *pair AUTOFREE = xstrndup(p, strcspn(p, " \t"));
            check_secret(l, instruction, pair, line);
        }
        if (quote ? *p == quote : *p == '"' || *p == '\'')
            quote = quote ? 0 : *p;
    }
}

static void check_once(struct lint *l, enum once which, size_t line)
{
    if (l->once[which])
        warn(l, "MultipleInstructionsDisallowed", l->once[which],
             "Multiple %s instructions should not be used in the same stage because only the last "
             "one will be used",
             once_names[which]);
    l->once[which] = line;
}

static void check_command(struct lint *l, enum once which, const char *rest, size_t line)
{
    json_t *list AUTOJSON = *rest == '[' ? json_loads(rest, 0, NULL) : NULL;
    if (which != ONCE_HEALTHCHECK && !list && !l->shell)
        warn(l, "JSONArgsRecommended", line,
             "JSON arguments recommended for %s to prevent unintended behavior related to OS "
             "signals",
             once_names[which]);
    check_once(l, which, line);
}

static void check_workdir(struct lint *l, const char *rest, size_t line)
{
    bool absolute = *rest == '/' || *rest == '$';
    if (!absolute && !l->workdir)
        warn(l, "WorkdirRelativePath", line,
             "Relative workdir \"%s\" can have unexpected results if the base image changes", rest);
    l->workdir = l->workdir || absolute;
}

static void check_expose(struct lint *l, const char *rest, size_t line)
{
    for (;;) {
        char *port AUTOFREE = word_next(&rest);
        const char *slash = port ? strchr(port, '/') : NULL;
        if (!port)
            return;
        if (slash && !is_lower(slash))
            warn(l, "ExposeProtoCasing", line,
                 "Defined protocol '%s' in EXPOSE instruction should be lowercase", port);
    }
}

static void check_instruction(void *ctx, const struct instruction *i)
{
    struct lint *l = ctx;
    const char *word = i->name, *rest = i->rest;
    size_t line = i->line;
    if (i->hole)
        warn(l, "NoEmptyContinuation", i->last, "Empty continuation line");
    if (l->upper ? !is_upper(word) : !is_lower(word))
        warn(l, "ConsistentInstructionCasing", line,
             "Command '%s' should match the case of the command majority (%s)", word,
             l->upper ? "uppercase" : "lowercase");
    if (!strcasecmp(word, "FROM"))
        check_from(l, word, rest, line);
    else if (!strcasecmp(word, "MAINTAINER"))
        warn(l, "MaintainerDeprecated", line,
             "Maintainer instruction is deprecated in favor of using label");
    else if (!strcasecmp(word, "ARG"))
        check_pairs(l, "ARG", rest, line);
    else if (!strcasecmp(word, "ENV"))
        check_pairs(l, "ENV", rest, line);
    else if (!strcasecmp(word, "LABEL"))
        check_pairs(l, "LABEL", rest, line);
    else if (!strcasecmp(word, "WORKDIR"))
        check_workdir(l, rest, line);
    else if (!strcasecmp(word, "SHELL"))
        l->shell = true;
    else if (!strcasecmp(word, "EXPOSE"))
        check_expose(l, rest, line);
    for (enum once k = 0; k < ONCE_N; k++)
        if (!strcasecmp(word, once_names[k]))
            check_command(l, k, rest, line);
    lint_vars_instruction(l->vars, i);
}

static void count_case(void *ctx, const struct instruction *i)
{
    long *balance = ctx;
    *balance += is_upper(i->name) ? 1 : -1;
}

void dockerfile_lint(const struct lint_source *source, lint_warning report, void *ctx)
{
    struct lint l = {.warn = report, .ctx = ctx, .vars = lint_vars_new(source, report, ctx)};
    long balance = 0;
    dockerfile_instructions(source->text, count_case, &balance);
    l.upper = balance >= 0;
    dockerfile_instructions(source->text, check_instruction, &l);
    lint_vars_free(l.vars);
    map_release(&l.stages);
}
