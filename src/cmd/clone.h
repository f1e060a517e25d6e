/* clone.h - what the verbs of hyper2kvm clone share: each is a command of its own, `clone create`
 * and so on, with the operands after that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "cmd/cmd.h"

/* What --state-dir, which every verb has, and --json were given; NULL: the user's own store. */
extern char *clone_state_dir;
extern gboolean clone_json;
/* The first of them, for a verb whose table of options is its own. */
#define CLONE_STATE_DIR                                                                            \
  {                                                                                                \
    "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &clone_state_dir,                                    \
        "where the clones lie (default: ~/.local/share/hyper2kvm, as root /var/lib/hyper2kvm)",    \
        "DIR"                                                                                      \
  }
/* For verbs that have no option but --json. */
extern const GOptionEntry clone_json_entries[];

/* Parse the options ENTRIES (may be NULL) and --state-dir; LEAST to MOST operands have to be there,
 * from (*ARGV)[1] on. -1 to go on, or the exit code. */
int clone_parse (int *argc, char ***argv, const char *operands, const char *summary,
                 const GOptionEntry *entries, int least, int most);
/* The second half of it, after a cmd_parse() that returned CODE. */
int clone_count (int code, int argc, char **argv, int least, int most);
/* Print TEXT, which is freed; NULL: print ERROR, which TEXT's maker may have set just now. The exit
 * code. */
int clone_answer (char *text, GError *const *error);
/* The same of something that says nothing when it is done. */
int clone_done (gboolean ok, GError *const *error);

/* What --timeout and --force of those that stop a VM were given. */
typedef struct
{
  int timeout; /* seconds */
  gboolean force;
} CloneStop;

#define CLONE_STOP_DEFAULT                                                                         \
  {                                                                                                \
    .timeout = 120                                                                                 \
  }
#define CLONE_STOP_ENTRIES(STOP)                                                                   \
  {"timeout",                                                                                      \
   0,                                                                                              \
   0,                                                                                              \
   G_OPTION_ARG_INT,                                                                               \
   &(STOP).timeout,                                                                                \
   "seconds that the guest has for shutting down (default: 120)",                                  \
   "S"},                                                                                           \
  {                                                                                                \
    "force", 0, 0, G_OPTION_ARG_NONE, &(STOP).force, "end a VM that does not shut down", NULL      \
  }

/* TEXT, a number with K, M, G, T, P, E or no unit behind it, as bytes, at least 1. */
gboolean clone_parse_size (const char *text, guint64 *size);
/* Watch the clone NAME, which runs or does so soon, for as long as it runs; ON_TERMINAL: what is
 * found is also said on standard error. */
void clone_watch_in_background (const char *name, gboolean on_terminal);

int cmd_clone_create (int argc, char **argv);
int cmd_clone_list (int argc, char **argv);
int cmd_clone_show (int argc, char **argv);
int cmd_clone_tree (int argc, char **argv);
int cmd_clone_verify (int argc, char **argv);
int cmd_clone_run (int argc, char **argv);
int cmd_clone_serve (int argc, char **argv);
int cmd_clone_snapshot (int argc, char **argv);
int cmd_clone_reset (int argc, char **argv);
int cmd_clone_commit (int argc, char **argv);
int cmd_clone_merge (int argc, char **argv);
int cmd_clone_flatten (int argc, char **argv);
int cmd_clone_export (int argc, char **argv);
int cmd_clone_diff (int argc, char **argv);
int cmd_clone_rebase (int argc, char **argv);
int cmd_clone_delete (int argc, char **argv);
int cmd_clone_define (int argc, char **argv);
int cmd_clone_undefine (int argc, char **argv);
int cmd_clone_start (int argc, char **argv);
int cmd_clone_console (int argc, char **argv);
int cmd_clone_stop (int argc, char **argv);
int cmd_clone_resume (int argc, char **argv);
int cmd_clone_limit (int argc, char **argv);
int cmd_clone_watch (int argc, char **argv);
