/* The control socket: clients, their requests, and events to them (engine/protocol.h). */
#ifndef ENGINE_SERVER_H
#define ENGINE_SERVER_H

#include "engine/engine.h"

struct server;
struct client;

/* Takes listen_fd. */
struct server *server_new(struct engine *e, int take_listen_fd);
/* Stops listening and closes all clients; freed when that is done. */
void server_close(struct server *s);
/* Every request is answered with this error from now on. */
void server_refuse(struct server *s, const char *message);
/* Tells the clients that wait for it that they may start a supervisor of their own. */
void server_hand_over(struct server *s);
bool server_has_clients(const struct server *s);
/* Somebody has connected, or is about to, and has not yet said what for. */
bool server_awaits_request(const struct server *s);

/* Queues one event line; a client that does not read is dropped when 64 MiB wait for it. */
void client_send(struct client *c, const json_t *event);
/* Its operation is over. keep: it goes on to receive container events; else it is closed when all
 * is sent. */
void client_finish(struct client *c, bool keep);
/* Sends to every client that follows events. */
void server_broadcast(struct server *s, const json_t *event);

#endif
