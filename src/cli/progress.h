/* What the user sees while something is done: one item a container, network, volume or image.
 *
 * tty: a block that is redrawn in place; plain: a line an event; json: an object an event; quiet.
 * Belongs to one thread (the loop's). */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/json.h"
#include "base/map.h"
#include "base/strbuf.h"
#include "cli/cli.h"

enum progress_state { PROGRESS_WORKING, PROGRESS_DONE, PROGRESS_WARNING, PROGRESS_ERROR };

/* The reference's two texts: "web Pulling" has a text, "Container p-web-1  Created" a status. */
struct progress_event {
    const char *id;            /* "Container p-web-1" */
    const char *parent;        /* id of the item that this one belongs to, NULL: none */
    const char *text, *status; /* NULL: "" */
    enum progress_state state;
    int64_t current, total; /* bytes; total 0: no bar */
    json_t *reasons;        /* why, as of reasons_resolve(); borrowed, NULL: none */
};

struct progress_item {
    char *id, *parent, *text, *status;
    enum progress_state state;
    int64_t current, total;
    int64_t begin, end;    /* monotonic ns; end 0: not yet */
    int64_t since;         /* when it took up what its text says */
    int64_t told, told_at; /* bytes that view->event knows, since when */
    json_t *reasons;       /* of the last event that had some; NULL: none */
    bool fresh_reasons;    /* the event that is being shown brought them */
};

struct progress;

/* How a mode shows events; functions may be NULL. */
struct progress_view {
    void (*event)(struct progress *p, const struct progress_item *item);
    /* Events that tell nothing but a larger number come after so many ns or such a part of the whole. */
    int64_t interval;
    int parts;
    void (*draw)(struct progress *p);
    /* Makes room for a line that is written by somebody else. */
    void (*clear)(struct progress *p);
};

extern const struct progress_view progress_tty, progress_plain, progress_json;

struct progress {
    const struct progress_view *view;
    int fd;
    bool color, dry_run;
    char *title;                   /* "Running" */
    const struct project *project; /* whose places reasons name; NULL: none */
    struct map items;              /* id -> struct progress_item *, in order of appearance */
    size_t done;
    int lines; /* drawn by the last draw */
    bool dirty;
    unsigned frame;
};

/* title: what the first line says: "[+] Running 1/3". */
void progress_init(struct progress *p, const struct cli *cli, const char *title);
void progress_event(struct progress *p, const struct progress_event *e);
/* "[=====>    ]  12MB/98MB" of an item that moves bytes, in Docker's form of 50 cells or narrower
 * (0: only the numbers); "" of any other. heap */
char *progress_bar(const struct progress_item *item, int cells);
/* Redraws; call it about ten times a second while something works. */
void progress_tick(struct progress *p);
/* A line of text beside the items (a builder's output), on the progress stream. */
void progress_line(struct progress *p, const char *line);
/* The last draw. What comes after it is a new block. */
void progress_flush(struct progress *p);
void progress_release(struct progress *p);

/* Ticks by itself on a loop, as long as this lives. */
struct progress_ticker {
    uv_timer_t timer;
    struct progress *progress;
};
void progress_ticker_start(struct progress_ticker *t, uv_loop_t *loop, struct progress *p);
void progress_ticker_stop(struct progress_ticker *t);

#endif
