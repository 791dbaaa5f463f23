/* The control protocol: JSON lines over RUN/projects/P/control.sock (mode 0600), version 1.
 *
 * A client sends one request object on one line; the supervisor answers with event objects, one a
 * line, and closes after "done" or "error" (unless the request says attach). What a supervisor does
 * not know it refuses with "error": an older "v", an unknown "op", a member of the wrong type.
 *
 * "v" is the version of this protocol, "compose" that of the client's program; both stand in every request, of
 * whatever version. A supervisor that is older in either ends when its operations are over, leaving
 * everything as it runs, and answers "handover": the client starts one of its own version.
 *
 * Requests: {"v":1, "compose":"0.1.0", "op":OP, ...members}. "services": [] or missing means all. Requests with a project
 * (model/decode.h, project_to_json) also carry "environment": {NAME: VALUE} for the variables that
 * its secrets and configs come from. Times are in seconds.
 *   ping                             -> done {"version","pid"}
 *   turns                            -> done and the members of engine/turns.h
 *   up       project, services, options: no_deps force_recreate no_recreate always_recreate_deps
 *            no_start remove_orphans ignore_orphans renew_anon_volumes wait attach (after
 *            "up" the connection stays and carries "container" events) (bools), wait_timeout,
 *            timeout, scale {service: n}, renew_volumes [names that may be made anew],
 *            wait_for [services: no others are waited for]
 *   create   as up with no_start
 *   down     project (optional), services, options: volumes remove_orphans (bools), timeout
 *   start, stop, restart, kill, rm, pause, unpause also have a project (optional): without services those of it are
 *            meant
 *   start    services                  stop     services, options: timeout come_back (bool: nobody
 *            wanted the stop but the machine, which goes down with all that runs: "restore" starts them again)
 *   restore  starts what its restart policy wants to run, after a reboot
 *   restart  services, options: timeout
 *   kill     services, options: signal remove_orphans (bool: orphans too)
 *   rm       services, options: stop volumes (bools)
 *   pause, unpause   services
 *   run      project, service, options: name command[] entrypoint[] environment["K=V"] labels{}
 *            user working_dir volumes[] publish[] (long forms, as in a normalized document)
 *            service_ports use_aliases remove tty stdin_open detach (bools) cap_add[] cap_drop[];
 *            id (64 hex digits, the client's choice: asked again it means the same container) and created (bool: it
 *            has been told of; one that is gone is not made again).
 *            The client has brought the dependencies up before. -> "created" {"id","name"}, then
 *            "up" once it runs, or "error" with exit 126 or 127 where a shell gives those. The
 *            client attaches to the monitor itself (runtime/monitor.h, "attach ... logs"), for which
 *            the output waits unless detach, and sees "container" die on this connection.
 *   events   options: since until (ns since the epoch)
 *            -> "following", then "container" events until the client goes: with since those kept from then on
 *            come first (engine/history.h), without labels; an until that is over already: "done" behind them
 *   Whoever asks again because a supervisor died on the way adds the option since: when it was first asked for (ns since
 *            the epoch). What that one did already is not done twice; with attach, and of "run", first come the
 *            "container" events from then on, and "following".
 *   exec     options: name (a container's ID) exec_id (64 hex digits), and exec (the command line): a client
 *            runs it there, or exit_code: it has ended. -> nothing: only "container" events come of it
 *
 * Closing the connection before "up" or "done" cancels the operation: what was begun on a container
 * is finished, nothing further is begun.
 *
 * Events:
 *   {"event":"progress","kind":"Container|Network|Volume|Image","name":N,"text":T,"state":S[,"detail":D]
 *   [,"reasons":[{["path":[key or index, ...]][,"old":V][,"new":V][,"text":T]}, ...]]}
 *       reasons: why something is replaced, field by field (model/changes.h)
 *       T as docker compose shows it: Creating Created Starting Started Running Recreate Recreated
 *       Waiting Healthy Exited Stopping Stopped Removing Removed Killing Killed Pausing Paused
 *       Unpausing Unpaused Restarting Started "Skipped", Error; S: working | done | warning | error
 *   {"event":"warning","message":M[,"id":I]}   id: where "container" goes, of one that should be gone and cannot be removed
 *   {"event":"waiting","message":M}     another operation holds the project; this one follows
 *   {"event":"up"}                      attach: everything is started
 *   {"event":"container","action":A,"time":ns,"id":I,"name":N,"service":S,"number":n,"image":R
 *        [,"oneoff":bool,"exit_code":c,"health":h,"signal":s,"restarting":bool,"oom":bool,"labels":{}]}
 *       A: create start die stop kill restart oom health_status pause unpause destroy, exec_create exec_start
 *       exec_die, with "exec_id" and "exec": the command line
 *   {"event":"hook","id":I,"name":N,"service":S,"text":T}   a line of a hook, where "container" goes
 *   {"event":"idle"}                    attach: no container of the operation runs any more
 *   {"event":"created","id":I,"name":N}
 *   {"event":"done"[,"exit":c]}
 *   {"event":"handover"}                a newer client finds no supervisor any more: it starts one
 *   {"event":"error","message":M,"exit":c[,"path":[key or index, ...]]}
 *       path: what of the project is at fault. M may have several lines: the cause (last probe output, log tail, exit code) below the
 * first */
#ifndef ENGINE_PROTOCOL_H
#define ENGINE_PROTOCOL_H

enum { PROTOCOL_LINE_MAX = 64 << 20 };

#endif
