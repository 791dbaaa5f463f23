/* model/: files to structs, to JSON and back; order of start; hashes; the printers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/decode.h"
#include "model/encode.h"
#include "model/graph.h"
#include "model/load.h"

static char *const environment[] = {"HOME=/home/user", "SECRET=s3cret", NULL};

static struct project *load(const char *text)
{
    char dir[] = "/tmp/compose-project-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path AUTOFREE = path_join(dir, "compose.yaml");
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, false, NULL), 0);
    struct load_options o = {.environ = environment, .cwd = dir, .project_name = "p"};
    struct diag d AUTODIAG = DIAG_INIT;
    struct project *p = NULL;
    if (project_load(&o, &p, &d)) {
        char *first AUTOFREE = diag_first_error(&d);
        fail_msg("%s", first);
    }
    assert_int_equal(fs_remove_all(dir, NULL), 0);
    return p;
}

static const char everything[] =
    "services:\n"
    "  web:\n"
    "    image: nginx\n"
    "    command: run --flag 'a b'\n"
    "    entrypoint: []\n"
    "    environment: [A=1, HOME, GONE]\n"
    "    ports: ['127.0.0.1:8080:80', '9000-9010:90/udp', '53']\n"
    "    volumes: [data:/data, './conf:/etc/conf:ro', /anon, {type: tmpfs, target: /t, tmpfs: "
    "{size: 1m}}]\n"
    "    networks: {front: {priority: 1, aliases: [www]}, back: {priority: 5}}\n"
    "    depends_on: {db: {condition: service_healthy, restart: true}, job: {condition: "
    "service_completed_successfully, required: false}}\n"
    "    links: ['cache:c']\n"
    "    healthcheck: {test: curl localhost, interval: 1m30s, retries: 0}\n"
    "    restart: on-failure:3\n"
    "    cpus: 0.1\n"
    "    mem_limit: 64m\n"
    "    memswap_limit: -1\n"
    "    pids_limit: 50\n"
    "    stop_grace_period: 3s\n"
    "    ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}\n"
    "    secrets: [pw, {source: file, target: x, mode: 0400}]\n"
    "    configs: [conf]\n"
    "    extra_hosts: ['h:1.2.3.4', 'h=::1']\n"
    "    init: false\n"
    "    deploy: {replicas: 2}\n"
    "  db: {image: db, attach: false}\n"
    "  job: {image: job, build: {context: ., args: {X: 1}}}\n"
    "  cache: {image: cache, network_mode: host}\n"
    "  off: {image: off, profiles: [never]}\n"
    "volumes: {data: {driver_opts: {a: 1}}}\n"
    "networks: {front: , back: {internal: true, ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"
    "secrets: {pw: {environment: SECRET}, file: {file: ./f}}\n"
    "configs: {conf: {content: hello}}\n";

static void check_scalars(const struct service *s)
{
    assert_string_equal(s->image, "nginx");
    assert_int_equal(s->command.n, 3);
    assert_string_equal(s->command.v[2], "a b");
    assert_null(s->command.v[3]);
    assert_true(s->has_entrypoint && s->entrypoint.n == 0);
    assert_int_equal(s->resources.nano_cpus, 100000000);
    assert_int_equal(s->resources.memory, 64 << 20);
    assert_true(s->resources.unlimited_swap);
    assert_int_equal(s->resources.pids, 50);
    assert_int_equal(s->resources.cpu_shares, UNSET);
    assert_int_equal(s->stop_grace_period, 3000000000);
    assert_int_equal(s->init, 0);
    assert_int_equal(s->scale, 2);
    assert_int_equal(s->oom_score_adj, UNSET_OOM);
    assert_true(s->attach);
    assert_int_equal(s->restart.kind, RESTART_ON_FAILURE);
    assert_int_equal(s->restart.max_attempts, 3);
    assert_null(s->restart.unknown);
    assert_true(s->healthcheck.present && !s->healthcheck.disable);
    assert_string_equal(s->healthcheck.test.v[0], "CMD-SHELL");
    assert_int_equal(s->healthcheck.interval, 90000000000);
    assert_int_equal(s->healthcheck.retries, 0);
    assert_int_equal(s->healthcheck.timeout, UNSET);
}

static void check_lists(const struct service *s, const struct project *p)
{
    assert_int_equal(s->environment.n, 3);
    assert_string_equal(s->environment.v[0].key, "A");
    assert_null(s->environment.v[1].value); /* GONE: by name */
    assert_string_equal(s->environment.v[2].value, "/home/user");
    assert_int_equal(s->ports_n, 3);
    assert_string_equal(s->ports[0].host_ip, "127.0.0.1");
    assert_int_equal(s->ports[0].published, 8080);
    assert_int_equal(s->ports[1].published_end, 9010);
    assert_string_equal(s->ports[1].protocol, "udp");
    assert_int_equal(s->ports[2].published, 0);
    assert_int_equal(s->mounts_n, 4);
    assert_int_equal(s->mounts[0].type, MOUNT_VOLUME);
    assert_true(s->mounts[1].read_only && s->mounts[1].create_host_path);
    assert_int_equal(s->mounts[1].source[0], '/');
    assert_null(s->mounts[2].source);
    assert_int_equal(s->mounts[3].tmpfs_size, 1 << 20);
    assert_int_equal(s->networks_n, 2);
    assert_string_equal(s->networks[0].network, "back"); /* the higher priority */
    assert_string_equal(s->networks[1].aliases.v[0], "www");
    assert_int_equal(s->ulimits_n, 2);
    assert_int_equal(s->ulimits[0].hard, 2);
    assert_int_equal(s->ulimits[1].soft, 3);
    assert_string_equal(s->secrets[0].target, "/run/secrets/pw");
    assert_string_equal(s->secrets[1].target, "/run/secrets/x");
    assert_int_equal(s->secrets[1].mode, 0400);
    assert_string_equal(s->configs[0].target, "/conf");
    assert_int_equal(s->extra_hosts.n, 2);
    assert_string_equal(s->extra_hosts.v[1].value, "::1");
    assert_string_equal(project_secret(p, "pw")->content, "s3cret");
    assert_string_equal(project_config(p, "conf")->content, "hello");
}

