#include "image/module/token.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"

enum { TOKEN_MAX = 1 << 20 };

/* The value of key="..." in a challenge, RFC 9110 11.2; heap or NULL. */
static char *challenge_value(const char *challenge, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = challenge; *p;) {
        while (*p == ' ' || *p == ',')
            p++;
        const char *name = p;
        p += strcspn(p, "=,");
        bool match = (size_t)(p - name) == n && !strncasecmp(name, key, n);
        if (*p != '=')
            continue;
        p++;
        struct strbuf value AUTOBUF = STRBUF_INIT;
        if (*p == '"') {
            for (p++; *p && *p != '"'; p++) {
                if (*p == '\\' && p[1])
                    p++;
                strbuf_addch(&value, *p);
            }
            if (*p)
                p++;
        } else {
            size_t len = strcspn(p, ", ");
            strbuf_add(&value, p, len);
            p += len;
        }
        if (match)
            return strbuf_detach(&value);
    }
    return NULL;
}

static void add_escaped(struct strbuf *sb, const char *s)
{
    for (; *s; s++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *s))
            strbuf_addch(sb, *s);
        else
            strbuf_addf(sb, "%%%02X", (unsigned char)*s);
    }
}

static void add_parameter(struct strbuf *sb, char separator, const char *key, const char *value)
{
    strbuf_addf(sb, "%c%s=", separator, key);
    add_escaped(sb, value);
}

static int ask_token(struct http *http, struct http_request *q, const char *realm, char **token,
                     struct http_response *failed, struct err *err)
{
    struct http_response response;
    q->accept = "application/json";
    q->body_max = TOKEN_MAX;
    int rc = http_do(http, q, &response, err);
    failed->retriable = http_may_pass(&response);
    failed->retry_after = response.retry_after;
    if (rc == 0 && (response.status == 401 || response.status == 403))
        rc = err_set(err, ERR_DENIED, "the login is refused (HTTP %ld from %s)", response.status,
                     realm);
    else if (rc == 0 && response.status != 200)
        rc = err_set(err, ERR_UNAVAILABLE, "no token: HTTP %ld from %s", response.status, realm);
    if (rc == 0) {
        json_t *j AUTOJSON = json_loadb(response.body.buf, response.body.len, 0, NULL);
        const char *text = jstr(j, "token", jstr(j, "access_token", NULL));
        /* It goes into a header line: no line ends in it. */
        if (!text || strpbrk(text, "\r\n"))
            rc = err_set(err, ERR_UNAVAILABLE, "no token in the answer of %s", realm);
        else
            *token = xstrdup(text);
    }
    http_response_release(&response);
    return rc;
}

int token_fetch(struct http *http, const struct token_request *t, char **token,
                struct http_response *failed, struct err *err)
{
    const struct endpoint *e = t->endpoint;
    const struct credentials *me = t->credentials;
    char *realm AUTOFREE = challenge_value(t->challenge, "realm");
    char *service AUTOFREE = challenge_value(t->challenge, "service");
    char *scope AUTOFREE = challenge_value(t->challenge, "scope");
    if (!realm || !(starts_with(realm, "https://") || starts_with(realm, "http://")))
        return err_set(err, ERR_UNAVAILABLE, "it asks for a token and does not say where");
    bool login = credentials_any(me);
    if (login && starts_with(realm, "http://") && starts_with(e->base, "https://"))
        return err_set(err, ERR_DENIED, "it wants the login sent in plain text to %s", realm);
    if (!scope || t->push) {
        free(scope);
        scope = xasprintf("repository:%s%s:pull%s", e->prefix, t->repository,
                          t->push ? ",push" : "");
    }
    struct http_request q = HTTP_REQUEST_INIT;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    q.no_verify = e->no_verify;
    q.certs = e->host; /* who gives the tokens is trusted as the registry is */
    if (me->identity_token) {
        strbuf_addstr(&text, "grant_type=refresh_token&client_id=compose");
        add_parameter(&text, '&', "service", service ? service : "");
        add_parameter(&text, '&', "scope", scope);
        add_parameter(&text, '&', "refresh_token", me->identity_token);
        q.method = "POST";
        q.url = realm;
        q.body = text.buf;
        q.body_n = text.len;
        q.content_type = "application/x-www-form-urlencoded";
        return ask_token(http, &q, realm, token, failed, err);
    }
    strbuf_addstr(&text, realm);
    add_parameter(&text, strchr(realm, '?') ? '&' : '?', "service", service ? service : "");
    char *save = NULL;
    for (char *s = strtok_r(scope, " ", &save); s; s = strtok_r(NULL, " ", &save))
        add_parameter(&text, '&', "scope", s);
    char *basic AUTOFREE = NULL;
    if (login) {
        add_parameter(&text, '&', "account", me->user);
        basic = basic_authorization(me->user, me->password);
    }
    q.method = "GET";
    q.url = text.buf;
    q.authorization = basic;
    return ask_token(http, &q, realm, token, failed, err);
}
