/* clone.c - hyper2kvm clone: immutable VMs, on disks that are never written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <stdio.h>

char *clone_state_dir;
gboolean clone_json;

static char *key_file;
static const GOptionEntry store_entries[] = {
    CLONE_STATE_DIR,
    {"key-file", 0, 0, G_OPTION_ARG_FILENAME, &key_file,
     "the key of an encrypted clone (default: the file that it was made with)", "FILE"},
    {NULL},
};

const GOptionEntry clone_json_entries[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &clone_json, "print JSON", NULL},
    {NULL},
};

/* Print TEXT, which is freed; NULL: print ERROR, which TEXT's maker may have set just now. */
int
clone_answer (char *text, GError *const *error)
{
  if (!text)
    return cmd_fail (*error);
  fputs (text, stdout);
  g_free (text);
  return cmd_end_output (EXIT_OK);
}

int
clone_done (gboolean ok, GError *const *error)
{
  return ok ? EXIT_OK : cmd_fail (*error);
}

/* CODE is of cmd_parse(); there have to be LEAST to MOST operands. -1, or the exit code. */
int
clone_count (int code, int argc, char **argv, int least, int most)
{
  if (code >= 0)
    return code;
  if (argc - 1 < least)
    return cmd_usage (argv[0], "a name is missing");
  if (argc - 1 > most)
    return cmd_usage (argv[0], "\"%s\" is one operand too many", argv[most + 1]);
  return -1;
}

int
clone_parse (int *argc, char ***argv, const char *operands, const char *summary,
             const GOptionEntry *entries, int least, int most)
{
  int code = cmd_parse (argc, argv, operands, summary, store_entries, entries, NULL);

  if (key_file)
    h2k_clones_use_key_file (key_file);
  return clone_count (code, *argc, *argv, least, most);
}

/* --- the table -------------------------------------------------------------------------------- */

static const Command verbs[] = {
    {"create", "make a VM of a disk that is never written", cmd_clone_create},
    {"list", "the clones", cmd_clone_list},
    {"show", "one of them", cmd_clone_show},
    {"tree", "what lies on what", cmd_clone_tree},
    {"run", "start it with QEMU, without libvirt", cmd_clone_run},
    {"serve", "offer originals to QEMU that it does not read itself", cmd_clone_serve},
    {"define", "make it a domain of libvirt's", cmd_clone_define},
    {"undefine", "take it out of libvirt", cmd_clone_undefine},
    {"start", "start it with libvirt", cmd_clone_start},
    {"console", "its serial console, when libvirt runs it", cmd_clone_console},
    {"stop", "shut its VM down", cmd_clone_stop},
    {"watch", "pause VMs before their filesystem is full", cmd_clone_watch},
    {"resume", "let a paused VM go on", cmd_clone_resume},
    {"limit", "set what it may take on the host's disk", cmd_clone_limit},
    {"snapshot", "keep the present state", cmd_clone_snapshot},
    {"reset", "throw away what the VM has written", cmd_clone_reset},
    {"commit", "make the present state what resets go back to", cmd_clone_commit},
    {"merge", "make fewer layers", cmd_clone_merge},
    {"diff", "which files and blocks differ between two states", cmd_clone_diff},
    {"verify", "compare the original with what it was", cmd_clone_verify},
    {"flatten", "make one image of it that needs nothing else", cmd_clone_flatten},
    {"export", "make a VM of it for another host", cmd_clone_export},
    {"rebase", "put it over an original that lies elsewhere", cmd_clone_rebase},
    {"delete", "remove clones", cmd_clone_delete},
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
