/* clone-flatten.c - hyper2kvm clone flatten, export: a clone without its store and its original.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

/* What is the same for both: TO_HELP and TO_ARG are of --to. */
typedef struct
{
  const char *verb, *summary, *to_help, *to_arg, *format_help;
  gboolean can_force;
  gboolean (*run) (const H2kFlattenOptions *options, GCancellable *cancellable, GError **error);
} Copy;

static int
copy_clone (const Copy *copy, int argc, char **argv)
{
  g_autoptr (H2kFlattenOptions) options = h2k_flatten_options_new ();
  g_autofree char *format = NULL;
  int threads = 0;
  const GOptionEntry entries[] = {
      {"to", 0, 0, G_OPTION_ARG_FILENAME, &options->output, copy->to_help, copy->to_arg},
      {"snapshot", 0, 0, G_OPTION_ARG_STRING, &options->snapshot,
       "take this snapshot (default: the present state; no VM may run on it)", "S"},
      {"out-format", 'O', 0, G_OPTION_ARG_STRING, &format, copy->format_help, "FMT"},
      {"compress", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK, cmd_parse_compress,
       "compress the qcow2 with zlib (default) or zstd", "HOW"},
      {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "1 to 64 (default: one a CPU)", "N"},
      {copy->can_force ? "force" : NULL, 0, 0, G_OPTION_ARG_NONE, &options->force,
       "replace existing images", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME", copy->summary, entries, 1, 1);
  gboolean ok;

  if (code >= 0)
    return code;
  if (!options->output)
    return cmd_usage (copy->verb, "say where it goes: --to %s", copy->to_arg);
  if (threads < 0 || threads > 64)
    return cmd_usage (copy->verb, "--threads=%d: choose 1 to 64", threads);
  cmd_take_text (&options->output_format, g_steal_pointer (&format));
  options->name = g_strdup (argv[1]);
  options->state_dir = g_strdup (clone_state_dir);
  options->compression = cmd_compression ();
  options->threads = (guint)threads;
  options->progress = cmd_progress;
  ok = copy->run (options, cmd_cancellable (), &error);
  cmd_progress_finish ();
  return clone_done (ok, &error);
}

int
cmd_clone_flatten (int argc, char **argv)
{
  static const Copy copy = {
      .verb = "clone flatten",
      .summary = "Makes one image of each disk of a clone, which needs neither the clone nor its "
                 "original.",
      .to_help = "the image; further disks have -disk2 and so on in their names",
      .to_arg = "FILE",
      .format_help = "qcow2 (default), raw, vmdk, vhdx or vhd",
      .can_force = TRUE,
      .run = h2k_clones_flatten,
  };

  return copy_clone (&copy, argc, argv);
}

int
cmd_clone_export (int argc, char **argv)
{
  static const Copy copy = {
      .verb = "clone export",
      .summary = "Makes a folder with a VM of a clone, for another host: its disks, its "
                 "definition for libvirt, and\ntheir digests. UUID and MACs are the clone's.",
      .to_help = "the folder, which must not be there or be empty",
      .to_arg = "DIR",
      .format_help = "qcow2 (default) or raw",
      .run = h2k_clones_export,
  };

  return copy_clone (&copy, argc, argv);
}