static void check_dependencies(const struct service *s)
{
    assert_int_equal(s->depends_on_n, 3);
    assert_string_equal(s->depends_on[0].service, "cache"); /* from links */
    assert_true(s->depends_on[0].restart);
    assert_int_equal(s->depends_on[1].condition, DEPENDS_HEALTHY);
    assert_int_equal(s->depends_on[2].condition, DEPENDS_COMPLETED);
    assert_false(s->depends_on[2].required);
}

static void check_project(const struct project *p)
{
    assert_string_equal(p->name, "p");
    assert_int_equal(p->services_n, 4);
    assert_string_equal(p->services[0].name, "cache");
    assert_int_equal(p->disabled.n, 1);
    assert_string_equal(p->disabled.v[0], "off");
    const struct service *web = project_service(p, "web");
    assert_non_null(web);
    assert_null(project_service(p, "off"));
    assert_int_equal(web->mark.line, 2);
    check_scalars(web);
    check_lists(web, p);
    check_dependencies(web);
    assert_false(project_service(p, "db")->attach);
    assert_string_equal(project_service(p, "job")->build->args.v[0].value, "1");
    assert_string_equal(project_network(p, "back")->name, "p_back");
    assert_true(project_network(p, "back")->internal);
    assert_string_equal(project_network(p, "back")->pools[0].subnet, "10.1.0.0/24");
    assert_string_equal(project_volume(p, "data")->driver_opts.v[0].value, "1");
    assert_null(project_volume(p, "nope"));
}

static void test_files_become_structs(void **state)
{
    (void)state;
    struct project *p = load(everything);
    check_project(p);
    project_free(p);
}

static void test_json_there_and_back(void **state)
{
    (void)state;
    struct project *p = load(everything), *q;
    json_t *j = project_to_json(p);
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    json_t *again = json_loads(text, 0, NULL);
    assert_int_equal(project_from_json(again, &q, NULL), 0);
    json_decref(again);
    check_project(q);
    assert_string_equal(q->working_dir, p->working_dir);
    assert_string_equal(q->files.v[0], p->files.v[0]);
    for (size_t i = 0; i < p->services_n; i++) {
        char *before AUTOFREE = service_config_hash(p, &p->services[i]);
        char *after AUTOFREE = service_config_hash(q, &q->services[i]);
        assert_string_equal(before, after);
    }
    struct strbuf x AUTOBUF = STRBUF_INIT, y AUTOBUF = STRBUF_INIT;
    encode_yaml(p->document, 0, &x);
    encode_yaml(q->document, 0, &y);
    assert_string_equal(x.buf, y.buf);
    project_free(q);
    project_free(p);
}

static void test_damaged_json_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"document\": 5}",
        "{\"document\": {}}",
        "{\"document\": {\"name\": \"p\", \"services\": {\"a\": {\"ports\": 5}}}}",
        "{\"document\": {\"name\": \"p\", \"services\": {\"a\": {\"privileged\": \"x\"}}}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct err err AUTOERR = ERR_INIT;
        struct project *p;
        json_t *j = json_loads(texts[i], 0, NULL);
        assert_int_equal(project_from_json(j, &p, &err), -1);
        assert_non_null(err.msg);
        assert_null(p);
        json_decref(j);
    }
}

static void test_hash_changes_with_what_matters(void **state)
{
    (void)state;
    struct project *a = load("services: {s: {image: x, labels: {a: b}}}\n");
    struct project *b = load("services: {s: {image: x, labels: [a=b], scale: 3, profiles: [],"
                             " build: ., depends_on: [t], deploy: }, t: {image: y}}\n");
    struct project *c = load("services: {s: {image: x, labels: {a: c}}}\n");
    char *ha AUTOFREE = service_config_hash(a, project_service(a, "s"));
    char *hb AUTOFREE = service_config_hash(b, project_service(b, "s"));
    char *hc AUTOFREE = service_config_hash(c, project_service(c, "s"));
    assert_int_equal(strlen(ha), 64);
    assert_string_equal(ha, hb);
    assert_string_not_equal(ha, hc);
    project_free(a);
    project_free(b);
    project_free(c);
}

