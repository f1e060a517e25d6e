/* clone.c - hyper2kvm clone: immutable VMs, on disks that are never written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define UNSET G_MININT

static char *state_dir;
static gboolean json;

#define STATE_DIR_ENTRY                                                                            \
  {                                                                                                \
    "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &state_dir,                                          \
        "where the clones lie (default: ~/.local/share/hyper2kvm, as root /var/lib/hyper2kvm)",    \
        "DIR"                                                                                      \
  }

static const GOptionEntry store_entries[] = {STATE_DIR_ENTRY, {NULL}};

static const GOptionEntry json_entries[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
    {NULL},
};

/* Print TEXT, which is freed; NULL: print ERROR, which TEXT's maker may have set just now. */
static int
answer (char *text, GError *const *error)
{
  if (!text)
    return cmd_fail (*error);
  fputs (text, stdout);
  g_free (text);
  return cmd_end_output (EXIT_OK);
}

static int
done (gboolean ok, GError *const *error)
{
  return ok ? EXIT_OK : cmd_fail (*error);
}

/* CODE is of cmd_parse(); there have to be LEAST to MOST operands. -1, or the exit code. */
static int
count (int code, int argc, char **argv, int least, int most)
{
  if (code >= 0)
    return code;
  if (argc - 1 < least)
    return cmd_usage (argv[0], "a name is missing");
  if (argc - 1 > most)
    return cmd_usage (argv[0], "\"%s\" is one operand too many", argv[most + 1]);
  return -1;
}

static int
parse (int *argc, char ***argv, const char *operands, const char *summary,
       const GOptionEntry *entries, int least, int most)
{
  int code = cmd_parse (argc, argv, operands, summary, store_entries, entries, NULL);

  return count (code, *argc, *argv, least, most);
}

/* --- create ----------------------------------------------------------------------------------- */

typedef struct
{
  GStrv disks, macs, keys;
  gboolean no_repair, skip_fsck, qemu_test, no_two_phase;
  int memory, vcpus, timeout;
} Flags;

static void
flags_clear (Flags *flags)
{
  g_strfreev (flags->disks);
  g_strfreev (flags->macs);
  g_strfreev (flags->keys);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Flags, flags_clear)

static void
add_all (GPtrArray *array, char *const *words)
{
  for (; words && *words; words++)
    g_ptr_array_add (array, g_strdup (*words));
}

static int
fill_options (H2kCloneOptions *options, const Flags *flags, char **argv)
{
  H2kMigrateOptions *vm = options->vm;

  if ((flags->memory < 1 && flags->memory != UNSET) || (flags->vcpus < 1 && flags->vcpus != UNSET)
      || flags->timeout < 0)
    return cmd_usage ("clone create", "memory and CPUs are at least 1, and no time is negative");
  g_ptr_array_add (vm->sources, g_strdup (argv[1]));
  add_all (vm->sources, flags->disks);
  add_all (vm->macs, flags->macs);
  add_all (vm->keys, flags->keys);
  options->name = g_strdup (argv[2]);
  options->state_dir = g_strdup (state_dir);
  vm->inspect = !flags->no_repair;
  vm->repairs = flags->no_repair ? 0 : H2K_REPAIR_AUTO;
  vm->check_filesystems = !flags->skip_fsck;
  vm->two_phase_boot = !flags->no_two_phase;
  if (flags->memory != UNSET)
    vm->memory_mib = (guint)flags->memory;
  if (flags->vcpus != UNSET)
    vm->vcpus = (guint)flags->vcpus;
  vm->boot_test = flags->qemu_test ? H2K_BOOT_TEST_QEMU : H2K_BOOT_TEST_NONE;
  vm->boot_timeout = (guint)flags->timeout;
  vm->backend = cmd_backend ();
  vm->progress = cmd_progress;
  return -1;
}

