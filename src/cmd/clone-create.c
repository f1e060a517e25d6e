/* clone-create.c - hyper2kvm clone create.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <stdio.h>

#define UNSET G_MININT

typedef struct
{
  GStrv disks, macs, keys;
  gboolean no_repair, skip_fsck, qemu_test, no_two_phase;
  int memory, vcpus, timeout;
  char *max_size;
} Flags;

static void
flags_clear (Flags *flags)
{
  g_strfreev (flags->disks);
  g_strfreev (flags->macs);
  g_strfreev (flags->keys);
  g_free (flags->max_size);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Flags, flags_clear)

static void
add_all (GPtrArray *array, char *const *words)
{
  for (; words && *words; words++)
    g_ptr_array_add (array, g_strdup (*words));
}

/* DISK, or the description of an exported VM, whose name says so. */
static void
take_source (H2kMigrateOptions *vm, const char *path)
{
  static const char *const kinds[] = {"ova", "ovf", "vmx"};
  const char *dot = strrchr (path, '.');

  for (guint i = 0; dot && i < G_N_ELEMENTS (kinds); i++)
    if (g_ascii_strcasecmp (dot + 1, kinds[i]) == 0)
      {
        vm->appliance = g_strdup (path);
        vm->appliance_kind = g_strdup (kinds[i]);
        return;
      }
  g_ptr_array_add (vm->sources, g_strdup (path));
}

static int
fill_options (H2kCloneOptions *options, const Flags *flags, char **argv)
{
  H2kMigrateOptions *vm = options->vm;

  if ((flags->memory < 1 && flags->memory != UNSET) || (flags->vcpus < 1 && flags->vcpus != UNSET)
      || flags->timeout < 0)
    return cmd_usage ("clone create", "memory and CPUs are at least 1, and no time is negative");
  if (flags->no_repair && (vm->new_identity || vm->hostname))
    return cmd_usage ("clone create", "--no-repair does not look inside, as --new-identity and "
                                      "--hostname have to");
  if (flags->max_size && !clone_parse_size (flags->max_size, &options->max_size))
    return cmd_usage ("clone create", "--max-size: \"%s\" is no size: give 500M, 20G or 1T",
                      flags->max_size);
  take_source (vm, argv[1]);
  add_all (vm->sources, flags->disks);
  add_all (vm->macs, flags->macs);
  add_all (vm->keys, flags->keys);
  options->name = g_strdup (argv[2]);
  options->state_dir = g_strdup (clone_state_dir);
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

  if (clone_json || options->vm->dry_run)
    {
      text = h2k_report_render (report, clone_json ? "json" : "md");
      fputs (text, stdout);
    }
  else
    printf ("%s is ready: hyper2kvm clone show %s\n", options->name, options->name);
}

int
cmd_clone_create (int argc, char **argv)
{
  g_autoptr (H2kCloneOptions) options = h2k_clone_options_new ();
  H2kMigrateOptions *vm = options->vm;
  g_auto (Flags) flags = {.memory = UNSET, .vcpus = UNSET};
  const GOptionEntry entries[] = {
      CLONE_STATE_DIR,
      {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.disks,
       "a further disk of the system; may be repeated", "FILE"},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &vm->source_format,
       "the disks' format (default: found by content)", "FMT"},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &options->unsafe,
       "take a disk that is in use: the clone is corrupt when it changes", NULL},
      {"snapshot", 0, 0, G_OPTION_ARG_NONE, &options->snapshot,
       "of an image that is in use take a snapshot (btrfs, XFS), and clone that", NULL},
      {"encrypt", 0, 0, G_OPTION_ARG_FILENAME, &options->encrypt,
       "encrypt all that is written with the passphrase that KEYFILE holds", "KEYFILE"},
      {"full", 0, 0, G_OPTION_ARG_NONE, &options->full,
       "read the whole disks for a digest, for `clone verify --full`", NULL},
      {"max-size", 0, 0, G_OPTION_ARG_STRING, &flags.max_size,
       "the most that what the clone writes may take on the host's disk", "SIZE"},
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
      {"new-identity", 0, 0, G_OPTION_ARG_NONE, &vm->new_identity,
       "new ids, SSH host keys and host name, to run beside the original", NULL},
      {"hostname", 0, 0, G_OPTION_ARG_STRING, &vm->hostname,
       "the guest's name (default with --new-identity: NAME)", "HOST"},
      {"memory", 0, 0, G_OPTION_ARG_INT, &flags.memory,
       "the VM's memory in MiB (default: what the guest needs of this host's)", "MIB"},
      {"vcpus", 0, 0, G_OPTION_ARG_INT, &flags.vcpus,
       "the VM's CPUs (default: what the guest needs of this host's)", "N"},
      {"tpm", 0, 0, G_OPTION_ARG_NONE, &options->tpm,
       "give the VM a TPM 2.0, an empty one (default: as the exported VM)", NULL},
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
      {"json", 0, 0, G_OPTION_ARG_NONE, &clone_json, "print the report as JSON on standard output",
       NULL},
      {NULL},
  };
  g_autoptr (H2kReport) report = NULL;
  g_autoptr (GError) error = NULL;
  int code = cmd_parse (&argc, &argv, "DISK NAME",
                        "Makes a VM of an installed system on DISK, a whole disk, an image, a URI "
                        "or an exported VM\n(.ova, .ovf, .vmx), which is never written: repairs, "
                        "and all that the VM writes, lie in overlays.",
                        entries, cmd_windows_entries, NULL);
  gboolean ok;

  cmd_take_windows (&vm->virtio_win, &vm->virtio_config, &vm->guest_agent, vm->first_boot,
                    &vm->force_dirty);
  vm->bus = cmd_bus ();
  code = clone_count (code, argc, argv, 2, 2);
  if (code < 0)
    code = fill_options (options, &flags, argv);
  if (code >= 0)
    return code;
  ok = h2k_clones_create (options, cmd_cancellable (), &report, &error);
  cmd_progress_finish ();
  if (report && (ok || clone_json))
    print_result (options, report);
  return ok ? cmd_end_output (EXIT_OK) : cmd_fail (error);
}
