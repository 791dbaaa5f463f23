#include "cli/menu.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "cli/terminal.h"

#define KEY   "\033[1m\033[38;2;0;0;0m\033[48;2;255;255;255m"
#define WORDS "\033[0;2m"
#define PLAIN "\033[0m"

enum { LEAST_ROWS = 4 };

struct menu {
    struct cli *cli;
    struct menu_handler handler;
    uv_poll_t keys;
    uv_signal_t resized;
    bool watching;
    int rows; /* of the terminal when the region was set; 0: it is too small */
    int open_handles;
};

bool menu_wanted(const struct cli *cli, const struct args *args)
{
    const char *env = getenv("COMPOSE_MENU");
    bool wanted = args_given(args, "menu") ? args_bool(args, "menu")
                                           : !env || !*env || env_true("COMPOSE_MENU");
    return wanted && isatty(STDIN_FILENO) && terminal_capable(STDOUT_FILENO) &&
           cli->progress != PROGRESS_JSON && cli->progress != PROGRESS_QUIET &&
           tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void add_item(const struct menu *m, struct strbuf *out, char key, const char *words)
{
    if (m->cli->color_out)
        strbuf_addf(out, KEY "%c" WORDS " %s" PLAIN "   ", key, words);
    else
        strbuf_addf(out, "%c %s   ", key, words);
}

/* Cursor saved, last row written, cursor back: DECSC and DECRC. */
static void add_line(const struct menu *m, struct strbuf *out)
{
    if (!m->rows)
        return;
    strbuf_addf(out, "\0337\033[%d;1H\033[2K", m->rows);
    add_item(m, out, 'w', m->watching ? "Disable Watch" : "Enable Watch");
    add_item(m, out, 'd', "Detach");
    strbuf_addstr(out, "\0338");
}

static void put(const struct strbuf *out)
{
    fd_write_all(STDOUT_FILENO, out->buf, out->len);
}

/* DECSTBM sends the cursor home. */
static void add_withdrawal(const struct menu *m, struct strbuf *out)
{
    strbuf_addf(out, "\0337\033[r\033[%d;1H\033[2K\0338", m->rows);
}

/* The newline scrolls what stands in the last row up. */
static void lay_out(struct menu *m)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    int rows = 0, cols;
    if (!terminal_size(STDOUT_FILENO, &rows, &cols) || rows < LEAST_ROWS)
        rows = 0;
    m->rows = rows;
    if (rows) {
        struct strbuf last AUTOBUF = STRBUF_INIT;
        add_withdrawal(m, &last);
        terminal_last_words(last.buf);
        strbuf_addf(&out, "\n\033[A\0337\033[1;%dr\0338", rows - 1);
    }
    add_line(m, &out);
    put(&out);
}

static void withdraw(struct menu *m)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (!m->rows)
        return;
    add_withdrawal(m, &out);
    put(&out);
    terminal_last_words("");
    m->rows = 0;
}

static void on_resized(uv_signal_t *s, int signum)
{
    struct menu *m = s->data;
    (void)signum;
    withdraw(m);
    lay_out(m);
}

static void on_key(uv_poll_t *poll, int status, int events)
{
    struct menu *m = poll->data;
    char typed[64];
    (void)events;
    ssize_t n = status < 0 ? 0 : read(STDIN_FILENO, typed, sizeof(typed));
    if (n <= 0) {
        uv_poll_stop(poll);
        return;
    }
    /* The last one counts: the handler may close the menu. */
    char key = (char)(typed[n - 1] | 0x20);
    if (n && (key == 'w' || key == 'd'))
        m->handler.key(m->handler.ctx, key);
}

struct menu *menu_open(struct cli *cli, uv_loop_t *loop, const struct menu_handler *handler)
{
    if (!terminal_keys())
        return NULL;
    struct menu *m = xcalloc(1, sizeof(*m));
    m->cli = cli;
    m->handler = *handler;
    if (uv_poll_init(loop, &m->keys, STDIN_FILENO) < 0) {
        terminal_restore();
        free(m);
        return NULL;
    }
    uv_signal_init(loop, &m->resized);
    m->keys.data = m->resized.data = m;
    m->open_handles = 2;
    uv_poll_start(&m->keys, UV_READABLE, on_key);
    uv_signal_start(&m->resized, on_resized, SIGWINCH);
    uv_unref((uv_handle_t *)&m->keys);
    uv_unref((uv_handle_t *)&m->resized);
    lay_out(m);
    return m;
}

void menu_set_watching(struct menu *m, bool watching)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (!m)
        return;
    m->watching = watching;
    add_line(m, &out);
    put(&out);
}

static void on_closed(uv_handle_t *h)
{
    struct menu *m = h->data;
    if (--m->open_handles == 0)
        free(m);
}

void menu_close(struct menu *m)
{
    if (!m)
        return;
    withdraw(m);
    terminal_restore();
    uv_close((uv_handle_t *)&m->keys, on_closed);
    uv_close((uv_handle_t *)&m->resized, on_closed);
}
