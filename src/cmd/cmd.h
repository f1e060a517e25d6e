/* cmd.h - what the subcommands share: one file a subcommand, options in, exit code out.
 *
 * The command line uses nothing but hyper2kvm.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "cmd/exit-codes.h"
#include "hyper2kvm.h"

typedef struct
{
  const char *name;
  const char *summary; /* one line, for hyper2kvm --help */
  /* ARGV[0] is the command's name. Returns the exit code. */
  int (*run) (int argc, char **argv);
} Command;

int cmd_local (int argc, char **argv);
int cmd_inspect (int argc, char **argv);
int cmd_boot_test (int argc, char **argv);
int cmd_convert (int argc, char **argv);
int cmd_info (int argc, char **argv);
int cmd_check (int argc, char **argv);
int cmd_compare (int argc, char **argv);
int cmd_ls (int argc, char **argv);
int cmd_cat (int argc, char **argv);
int cmd_get (int argc, char **argv);
int cmd_put (int argc, char **argv);
int cmd_tree (int argc, char **argv);
int cmd_nbd_serve (int argc, char **argv);
int cmd_discover (int argc, char **argv);
int cmd_clone (int argc, char **argv);

/* Parse ARGV with ENTRIES, MORE_ENTRIES (may be NULL) and the options that every command has; what
 * is left of ARGV are the operands. DATA goes to callbacks. Returns -1 to go on, or the exit code
 * (a mistake). */
int cmd_parse (int *argc, char ***argv, const char *operands, const char *summary,
               const GOptionEntry *entries, const GOptionEntry *more_entries, gpointer data);
/* An option's TEXT takes the place of the default in *FIELD; NULL leaves that. Taken over: GOption
 * would not free the default. */
void cmd_take_text (char **field, char *text);

/* GOption's callback for --backend, and what it was given. */
gboolean cmd_parse_backend (const char *name, const char *value, gpointer data, GError **error);
H2kBackend cmd_backend (void);
/* The same for --bus. */
gboolean cmd_parse_bus (const char *name, const char *value, gpointer data, GError **error);
H2kBus cmd_bus (void);
/* What the repair of a guest that is a Windows can be given, and --bus; and what these options were
 * given, which becomes the caller's: SCRIPTS gets char *. */
extern const GOptionEntry cmd_windows_entries[];
void cmd_take_windows (char **drivers, char **config, char **agent, GPtrArray *scripts,
                       gboolean *force);
/* The same for --compress[=zlib|zstd]: zlib for --compress alone. */
gboolean cmd_parse_compress (const char *name, const char *value, gpointer data, GError **error);
H2kCompression cmd_compression (void);
/* The same for --bwlimit, in bytes a second, and for --io-priority, which acts at once. */
gboolean cmd_parse_bwlimit (const char *name, const char *value, gpointer data, GError **error);
guint64 cmd_rate_limit (void);
gboolean cmd_parse_io_priority (const char *name, const char *value, gpointer data, GError **error);
/* The options that may stand before and after the command. */
void cmd_add_common_options (GOptionContext *context);
/* Act on them. -1, or the exit code. */
int cmd_use_common_options (void);

/* Of the commands for a guest's files: the options that all of them have, the guest's disks, and
 * the guest. ARGV's operands are the disk (unless --add names disks) and LEAST or more others, of
 * which the first one is at ARGV[*FIRST]. -1 is returned, or the exit code; of cmd_open_disks()
 * with *FILES set or not. */
extern const GOptionEntry cmd_guest_entries[];
int cmd_find_disks (int argc, char **argv, int least, int *first, GPtrArray *paths);
int cmd_open_disks (GPtrArray *paths, H2kFiles **files);
/* Both. */
int cmd_open_guest (int argc, char **argv, int least, int *first, H2kFiles **files);
/* The folders that a walk through a guest is in, the innermost one first. */
typedef struct CmdFolder
{
  const struct CmdFolder *outer;
  const H2kFileInfo *info;
} CmdFolder;
/* Whether a walk may go into INFO, a folder in OUTER (NULL: the first one): it is none of those
 * that it lies in, as only a corrupt filesystem has it, not too deep, and nobody has cancelled. */
gboolean cmd_may_enter (const CmdFolder *outer, const H2kFileInfo *info, GError **error);
/* One entry as "ls -l" has it: mode, links, owner, size, time. The caller's. */
char *cmd_file_line (const H2kFileInfo *info);
/* A guest's name for standard output: as it is for programs, without what a terminal would obey for
 * people. The caller's. */
char *cmd_shown_name (const char *name);

/* Print ERROR on standard error and return its exit code; after a signal that signal's. */
int cmd_fail (const GError *error);
/* Flush standard output. Returns CODE, or the exit code of what went wrong there, which is printed
 * unless it is that nobody reads any more. */
int cmd_end_output (int code);
int cmd_usage (const char *command, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Cancelled by SIGINT, SIGTERM and SIGHUP; a second signal kills. */
GCancellable *cmd_cancellable (void);
/* The signal that came, or 0. */
int cmd_signal (void);

/* Pass to the library as H2kProgressFunc: a bar on a terminal, a line each 10 % elsewhere, JSON
 * events with --progress=json. */
void cmd_progress (const char *phase, guint64 done, guint64 total, gpointer data);
void cmd_progress_finish (void);
/* auto, bar, plain, json or none. FALSE for another word. */
gboolean cmd_progress_set_mode (const char *mode);
gboolean cmd_progress_is_json (void);
/* Take the bar off the terminal, so that something else can be printed. */
void cmd_progress_clear (void);

/* error, warning, message, info or debug. FALSE for another word. */
gboolean cmd_log_set_level (const char *level);
gboolean cmd_log_open_file (const char *path, GError **error);
/* Send GLib's log here. */
void cmd_log_start (void);
/* One line on standard error, safe for terminals; a JSON event with --progress=json. */
void cmd_log_line (const char *level, const char *message);
