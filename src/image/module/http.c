#include "image/module/http.h"

#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/version.h"

enum {
    CONNECT_TIMEOUT = 20, /* s */
    STALL_TIMEOUT = 60,   /* s without a byte */
    REDIRECTS_MAX = 10,
    RECEIVE_BUFFER = 256 << 10,
    CA_MAX = 16 << 20,
    IDLE_MAX = 16, /* kept with their connections */
};

struct http {
    CURLM *multi;
    CURL *easy;
    const struct stop *stop;
    struct http *next_idle;
    char error[CURL_ERROR_SIZE];
};

/* Of images that are pulled together most come from one registry. */
static struct {
    pthread_mutex_t mutex;
    struct http *first;
    size_t n;
} idle = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* One transfer: what the callbacks work on. */
struct transfer {
    struct http *http;
    const struct http_request *request;
    struct http_response *response;
    bool too_large;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http *http_new(const struct stop *stop)
{
    pthread_once(&curl_once, curl_start);
    pthread_mutex_lock(&idle.mutex);
    struct http *h = idle.first;
    if (h) {
        idle.first = h->next_idle;
        idle.n--;
    }
    pthread_mutex_unlock(&idle.mutex);
    if (!h) {
        h = xcalloc(1, sizeof(*h));
        h->multi = curl_multi_init();
        h->easy = curl_easy_init();
        if (!h->multi || !h->easy)
            abort();
    }
    h->stop = stop;
    return h;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&idle.mutex);
    bool keep_it = idle.n < IDLE_MAX;
    if (keep_it) {
        h->stop = NULL;
        h->next_idle = idle.first;
        idle.first = h;
        idle.n++;
    }
    pthread_mutex_unlock(&idle.mutex);
    if (keep_it)
        return;
    curl_easy_cleanup(h->easy);
    curl_multi_cleanup(h->multi);
    free(h);
}

void http_response_release(struct http_response *r)
{
    strbuf_release(&r->body);
    free(r->content_type);
    free(r->digest);
    free(r->location);
    free(r->bearer);
    *r = (struct http_response){.body = STRBUF_INIT, .retry_after = -1};
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    n *= size;
    long status = 0;
    curl_easy_getinfo(t->http->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->request->sink && (status == 200 || status == 206)) {
        if (t->request->sink(t->request->sink_ctx, status, data, n) == 0)
            return n;
        t->response->sink_refused = true;
        return 0;
    }
    if (t->response->body.len + n > t->request->body_max) {
        t->too_large = true;
        return 0;
    }
    strbuf_add(&t->response->body, data, n);
    return n;
}

static void keep(char **slot, const char *value, size_t n)
{
    free(*slot);
    *slot = xstrndup(value, n);
}

/* RFC 9110 10.2.3: seconds, or a date. */
static int64_t retry_after(const char *value)
{
    char *end;
    long long seconds = strtoll(value, &end, 10);
    if (end == value || *end) {
        time_t then = curl_getdate(value, NULL);
        if (then == -1)
            return -1;
        seconds = then - time(NULL);
    }
    return seconds > 0 ? seconds : 0;
}

