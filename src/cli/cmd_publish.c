#include <regex.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/artifact.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/push_jobs.h"
#include "image/reference.h"

static const struct option options[] = {
    OPT_BOOL("app", 0, "Published compose application (includes referenced images)"),
    OPT_STR("oci-version", 0,
            "OCI image/artifact specification version (automatically determined by default)",
            .words = "1.0 1.1"),
    OPT_BOOL("resolve-image-digests", 0, "Pin image tags to digests"),
    OPT_BOOL("with-env", 0, "Include environment variables in the published OCI artifact"),
    OPT_BOOL("yes", 'y', "Assume \"yes\" as answer to all prompts"),
    OPTION_END,
};

enum { SCANNED_MAX = 4 << 20 };

/* ---- what should not be published */

static int check_builds(const struct project *p, struct err *err)
{
    struct strbuf names AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < p->services_n; i++)
        if (!p->services[i].image && p->services[i].build)
            strbuf_addf(&names, "\n- \"%s\"", p->services[i].name);
    if (!names.len)
        return 0;
    return err_set(err, ERR_INVALID,
                   "your Compose stack cannot be published as it only contains a build section for "
                   "service(s):%s",
                   names.buf);
}

static int check_includes(const struct project *p, struct err *err)
{
    for (size_t i = 0; i < p->files.n; i++) {
        char *text AUTOFREE = NULL;
        regex_t include;
        if (fs_read(p->files.v[i], SCANNED_MAX, &text, NULL, NULL) < 0)
            continue;
        regcomp(&include, "^include[[:space:]]*:", REG_EXTENDED | REG_NEWLINE | REG_NOSUB);
        bool found = regexec(&include, text, 0, NULL, 0) == 0;
        regfree(&include);
        if (found && !strstr(text, "oci://"))
            return err_set(err, ERR_INVALID, "cannot publish compose file with local includes");
    }
    return 0;
}

static char *bind_mounts(const struct project *p)
{
    struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        for (size_t k = 0; k < s->mounts_n; k++)
            if (s->mounts[k].type == MOUNT_BIND)
                strbuf_addf(&out, "%s: %s:%s:%s\n", s->name, s->mounts[k].source,
                            s->mounts[k].target, s->mounts[k].read_only ? "ro" : "rw");
    }
    return strbuf_detach(&out);
}

/* Adds what looks like a secret in a file's text. */
static void scan_text(const char *path, const char *text, struct strbuf *found)
{
    static const struct {
        const char *name, *pattern;
    } kinds[] = {
        {"AWS Client ID", "(^|[^A-Z0-9])(AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}"},
        {"GitHub authentication", "gh[pousr]_[0-9A-Za-z]{36}"},
        {"JSON Web Token", "eyJ[A-Za-z0-9_-]{10,}\\.eyJ[A-Za-z0-9_-]{10,}\\.[A-Za-z0-9_-]+"},
        {"Private Key", "-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----"},
        {"Slack token", "xox[baprs]-[0-9A-Za-z-]{10,}"},
        {"URL with a password", "[a-z]+://[^/ :@$]+:[^/ @$]+@"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        regex_t re;
        regmatch_t m;
        if (regcomp(&re, kinds[i].pattern, REG_EXTENDED | REG_NEWLINE) != 0)
            continue;
        if (regexec(&re, text, 1, &m, 0) == 0)
            strbuf_addf(found, "%s: %s: %.*s...\n", path, kinds[i].name,
                        m.rm_eo - m.rm_so > 12 ? 12 : (int)(m.rm_eo - m.rm_so), text + m.rm_so);
        regfree(&re);
    }
}

static void scan_file(const char *path, struct strbuf *found)
{
    char *text AUTOFREE = NULL;
    if (path && fs_read(path, SCANNED_MAX, &text, NULL, NULL) == 0)
        scan_text(path, text, found);
}

static int sensitive(const struct project *p, bool with_env, char **found, struct err *err)
{
    struct strbuf out = STRBUF_INIT;
    struct artifact a;
    if (artifact_pack(p, with_env, &a, err) < 0)
        return -1;
    for (size_t i = 0; i < a.files_n; i++) {
        const json_t *names = a.files[i].annotations;
        scan_text(jstr(names, "com.docker.compose.file", "env file"), a.files[i].data, &out);
    }
    artifact_release(&a);
    for (size_t i = 0; i < p->configs_n; i++)
        scan_file(p->configs[i].file, &out);
    for (size_t i = 0; i < p->secrets_n; i++)
        scan_file(p->secrets[i].file, &out);
    *found = strbuf_detach(&out);
    return 0;
}

static int check_environment(const struct project *p, struct err *err)
{
    struct strbuf told AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < p->services_n; i++)
        if (p->services[i].environment.n)
            strbuf_addf(&told, "service \"%s\" has environment variable(s) declared.\n",
                        p->services[i].name);
    for (size_t i = 0; i < p->configs_n; i++)
        if (p->configs[i].environment)
            strbuf_addf(&told, "config \"%s\" is declare as an environment variable.\n",
                        p->configs[i].name);
    if (!told.len)
        return 0;
    return err_set(
        err, ERR_INVALID,
        "%sTo avoid leaking sensitive data, you must either explicitly allow the sending "
        "of environment variables by using the --with-env flag,\n"
        "or remove sensitive data from your Compose configuration",
        told.buf);
}

static char *environment_text(const struct project *p)
{
    struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < p->services_n; i++) {
        const struct key_values *e = &p->services[i].environment;
        if (e->n)
            strbuf_addf(&out, "Service/Config  %s\n", p->services[i].name);
        for (size_t k = 0; k < e->n; k++)
            strbuf_addf(&out, "%s=%s\n", e->v[k].key, e->v[k].value ? e->v[k].value : "");
    }
    return strbuf_detach(&out);
}