static void
print_result (const H2kCloneOptions *options, const H2kReport *report)
{
  g_autofree char *text = NULL;

  if (json || options->vm->dry_run)
    {
      text = h2k_report_render (report, json ? "json" : "md");
      fputs (text, stdout);
    }
  else
    printf ("%s is ready: hyper2kvm clone show %s\n", options->name, options->name);
}

static int
create (int argc, char **argv)
{
  g_autoptr (H2kCloneOptions) options = h2k_clone_options_new ();
  H2kMigrateOptions *vm = options->vm;
  g_auto (Flags) flags = {.memory = UNSET, .vcpus = UNSET};
  const GOptionEntry entries[] = {
      STATE_DIR_ENTRY,
      {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.disks,
       "a further disk of the system; may be repeated", "FILE"},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &vm->source_format,
       "the disks' format (default: found by content)", "FMT"},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &options->unsafe,
       "take a disk that is in use: the clone is corrupt when it changes", NULL},
      {"full", 0, 0, G_OPTION_ARG_NONE, &options->full,
       "read the whole disks for a digest, for `clone verify --full`", NULL},
      {"no-repair", 0, 0, G_OPTION_ARG_NONE, &flags.no_repair,
       "do not look inside, make no repairs", NULL},
      {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &vm->dry_run,
       "print every change that would be made, make nothing", NULL},
      {"report", 0, 0, G_OPTION_ARG_FILENAME, &vm->report, "write a report: .md, .json or .html",
       "FILE"},
      {"qemu-test", 0, 0, G_OPTION_ARG_NONE, &flags.qemu_test,
       "boot a throw-away overlay of the clone and wait for proof", NULL},
      {"boot-timeout", 0, 0, G_OPTION_ARG_INT, &flags.timeout,
       "seconds (default: 300 under KVM, 900 under emulation)", "S"},
      {"memory", 0, 0, G_OPTION_ARG_INT, &flags.memory, "the VM's memory in MiB (default: 2048)",
       "MIB"},
      {"vcpus", 0, 0, G_OPTION_ARG_INT, &flags.vcpus, "the VM's CPUs (default: 2)", "N"},
      {"mac", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.macs,
       "MAC of a NIC, in the guest's order (default: new ones); may be repeated", "MAC"},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.keys,
       "a LUKS container's key, DEV:env:NAME also; may be repeated", "DEV:file:F"},
      {"backend", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_backend,
       "what reads and changes the guest's files: auto (default), native or guestfs", "WHICH"},
      {"skip-fsck", 0, 0, G_OPTION_ARG_NONE, &flags.skip_fsck,
       "do not check the guest's filesystems before and after the repairs", NULL},
      {"no-two-phase-boot", 0, 0, G_OPTION_ARG_NONE, &flags.no_two_phase,
       "Windows: no definition for a first boot from SATA", NULL},
      {"temp-dir", 0, 0, G_OPTION_ARG_FILENAME, &vm->temp_dir,
       "for what does not fit in memory (default: $TMPDIR or /var/tmp)", "DIR"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print the report as JSON on standard output", NULL},
      {NULL},
  };
  g_autoptr (H2kReport) report = NULL;
  g_autoptr (GError) error = NULL;
  int code = cmd_parse (&argc, &argv, "DISK NAME",
                        "Makes a VM of an installed system on DISK, a whole disk or an image, "
                        "which is never written:\nrepairs, and all that the VM writes, lie in "
                        "overlays.",
                        entries, cmd_windows_entries, NULL);
  gboolean ok;

  cmd_take_windows (&vm->virtio_win, &vm->virtio_config, &vm->guest_agent, vm->first_boot,
                    &vm->force_dirty);
  vm->bus = cmd_bus ();
  code = count (code, argc, argv, 2, 2);
  if (code < 0)
    code = fill_options (options, &flags, argv);
  if (code >= 0)
    return code;
  ok = h2k_clones_create (options, cmd_cancellable (), &report, &error);
  cmd_progress_finish ();
  if (report && (ok || json))
    print_result (options, report);
  return ok ? cmd_end_output (EXIT_OK) : cmd_fail (error);
}

