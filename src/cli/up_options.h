/* What up and create (and run and scale, in part) ask of the supervisor: from options to request. */
#ifndef CLI_UP_OPTIONS_H
#define CLI_UP_OPTIONS_H

#include "cli/cli.h"

/* "SERVICE=NUM" each; adds "scale" to the request. wording: "--scale option" or "scale specifier". */
int scale_parse(const struct project *p, const char *const *items, json_t **scale, struct err *err);

/* Loads the project for a command that names services: those named are part of it whatever their
 * profiles. */
int load_for_services(struct cli *cli, const char *const *services, struct project **out,
                      struct err *err);

/* COMPOSE_REMOVE_ORPHANS and COMPOSE_IGNORE_ORPHANS. */
void request_orphans(json_t *request, const struct args *args);

/* Asks about each volume of the selected services whose definition changed whether it shall be made anew
 * (yes: all are), and says so in the request. */
void request_renewals(struct cli *cli, json_t *request, const struct project *p,
                      const bool *selected, bool yes);

#endif