static void take_header(struct http_response *r, const char *name, size_t name_n, const char *value,
                        size_t n)
{
    const struct {
        const char *name;
        char **slot;
    } kept[] = {{"content-type", &r->content_type},
                {"docker-content-digest", &r->digest},
                {"location", &r->location}};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (strlen(kept[i].name) == name_n && !strncasecmp(name, kept[i].name, name_n))
            keep(kept[i].slot, value, n);
    if (name_n == 11 && !strncasecmp(name, "retry-after", 11))
        r->retry_after = retry_after(value);
    if (name_n == 16 && !strncasecmp(name, "www-authenticate", 16)) {
        if (n > 7 && !strncasecmp(value, "bearer ", 7))
            keep(&r->bearer, value + 7, n - 7);
        else if (n >= 5 && !strncasecmp(value, "basic", 5))
            r->basic = true;
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    n *= size;
    /* A new header block, after a redirect or 100-continue: the one before does not count. */
    if (n >= 5 && !memcmp(line, "HTTP/", 5)) {
        struct strbuf body = t->response->body;
        t->response->body = (struct strbuf)STRBUF_INIT;
        http_response_release(t->response);
        t->response->body = body;
        return n;
    }
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return n;
    const char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    char *copy AUTOFREE = xstrndup(value, (size_t)(end - value));
    take_header(t->response, line, (size_t)(colon - line), copy, strlen(copy));
    return n;
}

static size_t on_read(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    ssize_t got;
    do
        got = read(t->request->upload, data, size * n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int on_progress(void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow)
{
    struct transfer *t = ctx;
    (void)dltotal;
    (void)dlnow;
    (void)ultotal;
    if (t->request->uploaded && ulnow)
        t->request->uploaded(t->request->uploaded_ctx, ulnow);
    return 0;
}

/* As Go's and OpenSSL's own programs find them. */
static const char *system_bundle(void)
{
    const char *named = getenv("SSL_CERT_FILE");
    return named && *named ? named : curl_version_info(CURLVERSION_NOW)->cainfo;
}

/* The system's certificates and the registry's own in one bundle: curl takes one or the other. */
static int add_ca(CURL *easy, const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    struct strbuf bundle AUTOBUF = STRBUF_INIT;
    struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        if (!ends_with(e->d_name, ".crt"))
            continue;
        char *path AUTOFREE = path_join(dir, e->d_name), *text AUTOFREE = NULL;
        rc = fs_read(path, CA_MAX, &text, NULL, err);
        if (rc == 0)
            strbuf_addf(&bundle, "%s\n", text);
    }
    closedir(d);
    if (rc < 0 || !bundle.len)
        return rc;
    char *text AUTOFREE = NULL;
    if (system_bundle() && fs_read(system_bundle(), CA_MAX, &text, NULL, NULL) == 0)
        strbuf_addstr(&bundle, text);
    struct curl_blob blob = {bundle.buf, bundle.len, CURL_BLOB_COPY};
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    return 0;
}

/* certs.d/HOST/{*.crt, *.cert + *.key}, as Docker and the containers tools lay them out. */
static int use_certificates(CURL *easy, const char *host, struct err *err)
{
    static const char *const roots[] = {"/etc/docker/certs.d", "/etc/containers/certs.d"};
    for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
        char *dir AUTOFREE = path_join(roots[i], host);
        if (!fs_is_dir(dir))
            continue;
        if (add_ca(easy, dir, err) < 0)
            return -1;
        DIR *d = opendir(dir);
        struct dirent *e;
        while (d && (e = readdir(d))) {
            if (!ends_with(e->d_name, ".cert"))
                continue;
            char *cert AUTOFREE = path_join(dir, e->d_name);
            char *key AUTOFREE = xasprintf("%.*s.key", (int)strlen(cert) - 5, cert);
            curl_easy_setopt(easy, CURLOPT_SSLCERT, cert);
            curl_easy_setopt(easy, CURLOPT_SSLKEY, key);
            if (!fs_exists(key)) {
                closedir(d);
                return err_set(err, ERR_INVALID, "%s has no %s beside it", cert, path_base(key));
            }
        }
        if (d)
            closedir(d);
        return 0;
    }
    return 0;
}

/* Go programs take HTTP_PROXY too, curl only http_proxy; neither sends loopback to a proxy. Exceptions
 * and not an empty proxy: a redirect may lead away from here. */
static void use_proxy(CURL *easy, const char *url)
{
    const char *lower = getenv("no_proxy"), *upper = getenv("NO_PROXY");
    const char *without = lower ? lower : upper ? upper : "";
    char *list AUTOFREE = xasprintf("%s,localhost,127.0.0.1,127.0.0.0/8,::1", without);
    if (!streq(without, "*"))
        curl_easy_setopt(easy, CURLOPT_NOPROXY, list);
    if (starts_with(url, "http://") && !getenv("http_proxy") && getenv("HTTP_PROXY"))
        curl_easy_setopt(easy, CURLOPT_PROXY, getenv("HTTP_PROXY"));
}

static void set_method(CURL *easy, const struct http_request *r)
{
    if (streq(r->method, "HEAD"))
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (r->upload_n >= 0)
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    else if (!streq(r->method, "GET"))
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
    if (!streq(r->method, "HEAD") && !streq(r->method, "GET") && !streq(r->method, "POST"))
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    if (r->upload_n >= 0) {
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->upload_n);
    } else if (!streq(r->method, "GET") && !streq(r->method, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_n);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body ? r->body : "");
    }
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    if (!value)
        return list;
    char *line AUTOFREE = xasprintf("%s: %s", name, value);
    list = curl_slist_append(list, line);
    if (!list)
        abort();
    return list;
}

static struct curl_slist *make_headers(const struct http_request *r)
{
    struct curl_slist *list = add_header(NULL, "Accept", r->accept ? r->accept : "*/*");
    /* curl drops it when a redirect leads to another host, port or scheme. */
    list = add_header(list, "Authorization", r->authorization);
    list = add_header(list, "Content-Type", r->content_type);
    if (r->content_type)
        list = add_header(list, "Expect", "");
    if (r->range_from > 0) {
        char *range AUTOFREE = xasprintf("bytes=%lld-", (long long)r->range_from);
        list = add_header(list, "Range", range);
    }
    return list;
}