/* --- looking ---------------------------------------------------------------------------------- */

static int
list (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "", "Lists the clones.", json_entries, 0, 0);

  return code >= 0 ? code : answer (h2k_clones_list (state_dir, json, &error), &error);
}

static int
show (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "NAME",
                    "Shows a clone: its original, layers and snapshots, sizes, and who uses it.",
                    json_entries, 1, 1);

  return code >= 0 ? code : answer (h2k_clones_show (state_dir, argv[1], json, &error), &error);
}

static int
tree (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "[NAME]",
                    "Draws what lies on what, from the original up, of one clone or of all.",
                    json_entries, 0, 1);

  return code >= 0 ? code
                   : answer (h2k_clones_tree (state_dir, argc > 1 ? argv[1] : NULL, json, &error),
                             &error);
}

static int
verify (int argc, char **argv)
{
  gboolean full = FALSE, changed = FALSE;
  const GOptionEntry entries[] = {
      {"full", 0, 0, G_OPTION_ARG_NONE, &full,
       "compare every byte, of a clone that was made with --full", NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  char *text;
  int code = parse (&argc, &argv, "NAME",
                    "Compares the original with what it was when the clone was made: exit code 12 "
                    "when it differs.",
                    entries, 1, 1);

  if (code >= 0)
    return code;
  text = h2k_clones_verify (state_dir, argv[1], full, json, cmd_progress, NULL, cmd_cancellable (),
                            &changed, &error);
  cmd_progress_finish ();
  code = answer (text, &error);
  return code == EXIT_OK && changed ? EXIT_VERIFY : code;
}

/* --- running ---------------------------------------------------------------------------------- */

/* QEMU takes the place of this program: its exit status, signals and terminal are QEMU's own. */
static int
run (int argc, char **argv)
{
  gboolean screen = FALSE, unsafe = FALSE, print = FALSE;
  const GOptionEntry entries[] = {
      {"vnc", 0, 0, G_OPTION_ARG_NONE, &screen,
       "have the screen on VNC, on 127.0.0.1 from port 5900 on (default: no screen)", NULL},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &unsafe,
       "start it although its original has changed", NULL},
      {"print", 0, 0, G_OPTION_ARG_NONE, &print, "print QEMU's command line, start nothing", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) args = NULL;
  int code = parse (&argc, &argv, "NAME",
                    "Starts a clone's VM with QEMU, without libvirt, with its serial console on "
                    "the terminal:\nCtrl-A X ends it, Ctrl-A H tells more.",
                    entries, 1, 1);

  if (code >= 0)
    return code;
  args = h2k_clones_run_args (state_dir, argv[1], screen, unsafe, &error);
  if (!args)
    return cmd_fail (error);
  for (guint i = 0; print && args[i]; i++)
    {
      g_autofree char *quoted = g_shell_quote (args[i]);
      printf ("%s%s", i ? " " : "", quoted);
    }
  if (print)
    putchar ('\n');
  code = cmd_end_output (EXIT_OK);
  if (print || code != EXIT_OK)
    return code;
  signal (SIGPIPE, SIG_DFL);
  execv (args[0], args);
  fprintf (stderr, "hyper2kvm: error: cannot start %s: %s\n", args[0], g_strerror (errno));
  return EXIT_TOOL;
}

/* --- changing --------------------------------------------------------------------------------- */

static int
snapshot (int argc, char **argv)
{
  g_autofree char *name = NULL;
  g_autofree char *description = NULL;
  g_autofree char *drop = NULL;
  const GOptionEntry entries[] = {
      {"name", 0, 0, G_OPTION_ARG_STRING, &name, "the snapshot's name", "S"},
      {"description", 0, 0, G_OPTION_ARG_STRING, &description, "what it is, for people", "TEXT"},
      {"drop", 0, 0, G_OPTION_ARG_STRING, &drop, "forget this snapshot instead", "S"},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "NAME",
                    "Keeps the present state of a clone that does not run as a snapshot.", entries,
                    1, 1);

  if (code >= 0)
    return code;
  if ((name != NULL) + (drop != NULL) != 1)
    return cmd_usage ("clone snapshot", "give --name S, or --drop S");
  return done (drop ? h2k_clones_drop_snapshot (state_dir, argv[1], drop, &error)
                    : h2k_clones_snapshot (state_dir, argv[1], name, description, &error),
               &error);
}

static int
reset (int argc, char **argv)
{
  g_autofree char *to = NULL;
  const GOptionEntry entries[] = {
      {"to", 0, 0, G_OPTION_ARG_STRING, &to,
       "the snapshot to go back to (default: the clone as it was made, or last committed)", "S"},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "NAME", "Throws away what the VM has written.", entries, 1, 1);

  return code >= 0 ? code : done (h2k_clones_reset (state_dir, argv[1], to, &error), &error);
}

static int
commit (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "NAME",
                    "Makes the present state the one that a reset goes back to. The original is "
                    "not written.",
                    NULL, 1, 1);

  return code >= 0 ? code : done (h2k_clones_commit (state_dir, argv[1], &error), &error);
}

static int
merge (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  guint merged;
  int code = parse (&argc, &argv, "NAME",
                    "Makes one of layers between which lies no snapshot, so that reads are fast "
                    "again.",
                    NULL, 1, 1);

  if (code >= 0)
    return code;
  if (!h2k_clones_merge (state_dir, argv[1], cmd_cancellable (), &merged, &error))
    return cmd_fail (error);
  printf ("%u layer%s merged\n", merged, merged == 1 ? "" : "s");
  return cmd_end_output (EXIT_OK);
}

static int delete (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = parse (&argc, &argv, "NAME…",
                    "Removes clones and all of their states. Their originals stay as they are.",
                    NULL, 1, G_MAXINT - 1);

  for (int i = 1; i < argc && code < 0; i++)
    if (!h2k_clones_delete (state_dir, argv[i], &error))
      return cmd_fail (error);
  return code >= 0 ? code : EXIT_OK;
}

/* --- the table -------------------------------------------------------------------------------- */

static const Command verbs[] = {
    {"create", "make a VM of a disk that is never written", create},
    {"list", "the clones", list},
    {"show", "one of them", show},
    {"tree", "what lies on what", tree},
    {"run", "start it with QEMU, without libvirt", run},
    {"snapshot", "keep the present state", snapshot},
    {"reset", "throw away what the VM has written", reset},
    {"commit", "make the present state what resets go back to", commit},
    {"merge", "make fewer layers", merge},
    {"verify", "compare the original with what it was", verify},
    {"delete", "remove clones", delete},
};

static void
print_help (FILE *out)
{
  fputs ("Usage: hyper2kvm clone VERB [OPTION…] …\n\n"
         "Immutable VMs: an installed system on any disk as a VM, the disk untouched.\n\n",
         out);
  for (guint i = 0; i < G_N_ELEMENTS (verbs); i++)
    fprintf (out, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
  fputs ("\nEach has a --help of its own.\n", out);
}

int
cmd_clone (int argc, char **argv)
{
  if (argc > 1 && (g_str_equal (argv[1], "--help") || g_str_equal (argv[1], "-h")))
    {
      print_help (stdout);
      return cmd_end_output (EXIT_OK);
    }
  for (guint i = 0; argc > 1 && i < G_N_ELEMENTS (verbs); i++)
    if (g_str_equal (argv[1], verbs[i].name))
      {
        g_autofree char *name = g_strconcat ("clone ", verbs[i].name, NULL);
        int code;

        argv[1] = name;
        code = verbs[i].run (argc - 1, argv + 1);
        argv[1] = (char *)verbs[i].name;
        return code;
      }
  if (argc < 2)
    {
      print_help (stderr);
      return EXIT_USAGE;
    }
  return cmd_usage ("clone", "there is no \"%s\": see hyper2kvm clone --help", argv[1]);
}
