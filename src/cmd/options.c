/* options.c - options that every command has, and how errors end the program.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *log_level, *log_path, *progress_mode;
static gboolean quiet, verbose;
static H2kCompression compression;
static guint64 rate_limit;
static H2kBackend backend;
static H2kBus bus;
static char *virtio_win, *virtio_config, *guest_agent;
static GStrv first_boot;
static gboolean force_dirty;

static const GOptionEntry common[] = {
    {"log-level", 0, 0, G_OPTION_ARG_STRING, &log_level,
     "error, warning, message (default), info or debug", "LEVEL"},
    {"log-file", 0, 0, G_OPTION_ARG_FILENAME, &log_path,
     "append every message, of all levels, to FILE", "FILE"},
    {"progress", 0, 0, G_OPTION_ARG_STRING, &progress_mode,
     "auto (default), bar, plain, json or none", "MODE"},
    {"verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose, "the same as --log-level=info", NULL},
    {"quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "only errors, no progress", NULL},
    {NULL},
};

const GOptionEntry cmd_windows_entries[] = {
    {"bus", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_bus,
     "of the VM's disks: virtio-blk (default), virtio-scsi, sata or ide", "BUS"},
    {"virtio-win-iso", 0, 0, G_OPTION_ARG_FILENAME, &virtio_win,
     "Windows: VirtIO drivers, an ISO or a folder (default: those installed here)", "FILE"},
    {"virtio-config", 0, 0, G_OPTION_ARG_FILENAME, &virtio_config,
     "Windows: which drivers are for which release (default: built in)", "FILE"},
    {"qga", 0, 0, G_OPTION_ARG_FILENAME, &guest_agent,
     "Windows: MSI of the QEMU guest agent (default: the drivers')", "FILE"},
    {"firstboot", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &first_boot,
     "Windows: run this script or program at the first boot; may be repeated", "FILE"},
    {"force-dirty", 0, 0, G_OPTION_ARG_NONE, &force_dirty,
     "Windows: change an NTFS that was not unmounted; what its log holds is lost", NULL},
    {NULL},
};

void
cmd_take_windows (char **drivers, char **config, char **agent, GPtrArray *scripts, gboolean *force)
{
  *drivers = g_steal_pointer (&virtio_win);
  *config = g_steal_pointer (&virtio_config);
  *agent = g_steal_pointer (&guest_agent);
  for (guint i = 0; first_boot && first_boot[i]; i++)
    g_ptr_array_add (scripts, g_strdup (first_boot[i]));
  g_clear_pointer (&first_boot, g_strfreev);
  *force = force_dirty;
}

void
cmd_add_common_options (GOptionContext *context)
{
  g_option_context_add_main_entries (context, common, NULL);
}

int
cmd_use_common_options (void)
{
  g_autoptr (GError) error = NULL;

  if (verbose)
    cmd_log_set_level ("info");
  if (quiet)
    {
      cmd_log_set_level ("error");
      cmd_progress_set_mode ("none");
    }
  if (log_level && !cmd_log_set_level (log_level))
    return cmd_usage (NULL, "--log-level=%s: choose error, warning, message, info or debug",
                      log_level);
  if (progress_mode && !cmd_progress_set_mode (progress_mode))
    return cmd_usage (NULL, "--progress=%s: choose auto, bar, plain, json or none", progress_mode);
  if (log_path && !cmd_log_open_file (log_path, &error))
    return cmd_fail (error);
  g_clear_pointer (&log_path, g_free);
  return -1;
}

gboolean
cmd_parse_bus (const char *name, const char *value, gpointer data, GError **error)
{
  static const char *const words[] = {[H2K_BUS_VIRTIO_BLK] = "virtio-blk",
                                      [H2K_BUS_VIRTIO_SCSI] = "virtio-scsi",
                                      [H2K_BUS_SATA] = "sata",
                                      [H2K_BUS_IDE] = "ide"};

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (g_str_equal (value, words[i]))
      {
        bus = (H2kBus)i;
        return TRUE;
      }
  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
               "%s=%s: choose virtio-blk, virtio-scsi, sata or ide", name, value);
  return FALSE;
}

H2kBus
cmd_bus (void)
{
  return bus;
}

void
cmd_take_text (char **field, char *text)
{
  if (!text)
    return;
  g_free (*field);
  *field = text;
}

gboolean
cmd_parse_backend (const char *name, const char *value, gpointer data, GError **error)
{
  static const char *const words[] = {[H2K_BACKEND_AUTO] = "auto",
                                      [H2K_BACKEND_NATIVE] = "native",
                                      [H2K_BACKEND_GUESTFS] = "guestfs"};

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (g_str_equal (value, words[i]))
      {
        backend = (H2kBackend)i;
        return TRUE;
      }
  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
               "%s=%s: choose auto, native or guestfs", name, value);
  return FALSE;
}

H2kBackend
cmd_backend (void)
{
  return backend;
}

gboolean
cmd_parse_compress (const char *name, const char *value, gpointer data, GError **error)
{
  if (!value || g_str_equal (value, "zlib"))
    compression = H2K_COMPRESS_ZLIB;
  else if (g_str_equal (value, "zstd"))
    compression = H2K_COMPRESS_ZSTD;
  else
    {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s=%s: choose zlib or zstd",
                   name, value);
      return FALSE;
    }
  return TRUE;
}

H2kCompression
cmd_compression (void)
{
  return compression;
}

/* As rsync's: a number, by default of KiB, with K, M, G or T behind it for others. */
gboolean
cmd_parse_bwlimit (const char *name, const char *value, gpointer data, GError **error)
{
  static const char units[] = "BKMGT";
  char *end;
  double n = g_ascii_strtod (value, &end);
  const char *unit = *end ? strchr (units, g_ascii_toupper (*end)) : units + 1;

  if (!g_ascii_isdigit (*value) || !unit || (*end && end[1]) || n <= 0 || n > 1e9)
    {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                   "%s=%s: give KiB a second, or a number with K, M or G", name, value);
      return FALSE;
    }
  for (; unit > units; unit--)
    n *= 1024;
  rate_limit = n < 1 ? 1 : (guint64)n;
  return TRUE;
}

