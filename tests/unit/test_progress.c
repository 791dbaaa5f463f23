/* Progress as it reaches a terminal, a pipe and a program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/progress.h"
#include "cli/reasons.h"

/* What a mode wrote for the usual life of a network and two containers. */
static char *shown(enum progress_mode mode, bool dry_run, bool color, unsigned short cols)
{
    int master = -1, slave = -1;
    struct winsize ws = {.ws_row = 24, .ws_col = cols};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &ws), 0);
    struct cli cli = {
        .progress = mode, .progress_fd = slave, .dry_run = dry_run, .color_err = color};
    struct progress p;
    progress_init(&p, &cli, "Running");
    const struct progress_event events[] = {
        {.id = "Network p_default", .status = "Created", .state = PROGRESS_DONE},
        {.id = "Container p-db-1", .status = "Starting"},
        {.id = "Container p-db-1", .status = "Starting"},
        {.id = "Container p-longer-1",
         .status = "Error a rather long sentence that does not fit",
         .state = PROGRESS_ERROR},
    };
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        progress_event(&p, &events[i]);
    progress_flush(&p);
    progress_release(&p);
    close(slave);
    fcntl(master, F_SETFL, O_NONBLOCK);
    struct strbuf out = STRBUF_INIT;
    char buf[4096];
    ssize_t n;
    while ((n = read(master, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != '\r')
                strbuf_addch(&out, buf[i]);
        }
    }
    close(master);
    return strbuf_detach(&out);
}

/* A layer that moves: its bar at the first chance, again only after a while, and none at the end. */
static void test_transfer(void **state)
{
    (void)state;
    struct progress_item item = {
        .text = "Downloading", .status = "", .current = 2150000, .total = 4970000};
    char *wide AUTOFREE = progress_bar(&item, 50), *none AUTOFREE = progress_bar(&item, 0);
    assert_string_equal(wide,
                        "[=====================>                             ]   2.15MB/4.97MB");
    assert_string_equal(none, "2.15MB/4.97MB");
    item.current = item.total * 2; /* what a registry says of itself need not be true */
    char *beyond AUTOFREE = progress_bar(&item, 10);
    assert_string_equal(beyond, "[==========>]   9.94MB/4.97MB");
    item.state = PROGRESS_DONE;
    char *done AUTOFREE = progress_bar(&item, 50);
    assert_string_equal(done, "");
}

static void test_plain(void **state)
{
    (void)state;
    char *got AUTOFREE = shown(PROGRESS_PLAIN, false, false, 80);
    assert_string_equal(got,
                        " Network p_default  Created\n Container p-db-1  Starting\n"
                        " Container p-longer-1  Error a rather long sentence that does not fit\n");
    char *dry AUTOFREE = shown(PROGRESS_PLAIN, true, false, 80);
    assert_non_null(strstr(dry, " DRY-RUN MODE -  Network p_default  Created\n"));
}

static void test_json(void **state)
{
    (void)state;
    char *got AUTOFREE = shown(PROGRESS_JSON, false, false, 80);
    assert_non_null(strstr(got, "{\"id\":\"Network p_default\",\"status\":\"Created\"}\n"));
    char *dry AUTOFREE = shown(PROGRESS_JSON, true, false, 80);
    assert_non_null(strstr(dry, "{\"dry-run\":true,\"id\":\"Network p_default\""));
}

static void test_quiet(void **state)
{
    (void)state;
    char *got AUTOFREE = shown(PROGRESS_QUIET, false, false, 80);
    assert_string_equal(got, "");
}

static void test_terminal(void **state)
{
    (void)state;
    char *got AUTOFREE = shown(PROGRESS_TTY, false, false, 60);
    assert_non_null(strstr(got, "[+] Running 2/3"));
    assert_non_null(strstr(got, " ✔ Network p_default     Created "));
    assert_non_null(strstr(got, " ⠋ Container p-db-1      Starting "));
    assert_non_null(strstr(got, " ✘ Container p-longer-1  Error a rather long"));
    assert_non_null(strstr(got, "..."));
    assert_null(strstr(got, "\033[32m"));
    char *color AUTOFREE = shown(PROGRESS_TTY, false, true, 60);
    assert_non_null(strstr(color, "\033[32m✔\033[0m"));
    /* Too narrow for anything: still no crash, no line longer than the terminal by more than words. */
    char *narrow AUTOFREE = shown(PROGRESS_TTY, false, false, 12);
    assert_non_null(strstr(narrow, "[+] Running"));
}

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_reasons(void **state)
{
    static const struct {
        const char *reason, *line;
    } cases[] = {
        {"{\"path\":[\"services\",\"x\",\"environment\",\"A\"],\"old\":\"1\",\"new\":\"2\"}",
         "environment.A: \"1\" -> \"2\""},
        {"{\"path\":[\"services\",\"x\",\"ports\",1,\"target\"],\"new\":80}",
         "ports[1].target: (none) -> 80"},
        {"{\"path\":[\"networks\",\"n\",\"name\"],\"old\":\"a\"}",
         "networks.n.name: \"a\" -> (none)"},
        {"{\"path\":[\"services\",\"x\",\"environment\",\"MY_TOKEN\"],\"old\":\"1\",\"new\":\"2\"}",
         "environment.MY_TOKEN: *** -> ***"},
        {"{\"text\":\"--force-recreate\"}", "--force-recreate"},
        {"{\"path\":[\"services\",\"x\",\"image\"],\"old\":\"sha256:" DIGITS "\","
         "\"new\":\"sha256:" DIGITS "\"}",
         "image: 0123456789ab -> 0123456789ab"},
        {"{\"path\":[\"a\"],\"new\":\"" DIGITS "\"}",
         "a: (none) -> \"0123456789abcdef0123456789abcdef0123456789abcdef0123456...\""},
        {"{\"path\":[\"a\"],\"new\":\"\\\"\\\"" DIGITS "\"}",
         "a: (none) -> \"\\\"\\\"0123456789abcdef0123456789abcdef0123456789abcdef012...\""},
        {"{\"path\":[\"a\"],\"new\":[\"sh\",\"-c\",\"" DIGITS "\"]}",
         "a: (none) -> [\"sh\", \"-c\", ...]"},
        {"{\"path\":[\"a\"],\"new\":[\"" DIGITS "\",\"b\"]}",
         "a: (none) -> [\"0123456789abcdef0123456789abcdef0123456789abcd...\", ...]"},
        {"{\"path\":[\"a\",1],\"new\":{\"b\":80,\"c\":\"" DIGITS "\"}}",
         "a[1]: (none) -> {\"b\": 80, ...}"},
        {"{\"path\":[\"a\",1],\"new\":{\"b\":[\"" DIGITS "\"]}}",
         "a[1]: (none) -> {\"b\": [\"0123456789abcdef0123456789abcdef...\"]}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *list AUTOJSON = json_array();
        json_array_append_new(list, json_loads(cases[i].reason, 0, NULL));
        json_t *resolved AUTOJSON = reasons_resolve(list, NULL);
        char *line AUTOFREE = reason_line(json_array_get(resolved, 0));
        assert_string_equal(line, cases[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_json),     cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
