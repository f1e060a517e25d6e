/* boot-test.c - hyper2kvm boot-test: prove that disks boot, without writing to them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

static const char *const buses[] = {"virtio-blk", "virtio-scsi", "sata", NULL};
static const char *const evidences[] = {"auto", "login", "marker", "firstboot", NULL};

static int
index_of (const char *const *words, const char *word)
{
  for (int i = 0; words[i]; i++)
    if (g_str_equal (words[i], word))
      return i;
  return -1;
}

int
cmd_boot_test (int argc, char **argv)
{
  g_autoptr (H2kBootOptions) options = h2k_boot_options_new ();
  g_autofree char *bus = NULL, *evidence = NULL;
  g_auto (GStrv) macs = NULL, keys = NULL;
  gboolean json = FALSE, window = FALSE, headless = FALSE;
  int timeout = 0, memory = (int)options->memory_mib, vcpus = (int)options->vcpus, code;
  const GOptionEntry entries[] = {
      {"format", 'f', 0, G_OPTION_ARG_STRING, &options->format,
       "the disks' format (default: found)", "FMT"},
      {"bus", 0, 0, G_OPTION_ARG_STRING, &bus, "virtio-blk (default), virtio-scsi or sata", "BUS"},
      {"evidence", 0, 0, G_OPTION_ARG_STRING, &evidence,
       "auto (default), login: the prompt on the serial console, or marker: a unit in the "
       "throw-away overlay",
       "WHAT"},
      {"reboot", 0, 0, G_OPTION_ARG_NONE, &options->reboot,
       "reboot inside the guest and wait for proof again", NULL},
      {"boot-timeout", 0, 0, G_OPTION_ARG_INT, &timeout,
       "seconds (default: 300 under KVM, 900 under emulation)", "S"},
      {"headless", 0, 0, G_OPTION_ARG_NONE, &headless, "no display (default)", NULL},
      {"window", 0, 0, G_OPTION_ARG_NONE, &window, "show the guest's display", NULL},
      {"accel", 0, 0, G_OPTION_ARG_STRING, &options->accel,
       "kvm or tcg (default: KVM where it works)", "ACCEL"},
      {"uefi", 0, 0, G_OPTION_ARG_NONE, &options->uefi, "start with UEFI firmware", NULL},
      {"memory", 0, 0, G_OPTION_ARG_INT, &memory, "MiB (default 2048)", "MIB"},
      {"vcpus", 0, 0, G_OPTION_ARG_INT, &vcpus, "CPUs (default 2)", "N"},
      {"mac", 0, 0, G_OPTION_ARG_STRING_ARRAY, &macs, "MAC of a NIC; may be repeated", "MAC"},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys,
       "a LUKS container's key, for the marker unit; may be repeated", "DEV:file:F"},
      {"temp-dir", 0, 0, G_OPTION_ARG_FILENAME, &options->temp_dir,
       "where the overlay lies (default: $TMPDIR or /var/tmp)", "DIR"},
      {"screen", 0, 0, G_OPTION_ARG_FILENAME, &options->screen,
       "a PNG picture of the screen goes there when there is no proof", "FILE"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print what was seen as JSON", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  g_autofree char *seen = NULL;
  gboolean ok;

  code = cmd_parse (&argc, &argv, "DISK…",
                    "Boots a throw-away overlay of one VM's disks with QEMU and waits for proof "
                    "from inside\nthe guest. The disks are not written.",
                    entries, NULL, NULL);
  if (code >= 0)
    return code;
  if (argc < 2)
    return cmd_usage ("boot-test", "no disk is named");
  if (bus && index_of (buses, bus) < 0)
    return cmd_usage ("boot-test", "--bus=%s: choose virtio-blk, virtio-scsi or sata", bus);
  if (evidence && index_of (evidences, evidence) < 0)
    return cmd_usage ("boot-test", "--evidence=%s: choose auto, login, marker or firstboot",
                      evidence);
  if (options->accel && !g_str_equal (options->accel, "kvm")
      && !g_str_equal (options->accel, "tcg"))
    return cmd_usage ("boot-test", "--accel=%s: choose kvm or tcg", options->accel);
  if (timeout < 0)
    return cmd_usage ("boot-test", "numbers must not be negative");
  if (memory < 1 || vcpus < 1)
    return cmd_usage ("boot-test", "--%s: give 1 or more", memory < 1 ? "memory" : "vcpus");
  if (headless && window)
    return cmd_usage ("boot-test", "--headless and --window exclude each other");
  if (bus)
    options->bus = (H2kBus)index_of (buses, bus);
  if (evidence)
    options->evidence = (H2kEvidence)index_of (evidences, evidence);
  options->timeout = (guint)timeout;
  options->headless = !window;
  options->memory_mib = (guint)memory;
  options->vcpus = (guint)vcpus;
  for (int i = 1; i < argc; i++)
    g_ptr_array_add (options->disks, g_strdup (argv[i]));
  for (guint i = 0; macs && macs[i]; i++)
    g_ptr_array_add (options->macs, g_strdup (macs[i]));
  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (options->keys, g_strdup (keys[i]));
  options->progress = cmd_progress;

  ok = h2k_boot_test (options, cmd_cancellable (), &seen, &error);
  cmd_progress_finish ();
  if (json && seen)
    printf ("%s\n", seen);
  if (!ok)
    return cmd_fail (error);
  if (!json)
    printf ("passed\n");
  return EXIT_OK;
}