guint64
cmd_rate_limit (void)
{
  return rate_limit;
}

/* ionice's words. What the copy's threads inherit is the priority of the thread that starts them.
 */
gboolean
cmd_parse_io_priority (const char *name, const char *value, gpointer data, GError **error)
{
  gboolean idle = g_str_equal (value, "idle");
  const char *level = g_str_has_prefix (value, "best-effort:") ? value + 12 : "4";
  gboolean best = level == value + 12 || g_str_equal (value, "best-effort");

  if ((!idle && !best) || *level < '0' || *level > '7' || level[1])
    {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                   "%s=%s: choose idle, best-effort or best-effort:0 to 7", name, value);
      return FALSE;
    }
  if (syscall (SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
               IOPRIO_PRIO_VALUE (idle ? IOPRIO_CLASS_IDLE : IOPRIO_CLASS_BE,
                                  idle ? 0 : *level - '0'))
      < 0)
    {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "%s=%s: %s", name, value,
                   g_strerror (errno));
      return FALSE;
    }
  return TRUE;
}

/* GOption would take an operand behind --compress for its value. */
static void
fix_compress (int argc, char **argv)
{
  for (int i = 1; i < argc && !g_str_equal (argv[i], "--"); i++)
    if (g_str_equal (argv[i], "--compress"))
      argv[i] = (char *)"--compress=zlib";
}