static int set_options(struct http *h, struct transfer *t, struct curl_slist *headers,
                       struct err *err)
{
    const struct http_request *r = t->request;
    CURL *easy = h->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, r->url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    char agent[64];
    snprintf(agent, sizeof(agent), "compose/%s", compose_version);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_READDATA, t);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_TIMEOUT);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    /* From TLS a redirect must not fall back to plain text. */
    const char *schemes = starts_with(r->url, "https:") ? "https" : "http,https";
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
    if (r->no_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (system_bundle())
        curl_easy_setopt(easy, CURLOPT_CAINFO, system_bundle());
    set_method(easy, r);
    use_proxy(easy, r->url);
    return r->certs ? use_certificates(easy, r->certs, err) : 0;
}

static int explain_code(struct http *h, CURLcode code, struct http_response *r, struct err *err)
{
    long os_error = 0;
    curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &os_error);
    const char *detail = h->error[0] ? h->error : curl_easy_strerror(code);
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return err_set(err, ERR_UNAVAILABLE, "the host name cannot be resolved");
    case CURLE_COULDNT_RESOLVE_PROXY:
        return err_set(err, ERR_UNAVAILABLE, "the proxy's host name cannot be resolved");
    case CURLE_COULDNT_CONNECT:
        return err_set(err, ERR_UNAVAILABLE, "%s", os_error ? strerror((int)os_error) : detail);
    case CURLE_OPERATION_TIMEDOUT:
        r->retriable = true;
        return err_set(err, ERR_TIMEOUT, "no answer in time (%s)", detail);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
        return err_set(err, ERR_UNAVAILABLE, "TLS: %s", detail);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_URL_MALFORMAT:
        return err_set(err, ERR_INVALID, "%s", detail);
    default: /* broken connections of all kinds */
        r->retriable = true;
        return err_set(err, ERR_UNAVAILABLE, "%s", detail);
    }
}

/* "HOST[:PORT]" of a URL, heap. */
static char *authority(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return xstrndup(host, strcspn(host, "/?#"));
}

static int explain(struct http *h, CURLcode code, const char *asked, struct http_response *r,
                   struct err *err)
{
    const char *url = NULL;
    explain_code(h, code, r, err);
    curl_easy_getinfo(h->easy, CURLINFO_EFFECTIVE_URL, &url);
    char *from AUTOFREE = authority(asked), *at AUTOFREE = authority(url ? url : asked);
    return streq(from, at) ? -1 : err_wrap(err, "redirected to %s", at);
}

bool http_may_pass(const struct http_response *r)
{
    return r->retriable || r->status == 429 || r->status == 408 ||
           (r->status >= 500 && r->status != 501 && r->status != 505);
}

/* Drives the one transfer to its end. */
static int drive(struct http *h, CURLcode *code, struct err *err)
{
    for (;;) {
        int running = 0, left;
        CURLMcode mc = curl_multi_perform(h->multi, &running);
        CURLMsg *msg = curl_multi_info_read(h->multi, &left);
        if (msg && msg->msg == CURLMSG_DONE) {
            *code = msg->data.result;
            return 0;
        }
        if (mc == CURLM_OK)
            mc = curl_multi_poll(h->multi, NULL, 0, 100, NULL);
        if (mc != CURLM_OK)
            return err_set(err, ERR_UNAVAILABLE, "%s", curl_multi_strerror(mc));
        if (stop_now(h->stop))
            return err_set(err, ERR_CANCELLED, "cancelled");
    }
}

int http_do(struct http *h, const struct http_request *request, struct http_response *response,
            struct err *err)
{
    *response = (struct http_response){.body = STRBUF_INIT, .retry_after = -1};
    struct transfer t = {h, request, response, false};
    struct curl_slist *headers = make_headers(request);
    h->error[0] = '\0';
    CURLcode code = CURLE_OK;
    int rc = set_options(h, &t, headers, err);
    if (rc == 0) {
        curl_multi_add_handle(h->multi, h->easy);
        rc = drive(h, &code, err);
        curl_multi_remove_handle(h->multi, h->easy);
    }
    if (rc == 0) {
        curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &response->status);
        if (t.too_large)
            rc = err_set(err, ERR_INVALID, "the answer is larger than %zu bytes",
                         request->body_max);
        else if (response->sink_refused)
            rc = -1;
        else if (code != CURLE_OK)
            rc = explain(h, code, request->url, response, err);
    }
    curl_slist_free_all(headers);
    return rc;
}
