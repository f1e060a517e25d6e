/* main.c - hyper2kvm: the table of commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>

static const Command commands[] = {
    {"local", "migrate a VM from disk images on this machine", cmd_local},
    {"discover", "say which disks hold a system that boots", cmd_discover},
    {"inspect", "say what is installed on disk images", cmd_inspect},
    {"boot-test", "boot a throw-away overlay of disk images and wait for proof", cmd_boot_test},
    {"convert", "convert one disk image as it is", cmd_convert},
    {"info", "say what a disk image is", cmd_info},
    {"check", "say whether a disk image is consistent in itself", cmd_check},
    {"compare", "compare what guests see of two disk images", cmd_compare},
    {"ls", "list files of the guest on disk images", cmd_ls},
    {"tree", "draw the folders of the guest on disk images", cmd_tree},
    {"cat", "print files of the guest on disk images", cmd_cat},
    {"get", "copy files and folders out of disk images", cmd_get},
    {"put", "put a file into an image that builds on a disk", cmd_put},
    {"clone", "immutable VMs on disks that are never written", cmd_clone},
    {"nbd-serve", "offer a disk image over NBD, also as it is after repairs", cmd_nbd_serve},
};

static char *
list_commands (void)
{
  GString *text = g_string_new ("Commands:\n");

  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    g_string_append_printf (text, "  %-12s %s\n", commands[i].name, commands[i].summary);
  g_string_append (text, "\nhyper2kvm COMMAND --help lists a command's options; hyper2kvm(1) has "
                         "examples and the exit codes.");
  return g_string_free (text, FALSE);
}

int
main (int argc, char **argv)
{
  gboolean version = FALSE;
  const GOptionEntry entries[]
      = {{"version", 'V', 0, G_OPTION_ARG_NONE, &version, "print the version", NULL}, {NULL}};
  g_autoptr (GOptionContext) context = g_option_context_new ("COMMAND …");
  g_autofree char *list = list_commands ();
  g_autoptr (GError) error = NULL;
  int code;

  setlocale (LC_ALL, "");
  signal (SIGPIPE, SIG_IGN);
  cmd_log_start ();
  g_set_prgname ("hyper2kvm");
  g_option_context_set_strict_posix (context, TRUE);
  g_option_context_set_summary (
      context, "Makes virtual machines from other hypervisors boot on KVM: repairs the guest "
               "offline,\nconverts its disks in one pass and proves that the result boots.");
  g_option_context_set_description (context, list);
  g_option_context_add_main_entries (context, entries, NULL);
  cmd_add_common_options (context);
  if (!g_option_context_parse (context, &argc, &argv, &error))
    return cmd_usage (NULL, "%s", error->message);
  if (version)
    {
      printf ("hyper2kvm %s\n", h2k_version ());
      return EXIT_OK;
    }
  code = cmd_use_common_options ();
  if (code >= 0)
    return code;
  if (argc < 2)
    return cmd_usage (NULL, "no command is given");
  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    if (g_str_equal (argv[1], commands[i].name))
      return commands[i].run (argc - 1, argv + 1);
  return cmd_usage (NULL, "%s: there is no such command", argv[1]);
}