/* The value that docker compose gives. */
static void test_hash_is_the_references(void **state)
{
    (void)state;
    struct project *p = load("services: {a: {image: x, command: [\"<&>\", \"$$x\"], cpus: 0.1}}\n");
    char *hash AUTOFREE = service_config_hash(p, project_service(p, "a"));
    assert_string_equal(hash, "6eae10b1ccc4249b7f88f2c21af0a84fa038031e9632f303579c3269f977e24e");
    project_free(p);
}

static void test_order_of_start(void **state)
{
    (void)state;
    struct project *p = load(
        "services:\n  a: {image: x, depends_on: [c, d]}\n  b: {image: x}\n"
        "  c: {image: x, depends_on: [e]}\n  d: {image: x}\n  e: {image: x}\n");
    struct graph g;
    assert_int_equal(graph_init(&g, p, NULL), 0);
    char order[16] = "";
    for (size_t i = 0; i < g.n; i++)
        strcat(order, p->services[g.order[i]].name);
    assert_string_equal(order, "bdeca");
    assert_int_equal(g.nodes[2].needed_by_n, 1);
    bool selected[5];
    const char *names[] = {"c", NULL}, *unknown[] = {"zz", NULL};
    struct strings list = {.v = names, .n = 1}, none = {.v = unknown, .n = 1}, empty = {0};
    assert_int_equal(graph_select(&g, &list, true, selected, NULL), 0);
    assert_true(!selected[0] && !selected[1] && selected[2] && !selected[3] && selected[4]);
    assert_int_equal(graph_select(&g, &list, false, selected, NULL), 0);
    assert_false(selected[4]);
    assert_int_equal(graph_select(&g, &empty, true, selected, NULL), 0);
    assert_true(selected[0] && selected[1]);
    assert_int_equal(graph_select(&g, &none, true, selected, NULL), -1);
    graph_release(&g);
    project_free(p);
}

static void test_cycles_name_the_way(void **state)
{
    (void)state;
    struct project *p = load("services:\n  a: {image: x, depends_on: [b]}\n"
                             "  b: {image: x, depends_on: [c]}\n  c: {image: x}\n");
    /* The loader refuses cycles, so one is made by hand. */
    struct service *c = project_service(p, "c");
    struct dependency back = {.service = "b",
                              .mark = {.file = "compose.yaml", .line = 4, .col = 1}};
    c->depends_on = &back;
    c->depends_on_n = 1;
    struct graph g;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(graph_init(&g, p, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_string_equal(err.msg, "dependency cycle detected: b -> c -> b\n"
                                 "  compose.yaml:3:30: \"b\" depends on \"c\"\n"
                                 "  compose.yaml:4:1: \"c\" depends on \"b\"");
    project_free(p);
}

static void test_json_is_printed_as_go_prints_it(void **state)
{
    (void)state;
    struct project *p = load("services: {a: {image: \"<x>&\\u2028\\t$$\", cpus: 0.1}}\n"
                             "x-n: {f: 1.0e-7, g: 123456789.5, h: 1e21, e: [], s: \"\\u0001\"}\n");
    struct strbuf out AUTOBUF = STRBUF_INIT;
    assert_int_equal(encode_json(p->document, ENCODE_COMPACT, &out, NULL), 0);
    assert_string_equal(
        out.buf,
        "{\"name\":\"p\",\"networks\":{\"default\":{\"name\":\"p_default\",\"ipam\":{}}},"
        "\"services\":{\"a\":{\"cpus\":0.1,\"command\":null,\"entrypoint\":null,"
        "\"image\":\"\\u003cx\\u003e\\u0026\\u2028\\t$$\",\"networks\":{\"default\":null}}},"
        "\"x-n\":{\"e\":null,\"f\":1e-7,\"g\":123456789.5,\"h\":1e+21,\"s\":\"\\u0001\"}}");
    project_free(p);
    p = load("services: {a: {image: x}}\nx-n: .inf\n");
    assert_int_equal(encode_json(p->document, 0, &out, NULL), -1);
    project_free(p);
}

static void test_yaml_reads_back_as_it_was(void **state)
{
    (void)state;
    struct project *p = load(everything);
    struct strbuf once AUTOBUF = STRBUF_INIT, twice AUTOBUF = STRBUF_INIT;
    encode_yaml(p->document, 0, &once);
    struct project *q = load(once.buf);
    encode_yaml(q->document, 0, &twice);
    assert_string_equal(once.buf, twice.buf);
    project_free(q);
    project_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_become_structs),
        cmocka_unit_test(test_json_there_and_back),
        cmocka_unit_test(test_damaged_json_is_refused),
        cmocka_unit_test(test_hash_changes_with_what_matters),
        cmocka_unit_test(test_hash_is_the_references),
        cmocka_unit_test(test_order_of_start),
        cmocka_unit_test(test_cycles_name_the_way),
        cmocka_unit_test(test_json_is_printed_as_go_prints_it),
        cmocka_unit_test(test_yaml_reads_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