int
cmd_parse (int *argc, char ***argv, const char *operands, const char *summary,
           const GOptionEntry *entries, const GOptionEntry *more_entries, gpointer data)
{
  g_autoptr (GOptionContext) context = g_option_context_new (operands);
  g_autofree char *program = g_strdup_printf ("hyper2kvm %s", (*argv)[0]);
  g_autoptr (GError) error = NULL;
  GOptionGroup *main_group;

  g_set_prgname (program);
  g_option_context_set_summary (context, summary);
  main_group = g_option_group_new ("main", NULL, NULL, data, NULL);
  g_option_group_add_entries (main_group, entries);
  g_option_context_set_main_group (context, main_group);
  if (more_entries)
    g_option_group_add_entries (main_group, more_entries);
  cmd_add_common_options (context);
  fix_compress (*argc, *argv);
  if (!g_option_context_parse (context, argc, argv, &error))
    return cmd_usage ((*argv)[0], "%s", error->message);
  if (*argc > 1 && g_str_equal ((*argv)[1], "--"))
    {
      (*argv)[1] = (*argv)[0];
      (*argv)++;
      (*argc)--;
    }
  return cmd_use_common_options ();
}

static const int codes[] = {
    [H2K_ERROR_FAILED] = EXIT_FAILED,
    [H2K_ERROR_USAGE] = EXIT_USAGE,
    [H2K_ERROR_SOURCE] = EXIT_SOURCE,
    [H2K_ERROR_FORMAT] = EXIT_FORMAT,
    [H2K_ERROR_UNSUPPORTED] = EXIT_UNSUPPORTED,
    [H2K_ERROR_NO_OS] = EXIT_NO_OS,
    [H2K_ERROR_FILESYSTEM] = EXIT_FILESYSTEM,
    [H2K_ERROR_REPAIR] = EXIT_REPAIR,
    [H2K_ERROR_OUTPUT_EXISTS] = EXIT_OUTPUT_EXISTS,
    [H2K_ERROR_OUTPUT] = EXIT_OUTPUT,
    [H2K_ERROR_NO_SPACE] = EXIT_NO_SPACE,
    [H2K_ERROR_VERIFY] = EXIT_VERIFY,
    [H2K_ERROR_BOOT] = EXIT_BOOT,
    [H2K_ERROR_TOOL] = EXIT_TOOL,
    [H2K_ERROR_CANCELLED] = EXIT_SIGNAL,
};

int
exit_code (const GError *error)
{
  if (error->domain == H2K_ERROR && (guint)error->code < G_N_ELEMENTS (codes))
    return codes[error->code];
  return EXIT_FAILED;
}

int
cmd_fail (const GError *error)
{
  cmd_progress_finish ();
  if (cmd_signal ())
    {
      /* A program that was started may have got the signal, too, and failed before. */
      g_autofree char *message = g_error_matches (error, H2K_ERROR, H2K_ERROR_CANCELLED)
                                     ? g_strdup (error->message)
                                     : g_strdup_printf ("interrupted: %s", error->message);
      cmd_log_line ("error", message);
      return EXIT_SIGNAL + cmd_signal ();
    }
  cmd_log_line ("error", error->message);
  return exit_code (error);
}

int
cmd_end_output (int code)
{
  struct pollfd out = {.fd = STDOUT_FILENO};
  int err = fflush (stdout) == 0 ? 0 : errno;
  g_autofree char *message = NULL;

  if (!err && !ferror (stdout))
    return code;
  if (err == EPIPE || (poll (&out, 1, 0) == 1 && (out.revents & POLLERR)))
    return EXIT_SIGNAL + SIGPIPE;
  message = g_strdup_printf ("cannot write to standard output: %s",
                             err ? g_strerror (err) : "some of it was lost");
  cmd_log_line ("error", message);
  return EXIT_OUTPUT;
}

int
cmd_usage (const char *command, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  cmd_log_line ("error", message);
  fprintf (stderr, "Try 'hyper2kvm %s%s--help' for more information.\n", command ? command : "",
           command ? " " : "");
  return EXIT_USAGE;
}