static int ask(const struct cli *cli, const char *about, const char *what, const char *question,
               struct err *err)
{
    if (!*what)
        return 0;
    char *text AUTOFREE = xasprintf("%s%s%s [y/N]", about, what, question);
    if (cli_confirm(cli, text))
        return 0;
    return err_set(err, ERR_CANCELLED, "%s%snot published: --yes says yes to this", about, what);
}

static int check(struct cli *cli, const struct args *args, const struct project *p, struct err *err)
{
    if (check_builds(p, err) < 0 || check_includes(p, err) < 0)
        return -1;
    if (args_bool(args, "yes"))
        return 0;
    char *binds AUTOFREE = bind_mounts(p), *secrets AUTOFREE = NULL;
    char *variables AUTOFREE = environment_text(p);
    if (sensitive(p, args_bool(args, "with-env"), &secrets, err) < 0 ||
        ask(cli,
            "you are about to publish bind mounts declaration within your OCI artifact.\n"
            "only the bind mount declarations will be added to the OCI artifact (not content)\n"
            "please double check that you are not mounting potential user's sensitive directories "
            "or data\n",
            binds, "Are you ok to publish these bind mount declarations?", err) < 0 ||
        ask(cli,
            "you are about to publish sensitive data within your OCI artifact.\n"
            "please double check that you are not leaking sensitive data\n",
            secrets, "Are you ok to publish these sensitive data?", err) < 0)
        return -1;
    if (!args_bool(args, "with-env"))
        return check_environment(p, err);
    return ask(cli,
               "you are about to publish environment variables within your OCI artifact.\n"
               "please double check that you are not leaking sensitive data\n",
               variables, "Are you ok to publish these environment variables?", err);
}

/* ---- publish */

/* The override file that pins each image, and the names of the images. */
static int pin_images(struct cli *cli, const struct project *p, struct artifact *a, char ***names,
                      struct err *err)
{
    struct image_store *store;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    if (cli_store(cli, &store, err) < 0)
        return -1;
    strbuf_addstr(&text, "services:\n");
    for (size_t i = 0; i < p->services_n; i++) {
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        const struct service *s = &p->services[i];
        struct image *image;
        const struct pull_request q = {
            .reference = s->image, .platform = s->platform, .policy = IMAGE_PULL_ALWAYS};
        if (!s->image)
            continue;
        if (reference_parse(s->image, &ref, err) < 0 ||
            image_pull(store, &q, &image, NULL, err) < 0)
            return err_wrap(err, "failed to resolve digest for %s", s->image);
        char *name AUTOFREE = reference_name(&ref);
        strbuf_addf(&text, "  %s:\n    image: %s", s->name, name);
        if (!ref.digest)
            strbuf_addf(&text, "@%s", image->index_digest ? image->index_digest : image->digest);
        strbuf_addch(&text, '\n');
        strv_push(names, s->image);
        image_free(image);
    }
    artifact_add_file(a, "image-digests.yaml", text.buf);
    return 0;
}

static void show(struct progress *progress, const char *name, const char *text,
                 enum progress_state state)
{
    progress_event(progress, &(struct progress_event){.id = name, .text = text, .state = state});
    progress_tick(progress);
}

static int publish(struct cli *cli, const struct args *args, const struct project *p,
                   struct err *err)
{
    const char *name = args->positional[0], *version = args_str(args, "oci-version");
    bool app = args_bool(args, "app"), *all AUTOFREE = xcalloc(p->services_n + 1, sizeof(*all));
    char **images AUTOSTRV = NULL;
    struct artifact a;
    for (size_t i = 0; i < p->services_n; i++)
        all[i] = true;
    if (push_services(cli, p, all, true, true, false, err) < 0 ||
        artifact_pack(p, args_bool(args, "with-env"), &a, err) < 0)
        return -1;
    int rc = 0;
    if ((app || args_bool(args, "resolve-image-digests")) && !cli->dry_run)
        rc = pin_images(cli, p, &a, &images, err);
    struct progress progress;
    progress_init(&progress, cli, "Publishing");
    if (rc == 0)
        show(&progress, name, "publishing", PROGRESS_WORKING);
    if (rc == 0 && !cli->dry_run)
        rc = artifact_publish(cli, name, &a, version, app ? (const char *const *)images : NULL,
                              err);
    if (rc == 0)
        show(&progress, name, "published", PROGRESS_DONE);
    else
        show(&progress, name, "publishing", PROGRESS_ERROR);
    progress_flush(&progress);
    progress_release(&progress);
    artifact_release(&a);
    return rc;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    static const char *const profiles[] = {"*", NULL};
    const char *version = args_str(args, "oci-version");
    struct load_options load;
    struct project *p;
    if (*version && !streq(version, "1.0") && !streq(version, "1.1"))
        return err_set(err, ERR_INVALID, "unsupported OCI version: %s", version);
    cli_load_options(cli, &load);
    load.profiles = profiles;
    if (cli_project(cli, &load, &p, err) < 0)
        return -1;
    int rc = check(cli, args, p, err);
    if (rc == 0)
        rc = publish(cli, args, p, err);
    project_free(p);
    return rc;
}

const struct command cmd_publish = {
    .name = "publish",
    .usage = "[OPTIONS] REPOSITORY[:TAG]",
    .summary = "Publish compose application",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .wording = ARGS_DOCKER,
    .run = run,
};
