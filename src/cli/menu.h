/* The line below an attached `up` on a terminal: what the keys do. The rows above it are a scrolling
 * region, so that whoever writes need not know of it. */
#ifndef CLI_MENU_H
#define CLI_MENU_H

#include <uv.h>

#include "cli/cli.h"

struct menu;

struct menu_handler {
    void (*key)(void *ctx, char key); /* 'w' or 'd' */
    void *ctx;
};

/* Is there a terminal for it, and is it wanted: --menu, else COMPOSE_MENU, else yes? */
bool menu_wanted(const struct cli *cli, const struct args *args);

/* NULL where the terminal cannot be had. */
struct menu *menu_open(struct cli *cli, uv_loop_t *loop, const struct menu_handler *handler);
void menu_set_watching(struct menu *m, bool watching);
/* Gives the terminal back; m is freed when the loop has run. NULL is fine. */
void menu_close(struct menu *m);

#endif
