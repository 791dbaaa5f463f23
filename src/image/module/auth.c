#include "image/module/auth.h"

#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/subprocess.h"

enum { AUTH_MAX = 1 << 16 };
static const int64_t HELPER_TIMEOUT = 60000000000;
/* What Docker Hub is called in config.json and by helpers, for historical reasons. */
static const char HUB[] = "https://index.docker.io/v1/";

bool credentials_any(const struct credentials *c)
{
    return c->user || c->identity_token;
}

void credentials_release(struct credentials *c)
{
    free(c->user);
    free(c->password);
    free(c->identity_token);
    *c = (struct credentials){0};
}

char *basic_authorization(const char *user, const char *password)
{
    char *plain AUTOFREE = xasprintf("%s:%s", user, password);
    size_t n = strlen(plain);
    char *encoded AUTOFREE = xmalloc(n / 3 * 4 + 8);
    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)plain, (int)n);
    return xasprintf("Basic %s", encoded);
}

static char *config_path(const char *file)
{
    if (file)
        return xstrdup(file);
    const char *dir = getenv("DOCKER_CONFIG");
    if (dir && *dir)
        return path_join(dir, "config.json");
    const char *home = getenv("HOME");
    if (!home || !*home) {
        struct passwd *pw = getpwuid(getuid());
        home = pw ? pw->pw_dir : "/root";
    }
    return xasprintf("%s/.docker/config.json", home);
}

/* "https://host:port/v1/" to "host:port", heap. */
static char *bare_host(const char *key)
{
    const char *scheme = strstr(key, "://");
    const char *host = scheme ? scheme + 3 : key;
    return xstrndup(host, strcspn(host, "/"));
}

static bool same_registry(const char *key, const char *registry)
{
    char *host AUTOFREE = bare_host(key);
    if (streq(host, registry))
        return true;
    return streq(registry, "docker.io") &&
           (streq(host, "index.docker.io") || streq(host, "registry-1.docker.io"));
}

static const json_t *member_for(const json_t *object, const char *registry)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        if (same_registry(key, registry))
            return value;
    return NULL;
}

/* base64("user:password"); Docker pads the password with NULs in old files. */
static int decode_auth(const char *text, struct credentials *c, struct err *err)
{
    size_t n = strlen(text);
    unsigned char *plain AUTOFREE = xcalloc(1, n + 4);
    char *colon = NULL;
    if (n <= AUTH_MAX && n % 4 == 0 &&
        EVP_DecodeBlock(plain, (const unsigned char *)text, (int)n) >= 0)
        colon = strchr((char *)plain, ':');
    if (!colon)
        return err_set(err, ERR_INVALID, "\"auth\" is not base64 of USER:PASSWORD");
    *colon = '\0';
    c->user = xstrdup((char *)plain);
    c->password = xstrdup(colon + 1);
    return 0;
}

static int from_entry(const json_t *entry, struct credentials *c, struct err *err)
{
    const char *token = jstr(entry, "identitytoken", ""), *auth = jstr(entry, "auth", "");
    const char *user = jstr(entry, "username", ""), *password = jstr(entry, "password", "");
    if (*token)
        c->identity_token = xstrdup(token);
    if (*auth)
        return decode_auth(auth, c, err);
    if (*user) {
        c->user = xstrdup(user);
        c->password = xstrdup(password);
    }
    return 0;
}

static int from_helper(const char *name, const char *registry, struct credentials *c,
                       struct err *err)
{
    if (strchr(name, '/'))
        return err_set(err, ERR_INVALID, "credential helper \"%s\": a name cannot hold /", name);
    char *program AUTOFREE = xasprintf("docker-credential-%s", name);
    const char *argv[] = {program, "get", NULL};
    const char *server = streq(registry, "docker.io") ? HUB : registry;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    struct subprocess p = {.argv = argv,
                           .input = server,
                           .input_len = strlen(server),
                           .timeout_ns = HELPER_TIMEOUT,
                           .out = &out};
    if (subprocess_run(&p, err) < 0)
        return -1;
    if (!WIFEXITED(p.status) || WEXITSTATUS(p.status)) {
        /* That it knows nothing is said this way too. */
        if (strstr(out.buf, "credentials not found"))
            return 0;
        return err_set(err, ERR_DENIED, "%s: %.*s", program, (int)strcspn(out.buf, "\n"),
                       out.len ? out.buf : "failed");
    }
    json_t *answer AUTOJSON = json_loadb(out.buf, out.len, 0, NULL);
    const char *user = jstr(answer, "Username", ""), *secret = jstr(answer, "Secret", "");
    if (streq(user, "<token>"))
        c->identity_token = xstrdup(secret);
    else if (*user) {
        c->user = xstrdup(user);
        c->password = xstrdup(secret);
    }
    return 0;
}

int credentials_load(const char *file, const char *registry, struct credentials *c, struct err *err)
{
    *c = (struct credentials){0};
    char *path AUTOFREE = config_path(file);
    if (!file && !fs_exists(path))
        return 0;
    json_t *config AUTOJSON = NULL;
    if (json_read(path, &config, err) < 0)
        return -1;
    const json_t *helper = member_for(json_object_get(config, "credHelpers"), registry);
    const char *store = jstr(config, "credsStore", "");
    int rc = 0;
    if (json_is_string(helper))
        rc = from_helper(json_string_value(helper), registry, c, err);
    else if (*store)
        rc = from_helper(store, registry, c, err);
    if (rc == 0 && !credentials_any(c))
        rc = from_entry(member_for(json_object_get(config, "auths"), registry), c, err);
    if (rc < 0) {
        credentials_release(c);
        return err_wrap(err, "%s", path);
    }
    return 0;
}
